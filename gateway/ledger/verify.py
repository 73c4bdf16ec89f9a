"""Verify journals: read each line of each segment, and report what is damaged or missing."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.core.ledger_rows import DamagedRow
from gateway.ledger.chain import CLOSED_LINE, END_PREFIX, ChainReader
from gateway.ledger.journal import decode_row, list_segments

_READ_BYTES = 2**20
_END_PREFIXES = (END_PREFIX, CLOSED_LINE[:-1])


class SegmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one segment."""

    segment: str
    sealed: bool
    """True if its lines have checksums; False for files of earlier versions."""
    rows: int
    """The number of intact rows."""
    unreadable: int
    """The number of lines without checksums that are no row."""
    debris: int
    """The number of pieces that interrupted writes left: no row is missing there."""
    torn: bool
    """True if it ends in a part of a line: a process writes it or died there."""
    damages: list[DamagedRow]


def verify(folder: Path) -> Iterator[SegmentReport]:
    """Yield a report for each segment of a folder, oldest first. Raises OSError."""
    for path in list_segments(folder):
        try:
            yield verify_segment(path)
        except FileNotFoundError:  # it was kept long enough, or was empty
            continue


def verify_segment(path: Path) -> SegmentReport:
    """Return the report for a segment, which may grow meanwhile. Raises OSError."""
    reader = ChainReader(path)
    rows = unreadable = 0
    rest = b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in reader.select_intact(lines):
                if line.startswith(_END_PREFIXES):
                    continue
                if reader.is_sealed or decode_row(line) is not None:
                    rows += 1
                else:
                    unreadable += 1
    reader.end(rest)
    return SegmentReport(
        segment=path.name,
        sealed=reader.is_sealed,
        rows=rows,
        unreadable=unreadable,
        debris=reader.debris,
        torn=bool(rest),
        damages=reader.damages,
    )
