"""Leases: slices of busy budgets from which this gateway serves calls without asking Redis.

A lease is a reservation in Redis. A call that fits takes its part of the slice here, and Redis
hears of it soon after: it then splits the call's own reservation off the lease. Whatever is left of
a lease at its end goes back. Without Redis a gateway spends what it has leased, and then refuses.
docs/design/leases.md says why no fault overspends a budget.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from gateway.limits.counters import CounterDemand, DrawnCall, LeaseStore, Owner, is_user_counter
from gateway.limits.lease_book import LeaseBook, list_dead_books, lock_dead_book
from gateway.state.errors import StoreUnavailable

SETTLE_SECONDS = 0.02
"""Seconds in which calls that end are settled together while leases serve calls.

The next call needs nothing of them then. One that asks the store settles them first.
"""
LEASE_SECONDS = 2.5
"""Seconds, on the clock of Redis, after which a lease has ended."""
_MARGIN_SECONDS = 0.5
"""Seconds earlier by which the gateway ends it, on a clock of its own."""
_RENEWAL_SECONDS = 0.75
"""Seconds before its end in which the gateway replaces a lease of a busy counter."""
TICK_SECONDS = 0.25
"""Seconds between two looks at leases."""
_TICKS = 8
"""The last looks, 2 s, whose reservations are the size of the next slice."""
_BUSY_CALLS = 8
"""Calls in these 2 s from which a counter is busy."""
_MIN_CALLS = 4
"""Average calls that a slice must hold to be of use."""
_DRAW_BATCH = 256
"""Calls that one script splits off at most."""
_CLAIMS = 16
"""Claims in which calls use up a lease. If the gateway dies, one claim at most is lost."""


class _UnsentCall(NamedTuple):
    """A call that was served from a lease, and that Redis does not know yet."""

    id: str
    ends_at: float
    """Seconds on the monotonic clock when the call has ended at the latest."""
    amount: int


class _Lease:
    """A slice of one counter."""

    __slots__ = ("amount", "claimed", "drawn_calls", "ends_at", "epoch", "id", "left", "record")

    def __init__(self, id: str, record: int | None, ends_at: float) -> None:
        self.id = id
        self.record = record
        """The number of its record in the lease book; None without a record."""
        self.amount = self.left = self.claimed = 0
        """Micro-USD: of the slice, what is left of it, and what the lease book has claimed."""
        self.epoch = ""
        self.ends_at = ends_at
        """The end on this gateway's monotonic clock."""
        self.drawn_calls: list[_UnsentCall] = []
        """Calls that Redis has not split off yet."""


class _LeasedCounter:
    """A counter of money, what calls have reserved of it lately, and its lease."""

    __slots__ = ("amount", "calls", "demand", "ended_leases", "lease", "recent")

    def __init__(self, demand: CounterDemand) -> None:
        self.demand = demand
        self.lease: _Lease | None = None
        self.ended_leases: list[_Lease] = []
        """Leases that the gateway has not returned yet."""
        self.amount = self.calls = 0
        """The amount that calls have reserved since the last look, and their number."""
        self.recent: deque[tuple[int, int]] = deque(maxlen=_TICKS)


class Leases:
    """The leases of this gateway.

    `wall` returns seconds since the epoch, `clock` monotonic seconds. The limiter calls
    `report_soft` for a counter that crosses its soft limit. `folder` has the lease books of this
    and other processes; without it no lease of a dead process is returned.
    """

    def __init__(
        self,
        store: LeaseStore,
        gateway: str,
        report_soft: Callable[[Owner, CounterDemand], object],
        *,
        wall: Callable[[], float],
        clock: Callable[[], float],
        is_enabled: bool = True,
        folder: Path | None = None,
    ) -> None:
        """Take `gateway`, a name that no other process has."""
        self.is_enabled = is_enabled
        """True if calls may be served from leases."""
        self._store = store
        self._gateway = gateway
        self._folder = folder
        self._book = None if folder is None else LeaseBook(folder, gateway)
        self._report_soft = report_soft
        self._wall = wall
        self._clock = clock
        self._numbers = count(1)
        self._counters: dict[tuple[Owner, str], _LeasedCounter] = {}
        self._current_leases: set[_Lease] = set()
        """The leases that calls may draw from. Each settlement asks if there is one."""
        self._unsent_leases: dict[_Lease, tuple[Owner, str]] = {}
        """The leases with calls that Redis has not split off, each with its counter."""
        self._lock = asyncio.Lock()
        """Held while the gateway reports drawn calls to Redis. It settles a call after that."""

    @property
    def has_lease(self) -> bool:
        """True if a counter has a lease."""
        return bool(self._current_leases)

    @property
    def has_drawn_calls(self) -> bool:
        """Return True if Redis has not heard of all calls that were served from leases."""
        return bool(self._unsent_leases)

    def record(self, tenant: str, demands: Sequence[CounterDemand]) -> None:
        """Record that a call has reserved money; counters of end users are never leased."""
        for demand in demands:
            if demand.kind != "usd":
                continue
            key = demand.owner(tenant), demand.field
            counter = self._counters.get(key)
            if counter is None:
                if is_user_counter(demand.field):
                    continue
                counter = self._counters[key] = _LeasedCounter(demand)
            counter.demand = demand
            counter.amount += demand.amount
            counter.calls += 1

    def draw(
        self, call_id: str, tenant: str, demands: Sequence[CounterDemand], lifetime: float
    ) -> bool:
        """Serve a call from leases of all its counters. Return False if one has no room for it.

        The call runs at most `lifetime` seconds.
        """
        if not self.is_enabled:
            return False
        now, leases = self._clock(), list[_Lease]()
        for demand in demands:
            counter = self._counters.get((demand.owner(tenant), demand.field))
            lease = None if counter is None else counter.lease
            if (
                lease is None
                or now >= lease.ends_at
                or lease.left < demand.amount
                or not self._claim(lease, lease.amount - lease.left + demand.amount)
            ):
                return False
            leases.append(lease)
        for lease, demand in zip(leases, demands, strict=True):
            lease.left -= demand.amount
            lease.drawn_calls.append(_UnsentCall(call_id, now + lifetime, demand.amount))
            self._unsent_leases[lease] = demand.owner(tenant), demand.field
        self.record(tenant, demands)
        return True

    def _claim(self, lease: _Lease, drawn: int) -> bool:
        """Note in the lease book that calls draw so much. Return False if the disk refuses."""
        if drawn > lease.claimed and lease.record is not None and self._book is not None:
            claimed = min(lease.amount, max(drawn, lease.claimed + lease.amount // _CLAIMS))
            try:
                self._book.claim(lease.record, claimed)
            except OSError:
                return False
            lease.claimed = claimed
        return True

    def forget(self, owner: Owner) -> None:
        """End all leases of an owner, since Redis may have forgotten them.

        The limiter restores their running calls, and the ledger has those that ended.
        """
        for (counter_owner, _), counter in self._counters.items():
            if counter_owner == owner:
                self._end_lease(counter)
                for lease in counter.ended_leases:
                    lease.drawn_calls.clear()
                    self._unsent_leases.pop(lease, None)

    async def flush(self) -> None:
        """Tell Redis of all calls that were served from leases. Raises StoreUnavailable."""
        if not self.has_drawn_calls:
            return
        async with self._lock:
            for lease, (owner, field) in list(self._unsent_leases.items()):
                await self._flush_lease(owner, field, lease)

    async def renew(self) -> None:
        """Take leases of busy counters, replace those that end, and return those of idle ones."""
        with suppress(StoreUnavailable):
            await self.flush()
        for (owner, field), counter in list(self._counters.items()):
            counter.recent.append((counter.amount, counter.calls))
            counter.amount = counter.calls = 0
            amount = sum(item[0] for item in counter.recent)
            calls = sum(item[1] for item in counter.recent)
            is_busy = self.is_enabled and calls >= _BUSY_CALLS
            lease, now = counter.lease, self._clock()
            if lease is not None and (
                not is_busy or lease.left < amount // 4 or now >= lease.ends_at - _RENEWAL_SECONDS
            ):
                self._end_lease(counter)
            with suppress(StoreUnavailable):
                await self._return_ended(owner, field, counter)
                if is_busy and counter.lease is None:
                    await self._take(owner, counter, amount, _MIN_CALLS * amount // calls)
            if not (calls or counter.calls or counter.ended_leases):
                del self._counters[owner, field]

    async def close(self) -> None:
        """Return all leases. Raises StoreUnavailable."""
        try:
            await self.flush()
            for (owner, field), counter in list(self._counters.items()):
                self._end_lease(counter)
                await self._return_ended(owner, field, counter)
        finally:
            if self._book is not None:
                self._book.close()

    async def reclaim_dead(self) -> None:
        """Return what dead processes have left of their leases. Raises StoreUnavailable.

        A lease that Redis no longer knows returns nothing, so a repeated attempt does no harm.
        """
        for path in [] if self._folder is None else list_dead_books(self._folder):
            with lock_dead_book(path) as leases:
                for lease in list(leases):
                    if await self._store.reclaim(lease.owner, lease.id, lease.claimed):
                        leases.remove(lease)

    async def _take(self, owner: Owner, counter: _LeasedCounter, amount: int, least: int) -> None:
        id = f"lease {self._gateway} {next(self._numbers)}"
        record = None if self._book is None else self._book.begin(owner, id)
        # The clock of Redis starts later, so the lease ends here first.
        lease = _Lease(id, record, self._clock() + LEASE_SECONDS - _MARGIN_SECONDS)
        counter.ended_leases.append(lease)  # Redis may grant it, and the answer be lost
        grant = await self._store.lease(owner, counter.demand, id, amount, least, self._wall())
        counter.ended_leases.remove(lease)
        if grant.crosses_soft:
            self._report_soft(owner, counter.demand)
        if grant.amount:
            lease.amount = lease.left = grant.amount
            lease.epoch = grant.epoch
            counter.lease = lease
            self._current_leases.add(lease)
        else:
            self._end_record(lease)

    async def _return_ended(self, owner: Owner, field: str, counter: _LeasedCounter) -> None:
        """Give back what is left of ended leases, once Redis knows all calls that they served."""
        for lease in list(counter.ended_leases):
            async with self._lock:
                await self._flush_lease(owner, field, lease)
            await self._store.settle_all(owner or "", [(lease.id, None, 0)], (owner is None,))
            counter.ended_leases.remove(lease)
            self._end_record(lease)

    def _end_lease(self, counter: _LeasedCounter) -> None:
        """Let no more calls draw from the lease of a counter, if it has one."""
        if counter.lease is not None:
            self._current_leases.discard(counter.lease)
            counter.ended_leases.append(counter.lease)
            counter.lease = None

    def _end_record(self, lease: _Lease) -> None:
        if lease.record is not None and self._book is not None:
            self._book.end(lease.record)

    async def _flush_lease(self, owner: Owner, field: str, lease: _Lease) -> None:
        while lease.drawn_calls:
            unsent_calls, now = lease.drawn_calls[:_DRAW_BATCH], self._wall()
            # Not earlier: the wall clock may have jumped since a call was served.
            offset = now - self._clock()
            batch = [DrawnCall(one.id, one.ends_at + offset, one.amount) for one in unsent_calls]
            await self._store.draw(owner, lease.id, field, batch, lease.epoch, now)
            del lease.drawn_calls[: len(batch)]
        self._unsent_leases.pop(lease, None)
