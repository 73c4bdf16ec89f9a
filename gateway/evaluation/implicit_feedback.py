"""Lessons from a gateway's own calls: which tier sufficed, by feedback and by the next call.

    told       feedback: a verdict, a score, or the tier that would have been right
    escalated  the client asked the same question again and named a higher tier
    repeated   the client asked the same question again: weak evidence against the first answer
    went on    the user accepted the answer and said something else: weak evidence for it

A call gives at most one lesson, the strongest. It gives none if nothing tells if its tier sufficed.
The module is pure: rows in, lessons out. A lesson belongs to one tenant, and no lesson mixes the
rows of two.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gateway.core.decision_context import Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ANSWERED_STATES, FeedbackRow, FinalRow
from gateway.core.target import TIERS, Tier

type FeedbackOrigin = Literal["told", "escalated", "repeated", "went on"]

WEIGHT_BY_ORIGIN: Mapping[FeedbackOrigin, float] = {
    "told": 1.0,
    "escalated": 0.7,
    "repeated": 0.3,
    "went on": 0.1,
}
"""The weight of a lesson by its origin; one from feedback has 1.

The figures are judgement: actions tell less than feedback, and most users say nothing about an
answer that they do not like.
"""
WINDOW_SECONDS = 600.0
"""Seconds within which the same question counts as a reaction to the last answer."""


class ImplicitFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """The lesson from one call."""

    id: str
    """The id of the call."""
    tenant: str
    received_at: float
    """The time at which the gateway received the call, in seconds since the epoch."""
    dialect: str
    served_tier: Tier
    """The tier that the call got."""
    origin: FeedbackOrigin
    fast: float | None = None
    """The extent to which the fast tier suffices, or would have, 0 to 1; None if unknown."""
    smart: float | None = None
    """The extent to which the smart tier suffices, or would have, 0 to 1; None if unknown."""
    weight: float = 1.0
    signals: Mapping[str, int | float | bool] = {}
    """The signals of its text, as its row keeps them."""
    score: Score | None = None
    """The score of a classifier that read the text itself; None if the row keeps none."""


def infer_feedback(calls: Iterable[tuple[FinalRow, FeedbackRow | None]]) -> list[ImplicitFeedback]:
    """Return the lessons from calls, in the order in which the gateway received the calls.

    Only calls that a classifier could have decided give lessons. Such a call was answered, it is
    a user's turn of the conversation itself, and its row keeps the signals of the text.
    """
    pairs = sorted(
        ((call_row, feedback_row) for call_row, feedback_row in calls if _is_countable(call_row)),
        key=lambda pair: (pair[0].at, pair[0].id),
    )
    feedback_by_call = _infer_from_next_calls([row for row, _ in pairs])
    result = []
    for row, feedback in pairs:
        explicit = _read_explicit(row, feedback)
        inferred = explicit or feedback_by_call.get(row.id)
        if inferred is not None and _has_signals(row):
            result.append(inferred)
    return result


def _is_countable(row: FinalRow) -> bool:
    """Return True if a call was answered and is a user's turn of the conversation itself."""
    record = row.basis
    if record is None or row.tier not in TIERS or row.state not in ANSWERED_STATES:
        return False
    turn = record.turn
    return turn is None or (turn.kind == "main" and turn.is_user_turn)


def _has_signals(row: FinalRow) -> bool:
    return row.basis is not None and row.basis.signals is not None


def _make_feedback(
    row: FinalRow, origin: FeedbackOrigin, fast: float | None, smart: float | None
) -> ImplicitFeedback:
    record = row.basis or DecisionRecord()
    return ImplicitFeedback(
        id=row.id,
        tenant=row.tenant,
        received_at=row.at,
        dialect=row.dialect,
        served_tier=_get_tier(row),
        origin=origin,
        fast=fast,
        smart=smart,
        weight=WEIGHT_BY_ORIGIN[origin],
        signals=record.signals or {},
        score=record.score,
    )


def _get_tier(row: FinalRow) -> Tier:
    return next(tier for tier in TIERS if tier == row.tier)


def _read_explicit(row: FinalRow, feedback: FeedbackRow | None) -> ImplicitFeedback | None:
    """Return the lesson from feedback on a call; None if it tells nothing of fast or smart.

    A bad answer of the reasoning tier gives no lesson, because a dearer tier does not exist.
    """
    if feedback is None or feedback.tenant != row.tenant:
        return None
    if feedback.tier is not None:
        tier_index = TIERS.index(feedback.tier)
        return _make_feedback(row, "told", float(tier_index == 0), float(tier_index <= 1))
    if feedback.score is not None:
        return _judge_served_tier(row, "told", feedback.score)
    return _judge_served_tier(row, "told", float(feedback.verdict == "good"))


def _judge_served_tier(
    row: FinalRow, origin: FeedbackOrigin, score: float
) -> ImplicitFeedback | None:
    """Return the lesson from the score of an answer, 0 to 1; None for the reasoning tier.

    If fast suffices, so does smart. If smart does not suffice, neither does fast.
    """
    match row.tier:
        case "fast":
            return _make_feedback(row, origin, score, 1.0 if score == 1 else None)
        case "smart":
            return _make_feedback(row, origin, 0.0 if score == 0 else None, score)
        case _:
            return None


def _infer_from_next_calls(calls: Iterable[FinalRow]) -> dict[str, ImplicitFeedback]:
    """Return lessons from what clients did next in the same conversation, by the call's id."""
    last_rows: dict[tuple[str, str, str], FinalRow] = {}
    feedback_by_call: dict[str, ImplicitFeedback] = {}
    for row in calls:
        record = row.basis
        turn = record.turn if record is not None else None
        if record is None or turn is None or not turn.conversation:
            continue
        key = (row.tenant, row.key, turn.conversation)
        previous = last_rows.get(key)
        last_rows[key] = row
        if previous is not None and (inferred := _judge_by_next_call(previous, row)) is not None:
            feedback_by_call[previous.id] = inferred
    return feedback_by_call


def _judge_by_next_call(previous: FinalRow, row: FinalRow) -> ImplicitFeedback | None:
    previous_record, record = previous.basis or DecisionRecord(), row.basis or DecisionRecord()
    if record.turns > previous_record.turns:
        return _judge_served_tier(previous, "went on", 1.0)
    if row.at - previous.at > WINDOW_SECONDS or not _is_same_question(previous_record, record):
        return None
    if row.source == "pin" and TIERS.index(_get_tier(row)) > TIERS.index(_get_tier(previous)):
        return _judge_served_tier(previous, "escalated", 0.0)
    return _judge_served_tier(previous, "repeated", 0.0) if row.cache != "hit" else None


def _is_same_question(first: DecisionRecord, second: DecisionRecord) -> bool:
    """Return True if two calls have equal numbers of turns, characters and user tokens.

    Rows keep no text, so they tell no more.
    """
    return (first.turns, first.chars, first.user_tokens) == (
        second.turns,
        second.chars,
        second.user_tokens,
    )
