"""Answers as events: real answers of hosts, whole and in pieces."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import (
    AnswerMetadata,
    Citation,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    GeneratedMedia,
    LogProbs,
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
from gateway.dialects.openai_chat import TRANSLATION
from tests.dialects.cases import TEXT, Object, chunk, make_usage_chunk, pieces, sse

START = Start(id="c1", model="m-1", created=1)


def decode(data: bytes, *cuts: int) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in pieces(data, cuts) for event in decoder.feed(part)]
    return [*events, *decoder.end()]


def decode_deltas(*deltas: Object, finish: str = "stop") -> list[Event]:
    """Return the events of deltas, without their start and end."""
    first, *events, last = decode(sse(*[chunk(delta) for delta in deltas], chunk(finish=finish)))
    assert (first, last) == (START, End())
    return events


def decode_message(message: Any, finish: str | None = "stop", **more: Any) -> list[Event]:
    """Return the events of a message, without their start and end."""
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    value = {"id": "c1", "created": 1, "model": "m-1", "choices": [choice]}
    first, *events, last = TRANSLATION.decode_response(json.dumps(value).encode())
    assert (first, last) == (START, End())
    return events


def make_call(id: Any = None, name: Any = None, arguments: Any = None, **more: Any) -> Object:
    """Make one piece of a call from the given members."""
    function = {"name": name, "arguments": arguments}
    members = {key: value for key, value in function.items() if value is not None}
    return {**({} if id is None else {"id": id}), "function": members, **more}


def decode_calls(*chunks: list[Any]) -> list[tuple[str, str, str]]:
    """Return the calls of a stream: id, name and arguments."""
    calls_by_index: dict[int, tuple[str, str, str]] = {}
    for event in decode_deltas(*[{"tool_calls": pieces_} for pieces_ in chunks]):
        if isinstance(event, ToolStart):
            calls_by_index[event.index] = (event.id, event.name, "")
        elif isinstance(event, ToolDelta):
            id, name, text = calls_by_index[event.index]
            calls_by_index[event.index] = (id, name, text + event.text)
    return list(calls_by_index.values())


def test_a_stream_of_openai_decodes_with_the_finish_last() -> None:
    """The stream has role, text, finish, usage and [DONE]; the decoder sends the finish last."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    data = sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "h"}),
        chunk({"content": "i"}),
        chunk(finish="stop"),
        make_usage_chunk(usage),
    )
    assert decode(data) == [
        START, TextDelta("h"), TextDelta("i"), UsageUpdate(Usage(input=5, output=2)), Finish("stop", "stop"), End(),
    ]  # fmt: skip


def test_the_start_waits_for_a_choice() -> None:
    """Azure's first chunk has prompt filters, and neither id nor model."""
    first = {"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{}]}
    assert decode(sse(first, chunk({"content": "a"})))[:2] == [START, TextDelta("a")]
    nameless = {"choices": [{"delta": {"content": "a"}}]}
    assert decode(sse({"model": "m-1", "choices": []}, nameless))[0] == Start(model="m-1")
    assert decode(sse(nameless))[0] == Start()


def test_usage_is_reported_when_it_changes() -> None:
    """Hosts like vLLM count in every chunk; a repeated count is no event."""
    counts = [{"prompt_tokens": 1, "completion_tokens": n, "total_tokens": 1 + n} for n in (1, 1, 2)]  # fmt: skip
    data = sse(*[chunk({"content": "a"}, usage=usage) for usage in counts], chunk(finish="stop"))
    assert [event.usage.output for event in decode(data) if isinstance(event, UsageUpdate)] == [
        1,
        2,
    ]
    early = sse(make_usage_chunk(counts[0]), chunk({"content": "a"}, finish="stop"))
    assert decode(early)[:2] == [START, UsageUpdate(Usage(input=1, output=1))]


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning", "reasoning_text"])
def test_reasoning_is_decoded_once_and_ends_before_the_text(member: str) -> None:
    """The state is the name of its member, in which the host wants the reasoning back."""
    expected = [
        ReasoningDelta("h"), ReasoningDelta("m"), ReasoningEnd(member), TextDelta("a"), Finish("stop", "stop"),
    ]  # fmt: skip
    assert decode_deltas({member: "h", "content": ""}, {member: "m"}, {"content": "a"}) == expected
    both = {member: "hm", "reasoning_text": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}  # fmt: skip
    events = decode_message({"content": "a", **both})
    assert events[0] == ReasoningDelta("hm")
    assert events[2:] == expected[3:]


def test_reasoning_ends_with_whatever_comes_next() -> None:
    """A refusal, a call, other content or the end ends it."""
    for delta, kind in (
        ({"refusal": "no"}, Declined), ({"tool_calls": [make_call("c", "f", "{}")]}, ToolStart), ({"images": [{}]}, Opaque), ({}, Finish),
    ):  # fmt: skip
        events = decode_deltas({"reasoning": "hm"}, delta)
        assert events[:2] == [ReasoningDelta("hm"), ReasoningEnd("reasoning")]
        assert isinstance(events[2], kind)


def test_sealed_blocks_become_the_state_of_their_reasoning() -> None:
    """OpenRouter wants them back unchanged: the decoder joins the pieces of one block."""
    text = {"type": "reasoning.text", "index": 0, "format": "f"}
    events = decode_deltas(
        {"reasoning": "h", "reasoning_details": [{**text, "text": "h"}]},
        {"reasoning": "m", "reasoning_details": [{**text, "text": "m", "signature": None}, 7]},
        {"reasoning_details": [{**text, "signature": "sig"}]},
        {"content": "a"},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "d"}]},
    )
    joined = {**text, "text": "hm", "signature": "sig"}
    late = {"type": "reasoning.encrypted", "index": 1, "data": "d"}
    assert events == [
        ReasoningDelta("h"), ReasoningDelta("m"), ReasoningEnd(json.dumps([joined], separators=(",", ":"))), TextDelta("a"),
        ReasoningEnd(json.dumps([late], separators=(",", ":")), redacted=True), Finish("stop", "stop"),
    ]  # fmt: skip


def test_blocks_with_another_index_stay_separate() -> None:
    """Each signature belongs to one block."""
    blocks = [{"type": "reasoning.text", "index": at, "signature": "s"} for at in range(2)]
    events = decode_deltas(*[{"reasoning_details": [block]} for block in blocks])
    assert isinstance(events[0], ReasoningEnd)
    assert json.loads(events[0].state or "") == blocks


def test_blocks_without_a_reasoning_member_are_read_too() -> None:
    """The decoder reads texts and summaries. Blocks with another index, or none, are separate."""
    listed = [{"type": "reasoning.summary", "summary": "a"}, {"type": "reasoning.text", "text": "b"}, {"text": 7}, 7]  # fmt: skip
    assert decode_deltas({"reasoning_details": listed})[:2] == [
        ReasoningDelta("ab"),
        ReasoningEnd("reasoning"),
    ]
    unread = decode_deltas({"reasoning_details": [{"type": "x"}]}, {"content": "a"})
    assert unread == [TextDelta("a"), Finish("stop", "stop")]


def test_content_in_parts_is_read() -> None:
    """The decoder reads Mistral's thinking and text, and keeps other parts as they are."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "thinking", "thinking": []},
        {"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "reference", "reference_ids": [1]}, 7,
    ]  # fmt: skip
    expected = [
        ReasoningDelta("hm"), ReasoningEnd("content"), TextDelta("a"), Opaque("message.content.reference", parts[4]), Finish("stop", "stop"),
    ]  # fmt: skip
    assert decode_deltas({"content": parts}) == decode_message({"content": parts}) == expected


def test_content_that_is_an_object_becomes_its_json() -> None:
    """Cloudflare's JSON mode sends an object; the decoder ignores any other type."""
    assert decode_message({"content": {"a": 1}})[0] == TextDelta('{"a":1}')
    assert decode_message({"content": 7}, "stop") == [Finish("stop", "stop")]


def test_calls_in_interleaved_pieces_are_decoded() -> None:
    """Pieces come mixed by index.

    Each call starts with its arguments, and none ends before the answer.
    """
    first, second = make_call("c1", "f", "", index=0), make_call("c2", "g", "", index=1)
    events = decode_deltas(
        {"tool_calls": [first]},
        {"tool_calls": [second]},
        {"tool_calls": [make_call(None, None, "{", index=1), make_call(None, None, "[", index=0)]},
        {"tool_calls": [make_call(None, None, "}", index=1)]},
        finish="tool_calls",
    )
    assert events == [
        ToolStart(0, "c1", "f"), ToolStart(1, "c2", "g"), ToolDelta(1, "{"), ToolDelta(0, "["), ToolDelta(1, "}"),
        ToolEnd(0), ToolEnd(1), Finish("tools", "tool_calls"),
    ]  # fmt: skip


HOSTS: list[tuple[str, list[list[Any]], list[tuple[str, str, str]]]] = [
    ("a whole call at once, without index", [[make_call("a", "f", "{}")]], [("a", "f", "{}")]),
    ("two at once", [[make_call("a", "f", "{}"), make_call("b", "f", "[]")]], [("a", "f", "{}"), ("b", "f", "[]")]),
    ("no index, pieces", [[make_call("a", "f", "")], [make_call(None, None, "{")], [make_call(None, None, "}")]], [("a", "f", "{}")]),
    ("index always 0", [[make_call("a", "f", "{}", index=0)], [make_call("b", "g", "{}", index=0)]], [("a", "f", "{}"), ("b", "g", "{}")]),
    ("id repeated", [[make_call("a", "f", "{", index=0)], [make_call("a", "f", "}", index=0)]], [("a", "f", "{}")]),
    ("empty id and name repeated", [[make_call("a", "f", "{", index=0)], [make_call("", "", "}", index=0)]], [("a", "f", "{}")]),
    ("name repeated", [[make_call("a", "f", "", index=0)], [make_call(None, "f", "{}", index=0)]], [("a", "f", "{}")]),
    ("name in pieces", [[make_call("a", "get_", index=0)], [make_call(None, "it", index=0)], [make_call(None, None, "{}", index=0)]], [("a", "get_it", "{}")]),
    ("arguments before the name", [[make_call("a", None, "{", index=0)], [make_call(None, "f", "}", index=0)]], [("a", "f", "{}")]),
    ("id after the name", [[make_call("", "f", "", index=0)], [make_call("a", "f", "{}", index=0)]], [("a", "f", "{}")]),
    ("an id after a call without one", [[make_call("", "f", "{}", index=0)], [make_call("b", "g", "{}", index=0)]], [("call_f", "f", "{}"), ("b", "g", "{}")]),
    ("arguments as an object", [[make_call("a", "f", {"x": 1})]], [("a", "f", '{"x":1}')]),
    ("no arguments", [[make_call("a", "f")]], [("a", "f", "")]),
    ("no name at all", [[make_call("a", None, "{}", index=0)]], [("a", "", "{}")]),
    ("broken pieces", [[7, make_call("a", "f", "{}"), {"id": "a", "function": 7}]], [("a", "f", "{}")]),
]  # fmt: skip


@pytest.mark.parametrize(("host", "chunks", "expected"), HOSTS, ids=[host[0] for host in HOSTS])
def test_calls_decode_the_same_however_a_host_splits_them(
    host: str, chunks: list[list[Any]], expected: list[tuple[str, str, str]]
) -> None:
    """The calls are the same, however a host cuts them."""
    decoded = [
        (id if len(id) < 9 else "call_f", name, text) for id, name, text in decode_calls(*chunks)
    ]
    assert decoded == expected, host


def test_calls_without_ids_get_stable_different_ids() -> None:
    """A call gets the same id each time, and no two calls share one."""
    streamed = decode_calls(
        [make_call("", "f", "{}"), make_call("", "f", "{}")], [make_call("", "g", "{}", index=0)]
    )
    assert [name for _, name, _ in streamed] == ["f", "f", "g"]
    assert len({id for id, _, _ in streamed}) == 3
    assert all(id.startswith("call_") for id, _, _ in streamed)
    whole_events = decode_message(
        {"tool_calls": [make_call("", "f", "{}"), make_call("", "f", "{}"), 7]}
    )
    assert [event.id for event in whole_events if isinstance(event, ToolStart)] == [
        id for id, _, _ in streamed[:2]
    ]


def test_custom_calls_have_free_text() -> None:
    """The text is free. Snowflake's empty `custom` beside a function is no custom call."""
    piece = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "sel"}}
    events = decode_deltas({"tool_calls": [piece]}, {"tool_calls": [{"index": 0, "custom": {"input": "ect"}}]})  # fmt: skip
    assert events[:3] == [ToolStart(0, "c", "sql", custom=True), ToolDelta(0, "sel"), ToolDelta(0, "ect")]  # fmt: skip
    both = {**make_call("c", "f", "{}"), "type": "function", "custom": {"name": "", "input": ""}}
    assert decode_message({"tool_calls": [both]})[0] == ToolStart(0, "c", "f")


def test_googles_signature_is_the_state_of_its_call() -> None:
    """The signature stands in extra_content.google.thought_signature."""
    extra = {"extra_content": {"google": {"thought_signature": "s"}}}
    assert ToolEnd(0, "s") in decode_message({"tool_calls": [make_call("c", "f", "{}", **extra)]})


def test_a_legacy_function_call_is_a_call() -> None:
    """There is one call, whose id the gateway makes; an empty call is none."""
    deltas = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]  # fmt: skip
    start, *rest = decode_deltas(*deltas, finish="function_call")
    assert isinstance(start, ToolStart)
    assert (start.name, start.index) == ("f", 0)
    assert rest == [ToolDelta(0, "{}"), ToolEnd(0), Finish("tools", "function_call")]
    empty = {"function_call": {"name": "", "arguments": ""}, "audio": {"id": "", "data": ""}}
    assert decode_message({"content": "a", **empty}) == [TextDelta("a"), Finish("stop", "stop")]


def test_pictures_in_a_member_or_in_the_content_are_media() -> None:
    """OpenRouter sends pictures in this way; anything else there is opaque."""
    data, link = "data:image/png;base64,QUJD", "https://a.test/b.png"
    images = [{"type": "image_url", "image_url": {"url": data}}, {"image_url": link}, {"image_url": ""}, 7]  # fmt: skip
    media = [
        GeneratedMedia("image", "QUJD", "message.images", media_type="image/png"),
        GeneratedMedia("image", "", "message.images", url=link),
        Opaque("message.images"), Opaque("message.images"),
    ]  # fmt: skip
    end = Finish("stop", "stop")
    assert decode_deltas({"images": images}) == decode_message({"images": images}) == [*media, end]
    assert decode_message({"content": [{"type": "image_url", "image_url": {"url": data}}]})[0] == (
        GeneratedMedia("image", "QUJD", "message.content.image_url", media_type="image/png")
    )


def test_speech_in_pieces_is_media() -> None:
    pieces: list[Any] = [{"id": "s"}, {"transcript": "hi"}, {"data": "QUJD"}, {"expires_at": 9}]
    events = decode_deltas(*[{"audio": piece} for piece in pieces])
    name = "message.audio"
    assert events == [
        GeneratedMedia("audio", "", name, transcript="hi", id="s"),
        GeneratedMedia("audio", "QUJD", name, id="s"),
        Finish("stop", "stop"),
    ]
    assert decode_message({"audio": {"id": "s", "data": "QUJD", "transcript": "hi"}})[0] == (
        GeneratedMedia("audio", "QUJD", name, transcript="hi", id="s")
    )


def test_other_members_are_named() -> None:
    message = {"content": "a", "executed_tools": [{"index": 0}], "channel": "final", "new": None}
    expected = [TextDelta("a"), AnswerMetadata("message.executed_tools"), Finish("stop", "stop")]
    assert decode_deltas(message, message) == [expected[0], expected[1], expected[0], expected[2]]
    assert decode_message(message) == [expected[0], expected[2], expected[1]]


def test_the_names_of_unread_members_are_bounded() -> None:
    """A provider may send a member of a new name in each chunk."""
    events = decode_deltas(*[{f"x{number}": 1} for number in range(200)])
    names = [event.name for event in events if isinstance(event, AnswerMetadata)]
    assert names == [f"message.x{number}" for number in range(100)]


def test_search_results_are_cited_or_named() -> None:
    """Perplexity sends sources by URL, or with titles, beside the choices. The rest is named."""
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    last = {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}

    def decode_both(message: Any = None, **members: Any) -> list[Event]:
        members_ = message or {}
        events = TRANSLATION.decode_response(json.dumps({"choices": [{**choice, "message": {"content": "a", **members_}}], **members}).encode())  # fmt: skip
        streamed = {**last, "delta": {"content": "a", **members_}}
        values: list[Object] = [{"choices": [], "citations": []}, {"choices": [streamed], **members}]  # fmt: skip
        frames = b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in values)
        decoder = TRANSLATION.make_decoder()
        assert sorted(decoder.feed(frames + b"data: [DONE]\n\n"), key=repr) == sorted(
            events, key=repr
        )
        return [event for event in events if isinstance(event, Citation | AnswerMetadata)]

    row = {"url": "u", "title": "t"}
    cited = Citation(url="u", title="t", source=row, name="search_results")
    assert decode_both(search_results=[row], citations=["u"]) == [cited]
    assert decode_both(citations=["u", 7], search_results=[], images=[{}]) == [
        Citation(url="u", source="u", name="citations"),
        Citation(source=7, name="citations"),
        AnswerMetadata("images"),
    ]
    note = {"type": "url_citation", "url_citation": {"url": "u"}}
    own = Citation(url="u", source=note, name="message.annotations")
    assert decode_both({"annotations": [note]}, citations=["u"]) == [own]
    assert decode_both(citations="u") == []


def test_the_decoder_reads_refusals_citations_audio_and_log_probabilities() -> None:
    """A message may have refusals, sources, sounds and log probabilities."""
    note = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2}}  # fmt: skip
    tokens = [{"token": "a", "logprob": -1}]
    events = decode_message(
        {"content": "a", "refusal": "no", "annotations": [note, {"type": "x"}, 7], "audio": {"id": "s"}},
        logprobs={"content": tokens},
    )  # fmt: skip
    assert events == [
        TextDelta("a"), Declined("no"), Citation(url="u", title="t", start=1, end=2, source=note, name="message.annotations"),
        Citation(source={"type": "x"}, name="message.annotations"), LogProbs(tokens), Finish("stop", "stop"),
    ]  # fmt: skip
    assert decode_message({"content": "a"}, logprobs={"content": []}) == [
        TextDelta("a"),
        Finish("stop", "stop"),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"), ("end", "stop"), ("eos", "stop"), ("length", "length"), ("model_length", "length"), ("MAX_TOKENS", "length"),
        ("content_filter", "filter"), ("sensitive", "filter"), ("pause_turn", "pause"),
        ("tool_calls", "stop"), ("unheard_of", "length"),
    ],
)  # fmt: skip
def test_every_finish_word_has_a_reason(word: str, reason: str) -> None:
    """Any host's word maps to a reason; with calls in the answer, a stop means tools."""
    assert decode_message({"content": "a"}, word)[-1] == Finish(reason, word)  # type: ignore[arg-type]  # a parameter is no literal
    last = decode_message({"tool_calls": [make_call("c", "f", "{}")]}, word)[-1]
    assert isinstance(last, Finish)
    assert last.reason == ("tools" if reason == "stop" else reason)


def test_an_end_without_a_reason_is_cut() -> None:
    """The reason is null, empty or missing. Without content the body is no answer."""
    for word in (None, ""):
        assert decode_message({"tool_calls": [make_call("c", "f", "{}")]}, word)[-1] == Finish(
            "cut"
        )
        assert decode_message({"content": "a"}, word)[-1] == Finish("cut")
        body = {"choices": [{"message": {"content": ""}, "finish_reason": word}]}
        [failed] = TRANSLATION.decode_response(json.dumps(body).encode())
        assert isinstance(failed, Failed)
        assert failed.problem.kind == "upstream_truncated"
    assert decode_message(None, "stop") == [Finish("stop", "stop")]
    assert decode_message({}, "unheard_of") == [Finish("length", "unheard_of")]


@pytest.mark.parametrize("word", ["error", "ERROR", "network_error", "abort"])
def test_a_finish_that_reports_a_failure_is_an_error(word: str) -> None:
    """The answer fails, whole and streamed."""
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": word}]}
    last = decode(sse(chunk({"content": "a"}), chunk(finish=word)))[-1]
    for failed in (*TRANSLATION.decode_response(json.dumps(body).encode()), last):
        assert isinstance(failed, Failed)
        assert failed.problem.kind == "upstream_error"
        assert word in failed.problem.message


def test_choices_are_decoded_separately() -> None:
    """Choices come interleaved; each ends with its own reason."""
    data = sse(
        chunk({"content": "a"}, index=1),
        chunk({"content": "b"}),
        chunk(finish="length", index=1),
        chunk(finish="stop"),
    )
    expected = [
        START, TextDelta("a", 1), TextDelta("b"), Finish("stop", "stop"), Finish("length", "length", choice=1), End(),
    ]  # fmt: skip
    assert decode(data) == expected
    value = {"choices": [{"message": {"content": "a"}}, 7, {"message": {"content": "b"}}]}
    events = TRANSLATION.decode_response(json.dumps(value).encode())
    assert [event.choice for event in events if isinstance(event, TextDelta)] == [0, 2]


def test_content_after_a_finish_comes_before_the_end() -> None:
    """A host may go on after a finish, and finish again."""
    data = sse(chunk({"content": "h"}), chunk(finish="stop"), chunk({"content": "i"}), chunk(finish="length"))  # fmt: skip
    assert decode(data)[1:] == [TextDelta("h"), TextDelta("i"), Finish("length", "length"), End()]


def test_a_stream_without_done_ends_when_all_choices_have_finished() -> None:
    """Cerebras and Perplexity send no [DONE]; one finish of two choices is no end."""
    data = sse(chunk({"content": "a"}, finish="stop"), done=False)
    assert decode(data)[-1] == End()
    assert decode(data.rstrip())[-1] == End()
    assert decode(sse(chunk({"content": "a"}, index=1), chunk(finish="stop"), done=False))[-1] == TextDelta("a", 1)  # fmt: skip
    assert decode(sse(chunk({"content": "a"}), done=False))[-1] == TextDelta("a")
    assert decode(b"") == decode(b"\n\n: ping\n\n") == []


def test_the_last_frame_may_lack_its_blank_line() -> None:
    """A whole frame counts. Half a frame does not, nor does anything after [DONE]."""
    body = sse(chunk({"content": "a"}), chunk(finish="stop"))
    assert decode(body.rstrip()) == decode(body) == decode(body + sse(chunk({"content": "late"})))
    cut = sse(chunk({"content": "a"}), done=False)
    assert decode(cut + b'data: {"choices":[{"finish')[-1] == TextDelta("a")
    assert decode(cut + b"data: 7")[-1] == TextDelta("a")
    assert decode(cut + b": com")[-1] == TextDelta("a")


def test_done_without_a_finish_is_cut_if_there_was_content() -> None:
    """An answer with neither is none: another target may take over."""
    assert decode(sse(chunk({"content": "a"})))[1:] == [TextDelta("a"), Finish("cut"), End()]
    assert decode(sse()) == []
    assert decode(sse(chunk({"role": "assistant", "content": ""}))) == [START]


def test_frames_decode_however_hosts_write_them() -> None:
    """Hosts write CRs, comments, event names, chunks over two lines, no space after the colon."""
    frame_data = json.dumps(chunk({"content": "a"})).encode()
    half = len(b'{"id": "c1",')
    data = (
        b"\r\n: PROCESSING\r\n\r\nevent: x\r\ndata:" + frame_data + b"\r\n\r\n"
        b"event: ping\r\n\r\ndata: " + frame_data[:half] + b"\r\ndata: " + frame_data[half:] + b"\r\n\r\n"
        b'data: {"choices":[{"finish_reason":"stop","delta":null},7]}\r\n\r\ndata: {"choices":7}\n\ndata: [DONE] \r\n\r\n'
    )  # fmt: skip
    expected = [START, TextDelta("a"), TextDelta("a"), Finish("stop", "stop"), End()]
    assert decode(data) == expected
    assert decode(data, *range(len(data))) == expected


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"data: {nonsense\n\n", "upstream_error"), (b"data: 7\n\n", "upstream_error"),
        (b'data: {"error":{"message":"x","code":429}}\n\n', "upstream_rate_limited"),
        (b'event: error\ndata: {"error":{"message":"x","status_code":503}}\n\n', "upstream_overloaded"),
        (b'data: {"object":"error","message":"x","code":400}\n\n', "upstream_rejected"), (b'data: {"error":"x"}\n\n', "upstream_error"),
    ],
)  # fmt: skip
def test_an_error_is_the_last_event_of_a_stream(frame: bytes, kind: str) -> None:
    """No event follows the error, not even an end."""
    data = sse(chunk({"content": "a"}), done=False) + frame
    decoder = TRANSLATION.make_decoder()
    last = decoder.feed(data + sse(chunk({"content": "b"})))[-1]
    assert isinstance(last, Failed)
    assert last.problem.kind == kind
    assert decoder.feed(sse(chunk({"content": "c"}))) == decoder.end() == []


def test_an_error_may_lack_its_blank_line() -> None:
    """The last frame of a stream may lack it, an error too."""
    data = sse(chunk({"content": "a"}), done=False) + b'data: {"error":"x"}'
    assert isinstance(decode(data)[-1], Failed)


def test_a_frame_without_an_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway does not buffer a provider's bytes without limit."""
    monkeypatch.setattr("gateway.dialects.stream_frames.MAX_FRAME_BYTES", 10)
    assert decode(b"data: " + b"a" * 20) == [
        Failed(stream_frames.make_broken_problem("a frame without an end"))
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":7}', b'{"error":{"message":"x","code":500}}',
        b'{"error":{"message":"x"},"choices":[]}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_answer_fails(body: bytes) -> None:
    """The decoder never raises."""
    [failed] = TRANSLATION.decode_response(body)
    assert isinstance(failed, Failed)
    assert failed.problem.kind == "upstream_error"


def test_an_error_beside_an_answer_fails_it() -> None:
    """Hosts write `"error": null`, which is no error."""
    body: Object = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "error": None, "usage": {"prompt_tokens": 1}}  # fmt: skip
    events = TRANSLATION.decode_response(json.dumps(body).encode())
    assert events == [
        Start(),
        TextDelta("a"),
        Finish("stop", "stop"),
        UsageUpdate(Usage(input=1)),
        End(),
    ]
    *events, failed = TRANSLATION.decode_response(
        json.dumps({**body, "error": {"message": "x"}}).encode()
    )
    assert events == [Start(), UsageUpdate(Usage(input=1))], "the provider bills it"
    assert isinstance(failed, Failed)


DELTA = st.one_of(
    st.fixed_dictionaries({"content": TEXT}),
    st.fixed_dictionaries({"reasoning_content": TEXT, "content": st.none()}),
    st.fixed_dictionaries({"refusal": TEXT}),
    st.builds(
        lambda id, name, text, index: {"tool_calls": [make_call(id, name, text, index=index)]},
        st.sampled_from(["a", "b", "", None]),
        st.sampled_from(["f", "g", "", None]),
        TEXT,
        st.integers(0, 2),
    ),
)


@given(st.lists(DELTA, max_size=6), st.lists(st.integers(0, 2000), max_size=8))
def test_any_stream_decodes_to_the_same_events_wherever_reads_end(
    deltas: list[Object], cuts: list[int]
) -> None:
    """Law 2: this holds for text that is hard on the wire, and for calls cut at random."""
    data = sse(*[chunk(delta) for delta in deltas], chunk(finish="stop"))
    assert decode(data, *cuts) == decode(data)
