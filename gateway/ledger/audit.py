"""The audit: who changed what through the gateway, in a file that only grows.

`audit.jsonl` in the data folder has one JSON line an act. Each line is on the disk before the next
begins, and nothing ever changes or removes one. All workers of a data folder, and the commands on
it, write to the same file. A row never has a secret, nor the hash of one.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

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


class AuditPage(NamedTuple):
    """Rows, newest first."""

    rows: list[AuditRow]
    cursor: int | None
    """The end of the next older page; None if there are no more rows."""


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
        row = AuditRow(
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

    def read(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        who: str = "",
        act: str = "",
        subject: str = "",
        limit: int = 100,
        before: int | None = None,
    ) -> AuditPage:
        """Return the newest rows; `before` is the cursor of the page before.

        `act` may be the beginning of an act, as `key`. Raises OSError.
        """
        rows: list[AuditRow] = []
        for position, line in self._iter_lines_backwards(before):
            row = _parse_row(line)
            if row is None or (until is not None and row.at >= until):
                continue
            if since is not None and row.at < since:
                break
            if (
                (who and row.who != who)
                or (subject and row.subject != subject)
                or (act and row.act != act and not row.act.startswith(f"{act}."))
            ):
                continue
            if len(rows) == limit:
                return AuditPage(rows, position + len(line) + 1)
            rows.append(row)
        return AuditPage(rows, None)

    def _open(self) -> int:
        return open_private(self.file, os.O_RDWR | os.O_APPEND)

    def _iter_lines_backwards(self, end: int | None) -> Iterator[tuple[int, bytes]]:
        """Yield the position and the text of each whole line before `end`, the last one first."""
        try:
            file = self.file.open("rb")
        except FileNotFoundError:
            return
        with file:
            size = file.seek(0, os.SEEK_END)
            position = size if end is None else min(max(end, 0), size)
            tail = b""  # the end of a line that begins in an earlier block
            while position:
                start = max(0, position - _BLOCK_BYTES)
                file.seek(start)
                data = file.read(position - start) + tail
                tail, *lines = data.split(b"\n")
                line_end = start + len(data)
                for line in reversed(lines):
                    line_start = line_end - len(line)
                    if line:
                        yield line_start, line
                    line_end = line_start - 1
                position = start
            if tail:
                yield 0, tail


def _parse_row(line: bytes) -> AuditRow | None:
    """Return a row; None for a torn line."""
    try:
        row: AuditRow = _decode_row(line)
    except jsonio.JsonError:
        return None
    return row
