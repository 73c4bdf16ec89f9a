"""Feeding a store from journals: whole lines, a bounded number at a time."""

import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.ingest import make_storable, read_batches
from gateway.ledger.journal import encode_row
from tests.ledger.rows import attempt, entry, intent, reprice


def test_each_batch_ends_at_the_end_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.ingest._BATCH_LINES", 3)
    path = tmp_path / "a.jsonl"
    lines = [
        *(encode_row(intent()), encode_row(entry("a")), b"torn\n"),
        *(encode_row(attempt("b")), encode_row(entry("b")), encode_row(reprice("a"))),
        *(CLOSED_LINE, b'{"kind":"final","id":"half'),
    ]
    path.write_bytes(b"".join(lines))
    first, second, third = read_batches(path, 0)
    assert ([row.id for row in first.entries], first.skipped) == (["a"], 1)
    assert first.end == sum(map(len, lines[:3]))
    assert (second.attempts, second.reprices) == ([attempt("b")], [reprice("a")])
    assert (third.lines, third.skipped, third.end) == (1, 0, path.stat().st_size - len(lines[-1]))
    (remaining,) = read_batches(path, second.end)
    assert remaining == third
    assert list(read_batches(path, third.end)) == []


class GrowingFile(io.RawIOBase):
    """A file whose writer appends between two reads, also in the middle of a line."""

    def __init__(self, text: bytes, sizes: Iterator[int]) -> None:
        """`sizes` are the file's sizes in bytes at each read; then it is whole."""
        self._text, self._sizes, self._position = text, sizes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, _whence: int = io.SEEK_SET) -> int:
        self._position = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        piece = self._text[self._position : next(self._sizes, None)][: len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


@pytest.mark.parametrize("reads_at_end", [0, 1])
def test_a_line_that_is_being_written_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads_at_end: int
) -> None:
    rows = [encode_row(entry(name)) for name in ("a", "b", "c")]
    text, half = b"".join(rows), len(rows[0]) + 100
    sizes = iter([half] * (1 + reads_at_end))

    def open_file(_: Path, _mode: str, buffering: int) -> io.RawIOBase | io.BufferedReader:
        growing_file = GrowingFile(text, sizes)
        return io.BufferedReader(growing_file, buffering) if buffering else growing_file

    monkeypatch.setattr(Path, "open", open_file)
    batches = list(read_batches(tmp_path / "a.jsonl", 0))
    if batches[-1].end < len(text):
        batches += read_batches(tmp_path / "a.jsonl", batches[-1].end)
    assert [row.id for batch in batches for row in batch.entries] == ["a", "b", "c"]
    assert {batch.skipped for batch in batches} == {0}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("input", 2**40, 2**40),
        ("input", 2**40 + 1, None),
        ("status", 2**63, 2**40),
        ("stream", True, True),
        ("tags", ("b", "a", "b"), ["b", "a"]),
        ("asked", "a\0", "a\ufffd"),
        ("cost", Decimal("1E-40"), Decimal("1E-40")),
        ("cost", Decimal("1E-41"), None),
        ("cost", Decimal("1E+39"), Decimal("1E+39")),
        ("cost", Decimal("1E+40"), None),
        ("cost", Decimal("Infinity"), None),
        ("at", 1.5, 1.5),
        ("model", None, None),
    ],
)
def test_make_storable_returns_a_value_that_every_database_can_hold(
    name: str, value: object, expected: object
) -> None:
    assert make_storable(name, value) == expected
