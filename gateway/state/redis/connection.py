"""One connection to a server of the Redis protocol: answers come in the order of the requests.

No call waits for a connection, and what is asked in one turn of the loop shares one write and one
read. A client library takes a connection of its own for each call and costs five times as much;
whether a call may pass is asked for every call that there is.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol, cast

from gateway.state.errors import BrokenConnection

type Reply = int | bytes | list[Reply] | RedisError | None

_MOST = 64 * 1024 * 1024
"""Bytes of an answer that nothing of ours has."""
_STALL = 0.02
"""Seconds that a timer may be late until it is this process that was busy, not the server."""
_DEEP = 8


class RedisError:
    """An answer that is an error."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def word(self) -> str:
        """What it begins with: MOVED, READONLY."""
        return self.text.partition(" ")[0]


class ReplyWaiter(Protocol):
    """Who is told an answer: a future, or who does not wait for it."""

    def done(self) -> bool:
        """Whether it is not to be told any more."""
        ...

    def set_result(self, result: Reply, /) -> None:
        """The answer."""
        ...

    def set_exception(self, exception: BrokenConnection, /) -> None:
        """There is none."""
        ...


class RedisConnection(asyncio.Protocol):
    """One connection, open until it is closed or `deadline` seconds pass without an answer."""

    def __init__(self, deadline: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadline = deadline
        """Seconds; it may be changed while nobody waits."""
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[ReplyWaiter, float]] = deque()
        self._parts: list[bytes] = []
        """Of an answer that is not whole yet."""
        self._have = self._want = 0
        """Bytes of it that have come, and that it has at least."""
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.open = self._retired = False
        self.batches = 0
        """Writes so far: what is asked in one turn of the loop goes out as one."""

    def ask(self, data: bytes) -> asyncio.Future[Reply]:
        """Send one request; the future is its answer, or BrokenConnection."""
        answer: asyncio.Future[Reply] = self.loop.create_future()
        if not self.tell(data, answer):
            answer.set_exception(BrokenConnection("no connection"))
        return answer

    def tell(self, data: bytes, answer: ReplyWaiter) -> bool:
        """Send one request, of which `answer` is told; False where that cannot be."""
        transport = self._transport
        if transport is None or not self.open or transport.is_closing():
            return False
        now = self.loop.time()
        self._waiting.append((answer, now))
        if self._timer is None:
            self._arm(now + self.deadline)
        if not self._unsent:
            self.loop.call_soon(self._send)
        self._unsent.append(data)
        return True

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None and not self._transport.is_closing():
            self.batches += 1
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def retire(self) -> None:
        """Take no more requests; close it once those that wait are answered."""
        self.open = False
        self._retired = True
        if not self._waiting:
            self.close()

    def close(self, why: str = "no connection") -> None:
        """Close it at once; whoever waits is told that it is broken."""
        self.open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._unsent.clear()
        waiting, self._waiting = self._waiting, deque()  # who is told may close it, too
        for answer, _ in waiting:
            if not answer.done():
                answer.set_exception(BrokenConnection(why))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take requests from now on."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's
        """The server, or this end, has closed it."""
        self.close()

    def data_received(self, data: bytes) -> None:
        """Give answers to those who wait for them."""
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._want:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at, end, want = 0, len(data), 0
        try:
            if data.endswith(b"\r\n") and b"$" not in data and b"*" not in data:
                at = end
                self._lines(data)
            while at < end:
                reply, at = _read(data, at, 0)
                answer, _ = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(reply)
        except _Short as short:
            want = short.end - at
        except (ValueError, IndexError, RecursionError):
            self.close("what answers does not speak its protocol")
            return
        if at < end:
            self._parts.append(data[at:])
            self._have, self._want = end - at, want
        if at < end and end - at > _MOST:
            self.close("what answers does not speak its protocol")
        elif self._retired and not self._waiting:
            self.close()

    def _lines(self, data: bytes) -> None:
        """Give answers of one line each, as most are. Raises as `_read`."""
        lines = data.split(b"\r\n")
        lines.pop()
        for line in lines:
            reply = 0 if line == b":0" else b"OK" if line == b"+OK" else _line(line)
            answer, _ = self._waiting.popleft()  # of now: who is told may close it
            if not answer.done():
                answer.set_result(reply)

    def _arm(self, due: float) -> None:
        self._timer = self.loop.call_at(due, self._check, due)

    def _check(self, due: float) -> None:
        """Close it where the oldest request has waited for too long.

        After a stall of this process answers may lie unread: they get a moment.
        """
        self._timer = None
        if not self._waiting:
            return
        oldest, now = self._waiting[0][1], self.loop.time()
        if now < oldest + self.deadline:
            self._arm(oldest + self.deadline)
        elif now - due > _STALL:
            self._arm(now + 0.01)
        else:
            self.close("no answer in time")


class _Short(Exception):
    """More bytes are to come; at least up to `end`, where that is known."""

    def __init__(self, end: int = 0) -> None:
        super().__init__()
        self.end = end


def _read(data: bytes, at: int, depth: int) -> tuple[Reply, int]:
    """One answer, and where the next begins. Raises _Short, and ValueError where it is none."""
    end = data.find(b"\r\n", at)
    if end < 0:
        if data[at] not in b":$*+-" or len(data) - at > _MOST:
            raise ValueError
        raise _Short
    kind, next_at = data[at], end + 2
    if kind == 36:  # $
        size = int(data[at + 1 : end])
        if size < 0:
            return None, next_at
        if size > _MOST:
            raise ValueError
        if len(data) < next_at + size + 2:
            raise _Short(next_at + size + 2)
        return data[next_at : next_at + size], next_at + size + 2
    if kind == 42 and depth < _DEEP:  # *
        items: list[Reply] = []
        for _ in range(int(data[at + 1 : end])):
            item, next_at = _read(data, next_at, depth + 1) if next_at < len(data) else _short()
            items.append(item)
        return items, next_at
    return _line(data[at:end]), next_at


def _line(line: bytes) -> Reply:
    """An answer of one line. Raises ValueError and IndexError where it is none."""
    kind = line[0]
    if kind == 58:  # :
        return int(line[1:])
    if kind == 43:  # +
        return line[1:]
    if kind == 45:  # -
        return RedisError(line[1:].decode("utf-8", "replace"))
    raise ValueError


def _short() -> tuple[Reply, int]:
    raise _Short


def request(*words: bytes) -> bytes:
    """A request as it is written."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def texts(reply: Reply) -> Sequence[Reply]:
    """The items of an answer. Raises BrokenConnection where it has none."""
    if not isinstance(reply, list):
        raise BrokenConnection("what answers does not speak its protocol")
    return reply
