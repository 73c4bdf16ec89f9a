"""Messages answers as events: whole, streamed, cut anywhere, and with the oddities of hosts."""

import json
from typing import Any

import pytest

from gateway.core.events import (
    AnswerMetadata,
    Citation,
    End,
    Event,
    Failed,
    Finish,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)  # fmt: skip
from gateway.core.usage import Usage
from gateway.dialects import stream_frames
from gateway.dialects.anthropic_messages import TRANSLATION
from tests.dialects.anthropic_messages.cases import (
    EMPTY,
    HELLO,
    PING,
    STOP,
    WHOLE,
    Object,
    begin,
    delta,
    done,
    end,
    event,
    start,
)


def run(*parts: bytes) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return events + decoder.end()


START = Start(id="msg_1", model="m-1", usage=Usage(input=5))
TOLD = UsageUpdate(Usage(input=5, output=9))
ENDED: list[Event] = [TOLD, Finish("stop", "end_turn"), End()]


def inner(*frames: bytes) -> list[Event]:
    """Return the events of blocks, without those of the message's start and end."""
    events = run(start() + b"".join(frames) + end() + STOP)
    assert (events[:1], events[-3:]) == ([START], ENDED)
    return events[1:-3]


def content(*blocks: Object) -> list[Event]:
    """Return the events of the blocks of a whole message, without its start and end."""
    events = TRANSLATION.decode_response(json.dumps(message(*blocks)).encode())
    return [it for it in events[1:-1] if not isinstance(it, Finish)]


def message(*blocks: Object, **more: Any) -> Object:
    return {"id": "msg_1", "type": "message", "model": "m-1", "content": [*blocks], "stop_reason": "end_turn", **more}  # fmt: skip


def test_a_stream() -> None:
    said: list[Event] = [START, TextDelta("hello"), TextDelta(" you"), *ENDED]
    assert run(WHOLE) == said
    assert run(*(WHOLE[at : at + 1] for at in range(len(WHOLE)))) == said
    assert run(WHOLE.replace(b"\n", b"\r\n")) == said


def test_what_is_beside_the_events_is_left_alone_or_named() -> None:
    """The decoder ignores or names comments, pings, unknown events and members, and late frames."""
    odd = b": keep-alive\n\n" + event("new_event", x=1) + event("content_block_delta") + event("content_block_start") + event("message_start")  # fmt: skip
    odd += event("content_block_delta", index=7, delta={"type": "new_delta", "x": 1})
    odd += event("content_block_stop", index=9) + b"data: [DONE]\n\n"
    tail = b"event: data\ndata: [DONE]\n\n" + HELLO
    new = delta("new_delta", x=1)
    assert run(start() + odd + EMPTY + PING + HELLO + new + new + done() + end() + STOP + tail) == [
        START, AnswerMetadata("new_event"), AnswerMetadata("content.new_delta"), TextDelta("hello"),
        AnswerMetadata("content.text.new_delta"), *ENDED,
    ]  # fmt: skip
    decoder = TRANSLATION.make_decoder()
    assert decoder.feed(WHOLE)[-1] == End()
    assert (decoder.feed(WHOLE), decoder.end()) == ([], [])


def test_data_over_two_lines_and_without_its_last_blank_line() -> None:
    split = WHOLE.replace(b'data: {"type": "message_start",', b'data: {"type": "message_start",\ndata: ')  # fmt: skip
    assert run(split.removesuffix(b"\n\n")) == run(WHOLE)
    assert run(WHOLE.removesuffix(b"}\n\n"))[-1] == Finish("stop", "end_turn")


def test_whole_blocks_say_what_their_deltas_say() -> None:
    thinking = [begin(type="thinking", thinking="", signature=""), delta("thinking_delta", thinking="a"), delta("signature_delta", signature="s=="), done()]  # fmt: skip
    assert inner(*thinking) == [ReasoningDelta("a"), ReasoningEnd(state="s==")]
    assert content({"type": "thinking", "thinking": "a", "signature": "s=="}) == inner(*thinking)
    sealed = begin(type="redacted_thinking", data="d")
    assert inner(sealed, done()) == content({"type": "redacted_thinking", "data": "d"})
    assert inner(sealed, done()) == [ReasoningEnd(state="d", redacted=True)]
    tool = begin(type="tool_use", id="t", name="f", input={})
    pieces = [delta("input_json_delta", partial_json=it) for it in ("", '{"a":', "1}")]
    assert inner(tool, *pieces, done()) == [ToolStart(0, "t", "f"), ToolDelta(0, '{"a":'), ToolDelta(0, "1}"), ToolEnd(0)]  # fmt: skip
    assert content({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}) == [ToolStart(0, "t", "f"), ToolDelta(0, '{"a":1}'), ToolEnd(0)]  # fmt: skip
    assert inner(tool, delta("input_json_delta", partial_json=""), done()) == [ToolStart(0, "t", "f"), ToolDelta(0, "{}"), ToolEnd(0)]  # fmt: skip


def test_thinking_that_is_not_shown_still_has_its_signature() -> None:
    omitted = [begin(type="thinking", thinking=""), delta("signature_delta", signature="s"), done()]
    assert inner(*omitted) == [ReasoningEnd(state="s")]
    assert inner(begin(type="thinking", thinking="all", signature="s"), done()) == [ReasoningDelta("all"), ReasoningEnd(state="s")]  # fmt: skip


def test_blocks_that_begin_with_all_they_say() -> None:
    assert inner(begin(type="text", text="a"), delta(text="b"), done()) == [
        TextDelta("a"),
        TextDelta("b"),
    ]
    tool = begin(type="tool_use", id="t", name="f", input={"a": 1})
    assert inner(tool, done())[1] == ToolDelta(0, '{"a":1}')


def test_citations_are_told_with_the_words_they_support() -> None:
    web = {"type": "web_search_result_location", "url": "https://a.test", "title": "t", "cited_text": "c", "encrypted_index": "e"}  # fmt: skip
    page = {"type": "char_location", "document_title": "d", "cited_text": "c"}
    frames = [begin(0, type="text", text="ab"), done(0), begin(1, type="text", text=""), delta("citations_delta", 1, citation=web), delta(index=1, text="cde"), delta("citations_delta", 1, citation=page), done(1)]  # fmt: skip
    cited = [
        Citation(
            url="https://a.test", title="t", start=2, end=5, source=web, name="content.citations"
        ),
        Citation(title="d", start=2, end=5, source=page, name="content.citations"),
    ]
    quote = AnswerMetadata("content.citations.cited_text")
    assert inner(*frames) == [TextDelta("ab"), quote, TextDelta("cde"), *cited]
    blocks: list[Object] = [{"type": "text", "text": "ab"}, {"type": "text", "text": "cde", "citations": [web, page, 1]}]  # fmt: skip
    assert content(*blocks) == [TextDelta("ab"), TextDelta("cde"), *cited, quote]
    [_, odd] = content({"type": "text", "text": "a", "citations": [{"url": 1}]})
    assert odd == Citation(start=0, end=1, source={"url": 1}, name="content.citations")


def test_what_no_other_dialect_has_is_told_whole() -> None:
    hosted: Object = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}
    pieces = [delta("input_json_delta", partial_json=it) for it in ('{"q"', ": 1}")]
    said: list[Event] = [Opaque("content.server_tool_use", hosted)]
    assert inner(begin(**{**hosted, "input": {}}), *pieces, done()) == said
    assert content(hosted) == said
    cut = inner(begin(**hosted), pieces[0], done())
    assert cut == [Opaque("content.server_tool_use", {**hosted, "input": {"_raw": '{"q"'}})]
    empty = inner(begin(**hosted), delta("input_json_delta", partial_json=""), done())
    assert empty == [Opaque("content.server_tool_use", {**hosted, "input": {}})]
    compaction = [begin(type="compaction", content=None), delta("compaction_delta", content="a", x=None), delta("compaction_delta", content="b"), done()]  # fmt: skip
    assert inner(*compaction) == [
        Opaque("content.compaction", {"type": "compaction", "content": "ab"})
    ]
    assert content({"x": 1}) == [Opaque("content.unknown", {"x": 1})]


def test_hosts_that_leave_out_where_a_block_begins_or_ends() -> None:
    """An open block ends with the message; a second start of an index ends the first."""
    bare = [delta("thinking_delta", thinking="a"), begin(0, type="text", text="b"), delta(index=1, text="c")]  # fmt: skip
    tool = begin(2, type="tool_use", id="t", name="f", input={})
    assert inner(*bare, tool) == [
        ReasoningDelta("a"), ReasoningEnd(), TextDelta("b"), TextDelta("c"), ToolStart(0, "t", "f"), ToolDelta(0, "{}"), ToolEnd(0),
    ]  # fmt: skip
    lost = [AnswerMetadata("content.input_json_delta")]
    assert inner(delta("input_json_delta", partial_json="{}")) == lost
    bare_end = run(start() + delta("thinking_delta", thinking="a") + STOP)
    assert bare_end == [START, ReasoningDelta("a"), ReasoningEnd(), Finish("cut"), End()]


def test_a_delta_that_does_not_fit_its_block_is_named() -> None:
    tool = begin(1, type="tool_use", id="t", name="f", input={})
    odd = [begin(type="thinking", thinking="hm"), delta(text="a"), tool, delta("new_delta", 1, x=1)]
    named = [it.name for it in inner(*odd) if isinstance(it, AnswerMetadata)]
    assert named == ["content.thinking.text_delta", "content.tool_use.new_delta"]
    many = inner(EMPTY, *[delta(f"new_delta_{n}", x=1) for n in range(200)])
    assert sum(isinstance(it, AnswerMetadata) for it in many) == 100


@pytest.mark.parametrize("value", ["a", False, 0, {"b": None}])
def test_what_is_unknown_has_one_name_in_answers_and_in_streams(value: Any) -> None:
    """Names in streams are those that the members have in the whole message."""
    odd: Object = {"type": "text", "text": "a", "x": value}
    ended = event("message_delta", delta={"stop_reason": "end_turn", "x": value}, usage={"x": value})  # fmt: skip
    names = [[it.name for it in events if isinstance(it, AnswerMetadata)] for events in (
        run(start(x=value) + begin(**odd) + ended + STOP),
        TRANSLATION.decode_response(json.dumps(message(odd, x=value, usage={"x": value})).encode()),
    )]  # fmt: skip
    assert sorted(names[0]) == sorted(names[1]) == ["content.x", "message.x", "usage.x"]


def test_a_frame_without_a_type_is_named_by_its_members() -> None:
    assert run(start() + b'data: {"x": 1}\n\n' + end() + STOP)[1] == AnswerMetadata("x")
    assert run(start() + b"data: [DONE]\n\n" + end() + STOP)[1] == TOLD


def test_two_tools_are_counted() -> None:
    tools = [begin(n, type="tool_use", id=f"t{n}", name="f", input={}) + done(n) for n in (1, 2)]
    assert [it for it in inner(*tools) if isinstance(it, ToolEnd)] == [ToolEnd(0), ToolEnd(1)]


def test_usage_is_cumulative() -> None:
    cached = start(cache_read_input_tokens=3, cache_creation_input_tokens=2)
    events = run(cached + end(output_tokens_details={"thinking_tokens": 4}, input_tokens=None) + STOP)  # fmt: skip
    known = Usage(input=5, cache_read=3, cache_write={"": 2})
    assert events[0] == Start(id="msg_1", model="m-1", usage=known)
    assert events[1] == UsageUpdate(Usage(input=5, cache_read=3, cache_write={"": 2}, output=5, reasoning=4))  # fmt: skip


def test_usage_that_is_not_told() -> None:
    bare = event("message_start", message={"model": ""}) + HELLO
    ended = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"x": 1})
    assert run(bare + ended + STOP) == [
        Start(),
        TextDelta("hello"),
        AnswerMetadata("usage.x"),
        Finish("stop", "end_turn"),
        End(),
    ]
    bare_whole = b'{"content": [1], "stop_reason": "end_turn"}'
    assert TRANSLATION.decode_response(bare_whole) == [Start(), Finish("stop", "end_turn"), End()]
    whole = message(usage={"input_tokens": 1, "output_tokens": 2})
    assert TRANSLATION.decode_response(json.dumps(whole).encode())[1] == UsageUpdate(
        Usage(input=1, output=2)
    )


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("model_context_window_exceeded", "length"), ("tool_use", "tools"),
        ("refusal", "filter"), ("pause_turn", "pause"), ("compaction", "pause"), ("new_reason", "length"),
    ],
)  # fmt: skip
def test_why_it_ended(word: str, reason: Any) -> None:
    assert run(start() + end(word) + STOP)[-2] == Finish(reason, word)
    whole = json.dumps(message(stop_reason=word)).encode()
    assert TRANSLATION.decode_response(whole)[-2:] == [Finish(reason, word), End()]


def test_the_stop_sequence_that_ended_it() -> None:
    ended = event("message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "##"})
    assert run(start() + ended + STOP)[1] == Finish("stop", "stop_sequence", "##")


def test_an_end_that_names_no_reason_or_two() -> None:
    assert run(start() + HELLO + end(None) + STOP)[-2:] == [Finish("cut"), End()]
    bare = b'{"content":[{"type":"text","text":"a"}],"stop_reason":null}'
    assert TRANSLATION.decode_response(bare)[-2:] == [Finish("cut"), End()]
    twice = run(start() + end("max_tokens") + end() + STOP)
    assert [it for it in twice if isinstance(it, Finish)] == [Finish("stop", "end_turn")]
    assert run(start() + event("message_delta", delta=1, usage=1) + STOP)[-2:] == [Finish("cut"), End()]  # fmt: skip


def test_events_that_are_named_once() -> None:
    """A few hosts write the type in the event line only."""
    bare = WHOLE
    for kind in ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"):  # fmt: skip
        bare = bare.replace(b'data: {"type": "' + kind.encode() + b'", ', b"data: {")
        bare = bare.replace(b'data: {"type": "' + kind.encode() + b'"}', b"data: {}")
    assert bare != WHOLE
    assert run(bare) == run(WHOLE)


OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (OVERLOADED, "upstream_overloaded"),
        (OVERLOADED.replace(b"event: error\n", b""), "upstream_overloaded"),
        (b'event: error\ndata: {"error": {"type": "rate_limit_error"}}\n\n', "upstream_rate_limited"),
        (b"event: error\ndata: bad gateway\n\n", "upstream_error"),
        (b'data: {"error": "no"}\n\n', "upstream_error"),
        (b'data: {"type": "message_stop", "error": {"type": "api_error"}}\n\n', "upstream_error"),
        (b"data: {broken\n\n", "upstream_error"),
        (b"data: [1]\n\n", "upstream_error"),
    ],
)  # fmt: skip
def test_an_error_in_a_stream_is_the_last_event(frame: bytes, kind: str) -> None:
    events = run(start() + EMPTY + HELLO + frame + WHOLE)
    assert events[:2] == [START, TextDelta("hello")]
    [failed] = events[2:]
    assert isinstance(failed, Failed)
    assert failed.problem.kind == kind


@pytest.mark.parametrize("head", [b"", end(), end("max_tokens")])
def test_usage_beside_an_error_counts(head: bytes) -> None:
    """A reason that came before the error is told before it too."""
    failed = {"error": {"type": "api_error"}, "usage": {"output_tokens": 12}}
    events = run(start() + HELLO + head + event("error", **failed) + HELLO)
    assert [type(it) for it in events[-2:]] == ([UsageUpdate, Failed] if not head else [Finish, Failed])  # fmt: skip
    [*_, told] = [it for it in events if isinstance(it, UsageUpdate)]
    assert told.usage == Usage(input=5, output=12)
    whole = TRANSLATION.decode_response(json.dumps({**message(), **failed}).encode())
    assert whole[0] == Start(id="msg_1", model="m-1", usage=Usage(output=12))
    assert [type(it) for it in whole[1:]] == [Failed]


def test_the_reason_waits_for_the_end() -> None:
    """Without `message_stop` the reason is told at the end of the stream, and there is no End."""
    decoder = TRANSLATION.make_decoder()
    assert decoder.feed(start() + end()) == [START, TOLD]
    assert decoder.end() == [Finish("stop", "end_turn")]


def test_half_a_frame_at_the_end_is_no_error() -> None:
    assert run(start() + b'data: {"type": "mess') == [START]
    assert run(start() + b": comment") == [START]


def test_a_frame_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialects.stream_frames.MAX_FRAME_BYTES", 100)
    decoder = TRANSLATION.make_decoder()
    [failed] = decoder.feed(b"data: " + b"x" * 100)
    assert failed == Failed(stream_frames.make_broken_problem("a frame without an end"))
    assert (decoder.feed(WHOLE), decoder.end()) == ([], [])


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"type": "error", "error": {"type": "api_error", "message": "no"}}'],
)  # fmt: skip
def test_what_is_no_answer_failed(body: bytes) -> None:
    [failed] = TRANSLATION.decode_response(body)
    assert isinstance(failed, Failed)
