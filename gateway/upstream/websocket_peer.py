"""One side of a WebSocket session: frames in and out, within bounds of memory.

`websockets` parses and writes frames (its Sans-I/O layer). Bytes that arrive wait unparsed, and the
side reads no more while enough of them wait. A reader parses them in small slices, so a flood of
tiny frames leaves time for other calls. A writer waits until the other end reads.

Extensions are never negotiated: a compressed message could grow a thousandfold in memory.
"""

import asyncio
import logging
from collections import deque
from typing import Protocol

from websockets import protocol as websockets_protocol
from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import BytesLike

MAX_UNPARSED_BYTES = 65_536
"""Bytes that wait unparsed before the side stops reading; one read may come on top."""
_SLICE_BYTES = 16_384
"""Bytes that are parsed before others get their turn."""
_SMALL_MESSAGE_BYTES = 65_536
"""Bytes up to which a message that is arriving reserves no memory."""
_MAX_REASON_BYTES = 123
"""The most bytes of a close reason (RFC 6455 5.5)."""
_DATA_OPCODES = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_PING_DATA = b"tiergate"

QUIET_LOGGER = logging.getLogger("tiergate.websocket")
"""The logger for `websockets`, which would log whole frames: it logs nothing."""
QUIET_LOGGER.setLevel(logging.CRITICAL + 1)
QUIET_LOGGER.propagate = False


class PeerTransport(Protocol):
    """The transport of one side."""

    @property
    def is_write_paused(self) -> bool:
        """True while the other end does not read what is written."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    async def drain(self) -> None:
        """Wait until the other end reads again or has left."""
        ...

    def pause_reading(self) -> None:
        """Stop reading for now."""
        ...

    def resume_reading(self) -> None:
        """Read again."""
        ...


class MessageMemory(Protocol):
    """A reservation of memory for a message that is arriving."""

    def reserve_body(self, size: int) -> None:
        """Reserve for so many bytes in all. Raises ProblemError if they do not fit."""
        ...

    def release(self) -> None:
        """Release all that was reserved."""
        ...


class PeerClosedError(Exception):
    """The side takes no more messages: it has closed, or broken the protocol."""


class WebSocketPeer:
    """One side of a session, after its handshake."""

    def __init__(
        self, protocol: websockets_protocol.Protocol, transport: PeerTransport, now: float
    ) -> None:
        """Take a protocol in the state OPEN; `now` is on the loop's clock."""
        self._protocol = protocol
        self._transport = transport
        self._chunks: deque[bytes] = deque()
        self._unparsed_bytes = 0
        self._frames: deque[Frame] = deque()
        self._is_ended = False
        self._arrival = asyncio.Event()
        self.last_heard_at = now
        """The time of the last byte that arrived, on the loop's clock."""
        self.memory: MessageMemory | None = None
        """The memory for a message that is arriving; None counts none."""
        self._message_bytes = 0
        """Bytes that arrived since the last whole message."""
        self.is_waiting = False
        """True while a reader waits for more bytes: a silent side then has nothing to say."""

    # what the transport calls

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived, and stop reading if many wait."""
        self.last_heard_at = asyncio.get_running_loop().time()
        self._chunks.append(data)
        self._unparsed_bytes += len(data)
        if self._unparsed_bytes > MAX_UNPARSED_BYTES:
            self._transport.pause_reading()
        self._arrival.set()

    def feed_end(self) -> None:
        """Note that the side is gone: nothing more arrives."""
        self._is_ended = True
        self._arrival.set()

    # reading

    async def read(self) -> list[Frame]:
        """Return the next frames with data, in order; none once the side has closed or is gone.

        Raises ProblemError if there is no memory for the message that is arriving.
        """
        await self._fill()
        frames = [*self._frames]
        self._frames.clear()
        return frames

    async def read_one(self) -> Frame | None:
        """Return the next frame with data; None once the side has closed or is gone."""
        await self._fill()
        return self._frames.popleft() if self._frames else None

    async def _fill(self) -> None:
        """Parse bytes until there is a frame with data, or until there can be none."""
        is_first = True
        while True:
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode in _DATA_OPCODES:
                    self._frames.append(event)
                    if event.fin:
                        self._count_message()
            if self._frames or self._protocol.state is not State.OPEN:
                return
            if not self._chunks:
                if self._is_ended:
                    return
                await self._wait()
            elif not is_first:
                await asyncio.sleep(0)  # others get their turn
            is_first = False
            if self._chunks:
                self._parse_slice()
                if self._transport.is_write_paused:  # pongs, or the echo of a close
                    await self._transport.drain()

    async def _wait(self) -> None:
        self._arrival.clear()
        self._transport.resume_reading()
        self.is_waiting = True
        try:
            await self._arrival.wait()
        finally:
            self.is_waiting = False

    def _parse_slice(self) -> None:
        data = self._chunks.popleft()
        if len(data) > _SLICE_BYTES:
            self._chunks.appendleft(data[_SLICE_BYTES:])
            data = data[:_SLICE_BYTES]
        self._unparsed_bytes -= len(data)
        self._message_bytes += len(data)
        if self.memory is not None and self._message_bytes > _SMALL_MESSAGE_BYTES:
            self.memory.reserve_body(self._message_bytes)
        self._protocol.receive_data(data)
        self._flush()

    def _count_message(self) -> None:
        """Begin to count the bytes of the next message."""
        if self.memory is not None and self._message_bytes > _SMALL_MESSAGE_BYTES:
            self.memory.release()
        self._message_bytes = 0

    # writing

    @property
    def is_open(self) -> bool:
        """True if messages may still be sent."""
        return self._protocol.state is State.OPEN and not self._is_ended

    @property
    def is_mid_message(self) -> bool:
        """True if a message is being sent in frames: only the next of them may follow."""
        return self._protocol.expect_continuation_frame

    async def send(self, opcode: Opcode, data: BytesLike, *, is_last: bool = True) -> None:
        """Send a frame, and wait until the other end reads. Raises PeerClosedError."""
        if self._is_ended:
            raise PeerClosedError
        try:
            if opcode is Opcode.TEXT:
                self._protocol.send_text(data, is_last)
            elif opcode is Opcode.BINARY:
                self._protocol.send_binary(data, is_last)
            else:
                self._protocol.send_continuation(data, is_last)
        except (InvalidState, ProtocolError):
            raise PeerClosedError from None
        self._flush()
        if self._transport.is_write_paused:
            await self._transport.drain()

    def ping(self) -> None:
        """Ask the other end for a sign of life; any byte counts as one."""
        if self.is_open:
            self._protocol.send_ping(_PING_DATA)
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless one was sent."""
        if self.is_open:
            text = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
            self._protocol.send_close(code, text)
            self._flush()

    @property
    def close_received(self) -> tuple[int, str] | None:
        """The code and reason of the other end's close frame; None without one."""
        close = self._protocol.close_rcvd
        return None if close is None else (close.code, close.reason)

    @property
    def close_sent(self) -> tuple[int, str] | None:
        """The code and reason of the close frame that was sent; None without one."""
        close = self._protocol.close_sent
        return None if close is None else (close.code, close.reason)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:  # the empty one asks to close the connection: its owner does that
                self._transport.write(data)
