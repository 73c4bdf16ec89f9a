"""The content of a translated answer, and the names of its losses in header, row and stream."""

from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types

from gateway.core import jsonio
from tests.e2e.four_labs import (
    CHAT,
    COUNTS,
    ENDPOINTS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Json,
    four,
    make_request,
    whole,
)
from tests.e2e.upstream import SSE, Answer, Upstream
from tests.e2e.world import Config, Make, World

PICTURE = {"mimeType": "image/png", "data": "iVBORw0K"}
DATA_URL = "data:image/png;base64,iVBORw0K"


@pytest.fixture
def world(make: Make) -> World:
    return make(four)


def gemini(*parts: Json, **members: Any) -> Json:
    """Return a whole answer, which is also the one chunk of a stream."""
    candidate = {"content": {"role": "model", "parts": [*parts]}, "finishReason": "STOP", "index": 0, **members}  # fmt: skip
    counts = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    return {"candidates": [candidate], "usageMetadata": counts, "responseId": "r", "modelVersion": "g"}  # fmt: skip


def answer(value: Json, *, stream: bool) -> Answer:
    """Build an answer, or the one frame of a stream."""
    if not stream:
        return whole(value)
    return Answer(pieces=(b"data: %b\r\n\r\n" % jsonio.dumps(value),), headers=SSE, bill=COUNTS)


def ask(world: World, client: str, *, stream: bool = False, **more: Any) -> httpx.Response:
    """Ask Gemini as a client of a dialect."""
    path, body = make_request(client, f"{GEMINI}/smart", "Draw a cat.", stream=stream, **more)
    return world.client.post(path, json=body)


def test_a_chat_client_gets_a_picture_from_gemini(world: World, upstream: Upstream) -> None:
    """Once it was lost: 200, no content, `stop`, and no word of the loss."""
    upstream.on(ENDPOINTS[GEMINI], answer(gemini({"inlineData": PICTURE}), stream=False))
    reply = ask(world, CHAT)
    [choice] = reply.json()["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": None, "images": [{"type": "image_url", "image_url": {"url": DATA_URL}}],
    }  # fmt: skip
    assert choice["finish_reason"] == "stop"
    assert "x-tiergate-dropped" not in reply.headers
    assert world.entry().dropped == ()


def test_a_chat_client_gets_a_picture_in_a_stream(world: World, upstream: Upstream) -> None:
    upstream.on(ENDPOINTS[GEMINI], answer(gemini({"inlineData": PICTURE}), stream=True))
    reply = ask(world, CHAT, stream=True)
    image = b'{"images":[{"type":"image_url","image_url":{"url":"%b"},"index":0}]}' % DATA_URL.encode()  # fmt: skip
    assert image in reply.content
    assert reply.content.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_responses_client_gets_a_picture_as_an_output_item(
    world: World, upstream: Upstream, stream: bool
) -> None:
    upstream.on(ENDPOINTS[GEMINI], answer(gemini({"inlineData": PICTURE}), stream=stream))
    reply = ask(world, RESPONSES, stream=stream)
    assert b'"type":"image_generation_call","status":"completed","result":"iVBORw0K"' in reply.content  # fmt: skip
    assert world.entry().dropped == ()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_gemini_client_gets_a_picture_from_a_chat_provider(
    world: World, upstream: Upstream, stream: bool
) -> None:
    image = {"type": "image_url", "image_url": {"url": DATA_URL}}
    head = {"id": "c", "created": 1, "model": "m", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}  # fmt: skip
    member = "delta" if stream else "message"
    choice = {"index": 0, member: {"role": "assistant", "images": [image]}, "finish_reason": "stop"}
    upstream.on(ENDPOINTS[CHAT], answer({**head, "choices": [choice]}, stream=stream))
    path, body = make_request(GEMINI, f"{CHAT}/smart", stream=stream)
    reply = world.client.post(path, json=body)
    assert jsonio.dumps({"inlineData": PICTURE}) in reply.content


def test_a_gemini_client_gets_a_picture_from_a_responses_provider(
    world: World, upstream: Upstream
) -> None:
    item = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "iVBORw0K", "output_format": "png"}  # fmt: skip
    value = {
        "id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item],
        "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    }  # fmt: skip
    upstream.on(ENDPOINTS[RESPONSES], answer(value, stream=False))
    path, body = make_request(GEMINI, f"{RESPONSES}/smart")
    reply = world.client.post(path, json=body)
    assert reply.json()["candidates"][0]["content"]["parts"][0] == {"inlineData": PICTURE}


CODE = gemini(
    {"text": "Let me count."},
    {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
    {"text": "One."},
    urlContextMetadata={"urlMetadata": [{"retrievedUrl": "https://a.test"}]},
)
NAMES = (
    "candidates.content.executableCode",
    "candidates.content.codeExecutionResult",
    "candidates.urlContextMetadata",
)


@pytest.mark.parametrize("client", [CHAT, RESPONSES, MESSAGES])
def test_a_whole_answer_names_its_losses_in_a_header(
    world: World, upstream: Upstream, client: str
) -> None:
    """The header and the row name the losses of the answer beside those of the request."""
    upstream.on(ENDPOINTS[GEMINI], answer(CODE, stream=False))
    reply = ask(world, client, metadata={"x": "y"})
    dropped = reply.headers["x-tiergate-dropped"].split(", ")
    assert dropped[-3:] == [*NAMES]
    assert dropped[:-3] == ["metadata"]
    assert world.entry().dropped == ("metadata", *NAMES)


@pytest.mark.parametrize("client", [CHAT, RESPONSES, MESSAGES])
def test_a_stream_names_its_losses_in_a_comment_at_its_end(
    world: World, upstream: Upstream, client: str
) -> None:
    upstream.on(ENDPOINTS[GEMINI], answer(CODE, stream=True))
    reply = ask(world, client, stream=True)
    assert "x-tiergate-dropped" not in reply.headers
    assert reply.content.endswith(b"\n\n: tiergate dropped: %b\n\n" % ", ".join(NAMES).encode())
    entry = world.entry()
    assert (entry.state, entry.dropped) == ("settled", NAMES)


def test_a_gemini_stream_has_no_comment_and_its_row_names_the_losses(
    world: World, upstream: Upstream
) -> None:
    """Google's SDK breaks at comments."""
    hosted = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    frames = [
        {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 7, "output_tokens": 0}}},
        {"type": "content_block_start", "index": 0, "content_block": hosted},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "Found."}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]  # fmt: skip
    data = b"".join(b"data: %b\n\n" % jsonio.dumps(frame) for frame in frames)
    upstream.on(ENDPOINTS[MESSAGES], Answer(pieces=(data,), headers=SSE, bill=COUNTS))
    path, body = make_request(GEMINI, f"{MESSAGES}/smart", stream=True)
    reply = world.client.post(path, json=body)
    assert b"tiergate" not in reply.content
    assert world.entry().dropped == ("content.server_tool_use",)


def test_a_native_answer_is_unchanged_and_has_no_losses(world: World, upstream: Upstream) -> None:
    upstream.on(ENDPOINTS[GEMINI], answer(CODE, stream=False))
    reply = ask(world, GEMINI)
    assert reply.content == jsonio.dumps(CODE)
    assert "x-tiergate-dropped" not in reply.headers
    assert world.entry().dropped == ()


def test_a_cached_answer_names_its_losses(make: Make, upstream: Upstream) -> None:
    def cached(value: Config) -> None:
        four(value)
        value["cache"] = {"default": "on", "ttl": "1h"}

    world = make(cached)
    upstream.on(ENDPOINTS[GEMINI], answer(CODE, stream=False))
    replies = [ask(world, CHAT) for _ in range(2)]
    assert [reply.headers["x-tiergate-cache"] for reply in replies] == ["miss", "hit"]
    assert [reply.headers["x-tiergate-dropped"] for reply in replies] == [", ".join(NAMES)] * 2
    assert [entry.dropped for entry in world.entries()] == [NAMES, NAMES]


def test_googles_sdk_reads_the_sources_of_a_translated_answer(
    world: World, upstream: Upstream
) -> None:
    source = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}}  # fmt: skip
    message = {"role": "assistant", "content": "hi", "annotations": [source]}
    value = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }  # fmt: skip
    upstream.on(ENDPOINTS[CHAT], whole(value))
    sdk = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=world.url))
    reply = sdk.models.generate_content(model=f"{CHAT}/smart", contents="hi")
    assert reply.candidates is not None
    metadata = reply.candidates[0].citation_metadata
    assert metadata is not None
    assert [(citation.uri, citation.title) for citation in metadata.citations or ()] == [
        ("https://a.example", "A")
    ]
