"""Connections of clients: how many there may be, and which goes when there are too many."""

from collections.abc import Callable
from typing import Protocol

_KEPT = 48
"""Files that the process needs for itself."""
_MOST = 10_000
"""Connections that nobody needs more of, unless told so."""
_IDLE = 1.0
"""Seconds without a request after which a connection may go for another."""


class LimitedConnection(Protocol):
    """A connection that may be told to go."""

    def drop(self) -> None:
        """Close it: it is not being served."""
        ...


def most(files: int | None) -> int:
    """How many connections go with so many open files: each call may need another upstream."""
    return _MOST if files is None else min(_MOST, max(8, (files - _KEPT) * 2 // 5))


class ConnectionLimit:
    """Those that are open. `most` of them are served; a few more are refused in their dialect."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._spare = max(4, most // 2)
        self._clock = clock
        self.served = 0
        self._idle: dict[LimitedConnection, float] = {}
        """Of those that are served, the ones without a request, and since when; oldest first."""
        self._shed: dict[LimitedConnection, None] = {}
        """Those that are too many; oldest first."""
        self._dropped: set[LimitedConnection] = set()
        """Those that were told to go, until they have gone."""

    def come(self, line: LimitedConnection) -> bool:
        """One has come: whether it is served.

        Where it is one too many, the one that has been idle longest goes for it.
        """
        now = self._clock()
        if self.served < self._most or self._reap(now):
            self.served += 1
            self._idle[line] = now
            return True
        self._shed[line] = None
        if len(self._shed) > self._spare:
            first = next(iter(self._shed))
            del self._shed[first]
            self._drop(first)
        return False

    def busy(self, line: LimitedConnection) -> None:
        """It has a request."""
        self._idle.pop(line, None)

    def rest(self, line: LimitedConnection) -> None:
        """It has none any more, and waits for the next."""
        if line not in self._shed and line not in self._dropped:
            self._idle[line] = self._clock()

    def go(self, line: LimitedConnection) -> None:
        """It is closed."""
        if line in self._dropped:
            self._dropped.discard(line)
        elif line in self._shed:
            del self._shed[line]
        else:
            self._idle.pop(line, None)
            self.served -= 1

    def _reap(self, now: float) -> bool:
        first = next(iter(self._idle), None)
        if first is None or now - self._idle[first] < _IDLE:
            return False
        del self._idle[first]
        self.served -= 1
        self._drop(first)
        return True

    def _drop(self, line: LimitedConnection) -> None:
        self._dropped.add(line)
        line.drop()
