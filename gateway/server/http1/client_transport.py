"""A client's transport: when answers leave, who reads too slowly, and how a connection ends."""

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
"""Bytes that a client must take in its time, where more is written for it."""
_LINGER_SECONDS = 1.0
"""Seconds for a client that was refused to stop sending and to read why."""
_MAX_DISCARDED_BYTES = 262_144
"""Bytes that a refused client may send meanwhile."""


class ClientTransport:
    """The transport of one client, with rules for clients that do not read or do not stop sending.

    Whole answers wait in the write batch for the end of the iteration; nothing passes them.
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
        """`read_timeout` is how many seconds a client has to take some of what is written."""
        self._transport = transport
        self._write_batch = write_batch
        self._read_timeout = read_timeout
        self._pending_answer = b""
        """Waits in the write batch."""
        self._is_reading_paused = False
        self._writable: asyncio.Event | None = None
        """Tells writers that the client reads again; None while nobody need wait."""
        self._progress_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._discarded_bytes = 0
        self.is_slow = False
        """True if the gateway dropped the client because it did not read its answer."""
        self.is_lingering = False
        """True once the answer is written, while what the client still sends is not read."""

    # writing

    def write(self, data: bytes) -> None:
        """Send bytes behind all that was written before."""
        if self._pending_answer:
            self._write_batch.flush()
        if data:
            self._transport.write(data)

    def write_in_batch(self, data: bytes) -> None:
        """Send a whole answer at the end of this iteration of the loop."""
        if self._pending_answer:
            self._pending_answer += data
        else:
            self._pending_answer = data
            self._write_batch.add_answer(self)

    def post(self) -> None:
        """Send what waits in the write batch, unless the client has left since."""
        data, self._pending_answer = self._pending_answer, b""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    # flow control

    @property
    def is_write_paused(self) -> bool:
        """True while the client does not take what is written."""
        return self._writable is not None

    async def drain(self) -> None:
        """Wait until the client reads again, or has left."""
        if self._writable is not None:
            await self._writable.wait()

    def pause_writing(self) -> None:
        """Have writers wait, and drop the client if it takes too little."""
        if self._writable is None:
            self._writable = asyncio.Event()
        if self._progress_timer is None:
            self._unsent_bytes = self.count_unsent()
            self._start_progress_timer()

    def resume_writing(self) -> None:
        """Have writers go on."""
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
        """Count the bytes that the client has not taken; the kernel may hold megabytes of them."""
        unsent = self._transport.get_write_buffer_size() + len(self._pending_answer)
        sock = self._transport.get_extra_info("socket")
        if _UNSENT_IOCTL is not None and sock is not None:
            with contextlib.suppress(OSError):
                outstanding = fcntl.ioctl(sock.fileno(), _UNSENT_IOCTL, b"\0" * 4)
                unsent += int.from_bytes(outstanding, sys.byteorder)
        return unsent

    def pause_reading(self) -> None:
        """Read nothing for now."""
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
        """True if nothing more is to be written."""
        return self.is_lingering or self._transport.is_closing()

    def close(self, *, lingers: bool) -> None:
        """Send what waits, and close; `lingers`: the client may still be sending.

        If the gateway closed at once, a client that still sends would see a reset and not its
        answer. It first sees the end of the answer, and has a moment to stop.
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
        """Close at once, whatever is left."""
        if self._pending_answer:
            self._write_batch.flush()
        self._transport.abort()

    def discard(self, size: int) -> None:
        """Count bytes that nobody reads, and close when they become too many."""
        self._discarded_bytes += size
        if self._discarded_bytes > _MAX_DISCARDED_BYTES:
            self._finish()

    def _finish(self) -> None:
        transport = self._transport
        transport.close()
        if transport.get_write_buffer_size():  # else it stays for as long as nobody reads
            asyncio.get_running_loop().call_later(self._read_timeout, transport.abort)
