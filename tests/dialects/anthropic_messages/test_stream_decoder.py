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


def decode(*parts: bytes) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return events + decoder.end()


START = Start(id="msg_1", model="m-1", usage=Usage(input=5))
USED = UsageUpdate(Usage(input=5, output=9))
ENDED: list[Event] = [USED, Finish("stop", "end_turn"), End()]


def decode_blocks(*frames: bytes) -> list[Event]:
    """Return the events of blocks, without those of the message's start and end."""
    events = decode(start() + b"".join(frames) + end() + STOP)
    assert (events[:1], events[-3:]) == ([START], ENDED)
    return events[1:-3]


def decode_whole_blocks(*blocks: Object) -> list[Event]:
    """Return the events of the blocks of a whole message, without its start and end."""
    events = TRANSLATION.decode_response(json.dumps(message(*blocks)).encode())
    return [event for event in events[1:-1] if not isinstance(event, Finish)]


def message(*blocks: Object, **more: Any) -> Object:
    return {"id": "msg_1", "type": "message", "model": "m-1", "content": [*blocks], "stop_reason": "end_turn", **more}  # fmt: skip


def test_a_stream_decodes_to_the_same_events_however_it_is_read() -> None:
    expected: list[Event] = [START, TextDelta("hello"), TextDelta(" you"), *ENDED]
    assert decode(WHOLE) == expected
    assert decode(*(WHOLE[at : at + 1] for at in range(len(WHOLE)))) == expected
    assert decode(WHOLE.replace(b"\n", b"\r\n")) == expected


def test_unknown_events_and_deltas_are_ignored_or_named() -> None:
    """The decoder ignores or names comments, pings, unknown events and members, and late frames."""
    odd = b": keep-alive\n\n" + event("new_event", x=1) + event("content_block_delta") + event("content_block_start") + event("message_start")  # fmt: skip
    odd += event("content_block_delta", index=7, delta={"type": "new_delta", "x": 1})
    odd += event("content_block_stop", index=9) + b"data: [DONE]\n\n"
    tail = b"event: data\ndata: [DONE]\n\n" + HELLO
    new = delta("new_delta", x=1)
    assert decode(start() + odd + EMPTY + PING + HELLO + new + new + done() + end() + STOP + tail) == [
        START, AnswerMetadata("new_event"), AnswerMetadata("content.new_delta"), TextDelta("hello"),
        AnswerMetadata("content.text.new_delta"), *ENDED,
    ]  # fmt: skip
    decoder = TRANSLATION.make_decoder()
    assert decoder.feed(WHOLE)[-1] == End()
    assert (decoder.feed(WHOLE), decoder.end()) == ([], [])


def test_data_over_two_lines_and_a_missing_last_blank_line_decode() -> None:
    split = WHOLE.replace(b'data: {"type": "message_start",', b'data: {"type": "message_start",\ndata: ')  # fmt: skip
    assert decode(split.removesuffix(b"\n\n")) == decode(WHOLE)
    assert decode(WHOLE.removesuffix(b"}\n\n"))[-1] == Finish("stop", "end_turn")


def test_whole_blocks_decode_to_the_events_of_their_deltas() -> None:
    thinking = [begin(type="thinking", thinking="", signature=""), delta("thinking_delta", thinking="a"), delta("signature_delta", signature="s=="), done()]  # fmt: skip
    assert decode_blocks(*thinking) == [ReasoningDelta("a"), ReasoningEnd(state="s==")]
    assert decode_whole_blocks(
        {"type": "thinking", "thinking": "a", "signature": "s=="}
    ) == decode_blocks(*thinking)
    sealed = begin(type="redacted_thinking", data="d")
    assert decode_blocks(sealed, done()) == decode_whole_blocks(
        {"type": "redacted_thinking", "data": "d"}
    )
    assert decode_blocks(sealed, done()) == [ReasoningEnd(state="d", redacted=True)]
    tool = begin(type="tool_use", id="t", name="f", input={})
    pieces = [delta("input_json_delta", partial_json=piece) for piece in ("", '{"a":', "1}")]
    assert decode_blocks(tool, *pieces, done()) == [ToolStart(0, "t", "f"), ToolDelta(0, '{"a":'), ToolDelta(0, "1}"), ToolEnd(0)]  # fmt: skip
    assert decode_whole_blocks({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}) == [ToolStart(0, "t", "f"), ToolDelta(0, '{"a":1}'), ToolEnd(0)]  # fmt: skip
    assert decode_blocks(tool, delta("input_json_delta", partial_json=""), done()) == [ToolStart(0, "t", "f"), ToolDelta(0, "{}"), ToolEnd(0)]  # fmt: skip


def test_hidden_thinking_still_has_its_signature() -> None:
    omitted = [begin(type="thinking", thinking=""), delta("signature_delta", signature="s"), done()]
    assert decode_blocks(*omitted) == [ReasoningEnd(state="s")]
    assert decode_blocks(begin(type="thinking", thinking="all", signature="s"), done()) == [ReasoningDelta("all"), ReasoningEnd(state="s")]  # fmt: skip


def test_a_block_may_start_with_its_whole_content() -> None:
    assert decode_blocks(begin(type="text", text="a"), delta(text="b"), done()) == [
        TextDelta("a"),
        TextDelta("b"),
    ]
    tool = begin(type="tool_use", id="t", name="f", input={"a": 1})
    assert decode_blocks(tool, done())[1] == ToolDelta(0, '{"a":1}')


def test_citations_name_the_words_they_support() -> None:
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
    assert decode_blocks(*frames) == [TextDelta("ab"), quote, TextDelta("cde"), *cited]
    blocks: list[Object] = [{"type": "text", "text": "ab"}, {"type": "text", "text": "cde", "citations": [web, page, 1]}]  # fmt: skip
    assert decode_whole_blocks(*blocks) == [TextDelta("ab"), TextDelta("cde"), *cited, quote]
    [_, malformed] = decode_whole_blocks({"type": "text", "text": "a", "citations": [{"url": 1}]})
    assert malformed == Citation(start=0, end=1, source={"url": 1}, name="content.citations")


def test_a_block_that_no_other_dialect_has_is_one_opaque_event() -> None:
    hosted: Object = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}
    pieces = [delta("input_json_delta", partial_json=piece) for piece in ('{"q"', ": 1}")]
    expected: list[Event] = [Opaque("content.server_tool_use", hosted)]
    assert decode_blocks(begin(**{**hosted, "input": {}}), *pieces, done()) == expected
    assert decode_whole_blocks(hosted) == expected
    cut_input = decode_blocks(begin(**hosted), pieces[0], done())
    assert cut_input == [Opaque("content.server_tool_use", {**hosted, "input": {"_raw": '{"q"'}})]
    empty = decode_blocks(begin(**hosted), delta("input_json_delta", partial_json=""), done())
    assert empty == [Opaque("content.server_tool_use", {**hosted, "input": {}})]
    compaction = [begin(type="compaction", content=None), delta("compaction_delta", content="a", x=None), delta("compaction_delta", content="b"), done()]  # fmt: skip
    assert decode_blocks(*compaction) == [
        Opaque("content.compaction", {"type": "compaction", "content": "ab"})
    ]
    assert decode_whole_blocks({"x": 1}) == [Opaque("content.unknown", {"x": 1})]


def test_missing_block_starts_and_ends_are_completed() -> None:
    """An open block ends with the message; a second start of an index ends the first."""
    bare = [delta("thinking_delta", thinking="a"), begin(0, type="text", text="b"), delta(index=1, text="c")]  # fmt: skip
    tool = begin(2, type="tool_use", id="t", name="f", input={})
    assert decode_blocks(*bare, tool) == [
        ReasoningDelta("a"), ReasoningEnd(), TextDelta("b"), TextDelta("c"), ToolStart(0, "t", "f"), ToolDelta(0, "{}"), ToolEnd(0),
    ]  # fmt: skip
    lost = [AnswerMetadata("content.input_json_delta")]
    assert decode_blocks(delta("input_json_delta", partial_json="{}")) == lost
    bare_end = decode(start() + delta("thinking_delta", thinking="a") + STOP)
    assert bare_end == [START, ReasoningDelta("a"), ReasoningEnd(), Finish("cut"), End()]


def test_a_delta_that_does_not_fit_its_block_is_named() -> None:
    tool = begin(1, type="tool_use", id="t", name="f", input={})
    odd = [begin(type="thinking", thinking="hm"), delta(text="a"), tool, delta("new_delta", 1, x=1)]
    names = [event.name for event in decode_blocks(*odd) if isinstance(event, AnswerMetadata)]
    assert names == ["content.thinking.text_delta", "content.tool_use.new_delta"]
    many = decode_blocks(EMPTY, *[delta(f"new_delta_{n}", x=1) for n in range(200)])
    assert sum(isinstance(event, AnswerMetadata) for event in many) == 100


@pytest.mark.parametrize("value", ["a", False, 0, {"b": None}])
def test_an_unknown_member_has_the_same_name_whole_and_streamed(value: Any) -> None:
    """Members have the same names in streams and in whole messages."""
    block: Object = {"type": "text", "text": "a", "x": value}
    ended = event("message_delta", delta={"stop_reason": "end_turn", "x": value}, usage={"x": value})  # fmt: skip
    names = [[event.name for event in events if isinstance(event, AnswerMetadata)] for events in (
        decode(start(x=value) + begin(**block) + ended + STOP),
        TRANSLATION.decode_response(json.dumps(message(block, x=value, usage={"x": value})).encode()),
    )]  # fmt: skip
    assert sorted(names[0]) == sorted(names[1]) == ["content.x", "message.x", "usage.x"]


def test_a_frame_without_a_type_is_named_by_its_members() -> None:
    assert decode(start() + b'data: {"x": 1}\n\n' + end() + STOP)[1] == AnswerMetadata("x")
    assert decode(start() + b"data: [DONE]\n\n" + end() + STOP)[1] == USED


def test_tools_are_numbered_in_order() -> None:
    tools = [begin(n, type="tool_use", id=f"t{n}", name="f", input={}) + done(n) for n in (1, 2)]
    assert [event for event in decode_blocks(*tools) if isinstance(event, ToolEnd)] == [
        ToolEnd(0),
        ToolEnd(1),
    ]


def test_usage_reports_are_cumulative() -> None:
    cached = start(cache_read_input_tokens=3, cache_creation_input_tokens=2)
    events = decode(cached + end(output_tokens_details={"thinking_tokens": 4}, input_tokens=None) + STOP)  # fmt: skip
    input_usage = Usage(input=5, cache_read=3, cache_write={"": 2})
    assert events[0] == Start(id="msg_1", model="m-1", usage=input_usage)
    assert events[1] == UsageUpdate(Usage(input=5, cache_read=3, cache_write={"": 2}, output=5, reasoning=4))  # fmt: skip


def test_missing_usage_is_unknown() -> None:
    bare = event("message_start", message={"model": ""}) + HELLO
    ended = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"x": 1})
    assert decode(bare + ended + STOP) == [
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
def test_the_stop_reason_decodes_to_a_finish(word: str, reason: Any) -> None:
    assert decode(start() + end(word) + STOP)[-2] == Finish(reason, word)
    whole = json.dumps(message(stop_reason=word)).encode()
    assert TRANSLATION.decode_response(whole)[-2:] == [Finish(reason, word), End()]


def test_the_finish_has_the_stop_sequence() -> None:
    ended = event("message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "##"})
    assert decode(start() + ended + STOP)[1] == Finish("stop", "stop_sequence", "##")


def test_a_missing_reason_is_cut_and_the_last_of_two_counts() -> None:
    assert decode(start() + HELLO + end(None) + STOP)[-2:] == [Finish("cut"), End()]
    bare = b'{"content":[{"type":"text","text":"a"}],"stop_reason":null}'
    assert TRANSLATION.decode_response(bare)[-2:] == [Finish("cut"), End()]
    twice = decode(start() + end("max_tokens") + end() + STOP)
    assert [event for event in twice if isinstance(event, Finish)] == [Finish("stop", "end_turn")]
    assert decode(start() + event("message_delta", delta=1, usage=1) + STOP)[-2:] == [Finish("cut"), End()]  # fmt: skip


def test_the_type_may_stand_in_the_event_line_only() -> None:
    """A few hosts write the type in the event line only."""
    bare = WHOLE
    for kind in ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"):  # fmt: skip
        bare = bare.replace(b'data: {"type": "' + kind.encode() + b'", ', b"data: {")
        bare = bare.replace(b'data: {"type": "' + kind.encode() + b'"}', b"data: {}")
    assert bare != WHOLE
    assert decode(bare) == decode(WHOLE)


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
def test_an_error_is_the_last_event_of_a_stream(frame: bytes, kind: str) -> None:
    events = decode(start() + EMPTY + HELLO + frame + WHOLE)
    assert events[:2] == [START, TextDelta("hello")]
    [failed] = events[2:]
    assert isinstance(failed, Failed)
    assert failed.problem.kind == kind


@pytest.mark.parametrize("head", [b"", end(), end("max_tokens")])
def test_usage_beside_an_error_counts(head: bytes) -> None:
    """A finish reason that came before the error stays before it."""
    failed = {"error": {"type": "api_error"}, "usage": {"output_tokens": 12}}
    events = decode(start() + HELLO + head + event("error", **failed) + HELLO)
    assert [type(event) for event in events[-2:]] == ([UsageUpdate, Failed] if not head else [Finish, Failed])  # fmt: skip
    [*_, update] = [event for event in events if isinstance(event, UsageUpdate)]
    assert update.usage == Usage(input=5, output=12)
    whole = TRANSLATION.decode_response(json.dumps({**message(), **failed}).encode())
    assert whole[0] == Start(id="msg_1", model="m-1", usage=Usage(output=12))
    assert [type(event) for event in whole[1:]] == [Failed]


def test_the_finish_waits_for_the_end_of_the_stream() -> None:
    """Without `message_stop` the reason learns it at the end of the stream, and there is no End."""
    decoder = TRANSLATION.make_decoder()
    assert decoder.feed(start() + end()) == [START, USED]
    assert decoder.end() == [Finish("stop", "end_turn")]


def test_half_a_frame_at_the_end_is_no_error() -> None:
    assert decode(start() + b'data: {"type": "mess') == [START]
    assert decode(start() + b": comment") == [START]


def test_a_frame_without_an_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialects.stream_frames.MAX_FRAME_BYTES", 100)
    decoder = TRANSLATION.make_decoder()
    [failed] = decoder.feed(b"data: " + b"x" * 100)
    assert failed == Failed(stream_frames.make_broken_problem("a frame without an end"))
    assert (decoder.feed(WHOLE), decoder.end()) == ([], [])


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"type": "error", "error": {"type": "api_error", "message": "no"}}'],
)  # fmt: skip
def test_a_body_that_is_no_answer_fails(body: bytes) -> None:
    [failed] = TRANSLATION.decode_response(body)
    assert isinstance(failed, Failed)
