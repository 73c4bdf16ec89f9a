"""Every recorded exchange of the Messages API as events matches what the official SDK decoded."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway.core import sse
from gateway.core.canonical_request import (
    CanonicalRequest,
    Foreign,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from gateway.core.events import (
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
from gateway.dialects.anthropic_messages import DIALECT, TRANSLATION
from gateway.dialects.base import ResponseContext
from tests.corpus import responses
from tests.corpus.conftest import Say
from tests.corpus.test_messages import (
    NO_ORACLE,
    read_sdk_counts,
    without_nulls,
)
from tests.dialects.anthropic_messages.cases import target
from tests.dialects.anthropic_messages.sdk import streamed, whole

type Object = dict[str, Any]
type Row = tuple[Object, bytes, Object]
"""A recording, the body of its answer, and its oracle."""

CONTEXT = ResponseContext(id="0", created_at=0, model="m")
PLAIN = ("text", "thinking", "redacted_thinking", "tool_use")
"""Types of blocks that other dialects have too."""


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return responses.rows(corpus, "*__messages.jsonl.gz")


def answers(rows: list[Row]) -> list[Row]:
    """Return the rows from which the SDK made a message."""
    return [row for row in rows if row[2]["outcome"] == "ok"]


def streams(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[0]["response"]["body_kind"] == "sse"]


def decode(parts: Iterable[bytes]) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return events + decoder.end()


def decode_row(row: Row) -> list[Event]:
    return decode([row[1]]) if streams([row]) else TRANSLATION.decode_response(row[1])


def collect_events(events: list[Event]) -> Object:
    """Return what the oracle has too: text, reasoning, calls, finish and usage."""
    started = {event.index: event for event in events if isinstance(event, ToolStart)}
    pieces = [event for event in events if isinstance(event, ToolDelta)]
    assert {event.index for event in events if isinstance(event, ToolEnd)} == set(started)
    calls = [
        (tool.id, tool.name, json.loads("".join(piece.text for piece in pieces if piece.index == tool.index)))
        for tool in started.values()
    ]  # fmt: skip
    ends = [event for event in events if isinstance(event, ReasoningEnd)]
    return {
        "text": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "thinking": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "states": [(event.state, event.redacted) for event in ends],
        "calls": calls,
        "others": [
            event.name.removeprefix("content.") for event in events if isinstance(event, Opaque)
        ],
        "cited": [without_nulls(event.source) for event in events if isinstance(event, Citation)],
        "finish": [(event.word, event.stop) for event in events if isinstance(event, Finish)],
        "model": [event.model for event in events if isinstance(event, Start)],
        "ended": sum(isinstance(event, End) for event in events),
    }


def expect_events(oracle: Object) -> Object:
    content = oracle["content"]
    thoughts = [block for block in content if block["type"] in ("thinking", "redacted_thinking")]
    return {
        "text": "".join(block["text"] for block in content if block["type"] == "text"),
        "thinking": "".join(thought.get("thinking", "") for thought in thoughts),
        "states": [
            (thought.get("data") or thought.get("signature") or None, thought["type"] == "redacted_thinking")
            for thought in thoughts
        ],
        "calls": [(block["id"], block["name"], block["input"]) for block in content if block["type"] == "tool_use"],
        "others": [block["type"] for block in content if block["type"] not in PLAIN],
        "cited": [citation for block in content for citation in block.get("citations") or ()],
        "finish": [(oracle["finish"], oracle["stop_sequence"])],
        "model": [oracle["model"]],
        "ended": 1,
    }  # fmt: skip


def find_usage(events: list[Event]) -> Usage:
    usage = [event.usage for event in events if isinstance(event, UsageUpdate)][-1]
    assert usage is not None
    return usage


def test_decoded_events_match_the_sdk(rows: list[Row], say: Say) -> None:
    """Law 3, translated: text, reasoning, its state, calls, citations, finish, model and usage."""
    messages = answers(rows)
    for row in messages:
        events, oracle = decode_row(row), row[2]
        assert collect_events(events) == expect_events(oracle), oracle["id"]
        summary = DIALECT.summarize(DIALECT.fold(row[1]) if streams([row]) else row[1])
        assert find_usage(events) == summary.usage, oracle["id"]
        if not any(iteration["type"] == "compaction" for iteration in oracle["content"]):
            usage = find_usage(events)
            written = sum(usage.cache_write.values())
            fresh, read, wrote, out = read_sdk_counts(oracle["usage"])
            assert (usage.input, usage.cache_read, written) == (fresh, read, wrote or 0)
            assert usage.completion == out, oracle["id"]
    say(f"{len(messages)} messages, of which {len(streams(messages))} were streams")
    assert len(messages) > 100


def test_a_refused_request_decodes_to_a_failure(rows: list[Row], say: Say) -> None:
    refused = [row for row in rows if row[0]["response"]["status"] != 200]
    for _, body, oracle in refused:
        [failed] = TRANSLATION.decode_response(body)
        assert isinstance(failed, Failed), oracle["id"]
    say(f"{len(refused)} refusals")
    assert refused


def test_every_stream_decodes_to_the_same_events_however_it_is_read(
    rows: list[Row], say: Say
) -> None:
    """Law 2: in one piece, in awkward pieces, byte by byte, and with CRLF."""
    streamed_rows = streams(rows)
    for recording, body, _ in streamed_rows:
        expected = decode([body])
        assert isinstance(expected[-1], End), recording["id"]
        assert decode(responses.awkward(body)) == expected, (recording["id"], responses.AWKWARD)
        assert decode(body[at : at + 1] for at in range(len(body))) == expected, recording["id"]
        assert decode(responses.awkward(body.replace(b"\n", b"\r\n"))) == expected, recording["id"]
    assert any(recording["id"] in NO_ORACLE for recording, _, _ in streamed_rows)
    say(f"{len(streamed_rows)} streams")


def test_a_stream_that_stops_before_message_stop_never_ends(rows: list[Row], say: Say) -> None:
    """Law 10, translated, at every frame of every stream and in the middle of each."""
    cuts = 0
    for recording, body, _ in streams(rows):
        frames = sse.split_frames(body)
        last = next(at for at, frame in enumerate(frames) if b"event: message_stop" in frame)
        expected = decode([body])
        for count in range(last + 1):
            head, half = b"".join(frames[:count]), frames[count][: len(frames[count]) // 2]
            for cut in (head, head + half):
                events = decode([cut])
                assert events == expected[: len(events)], recording["id"]
                assert not any(isinstance(event, End | Failed) for event in events)
                cuts += 1
    say(f"{cuts} cuts")


def test_the_sdk_decodes_the_encoded_answers(rows: list[Row], say: Say) -> None:
    """Law 3 for a client's bytes, streamed and whole, except content that no other dialect has."""
    messages = answers(rows)
    for row in messages:
        events, oracle = decode_row(row), row[2]
        encoder = TRANSLATION.make_encoder(CONTEXT)
        stream = b"".join([encoder.write(event) for event in events])
        expected = expect_events(oracle)
        for message in (streamed(stream), whole(TRANSLATION.encode_response(events, CONTEXT))):
            collected = expect_events({**message, "finish": message["stop_reason"], "stop_sequence": message.get("stop_sequence")})  # fmt: skip
            for name in ("text", "thinking", "calls", "cited", "model"):
                assert collected[name] == expected[name], (oracle["id"], name)
            word, stop = expected["finish"][0]
            assert collected["finish"] == [(word, stop)], oracle["id"]
            usage = DIALECT.summarize(json.dumps({**message, "content": []}).encode()).usage
            assert usage is not None
            used = find_usage(events)
            assert (usage.input, usage.cache_read or 0) == (used.input, used.cache_read or 0)
            assert sum(usage.cache_write.values()) == sum(used.cache_write.values())
            assert (usage.completion, usage.reasoning) == (used.completion, used.reasoning)
    say(f"{len(messages)} messages, each twice")


def decode_request(value: Object) -> CanonicalRequest:
    return TRANSLATION.decode_request(DIALECT.read(json.dumps(value).encode()))


def collect_request(request: CanonicalRequest) -> Object:
    """Return the content of a request, in whatever turns it stands."""
    parts = [(turn.role, part) for turn in request.turns for part in turn.parts]
    return {
        "system": [part.text for role, part in parts if role == "system" and isinstance(part, Text)],
        "texts": [
            (role, part.text) for role, part in parts
            if role != "system" and isinstance(part, Text) and part.text.strip() not in ("", "(no content)")
        ],
        "uses": [(use.name, json.loads(use.arguments)) for _, use in parts if isinstance(use, ToolUse)],
        "results": [
            (result.name, result.error, [inner for inner in result.parts if not isinstance(inner, Text)], "".join(inner.text for inner in result.parts if isinstance(inner, Text)))
            for _, result in parts if isinstance(result, ToolResult)
        ],
        "tools": [(tool.name, tool.description, tool.parameters) for tool in request.tools if tool.kind == "function"],
        "settings": [
            request.tool_choice, request.parallel_tools is False, request.form, request.max_output, request.stop, request.top_k, request.user, request.stream,
        ],
    }  # fmt: skip


def test_every_request_survives_encoding_and_decoding(rows: list[Row], say: Say) -> None:
    """Decode, encode and decode again; only what Anthropic's own models know may be lost."""
    count = 0
    for recording, _, _ in rows:
        value = recording["request"]["body"]
        if not isinstance(value, dict):
            continue
        request = decode_request(value)
        encoded = TRANSLATION.encode_request(request, target(value["model"]))
        decoded_again = decode_request({"model": value["model"], **encoded.value})
        foreign = any(isinstance(part, Foreign) for turn in request.turns for part in turn.parts)
        if not foreign and not any(turn.role == "system" for turn in request.turns[1:]):
            for name, item in collect_request(request).items():
                if any(tool.kind == "function" for tool in request.tools) or name != "settings":
                    assert collect_request(decoded_again)[name] == item, (recording["id"], name)
            count += 1
        thoughts = [
            part for turn in request.turns for part in turn.parts if isinstance(part, Thought)
        ]
        lost = [loss.field for loss in encoded.losses]
        assert ("messages.reasoning" in lost) == bool(thoughts), recording["id"]
    say(f"{count} requests")
    assert count > 100
