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
from gateway.ledger.file_lock import MODE, alone, grab, held
from gateway.ledger.journal import CLOSED, Journal, Segment, finish, rows, segments

_REMOVED = "removed-until"


def sweep(folder: Path, before: float, fed: Callable[[Path], bool]) -> int:
    """Remove the segments that end in CLOSED and were last written before a time; how many.

    `before` is in seconds since the epoch. `fed` tells whether the store has all of a segment.
    Nothing is removed that a process writes or recovery has yet to read, nor while a store is fed:
    then, as where another process sweeps, this does nothing.
    """
    if not folder.is_dir():
        return 0
    with held(folder / "feed.lock") as mine:
        if not mine:
            return 0
        _note_earlier(folder, before)
        return sum(_remove(path, before, fed) for path in segments(folder))


def _remove(path: Path, before: float, fed: Callable[[Path], bool]) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # empty: its owner has taken it away, now that it stops
        return False
    try:
        if not grab(descriptor) or os.fstat(descriptor).st_mtime >= before:
            return False
        start = max(0, os.fstat(descriptor).st_size - len(CLOSED))
        if os.pread(descriptor, len(CLOSED), start) != CLOSED or not fed(path):
            return False
        _note(path.parent, os.fstat(descriptor).st_mtime)
        path.unlink()
    finally:
        os.close(descriptor)
    return True


def removed_until(folder: Path) -> float | None:
    """Return a moment until when segments of a folder were removed; None where none were."""
    try:
        return float((folder / _REMOVED).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _note_earlier(folder: Path, before: float) -> None:
    """Note what earlier versions may have removed, which did not write it down."""
    try:
        begun = (folder / "id").stat().st_mtime
    except FileNotFoundError:  # no store was fed from here
        return
    if begun < before and removed_until(folder) is None:
        _note(folder, before)


def _note(folder: Path, moment: float) -> None:
    """Write that segments which end at a moment are removed, before they are."""
    if moment <= (removed_until(folder) or 0.0):
        return
    scratch = folder / f"{_REMOVED}.{secrets.token_hex(4)}"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{moment:.6f}\n")
        file.flush()
        os.fsync(descriptor)
    scratch.rename(folder / _REMOVED)


_LAST = 2_000
"""Calls that dead processes may have ended in their last moment, at most."""


class Recovered(msgspec.Struct, frozen=True):
    """What a recovery did."""

    entries: tuple[FinalRow, ...] = ()
    """The final rows it wrote, all `unknown_crash`."""
    segments: int = 0
    """Segments of dead processes that it read."""
    torn: int = 0
    """Of these, those that ended within a row."""
    ended: tuple[FinalRow, ...] = ()
    """The last final rows of dead processes: what follows a row may not have been done."""


def recover(journal: Journal) -> Recovered:
    """Close, in `journal`, the calls that dead processes left open in its folder.

    A call is open where an intent has no final row; it gets one with state `unknown_crash` and no
    cost: the provider may have billed it, nobody knows what, and at most `reserved`. Only segments
    whose lock is free are read, and what is done is marked, so that to run it again does nothing.
    One process at a time does it, and others wait: one that began earlier may not have seen who has
    died since. Raises JournalError where a row cannot be written, OSError where one cannot be read.
    """
    with alone(journal.folder / "recover.lock"):
        dead = [segment for path in segments(journal.folder) if (segment := _take(path))]
        try:
            return _close(journal, dead)
        finally:
            for segment in dead:
                os.close(segment.descriptor)


class _Call:
    """What the rows of a call say; a dict each, since a segment may repeat rows of another one."""

    def __init__(self) -> None:
        self.intents: dict[IntentRow, None] = {}
        self.failed: dict[AttemptRow, None] = {}
        self.done = False


def _close(journal: Journal, dead: list[Segment]) -> Recovered:
    calls: dict[str, _Call] = {}
    ended: deque[FinalRow] = deque(maxlen=_LAST)
    # All of them before any: a call may start in one segment and end in the next.
    for segment in dead:
        for row, _ in rows(segment.path):
            match row:
                case IntentRow():
                    calls.setdefault(row.id, _Call()).intents[row] = None
                case AttemptRow():
                    calls.setdefault(row.id, _Call()).failed[row] = None
                case FinalRow():
                    calls.setdefault(row.id, _Call()).done = True
                    ended.append(row)
    entries = tuple(_crashed(call) for call in calls.values() if call.intents and not call.done)
    for entry in entries:
        journal.write(entry)
    journal.sync()
    torn = sum(segment.torn for segment in dead)
    for segment in dead:  # last, oldest first: a recovery that is cut short is done again
        finish(segment)
    return Recovered(entries, len(dead), torn, tuple(ended))


def _take(path: Path) -> Segment | None:
    """A segment with its lock, where its owner is dead and it is not finished."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:  # empty: its owner has taken it away, now that it stops
        return None
    size = os.fstat(descriptor).st_size
    # The lock first: only then is the end of the file the end.
    if size and grab(descriptor):
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, len(CLOSED), max(0, size - len(CLOSED)))
        if tail != CLOSED:
            torn = not tail.endswith(b"\n")
            return Segment(path, descriptor, until=0.0, size=size, torn=torn)
    os.close(descriptor)
    return None


def _crashed(call: _Call) -> FinalRow:
    tries = list(call.intents)
    last = tries[-1]
    known = {row.attempt for row in call.failed}
    # Rows of version 1 do not count their attempts, and have no rows of failures either.
    bounds = [row.reserved for row in tries if row.attempt not in known]
    bounds += [row.reserved for row in call.failed if row.cost is None]
    return FinalRow(
        id=last.id,
        at=tries[0].at,
        key=last.key,
        tenant=last.tenant,
        tags=last.tags,
        dialect=last.dialect,
        stream=last.stream,
        state="unknown_crash",
        lab=last.lab,
        tier=last.tier,
        provider=last.provider,
        account=last.account,
        model=last.model,
        attempts=len(tries),
        wasted=_sum(row.cost for row in call.failed),
        reserved=_sum(bounds),
        price=last.price,
        config=last.config,
    )


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Their sum; None where one is unknown."""
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total
