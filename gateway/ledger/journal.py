"""The journal: append-only segments of JSON lines, each with one owner; whole lines or nothing.

When `write` returns, the kernel has the row, so a killed process loses no row that it acknowledged.
`sync`, off the hot path, brings rows to the disk in case the machine fails. A caller that needs
that first waits for `wait_until_synced`. A segment belongs to the process that holds its lock. If
nobody holds it, the owner is dead, and `recovery` closes the calls that it left open. Lines are
sealed, so that readers notice damage (`chain`). The last line of a finished segment is CLOSED.
"""

import asyncio
import errno
import math
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FeedbackRow, FinalRow, IntentRow, RepriceRow, Row
from gateway.ledger import chain
from gateway.ledger.chain import NO_LINK, ChainReader, Link
from gateway.ledger.errors import JournalError, StoreError
from gateway.ledger.file_lock import FILE_MODE, try_lock
from gateway.ledger.personal_part import add_salt
from gateway.state.errors import describe_newer

SEGMENT_SUFFIX = ".jsonl"
FORM_FILE = "form"
"""The file of a journal's folder that names the form of its lines; without it the form is 1."""
JOURNAL_FORM = 1

_MAX_SEGMENT_BYTES = 64_000_000  # bytes of a segment: seconds to read, and few files a day
_MAX_UNSYNCED_ROWS = 1024  # the maximum of unsynced rows: what a busy process writes in 0.1 s
_MAX_ROW_BYTES = 4096  # bytes of a row: only texts of clients can exceed it, and are cut
_DAY_SECONDS = 86_400

_make_token = partial(secrets.token_hex, 4)


def _fdatasync(descriptor: int) -> None:
    """Bring the data of a file to the disk."""
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has fsync only


@dataclass(slots=True)
class Segment:
    """One open file of the journal, and its lock."""

    path: Path
    descriptor: int
    ends_at: float
    """The end of its day (UTC), in seconds since the epoch."""
    size: int = 0
    """The size in bytes."""
    link: Link = NO_LINK
    """The last sealed line."""
    is_torn: bool = False
    """True if it ends in a part of a row that could not be removed."""
    is_listed: bool = False
    """True if its name in the folder is on the disk, too."""
    is_finished: bool = False
    """True if it ends in CLOSED."""


class Journal:
    """The writing end of the journal: one in a process, used from one thread (except `sync`).

    `sync` brings a descriptor to the disk. `clock` returns seconds since the epoch. `token` makes
    names unique. `limit` is the size in bytes from which a new segment begins. Raises JournalError
    if the folder cannot be written, StoreError if a newer version has written it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: Callable[[int], None] = _fdatasync,
        clock: Callable[[], float] = time.time,
        token: Callable[[], str] = _make_token,
        limit: int = _MAX_SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        self.written_rows = 0
        """The number of rows written."""
        self.synced_rows = 0
        """The number of written rows that are known to be on the disk."""
        self._sync = sync
        self.clock = clock
        """Returns seconds since the epoch."""
        self._token = token
        self._limit = limit
        self._open_calls: dict[
            str, bytes
        ] = {}  # lines of open calls, for the next segment; unsealed
        self._retired_segments: deque[Segment] = deque()
        self._segment_is_lost = False
        self._lock = threading.Lock()  # of descriptors that are synced and closed
        self._rotation_lock = (
            threading.Lock()
        )  # of the switch to the next segment; never held during a system call
        self._sync_task: asyncio.Task[None] | None = None  # the sync that all waiters share
        self._rows_waiting = asyncio.Event()
        self._group_is_full = asyncio.Event()
        check_form(folder)
        try:
            self._segment = self._create()
        except OSError as error:
            raise _make_journal_error(error, folder) from error

    def write(self, row: Row) -> None:
        """Append one row. Raises JournalError if the journal does not take it.

        The next row is then whole again. Strings in a row of more than 4 kB are cut, but never its
        id.
        """
        self.append_together([(row, encode_row(row))])

    def append_together(self, rows: Sequence[tuple[Row, bytes]]) -> None:
        """Append rows, each with its line, with one system call; otherwise works as `write`.

        Raises JournalError if the journal takes none of them.
        """
        lines = [line for _, line in rows]
        segment = self._segment
        size = segment.size + sum(map(len, lines))
        if self._segment_is_lost or size > self._limit or self.clock() >= segment.ends_at:
            self._rotate()
            segment = self._segment
        data, link = chain.seal_lines(lines, segment.link)
        append(segment, data, link)
        open_calls = self._open_calls
        for row, line in rows:
            if isinstance(row, FinalRow):
                open_calls.pop(row.id, None)
            elif isinstance(row, IntentRow):
                open_calls[row.id] = open_calls.get(row.id, b"") + line
            elif isinstance(row, AttemptRow) and row.id in open_calls:
                open_calls[row.id] += line
        self.written_rows += len(rows)
        self._rows_waiting.set()
        if self.written_rows - self.synced_rows >= _MAX_UNSYNCED_ROWS:
            self._group_is_full.set()

    def probe(self) -> None:
        """Test whether the disk takes a row, with a file that is removed at once.

        Blocks, so call it in a thread. Raises JournalError if the disk is full or broken. If the
        file cannot be created, that says nothing about the segment, which is already open.
        """
        path = self.folder / f"probe-{os.getpid()}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError:
            return
        try:
            append(Segment(path, descriptor, ends_at=math.inf), bytes(_MAX_ROW_BYTES))
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Bring every written row to the disk. Blocks, so call it in a thread.

        Raises JournalError if the disk refuses, or if somebody removed or moved the segment: the
        next row then goes to a new one.
        """
        with self._lock:
            with self._rotation_lock:
                written_rows = self.written_rows
                segment = self._segment
                retired_segments = list(self._retired_segments)
            try:
                self._sync(segment.descriptor)
                if not segment.is_listed:
                    _sync_folder(self.folder)
                    segment.is_listed = True
                for retired_segment in retired_segments:
                    self._close_retired(retired_segment)
                    self._retired_segments.popleft()
                _check_path(segment)
            except FileNotFoundError as error:
                self._segment_is_lost = segment is self._segment
                raise _make_journal_error(error, segment.path) from error
            except OSError as error:
                raise _make_journal_error(error, segment.path) from error
            self.synced_rows = written_rows

    def sync_segment(self, segment: Segment) -> None:
        """Bring a segment of another process to the disk. Raises JournalError."""
        try:
            self._sync(segment.descriptor)
        except OSError as error:
            raise _make_journal_error(error, segment.path) from error

    async def wait_until_synced(self) -> None:
        """Return once every row written so far is on the disk.

        All waiters share one sync in a thread. Waiters that come while it runs share the next one.
        Raises JournalError if the disk refuses.
        """
        written_rows = self.written_rows
        while self.synced_rows < written_rows:
            if self._sync_task is None:
                self._sync_task = asyncio.create_task(asyncio.to_thread(self.sync))
                self._sync_task.add_done_callback(self._clear_sync_task)
            await asyncio.shield(self._sync_task)

    def _clear_sync_task(self, _: asyncio.Task[None]) -> None:
        self._sync_task = None

    async def sync_periodically(
        self,
        sleep: Callable[[float], Awaitable[None]],
        on_error: Callable[[JournalError], None],
        interval: float = 0.1,
    ) -> None:
        """Sync `interval` seconds after a row, or once 1,024 rows wait, until cancelled.

        Each failure is passed to `on_error`.
        """
        while True:
            await self._rows_waiting.wait()
            await _wait_for_first(sleep(interval), self._group_is_full.wait())
            self._rows_waiting.clear()
            self._group_is_full.clear()
            if self.synced_rows == self.written_rows:  # another sync was faster
                continue
            try:
                await asyncio.to_thread(self.sync)
            except JournalError as error:
                on_error(error)

    def close(self) -> None:
        """Sync and release the segment; recovery closes the calls that are still open."""
        try:
            self.sync()
        finally:
            with self._lock:
                segment = self._segment
                if segment.size == 0:
                    segment.path.unlink(missing_ok=True)
                elif (
                    not self._open_calls and not self._retired_segments
                ):  # else recovery reads them together
                    with suppress(JournalError):
                        self._finish(segment)
                os.close(segment.descriptor)

    def _create(self) -> Segment:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        now = self.clock()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
        path = self.folder / f"{stamp}-{os.getpid()}-{self._token()}{chain.SEALED_SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, FILE_MODE)
        try_lock(descriptor)  # recovery ignores empty segments, so nobody else has the lock
        return Segment(path, descriptor, ends_at=(now // _DAY_SECONDS + 1) * _DAY_SECONDS)

    def _rotate(self) -> None:
        """Continue in a new segment, which starts with the rows of the open calls.

        So a reader needs no other segment to understand it, and the old one is done. If no new
        segment can be made (descriptors, inodes), the old one grows beyond its limit.
        """
        try:
            new_segment = self._create()
        except OSError as error:
            if self._segment_is_lost:
                raise _make_journal_error(error, self.folder) from error
            return
        try:
            lines = b"".join(self._open_calls.values()).splitlines(keepends=True)
            append(new_segment, *chain.seal_lines(lines, new_segment.link))
        except JournalError:
            new_segment.path.unlink()
            os.close(new_segment.descriptor)
            raise
        # At once: a sync that saw only the new segment would miss the rows of the old one.
        with self._rotation_lock:
            self._retired_segments.append(self._segment)
            self._segment, self._segment_is_lost = new_segment, False

    def _close_retired(self, segment: Segment) -> None:
        """Finish, sync and close a segment after the next one is on the disk.

        Not earlier: the next one has the open calls now, and the machine may fail. The last line is
        always written before the close: calls of the segment may continue in this process, and
        another process's recovery would take them for calls of a dead one.
        """
        if not segment.is_finished:
            self._finish(segment)
        self._sync(segment.descriptor)
        os.close(segment.descriptor)

    def _finish(self, segment: Segment) -> None:
        finish(segment, [chain.seal_end(segment.link, self.clock()), chain.CLOSED_LINE])


def encode_row(row: Row) -> bytes:
    """Return a row as its line, the inverse of `decode_row`; one with an end user can be erased."""
    try:
        line = jsonio.dumps(row)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate, a number beyond 64 bits
        line = b""
    if not 0 < len(line) < _MAX_ROW_BYTES:
        for max_length in (512, 128, 32):
            line = jsonio.dumps(_shorten_row(row, max_length))
            if len(line) < _MAX_ROW_BYTES:
                break
    if getattr(row, "end_user", None) is not None:
        line = add_salt(line)
    return line + b"\n"


def decode_row(line: bytes) -> Row | None:
    """Return a line as its row; None if this version does not understand it."""
    try:
        row: Row = _parse_row(line)
    except jsonio.JsonError:
        return None
    return row


_parse_row = jsonio.make_reader(IntentRow | AttemptRow | FinalRow | RepriceRow | FeedbackRow)


def read_rows(
    path: Path, offset: int = 0, chain_reader: ChainReader | None = None
) -> Iterator[tuple[Row | None, int]]:
    """Yield the rows of a segment from `offset` on, each with the offset after it, in bytes.

    None stands for a line that is no row: torn or damaged, or of a kind or form that this version
    does not know. A line without an end is left for later. A `chain_reader` is for segments that
    nobody writes: it learns of their ends, too.
    """
    reader = chain_reader or ChainReader(path)
    if chain_reader is None:
        reader.resume(offset)
    rest = b""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                rest = line
                break
            offset += len(line)
            is_intact = bool(reader.select_intact([line[:-1]]))
            if not line.startswith(chain.END_PREFIX):
                yield decode_row(line) if is_intact else None, offset
    if chain_reader is not None:
        chain_reader.end(rest)


def check_form(folder: Path) -> None:
    """Raise StoreError if a newer version has written journals that this one cannot read.

    Versions only add fields to rows. One that has to break with that raises `JOURNAL_FORM`, and
    writes it into the folder before its first row.
    """
    try:
        form = (folder / FORM_FILE).read_bytes().strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    if form != b"%d" % JOURNAL_FORM:
        raise StoreError(describe_newer(f"the journal in {folder}"))


def list_segments(folder: Path) -> list[Path]:
    """Return the segments of a folder, oldest first; none if the folder does not exist.

    Raises StoreError if a newer version has written them in another form.
    """
    check_form(folder)
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def finish(segment: Segment, last_lines: Sequence[bytes]) -> None:
    """Write the last lines of a segment. Raises JournalError."""
    append(segment, b"".join(last_lines))
    segment.is_finished = True


def append(segment: Segment, data: bytes, link: Link | None = None) -> None:
    """Write all of some data or nothing. Raises JournalError.

    `link` is that of its last line, if it consists of sealed lines.
    """
    if segment.is_torn:
        data = b"\n" + data
    written_bytes = 0
    try:
        written_bytes = os.write(segment.descriptor, data)
        while written_bytes < len(
            data
        ):  # a disk that fills up takes a part, and says why at the next try
            written_bytes += os.write(segment.descriptor, data[written_bytes:])
    except OSError as error:
        if written_bytes and not _truncate(segment.descriptor, written_bytes):
            segment.is_torn = True
            segment.link = _read_written_link(segment)
        raise _make_journal_error(error, segment.path) from error
    segment.is_torn = False
    segment.size += written_bytes
    if link is not None:
        segment.link = link


def _read_written_link(segment: Segment) -> Link:
    """Return the link of the last whole line of a segment that ends in a part of another."""
    try:
        reader = ChainReader(segment.path)
        reader.resume(segment.path.stat().st_size)
    except OSError:
        return segment.link
    return reader.link


def _truncate(descriptor: int, byte_count: int) -> bool:
    try:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - byte_count)
    except OSError:
        return False
    return True


def _shorten_row(row: Row, max_length: int) -> Row:
    """Shorten strings of a row to `max_length`, and its lists and maps to an eighth of that."""

    def shorten(value: object) -> object:
        if isinstance(value, str):
            value = value.encode(errors="replace").decode()
            return value if len(value) <= max_length else value[: max_length - 1] + "…"
        if isinstance(value, tuple):
            return tuple(shorten(item) for item in value[: max_length // 8])
        if isinstance(value, dict):
            pairs = [(shorten(name), shorten(count)) for name, count in value.items()]
            return dict([pair for pair in pairs if pair[1] is not None][: max_length // 8])
        if isinstance(value, int) and value >= 2**63:
            return None  # a token count that no provider can have counted
        return value

    names = [name for name in row.__struct_fields__ if name != "id"]
    return msgspec.structs.replace(row, **{name: shorten(getattr(row, name)) for name in names})


def _check_path(segment: Segment) -> None:
    if not os.path.samestat(segment.path.stat(), os.fstat(segment.descriptor)):
        raise FileNotFoundError(errno.ENOENT, "another file has its name")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_journal_error(error: OSError, path: Path) -> JournalError:
    return JournalError(error.errno, error.strerror, str(path))


async def _wait_for_first(*awaitables: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
