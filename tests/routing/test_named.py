"""A decision that is kept is the one that would be made: for all that it depends on, and no more."""

from typing import Any

import pytest

from gateway.core.call import NO_STEER, OPEN, Key, Steer
from gateway.core.decision import Decision, Plan
from gateway.core.evidence import NOTHING, Evidence, Seat
from gateway.core.problem import ProblemError
from gateway.dialects import OPENAI_CHAT, OPENAI_RESPONSES, OPERATIONS, Dialect
from gateway.routing import named as room
from gateway.routing.decide import Router, decide
from gateway.routing.features import Features
from gateway.routing.named import Named
from tests.routing import world

G = Key(name="g", lab="google")
NARROW = Key(name="narrow", models=("sol",))
SEAT = Seat(lab="openai", tier="fast", target="openai/luna")


def plain(found: tuple[Decision, Plan]) -> tuple[Any, ...]:
    """Without the times of the trace."""
    decision, plan = found
    steps = [(one.step, one.matched, one.effect, one.why) for one in decision.trace]
    fields = {n: getattr(decision, n) for n in Decision.__struct_fields__ if n != "trace"}
    return fields, steps, plan


def outcome(known: Named | Router, seen: Features, dialect: Dialect, evidence: Evidence) -> Any:
    try:
        if isinstance(known, Named):
            return plain(known.decide(seen, dialect, evidence))
        return plain(decide(known, seen, dialect, evidence))
    except ProblemError as error:
        return error.problem


CALLS: list[dict[str, Any]] = [
    {"model": model, "key": key, "steer": steer, "members": frozenset(members), **more}
    for model in ("luna", "sol", "fast", "smart", "openai/luna", "auto", "nothing", "opus")
    for key in (OPEN, G, NARROW)
    for steer in (NO_STEER, Steer(tier="reasoning"))
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
    "evidence", [NOTHING, Evidence(at=1.0, seat=SEAT), Evidence(ceiling="fast")]
)
def test_what_is_kept_is_what_would_be_decided(evidence: Evidence) -> None:
    """Each call twice, among all others: what was kept of one is never another's."""
    router = world.router()
    known = Named(router)
    for _ in range(2):
        for more in CALLS:
            for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, OPERATIONS["openai-chat", "embeddings"]):
                fresh, kept = world.call(**more), world.call(**more)
                assert outcome(known, kept, dialect, evidence) == outcome(
                    router, fresh, dialect, evidence
                )


def test_a_named_model_is_decided_once() -> None:
    known = Named(world.router())
    first = known.decide(world.call(model="luna"), OPENAI_CHAT, NOTHING)
    again = known.decide(world.call("other words", model="luna"), OPENAI_CHAT, Evidence(at=7.0))
    assert again[0] is first[0]
    assert again[1] is first[1]


def test_what_leaves_the_tier_open_is_decided_each_time() -> None:
    known = Named(world.router())
    first = known.decide(world.call(), OPENAI_CHAT, NOTHING)
    assert known.decide(world.call(), OPENAI_CHAT, NOTHING)[0] is not first[0]


def test_guards_are_asked_each_time() -> None:
    """They may read the clock, the text, or tags."""
    router = world.router(guards=[{"when": {"user_tokens": {"min": 2}}, "refuse": "too long"}])
    known = Named(router)
    known.decide(world.call("hi", model="luna"), OPENAI_CHAT, NOTHING)
    with pytest.raises(ProblemError):
        known.decide(world.call("hi " * 20, model="luna"), OPENAI_CHAT, NOTHING)


def test_a_key_that_was_changed_is_another() -> None:
    """It has the name of the one before, and not its scope."""
    known = Named(world.router())
    known.decide(world.call(model="luna", key=Key(name="k")), OPENAI_CHAT, NOTHING)
    with pytest.raises(ProblemError):
        known.decide(
            world.call(model="luna", key=Key(name="k", models=("sol",))), OPENAI_CHAT, NOTHING
        )


def test_names_of_members_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST", 4)
    known = Named(world.router())
    for number in range(40):
        seen = world.call(model="luna", members=frozenset({f"x{number}"}))
        known.decide(seen, OPENAI_CHAT, NOTHING)
        assert len(known._made) <= 4
