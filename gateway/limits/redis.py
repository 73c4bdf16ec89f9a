"""What counts calls against limits and budgets in Redis: for several processes and machines.

Each of admit, extend and settle is one script for each owner whose counters a call needs. Where a
call needs those of both, both are asked at once: on one server in the order in which they are sent.
Calls of one process share one connection. Time is Redis's own, so that machines whose
clocks differ fill and drain the same buckets: of what the callers say, only how long a call runs
counts. Which window money belongs to is the caller's to say, by the counter's name: near midnight
two machines may charge different days, and neither day's bound is passed.

A request whose answer was lost may have been carried out: asked again with the same id it takes
nothing twice. `extend` is the exception: it always adds.
"""

import struct
from collections.abc import Callable, Coroutine, Sequence
from itertools import batched
from typing import Any, Literal, Self

import msgspec

from gateway.limits import window
from gateway.limits.counters import (
    BOTH,
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
    scopes,
)
from gateway.limits.errors import CountersUnavailable
from gateway.limits.mould import AdmitTemplate
from gateway.state.errors import RedisAway
from gateway.state.redis.client import Sent
from gateway.state.redis.connection import RedisError, Reply
from gateway.state.redis.health import DEADLINE
from gateway.state.redis.scripts import Script, ScriptRunner, head

MOST = 2**53
"""The largest number that a script knows exactly: 9 billion USD."""
_MICRO = 1_000_000
_KEEP = 2 * 86_400 * _MICRO
"""Microseconds that a hold whose time is over can be corrected."""
_AT_ONCE = 256
"""Calls that one script settles, at most: nobody else is served meanwhile."""
_TAKE, _SETTLE, _SWEEP = Script("meter"), Script("settle"), Script("sweep")
_RELEASE = Script("release")
_MOULDS = 4096
"""Forms whose requests are kept half made."""
_PLAIN = (0, 0)
"""Both let a call pass, and have nothing to tell."""
_encode = msgspec.msgpack.Encoder().encode


class RedisCounters:
    """A Meter in Redis or Valkey, single, Sentinel or Cluster."""

    def __init__(
        self, counters: ScriptRunner, *, time: Literal["server", "caller"] = "server"
    ) -> None:
        """Over a connection that others may use too; `time` is whose clock counts."""
        self._counters = counters
        self._own = time == "caller"
        self._moulds: dict[DemandTemplate, AdmitTemplate] = {}

    @classmethod
    def at(
        cls,
        url: str,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float],
        deadline: float = DEADLINE,
        time: Literal["server", "caller"] = "server",
    ) -> Self:
        """Over a connection of its own, as of `ScriptRunner`. Raises ValueError for a wrong URL."""
        return cls(ScriptRunner(url, note=note, clock=clock, deadline=deadline), time=time)

    def admit(self, ask: AdmissionRequest, now: float) -> Coroutine[Any, Any, Answer]:
        """Take all needs or none."""
        return self._take(ask, now, 0)

    async def take(
        self,
        form: DemandTemplate,
        amounts: tuple[int, ...],
        id: str,
        tenant: str,
        life: float,
        now: float,
    ) -> Answer:
        """Take all needs or none."""
        if not form.needs:
            return PASSED
        if not form.parts:
            owner = None if form.scopes[0] else tenant
            return await self._cast(form, amounts, id, owner, life, now)
        name, told, span = id.encode(), self._told(now), max(0, round(life * _MICRO))
        sent: list[Sent] = []
        try:
            for all_tenants, own, places in form.parts:
                mould = self._mould(own, None if all_tenants else tenant, len(name))
                data = mould.cast(name, told, span, tuple([amounts[at] for at in places]))
                sent.append((mould.head.name, mould.head.slot, data))
        except struct.error:  # more than any limit
            ask = AdmissionRequest(id=id, tenant=tenant, needs=form.of(amounts), expires=now + life)
            return await self._take(ask, now, 0)
        try:
            replies = await self._counters.try_both(sent[0], sent[1])
        except RedisAway:
            raise CountersUnavailable from None
        if replies == _PLAIN:
            return PASSED
        ask = AdmissionRequest(id=id, tenant=tenant, needs=form.of(amounts), expires=now + life)
        return await self._joined(ask, ask.needs, sent, replies)

    def extend(self, ask: AdmissionRequest, now: float) -> Coroutine[Any, Any, Answer]:
        """Take more for a call that has passed; it runs until `ask.expires` then."""
        return self._take(ask, now, 1)

    async def seed(self, owner: Owner, field: str, value: int) -> None:
        """Give a counter that is not there what was spent; one that is there stays."""
        spent = b"%d" % min(max(0, value), MOST)
        await self._command(owner, b"HSETNX", b"spent", field.encode(), spent)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro: int | None) -> bool:
        """Turn what a call of a tenant holds into what it used."""
        argument = _encode(((id, _whole(tokens), _whole(micro)),))
        held = [await self._run(_SETTLE, owner, argument) for owner in (None, tenant)]
        return 1 in held

    async def end(self, tenant: str, ends: Sequence[End], scopes: Scopes = BOTH) -> None:
        """Settle several calls at once; they hold nothing of other `scopes`."""
        for some in batched(ends, _AT_ONCE):
            rows = _encode([(id, _whole(tokens), _whole(micro)) for id, tokens, micro in some])
            for all_tenants in scopes:
                await self._run(_SETTLE, None if all_tenants else tenant, rows)

    async def used(self, owner: Owner) -> dict[str, int]:
        """Every counter of money and shares, by field."""
        reply = await self._command(owner, b"HGETALL", b"spent")
        items = reply if isinstance(reply, list) else []
        texts = [item.decode() for item in items if isinstance(item, bytes)]
        return {field: int(value) for field, value in zip(texts[::2], texts[1::2], strict=True)}

    async def sweep(self, owner: Owner, now: float) -> None:
        """Let go of the counters of windows that ended, and of rates that gave all back."""
        used = await self.used(owner)
        ended = [field for field in used if window.ended(field.rpartition("|")[2], now)]
        at = "0"
        while True:
            reply = await self._run(_SWEEP, owner, _encode((self._told(now), at, ended)))
            if not isinstance(reply, bytes) or reply == b"0":
                return
            at, ended = reply.decode(), []

    async def close(self) -> None:
        """Close the connection."""
        await self._counters.close()

    async def _take(self, ask: AdmissionRequest, now: float, adds: int) -> Answer:
        if not ask.needs:
            return PASSED
        needs = [need for way in ask.ways for need in way]
        if any(need.amount > MOST for need in needs):
            ask = _bounded(ask)
        if len(owners := {*ask.holds, *scopes(needs)}) > 1:
            return await self._by_way(ask, now, adds)
        return await self._ask(ask, None if True in owners else ask.tenant, now, adds)

    async def _by_way(self, ask: AdmissionRequest, now: float, adds: int) -> Answer:
        """Ask for each way by itself, since no script sees the counters of both owners."""
        choice, before = 0, list[CounterDemand]()
        while True:
            told = await self._both(ask, ask.ways[choice], now, adds)
            if isinstance(told, MissingCounter):
                return told
            if isinstance(told, Admitted):
                return Admitted(told.warnings, choice, tuple(before))
            after = ask.after(choice, told.need)
            if after is None:
                return Refusal(told.need, told.retry_after, choice, tuple(before), told.busy)
            if not told.busy:
                before.append(told.need)
            choice = after

    async def _both(
        self, ask: AdmissionRequest, needs: Sequence[CounterDemand], now: float, adds: int
    ) -> Answer:
        """Take one way of a call: of all tenants, and of its own."""
        wanted = {*ask.holds, *scopes(needs)}
        if len(wanted) < len(BOTH):
            only = msgspec.structs.replace(ask, needs=tuple(needs), others=())
            owner = None if True in wanted else ask.tenant
            return await self._ask(only, owner, now, adds) if wanted else PASSED
        sent: list[Sent] = []
        for all_tenants in BOTH:
            own = tuple([need for need in needs if need.all_tenants is all_tenants])
            only = msgspec.structs.replace(ask, needs=own, others=())
            owner = None if all_tenants else ask.tenant
            made, argument = head(_TAKE, owner), self._asked(only, owner, now, adds)
            data = b"%b$%d\r\n%b\r\n" % (made.start, len(argument), argument)
            sent.append((made.name, made.slot, data))
        try:
            replies = await self._counters.try_both(sent[0], sent[1])
        except RedisAway:
            raise CountersUnavailable from None
        return await self._joined(ask, needs, sent, replies)

    async def _joined(
        self,
        ask: AdmissionRequest,
        needs: Sequence[CounterDemand],
        sent: Sequence[Sent],
        replies: tuple[Reply, Reply],
    ) -> Answer:
        """What both have answered; where one refuses, what the other has taken is given back.

        Nobody waits for that: it is carried out before whatever is sent there next.
        """
        answers: list[Answer] = []
        for all_tenants, (_, _, data), reply in zip(BOTH, sent, replies, strict=True):
            own = tuple([need for need in needs if need.all_tenants is all_tenants])
            only = msgspec.structs.replace(ask, needs=own, others=())
            found = reply
            if isinstance(found, RedisError):
                owner = None if all_tenants else ask.tenant
                found = await self._known(owner, data, found)
            answers.append(PASSED if found == 0 else _told(only, found))
        every, one = answers
        if isinstance(every, Admitted) and isinstance(one, Admitted):
            warnings = (*every.warnings, *one.warnings)
            return Admitted(warnings) if warnings else PASSED
        for all_tenants, taken in zip(BOTH, answers, strict=True):
            if isinstance(taken, Admitted):
                given = [need for need in needs if need.all_tenants is all_tenants]
                warned = [need.field for need in taken.warnings]
                over = 0 if all_tenants in ask.holds else 1
                argument = _encode((ask.id, over, given, warned))
                owner = None if all_tenants else ask.tenant
                self._counters.tell_script(_RELEASE, owner, argument)
        return refused(every, one)

    async def _ask(self, ask: AdmissionRequest, owner: Owner, now: float, adds: int) -> Answer:
        """Take what one owner counts."""
        reply = await self._run(_TAKE, owner, self._asked(ask, owner, now, adds))
        return PASSED if reply == 0 else _told(ask, reply)

    def _asked(self, ask: AdmissionRequest, owner: Owner, now: float, adds: int) -> bytes:
        """What the script is told of what one owner counts."""
        life = max(0, round((ask.expires - now) * _MICRO))
        seeds = [(field, spent) for whose, field, spent in ask.seeds if whose == owner]
        return _encode((ask.id, self._told(now), life, adds, _KEEP, ask.needs, ask.others, seeds))

    async def _cast(
        self,
        form: DemandTemplate,
        amounts: tuple[int, ...],
        id: str,
        owner: Owner,
        life: float,
        now: float,
    ) -> Answer:
        """Take what one owner counts, by a request that is made but for its numbers."""
        name, told = id.encode(), self._told(now)
        mould = self._mould(form, owner, len(name))
        try:
            data = mould.cast(name, told, max(0, round(life * _MICRO)), amounts)
        except struct.error:  # more than any limit
            return await self._take(_asked(form, amounts, id, owner, life, now), now, 0)
        try:
            reply = await self._counters.try_(mould.head.name, mould.head.slot, data)
        except RedisAway:
            raise CountersUnavailable from None
        if type(reply) is RedisError:
            reply = await self._known(owner, data, reply)
        if reply == 0:
            return PASSED
        return _told(_asked(form, amounts, id, owner, life, now), reply)

    def _mould(self, form: DemandTemplate, owner: Owner, size: int) -> AdmitTemplate:
        mould = self._moulds.get(form)
        if mould is None or mould.size != size or mould.owner != owner:
            if len(self._moulds) >= _MOULDS:
                self._moulds.clear()
            mould = AdmitTemplate(form, owner, head(_TAKE, owner), _KEEP, size)
            self._moulds[form] = mould
        return mould

    def _told(self, now: float) -> int:
        """Microseconds that scripts are told; 0 is Redis's own time."""
        return round(now * _MICRO) if self._own else 0

    async def _known(self, owner: Owner, data: bytes, reply: RedisError) -> Reply:
        """What the script answers that failed, where it was not known there."""
        try:
            return await self._counters.known(_TAKE, owner, data, reply)
        except RedisAway:
            raise CountersUnavailable from None

    async def _run(self, script: Script, owner: Owner, argument: bytes) -> Reply:
        try:
            return await self._counters.run(script, owner, argument)
        except RedisAway:
            raise CountersUnavailable from None

    async def _command(self, owner: Owner, command: bytes, name: bytes, *words: bytes) -> Reply:
        try:
            return await self._counters.command(owner, command, name, *words)
        except RedisAway:
            raise CountersUnavailable from None


def _asked(
    form: DemandTemplate, amounts: tuple[int, ...], id: str, owner: Owner, life: float, now: float
) -> AdmissionRequest:
    return AdmissionRequest(id=id, tenant=owner or "", needs=form.of(amounts), expires=now + life)


def _bounded(ask: AdmissionRequest) -> AdmissionRequest:
    """An ask whose amounts can be told: what is more than any limit stays so."""

    def bounded(needs: tuple[CounterDemand, ...]) -> tuple[CounterDemand, ...]:
        amounts = [min(need.amount, 2 * MOST) for need in needs]
        pairs = zip(needs, amounts, strict=True)
        return tuple(msgspec.structs.replace(need, amount=amount) for need, amount in pairs)

    others = tuple((tier, bounded(needs)) for tier, needs in ask.others)
    return msgspec.structs.replace(ask, needs=bounded(ask.needs), others=others)


def _whole(value: int | None) -> int:
    return -1 if value is None else min(max(0, value), MOST)


def _told(ask: AdmissionRequest, reply: Reply) -> Answer:
    """Read an answer that tells of something. Raises CountersUnavailable if it is none of ours."""
    if not isinstance(reply, bytes):
        raise CountersUnavailable
    try:
        return _read(ask, *msgspec.msgpack.decode(reply, type=list[int]))
    except (msgspec.MsgspecError, TypeError, ValueError, IndexError):  # who answers is no Redis
        raise CountersUnavailable from None


def _read(ask: AdmissionRequest, what: int, choice: int, *rest: int) -> Answer:
    lists = ask.ways
    if choice >= len(lists):  # an answer that was given before, to more than is asked now
        return PASSED
    needs = lists[choice]
    if what == 2:
        first, *more = [needs[at - 1] for at in rest]
        return MissingCounter(first, tuple(more))
    end = 1 + 2 * rest[0]
    before = tuple(lists[at][need - 1] for at, need in batched(rest[1:end], 2))
    if what == 0:
        warned = tuple(needs[at - 1] for at in rest[end:] if at <= len(needs))
        return Admitted(warned, choice, before)
    at, wait, busy = rest[end:]
    seconds = wait / _MICRO if wait >= 0 else None
    return Refusal(needs[at - 1], seconds, choice, before, busy == 1)
