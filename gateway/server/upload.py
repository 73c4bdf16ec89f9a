"""Read a request body that is too large to keep: in pieces, as the consumer takes them.

The gateway reads from the client only while somebody asks for the next piece. So a slow provider
slows its client down, and an upload of any size needs the memory of a few pieces.
"""

import asyncio
from collections import deque
from functools import partial
from typing import Literal, Protocol, Self

from gateway.core.errors import ClientGone, Problem, ProblemError
from gateway.limits.load_shedding import MemoryReservation
from gateway.server.body import make_timeout_error
from gateway.server.request_headers import Receive
from gateway.settings.schema.server import ServerPart
from gateway.upstream.large_work import LargeWork

_BUFFER_BYTES = 200_000
"""Bytes whose reservation covers the pieces of an upload that wait on both of its sides."""
_INSPECTED_BYTES = 65_536
"""Bytes that an inspector reads before other calls have their turn."""


class UploadInspector(Protocol):
    """A reader of an upload's bytes, which sees each piece before the consumer does."""

    @property
    def is_slow(self) -> bool:
        """True if the next piece may end a part that takes long to read."""
        ...

    def feed(self, data: bytes) -> None:
        """Take a piece. Raises ProblemError if the upload must end."""
        ...

    def finish(self) -> object:
        """Take the end. Raises ProblemError if the body is not valid."""
        ...


class UploadReader:
    """The body of one request as an iterator of pieces. Only one consumer may iterate.

    A client must send `body_rate` bytes for each second that the gateway waits for it, beyond the
    first `body` seconds (`server.timeouts`). Time in which the consumer is busy does not count.
    """

    def __init__(
        self,
        receive: Receive,
        length: int | None,
        server: ServerPart,
        memory: MemoryReservation,
        inspector: UploadInspector | None = None,
        setting: Literal["max_upload", "max_body"] = "max_upload",
    ) -> None:
        """Take a request that announces `length` bytes, or None if it announces no number.

        `setting` is that of `server` which bounds the body. Raises ProblemError: request_too_large,
        overloaded.
        """
        self._receive = receive
        self._setting = setting
        self._max_bytes: int = getattr(server, setting)
        self._timeouts = server.timeouts
        self._memory = memory
        self._inspector = inspector
        self._large_work = LargeWork()
        self._waited_seconds = 0.0
        self._piece = b""
        """The piece that has arrived and is being inspected."""
        self._inspected_bytes = 0
        """The bytes of it that the inspector has read."""
        self._is_last = False
        self._pieces_ahead: deque[bytes] = deque()
        """Pieces that were read ahead of the consumer."""
        self.length = length
        self.received_bytes = 0
        self.is_complete = False
        """True if the whole body has arrived."""
        if length is not None and length > self._max_bytes:
            raise self._make_too_large_error()
        memory.reserve_body(_BUFFER_BYTES)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises ProblemError: request_too_large, request_timeout, and what the inspector raises;
        ClientGone if the client has left.
        """
        if self._pieces_ahead:
            return self._pieces_ahead.popleft()
        while not self.is_complete:
            if data := await self._read_piece():
                return data
        raise StopAsyncIteration

    async def read_ahead(self, max_bytes: int) -> None:
        """Read until the end of the body or `max_bytes`; the consumer gets all later.

        Raises ProblemError as iteration does, and if there is no memory for that many bytes.
        """
        while not self.is_complete and self.received_bytes < max_bytes:
            if data := await self._read_piece():
                self._pieces_ahead.append(data)
                self._memory.reserve_body(self.received_bytes)

    def replace_ahead(self, start: int, size: int, value: bytes) -> None:
        """Put a value in place of bytes that were read ahead and that nobody has taken yet."""
        data = b"".join(self._pieces_ahead)
        self._pieces_ahead = deque([b"%b%b%b" % (data[:start], value, data[start + size :])])
        if self.length is not None:
            self.length += len(value) - size

    def take_whole(self) -> bytes | None:
        """Return the whole body if it was read ahead; otherwise None, and nothing is taken."""
        if not self.is_complete or sum(map(len, self._pieces_ahead)) < self.received_bytes:
            return None
        data = b"".join(self._pieces_ahead)
        self._pieces_ahead.clear()
        return data

    async def _read_piece(self) -> bytes:
        """Return the next piece, which may be empty; a call that is cancelled loses none."""
        if not self._piece and not self._is_last:
            await self._receive_piece()
        if self._inspector is not None:
            await self._inspect_piece(self._inspector)
        piece, self._piece = self._piece, b""
        self.is_complete = self._is_last
        return piece

    async def _receive_piece(self) -> None:
        loop = asyncio.get_running_loop()
        timeouts, started_at = self._timeouts, loop.time()
        allowed_seconds = timeouts.body + self.received_bytes / timeouts.body_rate
        try:
            async with asyncio.timeout_at(started_at + allowed_seconds - self._waited_seconds):
                message = await self._receive()
        except TimeoutError:
            raise make_timeout_error(timeouts) from None
        finally:
            self._waited_seconds += loop.time() - started_at
        if message["type"] == "http.disconnect":
            raise ClientGone
        data: bytes = message.get("body", b"")
        self.received_bytes += len(data)
        if self.received_bytes > self._max_bytes:
            raise self._make_too_large_error()
        self._piece, self._is_last = data, not message.get("more_body", False)

    async def _inspect_piece(self, inspector: UploadInspector) -> None:
        piece = self._piece
        while (start := self._inspected_bytes) < len(piece):
            self._inspected_bytes += _INSPECTED_BYTES
            data = piece[start : start + _INSPECTED_BYTES]
            await self._large_work.run(partial(inspector.feed, data), is_large=inspector.is_slow)
            if self._inspected_bytes < len(piece):
                await asyncio.sleep(0)
        self._inspected_bytes = 0
        if self._is_last:
            await self._large_work.run(inspector.finish, is_large=inspector.is_slow)

    def _make_too_large_error(self) -> ProblemError:
        message = f"The upload is larger than {self._max_bytes:,} bytes (server.{self._setting})."
        return ProblemError(Problem(kind="request_too_large", message=message))
