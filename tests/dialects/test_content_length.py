"""How much an answer says: what an estimate of its tokens rests on."""

import json
from typing import Any

import pytest

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import (
    Declined,
    End,
    Event,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
)  # fmt: skip
from gateway.dialects import DIALECTS, ResponseContext, Translation, content_length
from gateway.dialects.base import Dialect, StreamInspector
from gateway.dialects.translation import TranslatableRequest, get_translation
from tests.dialects.cases import ask, chunk, sse

EVENTS: list[tuple[Event, int]] = [
    (Start(id="a", model="m"), 0),
    (TextDelta("h\u00e9"), 3),
    (Declined("no"), 2),
    (ReasoningDelta("abc"), 3),
    (ReasoningEnd(state="AAAA"), 0),
    (ToolStart(0, "id", "f"), 1),
    (ToolDelta(0, "{}"), 2),
    (ToolEnd(0), 0),
    (End(), 0),
    (Opaque("web_search_call", {"action": {"query": "q", "sources": [{"url": "found"}]}}), 13),
    (Opaque("server_tool_use", {"name": "f", "input": {"a": 1}}), 8),
    (Opaque("executableCode", {"executableCode": {"code": "a=1"}}), 3),
    (Opaque("compaction", {"type": "compaction", "content": "abc"}), 3),
    (Opaque("audio", {"transcript": "said", "data": "QUJD"}), 4),
    (Opaque("image", "QUJD"), 0),
]


@pytest.mark.parametrize(("event", "size"), EVENTS)
def test_what_an_event_says(event: Event, size: int) -> None:
    assert content_length.count_event_bytes(event) == size


@pytest.mark.parametrize(
    ("value", "size"), [("a\ud800", 2), (None, 0), (7, 0), ({"data": "x"}, 0), (["a", {"text": "b"}], 2)]
)  # fmt: skip
def test_text_is_counted_as_utf_8_wherever_it_stands(value: Any, size: int) -> None:
    """A lone surrogate, which JSON may escape, counts as the one byte that takes its place."""
    assert content_length.count_text_bytes(value) == size


SAID: list[Event] = [
    Start(id="r-1", model="m", created=1),
    *(ReasoningDelta(text) for text in ("let ", "me see")),
    *(TextDelta(text) for text in ("h\u00e9", " and \U0001f600", '"quoted\\"')),
    ToolStart(0, "call_1", "look"),
    *(ToolDelta(0, text) for text in ('{"at":', "1}")),
    ToolEnd(0),
]


@pytest.mark.parametrize("door", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("client", DIALECTS.values(), ids=DIALECTS)
def test_home_and_abroad_hear_the_same(client: Dialect, door: Dialect) -> None:
    """Of a stream that is cut, in every dialect for clients of every dialect."""
    request = TranslatableRequest(DIALECTS["openai-chat"], ask(stream=True)).request
    told = get_translation(door).make_encoder(
        ResponseContext(id="1", created_at=1, model="m", request=request)
    )
    stream = b"".join([told.write(event) for event in SAID])
    watch = _watch(client, door, request)
    for at in range(0, len(stream), 100):
        watch.feed(stream[at : at + 100])
    assert not watch.complete
    assert watch.content_bytes == sum(map(content_length.count_event_bytes, SAID))


def _watch(client: Dialect, door: Dialect, request: CanonicalRequest) -> StreamInspector:
    body = ask(stream=True)
    if client is door:
        return door.inspect_stream(body)
    return Translation(
        client, door, request, ResponseContext(id="1", created_at=1, model="m")
    ).inspect_stream(body)


def test_uses_of_tools_that_a_client_is_not_told_of_are_heard() -> None:
    """They are billed: a client that takes one at a time gets the first of several."""
    request = TranslatableRequest(
        DIALECTS["anthropic-messages"],
        DIALECTS["anthropic-messages"].read(
            json.dumps(
                {
                    "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
                    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
                    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
                }
            ).encode()
        ),
    ).request  # fmt: skip
    voice = Translation(DIALECTS["anthropic-messages"], DIALECTS["openai-chat"], request, ResponseContext(id="1", created_at=1, model="m"))  # fmt: skip
    calls = [
        {"index": at, "id": f"c{at}", "function": {"name": "f", "arguments": "{}"}} for at in (0, 1)
    ]
    watch = voice.inspect_stream(ask(stream=True))
    watch.feed(sse(chunk({"tool_calls": calls})))
    assert watch.content_bytes == 6
    whole = {"choices": [{"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}  # fmt: skip
    assert voice.summarize(json.dumps(whole).encode()).content_bytes == 6
