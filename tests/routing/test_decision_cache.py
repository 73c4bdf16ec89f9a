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


def plain(found: tuple[Decision, Plan]) -> tuple[Any, ...]:
    """Return a decision and its plan without the times of the trace."""
    decision, plan = found
    steps = [(one.step, one.matched, one.effect, one.reason) for one in decision.trace]
    fields = {n: getattr(decision, n) for n in Decision.__struct_fields__ if n != "trace"}
    return fields, steps, plan


def outcome(
    known: DecisionCache | Router, seen: Features, dialect: Dialect, evidence: DecisionContext
) -> Any:
    try:
        if isinstance(known, DecisionCache):
            return plain(known.decide(seen, dialect, evidence))
        return plain(decide(known, seen, dialect, evidence))
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
def test_what_is_kept_is_what_would_be_decided(evidence: DecisionContext) -> None:
    """Each call runs twice among all others, and never gets another call's decision."""
    router = world.router()
    known = DecisionCache(router)
    for _ in range(2):
        for more in CALLS:
            for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, OPERATIONS["openai-chat", "embeddings"]):
                fresh, kept = world.call(**more), world.call(**more)
                assert outcome(known, kept, dialect, evidence) == outcome(
                    router, fresh, dialect, evidence
                )


def test_a_named_model_is_decided_once() -> None:
    known = DecisionCache(world.router())
    first = known.decide(world.call(model="luna"), OPENAI_CHAT, EMPTY_CONTEXT)
    again = known.decide(
        world.call("other words", model="luna"), OPENAI_CHAT, DecisionContext(at=7.0)
    )
    assert again[0] is first[0]
    assert again[1] is first[1]


def test_what_leaves_the_tier_open_is_decided_each_time() -> None:
    known = DecisionCache(world.router())
    first = known.decide(world.call(), OPENAI_CHAT, EMPTY_CONTEXT)
    assert known.decide(world.call(), OPENAI_CHAT, EMPTY_CONTEXT)[0] is not first[0]


def test_guards_are_asked_each_time() -> None:
    """A guard may read the clock, the text or tags."""
    router = world.router(guards=[{"when": {"user_tokens": {"min": 2}}, "refuse": "too long"}])
    known = DecisionCache(router)
    known.decide(world.call("hi", model="luna"), OPENAI_CHAT, EMPTY_CONTEXT)
    with pytest.raises(ProblemError):
        known.decide(world.call("hi " * 20, model="luna"), OPENAI_CHAT, EMPTY_CONTEXT)


def test_a_key_that_was_changed_is_another() -> None:
    """The changed key has the same name and another scope."""
    known = DecisionCache(world.router())
    known.decide(world.call(model="luna", key=Key(name="k")), OPENAI_CHAT, EMPTY_CONTEXT)
    with pytest.raises(ProblemError):
        known.decide(
            world.call(model="luna", key=Key(name="k", models=("sol",))), OPENAI_CHAT, EMPTY_CONTEXT
        )


def test_names_of_members_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MAX_ENTRIES", 4)
    known = DecisionCache(world.router())
    for number in range(40):
        seen = world.call(model="luna", members=frozenset({f"x{number}"}))
        known.decide(seen, OPENAI_CHAT, EMPTY_CONTEXT)
        assert len(known._plan_keys) <= 4


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
def test_what_is_planned_once_is_what_would_be_planned(strategy: Strategy, *, lends: bool) -> None:
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
    known = DecisionCache(router)
    for _ in range(2):
        for asked, evidence in product(OPEN_CALLS, EVIDENCE):
            fresh, kept = world.call(**asked), world.call(**asked)
            assert outcome(known, kept, OPENAI_CHAT, evidence) == outcome(
                router, fresh, OPENAI_CHAT, evidence
            )
            assert kept.translation_checks == fresh.translation_checks


def test_a_plan_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several calls share one plan, though the gateway decides each call on its own."""
    made: list[str] = []
    plan = plans.plan

    def counted(catalogue: Catalogue, wanted: PlanRequest, *told: Any) -> PlannedCall:
        made.append(wanted[1])
        return plan(catalogue, wanted, *told)

    monkeypatch.setattr(plans, "plan", counted)
    known = DecisionCache(world.router(**RULES, classifier=HeuristicClassifier()))
    for text in ("hi", "hello", "good morning", "cheap", "cheap too"):
        known.decide(world.call(text), OPENAI_CHAT, EMPTY_CONTEXT)
    assert len(made) == 1
    known.decide(world.call("lite"), OPENAI_CHAT, EMPTY_CONTEXT)
    known.decide(world.call("hi " * 80), OPENAI_CHAT, EMPTY_CONTEXT)
    known.decide(world.call("hi " * 80), OPENAI_CHAT, EMPTY_CONTEXT)
    assert len(made) == 4, "what guards bound is planned each time"


def test_the_lines_of_a_plan_are_as_of_each_call() -> None:
    """The trace of each call lists the skipped targets again, with the time of that call."""
    clock = iter(range(100))
    router = msgspec.structs.replace(world.router(), clock=lambda: float(next(clock)))
    known = DecisionCache(router)
    one, other = (
        known.decide(world.call(tools=("a",)), OPENAI_CHAT, EMPTY_CONTEXT)[0].trace
        for _ in range(2)
    )
    assert [line.step for line in one] == [line.step for line in other]
    assert one[-1].step == "plan"
    assert "openai/sol needs" in one[-1].reason
    assert [line.ms for line in one] == [line.ms for line in other] == [1000.0] * len(one)


def test_a_plan_that_tried_another_dialect_is_made_each_time() -> None:
    """The result of a translation check depends on the whole call."""
    known = DecisionCache(world.router())
    for reason in ("", "it cannot be said"):
        seen = world.call()
        seen.translation_checks["x"] = reason
        known.decide(seen, OPENAI_CHAT, EMPTY_CONTEXT)
        (alike,) = known._plan_keys.values()
        assert not alike._plans


def test_a_name_that_tried_another_dialect_is_decided_each_time() -> None:
    known = DecisionCache(world.router())
    for _ in range(2):
        seen = world.call(model="luna")
        seen.translation_checks["x"] = ""
        known.decide(seen, OPENAI_CHAT, EMPTY_CONTEXT)
        (alike,) = known._plan_keys.values()
        assert alike.decision_and_plan is None
