"""How long the journal is kept: segments that are over, old, and in the store."""

import os
from collections.abc import Callable
from pathlib import Path

from gateway.ledger.journal import CLOSED, segments
from gateway.ledger.lock import grab, held


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
        path.unlink()
    finally:
        os.close(descriptor)
    return True
