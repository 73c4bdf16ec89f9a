"""Readiness: the reason why the gateway would refuse every call now, if there is one.

    draining     the gateway is stopping
    labs         no lab is enabled
    overloaded   the process is at its limits and admits nobody
    ledger       the journal takes no row, and the policy serves no call without one (refuse)
    budgets      a budget bounds every call, and its counters are in a Redis that is down (closed)
    keys         the database of keys has not answered for keys.stale, and there are no other keys

The check probes the disk and Redis itself, so that readiness returns without a call.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from gateway.limits.load_shedding import SHED_ALL
from gateway.runtime.composition import Gateway
from gateway.server.shutdown import GracefulShutdown

_FRESH_SECONDS = 1.0
"""Seconds for which a check of disk and Redis stays valid: anybody may ask, without a key."""


class Unready(NamedTuple):
    """The reason why no call is served: a word for programs, and a sentence."""

    status: str
    reason: str


class Readiness:
    """Checks whether a gateway is ready. `clock` returns monotonic seconds."""

    def __init__(
        self,
        gateway: Gateway,
        shutdown: GracefulShutdown,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._shutdown = shutdown
        self._clock = clock
        self._fresh_until = 0.0
        self._last_answer: Unready | None = None

    async def __call__(self) -> Unready | None:
        """Return the reason why no call can be served; None if calls are served."""
        if self._shutdown.has_begun:
            return Unready("draining", "The gateway is stopping.")
        if not any(
            lab.enabled
            for lab in self._gateway.built_config.built_catalogue.catalogue.labs.values()
        ):
            return Unready("labs", "No lab is on: `tiergate check` says why.")
        if self._gateway.load_shedder.level >= SHED_ALL:
            return Unready("overloaded", "The gateway is overloaded.")
        keys = self._gateway.keys
        if keys.refusal is not None and not keys.list_active_keys():
            return Unready("keys", "The gateway cannot check keys: their database does not answer.")
        if self._clock() >= self._fresh_until:
            self._last_answer = await self._check_stores()
            self._fresh_until = self._clock() + _FRESH_SECONDS
        return self._last_answer

    async def _check_stores(self) -> Unready | None:
        if reason := await self._gateway.ledger_runtime.find_refusal_reason():
            return Unready("ledger", f"The gateway cannot write its ledger: {reason}.")
        if await self._gateway.limit_runtime.refuses():
            return Unready("budgets", "The gateway cannot count budgets: Redis does not answer.")
        return None
