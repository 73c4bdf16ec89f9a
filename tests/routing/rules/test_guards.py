"""Guards bound every decision, pins too, whatever their order."""

from itertools import permutations

import pytest

from gateway.core.call import Key, RequestOptions
from gateway.core.decision_context import EMPTY_CONTEXT
from gateway.core.errors import ProblemError
from gateway.dialects import OPENAI_CHAT
from gateway.routing.decision_record import DecisionRecorder
from tests.routing import world
from tests.routing.world import Json

SUPPORT = RequestOptions(tags=("support",))


@pytest.mark.parametrize(
    ("model", "guard", "tier", "pinned"),
    [
        ("reasoning", {"max_tier": "smart"}, "smart", None),
        ("reasoning", {"max_tier": "fast"}, "fast", None),
        ("fast", {"min_tier": "reasoning"}, "reasoning", None),
        ("smart", {"max_tier": "smart"}, "smart", None),
        ("luna", {"min_tier": "smart"}, "smart", None),
        ("astra", {"max_tier": "fast"}, "fast", None),
        ("astra", {"max_tier": "reasoning"}, "reasoning", "astra"),
        ("auto", {"max_tier": "fast"}, "fast", None),
        ("auto", {"min_tier": "fast", "max_tier": "fast"}, "fast", None),
    ],
)
def test_a_guard_moves_a_pinned_tier_or_model(
    model: str, guard: Json, tier: str, pinned: str | None
) -> None:
    decision, plan = world.decided(world.router([guard]), world.call(model=model))
    assert (decision.tier, decision.model) == (tier, pinned)
    in_tier = {item.model for item in world.CATALOGUE.labs["openai"].tiers[decision.tier or "fast"]}
    assert {item.model for item in plan.targets} <= in_tier
    moved = [line for line in world.lines(decision) if "out of bounds" in line]
    assert bool(moved) == (
        model in ("reasoning", "fast", "luna", "auto", "astra") and pinned is None
    )


def test_a_decision_names_the_guards_that_match() -> None:
    """Guards that change nothing count, too, and guards that match by another guard's tag."""
    router = world.router(
        [
            {"name": "cheap", "when": {"tag": "draft"}, "max_tier": "smart"},
            {"name": "short is a draft", "when": {"user_tokens": {"max": 100}}, "tag": "draft"},
            {"name": "no images", "when": {"images": True}, "deny": ["openai"]},
        ]
    )
    assert world.decided(router, world.call(model="fast"))[0].guards == (
        "cheap",
        "short is a draft",
    )
    assert world.decided(world.router(), world.call(model="fast"))[0].guards == ()


def test_the_guards_of_a_call_that_is_refused_can_be_listed() -> None:
    """A refused call has no decision that would name its guards."""
    router = world.router(
        [{"name": "refuses", "refuse": "No."}, {"name": "other", "when": {"images": True}}]
    )
    recorder = DecisionRecorder(router, world.call(), OPENAI_CHAT, EMPTY_CONTEXT)
    with pytest.raises(ProblemError, match=r"No\."):
        recorder.decide()
    assert recorder.list_guards() == ("refuses",)


def test_a_guard_that_does_not_match_bounds_nothing() -> None:
    router = world.router([{"when": {"tag": "support"}, "max_tier": "fast"}])
    decision, _ = world.decided(router, world.call(model="reasoning"))
    assert decision.tier == "reasoning"
    assert world.lines(decision) == ["pin: openai/reasoning (model 'reasoning')"]
    decision, _ = world.decided(router, world.call(model="reasoning", steer=SUPPORT))
    assert decision.tier == "fast"
    assert world.lines(decision) == [
        "pin: openai/reasoning (model 'reasoning')",
        "guard: max_tier fast (guard 0)",
        "guard: fast (reasoning is out of bounds)",
        "plan: 1 of 2 targets (host/luna is off)",
    ]
    assert decision.tags == ("support",)


@pytest.mark.parametrize(
    ("guards", "model"),
    [
        ([{"min_tier": "reasoning"}, {"max_tier": "fast"}], "smart"),
        ([{"max_tier": "smart"}, {"max_tier": "fast"}, {"min_tier": "fast"}], "reasoning"),
    ],
    ids=["contradicting bounds", "several bounds"],
)
def test_the_narrowest_and_cheapest_bound_applies(guards: list[Json], model: str) -> None:
    decision, _ = world.decided(world.router(guards), world.call(model=model))
    assert decision.tier == "fast"


@pytest.mark.parametrize(
    ("guards", "model", "lab"),
    [
        ([{"deny": ["openai"]}], "auto", "google"),
        ([{"deny": "openai"}], "fast", "google"),
        ([{"allow": ["google"]}], "auto", "google"),
        ([{"allow": ["google", "openai"]}, {"allow": ["google"]}], "auto", "google"),
        ([{"allow": ["google", "openai"]}, {"deny": ["openai"]}], "auto", "google"),
        ([{"allow": ["anthropic", "google"]}], "auto", "google"),
        ([{"allow": ["openai"]}], "auto", "openai"),
        ([{"deny": ["anthropic"]}], "auto", "openai"),
    ],
)
def test_a_denied_lab_that_the_client_did_not_name_is_replaced(
    guards: list[Json], model: str, lab: str
) -> None:
    decision, _ = world.decided(world.router(guards), world.call(model=model))
    assert decision.lab == lab
    exchanged = "constraint: lab google (openai may not be used)" in world.lines(decision)
    assert exchanged == (lab == "google")


@pytest.mark.parametrize(
    ("guards", "model", "subject"),
    [
        ([{"deny": ["openai"]}], "openai/auto", "the lab 'openai'"),
        ([{"deny": ["openai"]}], "luna", "the model 'luna'"),
        ([{"allow": ["google"]}], "openai/fast", "the lab 'openai'"),
        ([{"deny": ["google", "openai"]}], "auto", "any lab"),
        ([{"allow": ["anthropic"]}], "auto", "any lab"),
        ([{"allow": ["google"]}, {"allow": ["openai"]}], "auto", "any lab"),
    ],
)
def test_a_denied_lab_that_the_client_named_or_that_has_no_other_is_refused(
    guards: list[Json], model: str, subject: str
) -> None:
    problem = world.refusal(world.router(guards), world.call(model=model))
    assert problem.kind == "not_allowed"
    assert problem.message == f"This key may not use {subject} for this call."


def test_a_guard_refuses_with_its_own_message() -> None:
    router = world.router([{"when": {"keywords": "bomb"}, "refuse": "Not with us."}])
    assert world.decided(router, world.call("a bombastic song"))
    problem = world.refusal(router, world.call("a bomb", model="luna"))
    assert (problem.kind, problem.message, problem.http_status) == (
        "not_allowed",
        "Not with us.",
        403,
    )


def test_the_decision_records_no_cache() -> None:
    router = world.router([{"when": {"keywords": "secret"}, "no_cache": True}])
    decision, _ = world.decided(router, world.call("a secret"))
    assert decision.no_cache
    assert "guard: no cache (guard 0)" in world.lines(decision)
    decision, _ = world.decided(router, world.call("a song"))
    assert not decision.no_cache


def test_the_trace_shows_every_effect_of_a_guard() -> None:
    guard = {
        "min_tier": "fast", "max_tier": "smart", "allow": ["openai", "google"], "deny": ["google"],
        "tag": ["a", "b"], "no_cache": True, "complete": "hold",
    }  # fmt: skip
    decision, _ = world.decided(world.router([guard]), world.call())
    assert (
        "guard: min_tier fast, max_tier smart, allow openai google, deny google, tag a b,"
        " complete hold, no cache"
        " (guard 0)"
    ) in world.lines(decision)
    problem = world.refusal(world.router([{**guard, "refuse": "No."}]), world.call())
    assert problem.message == "No."


CHAIN: list[Json] = [
    {"when": {"keywords": "invoice"}, "tag": "money"},
    {"when": {"tag": "money"}, "tag": "careful"},
    {"when": {"tag": "careful"}, "max_tier": "fast"},
]


@pytest.mark.parametrize("order", list(permutations(CHAIN)))
def test_other_guards_see_the_tag_of_a_guard_in_any_order(order: list[Json]) -> None:
    router = world.router(order)
    decision, _ = world.decided(router, world.call("the invoice", model="reasoning"))
    assert decision.tier == "fast"
    assert decision.tags == ("careful", "money")
    decision, _ = world.decided(router, world.call("the voice", model="reasoning"))
    assert (decision.tier, decision.tags) == ("reasoning", ())


def test_choices_see_the_tag_of_a_guard() -> None:
    choices = [{"when": {"tag": "money"}, "tier": "reasoning"}]
    router = world.router(CHAIN[:1], choices)
    decision, _ = world.decided(router, world.call("the invoice"))
    assert (decision.tier, decision.source, decision.rule) == ("reasoning", "rule", "choice 0")
    decision, _ = world.decided(router, world.call("the voice"))
    assert decision.source == "default"


@pytest.mark.parametrize(
    ("key", "tags"),
    [
        (Key(name="any"), ("a", "b")),
        (Key(name="some", allowed_tags=("b", "c")), ("b",)),
        (Key(name="none", allowed_tags=()), ()),
        (Key(name="own", tags=("own",), allowed_tags=()), ("own",)),
        (Key(name="both", tags=("own",)), ("a", "b", "own")),
    ],
)
def test_a_key_limits_the_tags_that_its_client_sends(key: Key, tags: tuple[str, ...]) -> None:
    call = world.call(key=key, steer=RequestOptions(tags=("a", "b")))
    for router in (world.router(), world.router([{"when": {"tag": "x"}, "no_cache": True}])):
        decision, _ = world.decided(router, call)
        assert decision.tags == tags
    router = world.router([{"when": {"tag": "a"}, "max_tier": "fast"}])
    decision, _ = world.decided(router, call)
    assert (decision.tier == "fast") == ("a" in tags)


def test_guards_turn_the_cache_on_and_off() -> None:
    router = world.router(
        [
            {"when": {"keywords": "weather"}, "no_cache": True},
            {"when": {"keywords": "today"}, "cache": "on"},
        ]
    )
    for text, no_cache, cache, lines in (
        ("hello", False, False, []),
        ("the weather", True, False, ["guard: no cache (guard 0)"]),
        ("today", False, True, ["guard: cache on (guard 1)"]),
        ("the weather today", True, True, ["guard: no cache (guard 0)", "guard: cache on (guard 1)"]),
    ):  # fmt: skip
        decision, _ = world.decided(router, world.call(text, model="fast"))
        assert (decision.no_cache, decision.cache) == (no_cache, cache)
        assert [line for line in world.lines(decision) if line.startswith("guard")] == lines
