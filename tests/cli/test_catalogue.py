"""`tiergate catalogue update`: a diff of prices that the list has changed, and what stays."""

from pathlib import Path

import pytest

from gateway.settings import yaml
from tests.cli.run import GOOD, config, run

MODELS = """\
models:
  gpt-4o:
    price: {input: 3, cache_read: 1.25, output: 10, as_of: "2026-01-01",
            tools: {web_search: 0.5}}
  o3-mini: {price: {input: 1.1, output: 9, as_of: "2026-12-30"}}
  gpt-4o-mini: {price: {input: 9, output: 0.6, as_of: "2026-01-01"}}  # our contract
  # by hand
  gpt-4.1: {price: {input: 9, output: 8, as_of: "2026-01-01"}}
  gpt-4.1-mini: {price: {input: 9, output: 1.6}}
  gpt-4.1-nano:
    price: {input: 9, output: 0.4, as_of: "2026-01-01", from: {2030-01-01: {input: 1, output: 1}}}
  gpt-5: {price: {input: 9, output: 10, as_of: "2026-01-01", services: {flex: {input: 1, output: 1}}}}
  gpt-5-mini: {price: &shared {input: 9, output: 2, as_of: "2026-01-01"}}
  gpt-5-nano: {price: *shared}
  acme/o3: {price: {input: 9, output: 8, as_of: "2026-01-01"}}
  small: {price: {input: 1, output: 2, as_of: "2026-01-01"}}
  acme/tts-1: {price: {units: {character: 0.001}, as_of: "2026-01-01"}}
"""
TEXT = GOOD[: GOOD.index("models:")].replace(
    "    accounts:", '    prices: openai\n    names: ["gpt-*", "o3-*"]\n    accounts:'
).replace("{model: large}", "{model: large}, {model: o3}") + MODELS  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return config(tmp_path, TEXT)


def test_old_prices_change_as_a_diff_and_the_rest_stays_with_its_reason(file: Path) -> None:
    result = run("--config", file, "catalogue", "update", "--date", "2026-11-30")
    assert result.exit_code == 0, result.output
    changed = [line for line in result.stdout.splitlines() if line[:1] in "+-"]
    assert changed[2:] == [
        '-    price: {input: 3, cache_read: 1.25, output: 10, as_of: "2026-01-01",',
        "-            tools: {web_search: 0.5}}",
        '+    price: {input: 2.5, cache_read: 1.25, output: 10, as_of: "2026-11-30",',
        "+            tools: {web_search: 0.01}}",
        '-  acme/o3: {price: {input: 9, output: 8, as_of: "2026-01-01"}}',
        '+  acme/o3: {price: {input: 2, output: 8, as_of: "2026-11-30"}}',
        '-  acme/tts-1: {price: {units: {character: 0.001}, as_of: "2026-01-01"}}',
        '+  acme/tts-1: {price: {units: {character: 0.000015}, as_of: "2026-11-30"}}',
    ]
    assert file.read_text() == TEXT, "without --write no file changes"
    reasons = {
        line.split(": ")[1].split(" stays, as ")[0]: line.split(" stays, as ")[1].split(":")[0]
        for line in result.stderr.splitlines()
        if " stays, as " in line
    }
    shared = "the list differs in a part that is not written there, or that others share"
    assert reasons == {
        "o3-mini": "its as_of, 2026-12-30, is not before the list's day",
        "gpt-4o-mini": "it has a comment",
        "gpt-4.1": "it has a comment",
        "gpt-4.1-mini": "it has no as_of",
        "gpt-4.1-nano": "it has later prices, or service tiers with rates of their own",
        "gpt-5": "it has later prices, or service tiers with rates of their own",
        "gpt-5-mini": shared,
        "gpt-5-nano": shared,
    }
    assert result.stderr.splitlines()[-1].endswith("3 prices to update, 8 differ and stay.")


def test_write_changes_the_files_once(file: Path) -> None:
    words = ("--config", file, "catalogue", "update", "--date", "2026-11-30", "--write")
    first = run(*words)
    assert first.exit_code == 0
    assert "3 prices written, 8 differ" in first.stdout
    assert 'input: 2.5, cache_read: 1.25, output: 10, as_of: "2026-11-30"' in file.read_text()
    assert "0 prices written, 8 differ" in run(*words).stdout
    assert run("--config", file, "check").exit_code == 0


def test_a_file_keeps_its_ends_of_lines(file: Path) -> None:
    """A file of Windows changes in its prices alone."""
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    old_text = file.read_bytes()
    run("--config", file, "catalogue", "update", "--date", "2026-11-30", "--write")
    new_text = file.read_bytes()
    assert new_text != old_text
    assert new_text.count(b"\r\n") == old_text.count(b"\r\n") == new_text.count(b"\n")


def test_without_a_date_the_day_is_that_of_the_newest_price_of_the_list(file: Path) -> None:
    result = run("--config", file, "catalogue", "update")
    assert "genai-prices " in result.stderr
    assert result.stdout.startswith("--- a/")


def test_a_wrong_date_and_a_missing_list_are_errors(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = run("--config", file, "catalogue", "update", "--date", "soon")
    assert (wrong.exit_code, "'soon' is no day" in wrong.stderr) == (2, True)
    monkeypatch.setattr("gateway.settings.list_prices.is_installed", lambda: False)
    missing = run("--config", file, "catalogue", "update")
    assert (missing.exit_code, "pip install 'tiergate[prices]'" in missing.stderr) == (1, True)


def test_the_files_of_the_package_are_not_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.catalogue._PACKAGED_CONFIG", file.parent.resolve())
    result = run("--config", file, "catalogue", "update", "--date", "2026-11-30", "--write")
    assert (result.exit_code, "tiergate init" in result.stderr) == (1, True)
    assert file.read_text() == TEXT


def test_scalars_have_the_place_where_they_stand_unless_an_alias_repeats_them() -> None:
    text = "a: {b: 1, c: [x, &y 2]}\nd: *y\ne: null\n"
    spans = yaml.locate_scalars(text)
    assert {path: text[start:end] for path, (start, end) in spans.items()} == {
        ("a", "b"): "1", ("a", "c", 0): "x", ("e",): "null",
    }  # fmt: skip
    assert yaml.locate_scalars("") == {}
