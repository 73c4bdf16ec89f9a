"""Test that counters which begin together read the journals once, and never too early."""

import asyncio

import pytest

from gateway.core.ledger_rows import FinalRow
from gateway.pipeline.open_calls import OpenCallsReader
from tests.ledger.rows import entry

LOST_AT = 1_000.0


class FakeJournals:
    """Counts how often it is read; its one open call is named after the number."""

    def __init__(self) -> None:
        self.reads = 0
        self.now = LOST_AT + 5
        self.reader = OpenCallsReader(self.read, lambda: self.now)

    def read(self) -> list[FinalRow]:
        self.reads += 1
        return [entry(f"call-{self.reads}")]


@pytest.fixture
def journals() -> FakeJournals:
    return FakeJournals()


async def test_counters_that_begin_together_share_one_look(journals: FakeJournals) -> None:
    results = await asyncio.gather(*(journals.reader(LOST_AT) for _ in range(50)))
    assert journals.reads == 1
    assert {row.id for rows in results for row in rows} == {"call-1"}


@pytest.mark.parametrize("seconds", [1.0, -1.0])
async def test_a_look_of_another_time_is_not_used(journals: FakeJournals, seconds: float) -> None:
    await journals.reader(LOST_AT)
    journals.now += seconds
    assert [row.id for row in await journals.reader(LOST_AT)] == ["call-2"]


async def test_a_look_from_before_a_loss_is_not_used(journals: FakeJournals) -> None:
    """Calls may have begun between the look and the loss."""
    await journals.reader(LOST_AT)
    journals.now += 0.5
    assert [row.id for row in await journals.reader(journals.now - 0.2)] == ["call-2"]
