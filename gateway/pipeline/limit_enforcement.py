"""Limits and budgets of a running gateway: its counters, its ledger's sums, its alerts."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY
from gateway.core.clocks import SYSTEM_CLOCKS, Clocks
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.errors import StoreError
from gateway.ledger.recovery import Recovered, read_open_calls
from gateway.limits.cost_bounds import make_ended_call, to_micro_usd
from gateway.limits.counters import (
    OPEN_CALL_SECONDS,
    CounterDemand,
    CounterStore,
    EndedCall,
    Owner,
    RunningCall,
)
from gateway.limits.keys import KeyTable
from gateway.limits.limiter import Limiter
from gateway.limits.memory import MemoryCounters
from gateway.limits.rules import BudgetLevel, CounterScope, LimitRules, describe_counter
from gateway.limits.tier_share import LoweredTurns
from gateway.pipeline.ledger_runtime import LedgerRuntime
from gateway.pipeline.open_calls import OpenCallsReader
from gateway.settings.schema.root import Config
from gateway.state.errors import StoreUnavailable
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric, LabelledGauges
from gateway.upstream.client import post_json

_FIRST_FAILED_STATUS = 300
"""The lowest status with which a receiver of alerts has not taken one."""
_LOOK_SECONDS = 5.0
"""Seconds between two looks at how full budgets are."""
_MICROS_PER_USD = 1_000_000
_KEY_BUDGET_LABEL = "(of a key)"
"""The label for budgets of single keys, since their names are those of keys."""
_MAX_CONFIRMED_TENANTS = 100
"""Tenants whose counters are confirmed at start, so that their first calls need not wait for it."""
_MAX_EARLIER_RULES = 8
"""The number of rules that are remembered: a call may still ask for a counter of earlier ones."""


class LimitRuntime:
    """The limits of one gateway: its counters and reservations outlive a configuration."""

    def __init__(
        self,
        config: Config,
        counter_store: CounterStore,
        ledger_runtime: LedgerRuntime,
        keys: KeyTable,
        log: Log,
        *,
        shares: int,
        lease_folder: Path | None = None,
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        """Take `shares` and `lease_folder` as Limiter does."""
        self._wall = clocks.wall
        self._config = config
        self._counter_store = counter_store
        self._ledger_runtime = ledger_runtime
        self._keys = keys
        self._log = log
        self._limit_rules = deque([_build_limit_rules(config)], maxlen=_MAX_EARLIER_RULES)
        self._read_open_calls = OpenCallsReader(
            partial(read_open_calls, ledger_runtime.journal_folder), clocks.wall
        )
        self._alert_tasks: set[asyncio.Task[None]] = set()
        self.levels: tuple[BudgetLevel, ...] = ()
        """Levels of budgets in USD at the last look; budgets without a call are left out."""
        self.limiter = Limiter(
            self._limit_rules[0],
            counter_store,
            log,
            read_spent=self._sum_ledger_costs,
            restore_open_calls=self._restore_open_calls,
            alert=self._alert_budget,
            make_local_store=partial(MemoryCounters, clocks.monotonic),
            fails_closed=config.on_redis_loss == "closed",
            share_count=shares,
            lease_folder=lease_folder,
            wall=clocks.wall,
            clock=clocks.monotonic,
        )

    def adopt(self, config: Config) -> None:
        """Adopt another configuration; counters keep their values, by their names."""
        if _select_limit_settings(config) != _select_limit_settings(self._config):
            self._limit_rules.appendleft(_build_limit_rules(config))
        self._config = config
        self.limiter.adopt(self._limit_rules[0], fails_closed=config.on_redis_loss == "closed")

    async def settle_crashed(self, recoveries: Iterable[Recovered]) -> None:
        """Settle calls that a crash has ended; what is unknown about them stays charged.

        The first request to the counter store also connects, so that the first calls need not wait
        for it. If nothing is limited, the gateway asks no store.
        """
        config = self._config
        has_key_limits = any(key.limits or key.budgets for key in self._keys.list_keys())
        if not (config.limits or config.budgets or has_key_limits):
            return
        with suppress(StoreUnavailable, ProblemError):
            await self._seed_shared_counters()
        tenants = sorted({"default", *(key.tenant for key in self._keys.list_keys())})
        for owner in (None, *tenants[:_MAX_CONFIRMED_TENANTS]):
            with suppress(StoreUnavailable):
                await self._counter_store.confirm(owner, self._wall())
        await self.limiter.reclaim_leases()
        ends: dict[str, list[EndedCall]] = {}
        for recovered in recoveries:
            for row in (*recovered.entries, *recovered.ended_rows):
                ends.setdefault(row.tenant, []).append(make_ended_call(row))
        for tenant, tenant_ends in ends.items():
            await self.limiter.settle_dead(tenant, tenant_ends)

    async def _seed_shared_counters(self) -> None:
        """Make missing counters of all tenants from the counters of each tenant.

        Earlier versions had one counter for each tenant under the same name. The ledger may know
        less than these: `ledger.keep` removes rows, and several machines may have a store each.
        """
        shared_counters, now = await self._counter_store.read_counters(None), self._wall()
        tenant_sums: dict[str, int] = {}
        for tenant in sorted({"default", *(key.tenant for key in self._keys.list_keys())}):
            for field, spent in (await self._counter_store.read_counters(tenant)).items():
                if field not in shared_counters:
                    tenant_sums[field] = tenant_sums.get(field, 0) + spent
        for demand in self._limit_rules[0].iter_shared_demands(tenant_sums, now):
            spent = max(tenant_sums[demand.field], await self.limiter.read_spent(None, demand))
            await self._counter_store.seed(None, demand.field, spent)

    async def read_counters(self, owner: Owner) -> dict[str, int] | None:
        """Return every counter of money and shares of an owner, by field.

        Return None while the counter store is unavailable.
        """
        try:
            return await self._counter_store.read_counters(owner)
        except StoreUnavailable:
            return None

    async def refuses(self) -> bool:
        """Return True if no call is served.

        This is so if a budget counts every call, the limiter fails closed, and the counter store is
        unavailable.
        """
        keys = [OPEN_KEY] if self._keys.is_open else self._keys.list_active_keys()
        return self.limiter.refuses_all(keys) and await self.read_counters("default") is None

    async def watch_budgets(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Refresh the levels of budgets, again and again, until cancelled."""
        while True:
            await sleep(_LOOK_SECONDS)
            await self.refresh_levels()

    async def refresh_levels(self) -> None:
        """Find out how full budgets are.

        While the counter store is unavailable, no level is known.
        """
        levels: list[BudgetLevel] = []
        if self._config.budgets or any(key.budgets for key in self._keys.list_keys()):
            try:
                for owner in (None, *sorted({"default", *self.limiter.tenants})):
                    counters = await self._counter_store.read_counters(owner)
                    levels += self._limit_rules[0].iter_levels(owner, counters, self._wall())
            except StoreUnavailable:
                levels = []
        self.levels = tuple(levels)

    def measures(self, *, keys: bool, teams: bool, tenants: bool) -> list[LabelledGauges]:
        """Return gauges of the levels for Prometheus: for each budget those of its fullest counter.

        `keys`, `teams` and `tenants` add a label for the key, the team and the tenant.
        """
        label_options = {"tenant": tenants, "team": teams, "key": keys}
        labels = ("budget", *(name for name, is_included in label_options.items() if is_included))

        def find_fullest() -> dict[tuple[str, ...], BudgetLevel]:
            fullest_levels: dict[tuple[str, ...], BudgetLevel] = {}
            for level in sorted(self.levels, key=lambda level: level.used_ratio):
                values = {
                    "budget": level.budget or _KEY_BUDGET_LABEL,
                    "tenant": level.tenant,
                    "team": level.team,
                    "key": level.key,
                }
                fullest_levels[tuple([values[name] for name in labels])] = level
            return fullest_levels

        def make_gauge(
            name: str, text: str, read_level: Callable[[BudgetLevel], float | None]
        ) -> LabelledGauges:
            def read() -> dict[tuple[str, ...], float]:
                readings = (
                    (label_values, read_level(level))
                    for label_values, level in find_fullest().items()
                )
                return {
                    label_values: value for label_values, value in readings if value is not None
                }

            return LabelledGauges(f"budget_{name}", text, labels, read)

        return [
            make_gauge(
                "used_ratio",
                "The part of a budget that is spent or held, of its fullest counter.",
                lambda level: level.used_ratio,
            ),
            make_gauge(
                "limit_usd",
                "USD of that budget.",
                lambda level: level.limit_micro_usd / _MICROS_PER_USD,
            ),
            make_gauge(
                "start_timestamp_seconds",
                "When its window began; none where it has no beginning.",
                lambda level: level.start,
            ),
            make_gauge(
                "end_timestamp_seconds",
                "When its window ends; none where it never does.",
                lambda level: level.end,
            ),
        ]

    def build_excess_metric(self) -> CounterMetric:
        """Return the counter of cost beyond reservations, for Prometheus."""
        return CounterMetric(
            "budget_excess_usd",
            "USD that calls cost beyond what hard budgets had reserved for them.",
            lambda: self.limiter.excess_micro_usd / _MICROS_PER_USD,
        )

    async def _sum_ledger_costs(self, owner: Owner, demand: CounterDemand) -> int:
        """Return the micro-USD that were spent on a counter.

        Raises StoreError if the store lacks rows.
        """
        scope = self._find_scope(owner, demand)
        if not await self._ledger_runtime.catch_up():
            raise StoreError("the store has not all rows yet")
        return await asyncio.to_thread(self._sum_scope_costs, scope)

    async def _restore_open_calls(self, owner: Owner, demand: CounterDemand) -> None:
        """Reserve what calls in the journals may cost, if the counter store may have forgotten it.

        A gateway that is paused, cut off or dead does not restore its calls. Gateways that share
        its data folder do it. A call that its gateway restores as well is reserved once.
        """
        now, scope = self._wall(), self._find_scope(owner, demand)
        age = await self._counter_store.find_loss_age(owner, now)
        if age is None or age > OPEN_CALL_SECONDS:
            return
        rows = await self._read_open_calls(now - age)
        calls = [
            RunningCall(
                row.id,
                now + OPEN_CALL_SECONDS,
                (msgspec.structs.replace(demand, amount=_compute_bound(row)),),
            )
            for row in rows
            if row.at <= now - age and scope.includes(row)
        ]
        await self._counter_store.restore(owner, calls, now)

    def _find_scope(self, owner: Owner, demand: CounterDemand) -> CounterScope:
        for rules in self._limit_rules:
            with suppress(ValueError):  # the demand is one of earlier rules
                return rules.find_scope(owner, demand)
        raise ValueError(f"nothing is counted by {demand.field!r}")

    def _sum_scope_costs(self, scope: CounterScope) -> int:
        """Return the micro-USD in the ledger for a counter that was lost, or is new.

        Raises StoreError if rows of its window may be missing.
        """
        missing_until = self._ledger_runtime.store.read_missing_until()
        if missing_until is not None and (scope.since or 0.0) < missing_until:
            raise StoreError(
                f"rows of calls before {missing_until:.0f} may be missing since a rebuild"
            )
        (totals,) = self._ledger_runtime.store.sum_costs(
            only=scope.filters, since=scope.since, until=scope.until
        )
        amounts = (
            totals.cost,
            totals.reserved,
        )  # an unknown cost is charged as the most it can be
        return sum(to_micro_usd(amount) for amount in amounts if amount is not None)

    def alert_share(self, lowered: LoweredTurns) -> None:
        """Report a key whose turns a bound on shares sends to lower tiers, in the background."""
        fields = msgspec.structs.asdict(lowered)
        self._log("share", **fields, text="routing.max_share sends turns to a lower tier")
        self._send_alert("share", fields)

    def _alert_budget(self, owner: Owner, demand: CounterDemand) -> None:
        """Send an alert about a budget, in the background."""
        fields = {
            "name": demand.name,
            "scope": describe_counter(owner, demand),
            "counter": demand.field,
            "tenant": owner,
            "limit_usd": demand.limit / _MICROS_PER_USD if demand.kind == "usd" else None,
            "soft_usd": demand.soft / _MICROS_PER_USD
            if demand.kind == "usd" and demand.soft
            else None,
        }
        self._send_alert("budget", fields)

    def _send_alert(self, event: str, fields: Mapping[str, object]) -> None:
        """Send an event to the webhook of alerts, if there is one, in the background."""
        url = self._config.alerts.webhook
        if not url:
            return

        async def send() -> None:
            status = await post_json(url, jsonio.dumps({"event": event, **fields}))
            if status is None or status >= _FIRST_FAILED_STATUS:
                self._log("alert", name=fields.get("name", event), status=status)

        task = asyncio.create_task(send())
        self._alert_tasks.add(task)
        task.add_done_callback(self._alert_tasks.discard)


def _select_limit_settings(config: Config) -> tuple[object, ...]:
    return config.limits, config.budgets, config.ledger.time_zone, config.users


def _compute_bound(row: FinalRow) -> int:
    """Return the most that a call may cost, in micro-USD, as far as its journal knows."""
    return sum(to_micro_usd(amount) for amount in (row.wasted, row.reserved) if amount is not None)


def _build_limit_rules(config: Config) -> LimitRules:
    zone = ZoneInfo(config.ledger.time_zone)
    return LimitRules(config.limits, config.budgets, zone, config.users.max)
