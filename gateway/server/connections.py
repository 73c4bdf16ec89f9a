"""Connections of clients: how many there may be, and which goes when there are too many."""

from collections.abc import Callable
from typing import Protocol

_RESERVED_FILES = 48
"""Files that the process needs for itself."""
_MAX_CONNECTIONS = 10_000
"""Connections that nobody needs more of, unless told so."""
_MIN_IDLE_SECONDS = 1.0
"""Seconds without a request after which a connection may go for another."""


class LimitedConnection(Protocol):
    """A connection that may be told to go."""

    def drop(self) -> None:
        """Close it: it is not being served."""
        ...


def compute_limit(max_files: int | None) -> int:
    """How many connections go with so many open files: each call may need another upstream."""
    return (
        _MAX_CONNECTIONS
        if max_files is None
        else min(_MAX_CONNECTIONS, max(8, (max_files - _RESERVED_FILES) * 2 // 5))
    )


class ConnectionLimit:
    """Those that are open. `limit` of them are served; a few more are refused in their dialect."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._max_refused = max(4, limit // 2)
        self._clock = clock
        self.served_count = 0
        self._idle_since: dict[LimitedConnection, float] = {}
        """Of those that are served, the ones without a request, and since when; oldest first."""
        self._refused_connections: dict[LimitedConnection, None] = {}
        """Those that are too many; oldest first."""
        self._dropped_connections: set[LimitedConnection] = set()
        """Those that were told to go, until they have gone."""

    def add(self, connection: LimitedConnection) -> bool:
        """One has come: whether it is served.

        Where it is one too many, the one that has been idle longest goes for it.
        """
        now = self._clock()
        if self.served_count < self._limit or self._drop_idle(now):
            self.served_count += 1
            self._idle_since[connection] = now
            return True
        self._refused_connections[connection] = None
        if len(self._refused_connections) > self._max_refused:
            oldest = next(iter(self._refused_connections))
            del self._refused_connections[oldest]
            self._drop(oldest)
        return False

    def mark_busy(self, connection: LimitedConnection) -> None:
        """It has a request."""
        self._idle_since.pop(connection, None)

    def mark_idle(self, connection: LimitedConnection) -> None:
        """It has none any more, and waits for the next."""
        if (
            connection not in self._refused_connections
            and connection not in self._dropped_connections
        ):
            self._idle_since[connection] = self._clock()

    def remove(self, connection: LimitedConnection) -> None:
        """It is closed."""
        if connection in self._dropped_connections:
            self._dropped_connections.discard(connection)
        elif connection in self._refused_connections:
            del self._refused_connections[connection]
        else:
            self._idle_since.pop(connection, None)
            self.served_count -= 1

    def _drop_idle(self, now: float) -> bool:
        oldest = next(iter(self._idle_since), None)
        if oldest is None or now - self._idle_since[oldest] < _MIN_IDLE_SECONDS:
            return False
        del self._idle_since[oldest]
        self.served_count -= 1
        self._drop(oldest)
        return True

    def _drop(self, connection: LimitedConnection) -> None:
        self._dropped_connections.add(connection)
        connection.drop()
