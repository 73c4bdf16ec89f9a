"""Read journals in batches for a store, with values that every database can hold."""

import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.ledger_rows import (
    AttemptRow,
    DamagedRow,
    FeedbackRow,
    FinalRow,
    IntentRow,
    RepriceRow,
)
from gateway.ledger.chain import CLOSED_LINE, END_PREFIX, ChainReader
from gateway.ledger.file_lock import FILE_MODE
from gateway.ledger.journal import decode_row

# The number of lines in a transaction: about 10 ms of work, which others can wait for. Each
# transaction rewrites the pages at which the last one ended.
_BATCH_LINES = 1024
_READ_BYTES = 2**16  # bytes of a segment in one read
MAX_COUNT = 2**40
"""The maximum token count: no call has more, and sums must stay within 64 bits."""
_MAX_MONEY_DIGITS = 40  # of USD on each side of the point: no real amount has more
_MAX_TIMESTAMP = 10_000_000_000.0
"""The year 2286, in seconds since the epoch: no call has a later time."""

_INTENT_PREFIX, _CLOSED_LINE = b'{"kind":"intent",', CLOSED_LINE.rstrip()
_COUNT_FIELDS = frozenset({"input", "cache_read", "cache_write", "output", "reasoning"})


class RowBatch(msgspec.Struct, kw_only=True):
    """Consecutive rows of a segment, by kind."""

    entries: list[FinalRow] = []
    attempts: list[AttemptRow] = []
    reprices: list[RepriceRow] = []
    feedback: list[FeedbackRow] = []
    damages: list[DamagedRow] = []
    """The gaps before these rows and between them."""
    lines: int = 0
    skipped: int = 0
    """The number of lines that are no row."""
    end: int
    """The offset after these rows, in bytes."""


def read_batches(
    path: Path, offset: int, yield_to_calls: Callable[[], object] = int
) -> Iterator[RowBatch]:
    """Yield the whole lines of a segment from `offset` on, in batches of a bounded number.

    The reader calls `yield_to_calls` before each piece of work.
    """
    batch = RowBatch(end=offset)
    chain_reader = ChainReader(path)
    chain_reader.resume(offset)
    for lines in _read_lines(path, offset):
        yield_to_calls()
        for line_range in _split_ranges(_BATCH_LINES - batch.lines, len(lines)):
            _add_lines(batch, lines[line_range], chain_reader)
            if batch.lines == _BATCH_LINES:
                yield batch
                batch = RowBatch(end=batch.end)
    if batch.lines:
        yield batch


def _read_lines(path: Path, offset: int) -> Iterator[list[bytes]]:
    """Yield whole lines without their ends; a line without an end is left for later.

    A gateway may append to the file meanwhile. `readlines` of the file itself would then return the
    two halves of a line as lines.
    """
    pending_chunks: list[bytes] = []
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while chunk := file.read(_READ_BYTES):
            pending_chunks.append(chunk)
            if b"\n" in chunk:
                # `readlines`, as `split` looks at the bytes one by one.
                lines = io.BytesIO(b"".join(pending_chunks)).readlines()
                pending_chunks = [] if lines[-1].endswith(b"\n") else [lines.pop()]
                yield [line[:-1] for line in lines]


def _split_ranges(first_count: int, count: int) -> Iterator[slice]:
    """Yield ranges over `count` lines: the first fills the current batch, each other a new one."""
    start = 0
    for end in range(first_count, count + _BATCH_LINES, _BATCH_LINES):
        yield slice(start, min(end, count))
        start = end


def _add_lines(batch: RowBatch, lines: list[bytes], chain_reader: ChainReader) -> None:
    batch.lines += len(lines)
    batch.end += sum(map(len, lines)) + len(lines)
    intact_lines = chain_reader.select_intact(lines)
    batch.skipped += len(lines) - len(intact_lines)
    if chain_reader.damages:
        batch.damages += chain_reader.damages
        chain_reader.damages.clear()
    for line in intact_lines:
        # Half of all lines are intents, which stores do not keep.
        if not line.startswith(_INTENT_PREFIX):
            _add_row(batch, line)


def read_folder_id(folder: Path) -> str:
    """Return the id of a journal folder; make one if the folder has none.

    Several machines can share a store, and their folders may have the same path.
    """
    path = folder / "id"
    if not path.exists():
        temporary_path = folder / f"id.{secrets.token_hex(4)}"
        descriptor = os.open(
            temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE
        )
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(8)}\n")
            file.flush()
            os.fsync(descriptor)
        temporary_path.rename(path)
    return path.read_bytes().strip().decode()


def read_sizes(paths: list[Path]) -> Mapping[str, int]:
    """Return the size in bytes of each existing segment."""
    size_by_name = {}
    for path in paths:
        try:
            size_by_name[path.name] = path.stat().st_size
        except FileNotFoundError:  # it was empty, and its owner removed it at its end
            continue
    return size_by_name


def make_storable(name: str, value: Any) -> Any:
    """Return a row's field as every database can hold it: without NUL, numbers within bounds."""
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case bool():
            return value
        case int() if not -MAX_COUNT <= value <= MAX_COUNT:
            return None if name in _COUNT_FIELDS else MAX_COUNT
        case Decimal():
            return value if _is_money(value) else None
        case tuple():  # a set, in order and without duplicates: a tag counts once
            return [make_storable(name, item) for item in dict.fromkeys(value)]
        case dict():
            items = ((make_storable(name, key), make_storable(name, value[key])) for key in value)
            return {key: item for key, item in items if name != "units" or item is not None}
        case msgspec.Struct():
            return make_storable(name, msgspec.to_builtins(value))
    return value


def _add_row(batch: RowBatch, line: bytes) -> None:
    row = decode_row(line)
    if isinstance(row, FinalRow) and 0 <= row.at < _MAX_TIMESTAMP:
        batch.entries.append(row)
    elif isinstance(row, AttemptRow) and 0 <= row.at < _MAX_TIMESTAMP:
        batch.attempts.append(row)
    elif isinstance(row, RepriceRow):
        batch.reprices.append(row)
    elif isinstance(row, FeedbackRow):
        batch.feedback.append(row)
    # Another program may have written an intent in another way.
    elif not (isinstance(row, IntentRow) or line == _CLOSED_LINE or line.startswith(END_PREFIX)):
        batch.skipped += 1


def _is_money(value: Decimal) -> bool:
    """True if a number has no more digits than every database can hold."""
    if not value.is_finite():
        return False
    return (
        value.adjusted() < _MAX_MONEY_DIGITS
        and -int(value.as_tuple().exponent) <= _MAX_MONEY_DIGITS
    )
