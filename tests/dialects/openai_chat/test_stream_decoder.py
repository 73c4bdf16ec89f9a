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
from tests.dialects.cases import TEXT, Object, chunk, pieces, sse, told

START = Start(id="c1", model="m-1", created=1)


def run(data: bytes, *cuts: int) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    found = [event for part in pieces(data, cuts) for event in decoder.feed(part)]
    return [*found, *decoder.end()]


def stream(*deltas: Object, finish: str = "stop") -> list[Event]:
    """Return the events of deltas, without their start and end."""
    first, *found, last = run(sse(*[chunk(delta) for delta in deltas], chunk(finish=finish)))
    assert (first, last) == (START, End())
    return found


def whole(message: Any, finish: str | None = "stop", **more: Any) -> list[Event]:
    """Return the events of a message, without their start and end."""
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    value = {"id": "c1", "created": 1, "model": "m-1", "choices": [choice]}
    first, *found, last = TRANSLATION.decode_response(json.dumps(value).encode())
    assert (first, last) == (START, End())
    return found


def call(id: Any = None, name: Any = None, arguments: Any = None, **more: Any) -> Object:
    """Make one piece of a call from the given members."""
    function = {"name": name, "arguments": arguments}
    said = {key: value for key, value in function.items() if value is not None}
    return {**({} if id is None else {"id": id}), "function": said, **more}


def calls(*chunks: list[Any]) -> list[tuple[str, str, str]]:
    """Return the calls of a stream: id, name and arguments."""
    found: dict[int, tuple[str, str, str]] = {}
    for event in stream(*[{"tool_calls": listed} for listed in chunks]):
        if isinstance(event, ToolStart):
            found[event.index] = (event.id, event.name, "")
        elif isinstance(event, ToolDelta):
            id, name, text = found[event.index]
            found[event.index] = (id, name, text + event.text)
    return list(found.values())


def test_a_stream_of_openai_s() -> None:
    """The stream has role, text, finish, usage and [DONE]; the decoder sends the finish last."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    data = sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "h"}),
        chunk({"content": "i"}),
        chunk(finish="stop"),
        told(usage),
    )
    assert run(data) == [
        START, TextDelta("h"), TextDelta("i"), UsageUpdate(Usage(input=5, output=2)), Finish("stop", "stop"), End(),
    ]  # fmt: skip


def test_the_start_waits_for_a_choice() -> None:
    """Azure's first chunk has prompt filters, and neither id nor model."""
    first = {"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{}]}
    assert run(sse(first, chunk({"content": "a"})))[:2] == [START, TextDelta("a")]
    nameless = {"choices": [{"delta": {"content": "a"}}]}
    assert run(sse({"model": "m-1", "choices": []}, nameless))[0] == Start(model="m-1")
    assert run(sse(nameless))[0] == Start()


def test_usage_is_told_when_it_changes() -> None:
    """Hosts like vLLM count in every chunk; a repeated count is no event."""
    counts = [{"prompt_tokens": 1, "completion_tokens": n, "total_tokens": 1 + n} for n in (1, 1, 2)]  # fmt: skip
    data = sse(*[chunk({"content": "a"}, usage=usage) for usage in counts], chunk(finish="stop"))
    assert [event.usage.output for event in run(data) if isinstance(event, UsageUpdate)] == [1, 2]
    early = sse(told(counts[0]), chunk({"content": "a"}, finish="stop"))
    assert run(early)[:2] == [START, UsageUpdate(Usage(input=1, output=1))]


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning", "reasoning_text"])
def test_reasoning_is_told_once_and_ends_before_the_text(member: str) -> None:
    """The state is the name of its member, in which the host wants the reasoning back."""
    expected = [
        ReasoningDelta("h"), ReasoningDelta("m"), ReasoningEnd(member), TextDelta("a"), Finish("stop", "stop"),
    ]  # fmt: skip
    assert stream({member: "h", "content": ""}, {member: "m"}, {"content": "a"}) == expected
    both = {member: "hm", "reasoning_text": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}  # fmt: skip
    found = whole({"content": "a", **both})
    assert found[0] == ReasoningDelta("hm")
    assert found[2:] == expected[3:]


def test_reasoning_ends_with_whatever_comes_next() -> None:
    """A refusal, a call, other content or the end ends it."""
    for delta, kind in (
        ({"refusal": "no"}, Declined), ({"tool_calls": [call("c", "f", "{}")]}, ToolStart), ({"images": [{}]}, Opaque), ({}, Finish),
    ):  # fmt: skip
        found = stream({"reasoning": "hm"}, delta)
        assert found[:2] == [ReasoningDelta("hm"), ReasoningEnd("reasoning")]
        assert isinstance(found[2], kind)


def test_sealed_blocks_are_the_state_of_their_reasoning() -> None:
    """OpenRouter wants them back unchanged: the decoder joins the pieces of one block."""
    text = {"type": "reasoning.text", "index": 0, "format": "f"}
    found = stream(
        {"reasoning": "h", "reasoning_details": [{**text, "text": "h"}]},
        {"reasoning": "m", "reasoning_details": [{**text, "text": "m", "signature": None}, 7]},
        {"reasoning_details": [{**text, "signature": "sig"}]},
        {"content": "a"},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "d"}]},
    )
    joined = {**text, "text": "hm", "signature": "sig"}
    late = {"type": "reasoning.encrypted", "index": 1, "data": "d"}
    assert found == [
        ReasoningDelta("h"), ReasoningDelta("m"), ReasoningEnd(json.dumps([joined], separators=(",", ":"))), TextDelta("a"),
        ReasoningEnd(json.dumps([late], separators=(",", ":")), redacted=True), Finish("stop", "stop"),
    ]  # fmt: skip


def test_blocks_of_another_index_are_others() -> None:
    """Each signature belongs to one block."""
    blocks = [{"type": "reasoning.text", "index": at, "signature": "s"} for at in range(2)]
    found = stream(*[{"reasoning_details": [block]} for block in blocks])
    assert isinstance(found[0], ReasoningEnd)
    assert json.loads(found[0].state or "") == blocks


def test_blocks_alone_are_read_too() -> None:
    """The decoder reads texts and summaries. Blocks with another index, or none, are separate."""
    listed = [{"type": "reasoning.summary", "summary": "a"}, {"type": "reasoning.text", "text": "b"}, {"text": 7}, 7]  # fmt: skip
    assert stream({"reasoning_details": listed})[:2] == [
        ReasoningDelta("ab"),
        ReasoningEnd("reasoning"),
    ]
    unread = stream({"reasoning_details": [{"type": "x"}]}, {"content": "a"})
    assert unread == [TextDelta("a"), Finish("stop", "stop")]


def test_content_in_parts() -> None:
    """The decoder reads Mistral's thinking and text, and keeps other parts as they are."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "thinking", "thinking": []},
        {"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "reference", "reference_ids": [1]}, 7,
    ]  # fmt: skip
    expected = [
        ReasoningDelta("hm"), ReasoningEnd("content"), TextDelta("a"), Opaque("message.content.reference", parts[4]), Finish("stop", "stop"),
    ]  # fmt: skip
    assert stream({"content": parts}) == whole({"content": parts}) == expected


def test_content_that_is_an_object_is_its_json() -> None:
    """Cloudflare's JSON mode sends an object; the decoder ignores any other type."""
    assert whole({"content": {"a": 1}})[0] == TextDelta('{"a":1}')
    assert whole({"content": 7}, "stop") == [Finish("stop", "stop")]


def test_calls_as_openai_cuts_them() -> None:
    """Pieces come mixed by index.

    Each call starts with its arguments, and none ends before the answer.
    """
    first, second = call("c1", "f", "", index=0), call("c2", "g", "", index=1)
    found = stream(
        {"tool_calls": [first]},
        {"tool_calls": [second]},
        {"tool_calls": [call(None, None, "{", index=1), call(None, None, "[", index=0)]},
        {"tool_calls": [call(None, None, "}", index=1)]},
        finish="tool_calls",
    )
    assert found == [
        ToolStart(0, "c1", "f"), ToolStart(1, "c2", "g"), ToolDelta(1, "{"), ToolDelta(0, "["), ToolDelta(1, "}"),
        ToolEnd(0), ToolEnd(1), Finish("tools", "tool_calls"),
    ]  # fmt: skip


HOSTS: list[tuple[str, list[list[Any]], list[tuple[str, str, str]]]] = [
    ("a whole call at once, without index", [[call("a", "f", "{}")]], [("a", "f", "{}")]),
    ("two at once", [[call("a", "f", "{}"), call("b", "f", "[]")]], [("a", "f", "{}"), ("b", "f", "[]")]),
    ("no index, pieces", [[call("a", "f", "")], [call(None, None, "{")], [call(None, None, "}")]], [("a", "f", "{}")]),
    ("index always 0", [[call("a", "f", "{}", index=0)], [call("b", "g", "{}", index=0)]], [("a", "f", "{}"), ("b", "g", "{}")]),
    ("id repeated", [[call("a", "f", "{", index=0)], [call("a", "f", "}", index=0)]], [("a", "f", "{}")]),
    ("empty id and name repeated", [[call("a", "f", "{", index=0)], [call("", "", "}", index=0)]], [("a", "f", "{}")]),
    ("name repeated", [[call("a", "f", "", index=0)], [call(None, "f", "{}", index=0)]], [("a", "f", "{}")]),
    ("name in pieces", [[call("a", "get_", index=0)], [call(None, "it", index=0)], [call(None, None, "{}", index=0)]], [("a", "get_it", "{}")]),
    ("arguments before the name", [[call("a", None, "{", index=0)], [call(None, "f", "}", index=0)]], [("a", "f", "{}")]),
    ("id after the name", [[call("", "f", "", index=0)], [call("a", "f", "{}", index=0)]], [("a", "f", "{}")]),
    ("an id after a call without one", [[call("", "f", "{}", index=0)], [call("b", "g", "{}", index=0)]], [("call_f", "f", "{}"), ("b", "g", "{}")]),
    ("arguments as an object", [[call("a", "f", {"x": 1})]], [("a", "f", '{"x":1}')]),
    ("no arguments", [[call("a", "f")]], [("a", "f", "")]),
    ("no name at all", [[call("a", None, "{}", index=0)]], [("a", "", "{}")]),
    ("broken pieces", [[7, call("a", "f", "{}"), {"id": "a", "function": 7}]], [("a", "f", "{}")]),
]  # fmt: skip


@pytest.mark.parametrize(("host", "chunks", "expected"), HOSTS, ids=[it[0] for it in HOSTS])
def test_calls_as_hosts_cut_them(
    host: str, chunks: list[list[Any]], expected: list[tuple[str, str, str]]
) -> None:
    """The calls are the same, however a host cuts them."""
    found = [(id if len(id) < 9 else "call_f", name, text) for id, name, text in calls(*chunks)]
    assert found == expected, host


def test_calls_without_ids_are_given_some() -> None:
    """A call gets the same id each time, and no two calls share one."""
    one = calls([call("", "f", "{}"), call("", "f", "{}")], [call("", "g", "{}", index=0)])
    assert [name for _, name, _ in one] == ["f", "f", "g"]
    assert len({id for id, _, _ in one}) == 3
    assert all(id.startswith("call_") for id, _, _ in one)
    again = whole({"tool_calls": [call("", "f", "{}"), call("", "f", "{}"), 7]})
    assert [it.id for it in again if isinstance(it, ToolStart)] == [id for id, _, _ in one[:2]]


def test_custom_calls() -> None:
    """The text is free. Snowflake's empty `custom` beside a function is no custom call."""
    piece = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "sel"}}
    found = stream({"tool_calls": [piece]}, {"tool_calls": [{"index": 0, "custom": {"input": "ect"}}]})  # fmt: skip
    assert found[:3] == [ToolStart(0, "c", "sql", custom=True), ToolDelta(0, "sel"), ToolDelta(0, "ect")]  # fmt: skip
    both = {**call("c", "f", "{}"), "type": "function", "custom": {"name": "", "input": ""}}
    assert whole({"tool_calls": [both]})[0] == ToolStart(0, "c", "f")


def test_the_signature_of_google_s_door_is_the_state_of_its_call() -> None:
    """The signature stands in extra_content.google.thought_signature."""
    extra = {"extra_content": {"google": {"thought_signature": "s"}}}
    assert ToolEnd(0, "s") in whole({"tool_calls": [call("c", "f", "{}", **extra)]})


def test_function_call_of_the_years_before_tools() -> None:
    """There is one call, whose id the gateway makes; an empty call is none."""
    deltas = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]  # fmt: skip
    start, *rest = stream(*deltas, finish="function_call")
    assert isinstance(start, ToolStart)
    assert (start.name, start.index) == ("f", 0)
    assert rest == [ToolDelta(0, "{}"), ToolEnd(0), Finish("tools", "function_call")]
    empty = {"function_call": {"name": "", "arguments": ""}, "audio": {"id": "", "data": ""}}
    assert whole({"content": "a", **empty}) == [TextDelta("a"), Finish("stop", "stop")]


def test_pictures_stand_in_a_member_or_in_the_content() -> None:
    """OpenRouter sends pictures in this way; anything else there is opaque."""
    data, link = "data:image/png;base64,QUJD", "https://a.test/b.png"
    images = [{"type": "image_url", "image_url": {"url": data}}, {"image_url": link}, {"image_url": ""}, 7]  # fmt: skip
    made = [
        GeneratedMedia("image", "QUJD", "message.images", media_type="image/png"),
        GeneratedMedia("image", "", "message.images", url=link),
        Opaque("message.images"), Opaque("message.images"),
    ]  # fmt: skip
    end = Finish("stop", "stop")
    assert stream({"images": images}) == whole({"images": images}) == [*made, end]
    assert whole({"content": [{"type": "image_url", "image_url": {"url": data}}]})[0] == (
        GeneratedMedia("image", "QUJD", "message.content.image_url", media_type="image/png")
    )


def test_speech_comes_in_pieces() -> None:
    pieces: list[Any] = [{"id": "s"}, {"transcript": "hi"}, {"data": "QUJD"}, {"expires_at": 9}]
    found = stream(*[{"audio": piece} for piece in pieces])
    name = "message.audio"
    assert found == [
        GeneratedMedia("audio", "", name, transcript="hi", id="s"),
        GeneratedMedia("audio", "QUJD", name, id="s"),
        Finish("stop", "stop"),
    ]
    assert whole({"audio": {"id": "s", "data": "QUJD", "transcript": "hi"}})[0] == (
        GeneratedMedia("audio", "QUJD", name, transcript="hi", id="s")
    )


def test_other_members_are_named() -> None:
    message = {"content": "a", "executed_tools": [{"index": 0}], "channel": "final", "new": None}
    expected = [TextDelta("a"), AnswerMetadata("message.executed_tools"), Finish("stop", "stop")]
    assert stream(message, message) == [expected[0], expected[1], expected[0], expected[2]]
    assert whole(message) == [expected[0], expected[2], expected[1]]


def test_the_names_of_unread_members_are_bounded() -> None:
    """A provider may send a member of a new name in each chunk."""
    found = stream(*[{f"x{number}": 1} for number in range(200)])
    names = [event.name for event in found if isinstance(event, AnswerMetadata)]
    assert names == [f"message.x{number}" for number in range(100)]


def test_what_a_search_found_is_cited_or_named() -> None:
    """Perplexity sends sources by URL, or with titles, beside the choices. The rest is named."""
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    last = {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}

    def found(message: Any = None, **members: Any) -> list[Event]:
        told = message or {}
        heard = TRANSLATION.decode_response(json.dumps({"choices": [{**choice, "message": {"content": "a", **told}}], **members}).encode())  # fmt: skip
        streamed = {**last, "delta": {"content": "a", **told}}
        values: list[Object] = [{"choices": [], "citations": []}, {"choices": [streamed], **members}]  # fmt: skip
        frames = b"".join(b"data: %b\n\n" % json.dumps(it).encode() for it in values)
        decoder = TRANSLATION.make_decoder()
        assert sorted(decoder.feed(frames + b"data: [DONE]\n\n"), key=repr) == sorted(
            heard, key=repr
        )
        return [event for event in heard if isinstance(event, Citation | AnswerMetadata)]

    row = {"url": "u", "title": "t"}
    cited = Citation(url="u", title="t", source=row, name="search_results")
    assert found(search_results=[row], citations=["u"]) == [cited]
    assert found(citations=["u", 7], search_results=[], images=[{}]) == [
        Citation(url="u", source="u", name="citations"),
        Citation(source=7, name="citations"),
        AnswerMetadata("images"),
    ]
    note = {"type": "url_citation", "url_citation": {"url": "u"}}
    own = Citation(url="u", source=note, name="message.annotations")
    assert found({"annotations": [note]}, citations=["u"]) == [own]
    assert found(citations="u") == []


def test_the_rest_of_a_message() -> None:
    """A message may have refusals, sources, sounds and log probabilities."""
    note = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2}}  # fmt: skip
    tokens = [{"token": "a", "logprob": -1}]
    found = whole(
        {"content": "a", "refusal": "no", "annotations": [note, {"type": "x"}, 7], "audio": {"id": "s"}},
        logprobs={"content": tokens},
    )  # fmt: skip
    assert found == [
        TextDelta("a"), Declined("no"), Citation(url="u", title="t", start=1, end=2, source=note, name="message.annotations"),
        Citation(source={"type": "x"}, name="message.annotations"), LogProbs(tokens), Finish("stop", "stop"),
    ]  # fmt: skip
    assert whole({"content": "a"}, logprobs={"content": []}) == [
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
def test_a_finish_has_a_reason(word: str, reason: str) -> None:
    """Any host's word maps to a reason; with calls in the answer, a stop means tools."""
    assert whole({"content": "a"}, word)[-1] == Finish(reason, word)  # type: ignore[arg-type]  # a parameter is no literal
    there = whole({"tool_calls": [call("c", "f", "{}")]}, word)[-1]
    assert isinstance(there, Finish)
    assert there.reason == ("tools" if reason == "stop" else reason)


def test_an_end_without_a_reason_is_cut() -> None:
    """The reason is null, empty or missing. Without content the body is no answer."""
    for word in (None, ""):
        assert whole({"tool_calls": [call("c", "f", "{}")]}, word)[-1] == Finish("cut")
        assert whole({"content": "a"}, word)[-1] == Finish("cut")
        body = {"choices": [{"message": {"content": ""}, "finish_reason": word}]}
        [failed] = TRANSLATION.decode_response(json.dumps(body).encode())
        assert isinstance(failed, Failed)
        assert failed.problem.kind == "upstream_truncated"
    assert whole(None, "stop") == [Finish("stop", "stop")]
    assert whole({}, "unheard_of") == [Finish("length", "unheard_of")]


@pytest.mark.parametrize("word", ["error", "ERROR", "network_error", "abort"])
def test_a_reason_that_says_that_it_broke_off_is_an_error(word: str) -> None:
    """The answer fails, whole and streamed."""
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": word}]}
    last = run(sse(chunk({"content": "a"}), chunk(finish=word)))[-1]
    for failed in (*TRANSLATION.decode_response(json.dumps(body).encode()), last):
        assert isinstance(failed, Failed)
        assert failed.problem.kind == "upstream_error"
        assert word in failed.problem.message


def test_choices_are_told_apart() -> None:
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
    assert run(data) == expected
    value = {"choices": [{"message": {"content": "a"}}, 7, {"message": {"content": "b"}}]}
    found = TRANSLATION.decode_response(json.dumps(value).encode())
    assert [it.choice for it in found if isinstance(it, TextDelta)] == [0, 2]


def test_content_after_a_finish_is_told_before_the_end() -> None:
    """A host may go on after a finish, and finish again."""
    data = sse(chunk({"content": "h"}), chunk(finish="stop"), chunk({"content": "i"}), chunk(finish="length"))  # fmt: skip
    assert run(data)[1:] == [TextDelta("h"), TextDelta("i"), Finish("length", "length"), End()]


def test_a_stream_without_done_ends_when_all_choices_have_finished() -> None:
    """Cerebras and Perplexity send no [DONE]; one finish of two choices is no end."""
    data = sse(chunk({"content": "a"}, finish="stop"), done=False)
    assert run(data)[-1] == End()
    assert run(data.rstrip())[-1] == End()
    assert run(sse(chunk({"content": "a"}, index=1), chunk(finish="stop"), done=False))[-1] == TextDelta("a", 1)  # fmt: skip
    assert run(sse(chunk({"content": "a"}), done=False))[-1] == TextDelta("a")
    assert run(b"") == run(b"\n\n: ping\n\n") == []


def test_the_last_frame_may_lack_its_blank_line() -> None:
    """A whole frame counts. Half a frame does not, nor does anything after [DONE]."""
    body = sse(chunk({"content": "a"}), chunk(finish="stop"))
    assert run(body.rstrip()) == run(body) == run(body + sse(chunk({"content": "late"})))
    cut = sse(chunk({"content": "a"}), done=False)
    assert run(cut + b'data: {"choices":[{"finish')[-1] == TextDelta("a")
    assert run(cut + b"data: 7")[-1] == TextDelta("a")
    assert run(cut + b": com")[-1] == TextDelta("a")


def test_done_without_a_finish_is_cut_if_there_was_content() -> None:
    """An answer with neither is none: another target may take over."""
    assert run(sse(chunk({"content": "a"})))[1:] == [TextDelta("a"), Finish("cut"), End()]
    assert run(sse()) == []
    assert run(sse(chunk({"role": "assistant", "content": ""}))) == [START]


def test_frames_as_hosts_write_them() -> None:
    """Hosts write CRs, comments, event names, chunks over two lines, no space after the colon."""
    one = json.dumps(chunk({"content": "a"})).encode()
    half = len(b'{"id": "c1",')
    data = (
        b"\r\n: PROCESSING\r\n\r\nevent: x\r\ndata:" + one + b"\r\n\r\n"
        b"event: ping\r\n\r\ndata: " + one[:half] + b"\r\ndata: " + one[half:] + b"\r\n\r\n"
        b'data: {"choices":[{"finish_reason":"stop","delta":null},7]}\r\n\r\ndata: {"choices":7}\n\ndata: [DONE] \r\n\r\n'
    )  # fmt: skip
    expected = [START, TextDelta("a"), TextDelta("a"), Finish("stop", "stop"), End()]
    assert run(data) == expected
    assert run(data, *range(len(data))) == expected


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"data: {nonsense\n\n", "upstream_error"), (b"data: 7\n\n", "upstream_error"),
        (b'data: {"error":{"message":"x","code":429}}\n\n', "upstream_rate_limited"),
        (b'event: error\ndata: {"error":{"message":"x","status_code":503}}\n\n', "upstream_overloaded"),
        (b'data: {"object":"error","message":"x","code":400}\n\n', "upstream_rejected"), (b'data: {"error":"x"}\n\n', "upstream_error"),
    ],
)  # fmt: skip
def test_an_error_in_a_stream_is_the_last_of_it(frame: bytes, kind: str) -> None:
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
    assert isinstance(run(data)[-1], Failed)


def test_a_frame_without_an_end_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway does not buffer a provider's bytes without limit."""
    monkeypatch.setattr("gateway.dialects.stream_frames.MAX_FRAME_BYTES", 10)
    assert run(b"data: " + b"a" * 20) == [
        Failed(stream_frames.make_broken_problem("a frame without an end"))
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":7}', b'{"error":{"message":"x","code":500}}',
        b'{"error":{"message":"x"},"choices":[]}',
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_failed(body: bytes) -> None:
    """The decoder never raises."""
    [failed] = TRANSLATION.decode_response(body)
    assert isinstance(failed, Failed)
    assert failed.problem.kind == "upstream_error"


def test_an_error_beside_an_answer_fails_it() -> None:
    """Hosts write `"error": null`, which is no error."""
    body: Object = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "error": None, "usage": {"prompt_tokens": 1}}  # fmt: skip
    found = TRANSLATION.decode_response(json.dumps(body).encode())
    assert found == [
        Start(),
        TextDelta("a"),
        Finish("stop", "stop"),
        UsageUpdate(Usage(input=1)),
        End(),
    ]
    *known, failed = TRANSLATION.decode_response(
        json.dumps({**body, "error": {"message": "x"}}).encode()
    )
    assert known == [Start(), UsageUpdate(Usage(input=1))], "the provider bills it"
    assert isinstance(failed, Failed)


DELTA = st.one_of(
    st.fixed_dictionaries({"content": TEXT}),
    st.fixed_dictionaries({"reasoning_content": TEXT, "content": st.none()}),
    st.fixed_dictionaries({"refusal": TEXT}),
    st.builds(
        lambda id, name, text, index: {"tool_calls": [call(id, name, text, index=index)]},
        st.sampled_from(["a", "b", "", None]),
        st.sampled_from(["f", "g", "", None]),
        TEXT,
        st.integers(0, 2),
    ),
)


@given(st.lists(DELTA, max_size=6), st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_gives_the_same_events(deltas: list[Object], cuts: list[int]) -> None:
    """Law 2: this holds for text that is hard on the wire, and for calls cut at random."""
    data = sse(*[chunk(delta) for delta in deltas], chunk(finish="stop"))
    assert run(data, *cuts) == run(data)
