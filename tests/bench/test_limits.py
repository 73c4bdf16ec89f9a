"""The cost of limits and budgets per call: the calls, the table, and the effect of a missed bound."""

from itertools import count
from typing import Any

import pytest

from bench import limits, redis_process
from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    MissingCounter,
    Refusal,
)
from gateway.limits.memory import MemoryCounters
from gateway.limits.redis import RedisCounters


class WatchedStore:
    """A counter store that records its last answer to each call and the number of calls in flight."""

    answers: dict[str, str]
    flight: set[str]
    most: int

    async def admit(self, ask: AdmissionRequest, now: float) -> Admitted | Refusal | MissingCounter:
        assert len(ask.demands) in (2, 5)
        self._counted(ask.id)
        return self._seen(ask.id, await super().admit(ask, now))  # type: ignore[misc]  # of the counter store

    def _counted(self, id: str) -> None:
        self.flight.add(id)
        type(self).most = max(self.most, len(self.flight))

    def _seen(
        self, id: str, answer: Admitted | Refusal | MissingCounter
    ) -> Admitted | Refusal | MissingCounter:
        self.answers[id] = type(answer).__name__
        return answer

    async def settle_all(self, tenant: str, ends: Any, *more: Any) -> None:
        self.flight.difference_update(id for id, _, micro in ends if micro == 1_900)
        await super().settle_all(tenant, ends, *more)  # type: ignore[misc]  # of the counter store


@pytest.mark.parametrize("kind", [MemoryCounters, RedisCounters])
def test_the_bench_measures_calls_that_are_admitted_and_settled(
    monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    """Each call needs five counters, or two of money, and 32 calls are in flight.

    Leases serve the last hundred, all but a few: Redis hears only of what makes them busy.
    """
    if kind is RedisCounters and redis_process.program() is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    watched: Any = type("Watched", (WatchedStore, kind), {})
    watched.answers, watched.flight, watched.most = {}, set(), 0
    monkeypatch.setattr(f"bench.limits.{kind.__name__}", watched)
    limits.measure(1, 100)
    in_one_pass, leased_pass = 10 + 100, 10 + 2 * 100
    least = in_one_pass if kind is MemoryCounters else 2 * in_one_pass + leased_pass
    assert set(watched.answers.values()) == {"Admitted"}
    assert least <= len(watched.answers) <= least + (0 if kind is MemoryCounters else 50)
    assert watched.flight == set()
    assert 32 <= watched.most <= 64  # some calls end while others begin


def test_the_best_round_counts() -> None:
    """The rounds take 3, 1 and 2 seconds for 2 calls."""
    ticks = iter([0.0, 3.0, 3.0, 4.0, 4.0, 6.0] * 4)
    assert {cost.cost for cost in limits.measure(3, 2, ticks.__next__)} == {5e5}


def test_the_table_marks_a_missed_bound(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.redis_process.program", lambda: None)
    few = ["--rounds", "1", "--calls", "1"]
    assert limits.main(few, lambda: 0.0) == 0
    assert capsys.readouterr().out == (
        "in memory     0.0\nmicroseconds of CPU; at most 75 a call\n"
    )
    assert limits.main(few, map(float, count()).__next__) == 1
    assert "in memory  1000000.0!\n" in capsys.readouterr().out
