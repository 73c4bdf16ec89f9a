"""Frames of the form of one before are not looked into: to all who ask it is as if they were."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    OPENAI_CHAT,
    RequestBody,
    StreamInspector,
    stream_commit,
)
from gateway.dialects.frame_template import FrameTemplate, learn_template
from gateway.dialects.openai_chat import amount
from tests.dialects.cases import TEXT, Object, ask, chunk, pieces

HOLE = re.compile(rb'"content":[ ]?"')
KEPT = ("committed", "complete", "usage", "served_model", "finish", "content_bytes", "problem")


def frame(value: Object, *, spaced: bool = False, odd: bool = False) -> bytes:
    parts = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(value, separators=parts, ensure_ascii=odd).encode() + b"\n\n"


def said(text: str, **more: Any) -> Object:
    return chunk({"content": text}, logprobs=None, **more)


def plain(_: bytes) -> bool:
    return True


def form(data: bytes) -> FrameTemplate | None:
    return learn_template(data, HOLE, amount.chunk, plain)


def form_of(value: Object) -> FrameTemplate:
    found = form(frame(value))
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["", "a", " two words.", "\u00e4\u2028\U0001f600", "}]"])
def test_a_text_is_counted_in_bytes(text: str) -> None:
    found = form_of(said("Hello", usage=None))
    assert found.count_text_bytes(frame(said(text, usage=None))) == len(text.encode())


@pytest.mark.parametrize("text", ['"', "\\", "\n", "[DONE]", "a\u0007", "\x7f"])
def test_a_text_that_may_mean_more_is_looked_into(text: str) -> None:
    assert form_of(said("Hello")).count_text_bytes(frame(said(text))) == -1


def test_what_is_not_unicode_is_looked_into() -> None:
    data = frame(said("Hello"))
    assert form_of(said("Hello")).count_text_bytes(data.replace(b"Hello", b"\xff")) == -1
    assert form_of(said("Hello")).count_text_bytes(data.replace(b"Hello", b"\xed\xa0\x80")) == -1


def test_another_form_is_looked_into() -> None:
    found = form_of(said("Hello", usage=None))
    assert found.count_text_bytes(frame(said("Hello", usage={"prompt_tokens": 1}))) == -1
    assert found.count_text_bytes(frame(said("Hello"))) == -1
    assert found.count_text_bytes(b"data: {}\n\n") == -1
    both = frame(said("", usage=None))
    half = both[: both.index(HOLE.search(both)[0]) + 2]  # type: ignore[index]
    assert found.count_text_bytes(half + both[len(half) + 1 :]) == -1


def test_padding_is_not_counted() -> None:
    """OpenAI hides the length of each piece."""
    found = form_of(said("Hello", obfuscation="x1"))
    assert found.count_text_bytes(frame(said("you", obfuscation="abcdef"))) == 3
    assert found.count_text_bytes(frame(said("you", obfuscation=""))) == 3
    assert found.count_text_bytes(frame(said("you", obfuscation='"'))) == -1
    assert found.count_text_bytes(frame(said("you"))) == -1
    other = frame(said("you", obfuscation="a")).replace(b"obfuscation", b"obfuscat1on")
    assert found.count_text_bytes(other) == -1


@pytest.mark.parametrize(
    "data",
    [
        b"", b"data: {}\n\n", b': "content":"a"}\n\n', b': "content":"a"\n\ndata: {}\n\n',
        frame(said("a")) + frame(said("b")),
        frame(said("a")).replace(b"\n", b"\r\n"),
        frame(said("a"))[:-1],
        frame(said("a" * 5000)),
        frame(said('a "word"')),
        frame(chunk({"content": "abc", "reasoning": "abc"})),
        frame(chunk({"tool_calls": [{"function": {"name": "x"}}]}, x={"content": "x"})),
        b'data: {"choices":[{"delta":{"content":"a","obfuscation":"}}]}\n\n',
    ],
)  # fmt: skip
def test_a_frame_that_says_something_else_has_no_form(data: bytes) -> None:
    assert form(data) is None


def test_a_frame_that_tells_more_has_no_form() -> None:
    assert learn_template(frame(said("a")), HOLE, amount.chunk, lambda _: False) is None


MARKS = st.sampled_from(
    ["[DONE]", '"usage":{', '"finish_reason":"', '"error":1', '"object":"error"', "event: error", "\\", '"', "\n\n", '"content":"', '"text":"', "}\n\n"]
)  # fmt: skip
PLACE = "PLACE OF THE TEXT"
WORDS = st.one_of(TEXT, MARKS, st.tuples(TEXT, MARKS, TEXT).map("".join))
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
MORE: list[Object] = [
    {}, {"usage": None}, {"obfuscation": "a1"}, {"obfuscation": "b22"}, {"usage": USAGE}, {"error": None},
    {"error": {"message": "no"}}, {"service_tier": "flex"}, {"model": "m-2"}, {"x_groq": {"usage": USAGE}}, {"object": "error"},
]  # fmt: skip


def _shape(data: bytes, *, odd: bool) -> "Shape":
    def write(text: str) -> bytes:
        return data.replace(PLACE.encode(), json.dumps(text, ensure_ascii=odd).encode()[1:-1])

    return write


type Shape = Callable[[str], bytes]


@st.composite
def chat(draw: st.DrawFn) -> Shape:
    text = PLACE
    delta: Object = draw(
        st.sampled_from([{"content": text}, {"content": text, "role": "assistant"}, {"reasoning": text}, {"content": text, "reasoning": "b"}, {"content": None, "refusal": text}])
    )  # fmt: skip
    index, finish = draw(st.sampled_from([0, 0, 0, 1])), draw(st.sampled_from([None, None, "stop"]))
    value = chunk(delta, index=index, finish=finish, **draw(st.sampled_from(MORE)))
    return _shape(frame(value, spaced=draw(st.booleans())), odd=draw(st.booleans()))


@st.composite
def messages(draw: st.DrawFn) -> Shape:
    text, index = PLACE, draw(st.sampled_from([0, 0, 1]))
    delta: Object = draw(
        st.sampled_from([{"type": "text_delta", "text": text}, {"type": "thinking_delta", "thinking": text}, {"type": "x", "text": text, "thinking": "b"}, {"type": "input_json_delta", "partial_json": text}])
    )  # fmt: skip
    value: Object = draw(
        st.sampled_from([
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": text}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "text": text}, "usage": {"output_tokens": 3}},
            {"type": "error", "error": {"type": "overloaded_error", "message": text}},
            {"type": "message_stop"}, {"type": "ping"},
        ])
    )  # fmt: skip
    data = frame(value, spaced=draw(st.booleans()))
    named = b"event: %b\n" % value["type"].encode() if draw(st.booleans()) else b""
    return _shape(named + data, odd=draw(st.booleans()))


STRANGE = [
    b": ping\n\n",
    b"\n",
    b"data: {\n\n",
    b"data: [DONE]\n\n",
    b"event: error\ndata: {}\n\n",
    b"\xff",
]


def _told(watch: StreamInspector) -> list[object]:
    return [getattr(watch, name) for name in KEPT]


def _alike(
    start: Callable[[RequestBody], StreamInspector], body: RequestBody, reads: Sequence[bytes]
) -> None:
    watch, slow = start(body), start(body)
    assert isinstance(slow, stream_commit.StreamBuffer)
    slow._template_misses = stream_commit._MAX_TEMPLATE_MISSES  # no form is learned
    for data in reads:
        assert watch.feed(data) == slow.feed(data)
        assert _told(watch) == _told(slow)
    assert watch.end() == slow.end()
    assert _told(watch) == _told(slow)


@st.composite
def streams(draw: st.DrawFn, kind: st.SearchStrategy[Shape]) -> list[bytes]:
    """Frames of few shapes, as those of a stream are."""
    shapes = draw(st.lists(kind, min_size=1, max_size=3))
    first, odd = shapes[0]("a"), st.sampled_from(STRANGE)
    one = st.tuples(st.sampled_from([shapes[0], *shapes]), WORDS).map(lambda it: it[0](it[1]))
    return [first, first, *draw(st.lists(st.one_of(one, one, one, odd), max_size=10))]


CUTS = st.lists(st.integers(0, 3000), max_size=2)


@given(streams(chat()), CUTS, st.booleans(), st.sampled_from([1, 1, 2]))
def test_chat_is_told_as_if_each_frame_were_looked_into(
    sent: list[bytes], cuts: list[int], usage: bool, n: int
) -> None:
    """Each frame as a read of its own, and streams that are cut anywhere."""
    body = ask(stream=True, usage=usage, n=n)
    for reads in (sent, pieces(b"".join(sent), cuts)):
        _alike(OPENAI_CHAT.inspect_stream, body, reads)


@given(streams(messages()), CUTS)
def test_messages_are_told_as_if_each_frame_were_looked_into(
    sent: list[bytes], cuts: list[int]
) -> None:
    body = ask(stream=True)
    for reads in (sent, pieces(b"".join(sent), cuts)):
        _alike(ANTHROPIC_MESSAGES.inspect_stream, body, reads)


def test_the_form_is_used() -> None:
    """And after another form that of the next frame is learned; not for ever."""
    watch = OPENAI_CHAT.inspect_stream(ask(stream=True))
    assert isinstance(watch, stream_commit.StreamBuffer)
    for at, text in enumerate(("a", "b", "c", "d")):
        watch.feed(frame(said(text)))
        assert (watch._template is not None) == (at > 0)
    assert watch.content_bytes == 4
    first = watch._template
    for at in range(stream_commit._MAX_TEMPLATE_MISSES + 3):
        watch.feed(frame(said("e", x=at)))
    assert watch._template not in (None, first)
    assert watch._template_misses == stream_commit._MAX_TEMPLATE_MISSES
    kept = watch._template
    watch.feed(frame(said("f", x=-1)))
    assert watch._template is kept
    watch.feed(frame(said("f", x=stream_commit._MAX_TEMPLATE_MISSES - 1)))
    assert watch._template_misses == 0
