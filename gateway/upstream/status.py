"""The state of targets, accounts and retries, as plain values for people."""

from collections.abc import Iterable, Mapping

from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.telemetry.metrics import CounterMetric, GaugeMetric
from gateway.upstream.balance.balancer import Balancer
from gateway.upstream.circuit_breaker import CircuitBreaker
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider_quota import QuotaState
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry import Candidate
from gateway.upstream.retry_budget import RetryBudget

_NO_EQUALS: Mapping[str, Json] = {
    "group": None, "balance": None, "load": None, "conversations": None
}  # fmt: skip


def build_view(
    health: TargetHealth,
    quota_states: Iterable[QuotaState],
    retry_budgets: Mapping[str, RetryBudget],
    balancer: Balancer,
    targets: Iterable[Target],
    wall_time: float,
) -> dict[str, Json]:
    """Return the whole state; `targets` are listed even if no call has asked them yet.

    Times are seconds since the epoch, where `wall_time` is now.
    """
    members_by_key = {
        candidate.key: _describe_member(balancer, candidate)
        for target in targets
        for candidate in (Candidate(target, account, "") for account in target.provider.accounts)
    }
    now = health.clock()
    skew = wall_time - now
    states_by_key = {(item.provider, item.account, item.model): item for item in quota_states}
    all_keys = dict.fromkeys([*members_by_key, *health.target_breakers, *states_by_key])
    unused_breaker = CircuitBreaker(lambda: 0.0)
    return {
        "targets": [
            {
                "provider": key[0],
                "account": key[1],
                "model": key[2],
                **members_by_key.get(key, _NO_EQUALS),
                **_describe_breaker(health.target_breakers.get(key, unused_breaker), now, skew),
                "limits": _describe_limits(states_by_key.get(key)),
            }
            for key in all_keys
        ],
        "accounts": [
            {"provider": provider, "account": account, **_describe_breaker(breaker, now, skew)}
            for (provider, account), breaker in health.account_breakers.items()
        ],
        "retries": [
            {
                "lab": lab,
                "calls": item.call_count,
                "retries": item.granted_count,
                "denied": item.denied_count,
                "left": round(item.balance, 2),
            }
            for lab, item in retry_budgets.items()
        ],
    }


def _describe_member(balancer: Balancer, candidate: Candidate) -> Mapping[str, Json]:
    """Return among which equals the gateway chooses a candidate, and what it has of their load.

    `load` counts calls whose answer has not ended, `conversations` those at home there.
    """
    target, provider = candidate.target, candidate.target.provider
    if not candidate.is_balanced:
        return _NO_EQUALS
    group, balance, member = provider.name, provider.balance, candidate.account.name
    if target.group is not None:
        group, balance, member = target.group.name, target.group.balance, target.name
    has_homes = balance == "hash"
    return {
        "group": group,
        "balance": balance,
        "load": balancer.loads.find(candidate).in_flight,
        "conversations": balancer.homes.count(group).get(member, 0) if has_homes else None,
    }


def _describe_breaker(breaker: CircuitBreaker, now: float, skew: float) -> dict[str, Json]:
    report = breaker.report(now)

    def to_wall_time(timestamp: float | None) -> float | None:
        return None if timestamp is None else round(timestamp + skew, 3)

    return {
        "state": report.state,
        "cause": report.cause,
        "since": to_wall_time(report.opened_at),
        "until": to_wall_time(report.retry_at),
        "error": report.error_kind,
        "error_at": to_wall_time(report.error_at),
        "answered": report.answered_count,
        "failed": report.failed_count,
        "in_flight": report.in_flight,
        "usual": None if report.typical_seconds is None else round(report.typical_seconds, 3),
    }


def _describe_limits(state: QuotaState | None) -> Json:
    """Return what a provider has stated of its own limits; null if it has stated nothing."""
    if state is None:
        return None
    return {
        "parked": round(state.parked_seconds, 1),
        "demoted": round(state.demoted_seconds, 1),
        "levels": [
            {"name": level.name, "left": level.remaining, "limit": level.limit}
            for level in state.levels
        ],
    }


def build_metrics(
    provider_state: ProviderState,
) -> tuple[tuple[GaugeMetric, ...], tuple[CounterMetric, ...]]:
    """Return the state as a few metrics for Prometheus."""
    health, retry_budgets = provider_state.health, provider_state.retry_budgets
    targets_out = GaugeMetric(
        "targets_out",
        "Targets and accounts with an open circuit breaker, in one worker.",
        lambda: health.open_count,
        "max",
    )
    waiting_calls = GaugeMetric(
        "waiting_calls",
        "Calls that wait until a provider accepts requests again.",
        lambda: provider_state.waiting_calls.calls,
    )
    retries_granted = CounterMetric(
        "retries",
        "Retries that the retry budget of a lab allowed.",
        lambda: sum(retry_budget.granted_count for retry_budget in retry_budgets.values()),
    )
    retries_denied = CounterMetric(
        "retries_denied",
        "Retries not made because the retry budget of the lab was empty.",
        lambda: sum(retry_budget.denied_count for retry_budget in retry_budgets.values()),
    )
    hedges = CounterMetric(
        "hedges", "Hedges: requests to a second target.", lambda: provider_state.hedge_count
    )
    return (targets_out, waiting_calls), (retries_granted, retries_denied, hedges)
