"""Translated token counts: the target gets all that has tokens, and no settings.

The answer is a number.
"""

import json
from typing import Any, get_type_hints

import pytest
from anthropic.types import MessageCountTokensParams
from openai.types.responses.input_token_count_params import InputTokenCountParams

from gateway.core.errors import ProblemError
from gateway.core.events import Failed
from gateway.core.usage import Usage
from gateway.dialects import (
    OPERATIONS,
    Dialect,
    RequestBody,
    ResponseContext,
    TranslatableRequest,
    Translation,
    translation,
)
from tests.dialects.cases import target

COUNT = "count_tokens"
MESSAGES = OPERATIONS["anthropic-messages", COUNT]
GEMINI = OPERATIONS["gemini", COUNT]
RESPONSES = OPERATIONS["openai-responses", COUNT]
TELLING = ResponseContext(id="call-1", created_at=1, model="m")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ANSWERS = {
    MESSAGES.name: {"input_tokens": 12},
    GEMINI.name: {"totalTokens": 12, "promptTokensDetails": []},
    RESPONSES.name: {"object": "response.input_tokens", "input_tokens": 12},
}


def messages(**more: Any) -> RequestBody:
    value: dict[str, Any] = {
        "model": "auto",
        "system": "Be kind.",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "weather", "description": "Now.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        **more,
    }
    return MESSAGES.read(json.dumps(value).encode())


def gemini(**more: Any) -> RequestBody:
    inner = {
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]}],
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 9, **more},
    }
    read: Any = GEMINI.read
    body: RequestBody = read(
        json.dumps({"generateContentRequest": inner}).encode(), "models/m:countTokens"
    )
    return body


def voice(client: Dialect, body: RequestBody, door: Dialect) -> Translation:
    return Translation(client, door, TranslatableRequest(client, body).request, TELLING)


def sent(client: Dialect, body: RequestBody, door: Dialect) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(voice(client, body, door).write(body, target("m")).body)
    return value


def test_a_messages_request_is_counted_as_gemini_says_it() -> None:
    """The Gemini API takes instructions and tools in `generateContentRequest` alone."""
    body = messages()
    assert sent(MESSAGES, body, GEMINI) == {
        "generateContentRequest": {
            "model": "models/m",
            "systemInstruction": {"parts": [{"text": "Be kind."}]},
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "tools": [
                {
                    "functionDeclarations": [
                        {"name": "weather", "description": "Now.", "parametersJsonSchema": SCHEMA}
                    ]
                }
            ],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        }
    }
    written = voice(MESSAGES, body, GEMINI).write(body, target("m"))
    assert (written.url_suffix, written.losses) == ("/models/m:countTokens", ())


def test_a_gemini_request_is_counted_as_messages_says_it() -> None:
    """Cap and sampling are left out: Anthropic's counter refuses members that it does not know."""
    asked = sent(GEMINI, gemini(), MESSAGES)
    assert asked.keys() <= get_type_hints(MessageCountTokensParams).keys()
    assert asked.keys() == {"model", "system", "messages", "tools"}
    assert asked["tools"] == [{"name": "weather", "input_schema": SCHEMA}]
    assert "hi" in str(asked["messages"])
    assert "Be kind." in str(asked["system"])


@pytest.mark.parametrize(("client", "body"), [(MESSAGES, messages()), (GEMINI, gemini())])
def test_any_request_is_counted_as_responses_says_it(client: Dialect, body: RequestBody) -> None:
    asked = sent(client, body, RESPONSES)
    assert asked.keys() <= get_type_hints(InputTokenCountParams).keys()
    assert (asked["model"], asked["instructions"]) == ("m", "Be kind.")
    assert [tool["name"] for tool in asked["tools"]] == ["weather"]


def test_the_form_of_an_answer_is_counted_too() -> None:
    """The model reads the schema as a part of its prompt."""
    body = messages(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    inner = sent(MESSAGES, body, GEMINI)["generateContentRequest"]
    assert inner["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    assert sent(MESSAGES, body, RESPONSES)["text"]["format"]["schema"] == SCHEMA
    back = sent(
        GEMINI, gemini(responseMimeType="application/json", responseJsonSchema=SCHEMA), MESSAGES
    )
    assert back["output_config"]["format"]["schema"] == SCHEMA


@pytest.mark.parametrize("door", [MESSAGES, GEMINI, RESPONSES], ids=lambda door: str(door.name))
@pytest.mark.parametrize("client", [MESSAGES, GEMINI], ids=lambda client: str(client.name))
def test_a_number_is_told_in_the_clients_words_and_costs_nothing(
    client: Dialect, door: Dialect
) -> None:
    body = messages() if client is MESSAGES else gemini()
    seen = voice(client, body, door).summarize(json.dumps(ANSWERS[door.name]).encode())
    assert (seen.problem, seen.usage, seen.content_bytes) == (None, Usage(input=0, output=0), 0)
    assert seen.body is not None
    member = {MESSAGES.name: "input_tokens", GEMINI.name: "totalTokens"}[client.name]
    assert json.loads(seen.body) == {member: 12}


@pytest.mark.parametrize(
    "said", [b"{}", b"[]", b"<html>", b'{"input_tokens": -1, "totalTokens": "x"}']
)
@pytest.mark.parametrize("door", [MESSAGES, GEMINI, RESPONSES], ids=lambda door: str(door.name))
def test_what_is_no_number_is_no_count(door: Dialect, said: bytes) -> None:
    (failed,) = translation.get_translation(door).decode_response(said)
    assert isinstance(failed, Failed)
    assert door.summarize(said).problem is not None
    seen = voice(MESSAGES, messages(), door).summarize(said)
    assert (seen.body, seen.problem) == (None, failed.problem)


def test_a_counter_of_its_own_reads_its_answers() -> None:
    for door in (MESSAGES, GEMINI, RESPONSES):
        assert door.summarize(json.dumps(ANSWERS[door.name]).encode()).problem is None
        assert door.write_token_count is not None
        assert door.summarize(door.write_token_count(5)).problem is None


@pytest.mark.parametrize(
    ("raw", "completed"),
    [
        (b"{}", b'{"model":"auto","input":""}'),
        (b'{"model":null,"input":null}', b'{"model":"auto","input":""}'),
        (b'{"input":"a","tools":[1.50]}', b'{"model":"auto","input":"a","tools":[1.50]}'),
        (b'{"stream":true,"input":"a","model":"m"}', b'{"model":"m","input":"a"}'),
        (b'{ "model" : "m", "input" : "a" }', b'{ "model" : "m", "input" : "a" }'),
    ],
)
def test_a_count_of_responses_needs_nothing(raw: bytes, completed: bytes) -> None:
    """The gateway adds required members, and removes any that would ask for a stream."""
    body = RESPONSES.read(raw)
    assert body.raw == completed
    assert not body.prompt.stream


def test_a_count_of_responses_changes_the_model_alone() -> None:
    """The native path keeps the client's bytes, except for the target's model."""
    raw = b'{ "input" : [{"role":"user","content":"a"}], "model" : "m", "novel": 1.50 }'
    body = RESPONSES.read(raw)
    assert RESPONSES.write(body, target("m")).body is body.raw
    other = RESPONSES.write(body, target("other")).body
    assert b'"novel":1.50' in other
    assert json.loads(other) == {**json.loads(raw), "model": "other"}


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"input":7}'])
def test_a_count_of_responses_that_is_no_request(raw: bytes) -> None:
    with pytest.raises(ProblemError):
        RESPONSES.read(raw)
