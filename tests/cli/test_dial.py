"""`tiergate dial`: a table for people, points for programs."""

import json
from pathlib import Path

from tests.cli.run import GOOD, config, run
from tests.cli.test_golden import GOLDEN


def test_each_position_has_a_row_and_the_configuration_one(tmp_path: Path) -> None:
    (tmp_path / "golden.yaml").write_text(GOLDEN)
    file = config(tmp_path, GOOD + "routing: {classifier: prior, quality: 4}\n")
    result = run("--config", file, "dial")
    assert result.exit_code == 0
    heading, as_set, *rows, note = result.stdout.splitlines()
    assert heading.split() == [
        "quality", "fast", "smart", "reasoning", "keeps", "USD/1000", "agree",
    ]  # fmt: skip
    assert as_set.split()[:2] == ["as", "set"]
    assert [row.split()[0] for row in rows] == [str(position) for position in range(11)]
    assert rows[0].split()[1:4] == ["50%", "0%", "50%"]
    assert rows[-1].endswith("1 of 2")
    assert note.startswith("Tiers are shares of the prompts.")


def test_programs_get_points(tmp_path: Path) -> None:
    golden = tmp_path / "own.yaml"
    golden.write_text("prompts:\n- {prompt: hi, tier: fast, key: nobody}\n")
    keys = tmp_path / "keys.yaml"
    keys.write_text("{}\n")
    file = config(tmp_path, GOOD + f"server: {{keys: {keys}}}\n")
    result = run("--config", file, "dial", golden, "--json")
    assert result.exit_code == 1 or [point["position"] for point in json.loads(result.stdout)] == [
        None,
        *range(11),
    ]


def test_prices_that_are_not_known_are_told_so(tmp_path: Path) -> None:
    golden = tmp_path / "own.yaml"
    golden.write_text("prompts:\n- {prompt: hi, tier: fast}\n")
    text = GOOD.replace(
        "small: {tools: false, price: {input: 1, output: 2}}", "small: {tools: false}"
    )
    result = run("--config", config(tmp_path, text), "dial", golden)
    assert "unknown" in result.stdout
