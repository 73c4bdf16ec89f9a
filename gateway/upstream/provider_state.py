"""The state of providers, learnt from requests: it outlives the configuration that sent them."""

import time
from collections.abc import Callable, Collection

from gateway.telemetry.log import Log, ignore_event
from gateway.upstream.balance.balancer import Balancer
from gateway.upstream.circuit_breaker import CircuitBreaker
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider_quota import AccountModelKey, QuotaTracker
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.waiting_calls import WaitingCalls

type OnBreakerOpen = Callable[[AccountModelKey, str], object]
"""A function that takes the key of a breaker that opens, and the cause."""


class ProviderState:
    """The health and load of targets, what is left of providers' limits, and labs' retries."""

    def __init__(
        self,
        *,
        jitter: Callable[[], float],
        log: Log = ignore_event,
        on_breaker_open: OnBreakerOpen = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
        waiting_calls: WaitingCalls | None = None,
    ) -> None:
        """Let any number of calls wait for providers if there is no `waiting_calls`."""
        self.quota = QuotaTracker()
        """The tracker of the providers' own limits."""
        self.health = TargetHealth(clock=clock, jitter=jitter, on_change=self._report_change)
        self.balancer = Balancer(clock=clock, random=jitter)
        """The load of equals, and the homes of conversations among them."""
        self.hedge_count = 0
        """The number of times that a second target was asked too."""
        self.retry_budgets: dict[str, RetryBudget] = {}
        """The retry budget of each lab."""
        self.waiting_calls = waiting_calls or WaitingCalls()
        """The calls that wait for providers."""
        self._log = log
        self._on_breaker_open = on_breaker_open

    def get_retry_budget(self, lab: str) -> RetryBudget:
        """Return the retry budget of a lab."""
        retry_budget = self.retry_budgets.get(lab)
        if retry_budget is None:
            retry_budget = self.retry_budgets[lab] = RetryBudget()
        return retry_budget

    def forget(self, providers: Collection[str]) -> None:
        """Forget providers that have changed: their state does not apply to the new ones."""
        if providers:
            self.health.forget(providers)
            self.quota.forget(providers)

    def _report_change(self, key: AccountModelKey, breaker: CircuitBreaker) -> None:
        """Log that a breaker has opened or closed; report one that is not closed."""
        provider, account, model = key
        now = self.health.clock()
        state = breaker.state(now)
        if breaker.cause is not None:
            self._on_breaker_open(key, breaker.cause)
        self._log(
            "health",
            provider=provider,
            account=account,
            model=model or None,
            state=state,
            cause=breaker.cause,
            error=breaker.error_kind if breaker.cause is not None else None,
            seconds=round(breaker.retry_at - now, 1) if breaker.cause is not None else None,
        )
