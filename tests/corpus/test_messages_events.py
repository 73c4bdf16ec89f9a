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
from tests.corpus.conftest import Say
from tests.corpus.test_messages import AWKWARD, NO_ORACLE, awkward, counted, lines, pruned
from tests.dialects.anthropic_messages.cases import target
from tests.dialects.anthropic_messages.sdk import streamed, whole

type Object = dict[str, Any]
type Row = tuple[Object, bytes, Object]
"""A recording, the body of its answer, and its oracle."""

TELLING = ResponseContext(id="0", created_at=0, model="m")
PLAIN = ("text", "thinking", "redacted_thinking", "tool_use")
"""Types of blocks that other dialects have too."""


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    oracle = {row["id"]: row for row in lines(corpus / "oracle" / "oracle.jsonl.gz")}
    return [
        (row, row["response"]["body"].encode("utf-8", "surrogatepass"), oracle[row["id"]])
        for path in sorted((corpus / "recorded").glob("*__messages.jsonl.gz"))
        for row in lines(path)
    ]


def answers(rows: list[Row]) -> list[Row]:
    """Return the rows from which the SDK made a message."""
    return [row for row in rows if row[2]["outcome"] == "ok"]


def streams(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[0]["response"]["body_kind"] == "sse"]


def run(parts: Iterable[bytes]) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return events + decoder.end()


def events_of(row: Row) -> list[Event]:
    return run([row[1]]) if streams([row]) else TRANSLATION.decode_response(row[1])


def said(events: list[Event]) -> Object:
    """Return what the oracle has too: text, reasoning, calls, finish and usage."""
    started = {event.index: event for event in events if isinstance(event, ToolStart)}
    pieces = [event for event in events if isinstance(event, ToolDelta)]
    assert {event.index for event in events if isinstance(event, ToolEnd)} == set(started)
    calls = [
        (tool.id, tool.name, json.loads("".join(it.text for it in pieces if it.index == tool.index)))
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
        "cited": [pruned(event.source) for event in events if isinstance(event, Citation)],
        "finish": [(it.word, it.stop) for it in events if isinstance(it, Finish)],
        "model": [event.model for event in events if isinstance(event, Start)],
        "ended": sum(isinstance(event, End) for event in events),
    }


def wanted(oracle: Object) -> Object:
    content = oracle["content"]
    thoughts = [it for it in content if it["type"] in ("thinking", "redacted_thinking")]
    return {
        "text": "".join(it["text"] for it in content if it["type"] == "text"),
        "thinking": "".join(it.get("thinking", "") for it in thoughts),
        "states": [
            (it.get("data") or it.get("signature") or None, it["type"] == "redacted_thinking")
            for it in thoughts
        ],
        "calls": [(it["id"], it["name"], it["input"]) for it in content if it["type"] == "tool_use"],
        "others": [it["type"] for it in content if it["type"] not in PLAIN],
        "cited": [it for block in content for it in block.get("citations") or ()],
        "finish": [(oracle["finish"], oracle["stop_sequence"])],
        "model": [oracle["model"]],
        "ended": 1,
    }  # fmt: skip


def told(events: list[Event]) -> Usage:
    usage = [event.usage for event in events if isinstance(event, UsageUpdate)][-1]
    assert usage is not None
    return usage


def test_every_answer_says_what_the_sdk_decoded(rows: list[Row], say: Say) -> None:
    """Law 3, translated: text, reasoning, its state, calls, citations, finish, model and usage."""
    found = answers(rows)
    for row in found:
        events, oracle = events_of(row), row[2]
        assert said(events) == wanted(oracle), oracle["id"]
        glance = DIALECT.summarize(DIALECT.fold(row[1]) if streams([row]) else row[1])
        assert told(events) == glance.usage, oracle["id"]
        if not any(it["type"] == "compaction" for it in oracle["content"]):
            usage = told(events)
            written = sum(usage.cache_write.values())
            fresh, read, wrote, out = counted(oracle["usage"])
            assert (usage.input, usage.cache_read, written) == (fresh, read, wrote or 0)
            assert usage.completion == out, oracle["id"]
    say(f"{len(found)} messages, of which {len(streams(found))} were streams")
    assert len(found) > 100


def test_what_was_no_answer_failed(rows: list[Row], say: Say) -> None:
    refused = [row for row in rows if row[0]["response"]["status"] != 200]
    for _, body, oracle in refused:
        [failed] = TRANSLATION.decode_response(body)
        assert isinstance(failed, Failed), oracle["id"]
    say(f"{len(refused)} refusals")
    assert refused


def test_every_stream_says_the_same_however_it_is_read(rows: list[Row], say: Say) -> None:
    """Law 2: in one piece, in awkward pieces, byte by byte, and with CRLF."""
    found = streams(rows)
    for recording, body, _ in found:
        expected = run([body])
        assert isinstance(expected[-1], End), recording["id"]
        assert run(awkward(body)) == expected, (recording["id"], AWKWARD)
        assert run(body[at : at + 1] for at in range(len(body))) == expected, recording["id"]
        assert run(awkward(body.replace(b"\n", b"\r\n"))) == expected, recording["id"]
    assert any(recording["id"] in NO_ORACLE for recording, _, _ in found)
    say(f"{len(found)} streams")


def test_a_stream_that_stops_before_message_stop_never_ends(rows: list[Row], say: Say) -> None:
    """Law 10, translated, at every frame of every stream and in the middle of each."""
    cuts = 0
    for recording, body, _ in streams(rows):
        frames = sse.split_frames(body)
        last = next(at for at, frame in enumerate(frames) if b"event: message_stop" in frame)
        expected = run([body])
        for count in range(last + 1):
            head, half = b"".join(frames[:count]), frames[count][: len(frames[count]) // 2]
            for cut in (head, head + half):
                events = run([cut])
                assert events == expected[: len(events)], recording["id"]
                assert not any(isinstance(event, End | Failed) for event in events)
                cuts += 1
    say(f"{cuts} cuts")


def test_the_sdk_decodes_what_is_told_of_every_answer(rows: list[Row], say: Say) -> None:
    """Law 3 for a client's bytes, streamed and whole, except content that no other dialect has."""
    found = answers(rows)
    for row in found:
        events, oracle = events_of(row), row[2]
        encoder = TRANSLATION.make_encoder(TELLING)
        stream = b"".join([encoder.write(event) for event in events])
        expected = wanted(oracle)
        for message in (streamed(stream), whole(TRANSLATION.encode_response(events, TELLING))):
            got = wanted({**message, "finish": message["stop_reason"], "stop_sequence": message.get("stop_sequence")})  # fmt: skip
            for name in ("text", "thinking", "calls", "cited", "model"):
                assert got[name] == expected[name], (oracle["id"], name)
            word, stop = expected["finish"][0]
            assert got["finish"] == [(word, stop)], oracle["id"]
            usage = DIALECT.summarize(json.dumps({**message, "content": []}).encode()).usage
            assert usage is not None
            known = told(events)
            assert (usage.input, usage.cache_read or 0) == (known.input, known.cache_read or 0)
            assert sum(usage.cache_write.values()) == sum(known.cache_write.values())
            assert (usage.completion, usage.reasoning) == (known.completion, known.reasoning)
    say(f"{len(found)} messages, each twice")


def read(value: Object) -> CanonicalRequest:
    return TRANSLATION.decode_request(DIALECT.read(json.dumps(value).encode()))


def kept(request: CanonicalRequest) -> Object:
    """Return the content of a request, in whatever turns it stands."""
    parts = [(turn.role, part) for turn in request.turns for part in turn.parts]
    return {
        "system": [part.text for role, part in parts if role == "system" and isinstance(part, Text)],
        "texts": [
            (role, part.text) for role, part in parts
            if role != "system" and isinstance(part, Text) and part.text.strip() not in ("", "(no content)")
        ],
        "uses": [(it.name, json.loads(it.arguments)) for _, it in parts if isinstance(it, ToolUse)],
        "results": [
            (it.name, it.error, [inner for inner in it.parts if not isinstance(inner, Text)], "".join(inner.text for inner in it.parts if isinstance(inner, Text)))
            for _, it in parts if isinstance(it, ToolResult)
        ],
        "tools": [(tool.name, tool.description, tool.parameters) for tool in request.tools if tool.kind == "function"],
        "settings": [
            request.tool_choice, request.parallel_tools is False, request.form, request.max_output, request.stop, request.top_k, request.user, request.stream,
        ],
    }  # fmt: skip


def test_every_request_survives_being_said_again(rows: list[Row], say: Say) -> None:
    """Decode, encode and decode again; only what Anthropic's own models know may be lost."""
    count = 0
    for recording, _, _ in rows:
        value = recording["request"]["body"]
        if not isinstance(value, dict):
            continue
        request = read(value)
        said = TRANSLATION.encode_request(request, target(value["model"]))
        again = read({"model": value["model"], **said.value})
        foreign = any(isinstance(it, Foreign) for turn in request.turns for it in turn.parts)
        if not foreign and not any(turn.role == "system" for turn in request.turns[1:]):
            for name, item in kept(request).items():
                if any(tool.kind == "function" for tool in request.tools) or name != "settings":
                    assert kept(again)[name] == item, (recording["id"], name)
            count += 1
        thoughts = [it for turn in request.turns for it in turn.parts if isinstance(it, Thought)]
        lost = [loss.field for loss in said.losses]
        assert ("messages.reasoning" in lost) == bool(thoughts), recording["id"]
    say(f"{count} requests")
    assert count > 100
