"""Labels from a gateway's own calls: feedback first, then the user's next step, per tenant."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import FeedbackRow, FinalRow
from gateway.evaluation.implicit_feedback import (
    WEIGHT_BY_ORIGIN,
    WINDOW_SECONDS,
    ImplicitFeedback,
    infer_feedback,
)
from tests.ledger.rows import entry, feedback

SIGNALS: dict[str, int | float | bool] = {"words": 3, "chars": 12}
TURN = ConversationTurn(conversation="c1")


def call(
    id: str = "call-1",
    tier: str | None = "fast",
    *,
    at: float = 100.0,
    turn: ConversationTurn | None = TURN,
    turns: int = 1,
    chars: int = 12,
    signals: dict[str, int | float | bool] | None = SIGNALS,
    **changes: Any,
) -> FinalRow:
    basis = DecisionRecord(user_tokens=3, chars=chars, turns=turns, turn=turn, signals=signals)
    return entry(id, **{"basis": basis, "tier": tier, "at": at, "source": "classifier", **changes})


def make_feedback(**fields: Any) -> FeedbackRow:
    return feedback(**{"verdict": None, **fields})


EXPLICIT: list[tuple[str, dict[str, Any], tuple[float | None, float | None] | None]] = [
    # the tier that served, the feedback -> how far fast and smart suffice
    ("fast", {"verdict": "good"}, (1.0, 1.0)),
    ("fast", {"verdict": "bad"}, (0.0, None)),
    ("smart", {"verdict": "good"}, (None, 1.0)),
    ("smart", {"verdict": "bad"}, (0.0, 0.0)),
    ("reasoning", {"verdict": "good"}, None),
    ("reasoning", {"verdict": "bad"}, None),
    ("reasoning", {"tier": "fast"}, (1.0, 1.0)),
    ("fast", {"tier": "smart"}, (0.0, 1.0)),
    ("smart", {"tier": "reasoning"}, (0.0, 0.0)),
    ("fast", {"tier": "smart", "verdict": "good", "score": 1.0}, (0.0, 1.0)),
    ("fast", {"score": 0.25, "verdict": "good"}, (0.25, None)),
    ("smart", {"score": 0.75}, (None, 0.75)),
]


@pytest.mark.parametrize(("tier", "verdict", "expected"), EXPLICIT)
def test_explicit_feedback_rates_the_tier_of_the_answer_and_its_neighbours(
    tier: str, verdict: dict[str, Any], expected: tuple[float | None, float | None] | None
) -> None:
    results = infer_feedback([(call(tier=tier), make_feedback(**verdict))])
    assert [(item.fast, item.smart) for item in results] == ([expected] if expected else [])
    assert {(item.origin, item.weight, item.served_tier) for item in results} <= {
        ("told", 1.0, tier)
    }


def test_inferred_feedback_has_the_fields_of_the_row_and_no_text() -> None:
    score = Score(0.4, 0.9)
    basis = DecisionRecord(user_tokens=3, turn=TURN, signals=SIGNALS, score=score)
    (inferred,) = infer_feedback(
        [(call(basis=basis, tenant="t"), make_feedback(verdict="good", tenant="t"))]
    )
    assert inferred == ImplicitFeedback(
        id="call-1", tenant="t", received_at=100.0, dialect="openai-chat", served_tier="fast", origin="told", fast=1.0, smart=1.0,
        weight=1.0, signals=SIGNALS, score=score,
    )  # fmt: skip


def test_feedback_of_another_tenant_is_ignored() -> None:
    assert (
        infer_feedback([(call(tenant="ours"), make_feedback(verdict="bad", tenant="theirs"))]) == []
    )


NEXT_CALLS: list[tuple[str, FinalRow, FinalRow, tuple[str, float | None, float | None] | None]] = [
    ("a tier above was named", call("1"), call("2", "smart", at=110.0, source="pin"),
     ("escalated", 0.0, None)),
    ("from smart", call("1", "smart"), call("2", "reasoning", at=110.0, source="pin"),
     ("escalated", 0.0, 0.0)),
    ("asked again", call("1"), call("2", at=110.0), ("repeated", 0.0, None)),
    ("a tier below was named", call("1", "smart"), call("2", "fast", at=110.0, source="pin"),
     ("repeated", 0.0, 0.0)),
    ("the cache answered", call("1"), call("2", at=110.0, cache="hit"), None),
    ("too late", call("1"), call("2", at=101.0 + WINDOW_SECONDS), None),
    ("another question", call("1"), call("2", at=110.0, chars=13), None),
    ("the user went on", call("1"), call("2", at=9_000.0, turns=2, chars=90),
     ("went on", 1.0, 1.0)),
    ("went on from smart", call("1", "smart"), call("2", turns=2), ("went on", None, 1.0)),
    ("nothing above reasoning", call("1", "reasoning"), call("2", "reasoning", at=110.0), None),
    ("another conversation", call("1"), call("2", at=110.0, turn=ConversationTurn(conversation="c2")), None),
    ("another key", call("1"), call("2", at=110.0, key="bob"), None),
    ("another tenant", call("1"), call("2", at=110.0, tenant="other"), None),
    ("of no conversation", call("1", turn=None), call("2", at=110.0, turn=None), None),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "expected"), [row[1:] for row in NEXT_CALLS], ids=[row[0] for row in NEXT_CALLS])  # fmt: skip
def test_the_next_call_of_a_client_rates_the_answer(
    first: FinalRow, second: FinalRow, expected: tuple[str, float | None, float | None] | None
) -> None:
    results = [item for item in infer_feedback([(second, None), (first, None)]) if item.id == "1"]
    assert [(item.origin, item.fast, item.smart) for item in results] == (
        [expected] if expected else []
    )
    assert all(item.weight == WEIGHT_BY_ORIGIN[item.origin] < 1 for item in results)


def test_explicit_feedback_comes_before_implicit_feedback() -> None:
    calls = [(call("1"), make_feedback(verdict="good", id="1")), (call("2", at=110.0), None)]
    assert [(item.id, item.origin, item.fast) for item in infer_feedback(calls)] == [
        ("1", "told", 1.0)
    ]


UNUSABLE_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("no basis", {"basis": None}),
    ("nobody read its text", {"signals": None}),
    ("no answer", {"state": "failed"}),
    ("cut", {"state": "aborted"}),
    ("of no tier", {"tier": None}),
    ("a title", {"turn": ConversationTurn(conversation="c1", kind="side")}),
    ("a sub-agent", {"turn": ConversationTurn(conversation="c1", kind="agent")}),
    ("inside a tool loop", {"turn": ConversationTurn(conversation="c1", loop=True)}),
]


@pytest.mark.parametrize(
    "changes", [row[1] for row in UNUSABLE_CALLS], ids=[row[0] for row in UNUSABLE_CALLS]
)
def test_calls_that_no_classifier_can_decide_give_no_feedback(changes: dict[str, Any]) -> None:
    assert infer_feedback([(call(**changes), make_feedback(tier="smart"))]) == []


CALLS = st.builds(
    call,
    id=st.uuids().map(str),
    tier=st.sampled_from(["fast", "smart", "reasoning"]),
    at=st.integers(0, 2_000).map(float),
    turn=st.builds(
        ConversationTurn, conversation=st.sampled_from(["", "c1", "c2"]), loop=st.booleans()
    ),
    turns=st.integers(1, 3),
    chars=st.sampled_from([12, 13]),
    tenant=st.sampled_from(["a", "b"]),
    source=st.sampled_from(["pin", "classifier"]),
)


@given(st.lists(CALLS, max_size=12), st.randoms(use_true_random=False))
def test_each_call_gives_feedback_once_in_any_order_and_for_its_tenant_alone(
    calls: list[FinalRow], random: Any
) -> None:
    """The calls of another tenant change nothing in a tenant's labels."""
    calls = list({item.id: item for item in calls}.values())
    results = infer_feedback((item, None) for item in calls)
    mixed = [*calls]
    random.shuffle(mixed)
    assert infer_feedback((item, None) for item in mixed) == results
    assert len({item.id for item in results}) == len(results)
    for tenant in ("a", "b"):
        alone = infer_feedback((item, None) for item in calls if item.tenant == tenant)
        assert [item for item in results if item.tenant == tenant] == alone
    for result in results:
        assert result.fast is not None or result.smart is not None
        if result.fast is not None and result.smart is not None:
            assert result.fast <= result.smart
