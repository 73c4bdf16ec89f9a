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


def make_turn(*ids: str, **more: Any) -> Json:
    calls = [
        {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def read_body(*messages: Json, **more: Any) -> RequestBody:
    return OPENAI_CHAT.read(jsonio.dumps({"model": "m", "messages": messages, **more}))


def make_note(*thoughts: KeptReasoning, maker: str = "me") -> ReasoningNote:
    calls = {"a": ToolCallReasoning(thoughts)}
    return ReasoningNote(maker=maker, provider="here", model="theirs", account="main", calls=calls)


def test_only_calls_of_the_current_tool_loop_need_reasoning() -> None:
    """The list has the first calls since the user spoke that lack a state, oldest first."""
    messages: list[Json] = [
        USER, make_turn("old"), RESULT, USER, make_turn("a", "b"), RESULT, make_turn("c", reasoning_details=[{"data": "s"}]),
        RESULT, {"role": "assistant", "content": "so"}, {"role": "assistant", "tool_calls": [3]}, make_turn("d"), RESULT,
    ]  # fmt: skip
    assert find_missing_reasoning(messages) == ["a", "d"]
    assert find_missing_reasoning(messages[4:6]) == ["a"]


def test_only_the_newest_calls_of_a_long_loop_get_reasoning() -> None:
    assert find_missing_reasoning([make_turn(str(at)) for at in range(150)]) == [
        str(at) for at in range(50, 150)
    ]


def test_the_hash_covers_only_what_the_user_wrote() -> None:
    """The hash stays the same within a tool loop, whatever the system and the model add."""
    base = hash_user_messages([USER])
    assert (
        hash_user_messages([{"role": "system", "content": "now"}, USER, make_turn("a"), RESULT])
        == base
    )
    assert hash_user_messages([{"role": "user", "content": "ho"}]) != base
    assert hash_user_messages([USER, USER]) != base


def test_reasoning_is_restored_into_the_member_it_came_in() -> None:
    """Several thoughts become one text, and a list of blocks stays as it was.

    Other states stay away.
    """
    blocks = '[{"type":"reasoning.encrypted","data":"s", "x": 1.50}]'
    notes = {
        "a": make_note(
            KeptReasoning("x", "reasoning"),
            KeptReasoning("y", "reasoning"),
            KeptReasoning("z", "content"),
        ),
        "b": make_note(KeptReasoning("x", blocks)),
    }
    request = read_body(USER, make_turn("a"), RESULT, make_turn("b"), RESULT)
    restored, lost = restore_native_reasoning(request, notes, "me")
    assert lost == ""
    assert restored.value["messages"][1] == make_turn("a", reasoning="xy")
    assert restored.value["messages"][3] == make_turn(
        "b", reasoning_details=jsonio.loads(blocks.encode())
    )
    assert b'"x": 1.50' in restored.raw
    assert jsonio.loads(restored.raw) == restored.value


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (
            make_turn("a", reasoning_content="mine"),
            make_note(KeptReasoning("x", "reasoning_content")),
        ),
        (
            make_turn("a", reasoning_details=[{}]),
            make_note(KeptReasoning("x", "reasoning_content")),
        ),
        (make_turn("other"), make_note(KeptReasoning("x", "reasoning_content"))),
        (make_turn("a"), make_note()),
    ],
)
def test_a_message_that_lacks_no_reasoning_stays_unchanged(
    message: Json, note: ReasoningNote
) -> None:
    request = read_body(USER, message, RESULT)
    assert restore_native_reasoning(request, {"a": note}, "me") == (request, "")


def test_foreign_reasoning_is_left_out_and_its_model_named() -> None:
    request = read_body(USER, make_turn("a"), RESULT)
    notes = {"a": make_note(KeptReasoning("x", "reasoning"), maker="you")}
    assert restore_native_reasoning(request, notes, "me") == (request, "theirs")


REPLAYING_FACTS = ModelFacts(
    replays_reasoning=True, effort_style="reasoning_effort", efforts=("none", "high"), default_effort="high",
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "more", "filled"),
    [
        (REPLAYING_FACTS, {}, True),
        (REPLAYING_FACTS, {"reasoning_effort": "none"}, False),
        (ModelFacts(), {}, False),
    ],
)
def test_a_model_that_expects_reasoning_gets_an_empty_one(
    facts: ModelFacts, more: Json, filled: bool
) -> None:
    """The gateway fills messages with calls but no reasoning, also those of earlier questions."""
    request = read_body(
        USER, make_turn("a"), RESULT, make_turn("b", reasoning="r"), RESULT, USER, **more
    )
    written = OPENAI_CHAT.write(request, target(facts=facts))
    first, second = (
        message
        for message in jsonio.loads(written.body)["messages"]
        if message["role"] == "assistant"
    )
    assert first == (make_turn("a", reasoning_content="") if filled else make_turn("a"))
    assert second == make_turn("b", reasoning="r")
    assert not written.losses


def test_a_request_without_calls_keeps_its_bytes() -> None:
    request = OPENAI_CHAT.read(b'{"model": "m",  "messages": [{"role":"user", "content":"hi"}]}')
    assert OPENAI_CHAT.write(request, target(facts=REPLAYING_FACTS)).body is request.raw
