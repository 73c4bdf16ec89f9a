"""`tiergate dial`: a table for people, points for programs."""

import hashlib
import json
from pathlib import Path

from tests.cli.run import GOOD, config, run
from tests.cli.test_costs_reprice import write
from tests.cli.test_golden import GOLDEN
from tests.cli.test_replay import ID, lines, served, tiergate


def test_each_position_has_a_row_and_the_configuration_one(tmp_path: Path) -> None:
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


def test_programs_get_points_of_calls_by_the_keys_of_the_configuration(tmp_path: Path) -> None:
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


def test_prices_that_are_not_known_are_told_so(tmp_path: Path) -> None:
    golden = tmp_path / "own.yaml"
    golden.write_text("prompts:\n- {prompt: hi, tier: fast}\n")
    text = GOOD.replace(
        "small: {tools: false, price: {input: 1, output: 2}}", "small: {tools: false}"
    )
    result = run("--config", config(tmp_path, text), "dial", golden)
    assert "unknown" in result.stdout


def test_own_calls_stand_beside_what_each_position_would_give(tmp_path: Path) -> None:
    rows = [
        served(tmp_path, ID, "hi"),
        served(tmp_path, "tg-2", "Plan a trip of five days to Rome for two."),
        served(tmp_path, "tg-3", "Prove it."),
    ]
    write(tmp_path, *rows)
    _, decided, *told = lines(tiergate(tmp_path, "dial", "--since", "2026-10-01"))
    positions = [line for line in told if line.split()[0].isdigit()]
    assert decided.startswith("decided ")
    assert decided.endswith("2 calls")  # a rule decided the third
    assert positions[0].startswith("0 100% 0% 0%")
    assert positions[-1].startswith("10 0% 0% 100% 1.000")


OWN = GOOD + "routing: {quality: 10, quality_reference: own}\n"
TEXTS = ("hi", "Plan a trip of five days to Rome for two.")


def serve_many(folder: Path) -> None:
    """Fill a ledger: 60 calls that a classifier decided, with answers of 123 tokens on fast."""
    rows = [
        served(folder, f"tg-{number:023x}", TEXTS[number % 2], tier="fast", output=123)
        for number in range(60)
    ]
    write(folder, *rows)


def test_own_calls_tell_how_long_answers_are_and_are_the_reference_set(tmp_path: Path) -> None:
    serve_many(tmp_path)
    told = lines(tiergate(tmp_path, "dial", "--since", "2026-10-01", text=OWN))
    assert told[1].startswith("decided 100% 0% 0%")
    assert told[1].endswith("0.24 60 calls")  # 120 tokens at 2 USD a million
    assert told[2].startswith("as set 0% 0% 100% 1.000 3.72")
    assert told[-2:] == [
        "Answers of acme have 120, 180, 620 tokens; own calls give the figures of fast.",
        "The reference set is own calls.",
    ]
    (tmp_path / "golden.yaml").write_text(GOLDEN)
    told = lines(tiergate(tmp_path, "dial", str(tmp_path / "golden.yaml"), text=OWN))
    assert told[-1] == "The reference set is own calls."


def test_a_text_is_explained_by_what_own_calls_tell(tmp_path: Path) -> None:
    serve_many(tmp_path)
    told = tiergate(tmp_path, "explain", "hi", text=OWN.replace("quality: 10", "quality: 5"))
    assert "answers of 120, 180, 620 tokens; the reference set is own calls" in told.stdout


def test_a_ledger_without_such_calls_says_so(tmp_path: Path) -> None:
    (line,) = lines(tiergate(tmp_path, "dial", "--since", "7d"))
    assert line == "No calls in the ledger that a classifier decided at a lab with known prices."


def test_a_file_and_own_calls_are_two_questions(tmp_path: Path) -> None:
    result = tiergate(tmp_path, "dial", "golden.yaml", "--since", "7d")
    assert result.exit_code == 2
    assert "not both" in result.output
