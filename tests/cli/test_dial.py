"""`tiergate dial`: a table for people, points for programs."""

import hashlib
import json
from pathlib import Path

from tests.cli.run import GOOD, config, run
from tests.cli.test_costs_reprice import write
from tests.cli.test_golden import GOLDEN
from tests.cli.test_replay import ID, make_served_row, output_lines, tiergate


def test_dial_has_a_row_for_each_position_and_one_for_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "golden.yaml").write_text(GOLDEN)
    file = config(tmp_path, GOOD + "routing: {classifier: prior, quality: 4}\n")
    result = run("--config", file, "dial")
    assert result.exit_code == 0
    heading, as_set, *rows, note, tokens, reference = result.stdout.splitlines()
    assert heading.split() == [
        "quality", "fast", "smart", "reasoning", "keeps", "USD/1000", "agree",
    ]  # fmt: skip
    assert as_set.split()[:2] == ["as", "set"]
    assert [row.split()[0] for row in rows] == [str(position) for position in range(11)]
    assert rows[0].split()[1:4] == ["50%", "0%", "50%"]
    assert rows[-1].endswith("1 of 2")
    assert note.startswith("Tiers are shares of the prompts.")
    assert tokens == (
        "Answers have 400, 600, 2,000 tokens by tier: the ledger has too few answers for figures of its own."
    )
    assert reference == "The reference set is the one that ships."


def test_json_has_a_point_for_each_position_under_the_limits_of_a_key(tmp_path: Path) -> None:
    golden = tmp_path / "own.yaml"
    golden.write_text("prompts:\n- {prompt: hi, tier: fast, key: ann}\n")
    digest = hashlib.sha256(b"secret").hexdigest()
    (tmp_path / "keys.yaml").write_text(f"ann: {{sha256: '{digest}', tiers: [fast]}}\n")
    file = config(tmp_path, GOOD + "keys: keys.yaml\n")
    result = run("--config", file, "dial", golden, "--json")
    assert result.exit_code == 0, result.output
    points = json.loads(result.stdout)
    assert [point["position"] for point in points] == [None, *range(11)]
    assert all(point["tiers"] == {"fast": 1, "smart": 0, "reasoning": 0} for point in points)


def test_dial_shows_unknown_prices_as_unknown(tmp_path: Path) -> None:
    golden = tmp_path / "own.yaml"
    golden.write_text("prompts:\n- {prompt: hi, tier: fast}\n")
    text = GOOD.replace(
        "small: {tools: false, price: {input: 1, output: 2}}", "small: {tools: false}"
    )
    result = run("--config", config(tmp_path, text), "dial", golden)
    assert "unknown" in result.stdout


def test_dial_shows_recorded_calls_beside_each_position(tmp_path: Path) -> None:
    rows = [
        make_served_row(tmp_path, ID, "hi"),
        make_served_row(tmp_path, "tg-2", "Plan a trip of five days to Rome for two."),
        make_served_row(tmp_path, "tg-3", "Prove it."),
    ]
    write(tmp_path, *rows)
    _, decided, *rows_shown = output_lines(tiergate(tmp_path, "dial", "--since", "2026-10-01"))
    positions = [line for line in rows_shown if line.split()[0].isdigit()]
    assert decided.startswith("decided ")
    assert decided.endswith("2 calls")  # a rule decided the third
    assert positions[0].startswith("0 100% 0% 0%")
    assert positions[-1].startswith("10 0% 0% 100% 1.000")


OWN = GOOD + "routing: {quality: 10, quality_reference: own}\n"
TEXTS = ("hi", "Plan a trip of five days to Rome for two.")


def serve_many(folder: Path) -> None:
    """Fill a ledger: 60 calls that a classifier decided, with answers of 123 tokens on fast."""
    rows = [
        make_served_row(folder, f"tg-{number:023x}", TEXTS[number % 2], tier="fast", output=123)
        for number in range(60)
    ]
    write(folder, *rows)


def test_recorded_calls_give_answer_lengths_and_the_reference_set(tmp_path: Path) -> None:
    serve_many(tmp_path)
    output = output_lines(tiergate(tmp_path, "dial", "--since", "2026-10-01", text=OWN))
    assert output[1].startswith("decided 100% 0% 0%")
    assert output[1].endswith("0.24 60 calls")  # 120 tokens at 2 USD a million
    assert output[2].startswith("as set 0% 0% 100% 1.000 3.72")
    assert output[-2:] == [
        "Answers of acme have 120, 180, 620 tokens; your own calls give the figures of fast.",
        "The reference set is your own calls.",
    ]
    (tmp_path / "golden.yaml").write_text(GOLDEN)
    output = output_lines(tiergate(tmp_path, "dial", str(tmp_path / "golden.yaml"), text=OWN))
    assert output[-1] == "The reference set is your own calls."


def test_explain_uses_answer_lengths_of_recorded_calls(tmp_path: Path) -> None:
    serve_many(tmp_path)
    result = tiergate(tmp_path, "explain", "hi", text=OWN.replace("quality: 10", "quality: 5"))
    assert "answers of 120, 180, 620 tokens; the reference set is your own calls" in result.stdout


def test_without_suitable_calls_in_the_ledger_dial_says_so(tmp_path: Path) -> None:
    (line,) = output_lines(tiergate(tmp_path, "dial", "--since", "7d"))
    assert line == "No calls in the ledger that a classifier decided at a lab with known prices."


def test_dial_refuses_a_file_together_with_a_period(tmp_path: Path) -> None:
    result = tiergate(tmp_path, "dial", "golden.yaml", "--since", "7d")
    assert result.exit_code == 2
    assert "not both" in result.output
