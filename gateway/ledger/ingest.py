"""What journals say, in batches for a store, with values that every database can hold.

Rows as the values of their columns in SQLite, read with all care for what it cannot hold.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import AttemptRow, FeedbackRow, FinalRow, IntentRow, RepriceRow
from gateway.ledger.file_lock import MODE
from gateway.ledger.journal import CLOSED, read
from gateway.ledger.schema import ATTEMPT, ENTRY, FEEDBACK, REPRICE

# Lines of a transaction: some 10 ms of work, and a lock that others can wait for. Each writes anew
# the pages where the last one ended.
_BATCH = 1024
_PIECE = 2**16  # bytes of a segment that are read at once
MOST = 2**40
"""Tokens: beyond it is no count of a call, and sums must stay within 64 bits."""
_DIGITS = 40  # of USD on each side of the point; beyond it is no sum of money
LAST = 10_000_000_000.0
"""In the year 2286: a later moment is no moment of a call."""

_INTENT, _FINAL, _CLOSED = b'{"kind":"intent",', b'{"kind":"final",', CLOSED.rstrip()
_COUNTS = frozenset({"input", "cache_read", "cache_write", "output", "reasoning"})


class RowBatch(msgspec.Struct, kw_only=True):
    """Rows of a segment that follow each other, by kind."""

    entries: list[Any] = []
    """Each as the store's `RowTaker` makes it."""
    attempts: list[AttemptRow] = []
    reprices: list[RepriceRow] = []
    feedback: list[FeedbackRow] = []
    lines: int = 0
    skipped: int = 0
    """Lines of these that are no row."""
    end: int
    """Offset of what follows, bytes."""


class RowTaker(NamedTuple):
    """How a store takes final rows."""

    quick: Callable[[bytes], object] = lambda _: None
    """Straight from their lines; None of one that is to be read first."""
    own: Callable[[bytes], object] = lambda _: None
    """As `quick`, where this process has written them: nobody else's mistakes are in them."""
    made: Callable[[FinalRow], object] = lambda row: row
    """From rows that were read."""


def batches(
    path: Path,
    offset: int,
    taking: RowTaker = RowTaker(),  # noqa: B008 - nothing changes it
    rest: Callable[[], object] = int,
) -> Iterator[RowBatch]:
    """The whole lines of a segment from `offset` on, a bounded number at a time.

    `rest` is called before each piece of them.
    """
    batch = RowBatch(end=offset)
    for lines in _pieces(path, offset):
        rest()
        for at in _parts(_BATCH - batch.lines, len(lines)):
            _take(batch, lines[at], taking)
            if batch.lines == _BATCH:
                yield batch
                batch = RowBatch(end=batch.end)
    if batch.lines:
        yield batch


def _pieces(path: Path, offset: int) -> Iterator[list[bytes]]:
    """Whole lines, without their ends; what has no end yet is for later."""
    begun: list[bytes] = []
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while piece := file.read(_PIECE):
            begun.append(piece)
            if b"\n" in piece:
                *lines, rest = b"".join(begun).split(b"\n")
                begun = [rest]
                yield lines


def _parts(first: int, count: int) -> Iterator[slice]:
    """`count` lines, of which the first part has as many as there is room for in a batch."""
    begin = 0
    for end in range(first, count + _BATCH, _BATCH):
        yield slice(begin, min(end, count))
        begin = end


def _take(batch: RowBatch, lines: list[bytes], taking: RowTaker) -> None:
    batch.lines += len(lines)
    batch.end += sum(map(len, lines)) + len(lines)
    quick, entries = taking.quick, batch.entries
    for line in lines:
        if line.startswith(_INTENT):  # half of all lines, and nothing is told by them here
            continue
        if line.startswith(_FINAL) and (found := quick(line)) is not None:
            entries.append(found)
        else:
            _sort(batch, line, taking)


def identity(folder: Path) -> str:
    """The name that a folder of journals has given itself, made here where it has none.

    The stores of several machines are one, and their folders may have the same path.
    """
    path = folder / "id"
    if not path.exists():
        scratch = folder / f"id.{secrets.token_hex(4)}"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(8)}\n")
            file.flush()
            os.fsync(descriptor)
        scratch.rename(path)
    return path.read_text().strip()


def sizes(paths: list[Path]) -> Mapping[str, int]:
    """The bytes of each segment that is there."""
    found = {}
    for path in paths:
        try:
            found[path.name] = path.stat().st_size
        except FileNotFoundError:  # empty: its owner has taken it away, now that it stops
            continue
    return found


def plain(name: str, value: Any) -> Any:
    """A field of a row as every database can hold it: no NUL, and numbers within bounds."""
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case bool():
            return value
        case int() if not -MOST <= value <= MOST:
            return None if name in _COUNTS else MOST
        case Decimal():
            return value if _is_money(value) else None
        case tuple():  # a set in the order it was written: a tag counts once
            return [plain(name, item) for item in dict.fromkeys(value)]
        case dict():
            return {plain(name, key): plain(name, item) for key, item in value.items()}
        case msgspec.Struct():
            return plain(name, msgspec.to_builtins(value))
    return value


def _sort(batch: RowBatch, line: bytes, taking: RowTaker) -> None:
    closed = line == _CLOSED
    match None if closed else read(line):
        case FinalRow(at=at) as row if 0 <= at < LAST:
            batch.entries.append(taking.made(row))
        case AttemptRow(at=at) as row if 0 <= at < LAST:
            batch.attempts.append(row)
        case RepriceRow() as row:
            batch.reprices.append(row)
        case FeedbackRow() as row:
            batch.feedback.append(row)
        case IntentRow():  # written by another hand
            pass
        case _:
            batch.skipped += not closed


def _is_money(value: Decimal) -> bool:
    if not value.is_finite():
        return False
    return value.adjusted() < _DIGITS and -int(value.as_tuple().exponent) <= _DIGITS


_SHORT = 40
_ODD = {*"EINans"}  # of what is no number, or is written with an exponent


def _short(basis: DecisionRecord) -> str:
    """A basis as JSON; empty where it is to be written with more care."""
    text = jsonio.dumps(basis).decode()
    return "" if "\\u0000" in text else text


def _value(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    return jsonio.dumps(value).decode() if isinstance(value, list | dict) else value


class _Columns:
    """Reads a kind of row as the values of its columns: most of what feeding costs."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._get = attrgetter(*columns)

    def __call__(self, row: msgspec.Struct) -> list[object]:
        values = list(self._get(row))
        for at, value in enumerate(values):
            if value is None:
                continue
            kind = type(value)
            if kind is str:
                if "\0" not in value:
                    continue
            elif kind is int:
                if -MOST < value < MOST:
                    continue
            elif kind is Decimal:
                text = str(value)
                if len(text) < _SHORT and not _ODD & {*text}:
                    values[at] = text
                    continue
            elif kind is float or kind is bool:
                continue
            elif kind is DecisionRecord and (text := _short(value)):
                values[at] = text
                continue
            elif not value:
                values[at] = "[]" if kind is tuple else "{}"
                continue
            values[at] = _value(plain(self._columns[at], value))
        return values


entry, attempt, reprice = _Columns(ENTRY), _Columns(ATTEMPT), _Columns(REPRICE)
feedback = _Columns(FEEDBACK)
