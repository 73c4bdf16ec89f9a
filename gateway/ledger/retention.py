"""How long the journal is kept: segments that are over, old, and in the store.

A file tells until when segments were removed: a store that is made anew does not have their rows.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from gateway.ledger.file_lock import MODE, grab, held
from gateway.ledger.journal import CLOSED, segments

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
