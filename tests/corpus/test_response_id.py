"""The id in the body of every recorded answer is the first that its provider wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

from gateway.core import sse
from gateway.dialects import DIALECTS
from tests.corpus import asks, oracle
from tests.corpus.conftest import Say
from tests.corpus.oracle import Object, Row

_BROKEN = {"65e7162a6e5e20f4": "several chunks in one frame, which is no JSON"}


def written(row: Row) -> str | None:
    """Return the first id in the answer, by names alone."""
    for value in values(row):
        for place in (value, value.get("response"), value.get("message")):
            found = named(place) if isinstance(place, dict) else None
            if found:
                return found
    return None


def values(row: Row) -> Iterator[Object]:
    """List the JSON objects of the answer, frame by frame."""
    if not row.stream:
        value = json.loads(row.body)
        yield from value if isinstance(value, list) else [value]
        return
    for frame in sse.split_frames(row.body):
        data = sse.read_data(frame)
        if data and not data.startswith(b"[DONE]"):
            yield json.loads(data)


def named(place: Object) -> str | None:
    if place.get("type") in ("ping", "error", "message_start"):
        return None
    found = place.get("responseId", place.get("id"))
    return found if isinstance(found, str) else None


def test_the_id_of_every_answer_is_read(corpus: Path, say: Say) -> None:
    told, none = 0, 0
    for row in oracle.read(corpus):
        dialect = DIALECTS[row.dialect]
        if row.status != 200:
            continue
        if row.stream:
            watch = dialect.inspect_stream(asks.client(row, dialect)[0])
            for piece in row.pieces:
                watch.feed(piece)
            watch.end()
            problem, found = watch.problem, watch.response_id
        else:
            glance = dialect.summarize(row.body)
            problem, found = glance.problem, glance.response_id
        if problem is not None or row.raised or row.id in _BROKEN:
            continue
        assert found == written(row), row.id
        told += found is not None
        none += found is None
    say(f"{told} answers have an id, {none} have none")
    assert told > 1000
