"""One connection to one server: it sends commands at once, and answers come back in order.

No call waits for a connection. All commands of one iteration of the event loop are one write.
hiredis packs commands and parses answers; the streams of asyncio and redis-py's connection around
it take another 25 functions for each answer (docs/design/speed.md).
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from hiredis import HiredisError, Reader

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.commands import encode_command
from gateway.state.redis.replies import Answer, RedisError

# The stubs allow only errors that can be raised.
_make_error = cast("Callable[[str], Exception]", RedisError)
_INCOMPLETE = object()
"""The value of the parser until an answer is whole."""
_GRACE_SECONDS = 0.01
"""Seconds that the connection waits for a late answer, which may lie unread in the socket."""


class ServerConnection(asyncio.Protocol):
    """A connection to a server, open until `close`, or until an answer is late.

    `asyncio`'s `create_connection` and its likes open it.
    """

    def __init__(self, deadline: float) -> None:
        """Take the seconds for an answer."""
        self.deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = Reader(replyError=_make_error, notEnoughData=_INCOMPLETE)
        self._unsent: list[bytes] = []
        self._unanswered: deque[tuple[asyncio.Future[Answer], float]] = deque()
        """The answers to come, each with the time until which the server must send it."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = self._loop.create_future()
        self._is_retired = False
        self.is_open = False

    async def log_in(self, username: str, password: str, db: int) -> None:
        """Authenticate if there is a password, and select a database. Raises StoreUnavailable."""
        if password:
            login = (username, password) if username else (password,)
            answer = await self.send(encode_command(b"AUTH", *[word.encode() for word in login]))
            if isinstance(answer, RedisError):
                raise StoreUnavailable(answer.describe_login())
        if db:
            answer = await self.send(encode_command(b"SELECT", b"%d" % db))
            if isinstance(answer, RedisError):
                no_database = f"it has no database {db}"
                raise StoreUnavailable(no_database if answer.code == "ERR" else answer.describe())

    def send(self, command: bytes) -> asyncio.Future[Answer]:
        """Send an encoded command and return a future of its answer, or of StoreUnavailable.

        A caller that stops waiting does not cancel the command.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if not self.is_open:
            answer.set_exception(StoreUnavailable("no connection"))
            return answer
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(command)
        due = self._loop.time() + self.deadline
        self._unanswered.append((answer, due))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._close_if_late)
        return answer

    def retire(self) -> None:
        """Take no more commands; close once the running ones are answered."""
        self.is_open = False
        self._is_retired = True
        if not self._unanswered:
            self.close()

    def close(self, reason: str = "no connection") -> None:
        """Close at once; callers that wait get StoreUnavailable."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._unsent.clear()
        unanswered, self._unanswered = self._unanswered, deque()
        for answer, _ in unanswered:
            if not answer.done():
                answer.set_exception(StoreUnavailable(reason))

    async def wait_closed(self) -> None:
        """Wait until the connection is closed."""
        await asyncio.shield(self._closed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take commands from now on."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Give each whole answer to the command that waits the longest."""
        try:
            self._parser.feed(data)
            while (answer := self._parser.gets()) is not _INCOMPLETE:
                if isinstance(answer, RedisError) and (
                    answer.concerns_connection or not self._unanswered
                ):
                    self.close(answer.describe())
                    return
                future, _ = self._unanswered.popleft()  # raises IndexError if no command waits
                if not future.done():
                    future.set_result(answer)
        except (HiredisError, IndexError, ValueError) as error:
            self.close(describe_error(error))
            return
        if self._is_retired and not self._unanswered:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what waits for an answer."""
        self.close("no connection" if error is None else describe_error(error))
        self._closed.set_result(None)

    def _flush(self) -> None:
        """Send the commands of this iteration of the event loop in one write."""
        if self._transport is not None and self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def _close_if_late(self, suspect: object = None) -> None:
        """Close the connection if the oldest command waits for too long.

        The event loop runs timers before it reads sockets, so a late command is first a suspect.
        """
        self._timer = None
        if not self._unanswered:
            return
        oldest = self._unanswered[0]
        _, due = oldest
        if oldest is suspect:
            self.close("no answer in time")
        elif self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._close_if_late)
        else:
            self._timer = self._loop.call_later(_GRACE_SECONDS, self._close_if_late, oldest)


_ERROR_TEXTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "its name is not known"),
    (ssl.SSLError, "no secure connection"),
    ((HiredisError, LookupError, ValueError), "the server does not speak the Redis protocol"),
)


def describe_error(error: Exception) -> str:
    """Say why a server cannot be asked, without quoting its answers or its URL."""
    if isinstance(error, StoreUnavailable):
        return str(error)
    for kind, text in _ERROR_TEXTS:
        if isinstance(error, kind):
            return text
    return "no connection"
