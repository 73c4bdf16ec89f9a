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
CONTEXT = ResponseContext(id="call-1", created_at=1, model="m")
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


def translate(client: Dialect, body: RequestBody, target_dialect: Dialect) -> Translation:
    return Translation(client, target_dialect, TranslatableRequest(client, body).request, CONTEXT)


def encode(client: Dialect, body: RequestBody, target_dialect: Dialect) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(
        translate(client, body, target_dialect).write(body, target("m")).body
    )
    return value


def test_a_messages_count_is_translated_to_gemini() -> None:
    """The Gemini API takes instructions and tools in `generateContentRequest` alone."""
    body = messages()
    assert encode(MESSAGES, body, GEMINI) == {
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
    written = translate(MESSAGES, body, GEMINI).write(body, target("m"))
    assert (written.url_suffix, written.losses) == ("/models/m:countTokens", ())


def test_a_gemini_count_is_translated_to_messages_without_settings() -> None:
    """Cap and sampling are left out: Anthropic's counter refuses members that it does not know."""
    request = encode(GEMINI, gemini(), MESSAGES)
    assert request.keys() <= get_type_hints(MessageCountTokensParams).keys()
    assert request.keys() == {"model", "system", "messages", "tools"}
    assert request["tools"] == [{"name": "weather", "input_schema": SCHEMA}]
    assert "hi" in str(request["messages"])
    assert "Be kind." in str(request["system"])


@pytest.mark.parametrize(("client", "body"), [(MESSAGES, messages()), (GEMINI, gemini())])
def test_a_count_is_translated_to_responses(client: Dialect, body: RequestBody) -> None:
    request = encode(client, body, RESPONSES)
    assert request.keys() <= get_type_hints(InputTokenCountParams).keys()
    assert (request["model"], request["instructions"]) == ("m", "Be kind.")
    assert [tool["name"] for tool in request["tools"]] == ["weather"]


def test_the_schema_of_the_answer_counts_too() -> None:
    """The model reads the schema as a part of its prompt."""
    body = messages(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    inner = encode(MESSAGES, body, GEMINI)["generateContentRequest"]
    assert inner["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    assert encode(MESSAGES, body, RESPONSES)["text"]["format"]["schema"] == SCHEMA
    to_messages = encode(
        GEMINI, gemini(responseMimeType="application/json", responseJsonSchema=SCHEMA), MESSAGES
    )
    assert to_messages["output_config"]["format"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    "target_dialect",
    [MESSAGES, GEMINI, RESPONSES],
    ids=lambda target_dialect: str(target_dialect.name),
)
@pytest.mark.parametrize("client", [MESSAGES, GEMINI], ids=lambda client: str(client.name))
def test_the_client_gets_the_count_in_its_dialect_and_pays_nothing(
    client: Dialect, target_dialect: Dialect
) -> None:
    body = messages() if client is MESSAGES else gemini()
    summary = translate(client, body, target_dialect).summarize(
        json.dumps(ANSWERS[target_dialect.name]).encode()
    )
    assert (summary.problem, summary.usage, summary.content_bytes) == (
        None,
        Usage(input=0, output=0),
        0,
    )
    assert summary.body is not None
    member = {MESSAGES.name: "input_tokens", GEMINI.name: "totalTokens"}[client.name]
    assert json.loads(summary.body) == {member: 12}


@pytest.mark.parametrize(
    "answer", [b"{}", b"[]", b"<html>", b'{"input_tokens": -1, "totalTokens": "x"}']
)
@pytest.mark.parametrize(
    "target_dialect",
    [MESSAGES, GEMINI, RESPONSES],
    ids=lambda target_dialect: str(target_dialect.name),
)
def test_an_answer_without_a_valid_number_fails(target_dialect: Dialect, answer: bytes) -> None:
    (failed,) = translation.get_translation(target_dialect).decode_response(answer)
    assert isinstance(failed, Failed)
    assert target_dialect.summarize(answer).problem is not None
    summary = translate(MESSAGES, messages(), target_dialect).summarize(answer)
    assert (summary.body, summary.problem) == (None, failed.problem)


def test_a_dialect_reads_the_counts_that_it_writes() -> None:
    for target_dialect in (MESSAGES, GEMINI, RESPONSES):
        assert (
            target_dialect.summarize(json.dumps(ANSWERS[target_dialect.name]).encode()).problem
            is None
        )
        assert target_dialect.write_token_count is not None
        assert target_dialect.summarize(target_dialect.write_token_count(5)).problem is None


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
def test_a_responses_count_may_lack_all_members(raw: bytes, completed: bytes) -> None:
    """The gateway adds required members, and removes any that would ask for a stream."""
    body = RESPONSES.read(raw)
    assert body.raw == completed
    assert not body.prompt.stream


def test_a_native_responses_count_changes_only_the_model() -> None:
    """The native path keeps the client's bytes, except for the target's model."""
    raw = b'{ "input" : [{"role":"user","content":"a"}], "model" : "m", "novel": 1.50 }'
    body = RESPONSES.read(raw)
    assert RESPONSES.write(body, target("m")).body is body.raw
    other = RESPONSES.write(body, target("other")).body
    assert b'"novel":1.50' in other
    assert json.loads(other) == {**json.loads(raw), "model": "other"}


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"input":7}'])
def test_a_malformed_responses_count_is_refused(raw: bytes) -> None:
    with pytest.raises(ProblemError):
        RESPONSES.read(raw)
