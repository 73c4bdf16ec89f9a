"""What an answer is written to: few system calls, and an end that its client can read.

Where a stream's client is written to by what does not pass the task that serves it.

It does what uvicorn does of a message with a piece of a body, without the message.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.server.keepalive import Keepalive
from gateway.upstream.write_batch import WriteBatch


class ResponseWriter:
    """The client of one stream, whose head is written and says that it comes in chunks."""

    __slots__ = ("_beat", "_cycle", "_flow", "_time", "_transport")

    def __init__(
        self, cycle: RequestResponseCycle, transport: asyncio.Transport, beat: Keepalive
    ) -> None:
        """`transport` is the client's own, before which nothing waits."""
        self._cycle = cycle
        self._flow = cycle.flow
        self._transport = transport
        self._beat = beat
        self._time = asyncio.get_running_loop().time

    def write(self, data: bytes, chunk: bytes | None) -> bool:
        """Write a piece; False where nothing may be written now.

        `chunk` is the same as a chunk, where it came as one.
        """
        transport = self._transport
        if self._flow.write_paused or self._cycle.disconnected or transport.is_closing():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if chunk is None else chunk)
        self._beat.last = self._time()
        return True


try:
    import fcntl
    import termios
except ImportError:  # Windows
    _OUTSTANDING = None
else:
    _OUTSTANDING = termios.TIOCOUTQ if sys.platform == "linux" else None
_LINGER = 1.0
"""Seconds for a client that was refused to stop sending and to read why."""
_SKIPPED = 262_144
"""Bytes that it may send meanwhile."""


class CorkedTransport:
    """A transport that keeps a response's head until its body comes: one system call for both.

    A response that is whole waits in the outbox, where there is one; nothing passes it there.
    """

    def __init__(
        self,
        inner: asyncio.Transport,
        owes: Callable[[], bool],
        read: float,
        outbox: WriteBatch | None,
    ) -> None:
        """`owes` tells whether the client is still sending; `read` are seconds for what is left."""
        self._inner = inner
        self._owes = owes
        self._read = read
        self._head = b""
        self._whole = b""
        """Waits in the outbox."""
        self._outbox = outbox
        self._skipped = 0
        self.lingers = False
        """The answer is written, and what still comes is not read."""
        self.get_extra_info = inner.get_extra_info

    def write(self, data: bytes) -> None:
        """Send, but for the head of a response that is not interim."""
        if self._whole:
            self._overtaken()
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            return
        if data:
            self._inner.write(data)

    def drop(self) -> None:
        """Close at once, whatever is left."""
        self.flush()
        self._inner.abort()

    def put(self, data: bytes) -> None:
        """Send a whole response."""
        if self._head:
            data, self._head = self._head + data, b""
        if self._outbox is None:
            self._inner.write(data)
        elif self._whole:
            self._whole += data
        else:
            self._whole = data
            self._outbox.answer(self)

    def post(self) -> None:
        """Send what waits in the outbox, unless the client has left since."""
        data, self._whole = self._whole, b""
        if data and not self._inner.is_closing():
            self._inner.write(data)

    def flush(self) -> None:
        """Send what was kept, and what waits."""
        if self._whole:
            self._overtaken()
        self.uncork()

    def uncork(self) -> None:
        """Send a head, which no body follows."""
        if self._head:
            data, self._head = self._head, b""
            self._inner.write(data)

    def below(self) -> asyncio.Transport | None:
        """What is written to in the end; None where something waits here to be sent before."""
        return None if self._head or self._whole else self._inner

    def _overtaken(self) -> None:
        """Something comes behind what waits in the outbox."""
        if self._outbox is not None:
            self._outbox.flush()

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self.lingers or self._inner.is_closing()

    def close(self) -> None:
        """Send what was kept, and close.

        Closed at once, a client that still sends would see a reset and not its answer: it first
        sees the end of it, and has a moment to stop.
        """
        self.flush()
        inner, loop = self._inner, asyncio.get_running_loop()
        if inner.is_closing() or self.lingers:
            return
        if self._owes() and inner.can_write_eof():
            self.lingers = True
            inner.write_eof()
            inner.resume_reading()
            loop.call_later(_LINGER, self._finish)
        else:
            self._finish()

    def over(self) -> None:
        """The connection is lost: nobody owes anything, and who would have is let go of."""
        self._owes = bool

    def left(self) -> int:
        """Bytes that the client has not taken, in the kernel too: there it may be megabytes."""
        left: int = self._inner.get_write_buffer_size() + len(self._whole)
        sock = self._inner.get_extra_info("socket")
        if _OUTSTANDING is not None and sock is not None:
            with contextlib.suppress(OSError):
                told = fcntl.ioctl(sock.fileno(), _OUTSTANDING, b"\0" * 4)
                left += int.from_bytes(told, sys.byteorder)
        return left

    def skip(self, size: int) -> None:
        """So much has come that nobody wants: there is an end to that too."""
        self._skipped += size
        if self._skipped > _SKIPPED:
            self._finish()

    def _finish(self) -> None:
        inner = self._inner
        inner.close()
        if inner.get_write_buffer_size():  # else it stays for as long as nobody reads
            asyncio.get_running_loop().call_later(self._read, inner.abort)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
