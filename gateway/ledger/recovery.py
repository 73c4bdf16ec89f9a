"""Recovery: what dead processes left open in their journals gets its final row.

How long the journal is kept: segments that are over, old, and in the store.

A file tells until when segments were removed: a store that is made anew does not have their rows.
"""

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path

import msgspec

from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow
from gateway.ledger.file_lock import FILE_MODE, lock_file, try_lock, try_lock_file
from gateway.ledger.journal import CLOSED_LINE, Journal, Segment, finish, list_segments, read_rows

_REMOVED_UNTIL_FILE = "removed-until"


def sweep(folder: Path, cutoff: float, is_fed: Callable[[Path], bool]) -> int:
    """Remove the segments that end in CLOSED and were last written before a time; how many.

    `cutoff` is in seconds since the epoch. `is_fed` tells whether the store has all of a segment.
    Nothing is removed that a process writes or recovery has yet to read, nor while a store is fed:
    then, as where another process sweeps, this does nothing.
    """
    if not folder.is_dir():
        return 0
    with try_lock_file(folder / "feed.lock") as locked:
        if not locked:
            return 0
        _note_earlier_removals(folder, cutoff)
        return sum(_remove_segment(path, cutoff, is_fed) for path in list_segments(folder))


def _remove_segment(path: Path, cutoff: float, is_fed: Callable[[Path], bool]) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # empty: its owner has taken it away, now that it stops
        return False
    try:
        if not try_lock(descriptor) or os.fstat(descriptor).st_mtime >= cutoff:
            return False
        start = max(0, os.fstat(descriptor).st_size - len(CLOSED_LINE))
        if os.pread(descriptor, len(CLOSED_LINE), start) != CLOSED_LINE or not is_fed(path):
            return False
        _write_removed_until(path.parent, os.fstat(descriptor).st_mtime)
        path.unlink()
    finally:
        os.close(descriptor)
    return True


def read_removed_until(folder: Path) -> float | None:
    """Return a moment until when segments of a folder were removed; None where none were."""
    try:
        return float((folder / _REMOVED_UNTIL_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _note_earlier_removals(folder: Path, cutoff: float) -> None:
    """Note what earlier versions may have removed, which did not write it down."""
    try:
        first_fed_at = (folder / "id").stat().st_mtime
    except FileNotFoundError:  # no store was fed from here
        return
    if first_fed_at < cutoff and read_removed_until(folder) is None:
        _write_removed_until(folder, cutoff)


def _write_removed_until(folder: Path, moment: float) -> None:
    """Write that segments which end at a moment are removed, before they are."""
    if moment <= (read_removed_until(folder) or 0.0):
        return
    temporary_path = folder / f"{_REMOVED_UNTIL_FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(
        temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE
    )
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{moment:.6f}\n")
        file.flush()
        os.fsync(descriptor)
    temporary_path.rename(folder / _REMOVED_UNTIL_FILE)


_MAX_ENDED_ROWS = 2_000
"""Calls that dead processes may have ended in their last moment, at most."""


class Recovered(msgspec.Struct, frozen=True):
    """What a recovery did."""

    entries: tuple[FinalRow, ...] = ()
    """The final rows it wrote, all `unknown_crash`."""
    segments: int = 0
    """Segments of dead processes that it read."""
    torn_segments: int = 0
    """Of these, those that ended within a row."""
    ended_rows: tuple[FinalRow, ...] = ()
    """The last final rows of dead processes: what follows a row may not have been done."""


def recover(journal: Journal) -> Recovered:
    """Close, in `journal`, the calls that dead processes left open in its folder.

    A call is open where an intent has no final row; it gets one with state `unknown_crash` and no
    cost: the provider may have billed it, nobody knows what, and at most `reserved`. Only segments
    whose lock is free are read, and what is done is marked, so that to run it again does nothing.
    One process at a time does it, and others wait: one that began earlier may not have seen who has
    died since. Raises JournalError where a row cannot be written, OSError where one cannot be read.
    """
    with lock_file(journal.folder / "recover.lock"):
        dead_segments = [
            segment
            for path in list_segments(journal.folder)
            if (segment := _lock_dead_segment(path))
        ]
        try:
            return _close_calls(journal, dead_segments)
        finally:
            for segment in dead_segments:
                os.close(segment.descriptor)


class _Call:
    """What the rows of a call say; a dict each, since a segment may repeat rows of another one."""

    def __init__(self) -> None:
        self.intents: dict[IntentRow, None] = {}
        self.failed_attempts: dict[AttemptRow, None] = {}
        self.has_final_row = False


def _close_calls(journal: Journal, dead_segments: list[Segment]) -> Recovered:
    calls: dict[str, _Call] = {}
    ended_rows: deque[FinalRow] = deque(maxlen=_MAX_ENDED_ROWS)
    # All of them before any: a call may start in one segment and end in the next.
    for segment in dead_segments:
        for row, _ in read_rows(segment.path):
            match row:
                case IntentRow():
                    calls.setdefault(row.id, _Call()).intents[row] = None
                case AttemptRow():
                    calls.setdefault(row.id, _Call()).failed_attempts[row] = None
                case FinalRow():
                    calls.setdefault(row.id, _Call()).has_final_row = True
                    ended_rows.append(row)
    entries = tuple(
        _build_crash_row(call) for call in calls.values() if call.intents and not call.has_final_row
    )
    for entry in entries:
        journal.write(entry)
    journal.sync()
    torn_segments = sum(segment.is_torn for segment in dead_segments)
    for segment in dead_segments:  # last, oldest first: a recovery that is cut short is done again
        finish(segment)
    return Recovered(entries, len(dead_segments), torn_segments, tuple(ended_rows))


def _lock_dead_segment(path: Path) -> Segment | None:
    """A segment with its lock, where its owner is dead and it is not finished."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:  # empty: its owner has taken it away, now that it stops
        return None
    size = os.fstat(descriptor).st_size
    # The lock first: only then is the end of the file the end.
    if size and try_lock(descriptor):
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, len(CLOSED_LINE), max(0, size - len(CLOSED_LINE)))
        if tail != CLOSED_LINE:
            torn = not tail.endswith(b"\n")
            return Segment(path, descriptor, ends_at=0.0, size=size, is_torn=torn)
    os.close(descriptor)
    return None


def _build_crash_row(call: _Call) -> FinalRow:
    intents = list(call.intents)
    last_intent = intents[-1]
    failed_numbers = {row.attempt for row in call.failed_attempts}
    # Rows of version 1 do not count their attempts, and have no rows of failures either.
    cost_bounds = [row.reserved for row in intents if row.attempt not in failed_numbers]
    cost_bounds += [row.reserved for row in call.failed_attempts if row.cost is None]
    return FinalRow(
        id=last_intent.id,
        at=intents[0].at,
        key=last_intent.key,
        tenant=last_intent.tenant,
        tags=last_intent.tags,
        dialect=last_intent.dialect,
        stream=last_intent.stream,
        state="unknown_crash",
        lab=last_intent.lab,
        tier=last_intent.tier,
        provider=last_intent.provider,
        account=last_intent.account,
        model=last_intent.model,
        attempts=len(intents),
        wasted=_sum_amounts(row.cost for row in call.failed_attempts),
        reserved=_sum_amounts(cost_bounds),
        price=last_intent.price,
        config=last_intent.config,
    )


def _sum_amounts(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Their sum; None where one is unknown."""
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total
