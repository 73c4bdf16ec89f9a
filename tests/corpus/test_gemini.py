"""Every recorded exchange of generateContent matches the official SDK: native and as events."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import sse
from gateway.core.events import (
    End,
    Event,
    Failed,
    Finish,
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
from gateway.dialects.base import RequestBody, ResponseContext, StreamInspector
from gateway.dialects.gemini import DIALECT, TRANSLATION
from gateway.dialects.gemini.content import list_objects
from gateway.dialects.gemini.reasoning_state import encode_state
from tests.corpus import responses
from tests.corpus.conftest import Say
from tests.corpus.exchanges import classes
from tests.dialects.full_reads import read_all_frames_in_full
from tests.dialects.gemini.cases import decode_stream, read, target

type Object = dict[str, Any]
type Row = tuple[Object, bytes, Object]
"""A recording, the body of its answer, and its oracle."""

STREAM = "models/m:streamGenerateContent"
CONTEXT = ResponseContext(id="call-1", created_at=1, model="m", state_label="ab12")
EMPTY_SIGNATURE = encode_state("ab12", "")
"""The signature that the gateway writes for thoughts and calls without one."""
NO_FRAMES = {"65e7162a6e5e20f4": "its frames have no blank lines between them, and the SDK raises"}
TWICE = {"324363ee7cc3534f": "says STOP in the middle too: only the one at the end is a finish"}
REFUSED = {"55cfc3e7296159ad": "a refused prompt: the SDK has no finish, here it is one"}
BROKEN = {"7850c6efd3327d86": "UNEXPECTED_TOOL_CALL: an error abroad"}


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return responses.rows(corpus, "*generate_content.jsonl.gz")


def list_answers(rows: list[Row]) -> list[Row]:
    return [
        row for row in rows if row[0]["response"]["status"] == 200 and row[0]["id"] not in NO_FRAMES
    ]


def is_stream(row: Row) -> bool:
    return bool(row[0]["response"]["body_kind"] == "sse")


def streams(rows: list[Row]) -> list[Row]:
    return [row for row in list_answers(rows) if is_stream(row)]


def decode_row(row: Row) -> list[Event]:
    return decode_stream(row[1]) if is_stream(row) else TRANSLATION.decode_response(row[1])


def inspect(parts: list[bytes]) -> tuple[bytes, StreamInspector]:
    inspector = DIALECT.inspect_stream(read(b'{"contents":[]}', STREAM))
    out = [inspector.feed(part) for part in parts]
    return b"".join([*out, inspector.end()]), inspector


def read_sdk_usage(counts: Object) -> Usage | None:
    """Return usage as the SDK decoded it, in the five classes."""
    name = "{}_token_count".format
    prompt, cached = counts.get(name("prompt")), counts.get(name("cached_content"))
    shown, thoughts = counts.get(name("candidates")), counts.get(name("thoughts"))
    tools, total = counts.get(name("tool_use_prompt")) or 0, counts.get(name("total"))
    if prompt is None:
        return None
    if shown is None and total == prompt + tools + (thoughts or 0):
        shown = 0
    return Usage(input=prompt - (cached or 0) + tools, cache_read=cached, output=shown, reasoning=thoughts)  # fmt: skip


def collect_content(events_: list[Event]) -> tuple[Any, ...]:
    """Return text, reasoning, calls, and the number of signatures."""
    pieces: dict[tuple[int, int], list[str]] = {}
    for event in events_:
        if isinstance(event, ToolDelta):
            pieces.setdefault((event.choice, event.index), []).append(event.text)
    return (
        "".join(event.text for event in events_ if isinstance(event, TextDelta)),
        "".join(event.text for event in events_ if isinstance(event, ReasoningDelta)),
        [
            [event.name, json.loads("".join(pieces[event.choice, event.index]))]
            for event in events_
            if isinstance(event, ToolStart)
        ],
        sum(
            isinstance(event, ReasoningEnd | ToolEnd) and event.state not in (None, EMPTY_SIGNATURE)
            for event in events_
        ),
    )


def test_decoded_events_match_the_sdk(rows: list[Row], say: Say) -> None:
    """Law 3: text, reasoning, calls, signatures, finish and usage."""
    decodable = [row for row in list_answers(rows) if row[2]["outcome"] == "ok"]
    for row in decodable:
        oracle, events_ = row[2], decode_row(row)
        calls = [call[1:] for call in oracle["tools"]]
        expected = (oracle["text"], oracle["thought"], calls, oracle["signatures"])
        assert collect_content(events_) == expected, oracle["id"]
        assert isinstance(events_[0], Start)
        usages = [event.usage for event in events_ if isinstance(event, UsageUpdate)]
        assert (classes(usages[-1]) if usages else None) == read_sdk_usage(oracle["usage"]), oracle[
            "id"
        ]
        if oracle["id"] in BROKEN:
            assert isinstance(events_[-1], Failed)
            continue
        assert isinstance(events_[-1], End), oracle["id"]
        words = [event.word for event in events_ if isinstance(event, Finish)]
        same = words == oracle["finish"]
        assert same == (oracle["id"] not in TWICE | REFUSED), oracle["id"]
    say(f"{len(decodable)} answers, of which {len(streams(decodable))} were streams")
    assert len(decodable) > 140


def test_answers_that_the_sdk_cannot_decode_are_read(rows: list[Row]) -> None:
    """The gateway reads lists of chunks, as they come without alt=sse, and reasons as numbers."""
    undecodable = [row for row in list_answers(rows) if row[2]["outcome"] != "ok"]
    for row in undecodable:
        events_ = decode_row(row)
        assert isinstance(events_[-1], End), row[0]["id"]
        assert DIALECT.summarize(row[1]).problem is None
    assert len(undecodable) == 13


def test_native_accounting_matches_the_decoded_events(rows: list[Row], say: Say) -> None:
    """Summaries of whole answers and folded streams, and stream inspectors, agree with events."""
    for row in list_answers(rows):
        whole = DIALECT.fold(row[1]) if is_stream(row) else row[1]
        summary, events_ = DIALECT.summarize(whole), decode_row(row)
        usages = [event.usage for event in events_ if isinstance(event, UsageUpdate)]
        assert summary.problem is None
        assert summary.usage == (usages[-1] if usages else None), row[0]["id"]
        if row[0]["id"] not in BROKEN:
            assert summary.finish in [event.word for event in events_ if isinstance(event, Finish)]
        if is_stream(row):
            inspector = inspect([row[1]])[1]
            assert (inspector.usage, inspector.finish, inspector.served_model) == (
                summary.usage,
                summary.finish,
                summary.served_model,
            ), row[0]["id"]
    say(f"{len(list_answers(rows))} answers")


def test_every_stream_passes_unchanged_however_it_is_read(rows: list[Row], say: Say) -> None:
    for row in streams(rows):
        data = row[1]
        every = [data[at : at + 1] for at in range(len(data))] if len(data) < 20_000 else []
        for parts in ([data], responses.awkward(data), every):
            if parts:
                out, inspector = inspect(parts)
                assert (out == data, inspector.complete, inspector.problem) == (True, True, None), row[0]["id"]  # fmt: skip
                decoder = TRANSLATION.make_decoder()
                events_ = [event for part in parts for event in decoder.feed(part)]
                assert [*events_, *decoder.end()] == decode_row(row)
    say(f"{len(streams(rows))} streams")
    assert len(streams(rows)) > 70


def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(row: Row) -> tuple[object, ...]:
        out, inspector = inspect(sse.split_frames(row[1]))
        content = inspector.content_bytes, inspector.response_id, inspector.served_model
        return (
            out,
            inspector.usage,
            inspector.finish,
            inspector.complete,
            inspector.problem,
            *content,
        )

    quick = [facts(row) for row in streams(rows)]
    read_all_frames_in_full(monkeypatch, inspect([])[1])
    assert [facts(row) for row in streams(rows)] == quick


def test_a_stream_that_stops_early_is_never_complete(rows: list[Row], say: Say) -> None:
    """Law 10 at every frame before the last finish, and in the middle of each."""
    cuts = 0
    for row in streams(rows):
        parts = sse.split_frames(row[1])
        ends = [at for at, part in enumerate(parts) if b'"finishReason"' in part]
        middle = set(ends[:-1])
        for count in range(ends[-1] + 1):
            head, half = b"".join(parts[:count]), parts[count][: len(parts[count]) // 2]
            for cut in (head, head + half):
                if cut is head and count - 1 in middle:
                    continue  # it says that it ended here, and nothing contradicts it
                out, inspector = inspect([cut])
                assert not inspector.complete, row[0]["id"]
                assert row[1].startswith(out)
                assert not any(isinstance(event, End) for event in decode_stream(cut))
                cuts += 1
    say(f"{cuts} cuts")


def test_every_answer_survives_encoding_and_decoding(rows: list[Row], say: Say) -> None:
    """Events that this dialect writes, whole and streamed, decode to the same events."""
    for row in list_answers(rows):
        events_ = decode_row(row)
        encoder = TRANSLATION.make_encoder(CONTEXT)
        data = b"".join(encoder.write(event) for event in events_)
        if row[0]["id"] not in BROKEN:
            for decoded_again in (
                decode_stream(data),
                TRANSLATION.decode_response(TRANSLATION.encode_response(events_, CONTEXT)),
            ):
                assert collect_content(decoded_again) == collect_content(events_), row[0]["id"]
                assert isinstance(decoded_again[-1], End)
    say(f"{len(list_answers(rows))} answers")


def test_every_answer_survives_unfolding_and_folding(rows: list[Row]) -> None:
    """Law 2 holds for real answers."""
    for row in list_answers(rows):
        if not isinstance(json.loads(row[1]) if not is_stream(row) else None, list):
            whole = DIALECT.fold(row[1]) if is_stream(row) else row[1]
            assert json.loads(DIALECT.fold(DIALECT.unfold(whole, True))) == json.loads(whole)


def test_every_refusal_keeps_its_bytes_or_is_the_gateways_fault(rows: list[Row], say: Say) -> None:
    """A fault of the request keeps the provider's own bytes.

    A fault of credentials is the gateway's.
    """
    refused = [row for row in rows if row[0]["response"]["status"] != 200]
    for recording, body, _ in refused:
        status = recording["response"]["status"]
        problem = DIALECT.read_problem(status, body, None)
        if problem.kind == "upstream_auth":
            assert b"API key" in body or b"SERVICE_DISABLED" in body
        elif status == 429:
            assert (problem.kind, problem.retry_after) == ("upstream_rate_limited", 48.0)
        else:
            assert (problem.http_status, DIALECT.write_problem(problem)) == (status, body)
    say(f"{len(refused)} refusals")
    assert len(refused) == 30


def requests(rows: list[Row]) -> Iterator[tuple[Object, RequestBody]]:
    for recording, _, _ in rows:
        value = recording["request"]["body"]
        if isinstance(value, dict):
            raw = json.dumps(value, ensure_ascii=False, separators=(", ", " : ")).encode()
            yield recording, read(raw, f"models/{recording['model']}:generateContent")


def test_every_request_is_read_and_keeps_its_bytes(rows: list[Row], say: Say) -> None:
    """Law 1 with real requests.

    A few also name their model in the body, and the gateway removes it.
    """
    count = 0
    for recording, body in requests(rows):
        written = DIALECT.write(body, target(body.prompt.model))
        assert (written.body is body.raw) == ("model" not in body.value), recording["id"]
        if recording["response"]["status"] == 200:
            assert body.prompt.user_turns > 0 or body.prompt.tool_loop, recording["id"]
        count += 1
    say(f"{count} requests")
    assert count > 150


def test_every_request_survives_decoding_and_encoding(rows: list[Row], say: Say) -> None:
    """Gemini's dialect encodes all that it decodes, except parts that no other dialect has."""
    count = 0
    for recording, body in requests(rows):
        request = TRANSLATION.decode_request(body)
        encoded = TRANSLATION.encode_request(request, target(body.prompt.model))
        texts = [text for content in encoded.value["contents"] for text in _texts(content)]
        for content in list_objects(body.value["contents"]):
            for text in _texts(content):
                assert text in texts, recording["id"]
        count += 1
    say(f"{count} requests")


def _texts(content: Object) -> list[str]:
    parts = list_objects(content.get("parts"))
    return [part["text"] for part in parts if part.get("text") and not part.get("thought")]
