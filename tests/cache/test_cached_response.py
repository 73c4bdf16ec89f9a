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
def test_what_is_written_is_read(made: CachedResponse) -> None:
    assert read(write(made)) == made


@given(st.binary(max_size=200))
def test_bytes_of_anybody_else_are_a_miss(data: bytes) -> None:
    assert read(data) is None
    assert read(b"\x01" + data) is None


@given(recordings, st.data())
def test_cut_and_longer_bytes_are_a_miss(made: CachedResponse, data: st.DataObject) -> None:
    whole = write(made)
    assert read(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None
    assert read(whole + b"\x00") is None


def test_another_version_is_a_miss() -> None:
    data = write(recording(TEXT))
    assert read(b"\x02" + data[1:]) is None
    fewer = msgspec.msgpack.encode({"dialect": "openai-chat", "stream": True, "body": b""})
    assert read(b"\x01" + fewer) is None


def tell(made: CachedResponse, *, stream: bool, with_usage: bool = False) -> bytes:
    told = render_answer(made, OPENAI_CHAT, stream=stream, with_usage=with_usage)
    assert told is not None
    return told


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
    said: dict[str, Any] = {
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
        said["id"], said["model"] = chunk.id, chunk.model
        said["usage"] = chunk.usage.to_dict() if chunk.usage else said["usage"]
        for choice in chunk.choices:
            said["content"] += choice.delta.content or ""
            said["reasoning"] += (choice.delta.model_extra or {}).get("reasoning_content") or ""
            said["finish"] = choice.finish_reason or said["finish"]
            for piece in choice.delta.tool_calls or ():
                held = calls.setdefault(piece.index, ["", "", ""])
                assert piece.function is not None
                held[0] += piece.id or ""
                held[1] += piece.function.name or ""
                held[2] += piece.function.arguments or ""
    said["calls"] = [tuple(calls[index]) for index in sorted(calls)]
    return {**said, "content": said["content"] or None, "reasoning": said["reasoning"] or None}


@pytest.mark.parametrize("told", [True, False], ids=["usage told", "usage stored"])
@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_stream_whole_and_stream_again_agree(body: bytes, told: bool) -> None:
    first = recording(body + (USAGE_FRAME if told else b"") + DONE)
    asked = chunks(tell(first, stream=True, with_usage=True))
    whole = tell(first, stream=False)
    assert decoded(whole) == asked
    assert asked["usage"]["total_tokens"] == 16

    second = recording(whole, stream=False)
    again = tell(second, stream=True, with_usage=True)
    assert chunks(again) == asked
    assert tell(recording(again), stream=False) == whole
    silent = tell(second, stream=True)
    assert chunks(silent) == {**asked, "usage": None}
    assert tell(recording(silent), stream=True, with_usage=True) == again


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_it_is_told_verbatim_where_it_was_recorded_like_that(body: bytes) -> None:
    asked, silent = body + USAGE_FRAME + DONE, body + DONE
    assert tell(recording(asked), stream=True, with_usage=True) == asked
    assert tell(recording(silent), stream=True) == silent
    assert tell(recording(asked), stream=True) == silent
    whole = b'{"id" : "a", "choices":[ ], "n": 1.50}'
    assert tell(recording(whole, stream=False), stream=False, with_usage=True) == whole


def test_usage_stays_with_a_client_that_has_not_asked_but_was_told() -> None:
    """The host sends usage unasked. If a client asked for it, other clients do not get it."""
    body = TEXT + USAGE_FRAME + DONE
    for asked, shown in ((False, True), (True, False)):
        made = msgspec.structs.replace(recording(body), with_usage=asked)
        assert (USAGE_FRAME in tell(made, stream=True)) == shown


def test_content_and_calls_are_those_of_the_stream() -> None:
    text = decoded(tell(recording(TEXT + DONE), stream=False))
    assert (text["content"], text["finish"]) == ('Hello \U0001f600 \u2028 "usage":{', "stop")
    tools = decoded(tell(recording(TOOLS + DONE), stream=False))
    assert tools["calls"] == [("call_a", "get_weather", '{"city":"Oslo"}'), ("call_b", "now", "{}")]
    assert tools["finish"] == "tool_calls"


def test_usage_that_nobody_knows_is_not_made_up() -> None:
    made = recording(TEXT + DONE, usage=None)
    assert tell(made, stream=True, with_usage=True) == TEXT + DONE
    assert decoded(tell(made, stream=False))["usage"] is None


@pytest.mark.parametrize("asked", [True, False])
def test_a_dialect_that_tells_usage_to_everybody_is_told_as_it_was(asked: bool) -> None:
    body = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    made = msgspec.structs.replace(recording(body), dialect="anthropic-messages")
    assert render_answer(made, ANTHROPIC_MESSAGES, stream=True, with_usage=asked) is body
    bare = msgspec.structs.replace(ANTHROPIC_MESSAGES, fold=lambda stream: stream)
    assert render_answer(made, bare, stream=False, with_usage=asked) is body


def test_another_dialect_is_a_miss() -> None:
    made = msgspec.structs.replace(recording(TEXT + DONE), dialect="anthropic-messages")
    assert render_answer(made, OPENAI_CHAT, stream=True, with_usage=False) is None


@pytest.mark.parametrize(
    "body",
    [b"data: 1\n\n", b"data: [1]\n\n", b"data: {\n\n", b'data: {"choices":[1]}\n\n',
     b'data: {"choices":{"a":1}}\n\n', b'data: {"choices":[{"index":[],"delta":{}}]}\n\n',
     frame(b'{"tool_calls":[1]}'), frame(b'"text"')],
)  # fmt: skip
def test_a_stream_that_cannot_be_told_whole_is_a_miss(body: bytes) -> None:
    made = recording(body + DONE)
    assert render_answer(made, OPENAI_CHAT, stream=False, with_usage=False) is None
    assert render_answer(made, OPENAI_CHAT, stream=True, with_usage=False) == body + DONE


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices":[1]}', b'{"choices":1}'])
def test_a_whole_answer_that_cannot_be_streamed_is_a_miss(body: bytes) -> None:
    made = recording(body, stream=False)
    assert render_answer(made, OPENAI_CHAT, stream=True, with_usage=True) is None
    assert render_answer(made, OPENAI_CHAT, stream=False, with_usage=True) == body
