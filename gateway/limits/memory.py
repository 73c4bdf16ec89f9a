"""Counts calls against limits and budgets in this process alone."""

from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import msgspec

from gateway.limits import window
from gateway.limits.meter import BUSY, PASSED, Ask, End, Form, Need, Over, Passed, Unseeded

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
        """Whether nothing would be lost with it."""
        return not self.holders and self.level <= (now - self.at) * self.limit


class _Hold:
    """What a call has taken, until it is settled."""

    __slots__ = ("answer", "expires", "late", "needs")

    def __init__(self, answer: Passed, needs: Sequence[Need], expires: float) -> None:
        self.answer = answer
        self.needs = needs
        self.expires = expires
        self.late = False

    @property
    def looked_at(self) -> float:
        """When it is looked at again: at its end, and once more to forget it."""
        return self.expires + _LATE if self.late else self.expires


class Memory:
    """A Meter in one process. Nothing in it waits, so nothing comes between a check and its take.

    What has given all back, and windows that ended two days ago, are let go as new ones come.
    """

    def __init__(self) -> None:
        self._books: dict[str, _Book] = {}

    async def admit(self, ask: Ask, now: float) -> Passed | Over | Unseeded:
        """Take all needs or none."""
        if not ask.needs:
            return PASSED
        book = self._book(ask.tenant)
        book.expire(now)
        held = book.holds.get(ask.id)
        return held.answer if held is not None else book.take(ask, now)

    def take(
        self, form: Form, amounts: tuple[int, ...], id: str, tenant: str, life: float, now: float
    ) -> Coroutine[Any, Any, Passed | Over | Unseeded]:
        """Take all needs or none."""
        return self.admit(
            Ask(id=id, tenant=tenant, needs=form.of(amounts), expires=now + life), now
        )

    async def extend(self, ask: Ask, now: float) -> Passed | Over | Unseeded:
        """Take more for a call that has passed; it runs until `ask.expires` then."""
        if not ask.needs:
            return PASSED
        book = self._book(ask.tenant)
        book.expire(now)
        return book.take(ask, now)

    async def seed(self, tenant: str, field: str, value: int) -> None:
        """Give a counter that is not there what was spent; one that is there stays."""
        book = self._book(tenant)
        if field not in book.spent:
            book.spent[field] = max(0, value)
            book.fields.append(field)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro: int | None) -> bool:
        """A call is over: what it holds becomes what it used."""
        book = self._books.get(tenant)
        return book is not None and book.settle(id, tokens, micro)

    async def end(self, tenant: str, ends: Sequence[End]) -> None:
        """Settle several calls at once."""
        for one in ends:
            await self.settle(tenant, *one)

    async def sweep(self, tenant: str, now: float) -> None:
        """Nothing: it lets go as new counters come."""

    async def used(self, tenant: str) -> dict[str, int]:
        """Every counter of money and shares, by field; of a share, that of all calls too."""
        book = self._books.get(tenant)
        return {} if book is None else dict(book.spent)

    async def close(self) -> None:
        """Forget everything."""
        self._books.clear()

    def counters(self, tenant: str) -> int:
        """How many counters are kept for a tenant."""
        book = self._book(tenant)
        return len(book.spent) + len(book.rates) + len(book.running)

    def _book(self, tenant: str) -> "_Book":
        book = self._books.get(tenant)
        if book is None:
            book = self._books[tenant] = _Book()
        return book


class _Book:
    """The counters of one tenant."""

    __slots__ = ("ends", "fields", "holds", "rates", "reserved", "running", "spent", "told")

    def __init__(self) -> None:
        self.rates: dict[str, _Bucket] = {}
        self.running: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        """Micro-USD that running calls have reserved, by counter; `spent` includes them."""
        self.told: dict[str, int] = {}
        """The soft limit that was told of, by counter."""
        self.holds: dict[str, _Hold] = {}
        self.ends: list[tuple[float, str]] = []
        """A heap of when holds are looked at again; what was settled is still in it."""
        self.fields: deque[str] = deque()
        """Rates and money, in the order in which they are looked at for being over."""

    def take(self, ask: Ask, now: float) -> Passed | Over | Unseeded:
        """Take all needs or none, for a call that may hold some already."""
        moment = round(now * _MICRO)
        for field, value in ask.seeds:
            if field not in self.spent:
                self._add(field, max(0, value))
        choice, needs, before = 0, ask.needs, list[Need]()
        held = self.holds.get(ask.id)
        while (over := self._missing(needs, moment, held)) is not None:
            if isinstance(over, Unseeded):
                return over
            then = _next(ask, choice, over.need)
            if then is None:
                return Over(over.need, over.retry_after, choice, tuple(before), over.busy)
            choice, needs = then
            if not over.busy:
                before.append(over.need)
        crossed: list[Need] = []
        made = sum([self._put(need, moment, crossed) for need in needs])
        plain = not (crossed or choice)
        answer = PASSED if plain else Passed(tuple(crossed), choice, tuple(before))
        if held is None:
            self.holds[ask.id] = _Hold(answer, needs, ask.expires)
        else:
            for need in held.needs if held.late else ():
                self._reserve(need, need.amount)
            held.needs, held.expires, held.late = (
                self._joined(held.needs, needs),
                ask.expires,
                False,
            )
        heappush(self.ends, (ask.expires, ask.id))
        if len(self.ends) > 2 * len(self.holds) + _SLACK:
            self.ends = [(hold.looked_at, id) for id, hold in self.holds.items()]
            heapify(self.ends)
        if made:
            self._sweep(2 * made + 1, now)
        return answer

    def settle(self, id: str, tokens: int | None, micro: int | None) -> bool:
        """What a call holds becomes what it used."""
        hold = self.holds.pop(id, None)
        if hold is None:
            return False
        for need in hold.needs:
            kind, field, amount = need.kind, need.field, need.amount
            if kind == "usd":
                if not hold.late:
                    self._reserve(need, -amount)
                spent = self.spent.get(field)
                if micro is not None and spent is not None:
                    self.spent[field] = max(0, spent - amount + max(0, micro))
            elif kind == "tokens":
                self._use(field, amount, amount if tokens is None else max(0, tokens))
            elif kind == "concurrency":
                _add(self.running, field, -amount)
        return True

    def expire(self, now: float) -> None:
        """Calls that should have ended: their places are free, what they hold counts as used."""
        ends = self.ends
        while ends and ends[0][0] <= now:
            _, id = heappop(ends)
            hold = self.holds.get(id)
            if hold is None or hold.looked_at > now:
                continue
            if hold.late:
                del self.holds[id]
                continue
            for need in hold.needs:
                if need.kind == "tokens":
                    self._use(need.field, need.amount, need.amount)
                elif need.kind == "concurrency":
                    _add(self.running, need.field, -need.amount)
                self._reserve(need, -need.amount)
            hold.needs = [need for need in hold.needs if need.kind == "usd"]
            hold.late = True
            heappush(ends, (hold.looked_at, id))

    def _fits(self, need: Need, moment: int) -> bool:
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

    def _put(self, need: Need, moment: int, crossed: list[Need]) -> int:
        """Take a need that fits; how many counters that has made. Soft limits are told of once."""
        kind, field = need.kind, need.field
        made = 0
        if kind == "concurrency":
            _add(self.running, field, need.amount)
        elif kind in {"usd", "share"}:
            soft, spent = need.soft, self.spent
            if kind == "share":
                made += self._add(need.whole, 1)
            made += self._add(field, need.amount)
            self._reserve(need, need.amount)
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

    def _add(self, field: str, amount: int) -> int:
        spent = self.spent.get(field)
        self.spent[field] = amount if spent is None else spent + amount
        if spent is None:
            self.fields.append(field)
        return spent is None

    def _use(self, field: str, held: int, used: int) -> None:
        """Tokens that were held were used. They count from when a call last asked."""
        bucket = self.rates[field]
        bucket.held -= held
        bucket.holders -= 1
        bucket.level += used * bucket.period

    def _joined(self, held: Iterable[Need], more: Iterable[Need]) -> list[Need]:
        """One need for each counter, with all that is taken of it."""
        found = {need.field: need for need in held}
        for need in more:
            old = found.get(need.field)
            amount = need.amount if old is None else need.amount + old.amount
            found[need.field] = msgspec.structs.replace(need, amount=amount)
            if old is not None and need.kind == "tokens":
                self.rates[need.field].holders -= 1
        return list(found.values())

    def _reserve(self, need: Need, amount: int) -> None:
        """Add to what running calls hold of a counter of money."""
        if need.kind == "usd":
            _add(self.reserved, need.field, amount)

    def _missing(
        self, needs: Sequence[Need], moment: int, held: _Hold | None
    ) -> Over | Unseeded | None:
        """Why a call does not pass: of all that it does not fit, what keeps it out for longest.

        `held` is what it has already.
        """
        longest: Over | None = None
        for at, need in enumerate(needs):
            if self._fits(need, moment):
                continue
            if self._unseeded(need):
                return Unseeded(need, tuple(filter(self._unseeded, needs[at + 1 :])))
            busy = self._busy(need, held)
            wait = BUSY if busy else self._wait(need, moment)
            if wait is None:
                return Over(need)
            if longest is None or wait > (longest.retry_after or 0):
                longest = Over(need, wait, busy=busy)
        return longest

    def _unseeded(self, need: Need) -> bool:
        return need.kind == "usd" and need.seeded and need.field not in self.spent

    def _busy(self, need: Need, held: _Hold | None) -> bool:
        """True if a need that does not fit would fit if the other running calls cost nothing."""
        reserved = self.reserved.get(need.field)
        if need.kind != "usd" or reserved is None:
            return False
        # What the call itself has reserved may be billed, so it does not come back.
        own = () if held is None or held.late else held.needs
        reserved -= sum(one.amount for one in own if one.field == need.field)
        return self.spent[need.field] - reserved + need.amount <= need.limit

    def _wait(self, need: Need, moment: int) -> float | None:
        """Seconds until a need fits if nobody else asks; None where time alone does not help."""
        bucket = self.rates.get(need.field)
        if bucket is None or not need.limit or bucket.held + need.amount > need.limit:
            return None
        asked = bucket.level + (bucket.held + need.amount) * bucket.period
        excess = asked - need.limit * bucket.period
        # One more: a moment is a double, and may lie a little before its microsecond.
        return (-(-excess // need.limit) + max(0, bucket.at - moment) + 1) / _MICRO

    def _sweep(self, most: int, now: float) -> None:
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


def _add(counts: dict[str, int], field: str, amount: int) -> None:
    """Add to a counter, and remove it once it is 0 again."""
    count = counts.get(field, 0) + amount
    if count > 0:
        counts[field] = count
    else:
        counts.pop(field, None)


def _next(ask: Ask, choice: int, over: Need) -> tuple[int, tuple[Need, ...]] | None:
    """Where a call goes that does not pass a need: which of its `others`, counted from 1."""
    if over.then is None:
        return None
    others = enumerate(ask.others, 1)
    return next(
        ((at, needs) for at, (tier, needs) in others if at > choice and tier == over.then), None
    )
