"""Embeddings are routed by name alone: no tier, no choice, no classifier, never another model."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Lab, Provider, Target
from gateway.dialects.openai_chat import EMBEDDINGS
from gateway.routing.classifier.heuristic import THRESHOLDS
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from tests.routing import world
from tests.routing.world import call, catalogue, lab, names, router, target


def provider(name: str, why: str = "") -> Provider:
    made = world.provider(name, why)
    return msgspec.structs.replace(made, urls={"openai-chat": f"https://{name}.example/embeddings"})


OPENAI, HOST, OTHER = provider("openai"), provider("host"), provider("other")
OFF = provider("gone", why="set GONE_KEY")
SMALL, HOSTED, LARGE = (
    target(OPENAI, "small", refused_members=frozenset({"dimensions"})),
    target(HOST, "openai/small"),
    target(OPENAI, "large"),
)


def embedding(name: str, *targets: Target) -> Lab:
    return Lab(name=name, tiers={}, embeddings=targets)


KNOWN = catalogue(
    (
        embedding("openai", SMALL, HOSTED, LARGE),
        embedding("other", target(OTHER, "small"), target(OTHER, "own")),
        embedding("gone", target(OFF, "lost")),
        embedding("bare"),
    ),
    old="large",
)
ROUTER = router(known=KNOWN)


class Never:
    """A classifier that must not run."""

    name = version = "never"
    thresholds = THRESHOLDS

    def score(self, *_: Any) -> Any:
        raise AssertionError("asked")

    def explain(self, *_: Any) -> Any:
        raise AssertionError("asked")


def decided(seen: Features, known: Router = ROUTER) -> tuple[Decision, Plan]:
    return decide(known, seen, EMBEDDINGS)


def refused(seen: Features, known: Router = ROUTER) -> Problem:
    with pytest.raises(ProblemError) as error:
        decided(seen, known)
    return error.value.problem


@pytest.mark.parametrize(
    ("model", "lab_name", "found", "source"),
    [
        ("small", "openai", ["openai/small", "host/openai/small"], "pin"),
        ("openai/small", "openai", ["openai/small", "host/openai/small"], "pin"),
        ("host/openai/small", "openai", ["openai/small", "host/openai/small"], "pin"),
        ("other/small", "other", ["other/small"], "pin"),
        ("own", "other", ["other/own"], "pin"),
        ("old", "openai", ["openai/large"], "pin"),
        ("auto", "openai", ["openai/small", "host/openai/small"], "default"),
        ("other/auto", "other", ["other/small"], "default"),
    ],
)
def test_a_name_leads_to_all_targets_of_its_model_in_order(
    model: str, lab_name: str, found: list[str], source: str
) -> None:
    decision, plan = decided(call("text", model))
    assert (decision.lab, decision.tier, decision.source) == (lab_name, None, source)
    assert names(plan) == found
    assert decision.trace[-1].step == "embed"
    assert decision.rule is None


def test_neither_choices_nor_the_classifier_are_asked() -> None:
    known = router(choices=[{"tier": "reasoning"}], classifier=Never(), known=KNOWN)
    decision, _ = decided(call("prove it", "auto", steer=RequestOptions(tier="fast")), known)
    assert [(step.step, step.effect) for step in decision.trace] == [
        ("embed", "ignored"),
        ("embed", "openai, model small"),
    ]


def test_a_key_or_a_header_names_the_lab() -> None:
    assert decided(call("x", "small", key=Key(name="k", lab="other")))[0].lab == "other"
    assert decided(call("x", "small", steer=RequestOptions(lab="other")))[0].lab == "other"


def test_a_header_that_names_a_lab_without_the_model_is_ignored() -> None:
    """A client may send the header with every call, and an embedding model is never replaced."""
    decision, plan = decided(call("x", "large", steer=RequestOptions(lab="other")))
    assert (decision.lab, names(plan)) == ("openai", ["openai/large"])
    assert [(step.matched, step.effect, step.reason) for step in decision.trace] == [
        (False, "ignored", "x-tiergate-lab: other does not have this embedding model"),
        (True, "openai, model large", "large"),
    ]


def test_a_key_bounds_the_labs() -> None:
    assert decided(call("x", "small", key=Key(name="k", labs=("other",))))[0].lab == "other"


def test_guards_and_scopes_bound_it() -> None:
    denied = refused(call("x", "other/own", key=Key(name="k", labs=("openai",))))
    assert (denied.kind, denied.param) == ("not_allowed", "model")
    guards: list[Any] = [{"when": {"keywords": ["secret"]}, "refuse": "Not that."}]
    known = router(guards=guards, known=KNOWN)
    assert refused(call("a secret", "small"), known).message == "Not that."
    guards = [{"deny": ["openai"], "no_cache": True, "tag": "t"}]
    decision, plan = decided(call("x", "small"), router(guards=guards, known=KNOWN))
    assert (decision.lab, decision.no_cache, decision.tags) == ("other", True, ("t",))
    assert decision.guards == ("guard 0",)
    assert names(plan) == ["other/small"]


@pytest.mark.parametrize(
    ("model", "steer", "said"),
    [
        ("smal", RequestOptions(),
         ("The gateway does not serve 'smal' as an embedding model. Did you mean 'small'? "
          "It serves small, openai/small, large, own.")),
        ("bare/auto", RequestOptions(), "The lab 'bare' has no embedding model."),
        ("auto", RequestOptions(lab="none"), "There is no lab 'none'."),
        ("x" * 200, RequestOptions(), f"The gateway does not serve '{'x' * 100}...' as an embedding model"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_with_those_that_exist(
    model: str, steer: RequestOptions, said: str
) -> None:
    problem = refused(call("x", model, steer=steer))
    assert problem.kind == "model_not_found"
    assert problem.message.startswith(said)


def test_where_no_lab_has_any_it_says_what_to_do() -> None:
    known = router(known=catalogue((embedding("openai"),)))
    problem = refused(call("x"), known)
    assert problem.message == "The lab 'openai' has no embedding model."
    assert problem.detail == "give a lab `embeddings`"


def test_targets_that_cannot_serve_are_skipped_with_the_reason() -> None:
    seen = call("x", "small", members=frozenset({"dimensions"}))
    decision, plan = decided(seen)
    assert names(plan) == ["host/openai/small"]
    assert [(it.target, it.tier, it.reason) for it in plan.skipped] == [
        ("openai/small", None, "refuses dimensions")
    ]
    assert decision.trace[-1].effect == "1 of 2 targets"
    problem = refused(call("x", "lost"))
    assert problem.kind == "no_target"
    assert problem.message.endswith("can serve this request: its providers are off.")
    assert problem.detail == "gone/lost is off: set GONE_KEY"


def test_a_question_to_an_embedding_model_is_sent_to_its_door() -> None:
    problem = world.refused(ROUTER_ON, call("x", "large"))
    assert problem.message == "The model 'large' makes embeddings: ask for them at POST /v1/embeddings."  # fmt: skip


ROUTER_ON = router(
    known=catalogue(
        (msgspec.structs.replace(lab("openai", smart=[world.SOL]), embeddings=(LARGE,)),)
    )
)
