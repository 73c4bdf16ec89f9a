"""Calls that name objects at a provider: only the account that has them may serve such a call."""

import pytest

from gateway.core.decision_context import EMPTY_CONTEXT
from gateway.core.errors import ProblemError
from gateway.core.owned_object import ObjectPlace
from gateway.dialects import OPENAI_CHAT
from gateway.routing.capabilities import explain_unreachable
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.features import Features
from gateway.routing.replay_decision import decide_again
from gateway.routing.router import Router, decide
from tests.ledger.rows import entry
from tests.routing import world

ROUTER = world.router(
    known=world.catalogue(
        (
            world.lab("google", [world.LITE]),
            world.lab("openai", [world.LUNA, world.target(world.provider("host"), "luna")]),
        )
    )
)
AT_HOST, AT_GEMINI = ObjectPlace("host", "main"), ObjectPlace("gemini", "main")


def call(place: ObjectPlace | None, model: str = "auto") -> Features:
    features = world.call("hi", model=model)
    features.object_place = place
    return features


def names(router: Router, features: Features) -> list[str]:
    return [target.name for target in decide(router, features, OPENAI_CHAT)[1].targets]


def test_other_targets_are_skipped_with_the_reason() -> None:
    decision, plan = decide(ROUTER, call(AT_HOST, "openai/fast"), OPENAI_CHAT)
    assert [target.name for target in plan.targets] == ["host/luna"]
    reason = "does not have the objects that the request names, which are at host"
    assert [(item.target, item.reason) for item in plan.skipped] == [("openai/luna", reason)]
    assert any(reason in step.reason for step in decision.trace)
    assert explain_unreachable(call(AT_HOST), OPENAI_CHAT) == reason


def test_a_call_without_a_lab_goes_to_the_lab_that_has_the_objects() -> None:
    assert names(ROUTER, call(AT_GEMINI)) == ["gemini/lite"]
    assert names(ROUTER, call(None)) == ["openai/luna", "host/luna"]


def test_a_call_that_names_a_model_elsewhere_is_refused() -> None:
    with pytest.raises(ProblemError, match="which are at gemini") as raised:
        decide(ROUTER, call(AT_GEMINI, "luna"), OPENAI_CHAT)
    assert raised.value.problem.kind == "no_target"


def test_an_account_that_is_gone_serves_nothing() -> None:
    with pytest.raises(ProblemError, match="their account is no longer in the configuration"):
        decide(ROUTER, call(ObjectPlace("host", "former"), "openai/fast"), OPENAI_CHAT)


def test_a_cached_decision_is_never_one_for_other_objects() -> None:
    cache = DecisionCache(ROUTER)
    for place in (None, AT_HOST, None):
        _, plan = cache.decide(call(place, "luna"), OPENAI_CHAT, EMPTY_CONTEXT)
        expected = ["openai/luna", "host/luna"] if place is None else ["host/luna"]
        assert [target.name for target in plan.targets] == expected


def test_a_replay_keeps_the_call_at_its_objects() -> None:
    recorder = DecisionRecorder(
        ROUTER, call(ObjectPlace("host", "main"), "openai/fast"), OPENAI_CHAT, EMPTY_CONTEXT
    )
    recorder.decide()
    record = recorder()
    assert record is not None
    assert record.objects == "host/main"
    _, plan = decide_again(ROUTER, entry(asked="openai/fast", basis=record))
    assert [target.name for target in plan.targets] == ["host/luna"]
