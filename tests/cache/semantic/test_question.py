"""The gateway separates the last typed text from the rest of a request, in every dialect."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.semantic.question import TypedQuestion, read_question
from gateway.core import jsonio
from gateway.dialects import DIALECTS

BEFORE = b'{"role" : "user","content":"1.50"}'


def typed_question(dialect: str, body: bytes) -> TypedQuestion | None:
    spoken = DIALECTS[dialect]
    read = (
        spoken.read(body)
        if spoken.read_with_path is None
        else spoken.read_with_path(body, "models/m:generateContent")
    )
    return read_question(read, dialect)


FORMS = {
    "chat": ("openai-chat", b'{"model":"m","messages":[%s,{"role":"user","content":%s}]}'),
    "chat, parts": ("openai-chat", b'{"model":"m","messages":[%s,{"role":"user","content":[{"type":"text","text":%s}]}]}'),
    "responses": ("openai-responses", b'{"model":"m","input":[%s,{"role":"user","content":%s}]}'),
    "responses, parts": ("openai-responses", b'{"model":"m","input":[%s,{"type":"message","role":"user","content":[{"type":"input_text","text":%s}]}]}'),
    "messages": ("anthropic-messages", b'{"model":"m","max_tokens":9,"messages":[%s,{"role":"user","content":%s}]}'),
    "messages, parts": ("anthropic-messages", b'{"model":"m","max_tokens":9,"messages":[%s,{"role":"user","content":[{"type":"text","text":%s,"cache_control":{"type":"ephemeral"}}]}]}'),
    "gemini": ("gemini", b'{"contents":[%s,{"role":"user","parts":[{"text":%s}]}]}'),
}  # fmt: skip
BEFORE_OF = {"gemini": b'{"role" : "user","parts":[{"text":"1.50"}]}'}


@pytest.mark.parametrize(("dialect", "form"), FORMS.values(), ids=FORMS)
@given(text=st.text())
def test_the_question_is_the_text_and_the_rest_does_not_depend_on_it(
    dialect: str, form: bytes, text: str
) -> None:
    """The rest does not depend on the text; earlier messages keep their bytes."""
    before = BEFORE_OF.get(dialect, BEFORE)
    question, other_question = (
        typed_question(dialect, form % (before, jsonio.dumps(text))),
        typed_question(dialect, form % (before, b'"x"')),
    )
    assert question is not None
    assert other_question is not None
    assert (question.text, other_question.text) == (text, "x")
    assert question.members == other_question.members
    assert before in jsonio.join_members(question.members)


def test_the_input_of_responses_may_be_a_text() -> None:
    question = typed_question("openai-responses", b'{"model":"m","input":"hi"}')
    assert question is not None
    assert (question.text, jsonio.join_members(question.members)) == (
        "hi",
        b'{"model":"m","input":null}',
    )


TURNS: list[dict[str, Any]] = [
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": []},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]},
    {"role": "tool", "content": "hi", "tool_call_id": "1"},
    {"role": "system", "content": "hi"},
]  # fmt: skip


@pytest.mark.parametrize("turn", TURNS)
def test_a_last_turn_that_is_no_single_user_text_has_no_question(turn: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}, turn]}
    assert typed_question("openai-chat", jsonio.dumps(body)) is None


def test_an_input_item_that_is_no_message_has_no_question() -> None:
    item = {"type": "function_call_output", "call_id": "1", "output": "x"}
    assert typed_question("openai-responses", jsonio.dumps({"model": "m", "input": [item]})) is None
    item = {"type": "item_reference", "id": "x", "role": "user", "content": "hi"}
    assert typed_question("openai-responses", jsonio.dumps({"model": "m", "input": [item]})) is None


def test_invalid_content_has_no_question() -> None:
    """A dialect may let such content pass to a provider that understands it."""
    for content in ([1], [{"type": "text", "text": 5}], [{"text": None}], 7, None):
        odd = {"contents": [{"role": "user", "parts": content}]}
        body = DIALECTS["openai-chat"].read(
            b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
        )
        odd_body = type(body)(body.raw, {"contents": body.members["messages"]}, odd, body.prompt)
        assert read_question(odd_body, "gemini") is None


@pytest.mark.parametrize("turns", [None, [], [1], {}])
def test_invalid_turns_have_no_question(turns: object) -> None:
    body = DIALECTS["openai-chat"].read(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    odd_body = type(body)(body.raw, body.members, {"messages": turns}, body.prompt)
    assert read_question(odd_body, "openai-chat") is None
