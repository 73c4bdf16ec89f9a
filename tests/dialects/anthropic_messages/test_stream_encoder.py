"""Answers of other dialects as Messages: the official SDK assembles the same content."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio, sse
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
from gateway.dialects import stream_frames, tool_ids
from gateway.dialects.anthropic_messages import DIALECT, TRANSLATION, usage
from gateway.dialects.base import ResponseContext
from tests.dialects.anthropic_messages.cases import Object, ask
from tests.dialects.anthropic_messages.sdk import streamed, whole
from tests.dialects.cases import TEXT, pieces

CONTEXT = ResponseContext(id="01JX", created_at=7, model="m", prompt_tokens=12)
LABELLED = ResponseContext(id="01JX", created_at=7, model="m", state_label="beef")
DONE: list[Event] = [Finish("stop"), End()]


def stream(*events: Event, context: ResponseContext = CONTEXT) -> bytes:
    encoder = TRANSLATION.make_encoder(context)
    return b"".join([encoder.write(event) for event in events])


def encode_values(*events: Event, context: ResponseContext = CONTEXT) -> list[Object]:
    """Return the payloads; assert that each frame has its own name."""
    frames = sse.split_frames(stream(*events, context=context))
    values = [jsonio.loads(sse.read_data(frame)) for frame in frames]
    for frame, value in zip(frames, values, strict=True):
        assert frame.startswith(b"event: " + value["type"].encode() + b"\ndata: ")
    return values


def encode_blocks(*events: Event, context: ResponseContext = CONTEXT) -> list[Object]:
    """Return the blocks that the SDK reads, the same streamed and whole."""
    events = (Start(), *events, *DONE)
    blocks: list[Object] = streamed(stream(*events, context=context))["content"]
    assert whole(TRANSLATION.encode_response(events, context))["content"] == blocks
    return blocks


def test_the_encoder_writes_a_stream_byte_for_byte() -> None:
    first = TRANSLATION.make_encoder(CONTEXT)
    assert first.write(Start(id="chatcmpl-1", model="m-1")) == (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_01JX","type":"message","role":"assistant","model":"m-1",'
        b'"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":0}}}\n\n'
    )
    assert first.write(TextDelta("h\u00e9 \u2028")) == (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"h\xc3\xa9 \xe2\x80\xa8"}}\n\n'
    )
    assert first.write(TextDelta("!")) == b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!"}}\n\n'  # fmt: skip
    assert first.write(Finish("stop")) == b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'  # fmt: skip
    assert first.write(UsageUpdate(Usage(input=9, cache_read=3, output=4, reasoning=2))) == b""
    assert first.write(End()) == (
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"input_tokens":9,"cache_read_input_tokens":3,"output_tokens":6,"output_tokens_details":{"thinking_tokens":2}}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_the_encoder_writes_a_whole_answer() -> None:
    events: list[Event] = [
        Start(model="m-1"),
        TextDelta("a"),
        UsageUpdate(Usage(input=9, output=4)),
        *DONE,
    ]
    assert json.loads(TRANSLATION.encode_response(events, CONTEXT)) == {
        "id": "msg_01JX", "type": "message", "role": "assistant", "model": "m-1", "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 4},
    }  # fmt: skip


def test_the_start_has_reported_usage_and_ids_before_estimates() -> None:
    [head] = encode_values(Start(id="msg_a", usage=Usage(input=3, cache_read=1)))
    assert (head["message"]["id"], head["message"]["model"]) == ("msg_a", "m")
    assert head["message"]["usage"] == {"input_tokens": 3, "cache_read_input_tokens": 1, "output_tokens": 0}  # fmt: skip
    assert encode_values(Start(), Start())[1:] == []
    assert [event["type"] for event in encode_values(TextDelta("a"))][:2] == [
        "message_start",
        "content_block_start",
    ]
    odd = ResponseContext(id="a:b", created_at=0, model="m")
    assert re.fullmatch("msg_[a-z0-9]+", encode_values(Start(), context=odd)[0]["message"]["id"])


def test_missing_usage_is_estimated() -> None:
    """The SDKs' types require both counts."""
    message = streamed(stream(TextDelta("12345"), *DONE))
    assert message["usage"] == {"input_tokens": 12, "output_tokens": 2}
    half = streamed(stream(TextDelta("12345"), UsageUpdate(Usage(output=7)), *DONE))
    assert half["usage"] == {"input_tokens": 12, "output_tokens": 7}


def test_blocks_follow_each_other_with_only_one_open() -> None:
    values = encode_values(Start(), ReasoningDelta("a"), TextDelta("b"), ToolStart(0, "t", "f"), ToolEnd(0), TextDelta("c"), *DONE)  # fmt: skip
    kinds = [
        (value["type"].removeprefix("content_block_"), value.get("index")) for value in values[1:-2]
    ]
    assert kinds == [
        ("start", 0), ("delta", 0), ("stop", 0), ("start", 1), ("delta", 1), ("stop", 1), ("start", 2), ("stop", 2), ("start", 3), ("delta", 3), ("stop", 3),
    ]  # fmt: skip


def test_interleaved_tool_calls_are_written_one_after_the_other() -> None:
    events: list[Event] = [
        ToolStart(0, "t0", "f"), ToolStart(1, "t1", "g"), ToolDelta(1, '{"b"'), ToolDelta(0, '{"a"'), ToolStart(2, "t2", "h"), TextDelta("w"), ToolDelta(1, ":2}"),
        ToolDelta(0, ":1}"), ToolEnd(1), ToolEnd(0), ToolEnd(2),
    ]  # fmt: skip
    assert encode_blocks(*events) == [
        {"type": "tool_use", "id": "t0", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "t1", "name": "g", "input": {"b": 2}},
        {"type": "tool_use", "id": "t2", "name": "h", "input": {}},
        {"type": "text", "text": "w"},
    ]
    encoder = TRANSLATION.make_encoder(CONTEXT)
    assert [bool(encoder.write(event)) for event in events[:5]] == [True, False, False, True, False]


def test_unfinished_tool_calls_end_with_the_answer() -> None:
    unfinished: list[Event] = [ToolStart(0, "t0", "f"), ToolDelta(0, "{}"), ToolStart(1, "t1", "g"), ToolDelta(1, "{}")]  # fmt: skip
    assert [block["id"] for block in encode_blocks(*unfinished)] == ["t0", "t1"]
    assert [event["type"] for event in encode_values(Start(), *unfinished, End())].count(
        "content_block_stop"
    ) == 2
    stray: list[Event] = [
        ToolDelta(0, "{}"),
        ToolEnd(0),
        ToolStart(0, "t", "f"),
        ToolDelta(0, ""),
        ToolEnd(0),
    ]
    assert len(encode_blocks(*stray)) == 1


def test_tool_ids_are_plain() -> None:
    odd, none = encode_blocks(
        ToolStart(0, "call:1", "f"), ToolEnd(0), ToolStart(1, "", "f"), ToolEnd(1)
    )
    assert (odd["id"], none["id"]) == (tool_ids.make_plain_id("call:1", "toolu_"), "toolu_01JX_1")


def test_reasoning_state_is_labelled_with_its_maker() -> None:
    thought: list[Event] = [ReasoningDelta("a"), ReasoningDelta("b"), ReasoningEnd(state="s==")]
    assert encode_blocks(*thought, context=LABELLED) == [{"type": "thinking", "thinking": "ab", "signature": "tg1.beef.s=="}]  # fmt: skip
    assert encode_blocks(*thought) == [{"type": "thinking", "thinking": "ab", "signature": ""}]
    assert encode_blocks(ReasoningEnd(state="s"), context=LABELLED) == [{"type": "thinking", "thinking": "", "signature": "tg1.beef.s"}]  # fmt: skip
    assert encode_blocks(TextDelta("a"), ReasoningEnd(), ReasoningEnd(state="s"), TextDelta("b")) == [{"type": "text", "text": "ab"}]  # fmt: skip
    sealed = ReasoningEnd(state="d", redacted=True)
    assert encode_blocks(sealed, context=LABELLED) == [{"type": "redacted_thinking", "data": "tg1.beef.d"}]  # fmt: skip
    assert encode_blocks(ReasoningDelta("a"), sealed) == [{"type": "thinking", "thinking": "a", "signature": ""}]  # fmt: skip


def test_thinking_without_a_state_has_only_the_label() -> None:
    """Anthropic would refuse it unsigned.

    The gateway recognizes the label when it comes back, without a state.
    """
    (thought, *rest) = encode_blocks(ReasoningDelta("a"), ReasoningEnd(), TextDelta("b"), ReasoningEnd(), context=LABELLED)  # fmt: skip
    assert thought == {"type": "thinking", "thinking": "a", "signature": "tg1.beef."}
    assert rest == [{"type": "text", "text": "b"}]
    redacted = encode_blocks(ReasoningDelta("a"), ReasoningEnd(redacted=True), context=LABELLED)
    assert redacted == [{"type": "thinking", "thinking": "a", "signature": ""}]
    request = TRANSLATION.decode_request(
        ask(messages=[{"role": "assistant", "content": [thought]}])
    )
    (part,) = request.turns[0].parts
    assert (part.text, part.state, part.maker) == ("a", None, "beef")  # type: ignore[union-attr]  # a thought


def test_parts_of_a_summary_become_paragraphs() -> None:
    events: list[Event] = [ReasoningDelta("", part=0), ReasoningDelta("a", part=0), ReasoningDelta("b", part=1), ReasoningDelta("c", part=1), ReasoningEnd()]  # fmt: skip
    assert encode_blocks(*events)[0]["thinking"] == "a\n\nbc"
    two_thoughts: list[Event] = [
        ReasoningDelta("a", part=1),
        ReasoningEnd(),
        ReasoningDelta("b", part=0),
        ReasoningEnd(),
    ]
    assert [block["thinking"] for block in encode_blocks(*two_thoughts)] == ["a", "b"]


def test_a_state_tied_to_a_tool_use_returns_with_it() -> None:
    """The state becomes an empty thought behind the use, which clients send back unchanged."""
    events: list[Event] = [ToolStart(0, "t:0", "f"), ToolDelta(0, "{}"), ToolStart(1, "t1", "f"), ToolEnd(0, state="sig=="), ToolEnd(1)]  # fmt: skip
    blocks = encode_blocks(*events, context=LABELLED)
    assert [block["type"] for block in blocks] == ["tool_use", "thinking", "tool_use"]
    request = TRANSLATION.decode_request(ask(messages=[{"role": "assistant", "content": blocks}]))
    first, second = request.turns[0].parts
    assert (first.state, first.maker, second.state) == ("sig==", "beef", None)  # type: ignore[union-attr]  # uses of tools
    assert [block["type"] for block in encode_blocks(*events)] == ["tool_use", "tool_use"]


def test_only_citations_of_the_api_itself_are_written() -> None:
    """The gateway cannot make up an encrypted index.

    A client would send it back, and the API would refuse it.
    """
    own = {"type": "char_location", "cited_text": "a", "document_index": 0, "start_char_index": 0, "end_char_index": 1}  # fmt: skip
    theirs = {"type": "url_citation", "url": "https://a.test"}
    cited: list[Event] = [TextDelta("a"), Citation(source=own), Citation(url="u", source=theirs), Citation(url="u"), ReasoningEnd()]  # fmt: skip
    assert encode_blocks(Citation(source=own), *cited) == [
        {"type": "text", "text": "a", "citations": [own]}
    ]


def test_generated_media_and_hosted_tools_are_dropped_and_named() -> None:
    """A transcript of speech is text. Content without a place does not begin the message either."""
    context = msgspec.structs.replace(CONTEXT, dropped_names={})
    picture = GeneratedMedia("image", "QUJD", "candidates.content.inlineData")
    speech = GeneratedMedia("audio", "QUJD", "message.audio", transcript="hi")
    assert encode_blocks(picture, speech, context=context) == [{"type": "text", "text": "hi"}]
    encoder = TRANSLATION.make_encoder(context)
    assert encoder.write(Opaque("output.web_search_call")) == b""
    assert encoder.write(AnswerMetadata("images")) == b""
    assert encoder.write(Start()).startswith(b"event: message_start")
    assert encoder.write(Citation(url="u", name="message.annotations")) == b""
    assert [*context.dropped_names] == [
        "candidates.content.inlineData", "message.audio", "output.web_search_call", "images", "message.annotations",
    ]  # fmt: skip


def test_events_without_a_place_in_the_dialect_are_not_written() -> None:
    events: list[Event] = [Start(), LogProbs([]), Opaque("web_search_call"), Failed(stream_frames.make_broken_problem()), TextDelta(""), TextDelta("x", choice=1)]  # fmt: skip
    assert len(encode_values(*events)) == 1


@pytest.mark.parametrize(
    ("finish", "reason", "stop"),
    [
        (Finish("stop", "stop"), "end_turn", None),
        (Finish("stop", "stop", "##"), "stop_sequence", "##"),
        (Finish("length", "length"), "max_tokens", None),
        (Finish("length", "model_context_window_exceeded"), "model_context_window_exceeded", None),
        (Finish("tools", "tool_calls"), "tool_use", None),
        (Finish("filter", "content_filter"), "refusal", None),
        (Finish("pause"), "pause_turn", None),
        (Finish("stop", "refusal"), "end_turn", None),
        (Finish("error", "MALFORMED_FUNCTION_CALL"), None, None),
    ],
)
def test_the_finish_becomes_a_stop_reason(
    finish: Finish, reason: str | None, stop: str | None
) -> None:
    """The gateway uses the API's own word if one has the same meaning."""
    delta = encode_values(Start(), finish, End())[-2]["delta"]
    assert (delta["stop_reason"], delta["stop_sequence"]) == (reason, stop)
    assert ("stop_details" in delta) == (reason == "refusal")


def test_a_refusal_becomes_text_and_a_refusal_reason() -> None:
    message = streamed(stream(Start(), Declined("I can not."), *DONE))
    assert message["content"] == [{"type": "text", "text": "I can not."}]
    assert (message["stop_reason"], message["stop_details"]) == ("refusal", {"type": "refusal"})
    cut = streamed(stream(Start(), Declined("I can"), Finish("length"), End()))
    assert cut["stop_reason"] == "max_tokens"


def test_an_end_without_a_finish_is_an_end_of_turn() -> None:
    assert encode_values(Start(), End())[-2]["delta"]["stop_reason"] == "end_turn"


COUNTS = st.integers(0, 10**6)
USAGES = st.builds(
    Usage,
    input=st.integers(1, 10**6),
    cache_read=st.none() | COUNTS,
    cache_write=st.dictionaries(st.sampled_from(["5m", "1h", ""]), st.integers(1, 10**6)),
    output=COUNTS,
    reasoning=st.none() | COUNTS,
)


@given(USAGES)
def test_usage_survives_encoding_and_decoding(used: Usage) -> None:
    """All five classes come back, streamed and whole."""
    events: list[Event] = [Start(), TextDelta("a"), *DONE[:1], UsageUpdate(used), End()]
    [update] = [event for event in decode(stream(*events)) if isinstance(event, UsageUpdate)]
    assert update.usage == used
    assert usage.read(json.loads(TRANSLATION.encode_response(events, CONTEXT))["usage"]) == used


def decode(*parts: bytes) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events: list[Event] = [event for part in parts for event in decoder.feed(part)]
    return events + decoder.end()


ARGUMENTS = st.dictionaries(TEXT, TEXT, max_size=2).map(json.dumps)
WORDS: st.SearchStrategy[list[Event]] = TEXT.map(lambda text: [TextDelta(text)])


@st.composite
def thoughts(draw: st.DrawFn) -> list[Event]:
    ended = ReasoningEnd(state=draw(st.none() | st.just("c3RhdGU=")))
    return [*(ReasoningDelta(text) for text in draw(st.lists(TEXT, max_size=2))), ended]


@st.composite
def tools(draw: st.DrawFn) -> list[Event]:
    """Draw several uses with their pieces in order, interleaved in any way, with words between."""
    lanes: list[list[Event]] = []
    for at in range(draw(st.integers(1, 3))):
        text = draw(ARGUMENTS)
        cut = draw(st.integers(0, len(text)))
        halves = [ToolDelta(at, text[:cut]), ToolDelta(at, text[cut:])]
        name = draw(st.sampled_from(["f", "get_weather"]))
        lanes.append([ToolStart(at, f"call_{at}", name), *halves, ToolEnd(at)])
    lanes.append(draw(WORDS))
    events: list[Event] = []
    while lanes:
        lane = draw(st.sampled_from(lanes))
        events.append(lane.pop(0))
        lanes = [lane for lane in lanes if lane]
    return events


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Draw whole answers as any dialect may send them."""
    content_parts = draw(st.lists(WORDS | thoughts(), max_size=4))
    if draw(st.booleans()):
        content_parts.append(draw(tools()))
    finish = Finish(draw(st.sampled_from(["stop", "length", "tools", "filter", "pause"])))
    end: list[Event] = [UsageUpdate(draw(USAGES)), finish]
    content = [event for part in content_parts for event in part]
    return [Start(model="m-1"), *content, *draw(st.permutations(end)), End()]


def collect_events(events: list[Event]) -> Object:
    """Collect the content of events, however it is split."""
    started = {event.index: event for event in events if isinstance(event, ToolStart)}
    ended = [event.state for event in events if isinstance(event, ReasoningEnd) and event.state]
    pieces = [event for event in events if isinstance(event, ToolDelta)]
    return {
        "text": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "thinking": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "states": ended,
        "calls": [
            (
                call.id,
                call.name,
                json.loads("".join(p.text for p in pieces if p.index == call.index)),
            )
            for call in started.values()
        ],
        "finish": [event.reason for event in events if isinstance(event, Finish)],
        "usage": [event.usage for event in events if isinstance(event, UsageUpdate)],
        "model": [event.model for event in events if isinstance(event, Start)],
    }


def collect_message(message: Object) -> Object:
    """Collect the content that the SDK assembled, in the same form."""
    blocks: list[Object] = message["content"]
    reasons = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tools", "refusal": "filter", "pause_turn": "pause"}  # fmt: skip
    return {
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "thinking": "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        "states": [block["signature"].removeprefix("tg1.beef.") for block in blocks if block["type"] == "thinking" and block["signature"] not in ("", "tg1.beef.")],
        "calls": [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        "finish": [reasons[message["stop_reason"]]],
        "model": [message["model"]],
    }  # fmt: skip


@given(answers())
def test_the_sdk_assembles_the_content_of_the_events(events: list[Event]) -> None:
    """Laws 2 and 3: the SDK reads the same streamed and whole."""
    expected: Any = collect_events(events)
    [used] = expected.pop("usage")
    for message in (
        streamed(stream(*events, context=LABELLED)),
        whole(TRANSLATION.encode_response(events, LABELLED)),
    ):
        assert collect_message(message) == expected
        counts = message["usage"]
        assert counts["input_tokens"] == used.input
        assert counts.get("cache_read_input_tokens") == used.cache_read
        assert counts.get("cache_creation_input_tokens", 0) == sum(used.cache_write.values())
        assert counts["output_tokens"] == used.completion
        details = counts.get("output_tokens_details") or {}
        assert details.get("thinking_tokens") == used.reasoning


@given(answers(), st.lists(st.integers(0, 3000), max_size=6))
def test_encoded_events_decode_to_the_same_content_however_they_are_read(events: list[Event], cuts: list[int]) -> None:  # fmt: skip
    """Law 2: a stream in any pieces and a whole answer decode to the same."""
    data = stream(*events)
    decoded = decode(data)
    assert decode(*pieces(data, cuts)) == decoded
    expected = {**collect_events(events), "states": []}
    assert collect_events(decoded) == expected
    assert (
        collect_events(TRANSLATION.decode_response(TRANSLATION.encode_response(events, CONTEXT)))
        == expected
    )
    assert isinstance(decoded[-1], End)


@given(answers())
def test_the_native_inspector_understands_the_encoded_stream(events: list[Event]) -> None:
    """The recorder and the accounting of the dialect read it like a provider's stream."""
    data = stream(*events)
    inspector = DIALECT.inspect_stream(ask(stream=True))
    assert inspector.feed(data) == data
    assert (inspector.complete, inspector.problem) == (True, None)
    assert json.loads(DIALECT.fold(data)) == json.loads(
        TRANSLATION.encode_response(events, CONTEXT)
    )


def test_the_sdk_gets_the_text_of_a_custom_tool_as_an_object() -> None:
    """The dialect has no custom tools, so the text goes into the one member of a function."""
    call: list[Event] = [ToolStart(0, "toolu_1", "run", custom=True), ToolDelta(0, 'print("a\\n'), ToolDelta(0, '\u00e9")'), ToolEnd(0)]  # fmt: skip
    for message in (streamed(stream(Start(), *call, *DONE)), whole(TRANSLATION.encode_response([Start(), *call, *DONE], CONTEXT))):  # fmt: skip
        assert message["content"][0]["input"] == {"input": 'print("a\\n\u00e9")'}


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [(["null"], []), (['{"a":', "null", "}"], ['{"a":', "null", "}"]), (["{}"], ["{}"])],
)
def test_arguments_of_null_become_no_arguments(pieces: list[str], expected: list[str]) -> None:
    """Groq calls a function with "null": an SDK would hand that to its user, not an object."""
    call: list[Event] = [
        ToolStart(0, "toolu_1", "f"),
        *[ToolDelta(0, text) for text in pieces],
        ToolEnd(0),
    ]
    deltas = [event["delta"]["partial_json"] for event in encode_values(Start(), *call, *DONE) if event["type"] == "content_block_delta"]  # fmt: skip
    assert deltas == expected


def test_the_start_reports_no_thinking_tokens_before_any_thinking() -> None:
    """Gemini counts thoughts in its first chunk, where `output_tokens` is still 0."""
    used = Usage(input=5, cache_read=1, output=2, reasoning=9)
    head = encode_values(Start(usage=used))[0]["message"]["usage"]
    assert head == {"input_tokens": 5, "cache_read_input_tokens": 1, "output_tokens": 0}
