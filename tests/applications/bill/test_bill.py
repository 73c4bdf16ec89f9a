"""Four days of applications cost what the table says; a change that moves them says why."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.applications.bill import table
from tests.applications.bill.day import NAMES, load
from tests.applications.bill.play import Sum, bill
from tests.e2e.conftest import loop
from tests.e2e.world import Loop

__all__ = ["loop"]

DAY = Sum(40, Decimal("0.5"), {"fast": 0.6, "smart": 0.3, "reasoning": 0.1}, 0.2)


@pytest.mark.parametrize("name", NAMES)
def test_a_day_costs_what_the_table_says(loop: Loop, tmp_path: Path, name: str) -> None:
    """`make bill WHY="..."` writes the table where a change is meant to move it."""
    day = bill(loop, tmp_path, load(name))
    assert 30 <= day.calls <= 80
    moved = table.moved(table.read().get(name), day)
    assert not moved, f'{name}: {"; ".join(moved)}. If that is meant: make bill WHY="the reason"'


def test_what_moves_is_told() -> None:
    line = table.Line(DAY.usd, DAY.shares, ("first",))
    assert table.moved(line, DAY) == []
    assert table.moved(line, replace(DAY, usd=Decimal("0.5249"))) == []
    assert table.moved(line, replace(DAY, usd=Decimal("0.53"))) == ["it costs 0.53 USD, the table has 0.5 (+6.0%)"]  # fmt: skip
    assert len(table.moved(line, replace(DAY, shares={"fast": 0.66, "smart": 0.24, "reasoning": 0.1}))) == 2  # fmt: skip
    assert table.moved(None, DAY) == ["it is not in the table"]


def test_a_day_that_moved_gets_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table, "FILE", tmp_path / "bill.yaml")
    other = replace(DAY, usd=Decimal("0.7"))
    table.write({"chat": DAY, "rag": DAY}, "the first table")
    table.write({"chat": DAY, "rag": other}, "rag asks twice")
    found = table.read()
    assert found["chat"].why == ("the first table",)
    assert found["rag"] == table.Line(other.usd, DAY.shares, ("the first table", "rag asks twice"))


@pytest.mark.parametrize("name", NAMES)
def test_a_day_has_more_than_one_language(name: str) -> None:
    turns = [turn for turns in load(name).conversations for turn in turns]
    assert any(not turn.text.isascii() for turn in turns)
