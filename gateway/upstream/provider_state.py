"""What is known of providers from asking them: it outlives the configuration that asked."""

import time
from collections.abc import Callable, Collection

from gateway.telemetry.log import Log, silent
from gateway.upstream.circuit_breaker import CircuitBreaker
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider_quota import Place, QuotaTracker
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.waiting_calls import WaitingCalls

type Opened = Callable[[Place, str], object]
"""Told where a breaker opens: whose, and why."""


class ProviderState:
    """Health, what is left of the providers' own limits, and the retries of labs."""

    def __init__(
        self,
        *,
        jitter: Callable[[], float],
        log: Log = silent,
        opened: Opened = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
        waiting: WaitingCalls | None = None,
    ) -> None:
        """Without `waiting` any number of calls may wait for providers."""
        self.quota = QuotaTracker()
        """What is left of the providers' own limits."""
        self.health = TargetHealth(clock=clock, jitter=jitter, tell=self._tell)
        self.hedged = 0
        """Times that a second target was asked too."""
        self.allowances: dict[str, RetryBudget] = {}
        """The retries of each lab."""
        self.waiting = waiting or WaitingCalls()
        """The calls that wait for providers."""
        self._log = log
        self._opened = opened

    def allowance(self, lab: str) -> RetryBudget:
        """The retries of a lab."""
        found = self.allowances.get(lab)
        if found is None:
            found = self.allowances[lab] = RetryBudget()
        return found

    def forget(self, providers: Collection[str]) -> None:
        """Some providers are others than they were: what is known of them is not of these."""
        if providers:
            self.health.forget(providers)
            self.quota.forget(providers)

    def _tell(self, place: Place, breaker: CircuitBreaker) -> None:
        """A breaker has opened, or is closed again."""
        provider, account, model = place
        now = self.health.clock()
        state = breaker.state(now)
        if breaker.cause is not None:
            self._opened(place, breaker.cause)
        self._log(
            "health",
            provider=provider,
            account=account,
            model=model or None,
            state=state,
            cause=breaker.cause,
            error=breaker.error if breaker.cause is not None else None,
            seconds=round(breaker.until - now, 1) if breaker.cause is not None else None,
        )
