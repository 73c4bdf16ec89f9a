"""Recent scores of the turns of each key, and the thresholds that follow from them.

To count a turn takes a few additions. A refresh runs every few seconds, or after enough turns. It
adds the new turns to the known ones and computes thresholds from them. Processes that share a Redis
count together, by cell.

A key gets its own thresholds once it has had `MIN_TURNS` turns. Before that it uses its tenant's,
once the tenant has had as many. Before that it has none. Thresholds stay until there are newer
ones.

While Redis is down, each process goes on with what it knows, and sends its own turns later.
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
from gateway.routing.classifier import heuristic
from gateway.routing.tier_share import (
    BOUNDED_INDEX,
    CELL_COUNT,
    COUNTER_COUNT,
    MIN_TURNS,
    REASONING_INDEX,
    SMART_INDEX,
    RecentTurns,
    ShareBounds,
    compute_cut,
    find_cell,
)
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import Reply
from gateway.state.redis.scripts import Script, ScriptRunner, make_key, make_tag
from gateway.telemetry.metrics import CounterMetric

_TTL_SECONDS = 30 * 86_400
"""Seconds after which Redis removes a hash that no process adds to."""
_RECENT_SCRIPT = Script("recent")
_encode = msgspec.msgpack.Encoder().encode
_pairs_decoder = msgspec.msgpack.Decoder(list[int])


class TurnPool(Protocol):
    """A place where several processes count the same turns."""

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        """Add turns to a name; return those of all processes. Raises StoreUnavailable."""
        ...


class RedisTurnPool:
    """A TurnPool in Redis or Valkey: one hash a name, one script and one round trip.

    Turns whose answer was lost may be counted twice.
    """

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        """Add turns to a name; return those of all processes. Raises StoreUnavailable."""
        digest = blake2b(name.encode(), digest_size=12).hexdigest()
        redis_key = make_key(make_tag(tenant), b"turns:" + digest.encode())
        cells = [item for cell, count in enumerate(counts) if count for item in (cell, count)]
        return _parse_turns(
            await self._scripts.run_on_keys(
                _RECENT_SCRIPT, (redis_key,), _encode((MIN_TURNS, _TTL_SECONDS, CELL_COUNT, cells))
            )
        )


def _parse_turns(reply: Reply) -> RecentTurns:
    """Read the content of a hash. Raises StoreUnavailable if it is not in our format."""
    turns = RecentTurns()
    try:
        fields = reply if isinstance(reply, list) else [None]
        for field, value in zip(fields[::2], fields[1::2], strict=True):
            if not isinstance(field, bytes) or not isinstance(value, bytes):
                raise StoreUnavailable
            if field == b"before":
                pairs = _pairs_decoder.decode(value)
                for cell, count in zip(pairs[::2], pairs[1::2], strict=True):
                    _set_count(turns.previous, cell, count)
            elif field != b"size":
                _set_count(turns.current, int(field), int(value))
    except (msgspec.MsgspecError, ValueError, IndexError):
        raise StoreUnavailable from None
    return turns


def _set_count(counts: list[int], cell: int, count: int) -> None:
    if cell < 0 or count < 0:
        raise ValueError
    counts[cell] = count


REFRESH_SECONDS = 2.0
"""Seconds between two refreshes."""
REFRESH_TURNS = 200
"""New turns of one key that start a refresh at once."""
ALERT_SECONDS = 3_600.0
"""Seconds after an alert in which the gateway sends no other alert for the same key."""
_NO_THRESHOLDS = Thresholds(0.0, 0.0, "")
_GENERATE = "generate"
"""The operation that takes a turn; counting tokens takes none."""


class LoweredTurns(msgspec.Struct, frozen=True, kw_only=True):
    """Turns of a key that bounds on shares have moved to a lower tier since its last alert."""

    tenant: str
    key: str
    call: str
    """The id of the last call."""
    wanted: Tier
    """The tier that the classifier chose for it."""
    tier: Tier
    """The tier that the bounds left it."""
    turns: int


class _Scope:
    """The recent turns of a key or of a tenant, and the thresholds that follow from them."""

    __slots__ = (
        "alerted_at",
        "is_synced",
        "lowered_count",
        "name",
        "new_counts",
        "new_turns",
        "recent_turns",
        "tenant",
        "tenant_scope",
        "thresholds",
        "unsent_counts",
    )

    def __init__(self, tenant: str, name: str, tenant_scope: "_Scope | None" = None) -> None:
        self.tenant = tenant
        self.name = name
        """The name that the pool counts its turns under."""
        self.tenant_scope = tenant_scope
        """The scope of its tenant; None if it is a tenant's own."""
        self.new_counts = [0] * COUNTER_COUNT
        """Turns since the last refresh, by cell."""
        self.new_turns = 0
        """The number of turns since the last refresh."""
        self.unsent_counts = [0] * COUNTER_COUNT
        """Turns that the pool does not have yet, by cell."""
        self.is_synced = False
        """True if the pool has all turns, and no call has used the thresholds since."""
        self.recent_turns = RecentTurns()
        self.thresholds: Thresholds | None = None
        self.alerted_at = -math.inf
        """The time of its last alert, in seconds since the epoch."""
        self.lowered_count = 0
        """Turns that a bound has moved lower since then."""


class TurnCounter:
    """Counts the turns of all keys. Without a pool, this process counts alone."""

    def __init__(
        self,
        pool: TurnPool | None = None,
        *,
        alert: Callable[[LoweredTurns], None] = lambda _: None,
    ) -> None:
        """Call `alert` for a key whose turns move lower, once in `ALERT_SECONDS` seconds."""
        self._pool = pool
        self._alert = alert
        self._bounds: ShareBounds | None = None
        self._base_thresholds = _NO_THRESHOLDS
        self._key_scopes: dict[tuple[str, str], _Scope] = {}
        self._tenant_scopes: dict[str, _Scope] = {}
        self._refresh_event = asyncio.Event()
        self.turns_by_tier: dict[Tier, int] = {"fast": 0, "smart": 0, "reasoning": 0}
        """Turns that this process has counted, by the tier that the classifier gave."""
        self.lowered_count = 0
        """Turns that a bound has moved lower."""

    def adopt(self, bounds: ShareBounds | None, thresholds: Thresholds | None) -> None:
        """Bound the shares of turns that a classifier with these thresholds decides.

        Another classifier starts all counts anew; other bounds keep them. If either is None,
        nothing is counted.
        """
        if thresholds != self._base_thresholds:
            self._key_scopes.clear()
            self._tenant_scopes.clear()
        self._base_thresholds = thresholds or _NO_THRESHOLDS
        self._bounds = bounds if thresholds is not None else None
        for scope in (*self._key_scopes.values(), *self._tenant_scopes.values()):
            scope.is_synced = False

    def find_thresholds(self, key: Key) -> Thresholds | None:
        """Return the current thresholds for a key; None leaves the classifier its own."""
        if self._bounds is None:
            return None
        scope = self._key_scopes.get((key.tenant, key.name)) or self._add_scope(key)
        scope.is_synced = False
        if scope.thresholds is None and scope.tenant_scope is not None:
            return scope.tenant_scope.thresholds
        return scope.thresholds

    def count_turn(self, call: Call, decision: Decision) -> None:
        """Count a turn that a classifier decided; ignore any other call."""
        score, tier = decision.score, decision.classified_tier
        if self._bounds is None or score is None or tier is None or call.operation != _GENERATE:
            return
        key = call.key
        scope = self._key_scopes.get((key.tenant, key.name)) or self._add_scope(key)
        base_tier = heuristic.choose_tier(score, self._base_thresholds)
        # The conversation may already be in the tier that a bound denies to this turn.
        if tier != base_tier and (decision.source == "classifier" or decision.tier != base_tier):
            self._count_lowered(scope, call, base_tier, tier)
        if decision.source != "classifier":
            return
        new_counts = scope.new_counts
        new_counts[find_cell(score, self._base_thresholds)] += 1
        if scope.thresholds is not None:  # only its own cut needs correction
            new_counts[BOUNDED_INDEX] += 1
            if tier != "fast":
                new_counts[REASONING_INDEX if tier == "reasoning" else SMART_INDEX] += 1
        scope.new_turns += 1
        if scope.new_turns == REFRESH_TURNS:
            self._refresh_event.set()
        scope.is_synced = False
        self.turns_by_tier[tier] += 1

    def _count_lowered(self, scope: _Scope, call: Call, classified_tier: Tier, tier: Tier) -> None:
        """Count a turn that a bound moved lower, and send an alert if none is recent."""
        self.lowered_count += 1
        scope.lowered_count += 1
        if call.received_at - scope.alerted_at < ALERT_SECONDS:
            return
        key, turns = call.key, scope.lowered_count
        scope.alerted_at, scope.lowered_count = call.received_at, 0
        self._alert(
            LoweredTurns(
                tenant=key.tenant,
                key=key.name,
                call=call.id,
                wanted=classified_tier,
                tier=tier,
                turns=turns,
            )
        )

    def build_metrics(self) -> list[CounterMetric]:
        """Return the metrics for /metrics."""
        turns = self.turns_by_tier
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
            CounterMetric(
                "turns_lowered", "Those that a bound sent lower.", lambda: self.lowered_count
            ),
        ]

    async def refresh_periodically(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Refresh thresholds at intervals; at once for a new key or after many turns of one."""
        while True:
            await self.refresh()
            waiters = [
                asyncio.ensure_future(waiter)
                for waiter in (sleep(REFRESH_SECONDS), self._refresh_event.wait())
            ]
            try:
                await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiter in waiters:
                    waiter.cancel()

    async def refresh(self) -> None:
        """Count the new turns, and compute thresholds from them."""
        self._refresh_event.clear()
        if self._bounds is None:
            return
        pool = self._pool
        for scopes in (self._key_scopes, self._tenant_scopes):
            for scope in list(scopes.values()):
                if not scope.is_synced:
                    pool = await self._refresh_scope(scope, pool)

    def _add_scope(self, key: Key) -> _Scope:
        base = self._base_thresholds
        thresholds_id = f"{base.id}|{base.fast}|{base.smart}"
        tenant_scope = self._tenant_scopes.get(key.tenant)
        if tenant_scope is None:
            tenant_scope = self._tenant_scopes[key.tenant] = _Scope(
                key.tenant, f"tenant|{thresholds_id}"
            )
        scope = _Scope(key.tenant, f"key|{thresholds_id}|{key.name}", tenant_scope)
        self._key_scopes[key.tenant, key.name] = scope
        self._refresh_event.set()
        return scope

    async def _refresh_scope(self, scope: _Scope, pool: TurnPool | None) -> TurnPool | None:
        """Refresh one scope; return the pool, or None if it is unavailable in this refresh."""
        scope.new_turns = 0
        new_counts, scope.new_counts = scope.new_counts, [0] * COUNTER_COUNT
        if scope.tenant_scope is not None:
            scope.tenant_scope.new_counts = _add_counts(scope.tenant_scope.new_counts, new_counts)
            scope.tenant_scope.is_synced = False
        scope.recent_turns.add(new_counts)
        scope.is_synced = True  # the next refresh sends later turns
        if self._pool is not None:
            scope.unsent_counts = _add_counts(scope.unsent_counts, new_counts)
        if pool is not None:
            try:
                scope.recent_turns = await pool.add(scope.tenant, scope.name, scope.unsent_counts)
            except StoreUnavailable:
                pool = None
            else:
                scope.unsent_counts = [0] * COUNTER_COUNT
        scope.is_synced = scope.is_synced and pool is self._pool
        if (bounds := self._bounds) is not None and scope.recent_turns.turn_count >= MIN_TURNS:
            scope.thresholds = self._make_thresholds(
                scope, compute_cut(scope.recent_turns.counts, bounds), bounds
            )
        return pool

    def _make_thresholds(self, scope: _Scope, raw_cut: ShareCut, bounds: ShareBounds) -> Thresholds:
        """Make thresholds from a cut.

        Their id comes from their numbers, so processes with the same numbers have the same id.
        """
        base = self._base_thresholds
        rounded_cut = ShareCut(reasoning=round(raw_cut.reasoning, 6), smart=round(raw_cut.smart, 6))
        scope_kind = scope.name.partition("|")[0]
        text = f"{scope.tenant}|{scope.name}|{rounded_cut.reasoning}|{rounded_cut.smart}"
        digest = blake2b(text.encode(), digest_size=6).hexdigest()
        return Thresholds(
            fast=base.fast,
            smart=base.smart,
            id=f"{scope_kind}-{digest}",
            cut=rounded_cut,
            bounds=(bounds.reasoning, bounds.smart),
        )


def _add_counts(first: list[int], second: list[int]) -> list[int]:
    return [
        first_count + second_count for first_count, second_count in zip(first, second, strict=True)
    ]
