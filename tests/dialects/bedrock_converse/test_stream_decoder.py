"""The decoder reads a stream of Converse as events, and a cut stream is never a whole answer."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Problem
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
)
from gateway.core.usage import Usage
from gateway.dialects import DIALECTS, ResponseContext
from gateway.dialects.bedrock_converse import TRANSLATION
from gateway.dialects.bedrock_converse.stream_decoder import list_events
from gateway.dialects.stream_frames import MAX_FRAME_BYTES
from gateway.dialects.translation import get_translation
from tests.dialects.bedrock_converse.frames import (
    Object,
    call,
    delta,
    end,
    message_stop,
    metadata,
    start,
    stop,
    text,
    whole,
    write_event,
    write_exception,
    write_message,
    write_string_header,
)
from tests.dialects.cases import pieces

USED = UsageUpdate(Usage(input=7, output=3))
ENDED: list[Event] = [USED, Finish("stop", "end_turn"), End()]


def decode(stream: bytes, cuts: Sequence[int] = ()) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in pieces(stream, cuts) for event in decoder.feed(part)]
    events += decoder.end()
    assert decoder.feed(text("more")) == []
    assert decoder.end() == []
    return events


def find_problem(events: list[Event]) -> Problem:
    (failed,) = [event for event in events if isinstance(event, Failed)]
    return failed.problem


def test_text_comes_in_deltas_between_a_start_and_an_end() -> None:
    stream = start() + text("Hel") + text("") + text("lo") + stop() + end()
    assert decode(stream) == [Start(), TextDelta("Hel"), TextDelta("lo"), *ENDED]


def test_reasoning_has_its_text_and_its_signature() -> None:
    stream = (
        start() + delta({"reasoningContent": {"text": "hm"}}) + delta({"reasoningContent": {"signature": "c2"}})
        + delta({"reasoningContent": {"signature": "ln"}}) + stop() + text("a", 1) + stop(1) + end()
    )  # fmt: skip
    assert decode(stream)[1:4] == [ReasoningDelta("hm"), ReasoningEnd("c2ln"), TextDelta("a")]


def test_redacted_reasoning_is_all_state() -> None:
    stream = start() + delta({"reasoningContent": {"redactedContent": "AAEC"}}) + stop() + end()
    assert decode(stream)[1] == ReasoningEnd("AAEC", redacted=True)


def test_reasoning_without_a_signature_has_no_state() -> None:
    """Nova sends its reasoning so, with [REDACTED] for its text."""
    stream = start() + delta({"reasoningContent": {"text": "[REDACTED]"}}) + stop() + end()
    assert decode(stream)[1:3] == [ReasoningDelta("[REDACTED]"), ReasoningEnd()]


def test_tool_calls_keep_the_bytes_of_their_input() -> None:
    stream = start() + call("f", '{"a" ', ": 1.50}") + call("g", index=1, id="b") + end("tool_use")
    assert decode(stream)[1:] == [
        ToolStart(0, "tooluse_1", "f"), ToolDelta(0, '{"a" '), ToolDelta(0, ": 1.50}"), ToolEnd(0),
        ToolStart(1, "b", "g"), ToolDelta(1, "{}"), ToolEnd(1),
        USED, Finish("tools", "tool_use"), End(),
    ]  # fmt: skip


def test_a_tool_of_the_provider_is_named_as_a_whole() -> None:
    stream = start() + call("nova_grounding", '{"q":1}', type="server_tool_use") + end()
    source = {"toolUseId": "tooluse_1", "name": "nova_grounding", "type": "server_tool_use"}
    assert decode(stream)[1] == Opaque("content.server_tool_use", source)


def test_content_that_no_dialect_has_is_named() -> None:
    image = {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}
    stream = (
        start() + write_event("contentBlockStart", image) + delta({"image": {"source": {"bytes": "AA"}}})
        + stop() + end()
    )  # fmt: skip
    assert decode(stream)[1] == Opaque("content.image", {"format": "png"})


def test_citations_cover_the_text_of_their_block() -> None:
    cited = {"title": "t", "location": {"web": {"url": "https://a.test"}}}
    stream = (
        start() + text("Hi. ") + stop() + text("So", 1) + delta({"citation": cited}, 1)
        + delta({"citation": {"source": "s3://a"}}, 1) + stop(1) + end()
    )  # fmt: skip
    assert [event for event in decode(stream) if isinstance(event, Citation)] == [
        Citation("https://a.test", "t", 4, 6, cited, name="content.citations"),
        Citation("s3://a", None, 4, 6, {"source": "s3://a"}, name="content.citations"),
    ]


def test_a_delta_of_another_kind_begins_a_new_block() -> None:
    stream = start() + delta({"reasoningContent": {"text": "hm"}}) + text("a") + end()
    assert decode(stream)[1:4] == [ReasoningDelta("hm"), ReasoningEnd(), TextDelta("a")]


def test_a_block_that_never_stops_ends_with_the_answer() -> None:
    use = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}}
    stream = start() + write_event("contentBlockStart", use) + end("tool_use")
    assert decode(stream)[1:5] == [ToolStart(0, "a", "f"), ToolDelta(0, "{}"), ToolEnd(0), USED]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"), ("tool_use", "tools"),
        ("guardrail_intervened", "filter"), ("content_filtered", "filter"), ("a_new_word", "length"),
    ],
)  # fmt: skip
def test_every_stop_reason_has_a_meaning(word: str, reason: Any) -> None:
    expected = [USED, Finish(reason, word), End()]
    assert decode(start() + text("a") + stop() + end(word))[-3:] == expected
    assert TRANSLATION.decode_response(whole({"text": "a"}, reason=word))[-3:] == expected


@pytest.mark.parametrize("word", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_answer_has_failed(word: str) -> None:
    for events in (
        decode(start() + text("a") + stop() + end(word)),
        TRANSLATION.decode_response(whole({"text": "a"}, reason=word)),
    ):
        assert find_problem(events).kind == "upstream_error"
        assert word in find_problem(events).message
        assert End() not in events


def test_a_missing_reason_is_a_cut() -> None:
    for events in (
        decode(start() + text("a") + stop() + end(None)),
        TRANSLATION.decode_response(whole({"text": "a"}, reason=None)),
    ):
        assert events[-2:] == [Finish("cut"), End()]


STREAM = start() + text("Hello") + stop() + call("f", '{"a":1}', index=1) + end("tool_use")
LAST_EVENT = len(metadata())


@given(st.integers(0, len(STREAM) - 1))
def test_a_stream_that_breaks_off_anywhere_has_no_end(length: int) -> None:
    """Also one that lacks nothing but its metadata: what it cost is unknown."""
    events = decode(STREAM[:length])
    assert not any(isinstance(event, Finish | End) for event in events)


def test_the_end_may_come_in_the_other_order() -> None:
    stream = start() + text("a") + stop() + metadata() + message_stop()
    assert decode(stream)[-3:] == ENDED


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_cut_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    assert decode(STREAM, cuts) == decode(STREAM)


@pytest.mark.parametrize(
    ("type", "kind", "status"),
    [
        ("throttlingException", "upstream_rate_limited", 429),
        ("modelStreamErrorException", "upstream_error", 500),
        ("internalServerException", "upstream_error", 500),
        ("serviceUnavailableException", "upstream_overloaded", 503),
        ("modelTimeoutException", "upstream_timeout", 408),
        ("aNewException", "upstream_error", 500),
        ("", "upstream_error", 500),
    ],
)
def test_an_exception_ends_the_stream_as_a_problem(type: str, kind: str, status: int) -> None:
    events = decode(start() + text("a") + write_exception(type, "No.") + end())
    problem = find_problem(events)
    assert (problem.kind, problem.upstream_status, problem.spent) == (kind, status, "maybe")
    assert events[-1] == Failed(problem)


def test_an_exception_about_the_request_has_the_providers_words() -> None:
    problem = find_problem(decode(write_exception("validationException", "No cats.")))
    assert (problem.kind, problem.body) == ("upstream_rejected", b'{"message": "No cats."}')
    too_long = write_exception("validationException", "Input is too long for requested model.")
    assert find_problem(decode(too_long)).kind == "upstream_context"


def test_an_error_without_a_shape_says_in_headers_what_it_is() -> None:
    headers = (
        write_string_header(":message-type", "error")
        + write_string_header(":error-code", "ThrottlingException")
        + write_string_header(":error-message", "Slow down.")
    )
    problem = find_problem(decode(start() + write_message(headers, b"")))
    assert problem.kind == "upstream_rate_limited"


def test_a_broken_stream_is_a_problem_after_what_was_good() -> None:
    broken = bytearray(text("b"))
    broken[-1] ^= 1
    events = decode(start() + text("a") + bytes(broken))
    assert events[:2] == [Start(), TextDelta("a")]
    assert "checksum of a message" in find_problem(events).message
    assert (
        find_problem(decode(start() + write_event("messageStop", b"[]"))).kind == "upstream_error"
    )
    assert find_problem(decode(b"<html>maintenance</html>")).kind == "upstream_error"


def test_unknown_members_and_events_are_named_once() -> None:
    odd = write_event(
        "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a", "odd": 1}}
    )
    stream = (
        start()
        + odd
        + odd
        + write_event("newEvent", {"a": 1})
        + stop()
        + end(trace={"a": 1}, odd=1)
    )
    names = [event.name for event in decode(stream) if isinstance(event, AnswerMetadata)]
    assert names == ["content.odd", "newEvent", "metadata.odd"]


def test_an_event_without_its_parts_says_nothing() -> None:
    stream = (
        start() + write_event("contentBlockDelta", {"delta": 1, "contentBlockIndex": "x"}) + stop()
    )
    stream += write_event("contentBlockStart", {"contentBlockIndex": 1}) + stop(9) + end(usage={})
    assert decode(stream) == [Start(), Finish("stop", "end_turn"), End()]


# Models that stream nothing answer as a whole.


def test_a_whole_answer_may_come_in_place_of_a_stream() -> None:
    body = whole({"text": "Hi"}, {"toolUse": {"toolUseId": "a", "name": "f", "input": {"b": 1}}}, reason="tool_use")  # fmt: skip
    assert decode(body, range(0, len(body), 7)) == TRANSLATION.decode_response(body)
    assert find_problem(decode(body[:-1])).kind == "upstream_error"


def test_a_whole_answer_is_bounded() -> None:
    decoder = TRANSLATION.make_decoder()
    events = decoder.feed(b"{" + b" " * MAX_FRAME_BYTES)
    assert "too long" in find_problem(events).message


def test_a_brace_in_the_middle_of_a_stream_begins_no_whole_answer() -> None:
    stream = start() + text("{") + stop() + end()
    for at in (position for position, byte in enumerate(stream) if byte == ord("{")):
        assert decode(stream, [at]) == [Start(), TextDelta("{"), *ENDED]


# A stream and a whole answer that say the same are the same to every client.

CONTEXT = ResponseContext(id="r", created_at=1, model="m")
BLOCKS = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=6).map(lambda words: {"text": words}),
        st.fixed_dictionaries({"a": st.text(max_size=4), "b": st.integers(0, 9)}).map(
            lambda given: {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": given}}
        ),
        st.tuples(st.text(min_size=1, max_size=6), st.sampled_from(["", "c2ln"])).map(
            lambda drawn: {
                "reasoningContent": {"reasoningText": {"text": drawn[0], "signature": drawn[1]}}
            }
        ),
        st.just({"reasoningContent": {"redactedContent": "AAEC"}}),
        st.just({"citationsContent": {"content": [{"text": "So"}], "citations": [{"title": "t"}]}}),
        st.just({"toolResult": {"toolUseId": "a", "content": []}}),
    ),
    max_size=4,
)


def write_block(index: int, block: Object, cut: int) -> bytes:
    """Write a block as a stream has it, its text and input in two pieces."""
    (kind,) = block
    value = block[kind]
    if kind == "text":
        return text(value[:cut], index) + text(value[cut:], index) + stop(index)
    if kind == "toolUse":
        given = json.dumps(value["input"], ensure_ascii=False, separators=(",", ":"))
        return call("f", given[:cut], given[cut:], index=index)
    if kind == "reasoningContent":
        parts = value.get("reasoningText", value)
        deltas = [delta({"reasoningContent": {name: item}}, index) for name, item in parts.items()]
        return b"".join(deltas) + stop(index)
    if kind == "citationsContent":
        return text("So", index) + delta({"citation": value["citations"][0]}, index) + stop(index)
    begun = {"contentBlockIndex": index, "start": block}
    return write_event("contentBlockStart", begun) + stop(index)


@pytest.mark.parametrize("client", DIALECTS)
@given(BLOCKS, st.integers(0, 6), st.sampled_from(["end_turn", "tool_use", "max_tokens"]))
def test_a_stream_folds_to_the_whole_answer_that_says_the_same(
    client: str, blocks: list[Object], cut: int, reason: str
) -> None:
    """fold(decode(stream)) == decode(whole), as each client would see it."""
    streamed = [write_block(index, block, cut) for index, block in enumerate(blocks)]
    stream_events = decode(b"".join([start(), *streamed, end(reason)]))
    whole_events = TRANSLATION.decode_response(whole(*blocks, reason=reason))
    encode = get_translation(DIALECTS[client]).encode_response
    assert encode(stream_events, CONTEXT) == encode(whole_events, CONTEXT)


def test_the_events_of_a_recorded_stream_are_listed_up_to_a_broken_one() -> None:
    assert list_events(start() + stop()) == [
        ("messageStart", b'{"role": "assistant", "p": "abc"}'),
        ("contentBlockStop", b'{"contentBlockIndex": 0}'),
    ]
    assert list_events(stop() + b"broken stream") == [
        ("contentBlockStop", b'{"contentBlockIndex": 0}')
    ]
