"""A client's transport: when answers leave, which clients are too slow, how a connection ends."""

import asyncio
import contextlib
import sys

from gateway.upstream.write_batch import WriteBatch

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _UNSENT_IOCTL = None
else:
    _UNSENT_IOCTL = termios.TIOCOUTQ if sys.platform == "linux" else None
_MIN_PROGRESS_BYTES = 16_384
"""The number of bytes that a client must read within the read timeout, if that many wait for it."""
_LINGER_SECONDS = 1.0
"""Seconds in which a refused client can stop sending and read the refusal."""
_MAX_DISCARDED_BYTES = 262_144
"""The maximum number of bytes that a refused client may send meanwhile."""


class ClientTransport:
    """The transport of one client, with rules for clients that do not read or do not stop sending.

    Whole answers wait in the write batch for the end of the iteration. Nothing overtakes them.
    """

    __slots__ = (
        "_discarded_bytes",
        "_is_reading_paused",
        "_pending_answer",
        "_progress_timer",
        "_read_timeout",
        "_transport",
        "_unsent_bytes",
        "_writable",
        "_write_batch",
        "is_lingering",
        "is_slow",
    )

    def __init__(
        self, transport: asyncio.Transport, write_batch: WriteBatch, read_timeout: float
    ) -> None:
        """Wrap a transport. A client must read something within `read_timeout` seconds."""
        self._transport = transport
        self._write_batch = write_batch
        self._read_timeout = read_timeout
        self._pending_answer = b""
        """The answers that wait in the write batch."""
        self._is_reading_paused = False
        self._writable: asyncio.Event | None = None
        """Wakes writers when the client reads again; None while nobody needs to wait."""
        self._progress_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._discarded_bytes = 0
        self.is_slow = False
        """True if the gateway dropped the client because it did not read its answer."""
        self.is_lingering = False
        """True after the answer, while the gateway discards what the client still sends."""

    # writing

    def write(self, data: bytes) -> None:
        """Send bytes after everything that was written before."""
        if self._pending_answer:
            self._write_batch.flush()
        if data:
            self._transport.write(data)

    def write_in_batch(self, data: bytes) -> None:
        """Send a whole answer at the end of this iteration of the event loop."""
        if self._pending_answer:
            self._pending_answer += data
        else:
            self._pending_answer = data
            self._write_batch.add_answer(self)

    def post(self) -> None:
        """Send the answers that wait in the write batch, unless the client has left."""
        data, self._pending_answer = self._pending_answer, b""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    # flow control

    @property
    def is_write_paused(self) -> bool:
        """True while the client does not read what is written."""
        return self._writable is not None

    async def drain(self) -> None:
        """Wait until the client reads again or has left."""
        if self._writable is not None:
            await self._writable.wait()

    def pause_writing(self) -> None:
        """Let writers wait, and drop the client if it reads too little."""
        if self._writable is None:
            self._writable = asyncio.Event()
        if self._progress_timer is None:
            self._unsent_bytes = self.count_unsent()
            self._start_progress_timer()

    def resume_writing(self) -> None:
        """Let writers continue."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._progress_timer is not None:
            self._progress_timer.cancel()
            self._progress_timer = None

    def _start_progress_timer(self) -> None:
        self._progress_timer = asyncio.get_running_loop().call_later(
            self._read_timeout, self._check_write_progress
        )

    def _check_write_progress(self) -> None:
        unsent_before, self._unsent_bytes = self._unsent_bytes, self.count_unsent()
        if unsent_before - self._unsent_bytes >= _MIN_PROGRESS_BYTES:
            self._start_progress_timer()
            return
        self._progress_timer = None
        self.is_slow = True
        self.abort()

    def count_unsent(self) -> int:
        """Count the bytes that the client has not read; the kernel may hold megabytes of them."""
        unsent = self._transport.get_write_buffer_size() + len(self._pending_answer)
        sock = self._transport.get_extra_info("socket")
        if _UNSENT_IOCTL is not None and sock is not None:
            with contextlib.suppress(OSError):
                outstanding = fcntl.ioctl(sock.fileno(), _UNSENT_IOCTL, b"\0" * 4)
                unsent += int.from_bytes(outstanding, sys.byteorder)
        return unsent

    def pause_reading(self) -> None:
        """Stop reading for now."""
        if not self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = False
            self._transport.resume_reading()

    # the end

    def is_closing(self) -> bool:
        """True if nothing more can be written."""
        return self.is_lingering or self._transport.is_closing()

    def close(self, *, lingers: bool) -> None:
        """Send what waits, then close. With `lingers` the client may still be sending.

        If the gateway closed at once, a client that still sends would see a reset instead of its
        answer. So the gateway first ends the answer, and gives the client a moment to stop.
        """
        if self._pending_answer:
            self._write_batch.flush()
        transport = self._transport
        if transport.is_closing() or self.is_lingering:
            return
        if lingers and transport.can_write_eof():
            self.is_lingering = True
            transport.write_eof()
            transport.resume_reading()
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._finish)
        else:
            self._finish()

    def abort(self) -> None:
        """Close at once. Unsent bytes are lost."""
        if self._pending_answer:
            self._write_batch.flush()
        self._transport.abort()

    def discard(self, size: int) -> None:
        """Count discarded bytes, and close when there are too many."""
        self._discarded_bytes += size
        if self._discarded_bytes > _MAX_DISCARDED_BYTES:
            self._finish()

    def _finish(self) -> None:
        transport = self._transport
        transport.close()
        if transport.get_write_buffer_size():  # else it stays until the client reads
            asyncio.get_running_loop().call_later(self._read_timeout, transport.abort)
