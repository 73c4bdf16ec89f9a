"""A budget with `reserve: fit`: the highest cap whose cost is left, and never a micro-USD more."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Key, KeyBudget
from gateway.core.decision import Plan
from gateway.core.errors import ProblemError
from gateway.core.price import Price, PriceStep
from gateway.core.prompt import Prompt
from gateway.core.rates import Rates
from gateway.core.target import ModelFacts, Target
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.counters import AdmissionRequest, Refusal
from gateway.limits.output_fit import fit_plan
from tests.limits.observed_limiter import (
    CALL,
    PROMPT,
    ObservedLimiter,
    budget,
    decision,
    limit,
    lower,
    plan,
    target,
)

LARGE = msgspec.structs.replace(PROMPT, max_output=5_000)
"""A prompt that costs 1,500 micro-USD at most, and whose answer may cost 20,000."""
DEAR = Price(rates=Rates(input=Decimal(2), output=Decimal(8)), version="v1")
PROMPT_COST = 1_500


def fit(usd: str = "0.01", **more: Any) -> ObservedLimiter:
    return ObservedLimiter(budget(usd, reserve="fit", least_output=100, **more))


def caps(served: Plan) -> list[int | None]:
    return [one.lowered_output for one in served.targets]


async def test_a_call_that_does_not_fit_gets_the_highest_cap_that_does() -> None:
    stage = fit()
    _, served = await stage.ask(prompt=LARGE)
    assert caps(served) == [(10_000 - PROMPT_COST) // 4]
    assert "'b' has no more left than for 2125 tokens" in served.targets[0].explain_output_limit()
    assert await stage.used() == 10_000
    await stage.end()
    assert await stage.used() == 19


async def test_a_call_that_fits_keeps_its_cap() -> None:
    stage = fit("1")
    assert await stage.ask(prompt=LARGE) == (decision(), plan())


async def test_below_the_least_output_the_call_is_refused_as_before() -> None:
    """100 tokens cost 400 micro-USD. The message has the cost with so few tokens."""
    problem = await fit("0.001899").refused(prompt=LARGE)
    assert problem.kind == "budget"
    assert "may cost $0.0019," in problem.message
    _, served = await fit("0.0019").ask(prompt=LARGE)
    assert caps(served) == [100]


async def test_what_running_calls_have_reserved_is_not_left() -> None:
    """The second call gets the rest; the third may try again in a second."""
    stage = fit()
    await stage.ask(prompt=msgspec.structs.replace(PROMPT, max_output=1_000))
    _, served = await stage.ask("c2", prompt=LARGE)
    assert caps(served) == [(10_000 - 5_500 - PROMPT_COST) // 4]
    assert await stage.used() == 10_000
    assert (await stage.refused("c3", prompt=LARGE)).kind == "budget_busy"


async def test_the_cap_fits_the_dearest_target_and_lowers_only_those_above_it() -> None:
    """Whichever target serves the call, its cost is reserved."""
    small = target("small", max_output=300, facts=ModelFacts(max_output=300))
    targets = [target(), target("dear", price=DEAR), small]
    prompt = msgspec.structs.replace(PROMPT, max_output=None)
    known = [
        msgspec.structs.replace(one, facts=ModelFacts(context=4_000)) if at < 2 else one
        for at, one in enumerate(targets)
    ]
    stage = fit()
    _, served = await stage.ask(targets=known, prompt=prompt)
    assert caps(served) == [875, 875, None]
    assert await stage.used() == 2 * PROMPT_COST + 875 * 8


async def test_each_choice_counts() -> None:
    prompt = msgspec.structs.replace(LARGE, choices=3)
    _, served = await fit().ask(prompt=prompt)
    assert caps(served) == [(10_000 - PROMPT_COST) // 12]


async def test_a_further_attempt_reserves_the_lowered_cap() -> None:
    stage = fit("0.02")
    bound = stage.want(prompt=LARGE)
    reservation = await stage.gate.reserve(bound, decision(), plan(), lower)
    assert caps(reservation.plan) == [4_625]
    with pytest.raises(ProblemError):
        await reservation.extend(reservation.plan.targets[0])
    await stage.end()
    stage = fit("0.02")
    first = await stage.gate.reserve(stage.want(), decision(), plan(), lower)
    second = await stage.gate.reserve(stage.want("c2", prompt=LARGE), decision(), plan(), lower)
    await stage.end("c1")
    (one,) = second.plan.targets
    assert one.lowered_output == 4_150
    assert first.plan == plan()


async def test_all_budgets_of_a_call_must_fit() -> None:
    """The smaller of two budgets decides, in whichever order they refuse."""
    for larger, smaller in (("0.012", "0.01"), ("0.01", "0.012")):
        stage = ObservedLimiter(
            budget(larger, name="a", reserve="fit", least_output=100),
            budget(smaller, name="b", reserve="fit", least_output=100),
        )
        _, served = await stage.ask(prompt=LARGE)
        assert caps(served) == [2_125]


async def test_a_budget_that_reserves_the_cap_refuses_a_call_that_another_would_lower() -> None:
    stage = ObservedLimiter(
        budget("0.012", name="a", reserve="fit"), budget("0.011", name="b", reserve="cap")
    )
    _, served = await stage.ask(prompt=msgspec.structs.replace(PROMPT, max_output=2_000))
    assert caps(served) == [None]
    await stage.end()
    assert (await stage.refused("c2", prompt=LARGE)).kind == "budget"


async def test_a_cheaper_tier_comes_before_a_lower_cap() -> None:
    stage = ObservedLimiter(
        budget(reserve="fit", tier=["smart"], then="fast", least_output=100),
        budget("0.004", name="all", reserve="fit", least_output=100),
    )
    chosen, served = await stage.ask(prompt=LARGE)
    assert chosen.tier == "fast"
    assert caps(served) == [(4_000 - PROMPT_COST) // 4]


async def test_a_budget_of_a_key_lowers_the_cap_too() -> None:
    own = KeyBudget(usd=Decimal("0.01"), every="day", reserve="fit", least_output=100)
    stage = ObservedLimiter()
    _, served = await stage.ask(prompt=LARGE, key=Key(name="k", budgets=(own,)))
    assert caps(served) == [2_125]


@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        (msgspec.structs.replace(PROMPT, max_output=-1), {}),
        (msgspec.structs.replace(PROMPT, max_output=0), {}),
        (LARGE, {"operation": "embeddings"}),
        (msgspec.structs.replace(LARGE, max_output=50), {}),
    ],
)
def test_some_calls_have_no_cap_to_lower(prompt: Prompt, more: dict[str, Any]) -> None:
    """Some engines read -1 as no cap at all; embeddings have no answer; 50 tokens are few."""
    bound = UsageBound(
        call=msgspec.structs.replace(CALL, **more),
        prompt=prompt,
        prompt_tokens=125,
        prompt_bound=1_500,
    )
    known = target(facts=ModelFacts(max_output=9_000))
    assert fit_plan(bound, plan(known), 1_600, 40 if prompt.max_output != 50 else 60, "b") is None


def test_a_target_without_a_bound_stays_refused() -> None:
    """The call would take all that is left; the operator has to say how long answers may be."""
    prompt = msgspec.structs.replace(PROMPT, max_output=None)
    bound = UsageBound(call=CALL, prompt=prompt, prompt_tokens=125, prompt_bound=1_500)
    assert fit_plan(bound, plan(target()), 10**9, 100, "b") is None
    assert fit_plan(bound, plan(target(facts=ModelFacts(context=900), price=None)), 9, 9, "b") is None  # fmt: skip


def fitted_caps(left: int, least: int, *targets: Target, requested: int = 100) -> object:
    prompt = msgspec.structs.replace(PROMPT, max_output=requested)
    bound = UsageBound(call=CALL, prompt=prompt, prompt_tokens=125, prompt_bound=1_500)
    fitted = fit_plan(bound, plan(*targets), left, least, "b")
    return None if fitted is None else caps(fitted)


def test_a_cap_may_be_lowered_by_a_single_token() -> None:
    assert fitted_caps(PROMPT_COST + 99 * 4, 10) == [99]
    assert fitted_caps(PROMPT_COST + 98 * 4 + 3, 10) == [98]
    assert fitted_caps(0, 99) == [99]
    assert fitted_caps(0, 100) is None


def test_a_target_that_is_capped_there_already_is_left_alone() -> None:
    """Its bound is that of its own model, and not the budget's."""
    dear, own = target("dear", price=DEAR), target("own", facts=ModelFacts(max_output=40))
    assert fitted_caps(2 * PROMPT_COST + 40 * 8, 10, dear, own) == [40, None]
    assert fitted_caps(2 * PROMPT_COST + 39 * 8, 10, dear, own) == [39, 39]


def test_a_target_that_takes_no_cap_is_not_served_with_one() -> None:
    bound = UsageBound(call=CALL, prompt=LARGE, prompt_tokens=125, prompt_bound=1_500)
    refusing = target(facts=ModelFacts(refused_members=frozenset({"max_tokens"})))
    assert fit_plan(bound, plan(target()), 10_000, 100, "b") is not None
    assert fit_plan(bound, plan(target(), refusing), 10_000, 100, "b") is None


async def test_a_call_whose_rest_others_take_each_time_is_refused() -> None:
    """The limiter does not try for ever; nothing stays reserved."""
    stage = fit()
    await stage.ask("c0")
    lefts = iter([9_000, 8_000, 7_000, 6_000, 5_000])

    async def refuse(request: AdmissionRequest, _: float) -> Refusal:
        (demand,) = request.demands
        return Refusal(demand, 1.0, busy=True, left=next(lefts))

    stage.meter.admit = refuse  # type: ignore[assignment]  # others are always faster
    assert (await stage.refused("c1", prompt=LARGE)).kind == "budget_busy"
    assert next(lefts) == 5_000


async def test_other_refusals_lower_no_cap() -> None:
    stage = ObservedLimiter(limit(concurrency=0), budget("1", reserve="fit"))
    assert (await stage.refused(prompt=LARGE)).kind == "rate_limited"


async def test_calls_at_once_never_reserve_more_than_the_budget() -> None:
    """Each lowers its cap by what it was told was left; the store grants it or refuses."""
    stage = fit("0.02")
    names = [f"c{number}" for number in range(40)]
    results = await asyncio.gather(
        *(stage.ask(name, prompt=LARGE) for name in names), return_exceptions=True
    )
    served = [result for result in results if not isinstance(result, BaseException)]
    assert len(served) >= 1
    used = await stage.used()
    assert used is not None
    assert used <= 20_000


prices = st.builds(
    lambda prompt, output, step: Price(
        rates=Rates(input=Decimal(prompt), output=Decimal(output)),
        steps=(PriceStep(1_000, Rates(input=Decimal(prompt) * 2, output=Decimal(output) * 2)),)
        if step
        else (),
        version="v1",
    ),
    st.sampled_from(["0", "0.05", "0.3", "3", "15"]),
    st.sampled_from(["0.1", "0.4", "2.5", "15", "75"]),
    st.booleans(),
)
made_targets = st.builds(
    lambda price, context, own, most: Target(
        provider=target().provider,
        model="m",
        price=price,
        max_output=own,
        facts=ModelFacts(context=context, max_output=most),
    ),
    prices,
    st.integers(1_000, 500_000),
    st.none() | st.integers(50, 60_000),
    st.none() | st.integers(100, 128_000),
)


@given(
    targets=st.lists(made_targets, min_size=1, max_size=4),
    requested=st.none() | st.integers(1, 600_000),
    choices=st.integers(1, 4),
    left=st.integers(0, 2_000_000),
    least=st.integers(16, 2_000),
)
def test_the_fitted_cost_is_the_highest_that_is_left(
    targets: list[Target], requested: int | None, choices: int, left: int, least: int
) -> None:
    prompt = Prompt(model="auto", chars=500, max_output=requested, choices=choices)
    bound = UsageBound(call=CALL, prompt=prompt, prompt_tokens=125, prompt_bound=1_500)
    before = plan(*targets)
    cost = bound.compute_max_cost(targets)
    fitted = fit_plan(bound, before, left, least, "b")
    if fitted is None:
        return
    assert cost is not None
    lowered = {one.lowered_output for one in fitted.targets} - {None}
    (cap,) = lowered
    assert cap is not None
    assert cap >= least
    fitted_cost = bound.compute_max_cost(fitted.targets)
    assert fitted_cost is not None
    assert fitted_cost <= left or cap == least
    for one, old in zip(fitted.targets, targets, strict=True):
        limit_now = one.compute_max_output(requested, choices)
        assert limit_now is not None
        assert limit_now <= cap * choices
        assert one.lowered_output is not None or one == old
        # Each target alone is within what is left: any of them may serve.
        alone = bound.compute_max_cost((one,))
        assert alone is not None
        assert alone <= left or cap == least
    if cost > left:
        higher = [
            msgspec.structs.replace(one, lowered_output=cap + 1) if one.lowered_output else one
            for one in fitted.targets
        ]
        dearer = bound.compute_max_cost(higher)
        assert dearer is not None
        assert dearer > left or cap + 1 >= max(
            one.compute_max_output(requested, 1) or 0 for one in targets
        )
