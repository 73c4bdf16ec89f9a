"""Erase the personal part of an end user's rows: in journals, in the store, and kept texts."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.ledger import personal_part, transcripts
from gateway.ledger.chain import is_intact, is_sealed
from gateway.ledger.file_lock import lock_file
from gateway.ledger.journal import decode_row, list_segments
from gateway.ledger.sinks.base import LedgerSink
from gateway.ledger.store import LedgerStore


class ErasedRows(NamedTuple):
    """The result of an erasure."""

    calls: int
    """The number of calls."""
    lines: int
    """The number of lines of journals."""
    texts: int
    """The number of calls whose texts were deleted."""


def erase_user(
    folder: Path,
    content_folder: Path,
    store: LedgerStore,
    end_user: str,
    sinks: Sequence[LedgerSink] = (),
) -> ErasedRows:
    """Erase the personal part of all rows of an end user (a hash); a second run finds none.

    Meanwhile no process feeds the store from the folder. Rows keep their costs. Raises OSError and
    LedgerError; then run it again.
    """
    with lock_file(folder / "feed.lock"):
        # Not yet known calls first: a crash in between must not lose the ids of kept texts.
        ids, line_count = set[str](), 0
        for path in list_segments(folder):
            ids.update(_find_calls(path, end_user))
        ids |= store.find_user_calls(end_user)
        text_count = transcripts.erase(content_folder, ids)
        for path in list_segments(folder):
            line_count += _erase_lines(path, end_user)
        store.erase_user(end_user)
    # After the journals: a sink that delivers now still has the rows as they were.
    for sink in sinks:
        sink.erase_user(folder, end_user)
    return ErasedRows(len(ids), line_count, text_count)


def _find_calls(path: Path, end_user: str) -> Iterator[str]:
    for _, line in _find_lines(path, end_user):
        row = decode_row(line)
        if row is not None:
            yield row.id


def _find_lines(path: Path, end_user: str) -> Iterator[tuple[int, bytes]]:
    """Yield the intact lines of a user in a segment, each with its offset."""
    offset = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if (
                    personal_part.belongs_to(line, end_user)
                    and line.endswith(b"\n")
                    and (is_intact(line[:-1]) or not is_sealed(path))
                ):
                    yield offset, line[:-1]
                offset += len(line)
    except FileNotFoundError:  # it was kept long enough, or was empty
        return


def _erase_lines(path: Path, end_user: str) -> int:
    """Erase the personal part of a user's lines in place. Return how many."""
    lines = list(_find_lines(path, end_user))
    if not lines:
        return 0
    status = path.stat()
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # its owner may still append
    try:
        for offset, line in lines:
            os.pwrite(descriptor, personal_part.erase_line(line), offset)
        os.fsync(descriptor)
        # Its age says how long it is kept.
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(descriptor)
    return len(lines)
