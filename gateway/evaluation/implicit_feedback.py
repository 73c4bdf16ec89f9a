"""What a gateway's own calls teach: which tier sufficed, by what was said and done afterwards.

    told       feedback: a verdict, a score, or the tier that would have been right
    escalated  the same question was asked again of a tier above, which its client named
    repeated   the same question was asked again: weak evidence against the first answer
    went on    the user took the answer and said something else: weak evidence for it

One lesson a call, the strongest; none where nothing is known of its tier. Pure: rows in, lessons
out, each of one tenant and never mixed with another's.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gateway.core.decision_context import Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ANSWERED, FeedbackRow, FinalRow
from gateway.core.target import TIERS, Tier

type Origin = Literal["told", "escalated", "repeated", "went on"]

WEIGHTS: Mapping[Origin, float] = {"told": 1.0, "escalated": 0.7, "repeated": 0.3, "went on": 0.1}
"""How much a lesson counts beside one that was told. Judgement: signs say less than words, and most
users say nothing of an answer that they do not like."""
WINDOW = 600.0
"""Seconds after which the same question is no answer to the last answer."""


class ImplicitFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """What one call teaches. Of `fast` and `smart`, None is unknown."""

    id: str
    """Of the call."""
    tenant: str
    at: float
    """When it was received, seconds since the epoch."""
    dialect: str
    given: Tier
    """The tier that it got."""
    origin: Origin
    fast: float | None = None
    """How far the fast tier suffices, or would have, 0 to 1."""
    smart: float | None = None
    """The same of the smart tier."""
    weight: float = 1.0
    signals: Mapping[str, int | float | bool] = {}
    """What its text gave away, as its row keeps it."""
    score: Score | None = None
    """What a classifier said that read the text itself."""


def lessons(calls: Iterable[tuple[FinalRow, FeedbackRow | None]]) -> list[ImplicitFeedback]:
    """What calls teach, in the order in which they were received.

    Only calls count that a classifier could have decided: of which a row keeps what the text gave
    away, at the user's turn, of the conversation itself, and that were answered.
    """
    seen = sorted(((e, f) for e, f in calls if _counts(e)), key=lambda one: (one[0].at, one[0].id))
    after = _after([entry for entry, _ in seen])
    found = []
    for entry, feedback in seen:
        told = _told(entry, feedback)
        lesson = told or after.get(entry.id)
        if lesson is not None and _classified(entry):
            found.append(lesson)
    return found


def _counts(entry: FinalRow) -> bool:
    """Whether a call is one of a conversation's own turns, and was answered."""
    basis = entry.basis
    if basis is None or entry.tier not in TIERS or entry.state not in ANSWERED:
        return False
    turn = basis.turn
    return turn is None or (turn.kind == "main" and turn.fresh)


def _classified(entry: FinalRow) -> bool:
    return entry.basis is not None and entry.basis.signals is not None


def _lesson(
    entry: FinalRow, origin: Origin, fast: float | None, smart: float | None
) -> ImplicitFeedback:
    basis = entry.basis or DecisionRecord()
    return ImplicitFeedback(
        id=entry.id,
        tenant=entry.tenant,
        at=entry.at,
        dialect=entry.dialect,
        given=_tier(entry),
        origin=origin,
        fast=fast,
        smart=smart,
        weight=WEIGHTS[origin],
        signals=basis.signals or {},
        score=basis.score,
    )


def _tier(entry: FinalRow) -> Tier:
    return next(tier for tier in TIERS if tier == entry.tier)


def _told(entry: FinalRow, feedback: FeedbackRow | None) -> ImplicitFeedback | None:
    """By the last word on a call. What was bad of the dearest tier was not for want of a tier."""
    if feedback is None or feedback.tenant != entry.tenant:
        return None
    if feedback.tier is not None:
        at = TIERS.index(feedback.tier)
        return _lesson(entry, "told", float(at == 0), float(at <= 1))
    if feedback.score is not None:
        return _suffices(entry, "told", feedback.score)
    return _suffices(entry, "told", float(feedback.verdict == "good"))


def _suffices(entry: FinalRow, origin: Origin, worth: float) -> ImplicitFeedback | None:
    """By what the answer of the tier that it got was worth.

    Where fast suffices smart does, and where smart does not fast does not.
    """
    match entry.tier:
        case "fast":
            return _lesson(entry, origin, worth, 1.0 if worth == 1 else None)
        case "smart":
            return _lesson(entry, origin, 0.0 if worth == 0 else None, worth)
        case _:
            return None


def _after(calls: Iterable[FinalRow]) -> dict[str, ImplicitFeedback]:
    """By call: what its client did next in the same conversation."""
    last: dict[tuple[str, str, str], FinalRow] = {}
    found: dict[str, ImplicitFeedback] = {}
    for entry in calls:
        basis = entry.basis
        turn = basis.turn if basis is not None else None
        if basis is None or turn is None or not turn.conversation:
            continue
        place = (entry.tenant, entry.key, turn.conversation)
        before = last.get(place)
        last[place] = entry
        if before is not None and (lesson := _next(before, entry)) is not None:
            found[before.id] = lesson
    return found


def _next(before: FinalRow, entry: FinalRow) -> ImplicitFeedback | None:
    one, two = before.basis or DecisionRecord(), entry.basis or DecisionRecord()
    if two.turns > one.turns:
        return _suffices(before, "went on", 1.0)
    if entry.at - before.at > WINDOW or not _same(one, two):
        return None
    if entry.source == "pin" and TIERS.index(_tier(entry)) > TIERS.index(_tier(before)):
        return _suffices(before, "escalated", 0.0)
    return _suffices(before, "repeated", 0.0) if entry.cache != "hit" else None


def _same(one: DecisionRecord, two: DecisionRecord) -> bool:
    """Whether two calls ask the same: as many turns and characters, as far as rows tell."""
    return (one.turns, one.chars, one.user_tokens) == (two.turns, two.chars, two.user_tokens)
