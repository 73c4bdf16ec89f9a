"""A free check of a whole answer: if it is empty, a refusal, or not the JSON that was asked for.

Nobody is asked, and a fault is certain or nearly so. An answer that calls a tool has none.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.events import (
    Declined,
    Event,
    Finish,
    GeneratedMedia,
    Opaque,
    TextDelta,
    ToolStart,
)
from gateway.core.ledger_rows import AnswerFinding
from gateway.dialects.history import History
from gateway.routing import evidence_phrases, json_fit
from gateway.routing.turn_evidence import MAX_REFUSAL_CHARS

_RANKS: dict[AnswerFinding, int] = {"passed": 0, "schema": 1, "refused": 2, "empty": 3}
"""The faults, the worst last: JSON that does not fit may still be of use, and text of some."""


class CheckedAnswer(msgspec.Struct, frozen=True):
    """The result of a check."""

    finding: AnswerFinding
    is_cut: bool = False
    """True if the answer ended at a limit: another tier has the same limit."""

    @property
    def has_fault(self) -> bool:
        """True if another tier may do better. A limit explains any fault of a cut answer."""
        return self.finding != "passed" and not self.is_cut

    def may_replace(self, first: "CheckedAnswer") -> bool:
        """True if this answer is not worse than the first one; a cut one must be better."""
        if self.is_cut:
            return _RANKS[self.finding] < _RANKS[first.finding]
        return _RANKS[self.finding] <= _RANKS[first.finding]


def check_answer(events: Iterable[Event], history: History) -> CheckedAnswer:
    """Check an answer by its events; `history` has the form that its request asks for."""
    texts: list[str] = []
    has_content = is_declined = is_cut = False
    for event in events:
        match event:
            case TextDelta():
                texts.append(event.text)
            case Declined():
                is_declined = True
            case ToolStart():
                return CheckedAnswer("passed")
            case GeneratedMedia() | Opaque():
                has_content = True
            case Finish():
                is_cut = event.reason == "length"
                is_declined = is_declined or event.reason == "filter"
            case _:
                pass
    return CheckedAnswer(
        _find_fault("".join(texts), history, has_content=has_content, is_declined=is_declined),
        is_cut,
    )


def _find_fault(
    text: str, history: History, *, has_content: bool, is_declined: bool
) -> AnswerFinding:
    if is_declined:
        return "refused"
    if not text.strip():
        return "passed" if has_content else "empty"
    if history.wants_json and json_fit.fits(text, history.schema):
        return "passed"
    if len(text) <= MAX_REFUSAL_CHARS and evidence_phrases.is_refusal(text):
        return "refused"
    return "schema" if history.wants_json else "passed"
