"""The Messages API: usage of every kind, whole and streamed, and counted content."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.anthropic_messages import DIALECT, usage
from gateway.dialects.base import StreamInspector
from tests.dialects.cases import Object

BODY = DIALECT.read(b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}')  # fmt: skip
SAMPLED: Object = {"type": "message", "input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 5}  # fmt: skip
VECTORS: list[tuple[str, Object, Usage]] = [
    (
        "what was read and written stands beside the input, thinking in the output",
        {"input_tokens": 10, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 300,
         "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
         "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 30}, "service_tier": "standard",
         "inference_geo": "global", "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0}},
        Usage(input=10, cache_read=600, cache_write={"5m": 100, "1h": 200}, output=20, reasoning=30),
    ),
    (
        "a search writes to the cache, of which no lifetime is told",
        {"input_tokens": 335, "output_tokens": 690, "cache_creation_input_tokens": 12229, "cache_read_input_tokens": 14942,
         "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
         "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 4}},
        Usage(input=335, cache_read=14942, cache_write={"": 12229}, output=690, tools={"web_search": 1}),
    ),
    ("a priority", {"input_tokens": 1, "output_tokens": 2, "service_tier": "priority"}, Usage(input=1, output=2, service="priority")),
    ("a batch", {"input_tokens": 1, "output_tokens": 2, "service_tier": "batch"}, Usage(input=1, output=2, service="batch")),
    (
        "fast, in one country",
        {"input_tokens": 1, "output_tokens": 2, "service_tier": "standard", "speed": "fast", "inference_geo": "us"},
        Usage(input=1, output=2, service="fast+us"),
    ),
    ("not told where", {"input_tokens": 1, "output_tokens": 2, "speed": "standard", "inference_geo": "not_available"}, Usage(input=1, output=2)),
    (
        "OpenRouter tells what it billed",
        {"input_tokens": 32, "output_tokens": 16, "cost": 0.000112, "is_byok": False},
        Usage(input=32, output=16, billed=Decimal("0.000112")),
    ),
    (
        "samplings are in the totals",
        {"input_tokens": 20, "output_tokens": 8, "cache_read_input_tokens": 14, "cache_creation_input_tokens": 10, "iterations": [SAMPLED, SAMPLED]},
        Usage(input=20, cache_read=14, cache_write={"": 10}, output=8),
    ),
    (
        "where they are not, their sum stands",
        {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 5, "iterations": [SAMPLED, SAMPLED, SAMPLED]},
        Usage(input=30, cache_read=21, cache_write={"": 15}, output=12),
    ),
    (
        "where the totals leave the cache out, it is that of the samplings",
        {"input_tokens": 20, "output_tokens": 8, "iterations": [SAMPLED, SAMPLED]},
        Usage(input=20, cache_read=14, cache_write={"": 10}, output=8),
    ),
    (
        "nothing but samplings",
        {"output_tokens": 8, "iterations": [SAMPLED, SAMPLED]},
        Usage(input=20, cache_read=14, cache_write={"": 10}, output=8),
    ),
    (
        "a compaction is in no total",
        {"input_tokens": 10, "output_tokens": 4, "iterations": [{"type": "compaction", "input_tokens": 900, "output_tokens": 30, "cache_read_input_tokens": 80}, {"type": "message", "input_tokens": 10, "output_tokens": 4}]},
        Usage(input=910, cache_read=80, output=34),
    ),
    (
        "an advisor is another model: no price of this one is its",
        {"input_tokens": 20, "output_tokens": 8, "iterations": [{"type": "message", "input_tokens": 9, "output_tokens": 4}, {"type": "advisor_message", "model": "other", "input_tokens": 2518, "output_tokens": 22}, {"type": "message", "input_tokens": 11, "output_tokens": 4}]},
        Usage(input=20, output=8, tools={"other:input": 2518, "other:output": 22}),
    ),
    (
        "the tokens of an advisor count by model, and by lifetime in the cache",
        {"input_tokens": 20, "output_tokens": 8, "iterations": [
            {"type": "advisor_message", "model": "a", "input_tokens": 5, "output_tokens": 22, "cache_read_input_tokens": 7,
             "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 6}},
            {"type": "advisor_message", "model": "a", "input_tokens": 1, "output_tokens": 0},
            {"type": "advisor_message", "model": "b"}, {"type": "advisor_message", "input_tokens": 1}]},
        Usage(input=20, output=8, tools={"a:input": 6, "a:cache_read": 7, "a:cache_write_1h": 6, "a:cache_write": 3, "a:output": 22, "advisor": 2}),
    ),
    (
        "so is a fallback, and the hop that declined is not billed",
        {"input_tokens": 412, "output_tokens": 264, "iterations": [{"type": "message", "model": "one", "input_tokens": 408, "output_tokens": 0}, {"type": "fallback_message", "model": "two", "input_tokens": 412, "output_tokens": 264}]},
        Usage(input=412, output=264, tools={"fallback": 1}),
    ),
    ("rows that are none", {"input_tokens": 1, "output_tokens": 2, "iterations": [7, {"type": None}, {"type": "message"}]}, Usage(input=1, output=2)),
    ("a list that is none", {"input_tokens": 1, "output_tokens": 2, "iterations": {"type": "compaction"}}, Usage(input=1, output=2)),
]  # fmt: skip


def frame(event: Object) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + json.dumps(event).encode() + b"\n\n"


TEXT_START = frame(
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
)


def stream(start: Object | None, last: Object | None, *blocks: bytes) -> bytes:
    message: Object = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": [],
    }
    head = frame({"type": "message_start", "message": {**message, "usage": start}})
    end: Object = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    content = blocks or (TEXT_START, delta({"type": "text_delta", "text": "ab"}))
    return b"".join([head, *content, frame(end), frame({"type": "message_stop"})])


def delta(value: Object) -> bytes:
    return frame({"type": "content_block_delta", "index": 0, "delta": value})


def inspect(data: bytes) -> StreamInspector:
    inspector = DIALECT.inspect_stream(BODY)
    for part in data.split(b"\n\n"):
        inspector.feed(part + b"\n\n" if part else b"")
    inspector.end()
    return inspector


def read_translated(data: bytes) -> Usage | None:
    assert DIALECT.translation is not None
    decoder = DIALECT.translation.make_decoder()
    events = [*decoder.feed(data), *decoder.end()]
    return [event.usage for event in events if hasattr(event, "usage")][-1]


@pytest.mark.parametrize(
    ("reported", "expected"), [v[1:] for v in VECTORS], ids=[str(v[0]) for v in VECTORS]
)
def test_usage_reads_the_same_whole_streamed_translated_and_folded(
    reported: Object, expected: Usage
) -> None:
    """Usage is the same whole and in a stream that ends with it, with or without earlier input."""
    whole = {
        "type": "message",
        "model": "m-1",
        "content": [],
        "stop_reason": "end_turn",
        "usage": reported,
    }
    assert DIALECT.summarize(json.dumps(whole).encode()).usage == expected
    for data in (stream(None, reported), stream({**reported, "output_tokens": 1}, reported)):
        assert inspect(data).usage == expected
        assert read_translated(data) == expected
        assert DIALECT.summarize(DIALECT.fold(data)).usage == expected


START: Object = {"input_tokens": 3, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 7, "output_tokens": 1}  # fmt: skip
USED = Usage(input=3, cache_read=90, cache_write={"": 7}, output=20)
ENDS: list[Object] = [
    {"output_tokens": 20},
    {**START, "output_tokens": 20},
    {"output_tokens": 20, "input_tokens": None, "cache_read_input_tokens": None},
    {"output_tokens": 20, "input_tokens": 0, "cache_read_input_tokens": 0},
]


@pytest.mark.parametrize("last", ENDS)
def test_the_input_is_reported_first_and_the_output_last(last: Object) -> None:
    """The `cache_read` of `message_start` stands, however little `message_delta` repeats."""
    folded = DIALECT.fold(stream(START, last))
    assert DIALECT.summarize(folded).usage == USED
    assert inspect(stream(START, last)).usage == USED
    assert read_translated(stream(START, last)) == USED


def test_the_usage_of_a_cut_stream_has_only_the_input() -> None:
    """The input is known, but `message_start` does not know the output yet."""
    inspector = inspect(stream(START, None).split(b"event: message_delta")[0])
    assert inspector.usage == Usage(input=3, cache_read=90, cache_write={"": 7})
    assert (inspector.complete, inspector.content_bytes) == (False, 2)


def test_repeated_usage_reports_count_once() -> None:
    several = stream(START, {"output_tokens": 9}).replace(
        frame({"type": "message_stop"}),
        frame({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 20}}) * 2
        + frame({"type": "message_stop"}),
    )
    assert inspect(several).usage == USED
    assert read_translated(several) == USED


@given(
    st.builds(
        Usage,
        input=st.integers(1, 10**6),
        cache_read=st.none() | st.integers(0, 10**6),
        cache_write=st.dictionaries(st.sampled_from(["", "5m", "1h"]), st.integers(1, 10**6)),
        output=st.integers(0, 10**6),
        reasoning=st.none() | st.integers(0, 10**6),
        tools=st.sampled_from([{}, {"web_search": 3}]),
        service=st.sampled_from([None, "priority", "batch", "fast"]),
    )
)
def test_written_usage_reads_as_the_same_usage(used: Usage) -> None:
    assert usage.read(usage.write(used)) == used


def test_usage_without_a_word_in_the_dialect_is_left_out() -> None:
    written = usage.write(Usage(input=1, output=2, service="flex", tools={"file_search": 1}))
    assert written == {"input_tokens": 1, "output_tokens": 2}


DELTAS: list[tuple[Object, int]] = [
    ({"type": "text_delta", "text": "h\u00e9"}, 3),
    ({"type": "thinking_delta", "thinking": "ab"}, 2),
    ({"type": "input_json_delta", "partial_json": '{"a"'}, 4),
    ({"type": "signature_delta", "signature": "AAAA"}, 0),
    ({"type": "compaction_delta", "content": "abc"}, 3),
    ({"type": "text_delta", "text": None}, 0),
]


@pytest.mark.parametrize(("value", "size"), DELTAS)
def test_the_content_of_a_stream_is_counted(value: Object, size: int) -> None:
    assert inspect(stream(START, None, delta(value))).content_bytes == size


BLOCKS: list[tuple[Object, int]] = [
    ({"type": "text", "text": "abc"}, 3),
    ({"type": "thinking", "thinking": "ab", "signature": "AAAA"}, 2),
    ({"type": "redacted_thinking", "data": "AAAA"}, 0),
    ({"type": "tool_use", "id": "t", "name": "f", "input": {}}, 1),
    ({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}, 8),
    ({"type": "web_search_tool_result", "content": [{"type": "text", "text": "found"}]}, 0),
    ({"type": "compaction", "content": "abc"}, 3),
]


@pytest.mark.parametrize(("block", "size"), BLOCKS)
def test_the_content_of_a_block_is_counted(block: Object, size: int) -> None:
    """The size is the same for a whole block in a stream. A hosted tool's findings do not count."""
    whole = {"type": "message", "content": [block], "usage": {}}
    assert DIALECT.summarize(json.dumps(whole).encode()).content_bytes == size
    head = frame({"type": "content_block_start", "index": 0, "content_block": block})
    assert inspect(stream(START, None, head)).content_bytes == size


def test_frames_and_blocks_without_content_count_nothing() -> None:
    assert DIALECT.summarize(b'{"type":"message","content":[7]}').content_bytes == 0
    assert inspect(stream(START, None, frame({"type": "ping"}))).content_bytes == 0


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (None, None), ({}, None), ({"input_tokens": None, "output_tokens": "9"}, None),
        ({"output_tokens": 9}, Usage(output=9)),
        ({"input_tokens": 3, "cache_read_input_tokens": 0}, Usage(input=3, cache_read=0)),
        ({"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}, Usage(input=3, output=5, reasoning=4)),
        ({"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 40}}, Usage(input=3, output=0, reasoning=9)),
        ({"input_tokens": 3, "output_tokens_details": {"thinking_tokens": 4}}, Usage(input=3, reasoning=4)),
        ({"output_tokens": 9, "cache_creation_input_tokens": 7}, Usage(output=9, cache_write={"": 7})),
        ({"output_tokens": 9, "cache_creation_input_tokens": 0}, Usage(output=9)),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}},
            Usage(output=9, cache_write={"5m": 3, "1h": 4}),
        ),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 3}},
            Usage(output=9, cache_write={"5m": 3, "": 4}),
        ),
        ({"output_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, Usage(output=9, cache_write={"1h": 4})),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_5m_input_tokens": 3}},
            Usage(output=9, cache_write={"": 2}),
        ),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 0, "cache_creation": {"ephemeral_5m_input_tokens": 3}},
            Usage(output=9),
        ),
    ],
)  # fmt: skip
def test_usage_reads_in_five_token_classes(reported: object, expected: Usage | None) -> None:
    """Input excludes the cache, output includes thinking, and the last total counts."""
    assert usage.read(reported) == expected


def test_compactions_are_added_to_the_totals() -> None:
    """Compaction tokens are billed but stand in no total (BetaUsage).

    An advisor's are another model's.
    """
    part: Object = {"type": "compaction", "input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 3}  # fmt: skip
    other = {**part, "type": "advisor_message"}
    totals: Object = {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 4}
    assert usage.read({**totals, "iterations": [part, other, 7]}) == Usage(
        input=101, output=12, cache_write={"": 7}, tools={"advisor": 1}
    )
    assert usage.read({"iterations": [part]}) == Usage(input=100, output=10, cache_write={"": 3})
    assert usage.read({"input_tokens": 1, "iterations": [{"type": "compaction"}]}) == Usage(input=1)


@given(st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]), st.integers(0, 9)))  # fmt: skip
def test_no_token_is_counted_twice(counts: dict[str, int]) -> None:
    read = usage.read(counts)
    if read is not None and read.prompt is not None and read.completion is not None:
        assert read.prompt + read.completion == sum(counts.values())
