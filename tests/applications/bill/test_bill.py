"""Four days of applications cost what the table says; a change that moves them gives a reason."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from tests.applications.bill import table
from tests.applications.bill.day import NAMES, load
from tests.applications.bill.play import QUALITIES, Sum, play_days
from tests.docs import pages
from tests.e2e.conftest import loop
from tests.e2e.world import Loop

__all__ = ["loop"]

DAY = Sum(40, Decimal("0.5"), {"fast": 0.6, "smart": 0.3, "reasoning": 0.1}, 0.2)
LINE = table.Line({None: table.Bill(DAY.usd, DAY.shares)}, ("first",))


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_days_cost_what_the_table_says(loop: Loop, tmp_path: Path, quality: int | None) -> None:
    """`make bill WHY="..."` writes the table when a change is meant to move it."""
    days, figures = play_days(loop, tmp_path, quality), table.read()
    assert all(30 <= day.calls <= 80 for day in days.values())
    moved = [f"{name} {it}" for name, day in days.items() for it in table.moved(figures.get(name), {quality: day})]  # fmt: skip
    assert not moved, f'{"; ".join(moved)}. If that is meant: make bill WHY="the reason"'


def test_the_days_cost_the_same_over_two_replicas(loop: Loop, tmp_path: Path) -> None:
    """Each replica has a prompt cache of its own: conversations must stay where theirs is."""
    figures, equals = table.read(), ("openai", "anthropic")
    days = play_days(loop, tmp_path, 5, equals)
    moved = [f"{name} {change}" for name, day in days.items() for change in table.moved(figures[name], {5: day})]  # fmt: skip
    assert moved == []


@pytest.mark.parametrize("name", NAMES)
def test_no_day_costs_less_at_a_higher_position_of_the_dial(name: str) -> None:
    costs = [(quality, bill.usd) for quality, bill in table.read()[name].bills.items() if quality]
    assert [quality for quality, _ in costs] == [3, 5, 7, 9]
    fallen = [f"{lower[0]} to {upper[0]}" for lower, upper in pairwise(costs) if upper[1] < lower[1]]  # fmt: skip
    assert fallen == []


def test_the_page_has_the_bills_of_the_table() -> None:
    bills = {name: line.bills for name, line in table.read().items()}
    assert pages.table("what a day costs, USD", "automatic.md").rows == [
        [f"`{name}`", *(f"{bills[name][quality].usd:.2f}" for quality in QUALITIES)]
        for name in NAMES
    ]


def test_each_figure_that_moved_is_reported() -> None:
    assert table.moved(LINE, {None: DAY}) == []
    assert table.moved(LINE, {None: replace(DAY, usd=Decimal("0.5249"))}) == []
    assert table.moved(LINE, {None: replace(DAY, usd=Decimal("0.53"))}) == [
        "without the dial, it costs 0.53 USD, the table has 0.5 (+6.0%)"
    ]
    assert len(table.moved(LINE, {None: replace(DAY, shares={"fast": 0.66, "smart": 0.24, "reasoning": 0.1})})) == 2  # fmt: skip
    assert table.moved(LINE, {5: DAY}) == ["at quality 5, it is not in the table"]
    assert table.moved(None, {None: DAY}) == ["it is not in the table"]


def test_a_day_that_moved_gets_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table, "FILE", tmp_path / "bill.yaml")
    other = replace(DAY, usd=Decimal("0.7"))
    days: dict[str, table.Sums] = {"chat": {None: DAY, 5: DAY}, "rag": {None: DAY, 5: DAY}}
    table.write(days, "the first table")
    table.write({**days, "rag": {None: DAY, 5: other}}, "rag asks twice")
    written = table.read()
    bill = table.Bill(DAY.usd, DAY.shares)
    assert written["chat"] == table.Line({None: bill, 5: bill}, ("the first table",))
    assert written["rag"] == table.Line(
        {None: bill, 5: table.Bill(other.usd, DAY.shares)}, ("the first table", "rag asks twice")
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_day_has_more_than_one_language(name: str) -> None:
    turns = [turn for turns in load(name).conversations for turn in turns]
    assert any(not turn.text.isascii() for turn in turns)
