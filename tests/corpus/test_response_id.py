"""The id in the body of every recorded answer is the first that its provider wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

from gateway.core import sse
from gateway.dialects import DIALECTS
from tests.corpus import oracle, translated_requests
from tests.corpus.conftest import Say
from tests.corpus.oracle import Object, Row

_BROKEN = {"65e7162a6e5e20f4": "several chunks in one frame, which is no JSON"}


def find_written_id(row: Row) -> str | None:
    """Return the first id in the answer, by names alone."""
    for value in list_values(row):
        for place in (value, value.get("response"), value.get("message")):
            id_ = read_id(place) if isinstance(place, dict) else None
            if id_:
                return id_
    return None


def list_values(row: Row) -> Iterator[Object]:
    """List the JSON objects of the answer, frame by frame."""
    if not row.stream:
        value = json.loads(row.body)
        yield from value if isinstance(value, list) else [value]
        return
    for frame in sse.split_frames(row.body):
        data = sse.read_data(frame)
        if data and not data.startswith(b"[DONE]"):
            yield json.loads(data)


def read_id(place: Object) -> str | None:
    if place.get("type") in ("ping", "error", "message_start"):
        return None
    id_ = place.get("responseId", place.get("id"))
    return id_ if isinstance(id_, str) else None


def test_the_gateway_reads_the_id_of_every_answer(corpus: Path, say: Say) -> None:
    with_id, without_id = 0, 0
    for row in oracle.read(corpus):
        dialect = DIALECTS[row.dialect]
        if row.status != 200:
            continue
        if row.stream:
            inspector = dialect.inspect_stream(
                translated_requests.make_client_request(row, dialect)[0]
            )
            for piece in row.pieces:
                inspector.feed(piece)
            inspector.end()
            problem, id_ = inspector.problem, inspector.response_id
        else:
            summary = dialect.summarize(row.body)
            problem, id_ = summary.problem, summary.response_id
        if problem is not None or row.raised or row.id in _BROKEN:
            continue
        assert id_ == find_written_id(row), row.id
        with_id += id_ is not None
        without_id += id_ is None
    say(f"{with_id} answers have an id, {without_id} have none")
    assert with_id > 1000
