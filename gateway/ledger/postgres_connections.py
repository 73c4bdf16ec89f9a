"""Connections to a PostgreSQL store: a few, kept between uses for a while."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from gateway.ledger.errors import StoreError

_IDLE_SECONDS = 60.0
"""Seconds after which an unused connection is closed."""
_WAIT_SECONDS = 10.0
"""The maximum number of seconds that a thread waits for a connection in use."""

type Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresConnections:
    """At most `size` connections in use, for any thread.

    Before `keep` each connection ends with its use. Afterwards it stays open for the next one, for
    a minute at most. psycopg's own pool has threads that connect, and reports only that it took too
    long: it hides why the server cannot be reached.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        size: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait_seconds: float = _WAIT_SECONDS,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._connect = connect
        self._size = size
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._idle_seconds = idle_seconds
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._keeps_connections = False
        self._idle: list[tuple[Connection, float]] = []
        """Unused connections, each with the time of its last use; the last one used is last."""
        self._timer: threading.Timer | None = None
        """Closes idle connections; None while there are none."""

    def keep(self) -> None:
        """Keep connections from now on, in a process that does not fork afterwards."""
        with self._lock:
            self._keeps_connections = True

    def close(self) -> None:
        """Close idle connections, and each one in use at its end."""
        with self._lock:
            self._keeps_connections = False
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for connection, _ in idle:
            connection.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Take a connection for a block. An error within the block closes it.

        Raises psycopg.Error, and StoreError if all connections stay in use.
        """
        if not self._slots.acquire(timeout=self._wait_seconds):
            message = (
                f"the ledger's PostgreSQL store: all {self._size} connections of this process are"
                " in use: ask again later, or for a shorter time"
            )
            raise StoreError(message)
        try:
            connection = self._take_idle() or self._connect()
            try:
                yield connection
            except BaseException:  # the server may be gone, or a transaction open
                connection.close()
                raise
            self._put_back(connection)
        finally:
            self._slots.release()

    def _take_idle(self) -> Connection | None:
        """Return the idle connection last used, if the server still has it."""
        with self._lock:
            connection = self._idle.pop()[0] if self._idle else None
        if connection is None:
            return None
        try:
            connection.execute("")
        except psycopg.Error:  # the server restarted or is gone, for the older ones too
            connection.close()
            self._close_unused_since(self._clock())
            return None
        return connection

    def _put_back(self, connection: Connection) -> None:
        with self._lock:
            if self._keeps_connections:
                self._idle.append((connection, self._clock()))
                self._start_timer()
                return
        connection.close()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._idle_seconds, self._close_expired)
            self._timer.daemon = True
            self._timer.start()

    def _close_expired(self) -> None:
        self._close_unused_since(self._clock() - self._idle_seconds)
        with self._lock:
            self._timer = None
            if self._idle:
                self._start_timer()

    def _close_unused_since(self, moment: float) -> None:
        with self._lock:
            expired = [connection for connection, used_at in self._idle if used_at <= moment]
            self._idle = [item for item in self._idle if item[1] > moment]
        for connection in expired:
            connection.close()
