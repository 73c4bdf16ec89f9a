"""The journal: append-only segments of JSON lines, each with one owner; whole lines or nothing.

A row is in the kernel's hands when `write` returns, so a killed process loses nothing that it
acknowledged; `sync`, off the hot path, brings rows to the disk for the case that the machine
itself fails, and who cannot go on before that waits for `settled`. A segment belongs to the
process that holds its lock; one that nobody holds is dead, and `recovery` closes what it left open.
The last line of a finished segment is CLOSED.
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
from gateway.ledger.errors import JournalError
from gateway.ledger.file_lock import MODE, grab

CLOSED = b'{"kind":"closed"}\n'
"""The last line of a segment in which no call is open."""

SUFFIX = ".jsonl"

_LIMIT = 64_000_000  # bytes of a segment: seconds to read, and few files a day
_GROUP = 1024  # rows that wait for the disk at most: what a busy process writes in 0.1 s
_LONGEST = 4096  # bytes of a row; only what clients wrote can exceed it, and is cut
_DAY = 86_400

_token = partial(secrets.token_hex, 4)
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has fsync only


@dataclass(slots=True)
class Segment:
    """One open file of the journal and its lock."""

    path: Path
    descriptor: int
    until: float
    """Seconds since the epoch at which its day (UTC) ends."""
    size: int = 0
    """Bytes."""
    torn: bool = False
    """Ends in a part of a row that could not be taken back."""
    listed: bool = False
    """Its name is on the disk too."""
    finished: bool = False
    """Ends in CLOSED."""


class Journal:
    """The writing end; one a process, used from one thread (but for `sync`).

    `sync` brings a descriptor to the disk, `clock` tells seconds since the epoch, `token` makes
    names unique, `limit` is the size in bytes from which a segment is followed by the next.
    Raises JournalError where the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: Callable[[int], None] = _fdatasync,
        clock: Callable[[], float] = time.time,
        token: Callable[[], str] = _token,
        limit: int = _LIMIT,
    ) -> None:
        self.folder = folder
        self.written = 0
        """Rows written."""
        self.synced = 0
        """Rows of these that are known to be on the disk."""
        self._sync = sync
        self._clock = clock
        self._token = token
        self._limit = limit
        self._names: set[str] = set()
        self._open: dict[str, bytes] = {}  # what has no final row yet, for the next segment
        self._retired: deque[Segment] = deque()
        self._lost = False
        self._lock = threading.Lock()  # of descriptors that are synced and closed
        self._turn = threading.Lock()  # of the change to the next segment, held for no call
        self._round: asyncio.Task[None] | None = None  # the sync that all who wait are in
        self._waiting = asyncio.Event()
        self._full = asyncio.Event()
        try:
            self._segment = self._create()
        except OSError as error:
            raise _journal_error(error, folder) from error

    def write(self, row: Row) -> None:
        """Append one row. Raises JournalError where it was not taken; the next row is whole again.

        Strings of a row beyond 4 kB are cut, never its id.
        """
        line = write(row)
        self._put(line)
        match row:
            case IntentRow():
                self._begun(row.id, line)
            case FinalRow():
                self._open.pop(row.id, None)
            case AttemptRow() if row.id in self._open:
                self._open[row.id] += line
        self._count(1)

    def take(self, asked: Sequence[tuple[IntentRow, bytes]], ends: Sequence[FinalRow]) -> None:
        """Append rows of requests, each with its line, and last rows, all with one system call.

        Raises JournalError where none of them was taken; else as `write`.
        """
        lines = together(ends)
        if lines is None:
            lines = b"".join([write(row) for row in ends])
        self._put(b"".join([*[line for _, line in asked], lines]) if asked else lines)
        for row, line in asked:
            self._begun(row.id, line)
        for end in ends:
            self._open.pop(end.id, None)
        self._count(len(asked) + len(ends))

    def _begun(self, call: str, line: bytes) -> None:
        before = self._open.get(call)
        self._open[call] = line if before is None else before + line

    def _put(self, lines: bytes) -> None:
        segment = self._segment
        if self._lost or segment.size + len(lines) > self._limit or self._clock() >= segment.until:
            self._rotate()
            segment = self._segment
        append(segment, lines)

    def _count(self, rows: int) -> None:
        self.written += rows
        self._waiting.set()
        if self.written - self.synced >= _GROUP:
            self._full.set()

    def probe(self) -> None:
        """Find out whether the disk takes a row, by a file that is removed again.

        Blocks, so call it in a thread. Raises JournalError where the disk is full or broken. A file
        that cannot be made says nothing of the segment, which is open.
        """
        path = self.folder / f"probe-{os.getpid()}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError:
            return
        try:
            append(Segment(path, descriptor, until=math.inf), bytes(_LONGEST))
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)

    def owns(self, name: str) -> bool:
        """Whether a segment is of this journal: each of its lines is as `write` makes it."""
        return name in self._names

    def sync(self) -> None:
        """Bring every written row to the disk; blocks, so call it in a thread.

        Raises JournalError where the disk refuses, or where the segment was removed or moved by
        somebody else: the next row then goes to a new one.
        """
        with self._lock:
            with self._turn:
                written, segment, retired = self.written, self._segment, list(self._retired)
            try:
                self._sync(segment.descriptor)
                if not segment.listed:
                    _sync_folder(self.folder)
                    segment.listed = True
                for one in retired:
                    self._let_go(one)
                    self._retired.popleft()
                _look_for(segment)
            except FileNotFoundError as error:
                self._lost = segment is self._segment
                raise _journal_error(error, segment.path) from error
            except OSError as error:
                raise _journal_error(error, segment.path) from error
            self.synced = written

    async def settled(self) -> None:
        """Return once every row that is written by now is on the disk.

        All who wait share one sync, in a thread; those who came while it ran share the next one.
        Raises JournalError where the disk refuses.
        """
        written = self.written
        while self.synced < written:
            if self._round is None:
                self._round = asyncio.create_task(asyncio.to_thread(self.sync))
                self._round.add_done_callback(self._rounded)
            await asyncio.shield(self._round)

    def _rounded(self, _: asyncio.Task[None]) -> None:
        self._round = None

    async def keep(
        self,
        sleep: Callable[[float], Awaitable[None]],
        note: Callable[[JournalError], None],
        interval: float = 0.1,
    ) -> None:
        """Sync `interval` seconds after a row, or once 1,024 wait, until cancelled.

        `note` is told of each failure.
        """
        while True:
            await self._waiting.wait()
            await _either(sleep(interval), self._full.wait())
            self._waiting.clear()
            self._full.clear()
            if self.synced == self.written:  # somebody has waited for that
                continue
            try:
                await asyncio.to_thread(self.sync)
            except JournalError as error:
                note(error)

    def close(self) -> None:
        """Sync, and let go of the segment; calls that are open are left to recovery."""
        try:
            self.sync()
        finally:
            with self._lock:
                segment = self._segment
                if segment.size == 0:
                    segment.path.unlink(missing_ok=True)
                elif not self._open and not self._retired:  # else they are read together
                    with suppress(JournalError):
                        finish(segment)
                os.close(segment.descriptor)

    def _create(self) -> Segment:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        now = self._clock()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
        path = self.folder / f"{stamp}-{os.getpid()}-{self._token()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, MODE)
        self._names.add(path.name)
        grab(descriptor)  # it is empty, and recovery leaves empty ones alone: nobody else has it
        return Segment(path, descriptor, until=(now // _DAY + 1) * _DAY)

    def _rotate(self) -> None:
        """Go on in a new segment, which starts with the calls that are open.

        So no segment needs another one to be understood, and the old one is done. Where there
        cannot be a new one (descriptors, inodes), the old one goes on beyond its size.
        """
        try:
            fresh = self._create()
        except OSError as error:
            if self._lost:
                raise _journal_error(error, self.folder) from error
            return
        try:
            append(fresh, b"".join(self._open.values()))
        except JournalError:
            fresh.path.unlink()
            os.close(fresh.descriptor)
            raise
        # At once: a sync that saw the new one alone would miss the rows of the old one.
        with self._turn:
            self._retired.append(self._segment)
            self._segment, self._lost = fresh, False

    def _let_go(self, segment: Segment) -> None:
        """Finish, sync and close a segment that another one follows, which is on the disk.

        Not before that, since the other one has its open calls now, and the machine may fail. Never
        closed before its last line is written: calls that began in it may go on in this process,
        and recovery by another one would take them for a dead one's.
        """
        if not segment.finished:
            finish(segment)
        self._sync(segment.descriptor)
        os.close(segment.descriptor)


def write(row: Row) -> bytes:
    """A row as its line. `read` is the other direction."""
    try:
        line = jsonio.dumps(row)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate, a number beyond 64 bits
        line = b""
    if not 0 < len(line) < _LONGEST:
        for longest in (512, 128, 32):
            line = jsonio.dumps(_cut(row, longest))
            if len(line) < _LONGEST:
                break
    return line + b"\n"


def together(rows: Sequence[Row]) -> bytes | None:
    """What `write` makes of rows, all at once; None where one of them is cut there, or fails."""
    try:
        lines = jsonio.lines(rows)
    except Exception:  # noqa: BLE001 - which of them it is, and whether it matters, `write` knows
        return None
    at, end = 0, len(lines)
    while at < end:  # whole lines, as many as one may have bytes
        at = lines.rfind(b"\n", at, at + _LONGEST) + 1
        if not at:
            return None
    return lines


def read(line: bytes) -> Row | None:
    """A line as its row; None where this version does not understand it."""
    try:
        row: Row = _ROW(line)
    except jsonio.JsonError:
        return None
    return row


_ROW = jsonio.reader(IntentRow | AttemptRow | FinalRow | RepriceRow | FeedbackRow)


def rows(path: Path, offset: int = 0) -> Iterator[tuple[Row | None, int]]:
    """The rows of a segment from `offset`, each with the offset of what follows it.

    None stands for a line that is no row: torn and followed by others, or of a kind or form that
    this version does not know. A line that has no end yet is left for later. Bytes.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield read(line), offset


def segments(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first; none where there is no folder."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def finish(segment: Segment) -> None:
    """Write the last line of a segment. Raises JournalError."""
    append(segment, CLOSED)
    segment.finished = True


def append(segment: Segment, data: bytes) -> None:
    """Write whole lines or nothing. Raises JournalError."""
    if segment.torn:
        data = b"\n" + data
    done = 0
    try:
        done = os.write(segment.descriptor, data)
        while done < len(data):  # a disk that fills up takes a part, and says why at the next try
            done += os.write(segment.descriptor, data[done:])
    except OSError as error:
        if done:
            segment.torn = not _take_back(segment.descriptor, done)
        raise _journal_error(error, segment.path) from error
    segment.torn = False
    segment.size += done


def _take_back(descriptor: int, count: int) -> bool:
    try:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - count)
    except OSError:
        return False
    return True


def _cut(row: Row, longest: int) -> Row:
    """A row in which no string is longer than `longest`, no list or map than an eighth of that."""

    def cut(value: object) -> object:
        if isinstance(value, str):
            value = value.encode(errors="replace").decode()
            return value if len(value) <= longest else value[: longest - 1] + "…"
        if isinstance(value, tuple):
            return tuple(cut(item) for item in value[: longest // 8])
        if isinstance(value, dict):
            counts = [(cut(name), cut(count)) for name, count in value.items()]
            return dict([pair for pair in counts if pair[1] is not None][: longest // 8])
        if isinstance(value, int) and value >= 2**63:
            return None  # a token count, and not one that anybody has counted
        return value

    names = [name for name in row.__struct_fields__ if name != "id"]
    return msgspec.structs.replace(row, **{name: cut(getattr(row, name)) for name in names})


def _look_for(segment: Segment) -> None:
    if not os.path.samestat(segment.path.stat(), os.fstat(segment.descriptor)):
        raise FileNotFoundError(errno.ENOENT, "another file has its name")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _journal_error(error: OSError, path: Path) -> JournalError:
    return JournalError(error.errno, error.strerror, str(path))


async def _either(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
