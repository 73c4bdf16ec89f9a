"""Calls whose output is lowered to what a budget has left, in memory and in each kind of Redis."""

import asyncio
import contextlib
from datetime import UTC
from decimal import Decimal

import msgspec

from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.core.target import Target
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.counters import CounterDemand, CounterStore, Owner
from gateway.limits.limiter import Limiter, Reservation
from gateway.limits.memory import MemoryCounters
from gateway.limits.rules import LimitRules
from gateway.settings.schema.limits import BudgetPart
from tests.contract.limits.conftest import Make
from tests.limits.observed_limiter import CALL, PROMPT, decision, entry, lower, plan

CALLS = 60
LIMIT = 60_000
"""Micro-USD: two or three of the calls fit with all of their output."""


def make_limiter(store: CounterStore, tenant: str) -> Limiter:
    async def seed(_: Owner, __: CounterDemand) -> int:
        return 0

    part = BudgetPart.model_validate(
        {"name": tenant, "usd": "0.06", "every": "total", "per": "tenant", "reserve": "fit", "least_output": 100}
    )  # fmt: skip
    return Limiter(
        LimitRules([], [part], UTC),
        store,
        lambda *_, **__: None,
        read_spent=seed,
        alert=lambda *_: None,
        make_local_store=MemoryCounters,
        wall=lambda: 1_900_000_000.0,
    )


async def ask(limiter: Limiter, tenant: str, name: str, cap: int) -> Reservation | None:
    call = msgspec.structs.replace(CALL, id=f"{tenant}{name}", key=Key(name="k", tenant=tenant))
    bound = UsageBound(
        call=call,
        prompt=msgspec.structs.replace(PROMPT, max_output=cap),
        prompt_tokens=125,
        prompt_bound=1_500,
    )
    with contextlib.suppress(ProblemError):
        return await limiter.reserve(bound, decision(), plan(), lower)
    return None


def highest_cost(reservation: Reservation) -> int:
    targets: tuple[Target, ...] = reservation.plan.targets
    cost = reservation.usage_bound.compute_max_cost(targets)
    assert cost is not None
    return cost


async def run(limiters: list[Limiter], tenant: str) -> None:
    """Let calls of all limiters ask at once, and end at the most that they may cost."""
    spent = 0
    for turn in range(3):
        found = await asyncio.gather(
            *(
                ask(limiters[number % len(limiters)], tenant, f"{turn}-{number}", 100 + 97 * number)
                for number in range(CALLS)
            )
        )
        passed = [
            (limiters[number % len(limiters)], f"{turn}-{number}", reservation)
            for number, reservation in enumerate(found)
            if reservation is not None
        ]
        spent += sum(highest_cost(reservation) for _, _, reservation in passed)
        assert spent <= LIMIT
        for limiter, name, reservation in passed:
            cost = Decimal(highest_cost(reservation)) / 1_000_000
            limiter.settle(entry(f"{tenant}{name}", tenant=tenant, cost=cost))
        for limiter in limiters:
            await limiter.wait_settled()
        counters = await limiters[0]._counter_store.read_counters(tenant)
        assert set(counters.values()) == {spent}
    assert spent > LIMIT - 1_900  # what is left pays for no hundred tokens


async def test_no_call_passes_with_more_than_is_left(meter: CounterStore, tenant: str) -> None:
    await run([make_limiter(meter, tenant)], tenant)


async def test_gateways_that_share_a_budget_lower_calls_to_what_is_left_for_all(
    make: Make, tenant: str
) -> None:
    await run([make_limiter(make(), tenant) for _ in range(3)], tenant)
