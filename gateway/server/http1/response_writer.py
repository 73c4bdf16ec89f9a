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

    __slots__ = ("_clock", "_cycle", "_flow", "_keepalive", "_transport")

    def __init__(
        self, cycle: RequestResponseCycle, transport: asyncio.Transport, keepalive: Keepalive
    ) -> None:
        """`transport` is the client's own, before which nothing waits."""
        self._cycle = cycle
        self._flow = cycle.flow
        self._transport = transport
        self._keepalive = keepalive
        self._clock = asyncio.get_running_loop().time

    def write(self, data: bytes, chunk: bytes | None) -> bool:
        """Write a piece; False where nothing may be written now.

        `chunk` is the same as a chunk, where it came as one.
        """
        transport = self._transport
        if self._flow.write_paused or self._cycle.disconnected or transport.is_closing():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if chunk is None else chunk)
        self._keepalive.last_write_at = self._clock()
        return True


try:
    import fcntl
    import termios
except ImportError:  # Windows
    _UNSENT_IOCTL = None
else:
    _UNSENT_IOCTL = termios.TIOCOUTQ if sys.platform == "linux" else None
_LINGER_SECONDS = 1.0
"""Seconds for a client that was refused to stop sending and to read why."""
_MAX_DISCARDED_BYTES = 262_144
"""Bytes that it may send meanwhile."""


class CorkedTransport:
    """A transport that keeps a response's head until its body comes: one system call for both.

    A response that is whole waits in the outbox, where there is one; nothing passes it there.
    """

    def __init__(
        self,
        inner: asyncio.Transport,
        is_client_sending: Callable[[], bool],
        read_timeout: float,
        write_batch: WriteBatch | None,
    ) -> None:
        """`is_client_sending` tells whether the client is still sending.

        `read_timeout` is how many seconds what is left of that may take.
        """
        self._inner = inner
        self._is_client_sending = is_client_sending
        self._read_timeout = read_timeout
        self._head = b""
        self._pending_response = b""
        """Waits in the outbox."""
        self._write_batch = write_batch
        self._discarded_bytes = 0
        self.is_lingering = False
        """The answer is written, and what still comes is not read."""
        self.get_extra_info = inner.get_extra_info

    def write(self, data: bytes) -> None:
        """Send, but for the head of a response that is not interim."""
        if self._pending_response:
            self._flush_write_batch()
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

    def write_response(self, data: bytes) -> None:
        """Send a whole response."""
        if self._head:
            data, self._head = self._head + data, b""
        if self._write_batch is None:
            self._inner.write(data)
        elif self._pending_response:
            self._pending_response += data
        else:
            self._pending_response = data
            self._write_batch.add_answer(self)

    def post(self) -> None:
        """Send what waits in the outbox, unless the client has left since."""
        data, self._pending_response = self._pending_response, b""
        if data and not self._inner.is_closing():
            self._inner.write(data)

    def flush(self) -> None:
        """Send what was kept, and what waits."""
        if self._pending_response:
            self._flush_write_batch()
        self.uncork()

    def uncork(self) -> None:
        """Send a head, which no body follows."""
        if self._head:
            data, self._head = self._head, b""
            self._inner.write(data)

    def find_direct_transport(self) -> asyncio.Transport | None:
        """What is written to in the end; None where something waits here to be sent before."""
        return None if self._head or self._pending_response else self._inner

    def _flush_write_batch(self) -> None:
        """Something comes behind what waits in the outbox."""
        if self._write_batch is not None:
            self._write_batch.flush()

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self.is_lingering or self._inner.is_closing()

    def close(self) -> None:
        """Send what was kept, and close.

        Closed at once, a client that still sends would see a reset and not its answer: it first
        sees the end of it, and has a moment to stop.
        """
        self.flush()
        inner, loop = self._inner, asyncio.get_running_loop()
        if inner.is_closing() or self.is_lingering:
            return
        if self._is_client_sending() and inner.can_write_eof():
            self.is_lingering = True
            inner.write_eof()
            inner.resume_reading()
            loop.call_later(_LINGER_SECONDS, self._finish)
        else:
            self._finish()

    def detach(self) -> None:
        """The connection is lost: nobody owes anything, and who would have is let go of."""
        self._is_client_sending = bool

    def count_unsent(self) -> int:
        """Bytes that the client has not taken, in the kernel too: there it may be megabytes."""
        unsent: int = self._inner.get_write_buffer_size() + len(self._pending_response)
        sock = self._inner.get_extra_info("socket")
        if _UNSENT_IOCTL is not None and sock is not None:
            with contextlib.suppress(OSError):
                outstanding = fcntl.ioctl(sock.fileno(), _UNSENT_IOCTL, b"\0" * 4)
                unsent += int.from_bytes(outstanding, sys.byteorder)
        return unsent

    def discard(self, size: int) -> None:
        """So much has come that nobody wants: there is an end to that too."""
        self._discarded_bytes += size
        if self._discarded_bytes > _MAX_DISCARDED_BYTES:
            self._finish()

    def _finish(self) -> None:
        inner = self._inner
        inner.close()
        if inner.get_write_buffer_size():  # else it stays for as long as nobody reads
            asyncio.get_running_loop().call_later(self._read_timeout, inner.abort)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
