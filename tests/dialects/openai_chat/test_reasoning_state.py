"""The gateway puts reasoning back into a native chat request: into its own message only."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.target import ModelFacts
from gateway.dialects import OPENAI_CHAT, RequestBody
from gateway.dialects.openai_chat.reasoning_state import (
    find_missing_reasoning,
    hash_user_messages,
    restore_native_reasoning,
)
from gateway.dialects.tool_reasoning import KeptReasoning, ReasoningNote, ToolCallReasoning
from tests.dialects.cases import target

type Json = dict[str, Any]

USER = {"role": "user", "content": "hi"}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "x"}


def turn(*ids: str, **more: Any) -> Json:
    calls = [
        {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def body(*messages: Json, **more: Any) -> RequestBody:
    return OPENAI_CHAT.read(jsonio.dumps({"model": "m", "messages": messages, **more}))


def noted(*thoughts: KeptReasoning, maker: str = "me") -> ReasoningNote:
    calls = {"a": ToolCallReasoning(thoughts)}
    return ReasoningNote(maker=maker, provider="here", model="theirs", account="main", calls=calls)


def test_the_calls_of_the_loop_are_wanted_alone() -> None:
    """The list has the first calls since the user spoke that lack a state, oldest first."""
    messages: list[Json] = [
        USER, turn("old"), RESULT, USER, turn("a", "b"), RESULT, turn("c", reasoning_details=[{"data": "s"}]),
        RESULT, {"role": "assistant", "content": "so"}, {"role": "assistant", "tool_calls": [3]}, turn("d"), RESULT,
    ]  # fmt: skip
    assert find_missing_reasoning(messages) == ["a", "d"]
    assert find_missing_reasoning(messages[4:6]) == ["a"]


def test_a_long_loop_wants_the_newest() -> None:
    assert find_missing_reasoning([turn(str(at)) for at in range(150)]) == [
        str(at) for at in range(50, 150)
    ]


def test_the_base_is_what_the_user_has_said() -> None:
    """The hash stays the same within a tool loop, whatever the system and the model add."""
    base = hash_user_messages([USER])
    assert (
        hash_user_messages([{"role": "system", "content": "now"}, USER, turn("a"), RESULT]) == base
    )
    assert hash_user_messages([{"role": "user", "content": "ho"}]) != base
    assert hash_user_messages([USER, USER]) != base


def test_thoughts_go_into_the_member_they_came_in() -> None:
    """Several thoughts become one text, and a list of blocks stays as it was.

    Other states stay away.
    """
    blocks = '[{"type":"reasoning.encrypted","data":"s", "x": 1.50}]'
    notes = {
        "a": noted(
            KeptReasoning("x", "reasoning"),
            KeptReasoning("y", "reasoning"),
            KeptReasoning("z", "content"),
        ),
        "b": noted(KeptReasoning("x", blocks)),
    }
    given = body(USER, turn("a"), RESULT, turn("b"), RESULT)
    found, lost = restore_native_reasoning(given, notes, "me")
    assert lost == ""
    assert found.value["messages"][1] == turn("a", reasoning="xy")
    assert found.value["messages"][3] == turn("b", reasoning_details=jsonio.loads(blocks.encode()))
    assert b'"x": 1.50' in found.raw
    assert jsonio.loads(found.raw) == found.value


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (turn("a", reasoning_content="mine"), noted(KeptReasoning("x", "reasoning_content"))),
        (turn("a", reasoning_details=[{}]), noted(KeptReasoning("x", "reasoning_content"))),
        (turn("other"), noted(KeptReasoning("x", "reasoning_content"))),
        (turn("a"), noted()),
    ],
)
def test_what_lacks_nothing_stays_as_it_is(message: Json, note: ReasoningNote) -> None:
    given = body(USER, message, RESULT)
    assert restore_native_reasoning(given, {"a": note}, "me") == (given, "")


def test_reasoning_of_another_maker_is_left_out_and_told() -> None:
    given = body(USER, turn("a"), RESULT)
    notes = {"a": noted(KeptReasoning("x", "reasoning"), maker="you")}
    assert restore_native_reasoning(given, notes, "me") == (given, "theirs")


WANTS = ModelFacts(
    replays_reasoning=True, effort_style="reasoning_effort", efforts=("none", "high"), default_effort="high",
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "more", "filled"),
    [
        (WANTS, {}, True),
        (WANTS, {"reasoning_effort": "none"}, False),
        (ModelFacts(), {}, False),
    ],
)
def test_a_model_that_thinks_and_wants_it_gets_an_empty_one(
    facts: ModelFacts, more: Json, filled: bool
) -> None:
    """The gateway fills messages with calls but no reasoning, also those of earlier questions."""
    given = body(USER, turn("a"), RESULT, turn("b", reasoning="r"), RESULT, USER, **more)
    written = OPENAI_CHAT.write(given, target(facts=facts))
    first, second = (
        it for it in jsonio.loads(written.body)["messages"] if it["role"] == "assistant"
    )
    assert first == (turn("a", reasoning_content="") if filled else turn("a"))
    assert second == turn("b", reasoning="r")
    assert not written.losses


def test_a_request_without_calls_goes_on_byte_for_byte() -> None:
    given = OPENAI_CHAT.read(b'{"model": "m",  "messages": [{"role":"user", "content":"hi"}]}')
    assert OPENAI_CHAT.write(given, target(facts=WANTS)).body is given.raw
