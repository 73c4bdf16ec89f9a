"""The command `arms`: what people and programs get of the arms of a rule."""

import json
import re
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import arms
from gateway.cli.session import LedgerLocation
from gateway.core.ledger_rows import FinalRow
from gateway.ledger import arm_rows
from tests.cli.run import run as run_command
from tests.cli.test_costs import ledger_at, write
from tests.ledger.rows import entry, feedback

IN, OUT = 30, 60
"""Conversations of each arm."""


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerLocation:
    return ledger_at(tmp_path)


def run(ledger: LedgerLocation, *words: str) -> Result:
    return CliRunner().invoke(arms.command, words, obj=lambda: ledger)


def conversation(
    number: int, arm: str, usd: str, failed: int = 0, **changes: Any
) -> list[FinalRow]:
    """Return two calls of a conversation, of which some failed."""
    rng = Random(number)
    plain = {"arm": arm, "conversation": f"{arm} {number}", "wasted": Decimal(0), **changes}
    return [
        entry(
            f"{arm}-{number}-{call}", cost=Decimal(usd) + Decimal(rng.randrange(100)) / 10_000,
            state="failed" if call < failed else "settled", first_content=rng.uniform(0.2, 0.4),
            duration=rng.uniform(1, 2), **plain,
        )
        for call in range(2)
    ]  # fmt: skip


def experiment() -> list[FinalRow]:
    """Return calls that are cheaper in than out, and fail as often."""
    inside = [conversation(number, "canary:in", "0.01", failed=number % 10 == 0) for number in range(IN)]  # fmt: skip
    outside = [conversation(number, "canary:out", "0.03", failed=number % 10 == 0) for number in range(OUT)]  # fmt: skip
    return [call for calls in (*inside, *outside) for call in calls]


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line)


def test_a_table_has_both_arms_their_difference_and_what_can_be_claimed(
    ledger: LedgerLocation,
) -> None:
    rows = experiment()
    rated = [row.id for row in rows if row.id.endswith("-1")]
    write(ledger, *rows, *(feedback(id, verdict="good") for id in rated))
    result = run(ledger)
    assert result.exit_code == 0, result.output
    head, tail = result.output.splitlines()[:2]
    usd = {arm: sum(row.cost or 0 for row in rows if row.arm == f"canary:{arm}") for arm in ("in", "out")}  # fmt: skip
    assert head == f"canary in: conversations 30, calls 60, rated 30, USD {usd['in']:.6f}"
    assert tail == f"canary out: conversations 60, calls 120, rated 60, USD {usd['out']:.6f}"
    lines = [cells(line) for line in result.output.splitlines()[2:]]
    assert lines[0] == ["figure", "in", "out", "in - out", "finding"]
    by_name = {line[0]: line[1:] for line in lines[2:]}
    assert list(by_name) == [heading for heading, _ in arms._FIGURES.values()]
    assert by_name["calls a conversation"] == [
        *["2.00 (2.00 to 2.00)"] * 2, "0.00 (0.00 to 0.00)", "no difference can be claimed",
    ]  # fmt: skip
    assert by_name["USD a call"][-1] == by_name["USD a conversation"][-1] == "in is lower"
    assert by_name["failed"][:2] == ["5.0% (1.6% to 14.2%)", "5.0% (2.3% to 10.6%)"]
    assert by_name["failed"][-1] == "no difference can be claimed"
    assert by_name["good, of rated"][0] == "100.0% (87.8% to 100.0%)"
    for name in "first content p50, s", "whole answer p50, s":
        assert by_name[name][-1] == "no difference can be claimed"
    assert by_name["whole answer p95, s"][-1] == "too few conversations"


def test_json_has_money_as_text_and_null_for_what_is_not_known(ledger: LedgerLocation) -> None:
    write(ledger, *experiment())
    report = json.loads(run(ledger, "canary", "--json", "--until", "2030-01-01").output)
    assert list(report) == ["since", "until", "zone", "confidence", "rules", "damaged_rows"]
    assert (report["since"], report["until"], report["zone"]) == (None, 1893542400.0, "UTC")
    (result,) = report["rules"]
    assert list(result) == ["rule", "in", "out", "in_both", "differences", "findings"]
    assert result["findings"]["cost_per_call"] == "lower"
    assert result["in"]["figures"]["good"] is result["differences"]["good"] is None
    assert set(result["differences"]["cost_per_call"]) == {"value", "low", "high"}
    assert result["differences"]["cost_per_call"]["high"].startswith("-0.0")
    assert result["findings"]["good"] is result["findings"]["duration_p95"] is None


def test_each_rule_has_a_table_and_a_name_chooses_one(ledger: LedgerLocation) -> None:
    write(ledger, *experiment(), entry("x", arm="cap:in, canary:out", attempts=2))
    heads = [line.partition(":")[0] for line in run(ledger).output.splitlines() if ", rated " in line]  # fmt: skip
    assert heads == ["canary in", "canary out", "cap in", "cap out"]
    output = run(ledger, "cap").output
    assert "cap in: conversations 1, calls 1, rated 0, USD 0.000013\n" in output
    assert "cap out: conversations 0, calls 0, rated 0, USD unknown\n" in output
    lines = {cells(line)[0]: cells(line)[1:] for line in output.splitlines()}
    assert lines["failed"] == ["0.0%", "-", "-", "no calls to compare"]
    assert output.endswith("1 call has an unknown cost: the means of costs leave out its conversation.\n")  # fmt: skip


def test_notes_say_what_is_unknown_and_who_changed_arms(ledger: LedgerLocation) -> None:
    moved = [
        *conversation(0, "canary:in", "1", conversation="a"), *conversation(1, "canary:out", "1", conversation="a"),
        *conversation(2, "canary:in", "1", conversation="b", wasted=None, attempts=2),
    ]  # fmt: skip
    write(ledger, *moved)
    note = "1 conversation has calls in both arms, as `traffic` was changed: choose a time after that."  # fmt: skip
    lines = run(ledger).output.splitlines()
    assert lines[-2:] == [
        "2 calls have an unknown cost: the means of costs leave out their conversations.", note,
    ]  # fmt: skip
    write(ledger, *conversation(3, "canary:in", "1", conversation="c"), *conversation(4, "canary:out", "1", conversation="c"))  # fmt: skip
    assert run(ledger).output.splitlines()[-1].startswith("2 conversations have calls in both arms")


def test_only_and_since_choose_calls(ledger: LedgerLocation) -> None:
    write(ledger, *experiment(), entry("x", arm="canary:in", at=1.0, conversation="old"))
    report = json.loads(run(ledger, "--json", "--since", "2026-01-01", "--only", "arm=canary:in").output)  # fmt: skip
    (result,) = report["rules"]
    assert (result["in"]["calls"], result["out"]["calls"]) == (2 * IN, 0)
    assert result["out"]["cost"] is None


def test_an_unknown_rule_is_named_with_the_nearest(ledger: LedgerLocation) -> None:
    write(ledger, *experiment())
    result = run(ledger, "canray")
    assert result.exit_code == 1
    assert result.stderr == "Error: no call has an arm of 'canray' here. Did you mean 'canary'?\n"
    empty = ledger_at(ledger.journal_folder.parent / "empty")
    assert run(empty, "canary").stderr == "Error: no call has an arm of 'canary' here.\n"


def test_without_arms_the_command_says_so(ledger: LedgerLocation) -> None:
    text = "No call has an arm here: none was tested by a rule with `traffic`.\n"
    assert run(ledger).output == text
    assert not ledger.journal_folder.exists()
    write(ledger, entry("a"))
    assert run(ledger).output == text
    assert json.loads(run(ledger, "--json").output)["rules"] == []


def test_too_many_calls_are_refused_with_what_to_do(
    ledger: LedgerLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ledger, *experiment())
    defaults = dict(arm_rows.read_arm_rows.__kwdefaults__ or {})
    monkeypatch.setattr(arm_rows.read_arm_rows, "__kwdefaults__", {**defaults, "max_calls": 9})
    result = run(ledger)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the query reads more than 9 calls: name a rule, choose a shorter time with --since"
        " and --until, or fewer calls with --only.\n"
    )


def test_damaged_rows_are_noted(ledger: LedgerLocation) -> None:
    write(ledger, *experiment())
    (segment,) = ledger.journal_folder.glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    result = run(ledger)
    assert result.stderr == "1 row of the journal cannot be read: calls may be missing.\n"
    assert json.loads(run(ledger, "--json").stdout)["damaged_rows"] == 1


def test_a_wrong_time_is_a_mistake_of_its_option(tmp_path: Path) -> None:
    result = run_command("arms", "--since", "yesterday", environ={"TIERGATE_DATA": str(tmp_path)})
    assert result.exit_code == 2
    assert "Invalid value for --since" in result.stderr
