"""Recovery: close the calls that dead processes left open in their journals.

`sweep` removes old segments of the journal that are finished and in the store.

A file records until when segments were removed: a rebuilt store does not have their rows.
"""

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec

from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow
from gateway.ledger.chain import CLOSED_LINE, ChainReader
from gateway.ledger.file_lock import FILE_MODE, lock_file, try_lock, try_lock_file
from gateway.ledger.journal import Journal, Segment, finish, list_segments, read_rows

_REMOVED_UNTIL_FILE = "removed-until"


def sweep(folder: Path, cutoff: float, is_fed: Callable[[Path], bool]) -> int:
    """Remove finished segments (CLOSED) last written before `cutoff`. Return how many.

    `cutoff` is in seconds since the epoch. `is_fed` returns True if the store has all of a segment.
    A segment stays if a process writes it or recovery has yet to read it. While another process
    feeds the store or sweeps, this does nothing.
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
    except FileNotFoundError:  # it was empty, and its owner removed it at its end
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
    """Return the moment until when segments of a folder were removed; None if none were."""
    try:
        return float((folder / _REMOVED_UNTIL_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _note_earlier_removals(folder: Path, cutoff: float) -> None:
    """Note possible removals by earlier versions, which did not record them."""
    try:
        first_fed_at = (folder / "id").stat().st_mtime
    except FileNotFoundError:  # no store was fed from here
        return
    if first_fed_at < cutoff and read_removed_until(folder) is None:
        _write_removed_until(folder, cutoff)


def _write_removed_until(folder: Path, moment: float) -> None:
    """Record the removal of segments that end at a moment, before they are removed."""
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
"""The maximum number of a recovery's rows of calls that ended just before their process died."""


class Recovered(msgspec.Struct, frozen=True):
    """The result of a recovery."""

    entries: tuple[FinalRow, ...] = ()
    """The final rows that the recovery wrote, all `unknown_crash`."""
    segments: int = 0
    """The number of dead processes' segments that it read."""
    torn_segments: int = 0
    """The number of these segments that ended within a row."""
    ended_rows: tuple[FinalRow, ...] = ()
    """The last final rows of dead processes: the work that follows a row may not have been done."""


def recover(journal: Journal) -> Recovered:
    """Close, in `journal`, the calls that dead processes left open in its folder.

    A call is open if an intent has no final row. It gets one with state `unknown_crash` and no
    cost: the provider may have billed it, nobody knows how much, and `reserved` is the maximum.
    Recovery reads only segments whose lock is free. It marks them when done, so a second run does
    nothing. One process at a time recovers, and others wait: an earlier one may have missed
    processes that died since. Raises JournalError if a row cannot be written, OSError if a segment
    cannot be read.
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
    """The rows of a call, in dicts without duplicates: a segment may repeat rows of another one."""

    def __init__(self) -> None:
        self.intents: dict[IntentRow, None] = {}
        self.failed_attempts: dict[AttemptRow, None] = {}


def read_open_calls(folder: Path) -> list[FinalRow]:
    """Return the rows that recovery would write if all processes had died by now.

    They are those of calls that run, and of calls that a dead process has left. Raises OSError.
    """
    segments = [(path, None) for path in list_segments(folder) if not _is_finished(path)]
    return list(_find_open_calls(segments, deque(maxlen=0)))


def _is_finished(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _read_tail(file.fileno()) in (b"", CLOSED_LINE)
    except FileNotFoundError:  # it was empty, and its owner removed it at its end
        return True


def _read_tail(descriptor: int) -> bytes:
    """Return the last bytes of a segment: `CLOSED_LINE` if it is finished."""
    start = max(0, os.fstat(descriptor).st_size - len(CLOSED_LINE))
    return os.pread(descriptor, len(CLOSED_LINE), start)


def _find_open_calls(
    segments: Iterable[tuple[Path, ChainReader | None]], ended_rows: deque[FinalRow]
) -> Iterator[FinalRow]:
    """Yield a final row for each call without one; add the final rows of others to `ended_rows`.

    Each segment that nobody writes has a chain reader, which learns of its end.
    """
    calls: dict[str, _Call] = {}
    ended_ids: set[str] = set()
    """The calls with a final row. Of these nothing else is kept: a segment has many thousands."""
    # Read all before any is closed: a call may start in one segment and end in the next.
    for path, chain_reader in segments:
        for row, _ in read_rows(path, chain_reader=chain_reader):
            match row:
                case IntentRow() if row.id not in ended_ids:
                    calls.setdefault(row.id, _Call()).intents[row] = None
                case AttemptRow() if row.id not in ended_ids:
                    calls.setdefault(row.id, _Call()).failed_attempts[row] = None
                case FinalRow():
                    ended_ids.add(row.id)
                    calls.pop(row.id, None)
                    ended_rows.append(row)
    for call in calls.values():
        if call.intents:
            yield _build_crash_row(call)


def _close_calls(journal: Journal, dead_segments: list[Segment]) -> Recovered:
    ended_rows: deque[FinalRow] = deque(maxlen=_MAX_ENDED_ROWS)
    chain_readers = [ChainReader(segment.path) for segment in dead_segments]
    paths = [segment.path for segment in dead_segments]
    entries = tuple(_find_open_calls(zip(paths, chain_readers, strict=True), ended_rows))
    for entry in entries:
        journal.write(entry)
    journal.sync()
    torn_segments = sum(segment.is_torn for segment in dead_segments)
    now = journal.clock()
    # Last, oldest first: an interrupted recovery runs again. Each mark is on the disk before the
    # next one: after a power cut that takes one alone, recovery would read a segment without the
    # later ones that have the final rows of its calls.
    for segment, chain_reader in zip(dead_segments, chain_readers, strict=True):
        finish(segment, chain_reader.make_last_lines(now))
        journal.sync_segment(segment)
    return Recovered(entries, len(dead_segments), torn_segments, tuple(ended_rows))


def _lock_dead_segment(path: Path) -> Segment | None:
    """Return a segment with its lock, if its owner is dead and it is not finished; else None."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:  # it was empty, and its owner removed it at its end
        return None
    size = os.fstat(descriptor).st_size
    # The lock first: before that, the owner may still write.
    if size and try_lock(descriptor):
        size = os.fstat(descriptor).st_size
        tail = _read_tail(descriptor)
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
    cost_bounds += [
        row.reserved if row.cost is None else row.cost + (row.reserved or 0)
        for row in call.failed_attempts
    ]
    return FinalRow(
        id=last_intent.id,
        at=intents[0].at,
        key=last_intent.key,
        tenant=last_intent.tenant,
        team=last_intent.team,
        end_user=last_intent.end_user,
        tags=last_intent.tags,
        dialect=last_intent.dialect,
        operation=last_intent.operation,
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
    """Return the sum of some amounts; None if one is unknown."""
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total
