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
    base = world.provider(name, why)
    return msgspec.structs.replace(base, urls={"openai-chat": f"https://{name}.example/embeddings"})


OPENAI, HOST, OTHER = provider("openai"), provider("host"), provider("other")
OFF = provider("gone", why="set GONE_KEY")
SMALL, HOSTED, LARGE = (
    target(OPENAI, "small", refused_members=frozenset({"dimensions"})),
    target(HOST, "openai/small"),
    target(OPENAI, "large"),
)


def embedding(name: str, *targets: Target) -> Lab:
    return Lab(name=name, tiers={}, embeddings=targets)


CATALOGUE = catalogue(
    (
        embedding("openai", SMALL, HOSTED, LARGE),
        embedding("other", target(OTHER, "small"), target(OTHER, "own")),
        embedding("gone", target(OFF, "lost")),
        embedding("bare"),
    ),
    old="large",
)
ROUTER = router(known=CATALOGUE)


class UnusedClassifier:
    """A classifier that must not run."""

    name = version = "never"
    thresholds = THRESHOLDS

    def score(self, *_: Any) -> Any:
        raise AssertionError("asked")

    def explain(self, *_: Any) -> Any:
        raise AssertionError("asked")


def decide_embedding(
    features: Features, embedding_router: Router = ROUTER
) -> tuple[Decision, Plan]:
    return decide(embedding_router, features, EMBEDDINGS)


def refusal(features: Features, embedding_router: Router = ROUTER) -> Problem:
    with pytest.raises(ProblemError) as error:
        decide_embedding(features, embedding_router)
    return error.value.problem


@pytest.mark.parametrize(
    ("model", "lab_name", "targets", "source"),
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
    model: str, lab_name: str, targets: list[str], source: str
) -> None:
    decision, plan = decide_embedding(call("text", model))
    assert (decision.lab, decision.tier, decision.source) == (lab_name, None, source)
    assert names(plan) == targets
    assert decision.trace[-1].step == "embed"
    assert decision.rule is None


def test_neither_choices_nor_the_classifier_run_for_embeddings() -> None:
    embedding_router = router(
        choices=[{"tier": "reasoning"}], classifier=UnusedClassifier(), known=CATALOGUE
    )
    decision, _ = decide_embedding(
        call("prove it", "auto", steer=RequestOptions(tier="fast")), embedding_router
    )
    assert [(step.step, step.effect) for step in decision.trace] == [
        ("embed", "ignored"),
        ("embed", "openai, model small"),
    ]


def test_a_key_or_a_header_can_name_the_lab() -> None:
    assert decide_embedding(call("x", "small", key=Key(name="k", lab="other")))[0].lab == "other"
    assert decide_embedding(call("x", "small", steer=RequestOptions(lab="other")))[0].lab == "other"


def test_a_header_that_names_a_lab_without_the_model_is_ignored() -> None:
    """A client may send the header with every call, and an embedding model is never replaced."""
    decision, plan = decide_embedding(call("x", "large", steer=RequestOptions(lab="other")))
    assert (decision.lab, names(plan)) == ("openai", ["openai/large"])
    assert [(step.matched, step.effect, step.reason) for step in decision.trace] == [
        (False, "ignored", "x-tiergate-lab: other does not have this embedding model"),
        (True, "openai, model large", "large"),
    ]


def test_a_key_bounds_the_labs_of_embeddings() -> None:
    assert (
        decide_embedding(call("x", "small", key=Key(name="k", labs=("other",))))[0].lab == "other"
    )


def test_guards_and_key_scopes_bound_embeddings() -> None:
    denied = refusal(call("x", "other/own", key=Key(name="k", labs=("openai",))))
    assert (denied.kind, denied.param) == ("not_allowed", "model")
    guards: list[Any] = [{"when": {"keywords": ["secret"]}, "refuse": "Not that."}]
    embedding_router = router(guards=guards, known=CATALOGUE)
    assert refusal(call("a secret", "small"), embedding_router).message == "Not that."
    guards = [{"deny": ["openai"], "no_cache": True, "tag": "t"}]
    decision, plan = decide_embedding(call("x", "small"), router(guards=guards, known=CATALOGUE))
    assert (decision.lab, decision.no_cache, decision.tags) == ("other", True, ("t",))
    assert decision.guards == ("guard 0",)
    assert names(plan) == ["other/small"]


@pytest.mark.parametrize(
    ("model", "steer", "message"),
    [
        ("smal", RequestOptions(),
         ("The gateway does not serve 'smal' as an embedding model. Did you mean 'small'? "
          "It serves small, openai/small, large, own.")),
        ("bare/auto", RequestOptions(), "The lab 'bare' has no embedding model."),
        ("auto", RequestOptions(lab="none"), "There is no lab 'none'."),
        ("x" * 200, RequestOptions(), f"The gateway does not serve '{'x' * 100}...' as an embedding model"),
    ],
)  # fmt: skip
def test_the_error_for_an_unknown_embedding_model_lists_those_that_exist(
    model: str, steer: RequestOptions, message: str
) -> None:
    problem = refusal(call("x", model, steer=steer))
    assert problem.kind == "model_not_found"
    assert problem.message.startswith(message)


def test_without_embedding_models_the_error_says_what_to_do() -> None:
    embedding_router = router(known=catalogue((embedding("openai"),)))
    problem = refusal(call("x"), embedding_router)
    assert problem.message == "The lab 'openai' has no embedding model."
    assert problem.detail == "give a lab `embeddings`"


def test_targets_that_cannot_serve_are_skipped_with_the_reason() -> None:
    request = call("x", "small", members=frozenset({"dimensions"}))
    decision, plan = decide_embedding(request)
    assert names(plan) == ["host/openai/small"]
    assert [(skipped.target, skipped.tier, skipped.reason) for skipped in plan.skipped] == [
        ("openai/small", None, "refuses dimensions")
    ]
    assert decision.trace[-1].effect == "1 of 2 targets"
    problem = refusal(call("x", "lost"))
    assert problem.kind == "no_target"
    assert problem.message.endswith("can serve this request: its providers are off.")
    assert problem.detail == "gone/lost is off: set GONE_KEY"


def test_the_error_for_a_chat_call_to_an_embedding_model_names_the_endpoint() -> None:
    problem = world.refusal(ROUTER_ON, call("x", "large"))
    assert problem.message == "The model 'large' makes embeddings. Send the request to POST /v1/embeddings."  # fmt: skip


ROUTER_ON = router(
    known=catalogue(
        (msgspec.structs.replace(lab("openai", smart=[world.SOL]), embeddings=(LARGE,)),)
    )
)
