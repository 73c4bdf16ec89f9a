"""What is known of targets, accounts and retries, as plain values for people."""

from collections.abc import Iterable, Mapping

from gateway.core.jsonio import Json
from gateway.telemetry.metrics import CounterMetric, GaugeMetric
from gateway.upstream.circuit_breaker import CircuitBreaker
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider_quota import Place, QuotaState
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry_budget import RetryBudget


def view(
    health: TargetHealth,
    limits: Iterable[QuotaState],
    allowances: Mapping[str, RetryBudget],
    places: Iterable[Place],
    wall: float,
) -> dict[str, Json]:
    """All of it; `places` are those that are told of before anybody has asked them.

    Moments are seconds since the epoch, of which `wall` is now.
    """
    now = health.clock()
    skew = wall - now
    known = {(one.provider, one.account, one.model): one for one in limits}
    every = dict.fromkeys([*places, *health.targets, *known])
    fresh = CircuitBreaker(lambda: 0.0)
    return {
        "targets": [
            {
                "provider": place[0],
                "account": place[1],
                "model": place[2],
                **_state(health.targets.get(place, fresh), now, skew),
                "limits": _limits(known.get(place)),
            }
            for place in every
        ],
        "accounts": [
            {"provider": provider, "account": account, **_state(breaker, now, skew)}
            for (provider, account), breaker in health.accounts.items()
        ],
        "retries": [
            {
                "lab": lab,
                "calls": one.calls,
                "retries": one.taken,
                "denied": one.denied,
                "left": round(one.left, 2),
            }
            for lab, one in allowances.items()
        ],
    }


def _state(breaker: CircuitBreaker, now: float, skew: float) -> dict[str, Json]:
    found = breaker.report(now)

    def at(moment: float | None) -> float | None:
        return None if moment is None else round(moment + skew, 3)

    return {
        "state": found.state,
        "cause": found.cause,
        "since": at(found.since),
        "until": at(found.until),
        "error": found.error,
        "error_at": at(found.error_at),
        "answered": found.answered,
        "failed": found.failed,
        "in_flight": found.in_flight,
        "usual": None if found.usual is None else round(found.usual, 3),
    }


def _limits(state: QuotaState | None) -> Json:
    """What a provider has told of its own limits; null where it has told nothing."""
    if state is None:
        return None
    return {
        "parked": round(state.parked, 1),
        "demoted": round(state.demoted, 1),
        "levels": [
            {"name": one.name, "left": one.left, "limit": one.limit} for one in state.levels
        ],
    }


def measures(known: ProviderState) -> tuple[tuple[GaugeMetric, ...], tuple[CounterMetric, ...]]:
    """Return the same in a few numbers for Prometheus."""
    health, retries = known.health, known.allowances
    out = GaugeMetric(
        "targets_out",
        "Targets and accounts that are not asked in their turn, in one worker.",
        lambda: health.open,
        "max",
    )
    waiting = GaugeMetric(
        "waiting_calls",
        "Calls that wait until a provider takes them again.",
        lambda: known.waiting.calls,
    )
    taken = CounterMetric(
        "retries",
        "Further requests of calls that were taken off a lab's retries.",
        lambda: sum(one.taken for one in retries.values()),
    )
    denied = CounterMetric(
        "retries_denied",
        "Further requests that were not made, as the lab had no more retries.",
        lambda: sum(one.denied for one in retries.values()),
    )
    second = CounterMetric(
        "hedges", "Times that a second target was asked too.", lambda: known.hedged
    )
    return (out, waiting), (taken, denied, second)
