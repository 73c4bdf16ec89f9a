"""A recording: its bytes, and that streamed, whole and streamed again it says the same."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.cache.cached_response import CachedResponse, read, render_answer, write
from gateway.core import jsonio, sse
from gateway.core.usage import Usage
from gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT
from tests.cache.recorded import DONE, STREAMS, TEXT, TOOLS, USAGE_FRAME, frame, recording

texts = st.text(max_size=5)
usages = st.none() | st.builds(
    Usage,
    input=st.none() | st.integers(0, 9),
    output=st.none() | st.integers(0, 9),
    cache_write=st.dictionaries(texts, st.integers(0, 9), max_size=2),
)
recordings = st.builds(
    CachedResponse,
    dialect=texts,
    stream=st.booleans(),
    body=st.binary(max_size=50),
    usage=usages,
    served=st.none() | texts,
    finish=st.none() | texts,
    provider=texts,
    account=st.none() | texts,
    model=texts,
    tier=texts,
    lab=texts,
    created=st.floats(0, 2e9),
    with_usage=st.booleans(),
)


@given(recordings)
def test_read_returns_what_write_has_written(cached: CachedResponse) -> None:
    assert read(write(cached)) == cached


@given(st.binary(max_size=200))
def test_foreign_bytes_are_a_miss(data: bytes) -> None:
    assert read(data) is None
    assert read(b"\x01" + data) is None


@given(recordings, st.data())
def test_bytes_of_another_length_are_a_miss(cached: CachedResponse, data: st.DataObject) -> None:
    whole = write(cached)
    assert read(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None
    assert read(whole + b"\x00") is None


def test_a_response_of_another_version_is_a_miss() -> None:
    data = write(recording(TEXT))
    assert read(b"\x02" + data[1:]) is None
    fewer = msgspec.msgpack.encode({"dialect": "openai-chat", "stream": True, "body": b""})
    assert read(b"\x01" + fewer) is None


def render(cached: CachedResponse, *, stream: bool, with_usage: bool = False) -> bytes:
    rendered = render_answer(cached, OPENAI_CHAT, stream=stream, with_usage=with_usage)
    assert rendered is not None
    return rendered


def decoded(body: bytes) -> dict[str, Any]:
    """Read a whole answer with the official SDK's types."""
    completion = ChatCompletion.model_validate(jsonio.loads(body), strict=True)
    (choice,) = completion.choices
    calls = [
        (call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or ()
        if call.type == "function"
    ]
    return {
        "id": completion.id,
        "model": completion.model,
        "content": choice.message.content or None,
        "reasoning": (choice.message.model_extra or {}).get("reasoning_content"),
        "calls": calls,
        "finish": choice.finish_reason,
        "usage": completion.usage and completion.usage.to_dict(),
    }


def chunks(body: bytes) -> dict[str, Any]:
    """Read a stream with the official SDK's types, and add up its fields."""
    answer: dict[str, Any] = {
        "id": None, "model": None, "content": "", "reasoning": "", "calls": [], "finish": None,
        "usage": None,
    }  # fmt: skip
    frames = [sse.read_data(frame) for frame in sse.split_frames(body)]
    assert frames[-1] == b"[DONE]"
    calls: dict[int, list[str]] = {}
    for payload in frames[:-1]:
        if not payload:
            continue
        chunk = ChatCompletionChunk.model_validate(jsonio.loads(payload), strict=True)
        answer["id"], answer["model"] = chunk.id, chunk.model
        answer["usage"] = chunk.usage.to_dict() if chunk.usage else answer["usage"]
        for choice in chunk.choices:
            answer["content"] += choice.delta.content or ""
            answer["reasoning"] += (choice.delta.model_extra or {}).get("reasoning_content") or ""
            answer["finish"] = choice.finish_reason or answer["finish"]
            for piece in choice.delta.tool_calls or ():
                call_parts = calls.setdefault(piece.index, ["", "", ""])
                assert piece.function is not None
                call_parts[0] += piece.id or ""
                call_parts[1] += piece.function.name or ""
                call_parts[2] += piece.function.arguments or ""
    answer["calls"] = [tuple(calls[index]) for index in sorted(calls)]
    return {
        **answer,
        "content": answer["content"] or None,
        "reasoning": answer["reasoning"] or None,
    }


@pytest.mark.parametrize("sent_usage", [True, False], ids=["usage in the stream", "usage stored"])
@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_a_streamed_answer_says_the_same_whole_and_streamed_again(
    body: bytes, sent_usage: bool
) -> None:
    first = recording(body + (USAGE_FRAME if sent_usage else b"") + DONE)
    expected = chunks(render(first, stream=True, with_usage=True))
    whole = render(first, stream=False)
    assert decoded(whole) == expected
    assert expected["usage"]["total_tokens"] == 16

    second = recording(whole, stream=False)
    again = render(second, stream=True, with_usage=True)
    assert chunks(again) == expected
    assert render(recording(again), stream=False) == whole
    silent = render(second, stream=True)
    assert chunks(silent) == {**expected, "usage": None}
    assert render(recording(silent), stream=True, with_usage=True) == again


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_a_client_gets_the_recorded_bytes_if_it_asks_in_the_same_form(body: bytes) -> None:
    with_usage, silent = body + USAGE_FRAME + DONE, body + DONE
    assert render(recording(with_usage), stream=True, with_usage=True) == with_usage
    assert render(recording(silent), stream=True) == silent
    assert render(recording(with_usage), stream=True) == silent
    whole = b'{"id" : "a", "choices":[ ], "n": 1.50}'
    assert render(recording(whole, stream=False), stream=False, with_usage=True) == whole


def test_only_usage_that_a_client_asked_for_is_removed_for_others() -> None:
    """The host sends usage unasked. If a client asked for it, other clients do not get it."""
    body = TEXT + USAGE_FRAME + DONE
    for with_usage, shown in ((False, True), (True, False)):
        cached = msgspec.structs.replace(recording(body), with_usage=with_usage)
        assert (USAGE_FRAME in render(cached, stream=True)) == shown


def test_the_whole_answer_has_the_content_and_tool_calls_of_the_stream() -> None:
    text = decoded(render(recording(TEXT + DONE), stream=False))
    assert (text["content"], text["finish"]) == ('Hello \U0001f600 \u2028 "usage":{', "stop")
    tools = decoded(render(recording(TOOLS + DONE), stream=False))
    assert tools["calls"] == [("call_a", "get_weather", '{"city":"Oslo"}'), ("call_b", "now", "{}")]
    assert tools["finish"] == "tool_calls"


def test_the_cache_makes_no_unknown_usage_up() -> None:
    cached = recording(TEXT + DONE, usage=None)
    assert render(cached, stream=True, with_usage=True) == TEXT + DONE
    assert decoded(render(cached, stream=False))["usage"] is None


@pytest.mark.parametrize("with_usage", [True, False])
def test_an_answer_of_a_dialect_that_always_sends_usage_stays_unchanged(with_usage: bool) -> None:
    body = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    cached = msgspec.structs.replace(recording(body), dialect="anthropic-messages")
    assert render_answer(cached, ANTHROPIC_MESSAGES, stream=True, with_usage=with_usage) is body
    bare = msgspec.structs.replace(ANTHROPIC_MESSAGES, fold=lambda stream: stream)
    assert render_answer(cached, bare, stream=False, with_usage=with_usage) is body


def test_an_answer_of_another_dialect_is_a_miss() -> None:
    cached = msgspec.structs.replace(recording(TEXT + DONE), dialect="anthropic-messages")
    assert render_answer(cached, OPENAI_CHAT, stream=True, with_usage=False) is None


@pytest.mark.parametrize(
    "body",
    [b"data: 1\n\n", b"data: [1]\n\n", b"data: {\n\n", b'data: {"choices":[1]}\n\n',
     b'data: {"choices":{"a":1}}\n\n', b'data: {"choices":[{"index":[],"delta":{}}]}\n\n',
     frame(b'{"tool_calls":[1]}'), frame(b'"text"')],
)  # fmt: skip
def test_a_stream_that_cannot_become_a_whole_answer_is_a_miss(body: bytes) -> None:
    cached = recording(body + DONE)
    assert render_answer(cached, OPENAI_CHAT, stream=False, with_usage=False) is None
    assert render_answer(cached, OPENAI_CHAT, stream=True, with_usage=False) == body + DONE


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices":[1]}', b'{"choices":1}'])
def test_a_whole_answer_that_cannot_be_streamed_is_a_miss(body: bytes) -> None:
    cached = recording(body, stream=False)
    assert render_answer(cached, OPENAI_CHAT, stream=True, with_usage=True) is None
    assert render_answer(cached, OPENAI_CHAT, stream=False, with_usage=True) == body
