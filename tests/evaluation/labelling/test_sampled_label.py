"""Test rows of labels: what they say, and how they are read again."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.core.target import Tier
from gateway.evaluation.labelling.comparison import OrderResult
from gateway.evaluation.labelling.sampled_label import (
    Judgement,
    TierAnswer,
    build_label_row,
    read_sampled_labels,
)
from gateway.evaluation.labels import read_labels
from gateway.settings.errors import ConfigError

DRAW = {"stratum": "0.2 to 0.4", "stratum_prompts": 9, "calls": 2, "probability": 0.5, "seed": 1}


def build_row(**changes: Any) -> dict[str, Any]:
    answers: dict[Tier, TierAnswer] = {
        "smart": TierAnswer(call="c.smart", target="acme/able-1", cost=Decimal("0.0000012")),
        "fast": TierAnswer(call="c.fast", target="acme/swift-1"),
    }
    results: dict[Tier, list[OrderResult]] = {
        "fast": [
            OrderResult(first="fast", second="smart", better="B", call="j1"),
            OrderResult(first="smart", second="fast", better="same", call="j2"),
        ]
    }
    prompt = {
        "prompt": "Hello", "source": "own:default", "key": "app", "tags": ["x"], "model": "auto",
        "call": "c", "conversation": "k", "digest": "d", "draw": DRAW,
    }  # fmt: skip
    judgement = Judgement(by="model", who="acme/smart", version="1", cost=Decimal("0.1"))
    row = build_label_row(prompt, answers, results, judgement, "2026-12-01T00:00:00+00:00")
    return {**row, **changes}


def write(file: Path, *rows: Any, end: str = "") -> Path:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + end)
    return file


def test_a_row_is_a_label_that_says_where_it_comes_from(tmp_path: Path) -> None:
    row = build_row()
    assert (row["fast"], row["smart"], row["smart_cost"]) == (0.5, 1.0, "0.0000012")
    assert "fast_cost" not in row
    assert [order["better"] for order in row["orders"]] == ["B", "same"]
    assert row["how"]["cost"] == "0.1"
    file = write(tmp_path / "l.jsonl", row)
    (label,) = read_labels(file)
    (sampled,) = read_sampled_labels(file)
    assert sampled.label == label
    assert label.scores == {"fast": 0.5, "smart": 1.0}
    assert label.costs == {"smart": Decimal("0.0000012")}
    assert (label.key, label.tags, label.source) == ("app", ("x",), "own:default")
    assert (sampled.digest, sampled.conversation, sampled.draw.calls) == ("d", "k", 2)


def test_a_label_of_another_origin_stands_for_itself(tmp_path: Path) -> None:
    plain = {"prompt": "Hello", "fast": 1, "smart": 1}
    first, second = read_sampled_labels(write(tmp_path / "l.jsonl", plain, plain, end="{half"))
    assert first.digest != second.digest
    assert (first.draw.stratum_prompts, first.draw.calls, first.conversation) == (0, 1, None)


def test_mistakes_have_their_lines(tmp_path: Path) -> None:
    rows = [build_row(draw={**DRAW, "calls": "many"}), {"fast": 1}, build_row()]
    with pytest.raises(ConfigError) as caught:
        read_sampled_labels(write(tmp_path / "l.jsonl", *rows, end="{\n"))
    assert [mistake.line for mistake in caught.value.mistakes] == [1, 2, 4]


@pytest.mark.parametrize(("data", "reason"), [(None, "no such file"), (b"\xff\n", "not utf-8")])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, data: bytes | None, reason: str
) -> None:
    file = tmp_path / "l.jsonl"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(ConfigError, match=reason):
        read_sampled_labels(file)
