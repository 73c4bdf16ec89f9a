"""`tiergate evaluate`: its report on labels, the status for CI, and the seed that fixes it all."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.run import GOOD, ON, config, run

EASY, HARD = "What is the capital of Peru?", "Prove by induction that the sum is n(n+1)/2"
HEAD = "prompt,fast,smart,reasoning,source\n"


def labels(folder: Path, *, knows: bool = True, count: int = 40) -> Path:
    """Write labels: hard prompts fail below reasoning, or random ones if `knows` is false."""
    lines = []
    for index in range(count):
        text = HARD if index % 2 else EASY
        fails = (index % 2 == 1) if knows else index % 4 < 2
        score = 0 if fails else 1
        lines.append(f'"{text} {index}",{score},{score},1,set{index % 3}\n')
    file = folder / "labels.csv"
    file.write_text(HEAD + "".join(lines), "utf-8")
    return file


def test_a_router_better_than_chance_shows_its_saving(tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "evaluate", labels(tmp_path), "--repeats", "100")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "Outcomes of fast, smart, reasoning: 40 prompts"
    columns = {line.split("  ")[0]: line.split() for line in lines}
    assert columns["this router"][2:] == columns["oracle"][1:] == [
        "1.000", "1.000", "to", "1.000", *columns["oracle"][5:],
    ]  # fmt: skip
    assert columns["always fast"][2] == "0.500"
    (saving,) = [line for line in lines if line.startswith("Saving against")]
    assert saving.startswith("Saving against always reasoning: ")
    assert saving.endswith(" USD per 1,000 prompts.")
    assert {"set0", "set1", "set2"} <= {*columns}
    assert lines[-1] == (
        "Costs are of the first targets and an answer's expected tokens: fast acme/small with 400 "
        "tokens; smart acme/large with 600 tokens; reasoning acme/huge with 2,000 tokens."
    )


def test_a_router_no_better_than_chance_shows_no_saving_and_fails(tmp_path: Path) -> None:
    file = labels(tmp_path, knows=False)
    result = run("--config", config(tmp_path), "evaluate", file, "--repeats", "100")
    assert result.exit_code == 3
    assert "No saving is reported: it is not better than a shuffled router" in result.stdout
    assert "Saving" not in result.stdout
    as_json = run("--config", config(tmp_path), "evaluate", file, "--repeats", "100", "--json")
    assert as_json.exit_code == 3
    report = json.loads(as_json.stdout)
    assert report["better"] is False
    assert report["views"][0]["saving"] is None


def test_the_same_seed_gives_the_same_json(tmp_path: Path) -> None:
    words = ("--config", config(tmp_path), "evaluate", labels(tmp_path), "--repeats", "100", "--json")  # fmt: skip
    first, again, other = run(*words), run(*words), run(*words, "--seed", "2")
    assert first.stdout == again.stdout != other.stdout
    report = json.loads(first.stdout)
    assert report["output"] == {"fast": 400, "smart": 600, "reasoning": 2000}
    (view,) = report["views"]
    assert view["tiers"] == ["fast", "smart", "reasoning"]
    assert view["saving"]["baseline"] == "reasoning"
    assert isinstance(view["saving"]["usd"], str)


def test_options_set_expected_tokens_and_the_baseline(tmp_path: Path) -> None:
    text = GOOD + "ledger: {baseline: acme/smart}\n"
    words = ("--config", config(tmp_path, text), "evaluate", labels(tmp_path), "--repeats", "100", "--json")  # fmt: skip
    report = json.loads(run(*words, "--output-tokens", "reasoning=9000").stdout)
    assert report["output"]["reasoning"] == 9000
    (view,) = report["views"]
    # The saving against smart is negative: half of the calls go to reasoning.
    assert view["saving"]["baseline"] == "smart"
    assert view["saving"]["part"]["value"] < 0
    report = json.loads(run(*words, "--baseline", "reasoning").stdout)
    assert report["views"][0]["saving"]["baseline"] == "reasoning"


def test_the_curve_is_written_as_a_picture(tmp_path: Path) -> None:
    drawing = tmp_path / "curve.svg"
    words = ("--config", config(tmp_path), "evaluate", labels(tmp_path), "--repeats", "100")
    result = run(*words, "--picture", drawing)
    assert result.stdout.splitlines()[-1] == f"The curve is in {drawing}."
    assert drawing.read_text("utf-8").startswith("<svg ")
    missing = run(*words, "--picture", tmp_path / "none" / "curve.svg")
    assert missing.exit_code == 1
    assert "cannot be written: no such file or directory" in missing.stderr


GOLDEN = 'prompts:\n- {prompt: hi, tier: fast}\n- {prompt: "Prove it.", tier: smart}\n'


def test_opinions_are_reported_apart_and_never_fail(tmp_path: Path) -> None:
    golden = tmp_path / "golden.yaml"
    golden.write_text(GOLDEN + "- {prompt: hi, model: none/fast, tier: fast}\n", "utf-8")
    result = run("--config", config(tmp_path), "evaluate", golden)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "Opinions: 3 tiers given by hand"
    assert result.stdout.splitlines()[-2:] == [
        (
            "50.0% agree, 50.0% get a dearer tier, 0.0% a cheaper one. Opinions say little of "
            "outcomes."
        ),
        "1 are refused here.",
    ]
    result = run("--config", config(tmp_path), "evaluate", golden, "--picture", tmp_path / "a.svg")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is nothing to draw" in result.stderr
    both = run("--config", config(tmp_path), "evaluate", labels(tmp_path), golden)
    assert both.stdout.index("Outcomes of") < both.stdout.index("Opinions:")


def test_evaluate_reports_the_prompts_that_it_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    row = {"prompt": "Prove it 1", "fast": 0, "smart": 1, "fast_cost": "0.1", "smart_cost": "0.2"}
    rows = [{**row, "fast": index % 2, "prompt": f"Prove it {index}"} for index in range(20)]
    rows += [{"prompt": "x", "smart": 1, "fast_cost": 1, "smart_cost": 1, "reasoning_cost": 1}]
    rows += [{**row, "model": "none/fast"}]
    file.write_text("\n".join(json.dumps(label) for label in rows), "utf-8")
    text = GOOD.replace("  huge: {tools: false, price: {input: 5, output: 6}}\n", "")
    result = run("--config", config(tmp_path, text), "evaluate", file, "--repeats", "100")
    lines = result.stdout.splitlines()
    assert "20 prompts get a tier that has no score here: the nearest stands in." in lines
    assert lines[-2:] == [
        "1 prompts have a score of only one tier: left out.",
        "1 prompts are refused here: left out.",
    ]


def test_without_a_classifier_or_prices_the_report_is_shorter(tmp_path: Path) -> None:
    text = GOOD.replace("large: {price: {input: 3, output: 4}}", "large: {}")
    text += "routing: {classifier: off}\n"
    result = run("--config", config(tmp_path, text), "evaluate", labels(tmp_path))
    assert result.exit_code == 3
    assert "No saving is reported: the price of smart is unknown." in result.stdout
    assert "The classifier" not in result.stdout
    assert "Cost of 95%" not in result.stdout


def test_evaluate_warns_of_labels_that_the_classifier_was_trained_on(tmp_path: Path) -> None:
    """The command compares source names: on its training prompts a classifier looks too good."""
    file = tmp_path / "labels.csv"
    rows = "".join(f"hi {index},{index % 2},1,mmlu_pro\n" for index in range(20))
    file.write_text(f"prompt,fast,smart,source\n{rows}", "utf-8")
    text = GOOD + "routing: {classifier: learned}\n"
    words = ("--config", config(tmp_path, text), "evaluate", file, "--repeats", "100")
    first = run(*words).stdout.splitlines()[0]
    assert first.startswith("The classifier was trained on prompts of mmlu_pro: ")
    assert json.loads(run(*words, "--json").stdout)["trained"] == ["mmlu_pro"]
    prior = GOOD + "routing: {classifier: prior}\n"
    output = run("--config", config(tmp_path, prior), "evaluate", file, "--repeats", "100").stdout
    assert output.startswith("Outcomes of")


def test_costs_in_the_labels_replace_list_prices(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    rows = "".join(f'"hi {index}",1,1,1,0.1,0.2,0.3\n' for index in range(20))
    file.write_text(f"prompt,fast,smart,reasoning,fast_cost,smart_cost,reasoning_cost\n{rows}", "utf-8")  # fmt: skip
    result = run("--config", config(tmp_path), "evaluate", file, "--repeats", "100")
    assert result.stdout.splitlines()[-1] == "Costs are those of the labels."


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        ([], 2, "Missing argument 'LABELS...'"),
        (["labels.csv", "--output-tokens", "slow=3"], 2, "write it as reasoning=3000."),
        (["labels.csv", "--output-tokens", "fast=x"], 2, "write it as reasoning=3000."),
        (["labels.csv", "--repeats", "9"], 2, "9 is not in the range x>=100"),
        (["labels.txt"], 1, "labels.txt: error: is of no kind that labels are read from."),
        (["none.csv"], 1, "none.csv: error: cannot be read: no such file or directory."),
    ],
)
def test_evaluate_says_why_it_cannot_use_its_input(
    tmp_path: Path, words: list[str], status: int, problem: str
) -> None:
    labels(tmp_path)
    arguments = [
        str(tmp_path / word) if word.startswith(("labels", "none")) else word for word in words
    ]
    result = run("--config", config(tmp_path), "evaluate", *arguments)
    assert (result.exit_code, result.stdout) == (status, "")
    assert problem in result.stderr


def test_a_terminal_sees_progress(tmp_path: Path) -> None:
    """Progress goes to standard error, and the report is the same as without a terminal."""
    main, side = pty.openpty()
    words = [sys.executable, "-m", "gateway", "--config", config(tmp_path), "evaluate", labels(tmp_path)]  # fmt: skip
    root = str(Path(__file__).parents[2])
    process = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **ON, "PYTHONPATH": root, "TERM": "xterm"},
        stdout=subprocess.PIPE, stderr=side, timeout=60, check=True,
    )  # fmt: skip
    os.close(side)
    seen = b""
    with suppress(OSError):  # Linux raises this when the other end is closed and everything is read
        while part := os.read(main, 65_536):
            seen += part
    os.close(main)
    assert b"deciding" in seen
    assert b"resampling" in seen
    assert b"100%" in seen
    assert process.stdout.startswith(b"Outcomes of")
    assert b"\x1b" not in process.stdout
