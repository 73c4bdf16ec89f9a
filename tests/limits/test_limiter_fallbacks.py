"""The limiter with other tiers to go to, with a lost counter store, and with clocks that jump."""

import asyncio
from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal

import pytest

from gateway.core.decision import Decision, Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import Tier
from gateway.limits import cost_bounds
from gateway.limits.cost_bounds import compute_max_cost, make_ended_call
from gateway.limits.counters import (
    ALL_SCOPES,
    AdmissionRequest,
    Admitted,
    CounterDemand,
    EndedCall,
    MissingCounter,
    Owner,
    Refusal,
    Scopes,
)
from gateway.limits.memory import MemoryCounters
from gateway.limits.rules import LimitRules
from tests.limits.observed_limiter import (
    HELD,
    LOST,
    PROMPT,
    ObservedLimiter,
    budget,
    decision,
    entry,
    limit,
    lower,
    plan,
    target,
)


async def test_a_clock_that_jumps_within_a_window_renews_no_budget() -> None:
    """SEC-BUDGET 7: clocks jump an hour ahead, then an hour back; today's spending stays spent."""
    stage = ObservedLimiter(budget("0.002"))
    stage.now = 1_795_000_000.0
    await stage.ask()
    await stage.end(cost=None)
    for jump in (3_600.0, -3_600.0):
        stage.now = 1_795_000_000.0 + jump
        assert (await stage.refused(f"c{jump}")).kind == "budget"
    stage.now = 1_795_000_000.0 + 86_400
    await stage.ask("tomorrow")


async def test_in_a_second_outage_the_process_counts_from_the_ledgers_current_sum() -> None:
    """SEC-BUDGET 6: this process's count from the first loss is old and would leave too much."""
    stage = ObservedLimiter(budget("0.01", hard=False, soft=1))
    stage.gate._settlement._make_local_store = MemoryCounters
    stage.meter.lost = True
    await stage.ask("c1")
    await stage.end("c1")
    stage.meter.lost = False
    await stage.ask("c2")
    await stage.end("c2")
    stage.spent = 9_500  # others have spent it meanwhile
    stage.meter.lost = True
    await stage.ask("c3")
    assert [row["text"] for row in stage.log if row["event"] == "budget"] == ["soft limit passed"]


async def test_spending_that_grows_during_its_repayment_is_repaid_once() -> None:
    """Several calls that outlive the outage end at the same time."""
    stage = ObservedLimiter(budget("1", hard=False))
    await stage.ask("c0")
    stage.meter.lost = True
    for name in ("c1", "c2", "c3"):
        await stage.ask(name)
    stage.meter.lost = False
    await stage.ask("c4")
    await stage.end("c0")
    admit, late = stage.meter.admit, [entry("c2"), entry("c3")]

    async def slow(ask: AdmissionRequest, now: float) -> Admitted | Refusal | MissingCounter:
        answer = await admit(ask, now)
        if late:
            stage.gate.settle(late.pop())
            for _ in range(9):
                await asyncio.sleep(0)
        return answer

    stage.meter.admit = slow  # type: ignore[method-assign]  # others end meanwhile
    await stage.end("c1")
    assert await stage.used() == HELD + 4 * 19


async def test_concurrent_calls_read_a_missing_counter_from_the_ledger_once() -> None:
    stage = ObservedLimiter(budget())
    reads: list[str] = []

    async def seed(_: Owner, need: CounterDemand) -> int:
        reads.append(need.field)
        await asyncio.sleep(0)
        return 0

    stage.gate._ledger_spends._read_spent = seed
    await asyncio.gather(*(stage.ask(f"c{n}") for n in range(5)))
    assert len(reads) == 1


async def test_a_client_that_leaves_during_a_ledger_read_stops_no_other_call() -> None:
    stage = ObservedLimiter(budget())
    go = asyncio.Event()

    async def seed(_: Owner, __: CounterDemand) -> int:
        await go.wait()
        return 0

    stage.gate._ledger_spends._read_spent = seed
    first_call, second_call = (asyncio.create_task(stage.ask(name)) for name in ("c1", "c2"))
    await asyncio.sleep(0)
    first_call.cancel()
    await asyncio.gather(first_call, return_exceptions=True)
    go.set()
    await second_call
    assert await stage.used() == HELD


async def test_the_limiter_refuses_calls_if_it_cannot_read_the_ledger() -> None:
    """Unknown spending is not taken for zero."""
    stage = ObservedLimiter(budget())
    stage.gate._ledger_spends._read_spent = broken
    assert (await stage.refused()).kind == "overloaded"
    assert [row["text"] for row in stage.log] == ["the ledger cannot be read"]


async def broken(_: Owner, __: CounterDemand) -> int:
    raise OSError("gone")


async def test_a_call_goes_down_several_tiers_with_two_store_requests() -> None:
    """The gateway also reports each budget on the way that is used up."""
    stage = ObservedLimiter(
        budget("0", name="deep", tier="reasoning", then="smart"),
        budget("0", name="mid", tier="smart", then="fast"),
    )
    reservation = await stage.gate.reserve(
        stage.want(),
        decision("reasoning"),
        plan(),
        lambda ceiling: (decision(ceiling), plan(target(ceiling))),
    )
    assert (reservation.decision.tier, reservation.plan.targets[0].model) == ("fast", "fast")
    # The counters do not exist at first: the second request asks for all tiers at once.
    assert stage.meter.asked == 2
    assert [row["name"] for row in stage.log if row["text"] == "used up"] == ["deep", "mid"]


async def test_a_call_asked_all_at_once_checks_every_tier_in_one_store_request() -> None:
    stage = ObservedLimiter(limit(requests="9/m"), budget("0", tier="smart", then="fast"))
    await stage.ask("warm")
    before = stage.meter.asked
    reservation = await stage.gate.reserve(
        stage.want("c2"), decision(), plan(), lower, all_at_once=True
    )
    assert (reservation.decision.tier, stage.meter.asked - before) == ("fast", 1)


async def test_a_cheaper_tier_without_a_target_is_no_alternative() -> None:
    """The refusal names the budget, not the missing target."""

    def nothing(_: Tier) -> tuple[Decision, Plan]:
        raise ProblemError(Problem(kind="no_target", message="none"))

    stage = ObservedLimiter(budget("0", tier="smart", then="fast"))
    assert (await stage.refused(again=nothing)).kind == "budget"


async def test_a_call_that_fits_no_cheaper_tier_is_refused() -> None:
    """Both budgets are reported; the client hears of the last one."""
    stage = ObservedLimiter(
        budget("0", name="mid", tier="smart", then="fast"), budget("0", name="all")
    )
    for name in ("c1", "c2"):
        assert "'all' is spent" in (await stage.refused(name)).message
    assert sorted(stage.alerts) == ["all", "mid"]


async def test_repayment_waits_until_the_ledger_can_be_read() -> None:
    stage = ObservedLimiter(budget("1", hard=False))
    stage.meter.lost = True
    await stage.ask("c1")
    await stage.end("c1")
    seed, stage.meter.lost = stage.gate._ledger_spends._read_spent, False
    stage.gate._ledger_spends._read_spent = broken
    stage.gate._settlement.report_return()
    await stage.gate.wait_settled()
    assert stage.gate._unsettled.has_any
    stage.gate._ledger_spends._read_spent = seed
    stage.gate._settlement._repay()
    await stage.gate.wait_settled()
    assert not stage.gate._unsettled.has_any


async def test_the_limiter_forgets_reported_budgets_in_the_end() -> None:
    """Without a bound, reported budgets and windows would fill the memory."""
    stage = ObservedLimiter()
    stage.gate._reports._exhausted = {("t", f"{at}") for at in range(10_001)}

    async def once(_: float) -> None:
        if not stage.gate._reports._exhausted:
            raise asyncio.CancelledError

    await asyncio.gather(stage.gate.sweep_periodically(once), return_exceptions=True)
    assert stage.gate._reports._exhausted == set()


async def test_a_call_of_a_key_without_limits_makes_no_store_request() -> None:
    stage = ObservedLimiter(limit(requests="1/m", key="other"))
    assert await stage.ask() == (decision(), plan())
    assert stage.meter.asked == 0


async def test_calls_that_end_at_the_same_time_are_settled_together() -> None:
    stage = ObservedLimiter(budget("1"), limit(concurrency=2))
    for name in ("c1", "c2"):
        await stage.ask(name)
    ended: list[int] = []
    end = stage.meter.settle_all

    async def watched(
        tenant: str, ended_calls: Sequence[EndedCall], _: Scopes = ALL_SCOPES
    ) -> None:
        ended.append(len(ended_calls))
        await end(tenant, ended_calls)

    stage.meter.settle_all = watched  # type: ignore[method-assign]  # a spy
    for name in ("c1", "c2"):
        stage.gate.settle(entry(name))
    await stage.gate.wait_settled()
    assert ended == [2]
    assert await stage.used() == 2 * 19
    for name in ("c3", "c4"):
        await stage.ask(name)


async def test_a_call_of_unknown_tokens_stays_charged_with_its_reservation() -> None:
    stage = ObservedLimiter(limit(tokens="300/h"))
    await stage.ask()
    await stage.end(input=None)
    assert (await stage.refused("c2")).kind == "rate_limited"


async def test_a_further_attempt_rebuilds_a_lost_counter_from_the_ledger() -> None:
    stage = ObservedLimiter(budget("1"), limit(requests="9/m"), spent=40)
    await stage.ask()
    await MemoryCounters.close(stage.meter)
    await stage.gate.extend(stage.want(), decision(), target())
    assert await stage.used() == 40 + HELD


async def test_lost_counters_of_cheaper_tiers_are_read_from_the_ledger_too() -> None:
    """The limiter asks again each time that some counters are missing."""
    stage = ObservedLimiter(
        budget("0", tier="smart", then="fast"), budget("1", name="all", per="tier")
    )
    await stage.ask("c1")
    stage.meter._counters_by_owner[None].spent = {
        field: spent
        for field, spent in stage.meter._counters_by_owner[None].spent.items()
        if "fast" not in field
    }
    decided, _ = await stage.ask("c2")
    assert decided.tier == "fast"


async def test_an_outage_without_spending_leaves_nothing_to_repay() -> None:
    stage = ObservedLimiter(limit(requests="9/m"))
    stage.gate._settlement.report_loss()
    await stage.ask()
    assert not stage.gate._unsettled.has_any
    assert [row["text"] for row in stage.log] == [
        LOST, "counted for all again",
    ]  # fmt: skip


async def test_the_record_of_unsettled_calls_is_bounded() -> None:
    """If Redis never comes back, the gateway forgets which calls ended, but not what they spent."""
    debts = ObservedLimiter(budget()).gate._unsettled
    for number in range(10_001):
        debts.add_unsettled("default", (f"c{number}", 0, 0))
    assert len(debts._unsettled) == 10_000
    place = CounterDemand(kind="concurrency", name="p", field="p", limit=1)
    debts.add_local_call("default", (place,), 5)
    assert not debts._debts


async def test_a_cancelled_ledger_read_leaves_no_task_behind() -> None:
    stage = ObservedLimiter(budget())
    stage.gate._ledger_spends._read_spent = forever
    waiting = asyncio.create_task(stage.ask())
    await asyncio.sleep(0)
    (asking,) = stage.gate._ledger_spends._tasks.values()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not stage.gate._ledger_spends._tasks


async def forever(_: Owner, __: CounterDemand) -> int:
    await asyncio.Event().wait()
    return 0


def test_the_limiters_caches_of_demands_and_prices_are_bounded() -> None:
    """Clients choose tags freely, and each configuration brings new prices."""
    rules = LimitRules([limit(requests="9/m", per="tag")], [], UTC)
    for number in range(5_000):
        rules.make_demands(
            key="k", tags=(f"{number}",), tier="fast", now=1e9, tokens=1, micro_usd=1
        )
    assert len(rules._prepared) <= 4_096
    for number in range(5_000):
        price = Price(rates=Rates(input=Decimal(number), output=Decimal(1)), version="v")
        assert compute_max_cost((target(price=price),), 10, PROMPT, 1e9) == 10 * number + 100
    assert len(cost_bounds._SLOPES) <= 4_096


async def test_calls_of_a_dead_process_are_settled_or_repaid_after_an_outage() -> None:
    stage = ObservedLimiter(budget("1"), limit(concurrency=2))
    for name in ("c1", "c2", "c3"):
        stage.gate._reservations.clear()  # as in another process
        if name == "c3":
            assert (await stage.refused(name)).kind == "rate_limited"
        else:
            await stage.ask(name)
    await stage.gate.settle_dead("default", [make_ended_call(entry("c1"))])
    assert await stage.used() == HELD + 19
    stage.meter.lost = True
    await stage.gate.settle_dead(
        "default", [make_ended_call(entry("c2", state="unknown_crash", cost=None))]
    )
    stage.meter.lost = False
    await stage.ask("c4")
    await stage.gate.wait_settled()
    assert await stage.used() == 2 * HELD + 19
    await stage.ask("c5")


async def test_a_further_attempt_during_an_outage_is_counted_in_the_process_too() -> None:
    stage = ObservedLimiter(budget("1", hard=False))
    stage.meter.lost = True
    await stage.ask()
    spare = stage.gate._settlement.local_store
    await stage.gate.extend(stage.want(), decision(), target())
    assert [row["text"] for row in stage.log] == [LOST]
    assert stage.gate._settlement.local_store is spare


async def test_spending_during_a_ledger_read_is_repaid_later() -> None:
    """The ledger's answer holds for the moment of the question."""
    stage = ObservedLimiter(budget("1", hard=False))
    stage.meter.lost = True
    for name in ("c1", "c2"):
        await stage.ask(name)
    await stage.end("c1")
    stage.meter.lost = False

    async def seed(_: Owner, __: CounterDemand) -> int:
        await stage.end("c2")  # its row comes too late for this answer
        return 19

    stage.gate._ledger_spends._read_spent = seed
    stage.gate._settlement.report_return()
    stage.gate._unsettled._is_repaying = True  # only the call makes the counter
    await stage.ask("c3")
    stage.gate._unsettled._is_repaying = False
    assert await stage.used() == 19 + HELD
    await stage.gate._unsettled.repay()
    assert await stage.used() == 2 * 19 + HELD


def test_the_most_that_a_call_costs_covers_its_units() -> None:
    """A price of units alone needs no bound of tokens."""
    price = Price(rates=Rates(), version="v", units={"page": Decimal("0.001")})
    targets = (target(price=price),)
    assert compute_max_cost(targets, 0, PROMPT, 1e9, units={"page": Decimal(3)}) == 3_000
    assert compute_max_cost(targets, None, PROMPT, 1e9, units={"page": Decimal(3)}) == 3_000
    assert compute_max_cost(targets, None, PROMPT, 1e9, units={"page": None}) is None
    assert compute_max_cost(targets, None, PROMPT, 1e9) is None
