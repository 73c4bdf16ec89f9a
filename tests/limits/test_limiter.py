"""The limiter: what a call must pass, where it goes instead, and counting without the store."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.core.call import Key, KeyBudget
from gateway.core.decision import Plan
from gateway.core.errors import ProblemError
from gateway.core.price import Price, PriceStep
from gateway.core.prompt import Prompt
from gateway.core.rate_limits import ExceededQuota, RateLimits, RateStatus
from gateway.core.rates import Rates
from gateway.core.target import ModelFacts, Target
from gateway.limits.cost_bounds import compute_max_cost, to_micro_usd
from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    Answer,
    MissingCounter,
    Owner,
    Refusal,
)
from gateway.settings.schema.limits import BudgetPart, LimitPart
from gateway.state.errors import StoreUnavailable
from tests.e2e.budget_audit import count_redis_losses
from tests.limits.observed_limiter import (
    HELD,
    LOST,
    PRICE,
    PROMPT,
    ObservedLimiter,
    Shaky,
    budget,
    decision,
    entry,
    limit,
    lower,
    plan,
    target,
)


def test_money_is_rounded_up() -> None:
    assert [to_micro_usd(Decimal(text)) for text in ("0", "0.0000001", "0.000001", "1.0000011")] == [
        0, 1, 1, 1_000_002
    ]  # fmt: skip


STEPPED = Price(
    rates=PRICE.rates,
    steps=(PriceStep(1_000, Rates(input=Decimal(2), output=Decimal(4))),),
    version="v1",
)
"""A price that is higher for long prompts."""


@pytest.mark.parametrize(
    ("targets", "prompt", "most"),
    [
        ((target(),), PROMPT, 400 + 1_500),
        ((target(), target(max_output=50)), PROMPT, 400 + 1_500),
        ((target(max_output=50),), msgspec.structs.replace(PROMPT, max_output=None), 200 + 1_500),
        ((target(facts=ModelFacts(max_output=10)),), PROMPT, 40 + 1_500),
        ((target(facts=ModelFacts(max_output=10)),), msgspec.structs.replace(PROMPT, choices=3), 120 + 1_500),
        ((target(), target(price=STEPPED)), PROMPT, 400 + 3_000),
        ((target(), target(price=None)), PROMPT, None),
        ((target(),), msgspec.structs.replace(PROMPT, max_output=None), None),
        ((target(facts=ModelFacts(context=500)),), msgspec.structs.replace(PROMPT, max_output=None), 2_000 + 500),
        ((target(facts=ModelFacts(context=9_000, max_input=600)),), PROMPT, 400 + 600),
    ],
)  # fmt: skip
def test_the_maximum_cost_of_a_call_is_that_of_its_dearest_target(
    targets: Sequence[Target], prompt: Prompt, most: int | None
) -> None:
    assert compute_max_cost(targets, 1_500, prompt, 1e9) == most


def test_a_prompt_of_unknown_length_costs_the_whole_window() -> None:
    wide, wider = [target(facts=ModelFacts(context=window)) for window in (9_000, 10_000)]
    assert compute_max_cost((wide, wider), None, PROMPT, 1e9) == 10_000 + 400
    assert compute_max_cost((wide, target()), None, PROMPT, 1e9) is None


async def test_a_call_reserves_its_maximum_cost_and_is_charged_its_real_cost() -> None:
    stage = ObservedLimiter(budget())
    assert await stage.ask() == (decision(), plan())
    assert await stage.used() == HELD
    await stage.end()
    assert await stage.used() == 19


async def test_a_call_without_limits_is_not_counted() -> None:
    stage = ObservedLimiter()
    assert await stage.ask() == (decision(), plan())
    await stage.end()
    assert stage.meter.asked == 0


def test_the_limiter_refuses_all_calls_only_if_a_budget_covers_each() -> None:
    """Only limits on every key and every tier refuse all calls; others let some calls pass."""
    own = KeyBudget(usd=Decimal(1), every="day")
    bound, free = Key(name="bound", budgets=(own,)), Key(name="free")
    assert ObservedLimiter(budget(), closed=True).gate.refuses_all([bound, free])
    assert ObservedLimiter(budget()).gate.refuses_all([bound, free])
    assert not ObservedLimiter(budget(hard=False)).gate.refuses_all([free])
    assert not ObservedLimiter(budget(), closed=True).gate.refuses_all([])
    assert ObservedLimiter(closed=True).gate.refuses_all([bound])
    assert not ObservedLimiter(closed=True).gate.refuses_all([bound, free])
    assert not ObservedLimiter(budget(tier="fast"), closed=True).gate.refuses_all([free])
    assert not ObservedLimiter(limit(requests="9/m"), closed=True).gate.refuses_all([free])


async def test_a_key_has_its_own_budgets() -> None:
    stage = ObservedLimiter()
    key = Key(name="k", budgets=(KeyBudget(usd=Decimal("0.002"), every="day"),))
    await stage.ask(key=key)
    await stage.end(cost=None)
    assert (await stage.refused("c2", key=key)).kind == "budget"


@pytest.mark.parametrize(
    ("more", "reserved"),
    [
        ({"cost": None}, HELD),
        ({"wasted": None}, HELD),
        ({"estimate": Decimal("0.000001")}, HELD),
        ({"cache": "hit", "attempts": 0, "cost": Decimal(0)}, 0),
        ({"state": "refused", "attempts": 0, "cost": Decimal(0), "tier": None}, 0),
    ],
)
async def test_a_call_of_unknown_cost_stays_charged_with_its_reservation(
    more: dict[str, Any], reserved: int
) -> None:
    stage = ObservedLimiter(budget())
    await stage.ask()
    await stage.end(**more)
    assert await stage.used() == reserved


async def test_the_end_of_a_call_corrects_its_tokens_to_the_real_usage() -> None:
    """A running call reserves the most it may use: 125 tokens of prompt, 100 of answer."""
    stage = ObservedLimiter(limit(tokens="300/h"))
    await stage.ask()
    problem = await stage.refused("c2")
    assert (problem.kind, problem.retry_after is None) == ("rate_limited", False)
    await stage.end()
    await stage.ask("c2")


async def test_a_call_and_a_refusal_say_what_the_rates_have_left() -> None:
    """The refusal names the limit; the call's own tokens are not taken off."""
    stage = ObservedLimiter(limit(tokens="300/h", requests="5/h", per="tenant"))
    reservation = await stage.gate.reserve(stage.want(), decision(), plan(), lower)
    assert reservation.rate_limits == RateLimits(
        RateStatus(5, 4, 720.0), RateStatus(300, 75, 2_700.0), stage.now
    )
    problem = await stage.refused("c2")
    assert problem.exceeded_quota == ExceededQuota("tokens", "l", 300)
    assert problem.rate_limits == reservation.rate_limits


async def test_a_call_that_only_budgets_count_has_no_rates() -> None:
    stage = ObservedLimiter(budget())
    reservation = await stage.gate.reserve(stage.want(), decision(), plan(), lower)
    assert reservation.rate_limits is None


@pytest.mark.parametrize(
    ("operation", "reserved"), [("count_tokens", 0), ("embeddings", 1_500), ("generate", HELD)]
)
async def test_each_operation_reserves_its_own_maximum_cost(operation: str, reserved: int) -> None:
    stage = ObservedLimiter(budget())
    await stage.ask(operation=operation)
    assert await stage.used() == reserved


async def test_an_embedding_without_a_price_has_no_bound() -> None:
    stage = ObservedLimiter(budget())
    problem = await stage.refused(operation="embeddings", targets=[target(price=None)])
    assert (problem.kind, problem.param) == ("budget_unbounded", None)
    assert "No model that can serve this call has a known price" in problem.message


async def test_the_refusal_of_a_call_of_unknown_length_asks_for_a_window() -> None:
    """Without a window only the usual cost is known, which `reserve: expected` reserves."""
    stage = ObservedLimiter(budget())
    problem = await stage.refused(prompt_bound=None)
    assert (problem.kind, problem.param) == ("budget_unbounded", None)
    assert "has a known window" in problem.message
    assert "`context`" in problem.message
    assert await stage.used() == 0
    stage = ObservedLimiter(budget(reserve="expected"))
    await stage.ask(prompt_bound=None)


UNSAID = msgspec.structs.replace(PROMPT, max_output=None)
"""A prompt whose client sets no cap on the answer's length."""
LONG = target("long", facts=ModelFacts(context=1_000))


async def test_the_context_window_bounds_an_answer_without_another_bound() -> None:
    stage = ObservedLimiter(budget())
    await stage.ask(prompt=UNSAID, targets=[LONG])
    assert await stage.used() == 1_000 + 4 * 1_000


@pytest.mark.parametrize("more", [{}, {"reserve": "expected"}])
async def test_the_gateway_skips_a_target_without_a_bound(more: dict[str, Any]) -> None:
    """The next target of the plan serves the call, and the gateway logs this once."""
    stage = ObservedLimiter(budget("1", **more))
    free = target("free", price=None)
    for name in ("c1", "c2"):
        decided, found = await stage.ask(name, prompt=UNSAID, targets=[free, LONG])
        assert decided == decision()
        assert [one.model for one in found.targets] == ["long"]
        assert found.dialects == ("openai-chat",)
        (skipped,) = found.skipped
        assert (skipped.target, skipped.reason) == (
            "p/free", "its cost has no bound, and a hard budget needs one",
        )  # fmt: skip
    texts = [row["text"] for row in stage.log]
    assert texts == ["p/free is skipped: its cost has no bound"]


async def test_the_remaining_targets_keep_their_labs_and_dialects() -> None:
    stage = ObservedLimiter(budget("1"))
    whole = Plan(
        targets=(target("free", price=None), target("a"), target("b")),
        dialects=("gemini", "openai-chat", "openai-responses"),
        labs=("x", "y", "z"),
    )
    reservation = await stage.gate.reserve(stage.want(), decision(), whole, lower)
    assert reservation.plan.dialects == ("openai-chat", "openai-responses")
    assert reservation.plan.labs == ("y", "z")


@pytest.mark.parametrize(
    ("dialect", "word"),
    [
        ("openai-chat", "max_tokens"),
        ("anthropic-messages", "max_tokens"),
        ("openai-responses", "max_output_tokens"),
        ("gemini", "maxOutputTokens"),
    ],
)
async def test_the_refusal_of_a_call_without_a_bound_names_the_member_to_send(
    dialect: str, word: str
) -> None:
    """The message names the client dialect's own member, and no budget is reported as used up."""
    stage = ObservedLimiter(budget())
    problem = await stage.refused(prompt=UNSAID, dialect=dialect)
    assert (problem.kind, problem.http_status, problem.param) == ("budget_unbounded", 400, word)
    assert problem.should_retry is False
    assert f"Send {word}." in problem.message
    assert "`unknown_output`" in problem.message
    assert [row["text"] for row in stage.log] == []
    assert not stage.alerts


async def test_a_call_without_a_bound_goes_to_a_cheaper_tier_with_a_bound() -> None:
    stage = ObservedLimiter(budget("1", tier="smart", then="fast"))
    for number, late in enumerate((False, True, False)):  # the third time, the counter exists
        if number == 2:
            await stage.ask("priced")
        reservation = await stage.gate.reserve(
            stage.want(f"{number}", prompt=UNSAID), decision(), plan(),
            lambda _: (decision("fast"), plan(LONG)), all_at_once=late,
        )  # fmt: skip
        assert reservation.decision.tier == "fast"
    assert [row["text"] for row in stage.log] == []


async def test_a_call_larger_than_the_whole_budget_does_not_use_it_up() -> None:
    stage = ObservedLimiter(budget("0.001"))
    problem = await stage.refused()
    assert problem.kind == "budget"
    assert problem.message == (
        "This call may cost $0.0019, which is more than all of the budget 'b'. "
        "Send a smaller max_tokens."
    )
    assert [row["text"] for row in stage.log] == []


async def test_a_budget_that_only_warns_needs_no_bound() -> None:
    stage = ObservedLimiter(budget("0.001", hard=False))
    assert await stage.ask(prompt=UNSAID) == (decision(), plan())


async def test_a_refusal_names_a_rate_before_a_missing_bound() -> None:
    stage = ObservedLimiter(limit(concurrency=0), budget())
    assert (await stage.refused(prompt=UNSAID)).kind == "rate_limited"


async def test_the_limiter_reserves_at_least_16_output_tokens() -> None:
    stage = ObservedLimiter(budget())
    await stage.ask(prompt=msgspec.structs.replace(PROMPT, max_output=1))
    assert await stage.used() == 1_500 + 4 * 16


async def test_a_budget_with_reserve_expected_reserves_the_usual_cost() -> None:
    """The limiter reserves 1,000 tokens, and later a bound that nearly all answers keep."""
    stage = ObservedLimiter(budget("1", reserve="expected"))
    await stage.ask()
    assert await stage.used() == 125 + 4_000
    for n in range(200):
        await stage.end(f"x{n}", output=50)
    await stage.end()
    await stage.ask("c2")
    assert await stage.used() == 19 + 125 + 200
    await stage.ask("c3", operation="count_tokens")


async def test_a_call_that_does_not_fit_goes_to_a_cheaper_tier() -> None:
    stage = ObservedLimiter(budget("0", tier="smart", then="fast"))
    found, planned = await stage.ask()
    assert (found.tier, planned.targets[0].model) == ("fast", "cheap")


async def test_a_call_that_cannot_go_to_a_cheaper_tier_is_refused() -> None:
    """The call is refused if its key may not use the lower tier, or if a rule raises it again."""
    stage = ObservedLimiter(budget("0", tier="smart", then="fast"))
    problem = await stage.refused(again=lambda _: (decision("smart"), plan()))
    assert (problem.kind, "'b' is spent for 2001-09-09" in problem.message) == ("budget", True)
    assert (await ObservedLimiter(budget("0", every="total")).refused()).message == (
        "The budget 'b' is spent: less is left than this call may cost, $0.0019."
    )


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (limit(requests="0/m"), "0 requests in 60 s"),
        (limit(concurrency=0), "0 calls at a time"),
    ],
)
async def test_a_refusal_names_the_limit_and_its_amount(part: LimitPart, text: str) -> None:
    problem = await ObservedLimiter(part).refused()
    assert (problem.kind, text in problem.message) == ("rate_limited", True)
    assert problem.retry_after is not None


async def test_a_refusal_by_a_share_names_the_tier() -> None:
    part = BudgetPart.model_validate({"name": "s", "share": 0, "tier": "smart", "every": "day"})
    assert "no more of this tier" in (await ObservedLimiter(part).refused()).message


async def test_the_gateway_reports_once_that_a_budget_is_nearly_or_fully_used() -> None:
    stage = ObservedLimiter(budget("0.005", soft="0.5"))
    await stage.ask("c1")
    await stage.ask("c2")
    await stage.refused("c3")
    assert [row["text"] for row in stage.log] == ["soft limit passed"]
    for name in ("c1", "c2"):
        await stage.end(name, cost=None)
    for name in ("c3", "c4"):
        await stage.refused(name)
    texts = [row["text"] for row in stage.log]
    assert texts == ["soft limit passed", "used up"]
    assert stage.alerts == ["b", "b"]


async def test_the_used_up_budget_of_a_minute_says_when_the_next_minute_begins() -> None:
    """The SDKs of clients wait for it; they do not wait for the next hour."""
    for every, kind, wait in (("minute", "budget_busy", 20.0), ("hour", "budget", None)):
        stage = ObservedLimiter(budget("0.002", every=every))
        await stage.ask()
        await stage.end(cost=Decimal("0.001"))
        problem = await stage.refused("c2")
        assert (problem.kind, problem.retry_after) == (kind, wait)
        assert ("Try again in the next minute." in problem.message) is (every == "minute")
        assert stage.alerts == ["b"]
    assert (await ObservedLimiter(budget("0.001", every="minute")).refused()).kind == "budget"
    assert (await ObservedLimiter(budget("0", every="minute")).refused()).kind == "budget"


async def test_a_budget_reserved_by_running_calls_is_busy_and_not_used_up() -> None:
    """The client may retry after a second; the gateway alerts nobody."""
    stage = ObservedLimiter(budget("0.002"))
    await stage.ask()
    problem = await stage.refused("c2")
    assert (problem.kind, problem.http_status, problem.retry_after) == ("budget_busy", 429, 1.0)
    assert problem.should_retry is None
    assert "'b' has no room now" in problem.message
    assert not stage.log
    assert not stage.alerts
    await stage.end()
    await stage.ask("c2")


async def test_an_ended_calls_reservation_does_not_block_the_next_call() -> None:
    """A client may send its next call before the loop has run background work."""
    stage = ObservedLimiter(budget("0.002"))
    await stage.ask()
    stage.gate.settle(entry())
    await stage.ask("c2")


async def test_a_busy_budget_sends_a_call_to_a_cheaper_tier_without_an_alert() -> None:
    stage = ObservedLimiter(budget("0.002", tier="smart", then="fast"))
    await stage.ask()
    found, _ = await stage.ask("c2")
    assert (found.tier, stage.log, stage.alerts) == ("fast", [], [])


async def test_a_missing_counter_starts_with_what_was_spent() -> None:
    stage = ObservedLimiter(budget(), spent=9_000)
    assert (await stage.refused()).kind == "budget"
    assert await stage.used() == 9_000


async def test_a_further_attempt_reserves_its_own_cost() -> None:
    stage = ObservedLimiter(budget("0.005"), limit(requests="1/h"))
    reservation = await stage.gate.reserve(stage.want(), decision(), plan(), lower)
    await reservation.extend(target())
    assert await stage.used() == 2 * HELD
    with pytest.raises(ProblemError, match="is spent"):
        await reservation.extend(target())
    await stage.end()
    assert await stage.used() == 19


async def test_without_a_budget_a_further_attempt_is_free() -> None:
    stage = ObservedLimiter(limit(requests="1/h"))
    await stage.ask()
    await stage.gate.extend(stage.want(), decision(), target())
    assert stage.meter.asked == 1


async def test_without_the_store_a_soft_budget_is_counted_later() -> None:
    """A budget that only warns refuses nothing, and gets what was spent meanwhile."""
    stage = ObservedLimiter(budget("0.01", hard=False), spent=2_000)
    await stage.ask("c0")
    await stage.end("c0")
    stage.meter.lost = True
    await stage.ask("c1")
    await stage.ask("c2")
    await stage.gate.extend(stage.want("c0"), decision(), target())
    await stage.end("c1")
    await stage.end("c2", cost=None)
    assert await stage.used() == 2_019
    stage.meter.lost = False
    await stage.ask("c4")
    await stage.gate.wait_settled()
    assert await stage.used() == 2_019 + 19 + HELD + HELD
    texts = [row["text"] for row in stage.log if row["event"] == "limits"]
    assert texts == [LOST, "counted for all again"]
    assert count_redis_losses(stage.log) == 1


async def test_without_the_store_a_hard_budget_refuses_its_calls() -> None:
    """SEC-BUDGET 6: no process counts a hard budget by itself. Other calls go on."""
    stage = ObservedLimiter(budget("0.01", tier="smart"), limit(requests="9/m"))
    stage.meter.lost = True
    problem = await stage.refused("c1")
    assert (problem.kind, problem.retry_after) == ("overloaded", 5.0)
    await stage.ask("c2", tier="fast")
    await stage.ask("c3", operation="count_tokens")
    await stage.end("c2")
    assert await stage.used() is None
    assert [row["text"] for row in stage.log] == [LOST]


async def test_without_the_store_a_share_moves_no_call_to_a_hard_budget() -> None:
    stage = ObservedLimiter(
        budget(None, share="0", tier="smart", then="fast"), budget("1", name="hard", tier="fast")
    )
    stage.meter.lost = True
    assert (await stage.refused()).kind == "overloaded"
    for all_at_once in (False, True):
        with pytest.raises(ProblemError):
            await stage.gate.reserve(
                stage.want("c2"), decision(), plan(), lower, all_at_once=all_at_once
            )
    assert await stage.used(stage.spare) is None


async def test_without_the_store_a_soft_budget_knows_the_tiers_that_it_can_count() -> None:
    stage = ObservedLimiter(
        budget("1", tier="smart", hard=False),
        budget(None, name="share", share="0", tier="smart", then="fast"),
        budget("1", name="hard", tier="fast"),
    )
    stage.meter.lost = True
    assert (await stage.refused()).kind == "overloaded"


async def test_a_second_outage_does_not_lose_the_spending_of_the_first() -> None:
    stage = ObservedLimiter(budget("0.01", hard=False))
    await stage.ask("c0")
    await stage.end("c0")
    stage.meter.lost = True
    await stage.ask("c1")
    await stage.end("c1")
    stage.meter.lost = False
    await stage.ask("c2")
    stage.meter.lost = True
    await stage.gate.wait_settled()
    stage.meter.lost = False
    stage.gate._settlement.report_loss()
    await stage.ask("c3")
    await stage.gate.wait_settled()
    assert await stage.used() == 19 + 19 + 2 * HELD


async def test_the_limiter_rebuilds_a_counter_that_was_lost_too_from_the_ledger() -> None:
    """The ledger already has what was spent meanwhile."""
    stage = ObservedLimiter(budget("0.01", hard=False))
    stage.meter.lost = True
    await stage.ask("c1")
    await stage.end("c1")
    stage.meter.lost, stage.spent = False, 19
    await stage.ask("c2", operation="count_tokens")
    await stage.gate.wait_settled()
    assert await stage.used() == 19


async def test_a_client_that_leaves_during_admission_reserves_nothing_for_long() -> None:
    """The counter store may have reserved all the same, so the limiter settles the call."""
    stage = ObservedLimiter(budget())

    class Slow(Shaky):
        async def admit(
            self, ask: AdmissionRequest, now: float
        ) -> Admitted | Refusal | MissingCounter:
            found = await super().admit(ask, now)
            if not isinstance(found, MissingCounter):
                await asyncio.sleep(3600)
            return found

    stage.meter = stage.gate._counter_store = Slow()
    task = asyncio.create_task(stage.ask())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stage.used() == HELD
    await stage.end(state="aborted", attempts=0, cost=Decimal(0), tier=None)
    assert await stage.used() == 0


async def test_a_bill_above_its_reservation_is_counted_apart() -> None:
    stage = ObservedLimiter(budget("1"), budget("1", name="soft", hard=False, per="key"))
    for id in ("c1", "c2", "c3"):
        await stage.ask(id)
    await stage.gate.extend(stage.want("c2"), decision(), target())
    await stage.end("c1", cost=Decimal(HELD + 7) / 1_000_000, provider="acme", model="able-1")
    await stage.end("c2", cost=Decimal(HELD + 7) / 1_000_000)
    await stage.end("c3")
    assert stage.gate.excess_micro_usd == 7
    assert [(line["call"], line["text"]) for line in stage.log] == [
        ("c1", "acme/able-1 cost 7 micro-USD more than was reserved")
    ]


async def test_the_log_names_each_model_that_costs_more_than_reserved_once() -> None:
    stage = ObservedLimiter(budget("1"))
    for id in ("c1", "c2"):
        await stage.ask(id)
        await stage.end(id, cost=Decimal(HELD + 7) / 1_000_000)
    assert len(stage.log) == 1
    assert stage.gate.excess_micro_usd == 14


async def test_a_client_that_leaves_during_a_further_attempt_keeps_its_reservation() -> None:
    stage = ObservedLimiter(budget())
    await stage.ask()
    held = stage.gate._reservations["c1"]

    async def forever(ask: AdmissionRequest, now: float) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    stage.meter.extend = forever  # type: ignore[method-assign]  # it never answers
    task = asyncio.create_task(stage.gate.extend(stage.want(), decision(), target()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.gate._reservations["c1"] is held


async def test_without_the_store_the_limiter_refuses_a_further_attempt() -> None:
    stage = ObservedLimiter(budget())
    await stage.ask()
    stage.meter.lost = True
    with pytest.raises(ProblemError, match="cannot count budgets"):
        await stage.gate.extend(stage.want(), decision(), target())
    stage.meter.lost = False
    await stage.end()
    assert await stage.used() == 19


async def test_the_limiter_reads_the_ledger_once_a_counter_may_begin() -> None:
    """Before that, calls of other machines that have ended may be missing there."""
    stage = ObservedLimiter(budget())
    waits: list[float] = []
    admit = stage.meter.admit

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        stage.spent = 40

    async def early(ask: AdmissionRequest, now: float) -> Answer:
        answer = await admit(ask, now)
        if isinstance(answer, MissingCounter):
            return msgspec.structs.replace(answer, wait=2.5)
        return answer

    stage.gate._sleep = wait
    stage.meter.admit = early  # type: ignore[method-assign]  # one that has forgotten
    await stage.ask()
    assert (waits, await stage.used()) == ([2.5], 40 + HELD)


async def test_the_limiter_confirms_the_owners_of_running_calls() -> None:
    """A gateway that only runs calls finds out, too, that the store has forgotten them."""
    stage = ObservedLimiter(budget(), budget("1", name="own", per="tenant"), limit(concurrency=9))
    await stage.ask("c1")
    await stage.ask("c2", tier="fast")
    stage.meter.lost = True
    stage.gate._reservations["local"] = msgspec.structs.replace(
        stage.gate._reservations["c1"], counter_store=stage.spare, tenant="other"
    )
    confirmed: list[Owner] = []

    async def confirm(owner: Owner, _: float) -> None:
        confirmed.append(owner)
        raise StoreUnavailable

    async def once(_: float) -> None:
        if confirmed:
            raise asyncio.CancelledError

    stage.meter.confirm = confirm  # type: ignore[method-assign,assignment]  # a spy
    with pytest.raises(asyncio.CancelledError):
        await stage.gate.confirm_periodically(once)
    assert set(confirmed) == {None, "default"}
    running = stage.gate._find_running(None)
    assert [(call.id, [demand.kind for demand in call.demands]) for call in running] == [
        ("c1", ["concurrency", "usd"]),
        ("c2", ["concurrency", "usd"]),
    ]
    assert [call.id for call in stage.gate._find_running("default")] == ["c1", "c2"]
    stage.gate._reservations["c1"] = msgspec.structs.replace(
        stage.gate._reservations["c1"], shared_demands=running[0].demands[1:]
    )
    confirmed.clear()
    with pytest.raises(asyncio.CancelledError):
        await stage.gate.confirm_periodically(once)
    assert set(confirmed) == {None, "default"}
    assert stage.gate._find_running("other") == []


async def test_a_restored_reservation_lasts_as_long_after_a_jump_of_the_wall_clock() -> None:
    stage = ObservedLimiter(budget())
    await stage.ask("c1")
    (before,) = stage.gate._find_running(None)
    lifetime = before.expires_at - stage.now
    stage.now -= 3600
    (after,) = stage.gate._find_running(None)
    assert after.expires_at - stage.now == pytest.approx(lifetime, abs=5)


async def test_calls_that_end_during_an_outage_are_settled_after_it() -> None:
    stage = ObservedLimiter(budget(), closed=True)
    await stage.ask("c1")
    stage.meter.lost = True
    await stage.end("c1")
    await stage.refused("c2")
    stage.meter.lost = False
    await stage.ask("c3")
    await stage.gate.wait_settled()
    assert await stage.used() == 19 + HELD


async def test_a_call_that_outlives_an_outage_is_counted_in_the_store() -> None:
    stage = ObservedLimiter(budget(hard=False))
    await stage.ask("c0")
    stage.meter.lost = True
    await stage.ask("c1")
    stage.meter.lost = False
    await stage.ask("c2")
    await stage.end("c1")
    await stage.gate.wait_settled()
    assert await stage.used() == 2 * HELD + 19


async def test_the_limiter_sweeps_all_counters_periodically() -> None:
    stage = ObservedLimiter(budget())
    await stage.ask()
    swept: list[Owner] = []

    async def sweep(owner: Owner, _: float) -> None:
        swept.append(owner)
        if len(swept) == 1:
            raise StoreUnavailable

    async def sleep(_: float) -> None:
        if len(swept) >= 3:
            raise asyncio.CancelledError

    stage.meter.sweep = sweep  # type: ignore[method-assign,assignment]  # a spy
    with pytest.raises(asyncio.CancelledError):
        await stage.gate.sweep_periodically(sleep)
    assert swept == [None, None, "default"]


async def test_closed_budgets_refuse_calls_while_the_store_is_unavailable() -> None:
    """SEC-BUDGET 6: budgets fail closed; limits that are no budget are counted in this process."""
    stage = ObservedLimiter(budget(), limit(requests="5/m"), closed=True)
    stage.meter.lost = True
    problem = await stage.refused()
    assert (problem.kind, problem.retry_after) == ("overloaded", 5.0)
    assert [row["text"] for row in stage.log] == [
        "counted in this process alone, calls under budgets refused"
    ]
    assert count_redis_losses(stage.log) == 1
    stage = ObservedLimiter(limit(requests="5/m"), closed=True)
    stage.meter.lost = True
    await stage.ask()


async def test_a_call_that_ends_during_an_outage_keeps_its_reservation() -> None:
    stage = ObservedLimiter(budget())
    await stage.ask()
    stage.meter.lost = True
    await stage.end()
    assert await stage.used() == HELD


async def test_a_limit_of_zero_stays_zero_in_each_process() -> None:
    stage = ObservedLimiter(limit(requests="0/m"), shares=4)
    stage.meter.lost = True
    assert (await stage.refused()).kind == "rate_limited"


async def test_a_counter_that_stays_missing_counts_as_an_outage() -> None:
    stage = ObservedLimiter(budget(), closed=True)

    async def never(ask: AdmissionRequest, _: float) -> MissingCounter:
        return MissingCounter(ask.demands[0])

    stage.meter.admit = never  # type: ignore[method-assign,assignment]  # one that forgets
    assert (await stage.refused()).kind == "overloaded"


async def test_a_store_that_is_lost_while_the_ledger_is_read_refuses_as_a_lost_store() -> None:
    """The ledger's sum needs the store: it restores calls of gateways that are away."""
    stage = ObservedLimiter(budget("1"))

    async def lose(_: Owner, __: object) -> int:
        raise StoreUnavailable

    stage.gate._ledger_spends._read_spent = lose
    assert (await stage.refused()).kind == "overloaded"
    assert {row.get("text") for row in stage.log} == {LOST}
