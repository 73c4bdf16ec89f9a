"""What counts calls against limits and budgets in Redis: for several processes and machines.

Each of admit, extend and settle is one script and one round trip; calls of one process share one
connection. Time is Redis's own, so that machines whose clocks differ fill and drain the same
buckets: of what the callers say, only how long a call runs counts. Which window money belongs to
is the caller's to say, by the counter's name: near midnight two machines may charge different days,
and neither day's bound is passed.

A request whose answer was lost may have been carried out: asked again with the same id it takes
nothing twice. `extend` is the exception: it always adds.
"""

import struct
from collections.abc import Callable, Coroutine, Sequence
from itertools import batched
from typing import Any, Literal, Self

import msgspec

from gateway.limits import window
from gateway.limits.meter import PASSED, Ask, End, Form, Lost, Need, Over, Passed, Unseeded
from gateway.limits.mould import Mould
from gateway.state.counters import Counters, head
from gateway.state.doubt import DEADLINE
from gateway.state.script import Script
from gateway.state.server import Away
from gateway.state.wire import Failure, Reply

MOST = 2**53
"""The largest number that a script knows exactly: 9 billion USD."""
_MICRO = 1_000_000
_KEEP = 2 * 86_400 * _MICRO
"""Microseconds that a hold whose time is over can be corrected."""
_AT_ONCE = 256
"""Calls that one script settles, at most: nobody else is served meanwhile."""
_TAKE, _SETTLE, _SWEEP = Script("meter"), Script("settle"), Script("sweep")
_MOULDS = 4096
"""Forms whose requests are kept half made."""
_encode = msgspec.msgpack.Encoder().encode


class Shared:
    """A Meter in Redis or Valkey, single, Sentinel or Cluster."""

    def __init__(self, counters: Counters, *, time: Literal["server", "caller"] = "server") -> None:
        """Over a connection that others may use too; `time` is whose clock counts."""
        self._counters = counters
        self._own = time == "caller"
        self._moulds: dict[Form, Mould] = {}

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
        """Over a connection of its own, as of `Counters`. Raises ValueError for a wrong URL."""
        return cls(Counters(url, note=note, clock=clock, deadline=deadline), time=time)

    def admit(self, ask: Ask, now: float) -> Coroutine[Any, Any, Passed | Over | Unseeded]:
        """Take all needs or none."""
        return self._take(ask, now, 0)

    async def take(
        self, form: Form, amounts: tuple[int, ...], id: str, tenant: str, life: float, now: float
    ) -> Passed | Over | Unseeded:
        """Take all needs or none."""
        if not form.needs:
            return PASSED
        name, told = id.encode(), round(now * _MICRO) if self._own else 0
        mould = self._moulds.get(form)
        if mould is None or mould.size != len(name) or mould.tenant != tenant:
            mould = self._mould(form, tenant, len(name))
        try:
            data = mould.cast(name, told, max(0, round(life * _MICRO)), amounts)
        except struct.error:  # more than any limit
            return await self._take(_asked(form, amounts, id, tenant, life, now), now, 0)
        try:
            reply = await self._counters.try_(mould.head.name, mould.head.slot, data)
            if type(reply) is Failure:
                reply = await self._counters.known(_TAKE, tenant, data, reply)
        except Away:
            raise Lost from None
        if reply == 0:
            return PASSED
        return _told(_asked(form, amounts, id, tenant, life, now), reply)

    def extend(self, ask: Ask, now: float) -> Coroutine[Any, Any, Passed | Over | Unseeded]:
        """Take more for a call that has passed; it runs until `ask.expires` then."""
        return self._take(ask, now, 1)

    async def seed(self, tenant: str, field: str, value: int) -> None:
        """Give a counter that is not there what was spent; one that is there stays."""
        spent = b"%d" % min(max(0, value), MOST)
        await self._command(tenant, b"HSETNX", b"spent", field.encode(), spent)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro: int | None) -> bool:
        """A call is over: what it holds becomes what it used."""
        argument = _encode(((id, _whole(tokens), _whole(micro)),))
        return await self._run(_SETTLE, tenant, argument) == 1

    async def end(self, tenant: str, ends: Sequence[End]) -> None:
        """Settle several calls at once."""
        for some in batched(ends, _AT_ONCE):
            rows = [(id, _whole(tokens), _whole(micro)) for id, tokens, micro in some]
            await self._run(_SETTLE, tenant, _encode(rows))

    async def used(self, tenant: str) -> dict[str, int]:
        """Every counter of money and shares, by field."""
        reply = await self._command(tenant, b"HGETALL", b"spent")
        items = reply if isinstance(reply, list) else []
        texts = [item.decode() for item in items if isinstance(item, bytes)]
        return {field: int(value) for field, value in zip(texts[::2], texts[1::2], strict=True)}

    async def sweep(self, tenant: str, now: float) -> None:
        """Let go of the counters of windows that ended, and of rates that gave all back."""
        used = await self.used(tenant)
        ended = [field for field in used if window.ended(field.rpartition("|")[2], now)]
        at = "0"
        while True:
            reply = await self._run(_SWEEP, tenant, _encode((self._told(now), at, ended)))
            if not isinstance(reply, bytes) or reply == b"0":
                return
            at, ended = reply.decode(), []

    async def close(self) -> None:
        """Close the connection."""
        await self._counters.close()

    async def _take(self, ask: Ask, now: float, adds: int) -> Passed | Over | Unseeded:
        if not ask.needs:
            return PASSED
        told = self._told(now)
        life = max(0, round((ask.expires - now) * _MICRO))
        for needs in (ask.needs, *[needs for _, needs in ask.others]):
            for need in needs:
                if need.amount > MOST:
                    ask = _bounded(ask)
                    break
        asked = (ask.id, told, life, adds, _KEEP, ask.needs, ask.others, ask.seeds)
        reply = await self._run(_TAKE, ask.tenant, _encode(asked))
        return PASSED if reply == 0 else _told(ask, reply)

    def _mould(self, form: Form, tenant: str, size: int) -> Mould:
        if len(self._moulds) >= _MOULDS:
            self._moulds.clear()
        made = Mould(form, tenant, head(_TAKE, tenant), _KEEP, size)
        self._moulds[form] = made
        return made

    def _told(self, now: float) -> int:
        """Microseconds that scripts are told; 0 is Redis's own time."""
        return round(now * _MICRO) if self._own else 0

    async def _run(self, script: Script, tenant: str, argument: bytes) -> Reply:
        try:
            return await self._counters.run(script, tenant, argument)
        except Away:
            raise Lost from None

    async def _command(self, tenant: str, command: bytes, name: bytes, *words: bytes) -> Reply:
        try:
            return await self._counters.command(tenant, command, name, *words)
        except Away:
            raise Lost from None


def _asked(
    form: Form, amounts: tuple[int, ...], id: str, tenant: str, life: float, now: float
) -> Ask:
    return Ask(id=id, tenant=tenant, needs=form.of(amounts), expires=now + life)


def _bounded(ask: Ask) -> Ask:
    """An ask whose amounts can be told: what is more than any limit stays so."""

    def bounded(needs: tuple[Need, ...]) -> tuple[Need, ...]:
        amounts = [min(need.amount, 2 * MOST) for need in needs]
        pairs = zip(needs, amounts, strict=True)
        return tuple(msgspec.structs.replace(need, amount=amount) for need, amount in pairs)

    others = tuple((tier, bounded(needs)) for tier, needs in ask.others)
    return msgspec.structs.replace(ask, needs=bounded(ask.needs), others=others)


def _whole(value: int | None) -> int:
    return -1 if value is None else min(max(0, value), MOST)


def _told(ask: Ask, reply: Reply) -> Passed | Over | Unseeded:
    """What is packed in an answer that tells of something. Raises Lost where it is none of ours."""
    if not isinstance(reply, bytes):
        raise Lost
    try:
        return _read(ask, *msgspec.msgpack.decode(reply, type=list[int]))
    except (msgspec.MsgspecError, TypeError, ValueError, IndexError):  # who answers is no Redis
        raise Lost from None


def _read(ask: Ask, what: int, choice: int, *rest: int) -> Passed | Over | Unseeded:
    lists = (ask.needs, *(needs for _, needs in ask.others))
    if choice >= len(lists):  # an answer that was given before, to more than is asked now
        return PASSED
    needs = lists[choice]
    if what == 2:
        first, *more = [needs[at - 1] for at in rest]
        return Unseeded(first, tuple(more))
    end = 1 + 2 * rest[0]
    before = tuple(lists[at][need - 1] for at, need in batched(rest[1:end], 2))
    if what == 0:
        warned = tuple(needs[at - 1] for at in rest[end:] if at <= len(needs))
        return Passed(warned, choice, before)
    at, wait, busy = rest[end:]
    seconds = wait / _MICRO if wait >= 0 else None
    return Over(needs[at - 1], seconds, choice, before, busy == 1)
