"""Recovery: what dead processes left open in their journals gets its final row."""

import os
from pathlib import Path

import msgspec

from gateway.core.entry import Entry, Intent
from gateway.ledger.journal import CLOSED, Journal, Segment, finish, rows, segments
from gateway.ledger.lock import alone, grab


class Recovered(msgspec.Struct, frozen=True):
    """What a recovery did."""

    entries: tuple[Entry, ...] = ()
    """The final rows it wrote, all `unknown_crash`."""
    segments: int = 0
    """Segments of dead processes that it read."""
    torn: int = 0
    """Of these, those that ended within a row."""


def recover(journal: Journal) -> Recovered:
    """Close, in `journal`, the calls that dead processes left open in its folder.

    A call is open where an intent has no final row; it gets one with state `unknown_crash` and no
    cost: the provider may have billed it, nobody knows what. Only segments whose lock is free are
    read, and what is done is marked, so that to run it again does nothing. One process at a time
    does it, and others wait: one that began earlier may not have seen who has died since. Raises
    JournalError where a row cannot be written, OSError where one cannot be read.
    """
    with alone(journal.folder / "recover.lock"):
        dead = [segment for path in segments(journal.folder) if (segment := _take(path))]
        try:
            return _close(journal, dead)
        finally:
            for segment in dead:
                os.close(segment.descriptor)


def _close(journal: Journal, dead: list[Segment]) -> Recovered:
    intents: dict[str, dict[Intent, None]] = {}
    done: set[str] = set()
    # All of them before any: a call may start in one segment and end in the next.
    for segment in dead:
        for row, _ in rows(segment.path):
            if isinstance(row, Intent):
                # A dict: a segment may start with rows of the one before.
                intents.setdefault(row.id, {})[row] = None
            elif row is not None:
                done.add(row.id)
    entries = tuple(_crashed(list(tries)) for id, tries in intents.items() if id not in done)
    for entry in entries:
        journal.write(entry)
    journal.sync()
    torn = sum(segment.torn for segment in dead)
    for segment in dead:  # last, oldest first: a recovery that is cut short is done again
        finish(segment)
    return Recovered(entries, len(dead), torn)


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


def _crashed(tries: list[Intent]) -> Entry:
    last = tries[-1]
    return Entry(
        id=last.id,
        at=last.at,
        key=last.key,
        tenant=last.tenant,
        tags=last.tags,
        dialect=last.dialect,
        state="unknown_crash",
        lab=last.lab,
        tier=last.tier,
        provider=last.provider,
        model=last.model,
        attempts=len(tries),
        config=last.config,
    )
