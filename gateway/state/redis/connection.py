"""One connection to a server of the Redis protocol: answers come in the order of the requests.

No call waits for a connection, and what is asked in one turn of the loop shares one write and one
read. A client library takes a connection of its own for each call and costs five times as much;
whether a call may pass is asked for every call that there is.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol, cast

from gateway.state.errors import StoreUnavailable

type Reply = int | bytes | list[Reply] | RedisError | None

_MAX_REPLY_BYTES = 64 * 1024 * 1024
"""Bytes of an answer that nothing of ours has."""
_STALL_SECONDS = 0.02
"""Seconds that a timer may be late until it is this process that was busy, not the server."""
_MAX_DEPTH = 8


class RedisError:
    """An answer that is an error."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def code(self) -> str:
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

    def set_exception(self, exception: StoreUnavailable, /) -> None:
        """There is none."""
        ...


class RedisConnection(asyncio.Protocol):
    """One connection, open until it is closed or `deadline` seconds pass without an answer."""

    def __init__(self, deadline: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadline = deadline
        """Seconds; it may be changed while nobody waits."""
        self._transport: asyncio.Transport | None = None
        self._waiters: deque[tuple[ReplyWaiter, float]] = deque()
        self._parts: list[bytes] = []
        """Of an answer that is not whole yet."""
        self._received_bytes = self._expected_bytes = 0
        """Bytes of it that have come, and that it has at least."""
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.is_open = self._is_retired = False
        self.write_count = 0
        """Writes so far: what is asked in one turn of the loop goes out as one."""

    def send(self, data: bytes) -> asyncio.Future[Reply]:
        """Send one request; the future is its answer, or StoreUnavailable."""
        answer: asyncio.Future[Reply] = self.loop.create_future()
        if not self.enqueue(data, answer):
            answer.set_exception(StoreUnavailable("no connection"))
        return answer

    def enqueue(self, data: bytes, waiter: ReplyWaiter) -> bool:
        """Send one request, of which `waiter` is told; False where that cannot be."""
        transport = self._transport
        if transport is None or not self.is_open or transport.is_closing():
            return False
        now = self.loop.time()
        self._waiters.append((waiter, now))
        if self._timer is None:
            self._start_timer(now + self.deadline)
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent.append(data)
        return True

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None and not self._transport.is_closing():
            self.write_count += 1
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def retire(self) -> None:
        """Take no more requests; close it once those that wait are answered."""
        self.is_open = False
        self._is_retired = True
        if not self._waiters:
            self.close()

    def close(self, reason: str = "no connection") -> None:
        """Close it at once; whoever waits is told that it is broken."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._unsent.clear()
        waiters, self._waiters = self._waiters, deque()  # who is told may close it, too
        for waiter, _ in waiters:
            if not waiter.done():
                waiter.set_exception(StoreUnavailable(reason))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take requests from now on."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's
        """The server, or this end, has closed it."""
        self.close()

    def data_received(self, data: bytes) -> None:
        """Give answers to those who wait for them."""
        if self._parts:
            self._parts.append(data)
            self._received_bytes += len(data)
            if self._received_bytes < self._expected_bytes:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        offset, end, expected_bytes = 0, len(data), 0
        try:
            if data.endswith(b"\r\n") and b"$" not in data and b"*" not in data:
                offset = end
                self._deliver_lines(data)
            while offset < end:
                reply, offset = _parse_reply(data, offset, 0)
                waiter, _ = self._waiters.popleft()
                if not waiter.done():
                    waiter.set_result(reply)
        except _IncompleteReply as short:
            expected_bytes = short.end - offset
        except (ValueError, IndexError, RecursionError):
            self.close("what answers does not speak its protocol")
            return
        if offset < end:
            self._parts.append(data[offset:])
            self._received_bytes, self._expected_bytes = end - offset, expected_bytes
        if offset < end and end - offset > _MAX_REPLY_BYTES:
            self.close("what answers does not speak its protocol")
        elif self._is_retired and not self._waiters:
            self.close()

    def _deliver_lines(self, data: bytes) -> None:
        """Give answers of one line each, as most are. Raises as `_parse_reply`."""
        lines = data.split(b"\r\n")
        lines.pop()
        for line in lines:
            reply = 0 if line == b":0" else b"OK" if line == b"+OK" else _parse_line(line)
            waiter, _ = self._waiters.popleft()  # of now: who is told may close it
            if not waiter.done():
                waiter.set_result(reply)

    def _start_timer(self, due: float) -> None:
        self._timer = self.loop.call_at(due, self._check_timeout, due)

    def _check_timeout(self, due: float) -> None:
        """Close it where the oldest request has waited for too long.

        After a stall of this process answers may lie unread: they get a moment.
        """
        self._timer = None
        if not self._waiters:
            return
        oldest, now = self._waiters[0][1], self.loop.time()
        if now < oldest + self.deadline:
            self._start_timer(oldest + self.deadline)
        elif now - due > _STALL_SECONDS:
            self._start_timer(now + 0.01)
        else:
            self.close("no answer in time")


class _IncompleteReply(Exception):
    """More bytes are to come; at least up to `end`, where that is known."""

    def __init__(self, end: int = 0) -> None:
        super().__init__()
        self.end = end


def _parse_reply(data: bytes, offset: int, depth: int) -> tuple[Reply, int]:
    """One answer, and where the next begins. Raises _Short, and ValueError where it is none."""
    end = data.find(b"\r\n", offset)
    if end < 0:
        if data[offset] not in b":$*+-" or len(data) - offset > _MAX_REPLY_BYTES:
            raise ValueError
        raise _IncompleteReply
    kind, next_offset = data[offset], end + 2
    if kind == 36:  # $
        size = int(data[offset + 1 : end])
        if size < 0:
            return None, next_offset
        if size > _MAX_REPLY_BYTES:
            raise ValueError
        if len(data) < next_offset + size + 2:
            raise _IncompleteReply(next_offset + size + 2)
        return data[next_offset : next_offset + size], next_offset + size + 2
    if kind == 42 and depth < _MAX_DEPTH:  # *
        items: list[Reply] = []
        for _ in range(int(data[offset + 1 : end])):
            item, next_offset = (
                _parse_reply(data, next_offset, depth + 1)
                if next_offset < len(data)
                else _raise_incomplete()
            )
            items.append(item)
        return items, next_offset
    return _parse_line(data[offset:end]), next_offset


def _parse_line(line: bytes) -> Reply:
    """An answer of one line. Raises ValueError and IndexError where it is none."""
    kind = line[0]
    if kind == 58:  # :
        return int(line[1:])
    if kind == 43:  # +
        return line[1:]
    if kind == 45:  # -
        return RedisError(line[1:].decode("utf-8", "replace"))
    raise ValueError


def _raise_incomplete() -> tuple[Reply, int]:
    raise _IncompleteReply


def encode_command(*words: bytes) -> bytes:
    """A request as it is written."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def expect_list(reply: Reply) -> Sequence[Reply]:
    """The items of an answer. Raises StoreUnavailable where it has none."""
    if not isinstance(reply, list):
        raise StoreUnavailable("what answers does not speak its protocol")
    return reply
