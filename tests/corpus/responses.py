"""Recorded exchanges, by default of the Responses API, and what the official SDK decoded of each."""

import gzip
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

type Object = dict[str, Any]
type Row = tuple[Object, bytes, Object]
"""A recording, the body of its answer, and its oracle."""

SEVERAL = {
    "d073dfa7803c5185": "several streams recorded as one",
    "77312109f9f55a12": "two streams recorded as one",
}
"""Bodies with more than one answer: the gateway reads the first, the SDK took the last."""
AWKWARD = (1, 2, 3, 5, 8, 13, 21, 34)
"""Sizes of reads, in turn."""


def rows(corpus: Path, files: str = "*__responses.jsonl.gz") -> list[Row]:
    """Read every exchange in these files of a corpus."""
    oracle = {row["id"]: row for row in _lines(corpus / "oracle" / "oracle.jsonl.gz")}
    return [
        (row, (row["response"]["body"] or "").encode("utf-8", "surrogatepass"), oracle[row["id"]])
        for path in sorted((corpus / "recorded").glob(files))
        for row in _lines(path)
    ]


def _lines(path: Path) -> Iterator[Object]:
    with gzip.open(path, "rt", encoding="utf-8", errors="surrogatepass") as lines:
        for line in lines:
            yield json.loads(line)


def answers(rows: list[Row]) -> list[Row]:
    """Return the rows from which the SDK made a response."""
    return [row for row in rows if row[2]["outcome"] == "ok"]


def ended(rows: list[Row]) -> list[Row]:
    """Return the rows that say how they ended: a response still in background work has no end."""
    return [row for row in answers(rows) if row[2].get("status") not in ("queued", "in_progress")]


def streams(rows: list[Row]) -> list[Row]:
    return [row for row in answers(rows) if row[0]["response"]["body_kind"] == "sse"]


def awkward(data: bytes) -> list[bytes]:
    """Cut bytes into pieces of awkward sizes."""
    ends = [0]
    while ends[-1] < len(data):
        ends.append(min(len(data), ends[-1] + AWKWARD[len(ends) % len(AWKWARD)]))
    return [data[a:b] for a, b in pairwise(ends)]
