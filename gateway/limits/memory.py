"""A counter store in this process alone."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from gateway.limits import window
from gateway.limits.counters import (
    ALL_SCOPES,
    BUSY_RETRY_SECONDS,
    PASSED,
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    EndedCall,
    FindRunning,
    MissingCounter,
    Owner,
    RateState,
    Refusal,
    RunningCall,
    Scopes,
    is_user_counter,
    merge_answers,
)
from gateway.limits.window import Window, has_ended

_MICROS_PER_SECOND = 1_000_000
_LATE_SECONDS = 3_600.0
"""Seconds after its end in which an unsettled reservation can still be corrected."""
_MAX_SKEW_MICROS = 60 * _MICROS_PER_SECOND
"""Microseconds that a clock may go back before the bucket accepts the earlier time."""
_HEAP_SLACK = 64


class _Bucket:
    """The bucket of a rate, in units times microseconds of its period: whole numbers, so exact.

    The bucket gives back `limit` units each microsecond. It gives back reserved units only after
    their call has used them. So a call that reserves much and uses little costs what it used.
    """

    __slots__ = ("holder_count", "level", "limit", "period", "reserved", "updated_at")

    def __init__(self, updated_at: int, period: int, limit: int) -> None:
        self.updated_at = updated_at
        self.period = period
        self.limit = limit
        self.level = 0
        self.reserved = 0
        self.holder_count = 0
        """Calls that have a reservation, even of 0."""

    def leak(self, now: int, period: int, limit: int) -> None:
        """Give back what is due.

        If the clock is behind by at most `_MAX_SKEW_MICROS`, the bucket waits for it. If the clock
        is further behind, the bucket accepts its time.
        """
        if now > self.updated_at:
            self.level = max(0, self.level - (now - self.updated_at) * self.limit)
            self.updated_at = now
        elif self.updated_at - now > _MAX_SKEW_MICROS:
            self.updated_at = now
        if period != self.period:
            self.level = -(-self.level * period // self.period)
            self.period = period
        self.limit = limit

    def is_idle(self, now: int) -> bool:
        """Return True if removing the bucket loses nothing.

        A bucket that has counted stays for a period after its last call: that client may return.
        """
        if self.holder_count or not self.level:
            return not self.holder_count
        idle_micros = now - self.updated_at
        return idle_micros >= self.period and self.level <= idle_micros * self.limit


class _Reservation:
    """The demands that a call has reserved, until they are settled."""

    __slots__ = ("answer", "demands", "expires_at", "is_late")

    def __init__(
        self, answer: Admitted, demands: Sequence[CounterDemand], expires_at: float
    ) -> None:
        self.answer = answer
        self.demands = demands
        self.expires_at = expires_at
        """By the store's clock."""
        self.is_late = False

    @property
    def next_check_at(self) -> float:
        """Return when to check it again: when it expires, and later to forget it."""
        return self.expires_at + _LATE_SECONDS if self.is_late else self.expires_at


class MemoryCounters:
    """A counter store in one process.

    No method waits for anything, so no other call comes between a check and its reservation.

    When new counters come, the store removes old ones: rates that have given all back, and windows
    that ended two days ago.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """`clock` is monotonic: reservations expire by it, so a jump of the wall clock frees none.

        Without it they expire by the times that callers give.
        """
        self._clock = clock
        self._counters_by_owner: defaultdict[Owner, _OwnerCounters] = defaultdict(_OwnerCounters)
        self._reservations: dict[tuple[str, str], _Reservation] = {}
        """Reservations, by tenant and call id."""
        self._claimed_users: dict[tuple[str, str, str], set[str]] = {}
        """End users with counters of their own, by tenant, key and window."""
        self._expiry_heap: list[tuple[float, tuple[str, str]]] = []
        """A heap of times to check reservations, including ones that are settled by now."""

    async def admit(self, request: AdmissionRequest, now: float) -> Answer:
        """Take all demands or none."""
        if not request.demands:
            return PASSED
        self._expire(now)
        reservation = self._reservations.get((request.tenant, request.id))
        return reservation.answer if reservation is not None else self._admit(request, now, None)

    async def extend(self, request: AdmissionRequest, now: float) -> Answer:
        """Reserve more for a call that has passed; it then expires at `request.expires_at`."""
        if not request.demands:
            return PASSED
        self._expire(now)
        return self._admit(request, now, self._reservations.get((request.tenant, request.id)))

    def follow(self, find_running: FindRunning) -> None:
        """Do nothing: this store forgets nothing while its process lives."""

    @property
    def lease_store(self) -> None:
        """No store of leases: one process has all of each counter."""

    async def confirm(self, owner: Owner, now: float) -> None:
        """Do nothing."""

    async def find_loss_age(self, owner: Owner, now: float) -> None:
        """Return None: the memory of this process forgets nothing."""

    async def restore(self, owner: Owner, calls: Iterable[RunningCall], now: float) -> None:
        """Do nothing, for the same reason."""

    async def seed(self, owner: Owner, field: str, value: int) -> None:
        """Start a missing counter at the amount spent; leave an existing one alone."""
        self._counters_by_owner[owner].seed(field, value)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro_usd: int | None) -> bool:
        """Replace what a call of a tenant reserved with what it used."""
        reservation = self._reservations.pop((tenant, id), None)
        if reservation is None:
            return False
        tenant_counters = self._counters_by_owner[tenant]
        shared_counters = self._counters_by_owner[None]
        for demand in reservation.demands:
            kind, field, amount = demand.kind, demand.field, demand.amount
            counters = shared_counters if demand.all_tenants else tenant_counters
            if kind == "usd":
                if not reservation.is_late:
                    _add_count(counters.reserved, field, -amount)
                spent = counters.spent.get(field)
                if micro_usd is not None and spent is not None:
                    counters.spent[field] = max(0, spent - amount + max(0, micro_usd))
            elif kind == "tokens":
                counters.use_tokens(field, amount, amount if tokens is None else max(0, tokens))
            elif kind == "concurrency":
                _add_count(counters.running, field, -amount)
        return True

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], _: Scopes = ALL_SCOPES
    ) -> None:
        """Settle several calls at once."""
        for ended_call in ended_calls:
            await self.settle(tenant, *ended_call)

    async def sweep(self, owner: Owner, now: float) -> None:
        """Do nothing: the store removes old counters as new ones come."""

    async def claim_user(
        self, tenant: str, key: str, user: str, window: Window, max_users: int, now: float
    ) -> bool:
        """Return True if an end user of a key has counters of its own in a window."""
        group = tenant, key, window.name
        users = self._claimed_users.get(group)
        if users is None:
            for ended_group in [one for one in self._claimed_users if has_ended(one[2], now)]:
                del self._claimed_users[ended_group]
            users = self._claimed_users[group] = set()
        if user not in users and len(users) < max_users:
            users.add(user)
        return user in users

    async def read_counters(self, owner: Owner) -> dict[str, int]:
        """Return each counter of money and shares, by field; for a share also that of all calls.

        Those of end users are left out: there may be many.
        """
        counters = self._counters_by_owner.get(owner)
        if counters is None:
            return {}
        return {field: counters.spent[field] for field in counters.listed_fields}

    async def close(self) -> None:
        """Forget everything."""
        self._counters_by_owner.clear()
        self._reservations.clear()
        self._claimed_users.clear()
        self._expiry_heap.clear()

    def _counters_of(self, tenant: str, demand: CounterDemand) -> "_OwnerCounters":
        return self._counters_by_owner[None if demand.all_tenants else tenant]

    def _admit(
        self, request: AdmissionRequest, now: float, reservation: _Reservation | None
    ) -> Answer:
        """Take all demands or none, for a call that may have reserved some before."""
        now_micros, tenant = round(now * _MICROS_PER_SECOND), request.tenant
        expires_at = self._read_clock(now) + (request.expires_at - now)
        for owner, field, value in request.seeds:
            self._counters_by_owner[owner].seed(field, value)
        choice, demands = 0, request.demands
        exhausted: list[CounterDemand] = []
        while (failure := self._find_refusal(tenant, demands, now_micros, reservation)) is not None:
            if isinstance(failure, MissingCounter):
                return failure
            next_choice = request.next_choice(choice, failure.demand)
            if next_choice is None:
                return Refusal(
                    failure.demand,
                    failure.retry_after,
                    choice,
                    tuple(exhausted),
                    failure.busy,
                    failure.left,
                    self._read_rates(tenant, demands, now_micros),
                )
            choice, demands = next_choice, request.options[next_choice]
            if not failure.busy:
                exhausted.append(failure.demand)
        warnings = self._take_demands(tenant, demands, now_micros, now)
        answer = Admitted(tuple(warnings), choice, tuple(exhausted))
        # No limit counts this tier, so there is nothing to settle.
        if reservation is None and not demands:
            return answer
        call_key, rates = (tenant, request.id), self._read_rates(tenant, demands, now_micros)
        if reservation is None:
            self._reservations[call_key] = _Reservation(answer, demands, expires_at)
        else:
            for demand in reservation.demands if reservation.is_late else ():
                _add_count(self._counters_of(tenant, demand).reserved, demand.field, demand.amount)
            reservation.demands = self._merge_demands(tenant, reservation.demands, demands)
            reservation.expires_at = expires_at
            reservation.is_late = False
        heappush(self._expiry_heap, (expires_at, call_key))
        if len(self._expiry_heap) > 2 * len(self._reservations) + _HEAP_SLACK:
            self._expiry_heap = [
                (pending.next_check_at, pending_key)
                for pending_key, pending in self._reservations.items()
            ]
            heapify(self._expiry_heap)
        return msgspec.structs.replace(answer, rates=rates)

    def _read_rates(
        self, tenant: str, demands: Sequence[CounterDemand], now_micros: int
    ) -> tuple[RateState, ...]:
        """Return what the rates that the client may see have left."""
        return tuple(
            [
                self._counters_of(tenant, demand).read_rate(demand, now_micros)
                for demand in demands
                if demand.is_shown
            ]
        )

    def _take_demands(
        self, tenant: str, demands: Sequence[CounterDemand], now_micros: int, now: float
    ) -> list[CounterDemand]:
        """Take demands that fit; return those whose soft limit is crossed."""
        tenant_counters = self._counters_by_owner[tenant]
        shared_counters = self._counters_by_owner[None]
        warnings: list[CounterDemand] = []
        tenant_count, shared_count = (
            len(tenant_counters.sweep_queue),
            len(shared_counters.sweep_queue),
        )
        for demand in demands:
            counters = shared_counters if demand.all_tenants else tenant_counters
            counters.take_demand(demand, now_micros, warnings)
        tenant_counters.sweep_for_new(tenant_count, now)
        shared_counters.sweep_for_new(shared_count, now)
        return warnings

    def _read_clock(self, now: float) -> float:
        """Return the time by which reservations expire."""
        return now if self._clock is None else self._clock()

    def _expire(self, now: float) -> None:
        """Expire calls that should have ended.

        Their concurrency slots become free, and their reserved amounts count as used.
        """
        heap, now = self._expiry_heap, self._read_clock(now)
        while heap and heap[0][0] <= now:
            _, call_key = heappop(heap)
            reservation = self._reservations.get(call_key)
            if reservation is None or reservation.next_check_at > now:
                continue
            if reservation.is_late:
                del self._reservations[call_key]
                continue
            for demand in reservation.demands:
                counters = self._counters_of(call_key[0], demand)
                field = demand.field
                amount = demand.amount
                if demand.kind == "tokens":
                    counters.use_tokens(field, amount, amount)
                elif demand.kind == "concurrency":
                    _add_count(counters.running, field, -amount)
                elif demand.kind == "usd":
                    _add_count(counters.reserved, field, -amount)
            reservation.demands = [demand for demand in reservation.demands if demand.kind == "usd"]
            reservation.is_late = True
            heappush(heap, (reservation.next_check_at, call_key))

    def _merge_demands(
        self,
        tenant: str,
        old_demands: Iterable[CounterDemand],
        new_demands: Iterable[CounterDemand],
    ) -> list[CounterDemand]:
        """Merge demands into one for each counter, with the sum of their amounts."""
        merged = {(demand.all_tenants, demand.field): demand for demand in old_demands}
        for demand in new_demands:
            counter_key = demand.all_tenants, demand.field
            existing = merged.get(counter_key)
            amount = demand.amount if existing is None else demand.amount + existing.amount
            merged[counter_key] = msgspec.structs.replace(demand, amount=amount)
            if existing is not None and demand.kind == "tokens":
                self._counters_of(tenant, demand).rates[demand.field].holder_count -= 1
        return list(merged.values())

    def _find_refusal(
        self,
        tenant: str,
        demands: Sequence[CounterDemand],
        now_micros: int,
        reservation: _Reservation | None,
    ) -> Refusal | MissingCounter | None:
        """Return why a call does not pass, which may have reserved some before; None if it passes.

        A refusal by a counter of all tenants comes before one of its own tenant.
        """
        shared_answer = self._counters_by_owner[None].find_refusal(
            [owner_demand for owner_demand in demands if owner_demand.all_tenants],
            now_micros,
            reservation,
        )
        tenant_answer = self._counters_by_owner[tenant].find_refusal(
            [owner_demand for owner_demand in demands if not owner_demand.all_tenants],
            now_micros,
            reservation,
        )
        answer = merge_answers(shared_answer or PASSED, tenant_answer or PASSED)
        return None if isinstance(answer, Admitted) else answer


class _OwnerCounters:
    """The counters of one owner."""

    __slots__ = (
        "listed_fields",
        "rates",
        "reserved",
        "running",
        "spent",
        "sweep_queue",
        "warned_limits",
    )

    def __init__(self) -> None:
        self.rates: dict[str, _Bucket] = {}
        self.running: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.listed_fields: dict[str, None] = {}
        """Fields of `spent` without those of end users, in order."""
        self.reserved: dict[str, int] = {}
        """Micro-USD that running calls have reserved, by counter; `spent` includes them."""
        self.warned_limits: dict[str, int] = {}
        """The soft limit of the last warning, by counter."""
        self.sweep_queue: deque[str] = deque()
        """Fields of rates, money and shares, in the order in which `sweep` checks them."""

    def seed(self, field: str, value: int) -> None:
        """Start a missing counter at the amount spent."""
        if field not in self.spent:
            self._add_spent(field, max(0, value))

    def has_room(self, demand: CounterDemand, now_micros: int) -> bool:
        """Return True if a demand fits."""
        kind, field, limit = demand.kind, demand.field, demand.limit
        if kind == "usd":
            spent = self.spent.get(field)
            if spent is None:
                return not demand.needs_seed and demand.amount <= limit
            return spent + demand.amount <= limit
        if kind == "concurrency":
            return self.running.get(field, 0) + demand.amount <= limit
        if kind == "share":
            calls = self.spent.get(demand.total_field, 0) + 1
            return not demand.amount or (
                (self.spent.get(field, 0) + demand.amount) * 1000 <= limit * calls
            )
        bucket = self.rates.get(field)
        if bucket is None:
            return demand.amount <= limit
        bucket.leak(now_micros, round(demand.period * _MICROS_PER_SECOND), limit)
        requested = (bucket.reserved + demand.amount) * bucket.period
        return bucket.level + requested <= limit * bucket.period

    def take_demand(
        self, demand: CounterDemand, now_micros: int, warnings: list[CounterDemand]
    ) -> None:
        """Take a demand that fits.

        Add the demand to `warnings` if it crosses its soft limit for the first time.
        """
        kind, field = demand.kind, demand.field
        if kind == "concurrency":
            _add_count(self.running, field, demand.amount)
        elif kind in {"usd", "share"}:
            soft_limit, spent = demand.soft, self.spent
            if kind == "share":
                self._add_spent(demand.total_field, 1)
            else:
                self.reserved[field] = self.reserved.get(field, 0) + demand.amount
            self._add_spent(field, demand.amount)
            if (
                soft_limit is not None
                and demand.amount
                and self.warned_limits.get(field) != soft_limit
            ):
                count = spent[field]
                if (
                    count * 1000 >= soft_limit * spent[demand.total_field]
                    if kind == "share"
                    else count >= soft_limit
                ):
                    self.warned_limits[field] = soft_limit
                    warnings.append(demand)
        else:
            bucket = self.rates.get(field)
            if bucket is None:
                period = round(demand.period * _MICROS_PER_SECOND)
                bucket = self.rates[field] = _Bucket(now_micros, period, demand.limit)
                self.sweep_queue.append(field)
            if kind == "tokens":
                bucket.reserved += demand.amount
                bucket.holder_count += 1
            else:
                bucket.level += demand.amount * bucket.period

    def use_tokens(self, field: str, reserved_tokens: int, used_tokens: int) -> None:
        """Replace reserved tokens with used ones.

        They count from the last request to the bucket, not from now.
        """
        bucket = self.rates[field]
        bucket.reserved -= reserved_tokens
        bucket.holder_count -= 1
        bucket.level += used_tokens * bucket.period

    def find_refusal(
        self, demands: Sequence[CounterDemand], now_micros: int, reservation: _Reservation | None
    ) -> Refusal | MissingCounter | None:
        """Return why demands do not fit: of all refusals the one with the longest wait."""
        longest: Refusal | None = None
        longest_wait = 0.0
        for index, demand in enumerate(demands):
            if self.has_room(demand, now_micros):
                continue
            if self.lacks_seed(demand):
                return MissingCounter(demand, tuple(filter(self.lacks_seed, demands[index + 1 :])))
            is_busy = self.is_busy(demand, reservation)
            wait = BUSY_RETRY_SECONDS if is_busy else self.compute_wait(demand, now_micros)
            left = None
            if demand.kind == "usd":
                left = max(0, demand.limit - self.spent.get(demand.field, 0))
            if wait is None:
                return Refusal(demand, left=left)
            if wait > longest_wait:
                longest, longest_wait = Refusal(demand, wait, busy=is_busy, left=left), wait
        return longest

    def lacks_seed(self, demand: CounterDemand) -> bool:
        """Return True if a counter must start at the amount spent, and is missing."""
        return demand.kind == "usd" and demand.needs_seed and demand.field not in self.spent

    def is_busy(self, demand: CounterDemand, reservation: _Reservation | None) -> bool:
        """Return True if the demand would fit if the other running calls cost nothing."""
        reserved = self.reserved.get(demand.field)
        if demand.kind != "usd" or reserved is None:
            return False
        # A provider may bill what the call itself has reserved, so that amount does not come back.
        call_demands = () if reservation is None or reservation.is_late else reservation.demands
        same_counter = [
            call_demand for call_demand in call_demands if call_demand.field == demand.field
        ]
        reserved -= sum(
            [
                call_demand.amount
                for call_demand in same_counter
                if call_demand.all_tenants is demand.all_tenants
            ]
        )
        return self.spent[demand.field] - reserved + demand.amount <= demand.limit

    def compute_wait(self, demand: CounterDemand, now_micros: int) -> float | None:
        """Return seconds until a demand fits if no other call comes; None if time does not help."""
        bucket = self.rates.get(demand.field)
        if bucket is None or not demand.limit or bucket.reserved + demand.amount > demand.limit:
            return None
        requested = bucket.level + (bucket.reserved + demand.amount) * bucket.period
        excess = requested - demand.limit * bucket.period
        # Add one: times are doubles, and may be a little before their microsecond.
        return (
            -(-excess // demand.limit) + max(0, bucket.updated_at - now_micros) + 1
        ) / _MICROS_PER_SECOND

    def read_rate(self, demand: CounterDemand, now_micros: int) -> RateState:
        """Return what a rate has left, and leave it as it is.

        Tokens that running calls have reserved are not left.
        """
        if not demand.limit:
            return RateState(demand, 0, None)
        bucket = self.rates.get(demand.field)
        if bucket is None:
            return RateState(demand, demand.limit, 0.0)
        period = round(demand.period * _MICROS_PER_SECOND)
        level = max(0, bucket.level - max(0, now_micros - bucket.updated_at) * bucket.limit)
        used = -(-level * period // bucket.period) + bucket.reserved * period
        left = max(0, demand.limit - -(-used // period))
        return RateState(demand, left, -(-used // demand.limit) / _MICROS_PER_SECOND)

    def sweep_for_new(self, old_count: int, now: float) -> None:
        """Check more counters than there are new ones since the queue had `old_count`."""
        if new_count := len(self.sweep_queue) - old_count:
            self.sweep(2 * new_count + 1, now)

    def sweep(self, max_fields: int, now: float) -> None:
        """Check up to `max_fields` counters in turn, and remove idle and ended ones."""
        now_micros = round(now * _MICROS_PER_SECOND)
        for _ in range(min(max_fields, len(self.sweep_queue))):
            field = self.sweep_queue.popleft()
            bucket = self.rates.get(field)
            if bucket is not None:
                if bucket.is_idle(now_micros):
                    del self.rates[field]
                    continue
            elif window.has_ended(field.rpartition("|")[2], now):
                del self.spent[field]
                self.listed_fields.pop(field, None)
                self.warned_limits.pop(field, None)
                self.reserved.pop(field, None)
                continue
            self.sweep_queue.append(field)

    def _add_spent(self, field: str, amount: int) -> None:
        """Add to a counter of money or shares, or start it."""
        spent = self.spent.get(field)
        self.spent[field] = amount if spent is None else spent + amount
        if spent is None:
            self.sweep_queue.append(field)
            if not is_user_counter(field):
                self.listed_fields[field] = None


def _add_count(counts: dict[str, int], field: str, amount: int) -> None:
    """Add to a counter, and remove it once it is 0 again."""
    count = counts.get(field, 0) + amount
    if count > 0:
        counts[field] = count
    else:
        counts.pop(field, None)
