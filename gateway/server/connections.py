"""The limit of client connections, and the choice of the one to close if there are too many."""

from collections.abc import Callable
from typing import Protocol

_RESERVED_FILES = 48
"""The number of files that the process needs for itself."""
_MAX_CONNECTIONS = 10_000
"""The default limit of connections, which is enough for every deployment."""
_MIN_IDLE_SECONDS = 1.0
"""Seconds without a request after which a connection may make room for another."""


class LimitedConnection(Protocol):
    """A connection that the limit may close."""

    def drop(self) -> None:
        """Close the connection: it has no request."""
        ...


def compute_limit(max_files: int | None) -> int:
    """Return the connection limit for a limit of open files. A call may need one upstream, too."""
    return (
        _MAX_CONNECTIONS
        if max_files is None
        else min(_MAX_CONNECTIONS, max(8, (max_files - _RESERVED_FILES) * 2 // 5))
    )


class ConnectionLimit:
    """Open connections: `limit` of them are served, a few more are refused in their dialect."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._max_refused = max(4, limit // 2)
        self._clock = clock
        self.served_count = 0
        self._idle_since: dict[LimitedConnection, float] = {}
        """The served connections without a request, with the time since when; oldest first."""
        self._refused_connections: dict[LimitedConnection, None] = {}
        """The connections above the limit; oldest first."""
        self._dropped_connections: set[LimitedConnection] = set()
        """The connections that were told to close and have not closed yet."""

    def add(self, connection: LimitedConnection) -> bool:
        """Add a new connection. Return True if it is served.

        If it is one too many, it takes the place of the one that has been idle longest.
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
        """Note that a connection has a request."""
        self._idle_since.pop(connection, None)

    def mark_idle(self, connection: LimitedConnection) -> None:
        """Note that a connection has no request any more and waits for the next."""
        if (
            connection not in self._refused_connections
            and connection not in self._dropped_connections
        ):
            self._idle_since[connection] = self._clock()

    def remove(self, connection: LimitedConnection) -> None:
        """Remove a connection that is closed."""
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
