"""Requests that were refused before they were calls: as they leave no row, they are counted."""

import time
from collections import Counter
from collections.abc import Callable

from gateway.core.errors import Kind
from gateway.telemetry.log import Log


class RefusalLog:
    """Counts by kind, and logs what came since the last line: the first at once, then seldom.

    A flood of bad requests makes one line in `every` seconds, not one each.
    """

    def __init__(
        self,
        log: Log,
        count: Callable[[Kind], object] = str,
        *,
        clock: Callable[[], float] = time.monotonic,
        every: float = 10.0,
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._every = every
        self._next = clock()
        self._new: Counter[str] = Counter()

    def note(self, kind: Kind) -> None:
        """Count one."""
        self._new[kind] += 1
        self._count(kind)
        now = self._clock()
        if now >= self._next:
            self._next = now + self._every
            self.tell()

    def tell(self) -> None:
        """Log what has not been told."""
        if self._new:
            self._log("refused", **self._new)
            self._new.clear()
