"""Every native exchange of the Responses API matches what the official SDK decoded."""

import json
from pathlib import Path

import pytest

from gateway.core import sse
from gateway.core.usage import Usage
from gateway.dialects import translation
from gateway.dialects.base import StreamInspector
from gateway.dialects.openai_responses import DIALECT
from tests.corpus import responses
from tests.corpus.conftest import Say
from tests.corpus.responses import SEVERAL, Object, Row, answers, awkward, ended, streams
from tests.dialects.openai_responses.cases import list_facts, read_every_frame, target

BODY = DIALECT.read(b'{"model":"m","input":"a","stream":true}')
CONTENT_MARKS = (b".delta", b".done", b"call", b"completed", b"tool_search", b"mcp", b"program")
"""The first frames for a client hold at least one of these."""


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return responses.rows(corpus)


def inspect(parts: list[bytes]) -> tuple[bytes, StreamInspector]:
    inspector = DIALECT.inspect_stream(BODY)
    out = [inspector.feed(part) for part in parts]
    return b"".join([*out, inspector.end()]), inspector


def make_whole(row: Row) -> bytes:
    return DIALECT.fold(row[1]) if row[0]["response"]["body_kind"] == "sse" else row[1]


def check_usage(usage: Usage | None, expected: Object | None) -> None:
    """Usage agrees with the SDK's in the five classes."""
    if expected is None:
        assert usage is None
        return
    assert usage is not None
    inside = expected.get("input_tokens_details") or {}
    out = (
        expected["output_tokens"] if expected["output_tokens"] >= 0 else None
    )  # a host's -9 is no count
    assert (usage.prompt, usage.completion) == (expected["input_tokens"], out)
    assert usage.cache_read == inside.get("cached_tokens")
    assert sum(usage.cache_write.values()) == (inside.get("cache_write_tokens") or 0)
    thought = (expected.get("output_tokens_details") or {}).get("reasoning_tokens")
    assert usage.reasoning == thought


def test_every_answer_matches_the_sdk(rows: list[Row], say: Say) -> None:
    """Law 3: end, model and usage, of whole answers and of folded streams."""
    answered = [row for row in answers(rows) if "status" in row[2]]
    for row in answered:
        oracle, summary = row[2], DIALECT.summarize(make_whole(row))
        cut = oracle["incomplete"]
        assert summary.finish == (cut["reason"] if cut else oracle["status"]), oracle["id"]
        assert summary.problem is None
        assert summary.served_model == oracle["model"]
        if oracle["id"] not in SEVERAL:
            check_usage(summary.usage, oracle["usage"])
    say(f"{len(answered)} answers, of which {len(streams(answered))} were streams")
    assert len(answered) > 150


def test_every_stream_passes_unchanged_however_it_is_read(rows: list[Row], say: Say) -> None:
    """At once, in awkward pieces and byte by byte; the account is that of the folded stream."""
    for recording, body, _ in streams(rows):
        summary = DIALECT.summarize(DIALECT.fold(body))
        for parts in ([body], awkward(body), [body[at : at + 1] for at in range(len(body))]):
            if len(parts) > 100_000:
                continue  # an image, byte by byte
            out, inspector = inspect(parts)
            assert out == body, recording["id"]
            assert (inspector.complete, inspector.problem) == (True, None), recording["id"]
            assert (inspector.usage, inspector.finish, inspector.served_model) == (
                summary.usage,
                summary.finish,
                summary.served_model,
            )
    say(f"{len(streams(rows))} streams")
    assert streams(rows)


def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    rows: list[Row], say: Say
) -> None:
    for recording, body, _ in streams(rows):
        assert list_facts(inspect([body])[1]) == read_every_frame(body), recording["id"]
    say(f"{len(streams(rows))} streams")


def test_a_stream_that_stops_before_its_end_is_never_complete(rows: list[Row], say: Say) -> None:
    """Law 10 at every frame of every stream, and in the middle of each frame."""
    cuts = 0
    for recording, body, _ in streams(rows):
        frames = sse.split_frames(body)
        ends = (b'"response.completed"', b'"response.incomplete"')
        last = next(
            at
            for at, frame in enumerate(frames)
            if json.loads(sse.read_data(frame) or b"{}").get("type", "")
            in ("response.completed", "response.incomplete")
        )
        assert any(end in frames[last] for end in ends)
        inspector = DIALECT.inspect_stream(BODY)
        for frame in frames[:last]:
            inspector.feed(frame)
            assert not inspector.complete, recording["id"]
            cuts += 1
        inspector.feed(frames[last][: len(frames[last]) // 2])
        inspector.end()
        assert not inspector.complete, recording["id"]
        cuts += 1
    say(f"{cuts} places where a stream could be cut, none of them an end")
    assert cuts


def test_the_client_gets_no_byte_of_a_stream_before_content(rows: list[Row]) -> None:
    for recording, body, _ in streams(rows):
        inspector = DIALECT.inspect_stream(BODY)
        out = b""
        for frame in sse.split_frames(body):
            out = inspector.feed(frame)
            if inspector.committed:
                break
        assert body.startswith(out), recording["id"]
        last = sse.split_frames(out)[-1]
        assert any(word in last for word in CONTENT_MARKS), recording["id"]


def test_every_answer_survives_unfolding_and_folding(rows: list[Row]) -> None:
    """Law 2 holds for real answers."""
    for row in ended(rows):
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


def test_an_error_in_a_stream_shows_the_client_nothing(rows: list[Row]) -> None:
    broken = [row for row in rows if row[2]["outcome"] == "error" and row[0]["response"]["status"] == 200]  # fmt: skip
    for _, body, oracle in broken:
        out, inspector = inspect([body])
        assert inspector.problem is not None
        assert (out, inspector.complete) == (b"", False)
        assert oracle["error_status"] == "rate_limit_exceeded"
        assert inspector.problem.kind == "upstream_rate_limited"
    assert broken


def test_every_request_is_read_keeps_its_bytes_and_is_decoded(rows: list[Row], say: Say) -> None:
    """Law 1 with real requests; the translation loses none of their items."""
    count = 0
    for recording, _, _ in rows:
        value = recording["request"]["body"]
        if not isinstance(value, dict):
            continue
        raw = json.dumps(value, ensure_ascii=False, separators=(", ", " : ")).encode()
        body = DIALECT.read(raw)
        assert DIALECT.write(body, target(value["model"])).body is raw
        request = translation.decode_request(DIALECT, body)
        items = value["input"]
        if isinstance(items, list):
            parts = sum(len(turn.parts) for turn in request.turns)
            dropped = {member.path for member in request.lost_members if member.action == "dropped"}
            left_out = [item for item in items if f"input.{item.get('type')}" in dropped]
            assert parts + len(left_out) >= len(items) - ("instructions" in value), recording["id"]
        count += 1
    say(f"{count} requests")
    assert count > 150
