"""Every recorded answer of the Responses API as events matches what the official SDK decoded."""

from collections import defaultdict
from pathlib import Path

import pytest

from gateway.core import events as e
from gateway.dialects.openai_responses import DIALECT, TRANSLATION, usage
from tests.corpus import responses
from tests.corpus.conftest import Say
from tests.corpus.exchanges import classes
from tests.corpus.responses import SEVERAL, Row, awkward, ended, streams
from tests.dialects.openai_responses.cases import make_context

UNLIKE = {
    "c6cdb572f42bfefb": "items are interleaved, which a whole answer has one after the other",
    "3f270f2f91236f15": "the recorded pieces are fewer than the text at the end",
    "b73b82f26c4be732": "the same",
}
"""Streams whose events differ from those of their whole answer, on purpose."""


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return [row for row in responses.rows(corpus) if row[0]["id"] not in SEVERAL]


def decode_row(row: Row) -> list[e.Event]:
    """Return the events of an answer, streamed or whole."""
    if row[0]["response"]["body_kind"] != "sse":
        return TRANSLATION.decode_response(row[1])
    decoder = TRANSLATION.make_decoder()
    return decoder.feed(row[1]) + decoder.end()


def join_text(events: list[e.Event], kind: type[e.TextDelta | e.ReasoningDelta]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def list_calls(events: list[e.Event], *, custom: bool = True) -> list[list[str]]:
    pieces: dict[int, str] = defaultdict(str)
    starts: dict[int, e.ToolStart] = {}
    for event in events:
        if isinstance(event, e.ToolStart):
            starts[event.index] = event
        elif isinstance(event, e.ToolDelta):
            pieces[event.index] += event.text
    return [
        [start.id, start.name, pieces[at]]
        for at, start in sorted(starts.items())
        if custom or not start.custom
    ]


def test_decoded_events_match_the_sdk(rows: list[Row], say: Say) -> None:
    """Law 3: text, calls, finish and usage; in streams also the pieces of reasoning."""
    for row in ended(rows):
        oracle, events = row[2], decode_row(row)
        where = oracle["id"]
        assert join_text(events, e.TextDelta) == (
            oracle.get("delta_text") or oracle.get("text", "")
        ), where
        if "delta_reasoning" in oracle:
            assert join_text(events, e.ReasoningDelta) == oracle["delta_reasoning"], where
        calls_ = list_calls(events, custom=False)  # the oracle lists functions alone
        if oracle.get("tools") or not oracle.get("delta_args"):
            assert calls_ == [list(tool) for tool in oracle.get("tools", [])], where
        else:  # the SDK has no calls if the provider's last event lists no output
            args = oracle["delta_args"].values()
            assert "".join(call[2] for call in calls_) == "".join(args), where
        (finish,) = (event for event in events if isinstance(event, e.Finish))
        cut = oracle.get("incomplete")
        status = oracle.get("status", "completed")
        assert finish.word == (cut["reason"] if cut else status), where
        assert (finish.reason == "length") == (status == "incomplete"), where
        if "usage" in oracle:
            # Streams that use a tool tell of its use before.
            usages = [classes(event.usage) for event in events if isinstance(event, e.UsageUpdate)]
            expected = classes(usage.read(oracle["usage"]))
            assert usages[-1:] == ([] if expected is None else [expected]), where
        assert isinstance(events[0], e.Start), where
        assert events[-1] == e.End(), where
    say(f"{len(ended(rows))} answers, of which {len(streams(rows))} were streams")
    assert len(ended(rows)) > 150


def test_every_stream_decodes_to_the_same_events_wherever_reads_end(rows: list[Row]) -> None:
    for row in streams(rows):
        decoder = TRANSLATION.make_decoder()
        events = [event for part in awkward(row[1]) for event in decoder.feed(part)]
        assert [*events, *decoder.end()] == decode_row(row), row[0]["id"]


def test_a_stream_and_its_fold_decode_to_the_same_events(rows: list[Row], say: Say) -> None:
    """Law 2 with real streams, except for state and ids, which some hosts change at the end."""
    unlike = set()
    for row in streams(rows):
        if list_shape(decode_row(row)) != list_shape(
            TRANSLATION.decode_response(DIALECT.fold(row[1]))
        ):
            unlike.add(row[0]["id"])
    say(f"{len(streams(rows))} streams, {len(unlike)} unlike")
    assert unlike == set(UNLIKE)


def list_shape(events: list[e.Event]) -> list[object]:
    """Return kinds and texts in order, with neighbours of a kind joined.

    The number of sources, the last usage and the names of what was left out come at the end.
    """
    joined: list[list[object]] = []
    cited, used = 0, None
    names = sorted(event.name for event in events if isinstance(event, e.AnswerMetadata))
    for event in events:
        kind = type(event)
        cited += kind is e.Citation
        if isinstance(event, e.UsageUpdate):
            used = event.usage
        if kind in (e.Start, e.LogProbs, e.Citation, e.UsageUpdate, e.AnswerMetadata):
            continue
        place = [kind, getattr(event, "index", None), getattr(event, "part", None)]
        piece = event.text if isinstance(event, e.TextDelta | e.Declined | e.ReasoningDelta | e.ToolDelta) else ""  # fmt: skip
        if piece and joined and joined[-1][:3] == place:
            joined[-1][3] = f"{joined[-1][3]}{piece}"
        else:
            joined.append([*place, piece])
    return [*joined, cited, used, names]


def test_every_answer_survives_encoding_and_decoding(rows: list[Row], say: Say) -> None:
    """Encoded answers, streamed and whole, decode to the same content.

    Parts that no other dialect has are left out.
    """
    for row in ended(rows):
        events: list[e.Event] = [
            event for event in decode_row(row) if not isinstance(event, e.Opaque)
        ]
        encoder = TRANSLATION.make_encoder(make_context())
        frames = b"".join(map(encoder.write, events))
        whole = TRANSLATION.encode_response(events, make_context())
        assert DIALECT.fold(frames) == whole
        decoded_again = TRANSLATION.decode_response(whole)
        for kind in (e.TextDelta, e.ReasoningDelta):
            assert join_text(decoded_again, kind) == join_text(events, kind), row[0]["id"]
        assert [call[:2] for call in list_calls(decoded_again)] == [
            call[:2] for call in list_calls(events)
        ]
        assert [call[2] or "{}" for call in list_calls(events)] == [
            call[2] for call in list_calls(decoded_again)
        ]
        inspector = DIALECT.inspect_stream(DIALECT.read(b'{"model":"m","input":"a"}'))
        assert inspector.feed(frames) == frames
        assert inspector.complete
    say(f"{len(ended(rows))} answers")


def test_an_error_in_a_stream_decodes_to_a_failure(rows: list[Row]) -> None:
    broken = [row for row in rows if row[2]["outcome"] == "error" and row[0]["response"]["status"] == 200]  # fmt: skip
    for row in broken:
        last = decode_row(row)[-1]
        assert isinstance(last, e.Failed)
        assert last.problem.kind == "upstream_rate_limited"
    assert broken
