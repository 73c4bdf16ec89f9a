"""Limits and budgets as a gateway has them: who counts, what its ledger knows, and who is told."""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from zoneinfo import ZoneInfo

from gateway.archive import Archive
from gateway.core import jsonio
from gateway.ledger.recovery import Recovered
from gateway.limits.gate import Gate, end_of
from gateway.limits.keys import Keys
from gateway.limits.memory import Memory as Counted
from gateway.limits.meter import End, Lost, Meter, Need
from gateway.limits.rule import Limits, Scope
from gateway.limits.want import micro
from gateway.settings.schema import Config
from gateway.telemetry.log import Log
from gateway.upstream.client import tell

_REFUSED = 300
"""From this status on a receiver of alerts has not taken one."""
_EARLIER = 8
"""Limits of before that are remembered: a call may still ask what one of theirs had counted."""


class Toll:
    """One for the life of a gateway: counters and holds outlive a configuration."""

    def __init__(
        self, config: Config, meter: Meter, archive: Archive, keys: Keys, log: Log, *, shares: int
    ) -> None:
        """`shares` as in Gate."""
        self._config = config
        self._meter = meter
        self._archive = archive
        self._keys = keys
        self._log = log
        self._limits = deque([_limits(config)], maxlen=_EARLIER)
        self._telling: set[asyncio.Task[None]] = set()
        self.gate = Gate(
            self._limits[0],
            meter,
            log,
            seed=self._seed,
            alert=self._alert,
            spare=Counted,
            closed=config.on_redis_loss == "closed",
            shares=shares,
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
        with suppress(Lost):
            await self._meter.used("default")
        ends: dict[str, list[End]] = {}
        for recovered in dead:
            for row in (*recovered.entries, *recovered.ended):
                ends.setdefault(row.tenant, []).append(end_of(row))
        for tenant, some in ends.items():
            await self.gate.settle_dead(tenant, some)

    async def _seed(self, tenant: str, need: Need) -> int:
        return await asyncio.to_thread(self._spent, self._scope(tenant, need))

    def _scope(self, tenant: str, need: Need) -> Scope:
        for limits in self._limits:
            with suppress(ValueError):  # the need is of earlier ones
                return limits.scope(need, tenant)
        raise ValueError(f"nothing is counted by {need.field!r}")

    def _spent(self, scope: Scope) -> int:
        """Micro-USD that the ledger knows of for a counter that was lost, or is new."""
        self._archive.feed()
        (found,) = self._archive.store.costs(only=scope.only, since=scope.since, until=scope.until)
        known = (found.cost, found.reserved)  # what nobody knows is charged as the most it can be
        return sum(micro(one) for one in known if one is not None)

    def _alert(self, tenant: str, need: Need) -> None:
        """Tell of a budget that has passed its soft limit; nobody waits."""
        url = self._config.alerts.webhook
        if not url:
            return
        told = {
            "event": "budget",
            "name": need.name,
            "counter": need.field,
            "tenant": tenant,
            "limit_usd": need.limit / 1_000_000 if need.kind == "usd" else None,
            "soft_usd": need.soft / 1_000_000 if need.kind == "usd" and need.soft else None,
        }

        async def send() -> None:
            status = await tell(url, jsonio.dumps(told))
            if status is None or status >= _REFUSED:
                self._log("alert", name=need.name, status=status)

        task = asyncio.create_task(send())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _said(config: Config) -> tuple[object, ...]:
    return config.limits, config.budgets, config.ledger.time_zone


def _limits(config: Config) -> Limits:
    return Limits(config.limits, config.budgets, ZoneInfo(config.ledger.time_zone))
