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
FIRST = (b".delta", b".done", b"call", b"completed", b"tool_search", b"mcp", b"program")
"""The first frames for a client hold at least one of these."""


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return responses.rows(corpus)


def run(parts: list[bytes]) -> tuple[bytes, StreamInspector]:
    watch = DIALECT.inspect_stream(BODY)
    out = [watch.feed(part) for part in parts]
    return b"".join([*out, watch.end()]), watch


def whole_of(row: Row) -> bytes:
    return DIALECT.fold(row[1]) if row[0]["response"]["body_kind"] == "sse" else row[1]


def agrees(usage: Usage | None, told: Object | None) -> None:
    """Usage agrees with the SDK's in the five classes."""
    if told is None:
        assert usage is None
        return
    assert usage is not None
    inside = told.get("input_tokens_details") or {}
    out = told["output_tokens"] if told["output_tokens"] >= 0 else None  # a host's -9 is no count
    assert (usage.prompt, usage.completion) == (told["input_tokens"], out)
    assert usage.cache_read == inside.get("cached_tokens")
    assert sum(usage.cache_write.values()) == (inside.get("cache_write_tokens") or 0)
    thought = (told.get("output_tokens_details") or {}).get("reasoning_tokens")
    assert usage.reasoning == thought


def test_every_answer_is_told_as_the_sdk_decoded_it(rows: list[Row], say: Say) -> None:
    """Law 3: end, model and usage, of whole answers and of folded streams."""
    found = [row for row in answers(rows) if "status" in row[2]]
    for row in found:
        oracle, glance = row[2], DIALECT.summarize(whole_of(row))
        cut = oracle["incomplete"]
        assert glance.finish == (cut["reason"] if cut else oracle["status"]), oracle["id"]
        assert glance.problem is None
        assert glance.served_model == oracle["model"]
        if oracle["id"] not in SEVERAL:
            agrees(glance.usage, oracle["usage"])
    say(f"{len(found)} answers, of which {len(streams(found))} were streams")
    assert len(found) > 150


def test_every_stream_passes_byte_for_byte_however_it_is_read(rows: list[Row], say: Say) -> None:
    """At once, in awkward pieces and byte by byte; the account is that of the folded stream."""
    for recording, body, _ in streams(rows):
        glance = DIALECT.summarize(DIALECT.fold(body))
        for parts in ([body], awkward(body), [body[at : at + 1] for at in range(len(body))]):
            if len(parts) > 100_000:
                continue  # an image, byte by byte
            out, watch = run(parts)
            assert out == body, recording["id"]
            assert (watch.complete, watch.problem) == (True, None), recording["id"]
            assert (watch.usage, watch.finish, watch.served_model) == (
                glance.usage,
                glance.finish,
                glance.served_model,
            )
    say(f"{len(streams(rows))} streams")
    assert streams(rows)


def test_the_quick_look_at_native_frames_misses_no_fact(rows: list[Row], say: Say) -> None:
    for recording, body, _ in streams(rows):
        assert list_facts(run([body])[1]) == read_every_frame(body), recording["id"]
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
        watch = DIALECT.inspect_stream(BODY)
        for frame in frames[:last]:
            watch.feed(frame)
            assert not watch.complete, recording["id"]
            cuts += 1
        watch.feed(frames[last][: len(frames[last]) // 2])
        watch.end()
        assert not watch.complete, recording["id"]
        cuts += 1
    say(f"{cuts} places where a stream could be cut, none of them an end")
    assert cuts


def test_nothing_is_let_go_before_there_is_content(rows: list[Row]) -> None:
    for recording, body, _ in streams(rows):
        watch = DIALECT.inspect_stream(BODY)
        out = b""
        for frame in sse.split_frames(body):
            out = watch.feed(frame)
            if watch.committed:
                break
        assert body.startswith(out), recording["id"]
        last = sse.split_frames(out)[-1]
        assert any(word in last for word in FIRST), recording["id"]


def test_every_answer_is_the_same_after_it_was_streamed(rows: list[Row]) -> None:
    """Law 2 holds for real answers."""
    for row in ended(rows):
        whole = whole_of(row)
        assert json.loads(DIALECT.fold(DIALECT.unfold(whole, True))) == json.loads(whole)


def test_every_refusal_is_told_by_whose_fault_it_is(rows: list[Row], say: Say) -> None:
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


def test_an_error_in_a_stream_is_found_before_anything_is_shown(rows: list[Row]) -> None:
    broken = [row for row in rows if row[2]["outcome"] == "error" and row[0]["response"]["status"] == 200]  # fmt: skip
    for _, body, oracle in broken:
        out, watch = run([body])
        assert watch.problem is not None
        assert (out, watch.complete) == (b"", False)
        assert oracle["error_status"] == "rate_limit_exceeded"
        assert watch.problem.kind == "upstream_rate_limited"
    assert broken


def test_every_request_is_read_goes_on_as_it_came_and_is_decoded(rows: list[Row], say: Say) -> None:
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
        given = value["input"]
        if isinstance(given, list):
            parts = sum(len(turn.parts) for turn in request.turns)
            named = {it.path for it in request.lost_members if it.action == "dropped"}
            left_out = [it for it in given if f"input.{it.get('type')}" in named]
            assert parts + len(left_out) >= len(given) - ("instructions" in value), recording["id"]
        count += 1
    say(f"{count} requests")
    assert count > 150
