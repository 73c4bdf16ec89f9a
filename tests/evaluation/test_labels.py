"""JSONL, CSV, Parquet and golden files give the same labels; a mistake is named by its line."""

import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from gateway.evaluation import labels
from gateway.evaluation.labels import Label
from gateway.settings.errors import ConfigError

FIRST_LABEL = Label(
    prompt="Hi, you", scores={"fast": 0.5, "smart": 1.0}, costs={"smart": Decimal("0.002")},
    source="mine", tags=("a", "b"), key="ann",
)  # fmt: skip
SECOND_LABEL = Label(
    prompt="Prove it.\nNow.", scores={"reasoning": 1.0}, tier="reasoning", model="fast"
)


def read_text(folder: Path, name: str, text: str | bytes) -> list[Label]:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return labels.read_labels(file)


def mistakes(folder: Path, name: str, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_text(folder, name, text)
    return [str(item).removeprefix(f"{folder}/") for item in caught.value.mistakes]


def test_labels_are_read_from_json_lines(tmp_path: Path) -> None:
    text = (
        '{"prompt": "Hi, you", "fast": 0.5, "smart": 1, "reasoning": null, "smart_cost": "0.002",'
        ' "src": "mine", "tags": ["a", "b"], "key": "ann", "other": [1]}\n\n'
        '{"prompt": "Prove it.\\nNow.", "reasoning": 1, "tier": "reasoning", "model": "fast"}\r\n'
    )
    assert read_text(tmp_path, "a.jsonl", text) == [FIRST_LABEL, SECOND_LABEL]
    assert [item.has_outcome for item in (FIRST_LABEL, SECOND_LABEL, Label(prompt="x", tier="fast"))] == [True, True, False]  # fmt: skip


def test_labels_are_read_from_csv(tmp_path: Path) -> None:
    text = (
        "\ufeffprompt,fast,smart,reasoning,smart_cost,source,tags,key,tier,model\n"
        '"Hi, you",0.5,1,,0.002,mine,"a, b",ann,,\n'
        '"Prove it.\nNow.",,,1,,,,,reasoning,fast\n'
    )
    assert read_text(tmp_path, "a.csv", text) == [FIRST_LABEL, SECOND_LABEL]


def parquet(folder: Path, select: str) -> Path:
    file = folder / "a.parquet"
    duckdb.sql(f"copy ({select}) to '{file}' (format parquet)")
    return file


def test_labels_are_read_from_parquet(tmp_path: Path) -> None:
    file = parquet(
        tmp_path,
        "select 'Hi, you' as prompt, 0.5 as fast, 1 as smart, null::double as reasoning, 0.002::decimal(9,3)"
        " as smart_cost, 'mine' as src, ['a', 'b'] as tags, 'ann' as key, null as tier, null as model union all"
        " select E'Prove it.\\nNow.', 'nan'::double, null, 1, null, null, null, null, 'reasoning', 'fast'",
    )
    assert sorted(labels.read_labels(file), key=lambda item: item.prompt) == [
        FIRST_LABEL,
        SECOND_LABEL,
    ]


def test_golden_prompts_are_read_as_labels_with_a_tier(tmp_path: Path) -> None:
    text = "prompts:\n- {prompt: Hi, tier: fast}\n- {prompt: P, tier: smart, model: x/auto}"
    text += "\n- turns: [{prompt: A conversation is no label., tier: fast}]"
    assert read_text(tmp_path, "golden.yaml", text) == [
        Label(prompt="Hi", tier="fast"), Label(prompt="P", tier="smart", model="x/auto"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("[]", "a label is an object."),
        ('{"fast": 1}', "prompt: a text is missing."),
        ('{"prompt": "", "fast": 1}', "prompt: a text is missing."),
        ('{"prompt": "p"}', "no score of fast, smart or reasoning, and no tier."),
        ('{"prompt": "p", "tier": "FAST"}', "tier: 'FAST' is none of fast, smart, reasoning."),
        ('{"prompt": "p", "fast": "high"}', "fast: 'high' is no number."),
        ('{"prompt": "p", "fast": [1]}', "fast: [1] is no number."),
        ('{"prompt": "p", "fast": "inf"}', "fast: 'inf' is no number."),
        ('{"prompt": "p", "fast": 1, "fast_cost": "x"}', "fast_cost: 'x' is no amount."),
        ('{"prompt": "p", "fast": 1, "fast_cost": -1}', "fast_cost: -1 is no amount."),
        ('{"prompt": "p", "fast": 1, "key": 7}', "key: 7 is no text."),
        ('{"prompt": "p", "fast": 1, "tags": 7}', "tags: 7 are no words."),
        ('{"prompt": "p", "fast": 1, "tags": [7]}', "tags: [7] are no words."),
    ],
)
def test_an_invalid_label_is_reported_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    text = f'{{"prompt": "p", "fast": 1}}\n{row}\n'
    assert mistakes(tmp_path, "a.jsonl", text) == [f"a.jsonl:2: error: {message}"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "{", "a.jsonl:1: error: is not JSON: unexpected end of data at byte 1."),
        ("a.jsonl", "\n", "a.jsonl: error: has no labels."),
        ("a.jsonl", b"\xff", "a.jsonl: error: is not UTF-8."),
        ("a.csv", 'prompt,fast\n"a"b,1\n', "a.csv:2: error: is not CSV: ',' expected after '\"'."),
        ("a.csv", "prompt,fast\nHi,\n", "a.csv:2: error: no score of fast, smart or reasoning, and no tier."),
        ("a.csv", "prompt,fast\nHi\n", "a.csv:2: error: no score of fast, smart or reasoning, and no tier."),
        ("a.txt", "Hi", "a.txt: error: is of no kind that labels are read from. Name it .jsonl, .csv, .parquet or, with golden prompts, .yaml."),
        ("a.yaml", "prompts: []", "a.yaml: error: names no prompts."),
        ("a.yaml", "prompts: [{turns: [{prompt: a}]}]", "a.yaml: error: has conversations alone; labels are single prompts."),
    ],
)  # fmt: skip
def test_a_file_without_labels_is_reported(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    assert mistakes(tmp_path, name, text) == [message]


def test_at_most_twenty_mistakes_are_reported(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, "a.jsonl", "{}\n" * 50)) == 20


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        with pytest.raises(ConfigError, match=r"cannot be read: no such file"):
            labels.read_labels(tmp_path / name)


def test_an_invalid_parquet_file_is_reported(tmp_path: Path) -> None:
    (message,) = mistakes(tmp_path, "a.parquet", b"no")
    assert message.startswith("a.parquet: error: is not Parquet: Invalid Input Error: ")


def test_without_the_extra_the_error_for_parquet_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert mistakes(tmp_path, "a.parquet", b"no") == [
        (
            "a.parquet: error: needs DuckDB to be read. Install it with `pip install "
            "'tiergate[labels]'`, or write JSONL or CSV."
        )
    ]


def test_a_label_stands_for_as_many_prompts_as_its_weight_or_its_draw_says(tmp_path: Path) -> None:
    text = (
        '{"prompt": "a", "fast": 1}\n'
        '{"prompt": "b", "fast": 1, "weight": "2.5", "draw": {"probability": 0.1}}\n'
        '{"prompt": "c", "fast": 1, "draw": {"probability": 0.25, "stratum": "x"}}\n'
        '{"prompt": "d", "fast": 1, "draw": "somehow"}\n'
        '{"prompt": "e", "fast": 1, "draw": {"stratum": "x"}}\n'
    )
    assert [item.weight for item in read_text(tmp_path, "a.jsonl", text)] == [1, 2.5, 4, 1, 1]
    wrong = (
        '{"prompt": "a", "fast": 1, "weight": 0}\n'
        '{"prompt": "b", "fast": 1, "draw": {"probability": 1.5}}\n'
    )
    assert mistakes(tmp_path, "a.jsonl", wrong) == [
        "a.jsonl:1: error: weight: 0 is not above 0.",
        "a.jsonl:2: error: draw: 1.5 is no probability.",
    ]
