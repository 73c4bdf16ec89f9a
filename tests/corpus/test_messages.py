"""Every recorded exchange of the Messages API matches what the official SDK decoded."""

import gzip
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.core import sse
from gateway.dialects.anthropic_messages import DIALECT
from gateway.dialects.base import StreamInspector
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
AWKWARD = (1, 2, 3, 5, 8, 13, 21, 34)
"""Sizes of reads, in turn."""


def lines(path: Path) -> Iterator[Object]:
    with gzip.open(path, "rt", encoding="utf-8", errors="surrogatepass") as rows:
        for row in rows:
            yield json.loads(row)


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    oracle = {row["id"]: row for row in lines(corpus / "oracle" / "oracle.jsonl.gz")}
    return [
        (row, row["response"]["body"].encode("utf-8", "surrogatepass"), oracle[row["id"]])
        for path in sorted((corpus / "recorded").glob("*__messages.jsonl.gz"))
        for row in lines(path)
    ]


def streams(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[0]["response"]["body_kind"] == "sse"]


def run(parts: list[bytes]) -> tuple[bytes, StreamInspector]:
    watch = DIALECT.inspect_stream(BODY)
    out = [watch.feed(part) for part in parts]
    return b"".join([*out, watch.end()]), watch


def awkward(data: bytes) -> list[bytes]:
    ends = [0]
    while ends[-1] < len(data):
        ends.append(min(len(data), ends[-1] + AWKWARD[len(ends) % len(AWKWARD)]))
    return [data[a:b] for a, b in pairwise(ends)]


def pruned(value: Any) -> Any:
    """Return a value without nulls, as the oracle writes it."""
    if isinstance(value, dict):
        return {name: pruned(item) for name, item in value.items() if item is not None}
    return [pruned(item) for item in value] if isinstance(value, list) else value


def shown(content: list[Object]) -> str:
    return "".join(block.get("text") or "" for block in content if block["type"] == "text")


def counted(told: Object) -> tuple[int | None, ...]:
    """Return input, read, written and all output tokens, as the SDK decoded them."""
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")  # fmt: skip
    return tuple(told.get(name) for name in names)


def whole_of(row: Row) -> bytes:
    return DIALECT.fold(row[1]) if row[0]["response"]["body_kind"] == "sse" else row[1]


def answers(rows: list[Row]) -> list[Row]:
    """Return the rows from which the SDK made a message."""
    return [row for row in rows if row[2]["outcome"] == "ok" and "content" in row[2]]


def test_every_answer_says_what_the_sdk_decoded(rows: list[Row], say: Say) -> None:
    """Law 3: content, finish, model and usage, of whole answers and of folded streams."""
    found = answers(rows)
    for row in found:
        oracle, whole = row[2], whole_of(row)
        value, glance = json.loads(whole), DIALECT.summarize(whole)
        same = pruned(value["content"]) == pruned(oracle["content"])
        assert same == (oracle["id"] not in UNLIKE_THE_SDK), oracle["id"]
        assert shown(value["content"]) == shown(oracle["content"])
        assert (glance.finish, glance.served_model) == (oracle["finish"], oracle["model"]), oracle[
            "id"
        ]
        usage = glance.usage
        assert usage is not None
        told = counted(oracle["usage"])
        compacted = [it for it in value["usage"].get("iterations") or () if it["type"] == "compaction"]  # fmt: skip
        if compacted:
            assert usage.input == (told[0] or 0) + sum(it["input_tokens"] for it in compacted)
            continue
        written = sum(usage.cache_write.values())
        assert (usage.input, usage.cache_read, written, usage.completion) == (
            told[0],
            told[1],
            told[2] or 0,
            told[3],
        ), oracle["id"]
        details = oracle["usage"].get("output_tokens_details") or {}
        assert usage.reasoning == details.get("thinking_tokens"), oracle["id"]
    say(f"{len(found)} messages, of which {len(streams(found))} were streams")
    assert len(found) > 100


def test_every_stream_passes_byte_for_byte_however_it_is_read(rows: list[Row], say: Say) -> None:
    """At once, in awkward pieces and byte by byte; the account is that of the folded stream."""
    for recording, body, _ in streams(rows):
        expected = body.removesuffix(b"event: data\ndata: [DONE]\n\n")
        assert (expected != body) == (recording["id"] in NO_ORACLE)
        for parts in ([body], awkward(body), [body[at : at + 1] for at in range(len(body))]):
            out, watch = run(parts)
            assert out == expected, recording["id"]
            glance = DIALECT.summarize(DIALECT.fold(body))
            assert (watch.complete, watch.problem) == (True, None), recording["id"]
            assert (watch.usage, watch.finish, watch.served_model) == (
                glance.usage,
                glance.finish,
                glance.served_model,
            )
    say(f"{len(streams(rows))} streams")


def test_a_quick_look_finds_what_a_full_look_finds(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inspector reads few members of most frames, and misses nothing by it."""

    def see(body: bytes) -> tuple[object, ...]:
        out, watch = run(sse.split_frames(body))
        return out, watch.usage, watch.finish, watch.served_model, watch.response_id, watch.complete, watch.content_bytes  # fmt: skip

    bodies = [body for _, body, _ in streams(rows)]
    quick = [see(body) for body in bodies]
    monkeypatch.setattr("gateway.dialects.anthropic_messages.stream._CONTENT_EVENTS", frozenset())
    assert quick == [see(body) for body in bodies]


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
                out, watch = run([cut])
                assert not watch.complete, recording["id"]
                assert body.startswith(out)
                cuts += 1
    say(f"{cuts} cuts")


def test_nothing_is_let_go_before_there_is_content(rows: list[Row]) -> None:
    """The first bytes for a client hold a block of content, or the end of an empty message."""
    for recording, body, _ in streams(rows):
        watch = DIALECT.inspect_stream(BODY)
        out = b""
        for frame in sse.split_frames(body):
            out = watch.feed(frame)
            if watch.committed:
                break
        assert body.startswith(out), recording["id"]
        assert any(word in out for word in (b"content_block_delta", b"tool_use", b"redacted_thinking", b"fallback")), recording["id"]  # fmt: skip


def test_every_message_is_the_same_after_it_was_streamed(rows: list[Row]) -> None:
    """Law 2 holds for real messages."""
    for row in answers(rows):
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


def test_every_request_is_read_and_goes_on_as_it_came(rows: list[Row], say: Say) -> None:
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
