"""Limits and budgets as a gateway has them: who counts, what its ledger knows, and who is told."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from zoneinfo import ZoneInfo

import msgspec

from gateway.core import jsonio
from gateway.core.call import OPEN
from gateway.core.errors import ProblemError
from gateway.ledger.errors import StoreError
from gateway.ledger.recovery import Recovered
from gateway.limits.cost_bounds import end_of, micro
from gateway.limits.counters import CounterDemand, CounterStore, End, Owner
from gateway.limits.errors import CountersUnavailable
from gateway.limits.keys import KeyTable
from gateway.limits.limiter import Limiter
from gateway.limits.memory import MemoryCounters as Counted
from gateway.limits.rules import BudgetLevel, CounterScope, LimitRules, counted
from gateway.limits.tier_share import LoweredTurns
from gateway.pipeline.ledger_runtime import LedgerRuntime
from gateway.settings.schema.root import Config
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import LabelledGauges
from gateway.upstream.client import tell

_REFUSED = 300
"""From this status on a receiver of alerts has not taken one."""
_LOOK = 5.0
"""Seconds from one look at how full budgets are to the next."""
_MICRO = 1_000_000
_OWN = "(of a key)"
"""What budgets of keys alone are called, since their names are those of keys."""
_EARLIER = 8
"""Limits of before that are remembered: a call may still ask what one of theirs had counted."""


class LimitRuntime:
    """One for the life of a gateway: counters and holds outlive a configuration."""

    def __init__(
        self,
        config: Config,
        meter: CounterStore,
        archive: LedgerRuntime,
        keys: KeyTable,
        log: Log,
        *,
        shares: int,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`shares` and `wall` as in Limiter."""
        self._wall = wall
        self._config = config
        self._meter = meter
        self._archive = archive
        self._keys = keys
        self._log = log
        self._limits = deque([_limits(config)], maxlen=_EARLIER)
        self._telling: set[asyncio.Task[None]] = set()
        self.levels: tuple[BudgetLevel, ...] = ()
        """How full budgets of money were at the last look; those without a call are not there."""
        self.gate = Limiter(
            self._limits[0],
            meter,
            log,
            seed=self._seed,
            alert=self._alert,
            spare=Counted,
            closed=config.on_redis_loss == "closed",
            shares=shares,
            wall=wall,
        )

    def adopt(self, config: Config) -> None:
        """Go by another configuration; what is counted stays, by the names of the counters."""
        if _said(config) != _said(self._config):
            self._limits.appendleft(_limits(config))
        self._config = config
        self.gate.adopt(self._limits[0], closed=config.on_redis_loss == "closed")

    async def settle_dead(self, dead: Iterable[Recovered]) -> None:
        """Calls that a crash has ended run no more; what is not known of them stays charged.

        To ask at all connects, so that the first calls need not wait for it; where nothing is
        limited nobody is asked.
        """
        config = self._config
        own = any(key.limits or key.budgets for key in self._keys.known())
        if not (config.limits or config.budgets or own):
            return
        with suppress(CountersUnavailable):
            await self._meter.used("default")
        ends: dict[str, list[End]] = {}
        for recovered in dead:
            for row in (*recovered.entries, *recovered.ended):
                ends.setdefault(row.tenant, []).append(end_of(row))
        for tenant, some in ends.items():
            await self.gate.settle_dead(tenant, some)
        with suppress(CountersUnavailable, ProblemError):
            await self._carry()

    async def _carry(self) -> None:
        """Make missing counters of all tenants from the counters of each tenant.

        Earlier versions had one counter for each tenant under the same name. The ledger may know
        less than these: `ledger.keep` removes rows, and several machines may have a store each.
        """
        known, now = await self._meter.used(None), self._wall()
        sums: dict[str, int] = {}
        for tenant in sorted({"default", *(key.tenant for key in self._keys.known())}):
            for field, spent in (await self._meter.used(tenant)).items():
                if field not in known:
                    sums[field] = sums.get(field, 0) + spent
        for need in self._limits[0].shared(sums, now):
            spent = max(sums[need.field], await self.gate.spent(None, need))
            await self._meter.seed(None, need.field, spent)

    async def used(self, owner: Owner) -> dict[str, int] | None:
        """Every counter of money and shares of an owner, by field; None while nobody can count."""
        try:
            return await self._meter.used(owner)
        except CountersUnavailable:
            return None

    async def refuses(self) -> bool:
        """True if no call is served, as a budget bounds each and nobody can count for all."""
        keys = [OPEN] if self._keys.is_open else self._keys.opening()
        return self.gate.closes(keys) and await self.used("default") is None

    async def keep(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Look how full budgets are, again and again, until cancelled."""
        while True:
            await sleep(_LOOK)
            await self.look()

    async def look(self) -> None:
        """Find out how full budgets are; while they cannot be counted for all, nobody knows."""
        found: list[BudgetLevel] = []
        if self._config.budgets or any(key.budgets for key in self._keys.known()):
            try:
                for owner in (None, *sorted({"default", *self.gate.tenants})):
                    used = await self._meter.used(owner)
                    found += self._limits[0].levels(owner, used, self._wall())
            except CountersUnavailable:
                found = []
        self.levels = tuple(found)

    def measures(self, *, keys: bool, tenants: bool) -> list[LabelledGauges]:
        """The same for Prometheus: of each budget its fullest counter.

        `keys` and `tenants` name the keys and the tenants that have a counter of their own.
        """
        asked = {"tenant": tenants, "key": keys}
        labels = ("budget", *(name for name, told in asked.items() if told))

        def fullest() -> dict[tuple[str, ...], BudgetLevel]:
            found: dict[tuple[str, ...], BudgetLevel] = {}
            for level in sorted(self.levels, key=lambda level: level.part):
                values = {"budget": level.budget or _OWN, "tenant": level.tenant, "key": level.key}
                found[tuple([values[name] for name in labels])] = level
            return found

        def tell(name: str, text: str, of: Callable[[BudgetLevel], float | None]) -> LabelledGauges:
            def read() -> dict[tuple[str, ...], float]:
                told = ((at, of(level)) for at, level in fullest().items())
                return {at: number for at, number in told if number is not None}

            return LabelledGauges(f"budget_{name}", text, labels, read)

        return [
            tell(
                "used_ratio",
                "The part of a budget that is spent or held, of its fullest counter.",
                lambda level: level.part,
            ),
            tell("limit_usd", "USD of that budget.", lambda level: level.limit / _MICRO),
            tell(
                "end_timestamp_seconds",
                "When its window ends; none where it never does.",
                lambda level: level.end,
            ),
        ]

    async def _seed(self, owner: Owner, need: CounterDemand) -> int:
        """Micro-USD that were spent on a counter. Raises StoreError where that is not all known."""
        scope = self._scope(owner, need)
        if not await self._archive.caught_up():
            raise StoreError("the store has not all rows yet")
        return await asyncio.to_thread(self._spent, scope)

    def _scope(self, owner: Owner, need: CounterDemand) -> CounterScope:
        for limits in self._limits:
            with suppress(ValueError):  # the need is of earlier ones
                return limits.scope(owner, need)
        raise ValueError(f"nothing is counted by {need.field!r}")

    def _spent(self, scope: CounterScope) -> int:
        """Micro-USD that the ledger knows of for a counter that was lost, or is new.

        Raises StoreError where rows of its window may be missing.
        """
        missing = self._archive.store.missing_until()
        if missing is not None and (scope.since or 0.0) < missing:
            raise StoreError(f"rows of calls before {missing:.0f} may be missing since a rebuild")
        (found,) = self._archive.store.costs(only=scope.only, since=scope.since, until=scope.until)
        known = (found.cost, found.reserved)  # what nobody knows is charged as the most it can be
        return sum(micro(one) for one in known if one is not None)

    def share(self, lowered: LoweredTurns) -> None:
        """Tell of a key whose turns a bound on shares sends to lower tiers; nobody waits."""
        told = msgspec.structs.asdict(lowered)
        self._log("share", **told, text="routing.max_share sends turns to a lower tier")
        self._tell("share", told)

    def _alert(self, owner: Owner, need: CounterDemand) -> None:
        """Tell the receiver of alerts of a budget; nobody waits."""
        told = {
            "name": need.name,
            "scope": counted(owner, need),
            "counter": need.field,
            "tenant": owner,
            "limit_usd": need.limit / _MICRO if need.kind == "usd" else None,
            "soft_usd": need.soft / _MICRO if need.kind == "usd" and need.soft else None,
        }
        self._tell("budget", told)

    def _tell(self, event: str, told: Mapping[str, object]) -> None:
        """Send an event to the webhook of alerts, where there is one."""
        url = self._config.alerts.webhook
        if not url:
            return

        async def send() -> None:
            status = await tell(url, jsonio.dumps({"event": event, **told}))
            if status is None or status >= _REFUSED:
                self._log("alert", name=told.get("name", event), status=status)

        task = asyncio.create_task(send())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _said(config: Config) -> tuple[object, ...]:
    return config.limits, config.budgets, config.ledger.time_zone


def _limits(config: Config) -> LimitRules:
    return LimitRules(config.limits, config.budgets, ZoneInfo(config.ledger.time_zone))
