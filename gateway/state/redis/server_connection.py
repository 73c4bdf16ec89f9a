"""One connection to one server: it sends commands at once, and answers come back in order.

No call waits for a connection. All commands of one iteration of the event loop are one write. The
library redis-py connects, logs in, packs and parses. This module does not use its pipelines, which
take a connection from a pool and give it back: 70 us, where this takes 25 us. A pipeline that waits
for an answer also delays all later commands.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from hiredis import pack_command
from redis import exceptions

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import Answer, RedisError

type Words = tuple[bytes, ...]

_pack = cast("Callable[[Words], bytes]", pack_command)  # its stub allows only tuples of one item
_UNAUTHENTICATED = "Protocol error: unauthenticated"
"""The error with which Redis refuses over ten words before a login; it then closes."""
_STALL_SECONDS = 0.02
"""The delay of a timer, in seconds, from which this process was busy, not the server."""
_GRACE_SECONDS = 0.01
"""Seconds that the connection then waits for answers, which may be unread."""


class _SentCommand(NamedTuple):
    words: Words
    answer: asyncio.Future[Answer]
    due: float
    """The time until which the server must answer, on the loop's clock."""


class ServerConnection:
    """A connection of redis-py, open until `close`, or until an answer is late."""

    def __init__(self, connection: Any, deadline: float) -> None:
        """Wrap a connection that is not open yet; `deadline` is the seconds for an answer."""
        self._connection = connection
        self._deadline = deadline
        self._unsent: list[_SentCommand] = []
        self._unanswered: deque[_SentCommand] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.is_open = False
        self._is_retired = False

    async def open(self) -> None:
        """Connect and log in. Raises OSError and errors of the library."""
        await self._connection.connect()
        self.is_open = True
        # Eager: a task cancelled before its first step would leave the connection open.
        self._reader = asyncio.Task(self._read(), loop=self._loop, eager_start=True)

    def send(self, *words: bytes) -> asyncio.Future[Answer]:
        """Send a command and return a future of its answer, or of StoreUnavailable.

        A caller that stops waiting does not cancel the command.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if not self.is_open:
            answer.set_exception(StoreUnavailable("no connection"))
            return answer
        self._unsent.append(_SentCommand(words, answer, self._loop.time() + self._deadline))
        if self._sender is None:
            self._sender = self._loop.create_task(self._send())
        if self._watcher is None:
            self._watcher = self._loop.create_task(self._watch())
        return answer

    def retire(self) -> None:
        """Take no more commands; close once the running ones are answered."""
        self.is_open = False
        self._is_retired = True
        if not (self._unsent or self._unanswered):
            self.close()

    def close(self, reason: str = "no connection") -> None:
        """Close at once; callers that wait get StoreUnavailable."""
        self.is_open = False
        for task in (self._reader, self._sender, self._watcher):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        failed = [*self._unanswered, *self._unsent]
        self._unanswered.clear()
        self._unsent.clear()
        for command in failed:
            if not command.answer.done():
                command.answer.set_exception(StoreUnavailable(reason))

    async def wait_closed(self) -> None:
        """Wait until the connection is closed."""
        if self._reader is not None:
            await asyncio.wait({self._reader})

    async def _send(self) -> None:
        try:
            while self._unsent:
                unsent, self._unsent = self._unsent, []
                self._unanswered.extend(unsent)
                await self._connection.send_packed_command(
                    [_pack(command.words) for command in unsent]
                )
        except Exception as error:  # noqa: BLE001 - a socket raises nearly anything
            self.close(describe_error(error))
        finally:
            self._sender = None

    async def _read(self) -> None:
        try:
            while True:
                answer = await self._read_answer()
                command = self._unanswered.popleft()  # raises IndexError if no command waits
                if not command.answer.done():
                    command.answer.set_result(answer)
                if self._is_retired and not (self._unsent or self._unanswered):
                    break
        except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
            self.close(describe_error(error))
        finally:
            self.close()
            await self._connection.disconnect(nowait=True)

    async def _read_answer(self) -> Answer:
        try:
            answer: Answer = await self._connection.read_response()
        except exceptions.ResponseError as error:  # redis-py removes a first word that it knows
            if _UNAUTHENTICATED in str(error):
                raise exceptions.AuthenticationError from None
            return RedisError(f"{error.status_code} {error}" if error.status_code else str(error))
        return answer

    async def _watch(self) -> None:
        """Close the connection if the oldest command waits for too long."""
        while self._unsent or self._unanswered:
            oldest = self._unanswered[0] if self._unanswered else self._unsent[0]
            await asyncio.sleep(oldest.due - self._loop.time())
            if self._loop.time() - oldest.due > _STALL_SECONDS:
                await asyncio.sleep(_GRACE_SECONDS)
            if self._unanswered and self._unanswered[0] is oldest:
                self.close("no answer in time")
        self._watcher = None


_MAX_CLIENTS_ERROR = "max number of clients"
_ERROR_TEXTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((exceptions.TimeoutError, TimeoutError), "no answer in time"),
    (
        (exceptions.AuthenticationError, exceptions.NoPermissionError),
        "it does not accept the credentials",
    ),
    (socket.gaierror, "its name is not known"),
    (ssl.SSLError, "no secure connection"),
    (
        (exceptions.InvalidResponse, LookupError, ValueError),
        "the server does not speak the Redis protocol",
    ),
    (exceptions.BusyLoadingError, "it is still loading its data"),
)


def describe_error(error: Exception) -> str:
    """Say why a server cannot be asked, without quoting its answers or its URL."""
    if isinstance(error, StoreUnavailable):
        return str(error)
    if _MAX_CLIENTS_ERROR in str(error):
        return "no connection is left"
    causes = (error, error.__cause__ or error.__context__)
    for kind, text in _ERROR_TEXTS:
        if any(isinstance(cause, kind) for cause in causes):
            return text
    return "no connection"
