"""Counts calls against limits and budgets in this process alone."""

from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import msgspec

from gateway.limits import window
from gateway.limits.counters import (
    BOTH,
    BUSY,
    PASSED,
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    DemandTemplate,
    End,
    MissingCounter,
    Owner,
    Refusal,
    Scopes,
    refused,
)

_MICRO = 1_000_000
_LATE = 3_600.0
"""Seconds after its end in which a hold that nobody settled can still be corrected."""
_SKEW = 60 * _MICRO
"""Microseconds that a clock may go back without being taken at its word."""
_SLACK = 64


class _Bucket:
    """What a rate counts, in units times microseconds of its period: whole numbers, so exact.

    It gives back `limit` units each microsecond. What calls hold is given back only once they have
    used it, so that a call that asks for much and uses little costs what it used.
    """

    __slots__ = ("at", "held", "holders", "level", "limit", "period")

    def __init__(self, at: int, period: int, limit: int) -> None:
        self.at = at
        self.period = period
        self.limit = limit
        self.level = 0
        self.held = 0
        self.holders = 0
        """Calls that hold some, of which some may hold 0."""

    def drain(self, now: int, period: int, limit: int) -> None:
        """Give back what is due. A clock that is a little behind waits; one far behind is right."""
        if now > self.at:
            self.level = max(0, self.level - (now - self.at) * self.limit)
            self.at = now
        elif self.at - now > _SKEW:
            self.at = now
        if period != self.period:
            self.level = -(-self.level * period // self.period)
            self.period = period
        self.limit = limit

    def idle(self, now: int) -> bool:
        """True if nothing would be lost with it; who asked in the last period may ask again."""
        if self.holders or not self.level:
            return not self.holders
        unasked = now - self.at
        return unasked >= self.period and self.level <= unasked * self.limit


class _Hold:
    """What a call has taken, until it is settled."""

    __slots__ = ("answer", "expires", "late", "needs")

    def __init__(self, answer: Admitted, needs: Sequence[CounterDemand], expires: float) -> None:
        self.answer = answer
        self.needs = needs
        self.expires = expires
        self.late = False

    @property
    def looked_at(self) -> float:
        """When it is looked at again: at its end, and once more to forget it."""
        return self.expires + _LATE if self.late else self.expires


class MemoryCounters:
    """A Meter in one process. Nothing in it waits, so nothing comes between a check and its take.

    What has given all back, and windows that ended two days ago, are let go as new ones come.
    """

    def __init__(self) -> None:
        self._books: defaultdict[Owner, _OwnerCounters] = defaultdict(_OwnerCounters)
        self._holds: dict[tuple[str, str], _Hold] = {}
        """By tenant and call."""
        self._ends: list[tuple[float, tuple[str, str]]] = []
        """A heap of when holds are looked at again; what was settled is still in it."""

    async def admit(self, ask: AdmissionRequest, now: float) -> Answer:
        """Take all needs or none."""
        if not ask.needs:
            return PASSED
        self._expire(now)
        held = self._holds.get((ask.tenant, ask.id))
        return held.answer if held is not None else self._take(ask, now, None)

    def take(
        self,
        form: DemandTemplate,
        amounts: tuple[int, ...],
        id: str,
        tenant: str,
        life: float,
        now: float,
    ) -> Coroutine[Any, Any, Answer]:
        """Take all needs or none."""
        return self.admit(
            AdmissionRequest(id=id, tenant=tenant, needs=form.of(amounts), expires=now + life), now
        )

    async def extend(self, ask: AdmissionRequest, now: float) -> Answer:
        """Take more for a call that has passed; it runs until `ask.expires` then."""
        if not ask.needs:
            return PASSED
        self._expire(now)
        return self._take(ask, now, self._holds.get((ask.tenant, ask.id)))

    async def seed(self, owner: Owner, field: str, value: int) -> None:
        """Give a counter that is not there what was spent; one that is there stays."""
        self._books[owner].seed(field, value)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro: int | None) -> bool:
        """Turn what a call of a tenant holds into what it used."""
        hold = self._holds.pop((tenant, id), None)
        if hold is None:
            return False
        own, every = self._books[tenant], self._books[None]
        for need in hold.needs:
            kind, field, amount = need.kind, need.field, need.amount
            book = every if need.all_tenants else own
            if kind == "usd":
                if not hold.late:
                    _add(book.reserved, field, -amount)
                spent = book.spent.get(field)
                if micro is not None and spent is not None:
                    book.spent[field] = max(0, spent - amount + max(0, micro))
            elif kind == "tokens":
                book.use(field, amount, amount if tokens is None else max(0, tokens))
            elif kind == "concurrency":
                _add(book.running, field, -amount)
        return True

    async def end(self, tenant: str, ends: Sequence[End], _: Scopes = BOTH) -> None:
        """Settle several calls at once."""
        for one in ends:
            await self.settle(tenant, *one)

    async def sweep(self, owner: Owner, now: float) -> None:
        """Nothing: it lets go as new counters come."""

    async def used(self, owner: Owner) -> dict[str, int]:
        """Every counter of money and shares, by field; of a share, that of all calls too."""
        book = self._books.get(owner)
        return {} if book is None else dict(book.spent)

    async def close(self) -> None:
        """Forget everything."""
        self._books.clear()
        self._holds.clear()
        self._ends.clear()

    def counters(self, owner: Owner) -> int:
        """How many counters are kept for an owner."""
        book = self._books[owner]
        return len(book.spent) + len(book.rates) + len(book.running)

    def _book(self, tenant: str, need: CounterDemand) -> "_OwnerCounters":
        return self._books[None if need.all_tenants else tenant]

    def _take(self, ask: AdmissionRequest, now: float, held: _Hold | None) -> Answer:
        """Take all needs or none, for a call that may hold some already."""
        moment, tenant = round(now * _MICRO), ask.tenant
        for owner, field, value in ask.seeds:
            self._books[owner].seed(field, value)
        choice, needs, before = 0, ask.needs, list[CounterDemand]()
        while (over := self._missing(tenant, needs, moment, held)) is not None:
            if isinstance(over, MissingCounter):
                return over
            after = ask.after(choice, over.need)
            if after is None:
                return Refusal(over.need, over.retry_after, choice, tuple(before), over.busy)
            choice, needs = after, ask.ways[after]
            if not over.busy:
                before.append(over.need)
        crossed = self._put(tenant, needs, moment, now)
        plain = not (crossed or choice)
        answer = PASSED if plain else Admitted(tuple(crossed), choice, tuple(before))
        if held is None and not needs:  # a tier that nothing counts: there is nothing to settle
            return answer
        named = tenant, ask.id
        if held is None:
            self._holds[named] = _Hold(answer, needs, ask.expires)
        else:
            for need in held.needs if held.late else ():
                _add(self._book(tenant, need).reserved, need.field, need.amount)
            held.needs, held.expires, held.late = (
                self._joined(tenant, held.needs, needs),
                ask.expires,
                False,
            )
        heappush(self._ends, (ask.expires, named))
        if len(self._ends) > 2 * len(self._holds) + _SLACK:
            self._ends = [(hold.looked_at, one) for one, hold in self._holds.items()]
            heapify(self._ends)
        return answer

    def _put(
        self, tenant: str, needs: Sequence[CounterDemand], moment: int, now: float
    ) -> list[CounterDemand]:
        """Take needs that fit; return those whose soft limit is crossed."""
        own, every, crossed = self._books[tenant], self._books[None], list[CounterDemand]()
        made = shared = 0
        for need in needs:
            if need.all_tenants:
                shared += every.put(need, moment, crossed)
            else:
                made += own.put(need, moment, crossed)
        if made or shared:
            own.sweep(2 * made + 1, now)
            every.sweep(2 * shared + 1, now)
        return crossed

    def _expire(self, now: float) -> None:
        """Calls that should have ended: their places are free, what they hold counts as used."""
        ends = self._ends
        while ends and ends[0][0] <= now:
            _, named = heappop(ends)
            hold = self._holds.get(named)
            if hold is None or hold.looked_at > now:
                continue
            if hold.late:
                del self._holds[named]
                continue
            for need in hold.needs:
                book, field, amount = self._book(named[0], need), need.field, need.amount
                if need.kind == "tokens":
                    book.use(field, amount, amount)
                elif need.kind == "concurrency":
                    _add(book.running, field, -amount)
                elif need.kind == "usd":
                    _add(book.reserved, field, -amount)
            hold.needs = [need for need in hold.needs if need.kind == "usd"]
            hold.late = True
            heappush(ends, (hold.looked_at, named))

    def _joined(
        self, tenant: str, held: Iterable[CounterDemand], more: Iterable[CounterDemand]
    ) -> list[CounterDemand]:
        """One need for each counter, with all that is taken of it."""
        found = {(need.all_tenants, need.field): need for need in held}
        for need in more:
            named = need.all_tenants, need.field
            old = found.get(named)
            amount = need.amount if old is None else need.amount + old.amount
            found[named] = msgspec.structs.replace(need, amount=amount)
            if old is not None and need.kind == "tokens":
                self._book(tenant, need).rates[need.field].holders -= 1
        return list(found.values())

    def _missing(
        self, tenant: str, needs: Sequence[CounterDemand], moment: int, held: _Hold | None
    ) -> Refusal | MissingCounter | None:
        """Why a call does not pass, which may hold something already; None if it does.

        All tenants' answer comes before its own.
        """
        own, every = self._books[tenant], self._books[None]
        for need in needs:
            if not (every if need.all_tenants else own).fits(need, moment):
                break
        else:
            return None
        told = every.missing([one for one in needs if one.all_tenants], moment, held)
        other = own.missing([one for one in needs if not one.all_tenants], moment, held)
        found = refused(PASSED if told is None else told, PASSED if other is None else other)
        return None if isinstance(found, Admitted) else found


class _OwnerCounters:
    """The counters of one owner."""

    __slots__ = ("fields", "rates", "reserved", "running", "spent", "told")

    def __init__(self) -> None:
        self.rates: dict[str, _Bucket] = {}
        self.running: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        """Micro-USD that running calls have reserved, by counter; `spent` includes them."""
        self.told: dict[str, int] = {}
        """The soft limit that was told of, by counter."""
        self.fields: deque[str] = deque()
        """Rates and money, in the order in which they are looked at for being over."""

    def seed(self, field: str, value: int) -> None:
        """Give a counter that is not there what was spent."""
        if field not in self.spent:
            self._pay(field, max(0, value))

    def fits(self, need: CounterDemand, moment: int) -> bool:
        """Whether there is room for a need."""
        kind, field, limit = need.kind, need.field, need.limit
        if kind == "usd":
            spent = self.spent.get(field)
            if spent is None:
                return not need.seeded and need.amount <= limit
            return spent + need.amount <= limit
        if kind == "concurrency":
            return self.running.get(field, 0) + need.amount <= limit
        if kind == "share":
            calls = self.spent.get(need.whole, 0) + 1
            return not need.amount or (
                (self.spent.get(field, 0) + need.amount) * 1000 <= limit * calls
            )
        bucket = self.rates.get(field)
        if bucket is None:
            return need.amount <= limit
        bucket.drain(moment, round(need.period * _MICRO), limit)
        asked = (bucket.held + need.amount) * bucket.period
        return bucket.level + asked <= limit * bucket.period

    def put(self, need: CounterDemand, moment: int, crossed: list[CounterDemand]) -> int:
        """Take a need that fits; how many counters that has made. Soft limits are told of once."""
        kind, field = need.kind, need.field
        made = 0
        if kind == "concurrency":
            _add(self.running, field, need.amount)
        elif kind in {"usd", "share"}:
            soft, spent = need.soft, self.spent
            if kind == "share":
                made += self._pay(need.whole, 1)
            else:
                self.reserved[field] = self.reserved.get(field, 0) + need.amount
            made += self._pay(field, need.amount)
            if soft is not None and need.amount and self.told.get(field) != soft:
                count = spent[field]
                if count * 1000 >= soft * spent[need.whole] if kind == "share" else count >= soft:
                    self.told[field] = soft
                    crossed.append(need)
        else:
            bucket = self.rates.get(field)
            if bucket is None:
                period = round(need.period * _MICRO)
                bucket = self.rates[field] = _Bucket(moment, period, need.limit)
                self.fields.append(field)
                made = 1
            if kind == "tokens":
                bucket.held += need.amount
                bucket.holders += 1
            else:
                bucket.level += need.amount * bucket.period
        return made

    def use(self, field: str, held: int, used: int) -> None:
        """Tokens that were held were used. They count from when a call last asked."""
        bucket = self.rates[field]
        bucket.held -= held
        bucket.holders -= 1
        bucket.level += used * bucket.period

    def missing(
        self, needs: Sequence[CounterDemand], moment: int, held: _Hold | None
    ) -> Refusal | MissingCounter | None:
        """Why some needs do not fit: of all that do not, what keeps the call out for longest."""
        longest: Refusal | None = None
        for at, need in enumerate(needs):
            if self.fits(need, moment):
                continue
            if self.unseeded(need):
                return MissingCounter(need, tuple(filter(self.unseeded, needs[at + 1 :])))
            busy = self.busy(need, held)
            wait = BUSY if busy else self.wait(need, moment)
            if wait is None:
                return Refusal(need)
            if longest is None or wait > (longest.retry_after or 0):
                longest = Refusal(need, wait, busy=busy)
        return longest

    def unseeded(self, need: CounterDemand) -> bool:
        """True if a counter must be given what was spent before it counts."""
        return need.kind == "usd" and need.seeded and need.field not in self.spent

    def busy(self, need: CounterDemand, held: _Hold | None) -> bool:
        """True if a need that does not fit would fit if the other running calls cost nothing."""
        reserved = self.reserved.get(need.field)
        if need.kind != "usd" or reserved is None:
            return False
        # What the call itself has reserved may be billed, so it does not come back.
        own = () if held is None or held.late else held.needs
        same = [one for one in own if one.field == need.field]
        reserved -= sum([one.amount for one in same if one.all_tenants is need.all_tenants])
        return self.spent[need.field] - reserved + need.amount <= need.limit

    def wait(self, need: CounterDemand, moment: int) -> float | None:
        """Seconds until a need fits if nobody else asks; None where time alone does not help."""
        bucket = self.rates.get(need.field)
        if bucket is None or not need.limit or bucket.held + need.amount > need.limit:
            return None
        asked = bucket.level + (bucket.held + need.amount) * bucket.period
        excess = asked - need.limit * bucket.period
        # One more: a moment is a double, and may lie a little before its microsecond.
        return (-(-excess // need.limit) + max(0, bucket.at - moment) + 1) / _MICRO

    def sweep(self, most: int, now: float) -> None:
        """Look at some counters in turn, and let go of those that are over."""
        moment = round(now * _MICRO)
        for _ in range(min(most, len(self.fields))):
            field = self.fields.popleft()
            bucket = self.rates.get(field)
            if bucket is not None:
                if bucket.idle(moment):
                    del self.rates[field]
                    continue
            elif window.ended(field.rpartition("|")[2], now):
                del self.spent[field]
                self.told.pop(field, None)
                self.reserved.pop(field, None)
                continue
            self.fields.append(field)

    def _pay(self, field: str, amount: int) -> bool:
        """Add to a counter of money or shares; True if that has made it."""
        spent = self.spent.get(field)
        self.spent[field] = amount if spent is None else spent + amount
        if spent is None:
            self.fields.append(field)
        return spent is None


def _add(counts: dict[str, int], field: str, amount: int) -> None:
    """Add to a counter, and remove it once it is 0 again."""
    count = counts.get(field, 0) + amount
    if count > 0:
        counts[field] = count
    else:
        counts.pop(field, None)
