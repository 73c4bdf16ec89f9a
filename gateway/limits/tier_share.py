"""What the turns of each key have scored of late, and the thresholds that come of it.

To note a turn is a few additions. Every few seconds, or turns, what was noted is counted, with
other processes where they share a Redis, and thresholds are made of it: those of a key once it has
had `TURNS` turns, before that those of its tenant once that has, before that none. Losing Redis
costs nothing: each process goes on with what it knows and counts itself, and tells it later.
Thresholds stay until there are newer ones.

Where several processes count the turns of a key together, by cell.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from gateway.core.call import Call, Key
from gateway.core.decision import Decision
from gateway.core.decision_context import ShareCut, Thresholds
from gateway.core.target import Tier
from gateway.limits.errors import CountersUnavailable
from gateway.routing.classifier import heuristic
from gateway.routing.tier_share import (
    BOUNDED,
    REASONED,
    SIZE,
    SMART,
    TURNS,
    WIDTH,
    RecentTurns,
    ShareBounds,
    cell,
    cut,
)
from gateway.state.errors import RedisAway
from gateway.state.redis.connection import Reply
from gateway.state.redis.scripts import Script, ScriptRunner, key, tag_of
from gateway.telemetry.metrics import CounterMetric

_KEEP = 30 * 86_400
"""Seconds after which what nobody adds to is let go."""
_ADD = Script("recent")
_encode = msgspec.msgpack.Encoder().encode
_pairs = msgspec.msgpack.Decoder(list[int])


class TurnPool(Protocol):
    """Where several processes count the same turns."""

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        """Count more turns of a name; return those of all processes. Raises CountersUnavailable."""
        ...


class RedisTurnPool:
    """A TurnPool in Redis or Valkey: one hash a name, one script and one round trip.

    Turns whose answer was lost may be counted twice.
    """

    def __init__(self, counters: ScriptRunner) -> None:
        self._counters = counters

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        """Count more turns under a name."""
        digest = blake2b(name.encode(), digest_size=12).hexdigest()
        at = key(tag_of(tenant), b"turns:" + digest.encode())
        cells = [part for cell, many in enumerate(counts) if many for part in (cell, many)]
        try:
            return _recent(await self._counters.on(_ADD, at, _encode((TURNS, _KEEP, SIZE, cells))))
        except RedisAway:
            raise CountersUnavailable from None


def _recent(reply: Reply) -> RecentTurns:
    """What a hash holds. Raises CountersUnavailable where it is none of ours."""
    found = RecentTurns()
    try:
        fields = reply if isinstance(reply, list) else [None]
        for field, value in zip(fields[::2], fields[1::2], strict=True):
            if not isinstance(field, bytes) or not isinstance(value, bytes):
                raise CountersUnavailable
            if field == b"before":
                pairs = _pairs.decode(value)
                for cell, many in zip(pairs[::2], pairs[1::2], strict=True):
                    _count(found.before, cell, many)
            elif field != b"size":
                _count(found.now, int(field), int(value))
    except (msgspec.MsgspecError, ValueError, IndexError):
        raise CountersUnavailable from None
    return found


def _count(counts: list[int], cell: int, many: int) -> None:
    if cell < 0 or many < 0:
        raise ValueError
    counts[cell] = many


EVERY = 2.0
"""Seconds between two looks at what was noted."""
SOON = 200
"""Turns of one key that are looked at at once."""
ALERT_EVERY = 3_600.0
"""Seconds after an alert in which no other one tells of the same key."""
_GENERATE = "generate"
"""The operation that takes a turn; to count its tokens takes none."""


class LoweredTurns(msgspec.Struct, frozen=True, kw_only=True):
    """Turns of a key that bounds on shares have sent to a lower tier, since it was last told."""

    tenant: str
    key: str
    call: str
    """The id of the last one."""
    wanted: Tier
    """The tier that the classifier gave it."""
    tier: Tier
    """The tier that the bounds left it."""
    turns: int


class _Scope:
    """All that is known of the turns of a key, or of a tenant."""

    __slots__ = (
        "above",
        "alerted",
        "fresh",
        "lowered",
        "made",
        "many",
        "name",
        "owed",
        "recent",
        "tenant",
        "told",
    )

    def __init__(self, tenant: str, name: str, above: "_Scope | None" = None) -> None:
        self.tenant = tenant
        self.name = name
        """What it is counted under."""
        self.above = above
        """Its tenant."""
        self.fresh = [0] * WIDTH
        """What was noted since it was last looked at."""
        self.many = 0
        """How many turns that is."""
        self.owed = [0] * WIDTH
        """What other processes have not been told of."""
        self.told = False
        """Whether they have been told all, and nobody has asked since they told what they know."""
        self.recent = RecentTurns()
        self.made: Thresholds | None = None
        self.alerted = -math.inf
        """When an alert told of it, in seconds since the epoch."""
        self.lowered = 0
        """Turns that a bound has sent lower since then."""


class TurnCounter:
    """The turns of all keys. Without a pool the process is alone."""

    def __init__(
        self,
        pool: TurnPool | None = None,
        *,
        alert: Callable[[LoweredTurns], None] = lambda _: None,
    ) -> None:
        """Call `alert` for a key whose turns are sent lower, once in `ALERT_EVERY` seconds."""
        self._pool = pool
        self._alert = alert
        self._most: ShareBounds | None = None
        self._own = Thresholds(0.0, 0.0, "")
        self._keys: dict[tuple[str, str], _Scope] = {}
        self._tenants: dict[str, _Scope] = {}
        self._new = asyncio.Event()
        self.turns: dict[Tier, int] = {"fast": 0, "smart": 0, "reasoning": 0}
        """Turns that this process noted, by the tier that the classifier gave."""
        self.lowered = 0
        """Those of them that a bound sent lower."""

    def adopt(self, most: ShareBounds | None, own: Thresholds | None) -> None:
        """Bound shares from now on, of turns that a classifier with such thresholds decides.

        With another classifier all begins anew; with other bounds it goes on. Without either
        nothing is counted.
        """
        if own != self._own:
            self._keys.clear()
            self._tenants.clear()
        self._own = own or Thresholds(0.0, 0.0, "")
        self._most = most if own is not None else None
        for scope in (*self._keys.values(), *self._tenants.values()):
            scope.told = False

    def thresholds(self, key: Key) -> Thresholds | None:
        """What the turns of a key are held against now; None leaves the classifier its own."""
        if self._most is None:
            return None
        scope = self._keys.get((key.tenant, key.name)) or self._meet(key)
        scope.told = False
        if scope.made is None and scope.above is not None:
            scope.above.told = False
            return scope.above.made
        return scope.made

    def note(self, call: Call, decision: Decision) -> None:
        """Count a turn that a classifier decided; any other is none."""
        score, tier = decision.score, decision.classified
        if self._most is None or score is None or tier is None or call.operation != _GENERATE:
            return
        key = call.key
        scope = self._keys.get((key.tenant, key.name)) or self._meet(key)
        own = heuristic.tier(score, self._own)
        # A conversation may be in the tier already that a bound refuses it.
        if tier != own and (decision.source == "classifier" or decision.tier != own):
            self._lower(scope, call, own, tier)
        if decision.source != "classifier":
            return
        fresh = scope.fresh
        fresh[cell(score, self._own)] += 1
        if scope.made is not None:  # what came of another's cut is nothing to make up for
            fresh[BOUNDED] += 1
            if tier != "fast":
                fresh[REASONED if tier == "reasoning" else SMART] += 1
        scope.many += 1
        if scope.many == SOON:
            self._new.set()
        scope.told = False
        self.turns[tier] += 1

    def _lower(self, scope: _Scope, call: Call, wanted: Tier, tier: Tier) -> None:
        """Count a turn that a bound sent lower, and tell of it where nobody has of late."""
        self.lowered += 1
        scope.lowered += 1
        if call.received_at - scope.alerted < ALERT_EVERY:
            return
        key, turns = call.key, scope.lowered
        scope.alerted, scope.lowered = call.received_at, 0
        self._alert(
            LoweredTurns(
                tenant=key.tenant, key=key.name, call=call.id, wanted=wanted, tier=tier, turns=turns
            )
        )

    def measures(self) -> list[CounterMetric]:
        """What of it is told at /metrics."""
        turns = self.turns
        return [
            CounterMetric(
                "turns_fast", "Classified turns that went to fast.", lambda: turns["fast"]
            ),
            CounterMetric(
                "turns_smart", "Classified turns that went to smart.", lambda: turns["smart"]
            ),
            CounterMetric(
                "turns_reasoning",
                "Classified turns that went to reasoning.",
                lambda: turns["reasoning"],
            ),
            CounterMetric("turns_lowered", "Those that a bound sent lower.", lambda: self.lowered),
        ]

    async def keep(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Make thresholds again and again; at once for a key that is new, or asks much."""
        while True:
            await self.refresh()
            waits = [asyncio.ensure_future(one) for one in (sleep(EVERY), self._new.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()

    async def refresh(self) -> None:
        """Count what was noted, and make thresholds of it."""
        self._new.clear()
        if self._most is None:
            return
        pool = self._pool
        for scopes in (self._keys, self._tenants):
            for scope in list(scopes.values()):
                if not scope.told:
                    pool = await self._renew(scope, pool)

    def _meet(self, key: Key) -> _Scope:
        own = self._own
        axis = f"{own.id}|{own.fast}|{own.smart}"
        tenant = self._tenants.get(key.tenant)
        if tenant is None:
            tenant = self._tenants[key.tenant] = _Scope(key.tenant, f"tenant|{axis}")
        scope = _Scope(key.tenant, f"key|{axis}|{key.name}", tenant)
        self._keys[key.tenant, key.name] = scope
        self._new.set()
        return scope

    async def _renew(self, scope: _Scope, pool: TurnPool | None) -> TurnPool | None:
        """The pool; None where it was lost: it is not asked again this time."""
        scope.many = 0
        fresh, scope.fresh = scope.fresh, [0] * WIDTH
        if scope.above is not None:
            scope.above.fresh = _sum(scope.above.fresh, fresh)
            scope.above.told = False
        scope.recent.add(fresh)
        scope.told = True  # what is noted from here on is told the next time
        if self._pool is not None:
            scope.owed = _sum(scope.owed, fresh)
        if pool is not None:
            try:
                scope.recent = await pool.add(scope.tenant, scope.name, scope.owed)
            except CountersUnavailable:
                pool = None
            else:
                scope.owed = [0] * WIDTH
        scope.told = scope.told and pool is self._pool
        if (most := self._most) is not None and scope.recent.turns >= TURNS:
            scope.made = self._thresholds(scope, cut(scope.recent.counts, most), most)
        return pool

    def _thresholds(self, scope: _Scope, found: ShareCut, most: ShareBounds) -> Thresholds:
        """Their id is made of their numbers: the same in every process that has the same."""
        own = self._own
        end = ShareCut(reasoning=round(found.reasoning, 6), smart=round(found.smart, 6))
        whose = scope.name.partition("|")[0]
        said = f"{scope.tenant}|{scope.name}|{end.reasoning}|{end.smart}"
        digest = blake2b(said.encode(), digest_size=6).hexdigest()
        return Thresholds(
            fast=own.fast,
            smart=own.smart,
            id=f"{whose}-{digest}",
            cut=end,
            bounds=(most.reasoning, most.smart),
        )


def _sum(one: list[int], other: list[int]) -> list[int]:
    return [few + more for few, more in zip(one, other, strict=True)]
