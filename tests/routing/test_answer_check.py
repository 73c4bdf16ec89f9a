"""The free check of a whole answer finds what is certain, and nothing else."""

import pytest

from gateway.core.events import (
    Declined,
    End,
    Event,
    Finish,
    GeneratedMedia,
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolStart,
)
from gateway.core.ledger_rows import AnswerFinding
from gateway.dialects.history import History
from gateway.routing.answer_check import CheckedAnswer, check_answer
from gateway.routing.turn_evidence import MAX_REFUSAL_CHARS

FREE = History()
JSON = History(wants_json=True)
SHAPED = History(wants_json=True, schema={"type": "object", "required": ["a"]})
REFUSAL = "I'm sorry, but I can't help with that."
STOP, CUT, FILTER = Finish("stop"), Finish("length"), Finish("filter")


@pytest.mark.parametrize(
    ("events", "history", "finding"),
    [
        ([TextDelta("Yes."), STOP, End()], FREE, "passed"),
        ([STOP], FREE, "empty"),
        ([TextDelta(" \n"), STOP], FREE, "empty"),
        ([ReasoningDelta("They greet."), STOP], FREE, "empty"),
        ([ToolStart(0, "c", "look"), STOP], SHAPED, "passed"),
        ([GeneratedMedia("image", "aGk=", "image"), STOP], FREE, "passed"),
        ([Opaque("search"), STOP], FREE, "passed"),
        ([Declined("No."), STOP], FREE, "refused"),
        ([TextDelta("Half a"), FILTER], FREE, "refused"),
        ([TextDelta(REFUSAL), STOP], FREE, "refused"),
        ([TextDelta(REFUSAL + " Instead:" + "x" * MAX_REFUSAL_CHARS), STOP], FREE, "passed"),
        ([TextDelta('{"a'), TextDelta('": 1}'), STOP], SHAPED, "passed"),
        ([TextDelta('{"b": 1}'), STOP], SHAPED, "schema"),
        ([TextDelta('{"b": 1}'), STOP], JSON, "passed"),
        ([TextDelta("```json\n{}\n```"), STOP], JSON, "schema"),
        ([TextDelta(REFUSAL), STOP], SHAPED, "refused"),
        ([TextDelta('{"a": "I\'m sorry, but I can\'t help with that."}'), STOP], SHAPED, "passed"),
    ],
)
def test_a_fault_is_found_in_an_answer(
    events: list[Event], history: History, finding: AnswerFinding
) -> None:
    assert check_answer(events, history) == CheckedAnswer(finding)


def test_a_limit_explains_the_fault_of_a_cut_answer() -> None:
    cut = check_answer([TextDelta('{"a'), CUT], SHAPED)
    assert cut == CheckedAnswer("schema", is_cut=True)
    assert not cut.has_fault
    assert CheckedAnswer("schema").has_fault
    assert not CheckedAnswer("passed").has_fault


@pytest.mark.parametrize(
    ("second", "first", "may_replace"),
    [
        (CheckedAnswer("passed"), CheckedAnswer("schema"), True),
        (CheckedAnswer("schema"), CheckedAnswer("schema"), True),
        (CheckedAnswer("refused"), CheckedAnswer("schema"), False),
        (CheckedAnswer("empty"), CheckedAnswer("refused"), False),
        (CheckedAnswer("refused"), CheckedAnswer("empty"), True),
        (CheckedAnswer("schema", is_cut=True), CheckedAnswer("schema"), False),
        (CheckedAnswer("schema", is_cut=True), CheckedAnswer("refused"), True),
    ],
)
def test_an_answer_replaces_one_that_is_not_better(
    second: CheckedAnswer, first: CheckedAnswer, may_replace: bool
) -> None:
    assert second.may_replace(first) is may_replace
