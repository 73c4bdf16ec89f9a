"""The protocol of a sink, and the common part of those that keep their progress beside a journal.

A sink is fed from the journal alone. So an engine that is away delays its own rows, costs no call
and loses nothing: the journal has them until the engine has acknowledged them.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from gateway.core import jsonio
from gateway.ledger.file_lock import FILE_MODE, lock_file, try_lock_file
from gateway.ledger.ingest import RowBatch, read_batches, read_folder_id, read_sizes
from gateway.ledger.journal import list_segments
from gateway.ledger.store import IngestState, count_damaged_rows

_BATCH_ROWS = 1024
_REST_SECONDS = 0.0002
"""Seconds for which a delivery lets the calls of its process run, before each piece of work."""
_FOLDER_MODE = 0o700


class LedgerSink(Protocol):
    """An engine that gets rows from journals; any thread may use it, and all methods block.

    A row may come several times and in any order, also from several gateways: the engine keeps one
    row for each id, the newest. Every method raises OSError or LedgerError if it fails.
    """

    def check(self) -> None:
        """Check that the engine answers and takes rows; make its tables if it has none."""
        ...

    def feed(self, folder: Path, *, all_rows: bool = False) -> int | None:
        """Deliver rows that the engine has not acknowledged yet. Return the number of lines.

        Return None, without work, if another process delivers to this sink from the folder. With
        `all_rows` no row waits for more to be delivered with it.
        """
        ...

    def read_offsets(self, folder: Path) -> dict[str, int]:
        """Return how many bytes of each segment the engine has acknowledged, by segment name."""
        ...

    def state(self) -> IngestState:
        """Return the progress of this process's feeds, without asking the engine."""
        ...

    def erase_user(self, folder: Path, end_user: str) -> None:
        """Erase the personal part of a user's rows, once no process delivers from the folder."""
        ...

    def close(self) -> None:
        """Close connections. A closed sink opens them again on use."""
        ...


class BatchOrigin(NamedTuple):
    """The place of a batch in the journals: the same at each delivery, unless more rows follow."""

    folder_id: str
    """The id of the journal folder: each gateway has one."""
    segment: str
    """The name of the segment."""
    start: int
    """The offset of the first byte; the engine has acknowledged all before it."""
    end: int
    """The offset after the last byte."""


class JournalSink(ABC):
    """A sink without a transaction: its progress is a file beside the journals.

    The file is written once the engine has acknowledged rows, so after a crash the rows come again.
    `clock` returns seconds since the epoch.
    """

    batch_rows: ClassVar[int] = _BATCH_ROWS
    """The number of lines in one delivery, of which half are no rows for a sink."""
    flush_rows: ClassVar[int] = 0
    """The number of lines that `write` gets before `flush`; 0 for each batch by itself."""
    batch_bytes: ClassVar[int] = 0
    """Fewer new bytes of a segment than these wait for more, unread."""
    batch_seconds: ClassVar[float] = 0.0
    """Seconds for which they wait at most."""

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        """`name` is the sink's name in the configuration."""
        self.name = name
        self._clock = clock
        self._state = IngestState()
        self._waiting_since: dict[str, float] = {}
        """When new bytes of a segment began to wait for more, by segment."""

    @abstractmethod
    def check(self) -> None:
        """Check that the engine answers, see `LedgerSink.check`."""

    @abstractmethod
    def write(self, batch: RowBatch, origin: BatchOrigin) -> None:
        """Give rows to the engine. Return once it has acknowledged them; raises SinkError.

        A sink with a `flush` may gather them: rows that were not flushed come again.
        """

    def flush(self) -> None:  # noqa: B027 - few sinks gather rows
        """Return once the engine has acknowledged all gathered rows; raises SinkError."""

    @abstractmethod
    def erase_in_engine(self, end_user: str) -> None:
        """Erase the personal part of a user's rows in the engine; raises SinkError."""

    @abstractmethod
    def close(self) -> None:
        """Close connections, see `LedgerSink.close`."""

    def feed(self, folder: Path, *, all_rows: bool = False) -> int | None:
        """Deliver what the engine has not acknowledged, see `LedgerSink.feed`."""
        started_at = self._clock()
        if not folder.is_dir():
            return 0
        paths, lines, is_waiting = list_segments(folder), 0, False
        sizes = read_sizes(paths)
        with try_lock_file(self._prepare_lock(folder)) as locked:
            if not locked:
                return None
            offsets = {
                name: offset for name, offset in self.read_offsets(folder).items() if name in sizes
            }
            folder_id = read_folder_id(folder)
            for path in paths:
                size, offset = sizes.get(path.name, 0), offsets.get(path.name, 0)
                if size == offset:
                    continue
                # A file shorter than what the engine has of it is another file.
                start = offset if offset < size else 0
                if not all_rows and self._holds_back(path.name, size - start):
                    is_waiting = True
                    continue
                unflushed_lines = 0
                for batch in self._read_batches(path, start):
                    self.write(batch, BatchOrigin(folder_id, path.name, start, batch.end))
                    start = batch.end
                    self._add_progress(batch)
                    lines += batch.lines
                    unflushed_lines += batch.lines
                    if unflushed_lines >= self.flush_rows:
                        self._flush(folder, offsets, path.name, start)
                        unflushed_lines = 0
                if unflushed_lines:
                    self._flush(folder, offsets, path.name, start)
        if not is_waiting:
            self._state = msgspec.structs.replace(self._state, fed_until=started_at)
        return lines

    def read_offsets(self, folder: Path) -> dict[str, int]:
        """Return the acknowledged bytes of each segment, see `LedgerSink.read_offsets`."""
        try:
            offsets: dict[str, int] = _parse_offsets(self._offsets_path(folder).read_bytes())
        except (FileNotFoundError, ValueError):  # none yet, or unreadable: all rows come again
            return {}
        return offsets

    def state(self) -> IngestState:
        """Return the progress of this process's feeds."""
        return self._state

    def erase_user(self, folder: Path, end_user: str) -> None:
        """Erase the personal part of a user's rows, see `LedgerSink.erase_user`."""
        with lock_file(self._prepare_lock(folder)):
            self.erase_in_engine(end_user)

    def _read_batches(self, path: Path, start: int) -> Iterator[RowBatch]:
        """Yield the lines of a segment from `start` on, at least `batch_rows` at a time."""
        pending: RowBatch | None = None
        for batch in read_batches(path, start, rest):
            pending = batch if pending is None else _join(pending, batch)
            if pending.lines >= self.batch_rows:
                yield pending
                pending = None
        if pending is not None:
            yield pending

    def _flush(self, folder: Path, offsets: dict[str, int], segment: str, end: int) -> None:
        """Flush, and note how much of a segment the engine has acknowledged."""
        self.flush()
        offsets[segment] = end
        self._write_offsets(folder, offsets)

    def _holds_back(self, segment: str, new_bytes: int) -> bool:
        """True if new bytes of a segment are to wait for more."""
        if new_bytes < self.batch_bytes:
            now = self._clock()
            if 0 <= now - self._waiting_since.setdefault(segment, now) < self.batch_seconds:
                return True
        self._waiting_since.pop(segment, None)
        return False

    def _add_progress(self, batch: RowBatch) -> None:
        state = self._state
        self._state = msgspec.structs.replace(
            state,
            rows=state.rows + batch.lines,
            skipped=state.skipped + batch.skipped,
            damaged=state.damaged + count_damaged_rows(batch.damages),
        )

    def _write_offsets(self, folder: Path, offsets: dict[str, int]) -> None:
        path = self._offsets_path(folder)
        temporary_path = path.with_suffix(".new")
        descriptor = os.open(
            temporary_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(jsonio.dumps(offsets))
        temporary_path.rename(path)

    def _prepare_lock(self, folder: Path) -> Path:
        """Return the path of the lock file of this sink, in a folder that exists."""
        sinks_folder = folder / "sinks"
        sinks_folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        return sinks_folder / f"{self.name}.lock"

    def _offsets_path(self, folder: Path) -> Path:
        return folder / "sinks" / f"{self.name}.json"


_parse_offsets = jsonio.make_reader(dict[str, int])


def rest() -> None:
    """Let the thread that serves calls run for a moment."""
    time.sleep(_REST_SECONDS)


def _join(first: RowBatch, second: RowBatch) -> RowBatch:
    """Return two consecutive batches as one."""
    return RowBatch(
        entries=first.entries + second.entries,
        attempts=first.attempts + second.attempts,
        reprices=first.reprices + second.reprices,
        feedback=first.feedback + second.feedback,
        damages=first.damages + second.damages,
        lines=first.lines + second.lines,
        skipped=first.skipped + second.skipped,
        end=second.end,
    )
