"""Facts, targets, problems and losses: the arithmetic of these values."""

import pickle
from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import loss
from gateway.core.errors import STATUS_BY_KIND, Problem, ProblemError, ProblemKind, invalid_request
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import (
    DEFAULT_TIMERS,
    EFFORTS,
    TIERS,
    UNKNOWN_FACTS,
    Account,
    EndpointKey,
    Lab,
    ModelFacts,
    Provider,
    Target,
    Tier,
    Timers,
    build_timers,
    find_nearest_effort,
    index_models,
)

KINDS = (
    get_args(ProblemKind.__value__) if hasattr(ProblemKind, "__value__") else get_args(ProblemKind)
)


@given(st.sampled_from(EFFORTS), st.lists(st.sampled_from(EFFORTS), min_size=1, unique=True))
def test_the_nearest_effort_is_the_closest_and_of_two_the_cheaper(
    requested: str, accepted: list[str]
) -> None:
    nearest = find_nearest_effort(requested, tuple(accepted))
    assert nearest in accepted
    rank = EFFORTS.index
    for other in accepted:
        distance = abs(rank(other) - rank(requested)), rank(other)
        assert (abs(rank(nearest) - rank(requested)), rank(nearest)) <= distance
    if requested in accepted:
        assert nearest == requested


@pytest.mark.parametrize(
    ("facts", "window"),
    [
        (UNKNOWN_FACTS, None),
        (ModelFacts(context=400_000), 400_000),
        (ModelFacts(context=400_000, max_input=272_000), 272_000),
    ],
)
def test_the_prompt_window_is_the_input_limit_or_the_context(
    facts: ModelFacts, window: int | None
) -> None:
    assert facts.prompt_window == window


def test_a_secret_is_in_no_repr() -> None:
    """A log line or a traceback may show an account."""
    account = Account("main", "sk-very-secret")
    assert repr(account) == "Account('main')"
    assert "secret" not in repr(Provider(name="p", urls={}, accounts=(account,)))


@pytest.mark.parametrize("tier", TIERS)
def test_a_provider_can_change_single_timers(tier: Tier) -> None:
    assert build_timers(tier, {}) is DEFAULT_TIMERS[tier]
    changed = build_timers(tier, {"idle": 1.5})
    assert changed.idle == 1.5
    assert changed.total == DEFAULT_TIMERS[tier].total


def test_the_head_of_a_whole_answer_has_longer_unless_headers_are_set() -> None:
    """An operator who sets `headers` alone means each head."""
    assert build_timers("fast", {"idle": 1.5}).whole_headers == 60.0
    assert build_timers("fast", {"headers": 5.0}).whole_headers is None
    assert build_timers("fast", {"headers": 5.0, "whole_headers": 9.0}).whole_headers == 9.0
    assert build_timers("fast", {"whole_headers": 9.0}, {"headers": 5.0}).whole_headers is None
    assert build_timers("fast", {"headers": 5.0}, {"whole_headers": 9.0}).whole_headers == 9.0


def test_later_steps_of_an_attempt_may_take_longer() -> None:
    for limits in (Timers(), *DEFAULT_TIMERS.values()):
        assert limits.connect <= limits.headers <= limits.first_content <= limits.total
        assert limits.headers <= (limits.whole_headers or limits.headers) <= limits.total


def test_a_model_is_indexed_by_its_name_and_with_its_provider() -> None:
    """Lab and provider must be on; a model may stand at several endpoints, in order of tiers."""
    enabled, disabled = (
        Provider(name="here", urls={}),
        Provider(name="there", urls={}, enabled=False),
    )
    small, big = Target(provider=enabled, model="m-small"), Target(provider=enabled, model="m-big")
    off = Target(provider=disabled, model="m-off")
    labs = {
        "a": Lab(name="a", tiers={"fast": (small, off), "smart": (big, small)}),
        "b": Lab(name="b", tiers={"fast": (small,)}, enabled=False),
    }
    small_places = (EndpointKey("a", "fast", small), EndpointKey("a", "smart", small))
    big_places = (EndpointKey("a", "smart", big),)
    assert index_models(labs) == {
        "m-small": small_places,
        "here/m-small": small_places,
        "m-big": big_places,
        "here/m-big": big_places,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_problem_kind_has_a_status(kind: ProblemKind) -> None:
    assert 400 <= STATUS_BY_KIND[kind] < 600
    assert Problem(kind=kind, message="m").http_status == STATUS_BY_KIND[kind]


def test_a_problems_own_status_goes_before_that_of_its_kind() -> None:
    assert Problem(kind="upstream_rejected", message="m", status=422).http_status == 422


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_may_retry_what_it_would_retry_at_the_provider(kind: ProblemKind) -> None:
    """The header x-should-retry is false if a retry cannot help, or if the problem says so."""
    may = kind in (
        "rate_limited", "budget_busy", "overloaded", "draining", "ledger", "keys_unavailable", "upstream_rate_limited",
        "upstream_error", "upstream_overloaded", "upstream_timeout", "upstream_unreachable",
    )  # fmt: skip
    assert Problem(kind=kind, message="m").should_retry is (None if may else False)
    assert Problem(kind=kind, message="m", retryable=True).should_retry is None
    assert Problem(kind=kind, message="m", retryable=False).should_retry is False
    assert Problem(kind=kind, message="m", retryable=True, is_permanent=True).should_retry is False


def test_an_invalid_request_names_its_field() -> None:
    error = invalid_request("No.", "messages")
    assert str(error) == "No."
    assert error.problem == Problem(kind="invalid_request", message="No.", param="messages")


def test_losses_of_an_answer_are_bounded_and_stay_inside_their_comment() -> None:
    """The provider chooses the names: none of them ends the comment, and the row stays small."""
    names = {"output.\n\ndata: é": None, **{f"{n}" + "x" * 99: None for n in range(40)}}
    losses = loss.make_answer_losses(names)
    assert len(losses) == 32
    assert max(len(item.field) for item in losses) == 64
    assert {item.action for item in losses} == {"dropped"}
    comment = loss.write_dropped_comment(names)
    assert comment.startswith(b": tiergate dropped: output.??data: ?, 0xx")
    assert comment.endswith(b"..., 9 more\n\n")
    assert comment.count(b"\n") == 2


@pytest.mark.parametrize(
    ("cap", "facts", "requested", "choices", "most"),
    [
        (None, ModelFacts(max_output=100, context=1_000), None, 1, 100),
        (None, ModelFacts(context=1_000), None, 1, 1_000),
        (None, ModelFacts(context=1_000), None, 3, 3_000),
        (None, ModelFacts(context=1_000), 10**9, 1, 1_000),
        (None, ModelFacts(context=1_000), 0, 1, 1_000),
        (None, ModelFacts(max_output=0, context=0), None, 1, None),
        (50, ModelFacts(context=1_000), None, 1, 50),
        (50, ModelFacts(), None, 1, 50),
        (50, ModelFacts(), 70, 1, 70),
        (None, ModelFacts(), 1, 2, 32),
        (50, ModelFacts(), -1, 1, None),
        (None, ModelFacts(max_input=900), None, 1, None),
    ],
)
def test_an_answer_is_bounded_by_its_cap_or_by_its_model_and_window(
    cap: int | None, facts: ModelFacts, requested: int | None, choices: int, most: int | None
) -> None:
    target = Target(provider=Provider(name="p", urls={}), model="m", max_output=cap, facts=facts)
    assert target.compute_max_output(requested, choices) == most


@pytest.mark.parametrize(
    ("facts", "most"),
    [
        (ModelFacts(max_output=100), 3 * 150),
        (ModelFacts(), 3 * 50),
        (ModelFacts(context=70), 3 * 120),
    ],
)
def test_reasoning_beside_the_cap_may_be_as_long_as_the_model_writes(
    facts: ModelFacts, most: int
) -> None:
    provider = Provider(name="p", urls={}, caps_reasoning=False)
    target = Target(provider=provider, model="m", facts=facts)
    assert (target.find_output_cap(50), target.compute_max_output(50, 3)) == (50, most)


@pytest.mark.parametrize(
    ("facts", "shown", "most"),
    [
        (ModelFacts(), 300, 300),
        (ModelFacts(context=200), 300, 200),
        (ModelFacts(context=400), 300, 300),
        (ModelFacts(context=400), None, 400),
        (ModelFacts(context=400, max_input=250), 300, 250),
        (ModelFacts(), None, None),
    ],
)
def test_a_prompt_is_bounded_by_its_request_and_by_the_window(
    facts: ModelFacts, shown: int | None, most: int | None
) -> None:
    target = Target(provider=Provider(name="p", urls={}), model="m", facts=facts)
    assert target.compute_max_input(shown) == most


def test_a_target_is_named_with_its_provider() -> None:
    price = Price(rates=Rates(input=Decimal(1)), version="v")
    target = Target(provider=Provider(name="openai", urls={}), model="gpt-6-luna", price=price)
    assert target.name == "openai/gpt-6-luna"


def test_an_error_can_come_from_another_process() -> None:
    problem = Problem(kind="ledger", message="Ask again.", retry_after=5)
    error = pickle.loads(pickle.dumps(ProblemError(problem)))  # noqa: S301 - our own
    assert (error.problem, str(error)) == (problem, "Ask again.")
