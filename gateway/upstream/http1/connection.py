"""One connection to a provider: one exchange at a time, bounded in memory and in time.

    idle --send--> waiting --head--> reading --end--> idle
                      |                 |
                      +---- failed -----+   (closed, never used again)

Reading stops while more than HIGH bytes wait for whoever reads the answer: a slow reader costs no
memory. One timer watches over all waits of a connection: a wait only moves its deadline, and the
timer looks at it when it fires.
"""

import asyncio
import select
import socket
from collections.abc import Callable

import httpx

from gateway.upstream.http1.reading import Reading

HIGH = 262_144
"""Bytes of an answer that may wait to be read."""

type Loop = asyncio.AbstractEventLoop


class StaleConnection(httpx.RemoteProtocolError):
    """A kept connection was closed before a byte of the answer: it was probably not read."""


class Connection(asyncio.Protocol):
    """A connection and the exchange on it."""

    __slots__ = (
        "_alarm", "_bodies", "_deadline", "_drained", "_fd_poll", "_head", "_loop", "_more",
        "_paused", "_quiet", "_silence", "_transport", "_writable", "error", "reading", "reused",
        "since",
    )  # fmt: skip

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._fd_poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._head: asyncio.Future[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._silence = 0.0
        self._quiet = ""
        self._writable = True
        self._paused = False
        self.reading: Reading | None = None
        self.error: Exception | None = None
        self.reused = False
        self.since = 0.0
        """When it became idle, on the loop's clock."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there; called again when it has been encrypted."""
        # uvloop's transports are no subclasses of asyncio's, but do the same.
        self._transport = transport  # type: ignore[assignment]
        found = transport.get_extra_info("socket")
        if found is not None and hasattr(select, "poll"):
            poll = select.poll()
            poll.register(found.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
            self._fd_poll = poll.poll

    def data_received(self, data: bytes) -> None:
        """Bytes from the provider."""
        reading = self.reading
        if reading is None or reading.complete:
            # Nobody asked: what an idle connection says must never answer the next request.
            self.abort()
            return
        try:
            reading.feed(data)
        except httpx.RemoteProtocolError as error:
            self.fail(error)
            return
        if self._silence:
            self._deadline = self._loop.time() + self._silence
        if reading.head_complete and self._head is not None and not self._head.done():
            self._head.set_result(None)
        if reading.chunks or reading.complete:
            _wake(self._more)
        if reading.buffered > HIGH and not self._paused and not reading.complete:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The provider will send no more: the connection is closed."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        reading = self.reading
        if reading is None or reading.complete:
            return
        if exc is None and self.error is None and reading.end():
            _wake(self._more)
            return
        if self.error is None:
            if self.reused and not reading.head_complete and not reading.headers:
                self.error = StaleConnection("a kept connection was closed before it answered")
            elif exc is not None:
                self.error = httpx.ReadError(type(exc).__name__)
            else:
                self.error = httpx.RemoteProtocolError("the answer was cut short")
        self.fail(self.error)

    def pause_writing(self) -> None:
        """The provider does not read what is sent."""
        self._writable = False

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable = True
        _wake(self._drained)

    # the exchange

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: nothing has come, and it has not been closed."""
        transport = self._transport
        if transport is None or transport.is_closing() or self.error is not None:
            return False
        # What the loop has not read yet, a close above all, shows in the socket itself.
        return self._fd_poll is None or not self._fd_poll(0)

    def begin(self, data: bytes, *, bodiless: bool, silence: float) -> None:
        """Send the first bytes of a request; the provider may be quiet for `silence` seconds."""
        self.reading = Reading(bodiless=bodiless)
        self._silence = silence
        self._head = self._loop.create_future()
        if self._transport is None:
            self.fail(StaleConnection("a kept connection was closed before it was used"))
            return
        self._transport.write(data)

    def write(self, data: bytes) -> None:
        """Send more of a request."""
        if self._transport is not None:
            self._transport.write(data)

    async def drained(self, seconds: float) -> None:
        """Wait until the provider has read most of what was sent. Raises httpx.WriteTimeout."""
        if self._writable or self.error is not None or self._answered():
            return
        self._drained = self._loop.create_future()
        try:
            async with asyncio.timeout(seconds or None):
                await self._drained
        except TimeoutError:
            self.fail(httpx.WriteTimeout(f"nothing could be sent for {seconds:g} s"))
            raise self._error() from None
        finally:
            self._drained = None

    async def head(self) -> Reading:
        """Wait for the head of the answer. Raises httpx errors."""
        future = self._head
        if future is None or self.reading is None:
            raise httpx.LocalProtocolError("nothing was asked")
        if not future.done():
            self._watch("it did not answer")
            await future
        if self.error is not None and not self.reading.head_complete:
            raise self._error()
        return self.reading

    async def more(self) -> bytes:
        """The next bytes of the answer; empty at its end. Raises httpx errors."""
        reading = self.reading
        if reading is None:
            return b""
        while True:
            if reading.chunks:
                data = reading.take()
                if self._paused:
                    self._paused = False
                    if self._transport is not None:
                        self._transport.resume_reading()
                return data
            if reading.complete:
                return b""
            if self.error is not None:
                raise self._error()
            self._more = self._loop.create_future()
            self._watch("it stopped sending")
            try:
                await self._more
            finally:
                self._more = None

    def rest(self) -> bool:
        """End an exchange; tells whether the connection may be kept for another."""
        reading, self.reading, self._head = self.reading, None, None
        self._quiet = ""
        kept = (
            reading is not None
            and reading.complete
            and reading.keep
            and not reading.chunks
            and self.error is None
            and self._transport is not None
            and not self._transport.is_closing()
        )
        if kept:
            self.since = self._loop.time()
            if self._paused and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()
        else:
            self.abort()
        return kept

    def fail(self, error: Exception) -> None:
        """End the exchange with an error and close the connection."""
        if self.error is None:
            self.error = error
        _wake(self._head)
        _wake(self._more)
        _wake(self._drained)
        self.abort()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection politely."""
        if self._transport is not None:
            self._transport.close()

    def _answered(self) -> bool:
        return self.reading is not None and self.reading.head_complete

    def _error(self) -> Exception:
        return self.error if self.error is not None else httpx.ReadError("closed")

    # time

    def _watch(self, quiet: str) -> None:
        """From now on the provider may be silent for as long as was said."""
        if not self._silence:
            return
        self._quiet = quiet
        self._deadline = self._loop.time() + self._silence
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        waiting = self._more is not None or (self._head is not None and not self._head.done())
        if not waiting or self.error is not None:
            return
        if self._loop.time() < self._deadline - 0.0005:
            self._alarm = self._loop.call_at(self._deadline, self._ring)
            return
        self.fail(httpx.ReadTimeout(f"{self._quiet} for {self._silence:g} s"))


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel notice a peer that has vanished: a probe each minute, as the SDKs do."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
