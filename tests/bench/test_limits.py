"""What limits and budgets cost a call: what is measured, the table, and what a missed bound does."""

from itertools import count

import pytest

from bench import limits
from gateway.limits.memory import Memory
from gateway.limits.meter import Ask, Over, Passed, Unseeded


def test_what_is_measured_are_calls_that_pass_and_are_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By five counters each, with 32 calls in flight."""
    told: list[type] = []
    flight: list[int] = []
    made: list[Memory] = []

    class Watched(Memory):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

        async def admit(self, ask: Ask, now: float) -> Passed | Over | Unseeded:
            assert len(ask.needs) == 5
            answer = await super().admit(ask, now)
            told.append(type(answer))
            flight.append(len(self._book("default").holds))
            return answer

    monkeypatch.setattr("bench.limits.Memory", Watched)
    limits.measure(1, 100)
    assert told.count(Passed) == 100
    assert told.count(Over) == 0
    assert max(flight) == flight[-1] == 32
    (meter,) = made
    assert meter._book("default").holds == {}
    spent = meter._book("default").spent
    assert spent["usd|all|all|2026-11"] == 100 * 2_000


def test_the_best_round_counts() -> None:
    """Of rounds of 3, 1 and 2 seconds for 2 calls."""
    ticks = iter([0.0, 3.0, 3.0, 4.0, 4.0, 6.0] * 2)
    assert {one.cost for one in limits.measure(3, 2, ticks.__next__)} == {5e5}


def test_the_table_has_a_mark_where_the_bound_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--rounds", "1", "--calls", "1"]
    assert limits.main(few, lambda: 0.0) == 0
    assert capsys.readouterr().out == (
        "needs                0.0\n"
        "admit and settle     0.0\n"
        "microseconds of CPU; at most 20 a call\n"
    )
    assert limits.main(few, map(float, count()).__next__) == 1
    assert "admit and settle  1000000.0!\n" in capsys.readouterr().out
