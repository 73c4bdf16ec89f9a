"""Waits until a gateway has counted a call, so that the next call finds everything the last one left.

A client has its whole answer a moment before the gateway writes the final row and settles the
reservations in Redis. A next call in that moment would sometimes meet them and sometimes not.
"""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import redis

_FINAL_ROW = re.compile(rb'"kind":"final","v":\d+,"id":"([^"]+)"')
_TIMEOUT, _ERROR_TIMEOUT, _INTERVAL = 5.0, 0.5, 0.002
"""Seconds to wait for a good answer's row, for that of an error, which may have none, and between two looks."""
_MOST_MISSING = 20
"""Calls in a row without a final row after which the wait stops: a tree may write rows otherwise."""
_HOLDS = tuple(f"tiergate:{{{owner}}}:1:holds" for owner in ("*", "acme", "globex"))
"""Hashes with the reservations of calls, by the ids of these: of all tenants, and of each one."""


class SettledCalls:
    """The calls of one gateway that have a final row and no reservation."""

    def __init__(self, journal: Path, redis_url: str | None) -> None:
        self._journal = journal
        self._redis: Any = redis.Redis.from_url(redis_url) if redis_url else None
        self._read: dict[Path, int] = {}
        """Bytes of each segment that were read."""
        self._ended: set[str] = set()
        self._missing = 0

    async def wait(self, call: str, *, failed: bool) -> None:
        """Wait until a call is settled."""
        timeout = _ERROR_TIMEOUT if failed else _TIMEOUT
        deadline = time.monotonic() + (timeout if self._missing < _MOST_MISSING else 0)
        settled = False
        while not settled and time.monotonic() < deadline:
            await asyncio.sleep(_INTERVAL)
            self._read_journal()
            settled = call in self._ended and not self._is_reserved(call)
        self._missing = 0 if call in self._ended else self._missing + 1

    def close(self) -> None:
        """Close the connection to Redis."""
        if self._redis is not None:
            self._redis.close()

    def _is_reserved(self, call: str) -> bool:
        return self._redis is not None and any(self._redis.hexists(key, call) for key in _HOLDS)

    def _read_journal(self) -> None:
        for path in self._journal.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            lines = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(lines)
            self._ended.update(row[1].decode() for row in _FINAL_ROW.finditer(lines))
