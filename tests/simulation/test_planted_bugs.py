"""The simulator finds bugs: each test plants one in the gateway, and the simulations tell of it.

So each invariant can fail. The seeds are those of few scenarios in which the bug matters.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.cache import key as cache_key
from gateway.cache.coalescing import Flights
from gateway.core.call_accounting import CallAccount
from gateway.ledger import journal, recovery
from gateway.ledger.errors import SinkError
from gateway.ledger.ingest import read_sizes
from gateway.ledger.sinks.base import JournalSink
from gateway.ledger.writer import LedgerWriter
from gateway.limits.limiter import Limiter
from gateway.limits.memory import MemoryCounters, _OwnerCounters
from gateway.pipeline import ledger_runtime
from gateway.upstream.failover import Upstream
from gateway.upstream.health import InFlightAttempt
from gateway.upstream.http1.pool import ConnectionPool
from tests.simulation.simulation import simulate

type Plant = Callable[[pytest.MonkeyPatch], None]


def forget_reservations(patch: pytest.MonkeyPatch) -> None:
    """The limiter never settles a call."""
    patch.setattr(Limiter, "settle", lambda _self, _row: None)


def share_answers_of_all_keys(patch: pytest.MonkeyPatch) -> None:
    """The cache's key leaves the client's key out."""
    patch.setattr(cache_key, "_format_scope", lambda *_: "")


def share_answers_of_all_requests(patch: pytest.MonkeyPatch) -> None:
    """The cache's key leaves the request out."""
    make_key = cache_key.make_key
    patch.setattr(cache_key, "make_key", lambda start, _members, _headers=None: make_key(start, {}))


def lose_rows(patch: pytest.MonkeyPatch) -> None:
    """The ledger writer drops each final row of a whole answer."""
    patch.setattr(LedgerWriter, "add_ended_call", lambda *_: None)


def lose_costs_of_failures(patch: pytest.MonkeyPatch) -> None:
    """The account of a call leaves out what its failed attempts may cost."""
    fail_attempt = CallAccount.fail_attempt

    def fail(self: CallAccount, *args: Any) -> Any:
        row = fail_attempt(self, *args)
        self._wasted_cost = self._open_cost_bound = Decimal(0)
        self._has_unknown_cost = False
        return row

    patch.setattr(CallAccount, "fail_attempt", fail)


def hang_calls(patch: pytest.MonkeyPatch) -> None:
    """A call that needs a second attempt waits for something that never happens."""

    async def wait(*_: object) -> None:
        await asyncio.Event().wait()

    patch.setattr(Upstream, "_wait", wait)


def skip_waiting_for_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A request leaves before its row is on the disk."""

    async def wait(_: LedgerWriter) -> None:
        return

    patch.setattr(LedgerWriter, "wait_until_synced", wait)


def skip_recovery(patch: pytest.MonkeyPatch) -> None:
    """A start leaves the calls of its predecessor open."""
    patch.setattr(ledger_runtime, "recover", lambda _journal: recovery.Recovered())


def ignore_short_writes(patch: pytest.MonkeyPatch) -> None:
    """The journal takes a torn row for a whole one."""

    def append(segment: Any, data: bytes, link: Any = None) -> None:
        segment.size += vars(journal)["os"].write(segment.descriptor, data)  # the simulated disk
        segment.link = link or segment.link

    patch.setattr(journal, "append", append)


def ignore_limits(patch: pytest.MonkeyPatch) -> None:
    """Counters in memory have room for everything."""
    patch.setattr(_OwnerCounters, "has_room", lambda *_: True)


def expire_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """A jump of the wall clock frees the places of calls that run."""
    patch.setattr(MemoryCounters, "_read_clock", lambda _self, now: now)


def keep_flights(patch: pytest.MonkeyPatch) -> None:
    """A flight that is over stays."""
    patch.setattr(Flights, "drop", lambda _self, _flight: None)


def keep_connections(patch: pytest.MonkeyPatch) -> None:
    """A connection that comes back keeps its slot."""
    patch.setattr(ConnectionPool, "_release_slot", lambda _self: None)


def keep_attempts(patch: pytest.MonkeyPatch) -> None:
    """The breaker does not hear that an attempt has failed."""
    patch.setattr(InFlightAttempt, "fail", lambda _self, _problem: None)


def acknowledge_failures(patch: pytest.MonkeyPatch) -> None:
    """A sink takes a delivery that has failed for done."""
    feed = JournalSink.feed

    def feed_or_forget(self: JournalSink, folder: Path, *, all_rows: bool = False) -> int | None:
        try:
            return feed(self, folder, all_rows=all_rows)
        except SinkError:
            sizes = read_sizes(journal.list_segments(folder))
            self._write_offsets(folder, dict(sizes))
            return 0

    patch.setattr(JournalSink, "feed", feed_or_forget)


_PLANTED: list[tuple[Plant, tuple[str, ...], str]] = [
    (forget_reservations, ("s1",), "reservations: "),
    (share_answers_of_all_keys, ("s34", "s72", "s78"), "has an answer of the key"),
    (share_answers_of_all_requests, ("s14", "s16"), "has the answer of another call"),
    (lose_rows, ("s14",), " 0 final rows"),
    (lose_costs_of_failures, ("s14", "s24"), "are in the ledger"),
    (hang_calls, ("s10", "s14"), "no end after"),
    (skip_waiting_for_the_disk, ("s17",), "before its row was on the disk"),
    (skip_recovery, ("s10", "s13"), " 0 final rows"),
    (ignore_short_writes, ("s104", "s111"), " 0 final rows"),
    (ignore_limits, ("s14", "s15"), " calls at a time, of "),
    (ignore_limits, ("s14", "s15"), " is still reserved"),
    (ignore_limits, ("s156",), "micro-USD were billed of"),
    (expire_by_the_wall_clock, ("s2128",), " calls at a time, of "),
    (keep_flights, ("s23", "s34"), "flights: "),
    (keep_connections, ("s1",), "connections in use: "),
    (keep_attempts, ("s14",), "attempts in flight: "),
    (acknowledge_failures, ("s19", "s30"), "in a journal, and not in the sink"),
]


@pytest.mark.parametrize(
    ("plant", "seeds", "words"), _PLANTED, ids=[f"{row[0].__name__}-{row[2]}" for row in _PLANTED]
)
def test_a_planted_bug_is_found(
    plant: Plant, seeds: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the bug the same seeds are right."""
    assert [line for seed in seeds for line in simulate(seed).wrong] == []
    plant(monkeypatch)
    found = [line for seed in seeds for line in simulate(seed).wrong]
    assert any(words in line for line in found), found
