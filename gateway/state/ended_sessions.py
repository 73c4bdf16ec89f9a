"""Browser sessions that were ended before their time.

    in the data folder   one empty file each: for all workers of a machine, even after a restart
    in Redis             one value each: for all machines that share a Redis, if there is one

A file or value goes once its session would have ended by itself. If Redis does not answer, or has
lost a value, other machines accept a session that was ended here until its time is over.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.state.base import StateStore

SESSION_SECONDS = 12 * 3_600
"""The length of a session in seconds."""
_ALL_SESSIONS = "all"
"""The name of the marker for all sessions: its time ends every session that began before."""
_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{8,64}")
_MAX_SESSIONS = 10_000
"""The most markers of single sessions; at that number the gateway ends all sessions."""


class EndedSessions:
    """Remembers ended sessions.

    `shared_store` is a Redis that several machines share. `clock` returns seconds since the epoch.
    """

    def __init__(
        self, folder: Path, shared_store: StateStore | None, clock: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._shared_store = shared_store
        self._clock = clock

    async def is_ended(self, session_id: str, started_at: float) -> bool:
        """Return True if a session that began at `started_at` was ended, or its id is invalid."""
        if _ID_PATTERN.fullmatch(session_id) is None or (self._folder / session_id).exists():
            return True
        if started_at <= self._read_ended_at(self._folder / _ALL_SESSIONS):
            return True
        if self._shared_store is None:
            return False
        if await self._shared_store.get(_make_key(session_id)) is not None:
            return True
        return started_at <= _parse_time(await self._shared_store.get(_make_key(_ALL_SESSIONS)))

    async def end(self, session_id: str) -> None:
        """End one session."""
        marker_count = self._remove_markers()
        if marker_count >= _MAX_SESSIONS:
            await self.end_all()
            return
        self._write_marker(session_id, self._clock())
        if self._shared_store is not None:
            await self._shared_store.put(_make_key(session_id), b"1", SESSION_SECONDS)

    async def end_all(self) -> bool:
        """End all sessions; return False if other machines may not know of it."""
        now = self._clock()
        self._write_marker(_ALL_SESSIONS, now)
        self._remove_markers(remove_all=True)
        if self._shared_store is None:
            return True
        value = repr(now).encode()
        await self._shared_store.put(_make_key(_ALL_SESSIONS), value, SESSION_SECONDS)
        return await self._shared_store.get(_make_key(_ALL_SESSIONS)) == value

    def _write_marker(self, session_id: str, timestamp: float) -> None:
        """Make a file whose modification time is the time of the end."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / session_id
        file.touch(mode=0o600)
        os.utime(file, (timestamp, timestamp))

    def _remove_markers(self, *, remove_all: bool = False) -> int:
        """Remove the files of sessions that are over, or all; return the number that are left."""
        marker_count, cutoff = 0, self._clock() - SESSION_SECONDS
        if not self._folder.exists():
            return marker_count
        for file in self._folder.iterdir():
            if file.name != _ALL_SESSIONS and (remove_all or self._read_ended_at(file) < cutoff):
                file.unlink(missing_ok=True)
            else:
                marker_count += 1
        return marker_count

    def _read_ended_at(self, file: Path) -> float:
        with suppress(FileNotFoundError):
            return file.stat().st_mtime
        return 0.0


def _make_key(session_id: str) -> str:
    return f"session:{session_id}"


def _parse_time(value: bytes | None) -> float:
    """Read a time; return 0.0 for bytes that the gateway did not write."""
    with suppress(ValueError):
        return float(value or b"")
    return 0.0
