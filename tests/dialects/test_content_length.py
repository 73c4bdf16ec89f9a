"""The amount of content in an answer, on which estimates of its tokens rest."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import (
    AnswerMetadata,
    Declined,
    End,
    Event,
    GeneratedMedia,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
)  # fmt: skip
from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    DIALECTS,
    OPENAI_CHAT,
    ResponseContext,
    Translation,
    content_length,
)
from gateway.dialects.base import Dialect, StreamInspector
from gateway.dialects.translation import TranslatableRequest, get_translation
from tests.dialects.cases import TEXT, Object, ask, chunk, pieces, sse

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
    (GeneratedMedia("audio", "QUJD", "message.audio", transcript="said"), 4),
    (GeneratedMedia("image", "QUJD", "message.images"), 0),
    (AnswerMetadata("images"), 0),
]


@pytest.mark.parametrize(("event", "size"), EVENTS)
def test_each_event_has_a_content_length(event: Event, size: int) -> None:
    assert content_length.count_event_bytes(event) == size


@pytest.mark.parametrize(
    ("value", "size"), [("a\ud800", 2), (None, 0), (7, 0), ({"data": "x"}, 0), (["a", {"text": "b"}], 2)]
)  # fmt: skip
def test_text_counts_as_utf_8_bytes_at_any_depth(value: Any, size: int) -> None:
    """A lone surrogate, which JSON may escape, counts as the one byte that replaces it."""
    assert content_length.count_text_bytes(value) == size


CONTENT_EVENTS: list[Event] = [
    Start(id="r-1", model="m", created=1),
    *(ReasoningDelta(text) for text in ("let ", "me see")),
    *(TextDelta(text) for text in ("h\u00e9", " and \U0001f600", '"quoted\\"')),
    ToolStart(0, "call_1", "look"),
    *(ToolDelta(0, text) for text in ('{"at":', "1}")),
    ToolEnd(0),
]


@pytest.mark.parametrize("target_dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("client", DIALECTS.values(), ids=DIALECTS)
def test_native_and_translated_streams_count_the_same_content(
    client: Dialect, target_dialect: Dialect
) -> None:
    """Both count the same in a cut stream, for every pair of dialects."""
    request = TranslatableRequest(DIALECTS["openai-chat"], ask(stream=True)).request
    encoder = get_translation(target_dialect).make_encoder(
        ResponseContext(id="1", created_at=1, model="m", request=request)
    )
    stream = b"".join([encoder.write(event) for event in CONTENT_EVENTS])
    inspector = _watch(client, target_dialect, request)
    for at in range(0, len(stream), 100):
        inspector.feed(stream[at : at + 100])
    assert not inspector.complete
    assert inspector.content_bytes == sum(map(content_length.count_event_bytes, CONTENT_EVENTS))


def _watch(client: Dialect, target_dialect: Dialect, request: CanonicalRequest) -> StreamInspector:
    body = ask(stream=True)
    if client is target_dialect:
        return target_dialect.inspect_stream(body)
    return Translation(
        client, target_dialect, request, ResponseContext(id="1", created_at=1, model="m")
    ).inspect_stream(body)


CUTS = st.lists(st.integers(0, 3000), max_size=4)
MARKS = st.sampled_from(
    ["[DONE]", '"usage":{', '"finish_reason":"', '"error":1', '"object":"error"', '"type":"error"', "event: error", '"content":"', '"text":"', "}\n\n", "\x7f"]
)  # fmt: skip
WORDS = TEXT | MARKS | st.tuples(TEXT, MARKS, TEXT).map("".join)


def _chat_delta(text: str) -> Object:
    return chunk({"content": text}, logprobs=None, usage=None)


def _padded_delta(text: str) -> Object:
    """Make a chunk whose text length OpenAI hides behind a member that no count includes."""
    return _chat_delta(text) | {"obfuscation": "x" * (9 - len(text) % 9)}


def _messages_delta(text: str) -> Object:
    delta = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


@pytest.mark.parametrize(
    ("dialect", "write_delta"),
    [
        (OPENAI_CHAT, _chat_delta),
        (OPENAI_CHAT, _padded_delta),
        (ANTHROPIC_MESSAGES, _messages_delta),
    ],
)
@given(
    texts=st.lists(WORDS, max_size=6),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    separators=st.sampled_from([(", ", ": "), (",", ":")]),
    escaped=st.booleans(),
    cuts=CUTS,
)
def test_native_text_counts_in_bytes_however_it_is_written_and_read(
    dialect: Dialect,
    write_delta: Callable[[str], Object],
    texts: list[str],
    line_end: bytes,
    separators: tuple[str, str],
    escaped: bool,
    cuts: list[int],
) -> None:
    """A read may have one frame, many frames, or end inside a frame."""
    frames = [
        b"data: "
        + json.dumps(write_delta(text), separators=separators, ensure_ascii=escaped).encode()
        + line_end * 2
        for text in ["a", *texts]
    ]
    text_bytes = 1 + sum(len(text.encode()) for text in texts)
    for reads in (frames, pieces(b"".join(frames), cuts)):
        inspector = dialect.inspect_stream(ask(stream=True))
        passed = [inspector.feed(data) for data in reads]
        assert b"".join(passed) == b"".join(frames)
        assert inspector.content_bytes == text_bytes
        assert (inspector.problem, inspector.complete) == (None, False)


@pytest.mark.parametrize(
    ("dialect", "write_delta"), [(OPENAI_CHAT, _chat_delta), (ANTHROPIC_MESSAGES, _messages_delta)]
)
@pytest.mark.parametrize("spoilt", [b"\xff", b"\xed\xa0\x80", b"\x01", rb"\ud800", rb"\x"])
def test_a_frame_with_broken_text_fails_after_frames_of_the_same_shape(
    dialect: Dialect, write_delta: Callable[[str], Object], spoilt: bytes
) -> None:
    inspector = dialect.inspect_stream(ask(stream=True))
    frame = sse(write_delta("Hello"), done=False)
    assert [inspector.feed(frame) for _ in range(3)] == [frame] * 3
    assert inspector.feed(frame.replace(b"Hello", spoilt)) == b""
    assert inspector.problem is not None
    assert (inspector.problem.kind, inspector.content_bytes) == ("upstream_error", 15)


def test_tool_calls_that_the_client_does_not_get_still_count() -> None:
    """The provider bills them: a client that takes one at a time gets the first of several."""
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
    translation = Translation(DIALECTS["anthropic-messages"], DIALECTS["openai-chat"], request, ResponseContext(id="1", created_at=1, model="m"))  # fmt: skip
    calls = [
        {"index": at, "id": f"c{at}", "function": {"name": "f", "arguments": "{}"}} for at in (0, 1)
    ]
    inspector = translation.inspect_stream(ask(stream=True))
    inspector.feed(sse(chunk({"tool_calls": calls})))
    assert inspector.content_bytes == 6
    whole = {"choices": [{"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}  # fmt: skip
    assert translation.summarize(json.dumps(whole).encode()).content_bytes == 6
