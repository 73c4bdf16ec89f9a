"""Test stored requests as they are asked again, in each dialect."""

import json
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.core.prompt import Prompt
from gateway.dialects import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Dialect
from gateway.evaluation.labelling import stored_request
from gateway.evaluation.labelling.stored_request import (
    build_repeat,
    describe_request,
    find_obstacle,
    find_path,
    read_answer_text,
    read_repeat,
    read_served_model,
)

USER = {"role": "user", "content": "Hello"}
BODIES: dict[str, dict[str, Any]] = {
    "openai-chat": {"model": "gpt", "messages": [USER], "temperature": 0, "stream": True, "stream_options": {}, "max_tokens": 7_000, "store": True},
    "openai-responses": {"model": "gpt", "input": "Hello", "stream": True, "instructions": "Be terse."},
    "anthropic-messages": {"model": "claude", "messages": [USER], "max_tokens": 20, "stream": True},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
}  # fmt: skip
DIALECTS = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_repeat_asks_the_same_for_a_whole_answer_of_a_bounded_length(dialect: Dialect) -> None:
    raw = build_repeat(dialect, jsonio.dumps(BODIES[dialect.name]), 100)
    prompt = read_repeat(dialect, raw).prompt
    assert (prompt.model, prompt.user, prompt.stream) == ("auto", "Hello", False)
    assert prompt.max_output == (20 if dialect is ANTHROPIC_MESSAGES else 100)
    assert not prompt.stored
    assert find_path(dialect) == ("models/auto:generateContent" if dialect is GEMINI else "")
    kept = {"temperature", "instructions", "contents", "messages", "input"}
    before = {name: item for name, item in BODIES[dialect.name].items() if name in kept}
    assert {name: item for name, item in json.loads(raw).items() if name in kept} == before


def test_a_lower_cap_of_the_client_stays() -> None:
    for member in "max_tokens", "max_completion_tokens":
        body = {"messages": [USER], member: 8}
        assert json.loads(build_repeat(OPENAI_CHAT, jsonio.dumps(body), 100))["max_completion_tokens"] == 8  # fmt: skip
    gemini = {"contents": [], "generationConfig": {"maxOutputTokens": 9, "temperature": 1}}
    config = json.loads(build_repeat(GEMINI, jsonio.dumps(gemini), 100))["generationConfig"]
    assert config == {"maxOutputTokens": 9, "temperature": 1, "candidateCount": 1}


@pytest.mark.parametrize(
    ("prompt", "obstacle"),
    [
        (Prompt(model="m", user="Hi"), ""),
        (Prompt(model="m", user=" "), "no words of a user"),
        (Prompt(model="m", user="Hi", tool_loop=True), "in a tool loop"),
        (Prompt(model="m", user="Hi", images=1), "media, which no text keeps"),
        (Prompt(model="m", user="Hi", is_unsized=True), "rests on what a provider keeps or looks up"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_again_is_named(prompt: Prompt, obstacle: str) -> None:
    assert find_obstacle(prompt) == obstacle


def test_an_answer_is_its_text_with_the_tools_that_it_calls() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    message = {"role": "assistant", "content": "Wait.", "tool_calls": [call]}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    body = jsonio.dumps({"id": "1", "model": "gpt-1", "choices": [choice]})
    assert read_answer_text("openai-chat", body) == 'Wait.\n[calls the tool look] {"a":1}'
    assert read_served_model("openai-chat", body) == "gpt-1"
    assert read_served_model("openai-chat", b"{") is None
    assert read_answer_text("openai-chat", b"{") == ""
    refusal = {**message, "content": None, "refusal": "No.", "tool_calls": None}
    body = jsonio.dumps({"choices": [{**choice, "message": refusal, "finish_reason": "stop"}]})
    assert read_answer_text("openai-chat", body) == "No."


def test_a_request_of_several_turns_names_who_speaks() -> None:
    one = OPENAI_CHAT.read(jsonio.dumps({"model": "m", "messages": [USER]}))
    assert describe_request(OPENAI_CHAT, one) == "Hello"
    turns = [{"role": "system", "content": "Be terse."}, USER]
    more = OPENAI_CHAT.read(jsonio.dumps({"model": "m", "messages": turns}))
    assert describe_request(OPENAI_CHAT, more) == "system: Be terse.\n\nuser: Hello"


def test_a_request_that_cannot_be_decoded_is_its_last_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise invalid_request("It is no request.")

    monkeypatch.setattr(stored_request, "decode_request", refuse)
    odd = OPENAI_CHAT.read(jsonio.dumps({"model": "m", "messages": [USER]}))
    assert describe_request(OPENAI_CHAT, odd) == "Hello"
