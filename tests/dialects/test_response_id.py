"""The id in the body of an answer: whole and streamed, native and translated."""

import json
from typing import Any

import pytest

from gateway.dialects import (
    DIALECTS,
    OPENAI_CHAT,
    OPERATIONS,
    Dialect,
    RequestBody,
    ResponseContext,
    TranslatableRequest,
    Translation,
)
from gateway.dialects.tool_reasoning import PassThrough, ReasoningNote, ReasoningRecorder

CONTEXT = ResponseContext(id="call-1", created_at=1, model="m-1", state_label="0123456789abcdef")
NOTE = ReasoningNote(maker="me", provider="here", model="m", account="main", calls={})
CHAT: dict[str, Any] = {"object": "chat.completion.chunk", "created": 1, "model": "m-1"}
RESPONSE: dict[str, Any] = {"object": "response", "created_at": 1, "model": "m-1", "usage": None}
REQUESTS = {
    "openai-chat": {"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
    "openai-responses": {"model": "auto", "input": "hi"},
    "anthropic-messages": {
        "model": "auto",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    },
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


def sse(*values: dict[str, Any]) -> bytes:
    return b"".join([b"data: " + json.dumps(value).encode() + b"\n\n" for value in values])


def chunk(id: object, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": id, **CHAT, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def candidate(text: str, finish: str | None = None) -> dict[str, Any]:
    value: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
    return value if finish is None else {**value, "finishReason": finish}


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_2", "role": "assistant", "content": [part]}


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\n".encode() + sse({"type": kind, **more})


WHOLE = {
    "openai-chat": {
        "id": "gen-1", "object": "chat.completion", "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
    },
    "openai-responses": {"id": "resp_1", **RESPONSE, "status": "completed", "output": [message("a")]},
    "anthropic-messages": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "a"}], "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {"candidates": [candidate("a", "STOP")], "responseId": "g1", "modelVersion": "m-1"},
}  # fmt: skip
STREAM = {
    # Azure begins with a chunk of filters, which has an empty id and no model.
    "openai-chat": sse(
        {"id": "", "choices": [], "prompt_filter_results": []},
        chunk("gen-1", {"role": "assistant", "content": ""}),
        chunk("gen-1", {"content": "a"}),
        chunk("gen-1", {}, "stop"),
    )
    + b"data: [DONE]\n\n",
    "openai-responses": event("response.created", response={"id": "resp_1", **RESPONSE, "status": "in_progress", "output": []})
    + event("response.output_text.delta", output_index=0, content_index=0, item_id="msg_2", delta="a")
    + event("response.completed", response={"id": "resp_1", **RESPONSE, "status": "completed", "output": [message("a")]}),
    "anthropic-messages": event("message_start", message={**WHOLE["anthropic-messages"], "content": [], "stop_reason": None})
    + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
    + event("content_block_stop", index=0)
    + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
    + event("message_stop"),
    "gemini": sse(
        {"candidates": [candidate("a")], "responseId": "g1", "modelVersion": "m-1"},
        {"candidates": [candidate("b", "STOP")], "responseId": "g1", "modelVersion": "m-1"},
    ),
}  # fmt: skip
IDS = {
    "openai-chat": "gen-1",
    "openai-responses": "resp_1",
    "anthropic-messages": "msg_1",
    "gemini": "g1",
}


def request(dialect: Dialect) -> RequestBody:
    raw = json.dumps(REQUESTS[dialect.name]).encode()
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, "models/m:generateContent")


def translate(client: Dialect, provider: Dialect) -> tuple[Translation, RequestBody]:
    body = request(client)
    return Translation(client, provider, TranslatableRequest(client, body).request, CONTEXT), body


@pytest.mark.parametrize("name", IDS)
def test_the_gateway_reads_the_id_of_a_native_answer(name: str) -> None:
    """A listener, as for reasoning, does not hide the id."""
    dialect = DIALECTS[name]
    assert dialect.summarize(json.dumps(WHOLE[name]).encode()).response_id == IDS[name]
    body = request(dialect)
    recording = PassThrough(dialect, ReasoningRecorder(NOTE)).inspect_stream(body)
    for inspector in (dialect.inspect_stream(body), recording):
        for line in STREAM[name].splitlines(keepends=True):
            inspector.feed(line)
        assert inspector.response_id == IDS[name]
        assert inspector.problem is None


@pytest.mark.parametrize("name", IDS)
def test_the_id_is_known_after_the_first_frame(name: str) -> None:
    dialect = DIALECTS[name]
    inspector = dialect.inspect_stream(request(dialect))
    first, *_ = [frame for frame in STREAM[name].split(b"\n\n") if IDS[name].encode() in frame]
    inspector.feed(first + b"\n\n")
    assert inspector.response_id == IDS[name]


@pytest.mark.parametrize("client", IDS)
@pytest.mark.parametrize("provider", IDS)
def test_the_gateway_reads_the_providers_own_id_of_a_translated_answer(
    client: str, provider: str
) -> None:
    """The id is not the one that the gateway writes for the client."""
    translation, body = translate(DIALECTS[client], DIALECTS[provider])
    assert translation.summarize(json.dumps(WHOLE[provider]).encode()).response_id == IDS[provider]
    inspector = translation.inspect_stream(body)
    inspector.feed(STREAM[provider])
    inspector.end()
    assert inspector.response_id == IDS[provider]


@pytest.mark.parametrize("id", [None, "", 7, ["x"], {"id": "x"}])
def test_an_invalid_response_id_is_unknown(id: object) -> None:
    whole = {**WHOLE["openai-chat"], "id": id}
    assert OPENAI_CHAT.summarize(json.dumps(whole).encode()).response_id is None
    inspector = OPENAI_CHAT.inspect_stream(request(OPENAI_CHAT))
    inspector.feed(sse(chunk(id, {"content": "a"})))
    assert inspector.response_id is None


def test_embeddings_may_have_a_response_id() -> None:
    """OpenRouter and Together write one."""
    embeddings = OPERATIONS["openai-chat", "embeddings"]
    answer = {"id": "gen-emb-1", "object": "list", "model": "m", "data": [{"embedding": [0.5]}]}
    assert embeddings.summarize(json.dumps(answer).encode()).response_id == "gen-emb-1"
