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
from tests.dialects.openai_responses.cases import telling

UNLIKE = {
    "c6cdb572f42bfefb": "items are interleaved, which a whole answer has one after the other",
    "3f270f2f91236f15": "the recorded pieces are fewer than the text at the end",
    "b73b82f26c4be732": "the same",
}
"""Streams whose events differ from those of their whole answer, on purpose."""


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return [row for row in responses.rows(corpus) if row[0]["id"] not in SEVERAL]


def told(row: Row) -> list[e.Event]:
    """Return the events of an answer, streamed or whole."""
    if row[0]["response"]["body_kind"] != "sse":
        return TRANSLATION.decode_response(row[1])
    decoder = TRANSLATION.make_decoder()
    return decoder.feed(row[1]) + decoder.end()


def text(events: list[e.Event], kind: type[e.TextDelta | e.ReasoningDelta]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def calls(events: list[e.Event], *, custom: bool = True) -> list[list[str]]:
    pieces: dict[int, str] = defaultdict(str)
    found: dict[int, e.ToolStart] = {}
    for event in events:
        if isinstance(event, e.ToolStart):
            found[event.index] = event
        elif isinstance(event, e.ToolDelta):
            pieces[event.index] += event.text
    return [
        [it.id, it.name, pieces[at]] for at, it in sorted(found.items()) if custom or not it.custom
    ]


def test_every_answer_says_what_the_sdk_decoded(rows: list[Row], say: Say) -> None:
    """Law 3: text, calls, finish and usage; in streams also the pieces of reasoning."""
    for row in ended(rows):
        oracle, events = row[2], told(row)
        where = oracle["id"]
        assert text(events, e.TextDelta) == (oracle.get("delta_text") or oracle.get("text", "")), (
            where
        )
        if "delta_reasoning" in oracle:
            assert text(events, e.ReasoningDelta) == oracle["delta_reasoning"], where
        found = calls(events, custom=False)  # the oracle lists functions alone
        if oracle.get("tools") or not oracle.get("delta_args"):
            assert found == [list(it) for it in oracle.get("tools", [])], where
        else:  # the SDK has no calls if the provider's last event lists no output
            args = oracle["delta_args"].values()
            assert "".join(it[2] for it in found) == "".join(args), where
        (finish,) = (it for it in events if isinstance(it, e.Finish))
        cut = oracle.get("incomplete")
        status = oracle.get("status", "completed")
        assert finish.word == (cut["reason"] if cut else status), where
        assert (finish.reason == "length") == (status == "incomplete"), where
        if "usage" in oracle:
            # Streams that use a tool tell of its use before.
            given = [classes(it.usage) for it in events if isinstance(it, e.UsageUpdate)]
            expected = classes(usage.read(oracle["usage"]))
            assert given[-1:] == ([] if expected is None else [expected]), where
        assert isinstance(events[0], e.Start), where
        assert events[-1] == e.End(), where
    say(f"{len(ended(rows))} answers, of which {len(streams(rows))} were streams")
    assert len(ended(rows)) > 150


def test_it_does_not_matter_where_a_read_ended(rows: list[Row]) -> None:
    for row in streams(rows):
        decoder = TRANSLATION.make_decoder()
        found = [event for part in awkward(row[1]) for event in decoder.feed(part)]
        assert [*found, *decoder.end()] == told(row), row[0]["id"]


def test_a_stream_and_its_fold_are_the_same_events(rows: list[Row], say: Say) -> None:
    """Law 2 with real streams, except for state and ids, which some hosts change at the end."""
    unlike = set()
    for row in streams(rows):
        if shape(told(row)) != shape(TRANSLATION.decode_response(DIALECT.fold(row[1]))):
            unlike.add(row[0]["id"])
    say(f"{len(streams(rows))} streams, {len(unlike)} unlike")
    assert unlike == set(UNLIKE)


def shape(events: list[e.Event]) -> list[object]:
    """Return kinds and texts in order, with neighbours of a kind joined.

    The number of sources, the last usage and the names of what was left out come at the end.
    """
    found: list[list[object]] = []
    cited, known = 0, None
    names = sorted(event.name for event in events if isinstance(event, e.AnswerMetadata))
    for event in events:
        kind = type(event)
        cited += kind is e.Citation
        if isinstance(event, e.UsageUpdate):
            known = event.usage
        if kind in (e.Start, e.LogProbs, e.Citation, e.UsageUpdate, e.AnswerMetadata):
            continue
        place = [kind, getattr(event, "index", None), getattr(event, "part", None)]
        piece = event.text if isinstance(event, e.TextDelta | e.Declined | e.ReasoningDelta | e.ToolDelta) else ""  # fmt: skip
        if piece and found and found[-1][:3] == place:
            found[-1][3] = f"{found[-1][3]}{piece}"
        else:
            found.append([*place, piece])
    return [*found, cited, known, names]


def test_every_answer_told_again_says_the_same(rows: list[Row], say: Say) -> None:
    """Encoded answers, streamed and whole, decode to the same content.

    Parts that no other dialect has are left out.
    """
    for row in ended(rows):
        events: list[e.Event] = [it for it in told(row) if not isinstance(it, e.Opaque)]
        encoder = TRANSLATION.make_encoder(telling())
        frames = b"".join(map(encoder.write, events))
        whole = TRANSLATION.encode_response(events, telling())
        assert DIALECT.fold(frames) == whole
        again = TRANSLATION.decode_response(whole)
        for kind in (e.TextDelta, e.ReasoningDelta):
            assert text(again, kind) == text(events, kind), row[0]["id"]
        assert [it[:2] for it in calls(again)] == [it[:2] for it in calls(events)]
        assert [it[2] or "{}" for it in calls(events)] == [it[2] for it in calls(again)]
        watch = DIALECT.inspect_stream(DIALECT.read(b'{"model":"m","input":"a"}'))
        assert watch.feed(frames) == frames
        assert watch.complete
    say(f"{len(ended(rows))} answers")


def test_an_error_in_a_stream_is_a_failure(rows: list[Row]) -> None:
    broken = [row for row in rows if row[2]["outcome"] == "error" and row[0]["response"]["status"] == 200]  # fmt: skip
    for row in broken:
        last = told(row)[-1]
        assert isinstance(last, e.Failed)
        assert last.problem.kind == "upstream_rate_limited"
    assert broken
