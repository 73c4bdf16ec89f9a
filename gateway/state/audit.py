"""The audit: who changed what through the gateway, in a file that only grows.

`audit.jsonl` in the data folder has one JSON line an act. Each line is on the disk before the next
begins, and nothing ever changes or removes one. All workers of a data folder, and the commands on
it, write to the same file. Changes of keys in a database have their rows there, which `read_audit`
shows among those of the file. A row never has a secret, nor the hash of one.
"""

import fcntl
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from gateway.core import jsonio
from gateway.state.private_file import open_private

FILE_NAME = "audit.jsonl"
_BLOCK_BYTES = 65_536
"""The bytes that a reader takes at a time, from the end of the file."""

type AuditSource = Literal["api", "dashboard", "cli", "serve"]
"""The interface that an act came through."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act."""

    at: float
    """Seconds since the epoch."""
    who: str
    """The name of the admin key, or the user of a command."""
    via: AuditSource
    act: str
    """The act, as `key.rotate`."""
    subject: str | None = None
    """The thing that it changed, as the name of a key."""
    before: Any = None
    after: Any = None
    error: str | None = None
    """Why the act failed after its row was written; None if it did not."""
    host: str = ""
    """The machine."""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that a reader asks for: a row must match each field that is set."""

    since: float = -math.inf
    until: float = math.inf
    """The moment before which the rows are."""
    who: str = ""
    act: str = ""
    """An act, or its kind, as `key` for `key.rotate`."""
    subject: str = ""

    def matches(self, row: AuditRow) -> bool:
        """True if a row is one of these."""
        return (
            self.since <= row.at < self.until
            and self.who in ("", row.who)
            and self.subject in ("", row.subject)
            and (self.act in ("", row.act) or row.act.startswith(f"{self.act}."))
        )


class AuditRows(Protocol):
    """A place that has rows of the audit."""

    def iter_rows(self, query: AuditQuery, limit: int) -> Iterator[AuditRow]:
        """Yield at least `limit` rows, if there are so many; newest first."""
        ...


class AuditPage(NamedTuple):
    """Rows, newest first."""

    rows: list[AuditRow]
    cursor: str | None
    """The start of the next older page; None if there are no more rows."""


_CURSOR_PATTERN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,20})?)(?:-([0-9]{1,6}))?")
"""The time of a page's first row, and how many rows of that time earlier pages have had."""


def is_cursor(text: str) -> bool:
    """True if a text has the form of a page's cursor."""
    return _CURSOR_PATTERN.fullmatch(text) is not None


def read_audit(
    places: Iterable[AuditRows], query: AuditQuery, limit: int, cursor: str = ""
) -> AuditPage:
    """Return the newest rows of all places; `cursor` is that of the page before.

    Raises what the places raise.
    """
    known_count, start = 0, math.inf
    if match := _CURSOR_PATTERN.fullmatch(cursor):
        start, known_count = float(match[1]), int(match[2] or 0)
        until = min(query.until, math.nextafter(start, math.inf))
        query = msgspec.structs.replace(query, until=until)
    count = known_count + limit + 1
    newest = chain.from_iterable(islice(place.iter_rows(query, count), count) for place in places)
    rows = sorted(newest, key=lambda row: row.at, reverse=True)[known_count:count]
    if len(rows) <= limit:
        return AuditPage(rows, None)
    next_start = rows.pop().at
    known_count = sum(row.at == next_start for row in rows) + known_count * (next_start == start)
    return AuditPage(rows, f"{next_start!r}-{known_count}" if known_count else repr(next_start))


_decode_row = jsonio.make_reader(AuditRow)


class AuditLog:
    """The audit of a data folder; any thread may use it. `clock` returns seconds since the epoch.

    `note` gets each row that was written, for the log.
    """

    def __init__(
        self,
        data: Path,
        *,
        clock: Callable[[], float] = time.time,
        note: Callable[[AuditRow], object] | None = None,
    ) -> None:
        self.file = data / FILE_NAME
        self._clock = clock
        self._note = note
        self._host = socket.gethostname()

    def check(self) -> None:
        """Check that a row can be written, before an act. Raises OSError."""
        os.close(self._open())

    def append(
        self,
        act: str,
        *,
        who: str,
        via: AuditSource,
        subject: str | None = None,
        before: Any = None,
        after: Any = None,
        error: str | None = None,
    ) -> None:
        """Write a row; return once it is on the disk. Raises OSError."""
        self.write(
            AuditRow(
                at=self._clock(),
                who=who,
                via=via,
                act=act,
                subject=subject,
                before=before,
                after=after,
                error=error,
                host=self._host,
            )
        )

    def write(self, row: AuditRow) -> None:
        """Write a row; return once it is on the disk. Raises OSError."""
        line = jsonio.dumps(row) + b"\n"
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            # A crash or a full disk may have torn the last line.
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            written = os.write(descriptor, line)
            if written < len(line):
                raise OSError(28, "No space left on device", str(self.file))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if self._note is not None:
            self._note(row)

    def iter_rows(self, query: AuditQuery, limit: int) -> Iterator[AuditRow]:  # noqa: ARG002 - it reads as far as its caller asks
        """Yield rows, newest first. Raises OSError."""
        for line in self._iter_lines_backwards():
            row = parse_row(line)
            if row is not None and row.at < query.since:
                break
            if row is not None and query.matches(row):
                yield row

    def _open(self) -> int:
        return open_private(self.file, os.O_RDWR | os.O_APPEND)

    def _iter_lines_backwards(self) -> Iterator[bytes]:
        """Yield the lines, the last one first."""
        try:
            file = self.file.open("rb")
        except FileNotFoundError:
            return
        with file:
            position = file.seek(0, os.SEEK_END)
            tail = b""  # the end of a line that begins in an earlier block
            while position:
                start = max(0, position - _BLOCK_BYTES)
                file.seek(start)
                tail, *lines = (file.read(position - start) + tail).split(b"\n")
                yield from filter(None, reversed(lines))
                position = start
            if tail:
                yield tail


def parse_row(line: bytes) -> AuditRow | None:
    """Return a row; None for what is no row, as a torn line."""
    try:
        row: AuditRow = _decode_row(line)
    except jsonio.JsonError:
        return None
    return row
