"""The limiter with several tenants: they share some budgets, and each has counters of its own."""

import asyncio
from datetime import UTC

import pytest

from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    MissingCounter,
    Owner,
    Refusal,
)
from gateway.limits.memory import MemoryCounters
from gateway.limits.rules import LimitRules
from gateway.state.errors import StoreUnavailable
from tests.limits.observed_limiter import (
    HELD,
    ObservedLimiter,
    budget,
    decision,
    entry,
    limit,
    target,
)

ACME, OTHER = Key(name="a", tenant="acme"), Key(name="o", tenant="other")


async def used(
    stage: ObservedLimiter, owner: Owner, meter: MemoryCounters | None = None
) -> list[int]:
    return list((await (meter or stage.meter).read_counters(owner)).values())


async def test_all_tenants_share_a_budget_unless_it_is_per_tenant() -> None:
    stage = ObservedLimiter(budget("0.005"))
    await stage.ask("c1", key=ACME)
    await stage.ask("c2", key=OTHER)
    problem = await stage.refused("c3", key=Key(name="k", tenant="third"))
    assert problem.kind == "budget_busy"
    assert await used(stage, None) == [2 * HELD]
    for name in ("acme", "other", "third"):
        assert name not in problem.message


async def test_each_tenant_has_its_own_budget_if_it_is_per_tenant() -> None:
    stage = ObservedLimiter(budget("0.002", per="tenant"))
    await stage.ask("c1", key=ACME)
    await stage.ask("c2", key=OTHER)
    assert (await stage.refused("c3", key=ACME)).kind == "budget_busy"
    assert await used(stage, "acme") == await used(stage, "other") == [HELD]


async def test_a_call_that_a_tenants_limit_refuses_reserves_no_shared_budget() -> None:
    stage = ObservedLimiter(budget("0.002"), limit(per="tenant", concurrency=1))
    await stage.ask("c1", key=ACME)
    await stage.end("c1")
    await stage.gate.wait_settled()
    stage.gate._reservations.clear()
    await stage.ask("c2", key=ACME, operation="count_tokens")
    assert (await stage.refused("c3", key=ACME)).kind == "rate_limited"
    await stage.ask("c4", key=OTHER)
    assert await used(stage, None) == [19 + HELD]


async def test_the_end_of_a_call_settles_the_shared_budget_and_the_tenants_own() -> None:
    stage = ObservedLimiter(budget("1"), budget("1", name="own", per="tenant"))
    await stage.ask("c1", key=ACME)
    await stage.gate.extend(stage.want("c1", key=ACME), decision(), target())
    assert await used(stage, None) == await used(stage, "acme") == [2 * HELD]
    await stage.end("c1")
    assert await used(stage, None) == await used(stage, "acme") == [19]


async def test_calls_of_a_dead_process_are_settled_in_both_budgets() -> None:
    stage = ObservedLimiter(budget("1"), budget("1", name="own", per="tenant"))
    await stage.ask("c1", key=ACME)
    stage.gate._reservations.clear()  # as in another process
    await stage.gate.settle_dead("acme", [("c1", 10, 7)])
    assert await used(stage, None) == await used(stage, "acme") == [7]


async def test_a_lost_shared_counter_is_rebuilt_from_the_rows_of_all_tenants() -> None:
    """The tenant's own counter is rebuilt from its own rows. The gateway asks once for each."""
    stage = ObservedLimiter(budget("1"), budget("1", name="own", per="tenant"))
    reads: list[tuple[Owner, str]] = []

    async def seed(owner: Owner, need: CounterDemand) -> int:
        reads.append((owner, need.name))
        return 40 if owner is None else 7

    stage.gate._ledger_spends._read_spent = seed
    await stage.ask("c1", key=ACME)
    assert reads == [(None, "b"), ("acme", "own")]
    assert (await used(stage, None), await used(stage, "acme")) == ([40 + HELD], [7 + HELD])
    await stage.ask("c2", key=OTHER)
    assert reads[2:] == [("other", "own")]
    assert await used(stage, "other") == [7 + HELD]


async def test_spending_during_an_outage_is_added_to_each_owners_counter() -> None:
    """The gateway adds up two tenants' debts to one budget, and pays each of them once."""
    stage = ObservedLimiter(
        budget("1", hard=False), budget("1", name="own", per="tenant", hard=False)
    )
    for key in (ACME, OTHER):
        await stage.ask(f"warm-{key.name}", key=key)
        await stage.end(f"warm-{key.name}")
    stage.meter.lost = True
    for key in (ACME, OTHER):
        await stage.ask(f"c-{key.name}", key=key)
        await stage.end(f"c-{key.name}")
    assert await used(stage, None) == [2 * 19]
    stage.meter.lost = False
    await stage.ask("c3", key=ACME)
    await stage.gate.wait_settled()
    assert await used(stage, None) == [4 * 19 + HELD]
    assert await used(stage, "acme") == [2 * 19 + HELD]
    assert await used(stage, "other") == [2 * 19]


async def test_without_the_store_each_process_has_its_part_of_a_shared_limit() -> None:
    """Each of two processes has half of the limit for all tenants together."""
    stage = ObservedLimiter(limit(concurrency=4), shares=2)
    stage.meter.lost = True
    await stage.ask("c1", key=ACME)
    await stage.ask("c2", key=OTHER)
    assert (await stage.refused("c3", key=ACME)).kind == "rate_limited"


async def test_the_log_says_whose_budget_is_used_up() -> None:
    """The gateway logs once for a budget of all tenants, and once per tenant for the others."""
    stage = ObservedLimiter(budget("0", name="all"), budget("0", name="own", per="tenant"))
    for key in (ACME, OTHER):
        await stage.refused(f"c-{key.name}", key=key)
    assert [(row["name"], row["scope"]) for row in stage.log] == [("all", "all tenants")]
    stage = ObservedLimiter(budget("0", name="own", per="tenant"))
    for key in (ACME, OTHER):
        await stage.refused(f"c-{key.name}", key=key)
    assert [row["scope"] for row in stage.log] == ["tenant acme", "tenant other"]


async def test_an_outage_between_two_reservations_reserves_nothing_for_long() -> None:
    """The shared reservation passes and the tenant's counters are lost: the call settles later."""
    stage = ObservedLimiter(budget("1"), limit(per="tenant", concurrency=9), closed=True)
    await stage.ask("warm", key=OTHER)
    await stage.end("warm", cost=None)

    class Half(MemoryCounters):
        async def admit(
            self, ask: AdmissionRequest, now: float
        ) -> Admitted | Refusal | MissingCounter:
            shared_demands = tuple([need for need in ask.demands if need.all_tenants])
            await super().admit(
                AdmissionRequest(
                    id=ask.id, tenant=ask.tenant, demands=shared_demands, expires_at=now + 9
                ),
                now,
            )
            raise StoreUnavailable

    half = Half()
    half.__dict__.update(vars(stage.meter))
    stage.gate._counter_store = stage.gate._unsettled._counter_store = half
    problem = await stage.refused("c1", key=ACME)
    assert problem.kind == "overloaded"
    assert await used(stage, None) == [2 * HELD]
    stage.gate._counter_store = stage.gate._unsettled._counter_store = stage.meter
    await stage.ask("c2", key=OTHER)
    await stage.gate.wait_settled()
    assert await used(stage, None) == [2 * HELD]


async def test_a_client_that_leaves_between_two_reservations_is_settled_in_both() -> None:
    stage = ObservedLimiter(budget("1"), budget("1", name="own", per="tenant"))
    await stage.ask("warm", key=ACME)
    await stage.end("warm")
    admit = stage.meter.admit

    async def slow(ask: AdmissionRequest, now: float) -> Admitted | Refusal | MissingCounter:
        answer = await admit(ask, now)
        await asyncio.Event().wait()
        return answer

    stage.meter.admit = slow  # type: ignore[method-assign]  # it takes, and never says so
    task = asyncio.create_task(stage.ask("c1", key=ACME))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stage.meter.admit = admit  # type: ignore[method-assign]
    assert await used(stage, None) == [19 + HELD]
    stage.gate.settle(entry("c1", state="aborted", attempts=0, cost=0, tier=None))
    await stage.gate.wait_settled()
    assert await used(stage, None) == await used(stage, "acme") == [19]


async def test_a_further_attempt_over_the_tenants_budget_is_refused() -> None:
    stage = ObservedLimiter(budget("1"), budget("0.002", name="own", per="tenant"))
    await stage.ask("c1", key=ACME)
    with pytest.raises(ProblemError, match="'own' is spent"):
        await stage.gate.extend(stage.want("c1", key=ACME), decision(), target())
    assert await used(stage, None) == await used(stage, "acme") == [HELD]


async def test_read_spent_returns_the_ledgers_sum_for_a_counter() -> None:
    stage = ObservedLimiter(budget("1"), spent=12)
    (need,) = stage.gate._limits.make_demands(
        key="a", tags=(), tier="smart", now=1e9, tokens=1, micro_usd=1
    )
    assert await stage.gate.read_spent(None, need) == 12


async def test_new_limits_continue_from_the_counted_amounts() -> None:
    """A budget that was used up and is raised is reported anew."""
    stage = ObservedLimiter(budget("0.002"))
    await stage.ask("c1", key=ACME)
    await stage.end("c1", cost=None)
    for closed, usd in ((False, "0.002"), (True, "0.003")):
        limits = LimitRules([], [budget(usd)], UTC)
        for _ in range(2):  # equal limits change nothing
            stage.gate.adopt(limits, fails_closed=closed)
            assert (await stage.refused("c2", key=OTHER)).kind == "budget"
    assert [row["text"] for row in stage.log] == ["used up", "used up"]
    stage.meter.lost = True
    assert (await stage.refused("c2", key=OTHER)).kind == "overloaded"
