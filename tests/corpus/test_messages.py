"""Every recorded exchange of the Messages API matches what the official SDK decoded."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.core import sse
from gateway.dialects.anthropic_messages import DIALECT
from gateway.dialects.base import StreamInspector
from tests.corpus import responses
from tests.corpus.conftest import Say
from tests.dialects.anthropic_messages.cases import target

type Object = dict[str, Any]
type Row = tuple[Object, bytes, Object]
"""A recording, the body of its answer, and its oracle."""

BODY = DIALECT.read(b'{"model":"m","max_tokens":1,"messages":[],"stream":true}')
NO_ORACLE = {"6dbf37a837a21a48": "OpenRouter's [DONE], at which the SDK raises"}
"""Known streams that the SDK cannot decode."""
UNLIKE_THE_SDK = {"2160b7dcec53b34b": "the input of a tool of MCP, which the SDK leaves empty"}
"""Streams that fold to more than the SDK puts together, on purpose."""


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return responses.rows(corpus, "*__messages.jsonl.gz")


def streams(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[0]["response"]["body_kind"] == "sse"]


def inspect(parts: list[bytes]) -> tuple[bytes, StreamInspector]:
    inspector = DIALECT.inspect_stream(BODY)
    out = [inspector.feed(part) for part in parts]
    return b"".join([*out, inspector.end()]), inspector


def without_nulls(value: Any) -> Any:
    """Return a value without nulls, as the oracle writes it."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def join_text(content: list[Object]) -> str:
    return "".join(block.get("text") or "" for block in content if block["type"] == "text")


def read_sdk_counts(counts: Object) -> tuple[int | None, ...]:
    """Return input, read, written and all output tokens, as the SDK decoded them."""
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")  # fmt: skip
    return tuple(counts.get(name) for name in names)


def make_whole(row: Row) -> bytes:
    return DIALECT.fold(row[1]) if row[0]["response"]["body_kind"] == "sse" else row[1]


def answers(rows: list[Row]) -> list[Row]:
    """Return the rows from which the SDK made a message."""
    return [row for row in rows if row[2]["outcome"] == "ok" and "content" in row[2]]


def test_every_answer_matches_the_sdk(rows: list[Row], say: Say) -> None:
    """Law 3: content, finish, model and usage, of whole answers and of folded streams."""
    messages = answers(rows)
    for row in messages:
        oracle, whole = row[2], make_whole(row)
        value, summary = json.loads(whole), DIALECT.summarize(whole)
        same = without_nulls(value["content"]) == without_nulls(oracle["content"])
        assert same == (oracle["id"] not in UNLIKE_THE_SDK), oracle["id"]
        assert join_text(value["content"]) == join_text(oracle["content"])
        assert (summary.finish, summary.served_model) == (oracle["finish"], oracle["model"]), (
            oracle["id"]
        )
        usage = summary.usage
        assert usage is not None
        counts = read_sdk_counts(oracle["usage"])
        compacted = [iteration for iteration in value["usage"].get("iterations") or () if iteration["type"] == "compaction"]  # fmt: skip
        if compacted:
            assert usage.input == (counts[0] or 0) + sum(
                iteration["input_tokens"] for iteration in compacted
            )
            continue
        written = sum(usage.cache_write.values())
        assert (usage.input, usage.cache_read, written, usage.completion) == (
            counts[0],
            counts[1],
            counts[2] or 0,
            counts[3],
        ), oracle["id"]
        details = oracle["usage"].get("output_tokens_details") or {}
        assert usage.reasoning == details.get("thinking_tokens"), oracle["id"]
    say(f"{len(messages)} messages, of which {len(streams(messages))} were streams")
    assert len(messages) > 100


def test_every_stream_passes_unchanged_however_it_is_read(rows: list[Row], say: Say) -> None:
    """At once, in awkward pieces and byte by byte; the account is that of the folded stream."""
    for recording, body, _ in streams(rows):
        expected = body.removesuffix(b"event: data\ndata: [DONE]\n\n")
        assert (expected != body) == (recording["id"] in NO_ORACLE)
        for parts in (
            [body],
            responses.awkward(body),
            [body[at : at + 1] for at in range(len(body))],
        ):
            out, inspector = inspect(parts)
            assert out == expected, recording["id"]
            summary = DIALECT.summarize(DIALECT.fold(body))
            assert (inspector.complete, inspector.problem) == (True, None), recording["id"]
            assert (inspector.usage, inspector.finish, inspector.served_model) == (
                summary.usage,
                summary.finish,
                summary.served_model,
            )
    say(f"{len(streams(rows))} streams")


def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inspector reads few members of most frames, and misses nothing by it."""

    def list_facts(body: bytes) -> tuple[object, ...]:
        out, inspector = inspect(sse.split_frames(body))
        return out, inspector.usage, inspector.finish, inspector.served_model, inspector.response_id, inspector.complete, inspector.content_bytes  # fmt: skip

    bodies = [body for _, body, _ in streams(rows)]
    quick = [list_facts(body) for body in bodies]
    monkeypatch.setattr("gateway.dialects.anthropic_messages.stream._CONTENT_EVENTS", frozenset())
    assert quick == [list_facts(body) for body in bodies]


def test_a_stream_that_stops_before_message_stop_is_never_complete(
    rows: list[Row], say: Say
) -> None:
    """Law 10 at every frame of every stream, and in the middle of each frame."""
    cuts = 0
    for recording, body, _ in streams(rows):
        frames = sse.split_frames(body)
        last = next(at for at, frame in enumerate(frames) if b"event: message_stop" in frame)
        for count in range(last + 1):
            head, half = b"".join(frames[:count]), frames[count][: len(frames[count]) // 2]
            for cut in (head, head + half):
                out, inspector = inspect([cut])
                assert not inspector.complete, recording["id"]
                assert body.startswith(out)
                cuts += 1
    say(f"{cuts} cuts")


def test_the_client_gets_no_byte_of_a_stream_before_content(rows: list[Row]) -> None:
    """The first bytes for a client hold a block of content, or the end of an empty message."""
    for recording, body, _ in streams(rows):
        inspector = DIALECT.inspect_stream(BODY)
        out = b""
        for frame in sse.split_frames(body):
            out = inspector.feed(frame)
            if inspector.committed:
                break
        assert body.startswith(out), recording["id"]
        assert any(word in out for word in (b"content_block_delta", b"tool_use", b"redacted_thinking", b"fallback")), recording["id"]  # fmt: skip


def test_every_message_survives_unfolding_and_folding(rows: list[Row]) -> None:
    """Law 2 holds for real messages."""
    for row in answers(rows):
        whole = make_whole(row)
        assert json.loads(DIALECT.fold(DIALECT.unfold(whole, True))) == json.loads(whole)


def test_every_refusal_keeps_its_bytes_or_is_the_gateways_fault(rows: list[Row], say: Say) -> None:
    """A fault of the request keeps the provider's own bytes.

    A fault of credentials is the gateway's.
    """
    refused = [row for row in rows if row[0]["response"]["status"] != 200]
    for recording, body, _ in refused:
        status = recording["response"]["status"]
        problem = DIALECT.read_problem(status, body, None)
        if status == 401:
            assert (problem.kind, problem.http_status) == ("upstream_auth", 502)
        else:
            assert problem.http_status == status
            assert DIALECT.write_problem(problem) == body
    say(f"{len(refused)} refusals")
    assert refused


def test_every_request_is_read_and_keeps_its_bytes(rows: list[Row], say: Say) -> None:
    """Law 1 holds for real requests."""
    count = 0
    for recording, _, _ in rows:
        value = recording["request"]["body"]
        if not isinstance(value, dict):
            continue
        raw = json.dumps(value, ensure_ascii=False, separators=(", ", " : ")).encode()
        body = DIALECT.read(raw)
        assert DIALECT.write(body, target(value["model"])).body is raw
        assert body.prompt.user_turns > 0
        count += 1
    say(f"{count} requests")
