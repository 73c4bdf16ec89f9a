"""Nothing is stuck: after the faults, calls end, their parts are released, and a new call works."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    CounterStore,
    Owner,
    Refusal,
)
from gateway.upstream.http1.transport import Http1Transport
from tests.simulation.client import Client, SimulatedOutcome
from tests.simulation.machine import GatewayMachine
from tests.simulation.provider import SimulatedProvider
from tests.simulation.surroundings import WallClocks

_RELEASE_SECONDS = 2
"""Seconds in which a gateway releases what the last call used."""
_PROBE_SECONDS, _PROBES = 5.0, 13
"""Seconds between probes, and their number: a minute is more than any breaker stays open."""
_PROBE_MICROS = 4_000
"""Micro-USD that a budget must have left, so that it lets a probe in."""
_BUDGET_CODES = ("insufficient_quota",)


async def find_unended(
    gateways: Sequence[GatewayMachine], outcomes: Mapping[str, SimulatedOutcome], seconds: float
) -> list[str]:
    """Return the calls that have no end for their client, or still run in a gateway.

    Calls have some seconds to end after the last client is served or has left.
    """
    for _ in range(round(seconds)):
        if not any(gateway.count_calls() for gateway in gateways):
            break
        await asyncio.sleep(1)
    await asyncio.sleep(_RELEASE_SECONDS)
    stuck = [
        f"{marker}: no end after {seconds:.0f} s, at gateway{outcome.gateway}"
        for marker, outcome in outcomes.items()
        if not outcome.has_ended
    ]
    return stuck + [
        f"{gateway.name}: {gateway.count_calls()} calls still run"
        for gateway in gateways
        if gateway.count_calls()
    ]


def find_kept_parts(
    gateways: Sequence[GatewayMachine], provider: SimulatedProvider
) -> Iterator[str]:
    """Yield what calls that have ended still occupy."""
    for machine in gateways:
        for text, count in _count_kept(machine).items():
            if count:
                yield f"{machine.name}: {text}: {count}"
        for name in machine.list_stray_tasks():
            yield f"{machine.name}: a task still runs: {name}"
    for id in sorted(provider.open_requests):
        yield f"the provider still works on {id}"


def _count_kept(machine: GatewayMachine) -> dict[str, Any]:
    """Count the parts of ended calls that a gateway still has: it must be none."""
    gateway = machine.gateway
    engine, state = gateway.engine, gateway.revision.upstream.provider_state
    breakers = state.health.target_breakers.values()
    pools = [
        pool
        for transport in gateway._pools._transports_by_kind.values()
        if isinstance(transport, Http1Transport)
        for pool in transport.list_pools()
    ]
    now = state.health.clock()
    return {
        "connections of clients": machine.count_connections(),
        "reservations": sorted(gateway.limiter._reservations),
        "settlements to make": len(gateway.limiter._settlement._ended_calls),
        "accounts without a final row": sorted(engine._recorder._open_accounts),
        "flights": len(engine._coalescer._flights._by_key),
        "calls that wait for a provider": gateway.waiting_calls.calls,
        "attempts in flight": sum(breaker.report(now).in_flight for breaker in breakers),
        "calls that wait for a connection": sum(pool.queued_count for pool in pools),
        "connections in use": sum(pool.in_use_count for pool in pools),
        "late rows": gateway.ledger_runtime.writer.late_row_count,
    }


async def probe(prober: Client, key: str, gateways: int, left: Sequence[int]) -> list[str]:
    """Make a new call at each gateway, up to a minute long until one is answered.

    `left` has the micro-USD that the budgets have left at each gateway.
    """
    stuck = []
    for number in range(gateways):
        outcome = SimulatedOutcome(key, number)
        for _ in range(_PROBES):
            outcome = prober.outcomes[f"probe-{number}"] = SimulatedOutcome(key, number)
            await prober.call(f"probe-{number}", _PROBE_BODY, None)
            if outcome.status == 200:
                break
            if outcome.code in _BUDGET_CODES and left[number] < _PROBE_MICROS:
                break
            await asyncio.sleep(_PROBE_SECONDS)
        else:
            stuck.append(
                f"gateway{number}: a new call gets {outcome.status} {outcome.code} for a minute; "
                f"{left[number]} micro-USD are left"
            )
    return stuck


_PROBE_BODY: dict[str, Any] = {
    "model": "smart", "max_tokens": 1, "messages": [{"role": "user", "content": "probe"}],
}  # fmt: skip


async def read_counters(
    store: CounterStore, owners: Sequence[Owner], wall_clocks: WallClocks
) -> tuple[dict[str, int], list[str]]:
    """Return micro-USD by counter, and what is still reserved after all reservations' time."""
    used, stuck = dict[str, int](), []
    for owner in owners:
        counters = await store.read_counters(owner)
        used |= counters
        place = CounterDemand(
            kind="concurrency", name="x", field="concurrency|places|all", limit=1,
            all_tenants=owner is None,
        )  # fmt: skip
        if not isinstance(await _ask(store, owner, place, wall_clocks), Admitted):
            stuck.append(f"a place of {owner} is still reserved")
        for name, spent in counters.items():
            money = CounterDemand(
                kind="usd", name="x", field=name, limit=spent, all_tenants=owner is None
            )
            answer = await _ask(store, owner, money, wall_clocks)
            if not isinstance(answer, Refusal) or answer.busy:
                stuck.append(f"money of {name} is still reserved")
    return used, stuck


async def _ask(
    store: CounterStore, owner: Owner, demand: CounterDemand, wall_clocks: WallClocks
) -> Answer:
    now = wall_clocks.read()
    request = AdmissionRequest(id="last", tenant=owner or "", demands=(demand,), expires_at=now + 1)
    answer = await store.admit(request, now)
    await store.settle(owner or "", request.id, None, None)
    return answer
