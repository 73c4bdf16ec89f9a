"""The decision: choices in order, the classifier, the default, scopes of keys, and the plan."""

from itertools import count

import msgspec
import pytest

from gateway.core.call import Key, RequestOptions
from gateway.core.decision_context import DecisionContext, Score, Thresholds
from gateway.core.errors import ProblemError
from gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT
from gateway.routing.classifier.heuristic import THRESHOLDS, HeuristicClassifier
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.router import decide
from tests.routing import world
from tests.routing.world import Json

A: Json = {"keywords": "a"}
B: Json = {"keywords": "b"}


CHOICES: list[tuple[list[Json], str, str, str, str, str | None, list[str]]] = [
    # choices, requested model -> lab, tier, source, rule, first lines of the trace
    ([{"tier": "fast"}], "auto", "openai", "fast", "rule", "choice 0",
     ["rule: fast (choice 0)"]),
    ([{"when": B, "tier": "fast"}, {"when": A, "tier": "reasoning"}], "auto",
     "openai", "reasoning", "rule", "choice 1", ["rule: reasoning (choice 1)"]),
    ([{"when": A, "tier": "fast"}, {"when": A, "tier": "reasoning"}], "auto",
     "openai", "fast", "rule", "choice 0", ["rule: fast (choice 0)"]),
    ([{"when": B, "tier": "fast"}], "auto", "openai", "smart", "default", None,
     ["-rule:  (none of 1 choices)", "default: smart (no rule or classifier decided)"]),
    # a choice of a lab alone leaves the tier to the classifier, and ends the search for a choice
    ([{"lab": "google"}, {"tier": "fast"}], "auto", "google", "smart", "default", None,
     ["rule: google (choice 0)", "default: smart (no rule or classifier decided)"]),
    ([{"lab": "google", "tier": "fast"}], "auto", "google", "fast", "rule", "choice 0",
     ["rule: google, fast (choice 0)"]),
    # a choice does not replace what the caller named
    ([{"lab": "google", "tier": "fast"}], "openai/auto", "openai", "fast", "rule", "choice 0",
     ["rule: fast (choice 0)", "-rule: ignored (the client named openai, not google)"]),
    ([{"lab": "google", "tier": "fast"}], "google/auto", "google", "fast", "rule", "choice 0",
     ["rule: google, fast (choice 0)"]),
    ([{"tier": "fast"}], "reasoning", "openai", "reasoning", "pin", None, []),
    # a choice of a lab that is off loses its lab
    ([{"lab": "anthropic", "tier": "reasoning"}], "auto",
     "openai", "reasoning", "rule", "choice 0",
     ["rule: anthropic, reasoning (choice 0)",
      "constraint: lab openai (anthropic is off)"]),
]  # fmt: skip


@pytest.mark.parametrize(("choices", "model", "lab", "tier", "source", "rule", "trace"), CHOICES)
def test_the_first_choice_that_matches_decides(
    choices: list[Json],
    model: str,
    lab: str,
    tier: str,
    source: str,
    rule: str | None,
    trace: list[str],
) -> None:
    decision, _ = world.decided(world.router(choices=choices), world.call("a", model=model))
    assert (decision.lab, decision.tier, decision.source) == (lab, tier, source)
    assert decision.rule == rule
    assert world.lines(decision)[1 : 1 + len(trace)] == trace


MODELS: list[tuple[Json, str, str, str, str | None, list[str], str]] = [
    # choice, requested model -> lab, tier, model of the decision, plan, a line of the trace
    ({"model": "astra"}, "auto", "openai", "reasoning", "astra", ["openai/astra"],
     "rule: astra (choice 0)"),
    ({"model": "gemini/argon"}, "auto", "google", "reasoning", "gemini/argon", ["gemini/argon"],
     "rule: gemini/argon (choice 0)"),
    ({"model": "argon", "lab": "google"}, "auto", "google", "reasoning", "argon", ["gemini/argon"],
     "rule: google, argon (choice 0)"),
    # the model is in two tiers: the first holds, or the one that the choice names
    ({"model": "sol"}, "auto", "openai", "smart", "sol", ["openai/sol"],
     "rule: sol (choice 0)"),
    ({"model": "sol", "tier": "reasoning"}, "auto", "openai", "reasoning", "sol", ["openai/sol"],
     "rule: reasoning, sol (choice 0)"),
    ({"model": "sol", "tier": "fast"}, "auto", "openai", "smart", "sol", ["openai/sol"],
     "rule: fast, sol (choice 0)"),
    # if no target can serve the model, the rest of the choice holds
    ({"model": "opus", "tier": "fast"}, "auto", "openai", "fast", None, ["openai/luna"],
     "-rule: ignored (opus: it is off)"),
    ({"model": "opus"}, "auto", "openai", "smart", None, ["openai/sol", "openai/terra"],
     "-rule: ignored (opus: it is off)"),
    ({"model": "argon", "tier": "fast"}, "openai/auto", "openai", "fast", None, ["openai/luna"],
     "-rule: ignored (argon: openai does not serve it)"),
]  # fmt: skip


@pytest.mark.parametrize(("choice", "requested", "lab", "tier", "model", "plan", "line"), MODELS)
def test_a_choice_can_name_a_model(
    choice: Json, requested: str, lab: str, tier: str, model: str | None, plan: list[str], line: str
) -> None:
    decision, planned = world.decided(
        world.router(choices=[choice]), world.call("a", model=requested)
    )
    assert (decision.lab, decision.tier, decision.model) == (lab, tier, model)
    assert world.names(planned) == plan
    assert line in world.lines(decision)


def test_if_the_model_of_a_choice_cannot_serve_its_tier_does() -> None:
    router = world.router(choices=[{"model": "sol"}])
    decision, plan = world.decided(router, world.call("a", tools=("f",)))
    assert (decision.tier, decision.model, world.names(plan)) == ("smart", None, ["openai/terra"])
    assert world.lines(decision)[-2:] == [
        "constraint: smart (no target of sol can serve this call)",
        "plan: 1 of 2 targets (openai/sol needs openai-responses)",
    ]
    router = world.router(choices=[{"model": "astra"}])
    decision, plan = world.decided(router, world.call("a", tools=("f",)))
    assert (decision.tier, decision.model, world.names(plan)) == ("smart", None, ["openai/terra"])


def test_a_guard_that_moves_the_tier_or_lab_drops_the_model_of_a_choice() -> None:
    router = world.router([{"max_tier": "fast"}], [{"model": "astra"}])
    decision, plan = world.decided(router, world.call("a"))
    assert (decision.tier, decision.model, world.names(plan)) == ("fast", None, ["openai/luna"])
    router = world.router([{"deny": "google"}], [{"model": "argon"}])
    decision, plan = world.decided(router, world.call("a"))
    assert (decision.lab, decision.tier, decision.model) == ("openai", "reasoning", None)
    assert world.names(plan) == ["openai/astra", "openai/sol"]


@pytest.mark.parametrize(
    ("fast", "smart", "tier", "confidence"),
    [
        (0.90, 0.95, "fast", 0.9),
        (0.53, 0.99, "fast", 0.53),
        (0.52, 0.80, "smart", 0.8),
        (0.10, 0.63, "smart", 0.63),
        (0.10, 0.62, "reasoning", 0.38),
        (0.00, 0.00, "reasoning", 1.0),
    ],
)
def test_the_classifier_decides_if_nothing_else_has(
    fast: float, smart: float, tier: str, confidence: float
) -> None:
    router = world.router(
        choices=[{"when": B, "tier": "fast"}], classifier=world.FixedScoreClassifier(fast, smart)
    )
    decision, _ = world.decided(router, world.call("a"))
    assert (decision.tier, decision.source, decision.confidence) == (tier, "classifier", confidence)
    assert [step.step for step in decision.trace[:3]] == ["pin", "rule", "classifier"]


@pytest.mark.parametrize("text", ["", "hi", "Prove that there are infinitely many primes."])
def test_without_a_classifier_the_default_tier_decides(text: str) -> None:
    decision, _ = world.decided(world.router(), world.call(text))
    assert (decision.tier, decision.source, decision.confidence) == ("smart", "default", None)


class BrokenClassifier:
    """A classifier that raises, or returns an invalid score."""

    name = version = "broken"
    thresholds = THRESHOLDS

    def __init__(self, result: Score | Exception) -> None:
        self._result = result

    def score(self, text: str, signals: TextSignals) -> Score:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def explain(self, signals: TextSignals, score: Score) -> str:
        raise AssertionError


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (ValueError("Say hello"), "it failed: ValueError"),
        (RecursionError(), "it failed: RecursionError"),
        (Score(float("nan"), float("nan")), "its score is not between 0 and 1"),
        (Score(0.9, 0.1), "its score is not between 0 and 1"),
        (Score(-1, 2), "its score is not between 0 and 1"),
    ],
)
def test_sec_router_5_a_failing_classifier_fails_no_call(
    result: Score | Exception, why: str
) -> None:
    """SEC-ROUTER 5: the call gets the default tier; the trace says why and quotes nothing."""
    decision, _ = world.decided(
        world.router(classifier=BrokenClassifier(result)), world.call("Say hello")
    )
    assert (decision.tier, decision.source, decision.confidence) == ("smart", "default", None)
    assert f"-classifier:  ({why})" in world.lines(decision)


def test_a_call_without_text_is_not_classified() -> None:
    decision, _ = world.decided(
        world.router(classifier=HeuristicClassifier()), world.call("", images=1)
    )
    assert (decision.tier, decision.source) == ("smart", "default")
    assert "default: smart (no rule or classifier decided)" in world.lines(decision)


SCOPES: list[tuple[tuple[str, ...], str, str]] = [
    # tiers of the key, the chosen tier, the tier that the call gets: upwards first
    (("fast", "smart"), "reasoning", "smart"),
    (("fast",), "reasoning", "fast"),
    (("smart", "reasoning"), "fast", "smart"),
    (("fast", "reasoning"), "smart", "reasoning"),
    (("reasoning",), "reasoning", "reasoning"),
]


@pytest.mark.parametrize(("tiers", "chosen", "expected"), SCOPES)
def test_the_tiers_of_a_key_bound_the_chosen_tier(
    tiers: tuple[str, ...], chosen: str, expected: str
) -> None:
    key = Key(name="k", tiers=tiers)
    router = world.router(choices=[{"tier": chosen}])
    decision, _ = world.decided(router, world.call("a", key=key))
    assert decision.tier == expected
    is_listed = f"constraint: {expected} (this key may not use {chosen})" in world.lines(decision)
    assert is_listed == (chosen != expected)


def test_a_call_that_names_a_tier_outside_the_scope_of_its_key_is_refused() -> None:
    key = Key(name="k", tiers=("fast",))
    problem = world.refusal(world.router(), world.call("a", model="reasoning", key=key))
    assert (problem.kind, problem.message) == (
        "not_allowed",
        "This key may not use the tier 'reasoning'.",
    )
    problem = world.refusal(world.router(), world.call("a", model="astra", key=key))
    assert problem.kind == "not_allowed"
    decision, _ = world.decided(world.router(), world.call("a", model="fast", key=key))
    assert decision.tier == "fast"


def test_a_key_without_a_tier_that_the_guards_allow_is_refused() -> None:
    key = Key(name="k", tiers=("reasoning",))
    problem = world.refusal(world.router([{"max_tier": "fast"}]), world.call("a", key=key))
    assert (problem.kind, problem.message) == (
        "not_allowed",
        "This key may not use the tier 'fast'.",
    )


@pytest.mark.parametrize(
    ("labs", "model", "lab"),
    [
        (("google",), "auto", "google"),
        (("google", "anthropic"), "fast", "google"),
        (("openai",), "auto", "openai"),
        (("openai",), "openai/fast", "openai"),
    ],
)
def test_the_labs_of_a_key_bound_the_chosen_lab(
    labs: tuple[str, ...], model: str, lab: str
) -> None:
    key = Key(name="k", labs=labs)
    decision, _ = world.decided(world.router(), world.call("a", model=model, key=key))
    assert decision.lab == lab


@pytest.mark.parametrize(
    ("labs", "model", "steer", "subject"),
    [
        (("google",), "openai/auto", RequestOptions(), "the lab 'openai'"),
        (("google",), "luna", RequestOptions(), "the model 'luna'"),
        (("google",), "auto", RequestOptions(lab="openai"), "the lab 'openai'"),
        ((), "auto", RequestOptions(), "any lab"),
        (("anthropic",), "auto", RequestOptions(), "any lab"),
    ],
)
def test_a_call_that_names_a_lab_outside_the_scope_of_its_key_is_refused(
    labs: tuple[str, ...], model: str, steer: RequestOptions, subject: str
) -> None:
    """The error names only what the caller named, and no other lab."""
    key = Key(name="k", labs=labs)
    problem = world.refusal(world.router(), world.call("a", model=model, key=key, steer=steer))
    assert (problem.kind, problem.message) == (
        "not_allowed",
        f"This key may not use {subject} for this call.",
    )


def test_a_plan_keeps_the_configured_order_and_skips_targets_that_are_off() -> None:
    _, plan = world.decided(world.router(), world.call(model="smart"))
    assert plan.targets == (world.SOL, world.TERRA)
    assert plan.skipped == ()
    _, plan = world.decided(world.router(), world.call(model="fast"))
    assert plan.targets == (world.LUNA,)
    assert [(item.target, item.tier, item.reason, item.detail) for item in plan.skipped] == [
        ("host/luna", "fast", "is off", "set HOST_API_KEY")
    ]


def test_the_trace_shows_times_that_change_no_decision() -> None:
    ticks = count()
    router = msgspec.structs.replace(
        world.router(choices=[{"when": B, "tier": "fast"}]), clock=lambda: next(ticks) * 0.001
    )
    decision, _ = world.decided(router, world.call("a"))
    assert [step.ms for step in decision.trace] == [1.0, 1.0, 1.0]
    untimed, _ = world.decided(world.router(choices=[{"when": B, "tier": "fast"}]), world.call("a"))
    assert world.timeless(decision) == world.timeless(untimed)


def test_a_call_that_is_never_translated_goes_to_a_lab_of_its_dialect() -> None:
    """Counting tokens is one such call.

    If no lab speaks the dialect, the default lab gives the reason.
    """
    claude = msgspec.structs.replace(world.OPENAI, name="claude", urls={"anthropic-messages": "u"})
    spoken = world.lab("claude", smart=[world.target(claude, "opus")])
    plain = world.lab("openai", smart=[world.TERRA])
    call = world.call("a", model="smart", dialect=ANTHROPIC_MESSAGES.name)
    router = world.router(known=world.catalogue([plain, spoken]))
    decision, plan = decide(router, call, ANTHROPIC_MESSAGES)
    assert (decision.lab, plan.dialects) == ("claude", ("anthropic-messages",))
    assert "openai does not speak anthropic-messages" in [step.reason for step in decision.trace]
    with pytest.raises(ProblemError, match="needs openai-chat"):
        decide(world.router(known=world.catalogue([plain])), call, ANTHROPIC_MESSAGES)


def test_thresholds_and_the_ceiling_of_a_budget_bound_the_decision() -> None:
    """Thresholds of the key's own traffic only lower the tier, and a budget's tier bounds it."""
    router = world.router(classifier=world.FixedScoreClassifier(0.45, 0.55))

    def tier(evidence: DecisionContext) -> str | None:
        return decide(router, world.call("a"), OPENAI_CHAT, evidence)[0].tier

    assert tier(DecisionContext()) == "reasoning"
    assert tier(DecisionContext(thresholds=Thresholds(0.46, 0.5, "k-1"))) == "smart"
    assert tier(DecisionContext(thresholds=Thresholds(0.45, 0.5, "k-2"))) == "fast"
    assert tier(DecisionContext(thresholds=Thresholds(0.46, 0.5, "k-3"), ceiling="fast")) == "fast"
    router = world.router(classifier=world.FixedScoreClassifier(0.9, 0.95))
    assert tier(DecisionContext(thresholds=Thresholds(0.91, 0.96, "k-4"))) == "fast"
