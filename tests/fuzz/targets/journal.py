"""Segments of the ledger's journal: reading, ingest, verification, erasure and recovery."""

import itertools
import os
import tempfile
from pathlib import Path
from unittest import mock
from zlib import crc32

from gateway.core.ledger_rows import FinalRow, IntentRow, Row
from gateway.ledger import ingest, personal_part
from gateway.ledger.chain import CLOSED_LINE, NO_LINK, ChainReader, is_intact, seal_lines
from gateway.ledger.journal import (
    Journal,
    decode_row,
    encode_row,
    list_segments,
    read_rows,
)
from gateway.ledger.recovery import Recovered, read_open_calls, recover
from gateway.ledger.store import open_store
from gateway.ledger.verify import verify_segment
from tests.fuzz.target import FuzzTarget
from tests.ledger.rows import attempt, entry, intent, reprice, sealed

_SEALED_NAME, _PLAIN_NAME = "20261101T000000-1-aaaaaaaa.sealed.jsonl", "20261101T000000-1-b.jsonl"
_RECOVERED_SHARE, _STORE_SHARE = 4, 32
"""One of so many inputs without rows is recovered, and one of so many is fed into a store: both
take longer than all else."""


def _read_batches(path: Path, offset: int) -> tuple[list[Row], list[int]]:
    """Return the rows from an offset on that a store gets, and where each batch ends."""
    rows: list[Row] = []
    ends = [offset]
    with mock.patch.object(ingest, "_BATCH_LINES", 2):
        for batch in ingest.read_batches(path, offset):
            rows += [*batch.entries, *batch.attempts, *batch.reprices, *batch.feedback]
            assert ends[-1] < batch.end <= path.stat().st_size
            ends.append(batch.end)
    return rows, ends


def _check_reading(path: Path) -> list[Row]:
    """Return the rows of a segment, which are the same from wherever a reader takes up."""
    rows = [row for row, _ in read_rows(path) if row is not None]
    report = verify_segment(path)
    if report.sealed:
        assert report.rows >= len(rows)
    stored, ends = _read_batches(path, 0)
    # A store skips intents, and rows of an impossible time.
    assert {repr(row) for row in stored} <= {repr(row) for row in rows}
    for end in ends[:4]:
        resumed, _ = _read_batches(path, end)
        assert resumed == stored[len(stored) - len(resumed) :]
    return rows


def _check_row(row: Row) -> None:
    """A row survives its line; without its personal part the line is intact, and means the same."""
    line = encode_row(row)
    assert decode_row(line) is not None
    sealed_line, _ = seal_lines([line], NO_LINK)
    erased = personal_part.erase_line(sealed_line)
    assert len(erased) == len(sealed_line)
    if getattr(row, "end_user", None) is not None:
        assert is_intact(erased[:-1])
        again = decode_row(erased)
        assert again is not None
        assert again.id == row.id
        assert getattr(again, "end_user", None) is None


def _check_chain(path: Path, lines: list[bytes]) -> None:
    """Sealed lines are all intact; without one of them, or with another byte, that is noticed."""
    sealed_lines = seal_lines(lines, NO_LINK)[0].splitlines(keepends=True)
    path.write_bytes(b"".join(sealed_lines))
    reader = ChainReader(path)
    assert len(reader.select_intact([line[:-1] for line in sealed_lines])) == len(lines)
    reader.end()
    assert not reader.damages
    choice = crc32(b"".join(lines))
    at = choice % len(lines)
    line = bytearray(sealed_lines[at])
    line[choice % (len(line) - 1)] ^= 1 << choice % 7
    others = sealed_lines[:at], sealed_lines[at + 1 :]
    if not others[1]:
        return  # the last line: what is left of it may be the beginning of an interrupted write
    for changed in ([*others[0], *others[1]], [*others[0], bytes(line), *others[1]]):
        path.write_bytes(b"".join(changed))
        report = verify_segment(path)
        assert report.damages, "a missing or changed line goes unnoticed"
        _read_batches(path, 0)


def _check_recovery(folder: Path, rows: list[Row]) -> None:
    """After recovery each call has a final row, and a second recovery has nothing to do."""
    journal = Journal(folder, sync=lambda _: None, clock=lambda: 1_793_000_000.0)
    recover(journal)
    assert recover(journal) == Recovered()
    finals = [
        row.id
        for path in list_segments(folder)
        for row, _ in read_rows(path)
        if type(row) is FinalRow
    ]
    assert {row.id for row in rows if isinstance(row, IntentRow)} <= {*finals}
    journal.close()
    assert read_open_calls(folder) == []


def check_journal(data: bytes) -> None:
    """No bytes in a segment raise an error, hide a row that is whole, or leave a call open."""
    with tempfile.TemporaryDirectory(prefix="tiergate-fuzz-", dir=_MEMORY) as name:
        folder = Path(name)
        rows: list[Row] = []
        for segment in (_SEALED_NAME, _PLAIN_NAME):
            (folder / segment).write_bytes(data)
            rows += _check_reading(folder / segment)
        for row in rows:
            _check_row(row)
        lines = [line for line in data.splitlines(keepends=True) if line.endswith(b"}\n")][:6]
        if lines and CLOSED_LINE not in lines:
            path = folder / "20261102T000000-1-cccccccc.sealed.jsonl"
            _check_chain(path, lines)
            path.unlink()
        if rows or crc32(data) % _RECOVERED_SHARE == 0:
            _check_recovery(folder, rows)
        if crc32(data) % _STORE_SHARE == 0:
            store = open_store(f"sqlite:///{folder / 'ledger.db'}")
            store.feed(folder)
            assert store.feed(folder) == 0


_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - files of no worth

_ROWS: tuple[Row, ...] = (intent(), attempt(), entry(), reprice("call-1"))
_PERSONAL = (intent("call-2", end_user="ab12"), entry("call-2", end_user="ab12", conversation="c1"))
_OPEN: tuple[Row, ...] = (intent("call-3"), attempt("call-3"), intent("call-3", attempt=2))

TARGETS = (
    FuzzTarget(
        "journal", check_journal,
        (
            sealed(*_ROWS) + CLOSED_LINE,
            sealed(*_PERSONAL, *_OPEN),
            b"".join(map(encode_row, itertools.chain(_ROWS, _OPEN))),
            sealed(*_OPEN)[:-40],
            b'{"kind":"closed"}\n{"kind":"end","at":1.0}\n{}\n',
        ),
        (
            b'{"kind":"final","id":"a","at":1.0}\n', b'{"kind":"intent","id":"a","at":1.0', b"\n", b"}\n", b"\0", b',"seq":', b'","sum":"',
            b'","prev":"', b'"kept":"', b'"salt":"', b'"end_user":"', b'"basis":{"turn":{"conversation":', b'"at":-1', b'"at":1e300',
            b'"cost":"1E+400"', b'"cost":"NaN"', b'"input":-1', b'"duration":1e999', b'"tags":["a"]', b"18446744073709551616", b"\xff", b"\\u0000",
        ),
        max_bytes=1_500,
    ),
)  # fmt: skip
