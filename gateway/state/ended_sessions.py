"""Sessions of browsers that were ended before their time.

    in the data folder   an empty file each: for all workers of a machine, also after a restart
    in Redis             a value each: for all machines that share it, where there is one

A file or value goes once its session would have ended by itself. Where Redis does not answer, or
has lost a value, other machines take a session that was ended here until its time is over.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.state.base import StateStore

LASTS = 12 * 3_600
"""Seconds of a session."""
_ALL = "all"
"""Names the moment before which every session has ended."""
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_MOST = 10_000
"""Sessions that are kept one by one; where there are more, all are ended."""


class EndedSessions:
    """Keeps ended sessions. `shared` is a Redis of several machines; `clock` tells the epoch."""

    def __init__(self, folder: Path, shared: StateStore | None, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._shared = shared
        self._clock = clock

    async def has(self, name: str, begun: float) -> bool:
        """True if a session was ended that began at a moment."""
        if _ID.fullmatch(name) is None or (self._folder / name).exists():
            return True
        if begun <= self._moment(self._folder / _ALL):
            return True
        if self._shared is None:
            return False
        if await self._shared.get(_key(name)) is not None:
            return True
        return begun <= _read(await self._shared.get(_key(_ALL)))

    async def end(self, name: str) -> None:
        """End one session."""
        kept = self._tidy()
        if kept >= _MOST:
            await self.end_all()
            return
        self._note(name, self._clock())
        if self._shared is not None:
            await self._shared.put(_key(name), b"1", LASTS)

    async def end_all(self) -> bool:
        """End all sessions that there are; False where other machines may not know of it."""
        now = self._clock()
        self._note(_ALL, now)
        self._tidy(everything=True)
        if self._shared is None:
            return True
        value = repr(now).encode()
        await self._shared.put(_key(_ALL), value, LASTS)
        return await self._shared.get(_key(_ALL)) == value

    def _note(self, name: str, at: float) -> None:
        """Make a file, whose time is the moment of the end."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / name
        file.touch(mode=0o600)
        os.utime(file, (at, at))

    def _tidy(self, *, everything: bool = False) -> int:
        """Remove files of sessions that are over, or of all; return how many are left."""
        left, since = 0, self._clock() - LASTS
        if not self._folder.exists():
            return left
        for file in self._folder.iterdir():
            if file.name != _ALL and (everything or self._moment(file) < since):
                file.unlink(missing_ok=True)
            else:
                left += 1
        return left

    def _moment(self, file: Path) -> float:
        with suppress(FileNotFoundError):
            return file.stat().st_mtime
        return 0.0


def _key(name: str) -> str:
    return f"session:{name}"


def _read(value: bytes | None) -> float:
    """Read a moment; what the gateway did not write is none."""
    with suppress(ValueError):
        return float(value or b"")
    return 0.0
