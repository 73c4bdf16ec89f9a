"""Sources of an answer, as citationMetadata and groundingMetadata tell them: both ways.

Both count places in the text in bytes. Source: Citation, GroundingSupport and Segment of Google's
API reference.
"""

from collections.abc import Iterator, Sequence

from gateway.core.events import Citation
from gateway.core.jsonio import Json
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.content import Object

type Row = tuple[str | None, str | None, int | None, int | None, Json]
"""Address, title, where what it supports begins and ends in the text, and the wire's own words."""

_CHUNKS = ("web", "retrievedContext", "maps", "image")


def citations(value: Object, said: Sequence[str]) -> Iterator[Row]:
    """Sources that the model recited from."""
    for row in wire.rows(value.get("citations")):
        start, end = _span(row, said)
        yield wire.text(row.get("uri")), wire.text(row.get("title")), start, end, row


def grounding(value: Object, said: Sequence[str]) -> Iterator[Row]:
    """Sources that a search found, each for what it supports; alone where nothing says what."""
    chunks = value.get("groundingChunks")
    chunks = chunks if isinstance(chunks, list) else []
    used: set[int] = set()
    for support in wire.rows(value.get("groundingSupports")):
        start, end = _span(wire.group(support, "segment"), said)
        indexes = support.get("groundingChunkIndices")
        for index in indexes if isinstance(indexes, list) else ():
            if isinstance(index, int) and 0 <= index < len(chunks):
                used.add(index)
                yield (*_chunk(chunks[index]), start, end, chunks[index])
    for index, chunk in enumerate(chunks):
        if index not in used:
            yield (*_chunk(chunk), None, None, chunk)


def write(event: Citation, said: Sequence[str]) -> Object:
    """One source, as a citation."""
    row: Object = {}
    if event.start is not None and event.end is not None:
        text = "".join(said)
        row["startIndex"] = len(text[: event.start].encode())
        row["endIndex"] = len(text[: event.end].encode())
    if event.url is not None:
        row["uri"] = event.url
    if event.title is not None:
        row["title"] = event.title
    return row


def _chunk(chunk: Json) -> tuple[str | None, str | None]:
    for kind in _CHUNKS:
        found = wire.group(chunk, kind)
        if found:
            return wire.text(found.get("uri")), wire.text(found.get("title"))
    return None, None


def _span(row: Object, said: Sequence[str]) -> tuple[int | None, int | None]:
    """Where in the text, in characters; a start of zero is left out, as protos do."""
    end = wire.whole(row.get("endIndex"))
    if end is None:
        return None, None
    raw = "".join(said).encode()
    return _place(raw, wire.whole(row.get("startIndex")) or 0), _place(raw, end)


def _place(raw: bytes, at: int) -> int:
    return len(raw[:at].decode("utf-8", "ignore"))
