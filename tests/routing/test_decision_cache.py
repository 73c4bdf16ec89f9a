"""A cached decision equals a fresh one: the key has all that a decision depends on, and no more."""

from itertools import product
from typing import Any

import msgspec
import pytest

from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions, Strategy
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext, Session
from gateway.core.errors import ProblemError
from gateway.core.target import Catalogue
from gateway.dialects import OPENAI_CHAT, OPENAI_RESPONSES, OPERATIONS, Dialect
from gateway.routing import decision_cache as room
from gateway.routing import plan as plans
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.features import Features
from gateway.routing.plan import PlannedCall, PlanRequest
from gateway.routing.router import Router, decide
from tests.routing import world

G = Key(name="g", lab="google")
NARROW = Key(name="narrow", models=("sol",))
TAGGED = Key(name="tagged", tags=("t",))
SEAT = Session(lab="openai", tier="fast", target="openai/luna")


def plain(decided: tuple[Decision, Plan]) -> tuple[Any, ...]:
    """Return a decision and its plan without the times of the trace."""
    decision, plan = decided
    steps = [(line.step, line.matched, line.effect, line.reason) for line in decision.trace]
    fields = {n: getattr(decision, n) for n in Decision.__struct_fields__ if n != "trace"}
    return fields, steps, plan


def outcome(
    decider: DecisionCache | Router, call: Features, dialect: Dialect, evidence: DecisionContext
) -> Any:
    try:
        if isinstance(decider, DecisionCache):
            return plain(decider.decide(call, dialect, evidence))
        return plain(decide(decider, call, dialect, evidence))
    except ProblemError as error:
        return error.problem


CALLS: list[dict[str, Any]] = [
    {"model": model, "key": key, "steer": steer, "members": frozenset(members), **more}
    for model in ("luna", "sol", "fast", "smart", "openai/luna", "auto", "nothing", "opus")
    for key in (OPEN_KEY, G, NARROW)
    for steer in (NO_OPTIONS, RequestOptions(tier="reasoning"))
    for members in ((), ("tools", "user"))
    for more in (
        {},
        {"tools": ("a",)},
        {"tools": ("a",), "forced_tool": True, "effort": "high"},
        {"images": 1},
        {"logprobs": True},
        {"chars": 8_000},
    )
]


@pytest.mark.parametrize(
    "evidence", [EMPTY_CONTEXT, DecisionContext(at=1.0, seat=SEAT), DecisionContext(ceiling="fast")]
)
def test_a_cached_decision_equals_a_fresh_one(evidence: DecisionContext) -> None:
    """Each call runs twice among all others, and never gets another call's decision."""
    router = world.router()
    cache = DecisionCache(router)
    for _ in range(2):
        for more in CALLS:
            for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, OPERATIONS["openai-chat", "embeddings"]):
                fresh, cached = world.call(**more), world.call(**more)
                assert outcome(cache, cached, dialect, evidence) == outcome(
                    router, fresh, dialect, evidence
                )


def test_a_named_model_is_decided_once() -> None:
    cache = DecisionCache(world.router())
    first = cache.decide(world.call(model="luna"), OPENAI_CHAT, EMPTY_CONTEXT)
    second = cache.decide(
        world.call("other words", model="luna"), OPENAI_CHAT, DecisionContext(at=7.0)
    )
    assert second[0] is first[0]
    assert second[1] is first[1]


def test_a_call_with_an_open_tier_is_decided_each_time() -> None:
    cache = DecisionCache(world.router())
    first = cache.decide(world.call(), OPENAI_CHAT, EMPTY_CONTEXT)
    assert cache.decide(world.call(), OPENAI_CHAT, EMPTY_CONTEXT)[0] is not first[0]


def test_guards_are_evaluated_each_time() -> None:
    """A guard may read the clock, the text or tags."""
    router = world.router(guards=[{"when": {"user_tokens": {"min": 2}}, "refuse": "too long"}])
    cache = DecisionCache(router)
    cache.decide(world.call("hi", model="luna"), OPENAI_CHAT, EMPTY_CONTEXT)
    with pytest.raises(ProblemError):
        cache.decide(world.call("hi " * 20, model="luna"), OPENAI_CHAT, EMPTY_CONTEXT)


def test_a_changed_client_key_gets_no_cached_decision() -> None:
    """The changed key has the same name and another scope."""
    cache = DecisionCache(world.router())
    cache.decide(world.call(model="luna", key=Key(name="k")), OPENAI_CHAT, EMPTY_CONTEXT)
    with pytest.raises(ProblemError):
        cache.decide(
            world.call(model="luna", key=Key(name="k", models=("sol",))), OPENAI_CHAT, EMPTY_CONTEXT
        )


def test_member_names_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MAX_ENTRIES", 4)
    cache = DecisionCache(world.router())
    for number in range(40):
        call = world.call(model="luna", members=frozenset({f"x{number}"}))
        cache.decide(call, OPENAI_CHAT, EMPTY_CONTEXT)
        assert len(cache._plan_keys) <= 4


RULES: dict[str, Any] = {
    "guards": [
        {"when": {"tag": "t"}, "max_tier": "fast"},
        {"when": {"user_tokens": {"min": 40}}, "deny": "openai"},
        {"when": {"keywords": ["nothing"]}, "refuse": "no"},
    ],
    "choices": [
        {"when": {"keywords": ["cheap"]}, "tier": "fast", "complete": "hold"},
        {"when": {"keywords": ["lite"]}, "model": "lite"},
        {"when": {"keywords": ["away"]}, "lab": "google"},
    ],
}
TEXTS = ("hi", "prove that 2 is prime", "cheap", "lite", "away", "nothing", "word " * 80)
OPEN_CALLS: list[dict[str, Any]] = [
    {"text": text, "model": model, "key": key, **more}
    for text in TEXTS
    for model in ("auto", "google/auto", "old", "sol", "fast", "openai/reasoning")
    for key in (OPEN_KEY, G, NARROW, TAGGED)
    for more in (
        {},
        {"tools": ("a",), "members": frozenset({"tools"}), "forced_tool": True},
        {"effort": "high", "logprobs": True},
        {"images": 1},
        {"steer": RequestOptions(lab="google", tags=("t",))},
        {"chars": 8_000},
    )
]
EVIDENCE = (
    EMPTY_CONTEXT,
    DecisionContext(at=1.0, seat=SEAT),
    DecisionContext(at=9e9, seat=SEAT, unseated="it is out"),
    DecisionContext(ceiling="fast"),
)


@pytest.mark.parametrize("strategy", ["sticky", "cost-aware"])
@pytest.mark.parametrize("lends", [False, True])
def test_a_cached_plan_equals_a_fresh_one(strategy: Strategy, *, lends: bool) -> None:
    """Calls with an open tier run with rules, sessions and budgets, each among all others."""
    labs = {**world.CATALOGUE.labs}
    if lends:
        labs["openai"] = msgspec.structs.replace(labs["openai"], fallback=("google",))
    router = msgspec.structs.replace(
        world.router(
            **RULES,
            classifier=HeuristicClassifier(),
            known=msgspec.structs.replace(world.CATALOGUE, labs=labs),
        ),
        conversation=strategy,
    )
    cache = DecisionCache(router)
    for _ in range(2):
        for facts, evidence in product(OPEN_CALLS, EVIDENCE):
            fresh, cached = world.call(**facts), world.call(**facts)
            assert outcome(cache, cached, OPENAI_CHAT, evidence) == outcome(
                router, fresh, OPENAI_CHAT, evidence
            )
            assert cached.translation_checks == fresh.translation_checks


def test_calls_with_an_open_tier_share_one_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several calls share one plan, though the gateway decides each call on its own."""
    planned_models: list[str] = []
    plan = plans.plan

    def counted(catalogue: Catalogue, request: PlanRequest, *arguments: Any) -> PlannedCall:
        planned_models.append(request[1])
        return plan(catalogue, request, *arguments)

    monkeypatch.setattr(plans, "plan", counted)
    cache = DecisionCache(world.router(**RULES, classifier=HeuristicClassifier()))
    for text in ("hi", "hello", "good morning", "cheap", "cheap too"):
        cache.decide(world.call(text), OPENAI_CHAT, EMPTY_CONTEXT)
    assert len(planned_models) == 1
    cache.decide(world.call("lite"), OPENAI_CHAT, EMPTY_CONTEXT)
    cache.decide(world.call("hi " * 80), OPENAI_CHAT, EMPTY_CONTEXT)
    cache.decide(world.call("hi " * 80), OPENAI_CHAT, EMPTY_CONTEXT)
    assert len(planned_models) == 4, "what guards bound is planned each time"


def test_the_trace_of_a_cached_plan_has_the_times_of_its_call() -> None:
    """The trace of each call lists the skipped targets again, with the time of that call."""
    clock = iter(range(100))
    router = msgspec.structs.replace(world.router(), clock=lambda: float(next(clock)))
    cache = DecisionCache(router)
    first, second = (
        cache.decide(world.call(tools=("a",)), OPENAI_CHAT, EMPTY_CONTEXT)[0].trace
        for _ in range(2)
    )
    assert [line.step for line in first] == [line.step for line in second]
    assert first[-1].step == "plan"
    assert "openai/sol needs" in first[-1].reason
    assert [line.ms for line in first] == [line.ms for line in second] == [1000.0] * len(first)


def test_a_plan_that_tried_another_dialect_is_not_cached() -> None:
    """The result of a translation check depends on the whole call."""
    cache = DecisionCache(world.router())
    for reason in ("", "it cannot be said"):
        call = world.call()
        call.translation_checks["x"] = reason
        cache.decide(call, OPENAI_CHAT, EMPTY_CONTEXT)
        (entry,) = cache._plan_keys.values()
        assert not entry._plans


def test_a_decision_that_tried_another_dialect_is_not_cached() -> None:
    cache = DecisionCache(world.router())
    for _ in range(2):
        call = world.call(model="luna")
        call.translation_checks["x"] = ""
        cache.decide(call, OPENAI_CHAT, EMPTY_CONTEXT)
        (entry,) = cache._plan_keys.values()
        assert entry.decision_and_plan is None
