"""A client that sends bytes as they are, and reads answers without regard to packets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from tests.twin.exchanges.exchange import Observation

TIMEOUT = 15.0
"""Seconds after which an answer is late. The run then goes on, and the report shows it."""
_SILENCE = 1.0
"""Seconds without a byte after which a gateway sends nothing more, also on a busy machine."""
_BUFFER = 2**26
_FIRST_FINAL = 200
"""The lowest status of an answer that is not an interim one."""

type _Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RawClient:
    """A client of one gateway. It keeps one connection open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: _Connection | None = None

    async def send(
        self, data: bytes, seen: Observation, *, fresh: bool = False, leave_after: bytes = b""
    ) -> None:
        """Send a request and read its answer into `seen`, or only until `leave_after` has come."""
        kept = None if fresh else self._take()
        try:
            reader, writer = kept or await self._connect()
        except OSError:
            seen.end = "none"  # the gateway does not run any more
            return
        reusable = False
        try:
            writer.write(data)
            async with asyncio.timeout(TIMEOUT):
                reusable = await _read(reader, seen, data.startswith(b"HEAD "), leave_after)
        except TimeoutError:
            seen.end = "late"
        except OSError:
            seen.end = "cut" if seen.status else "none"
        if reusable and not fresh:
            self._idle = reader, writer
        else:
            writer.transport.abort()

    async def send_raw(self, data: bytes, seen: Observation) -> None:
        """Send bytes and read everything that comes back, until the end or a silence."""
        reader, writer = await self._connect()
        answer = b""
        seen.end = "open"
        with suppress(TimeoutError, OSError):
            writer.write(data)
            while True:
                async with asyncio.timeout(_SILENCE if answer else 2 * _SILENCE):
                    piece = await reader.read(65536)
                if not piece:
                    seen.end = "closed"
                    break
                answer += piece
        seen.others.append(answer)
        writer.transport.abort()

    def close(self) -> None:
        """Close the connection."""
        if (kept := self._take()) is not None:
            kept[1].transport.abort()

    async def _connect(self) -> _Connection:
        return await asyncio.open_connection("127.0.0.1", self._port, limit=_BUFFER)

    def _take(self) -> _Connection | None:
        """Take the idle connection, if the gateway has not closed it."""
        kept, self._idle = self._idle, None
        if kept is not None and (kept[0].at_eof() or kept[1].transport.is_closing()):
            kept[1].transport.abort()
            return None
        return kept


async def _read(
    reader: asyncio.StreamReader, seen: Observation, bodiless: bool, leave_after: bytes
) -> bool:
    """Read one answer; return True if the connection may be used again."""
    try:
        while not seen.status or seen.code < _FIRST_FINAL:
            if seen.status:
                seen.others.append(seen.status)  # an interim answer, as 100 Continue
            head = await reader.readuntil(b"\r\n\r\n")
            seen.status, *seen.head = head[:-4].split(b"\r\n")
    except asyncio.IncompleteReadError as error:
        seen.end, seen.body = "none", error.partial
        return False
    length = seen.header("content-length")
    try:
        if bodiless or seen.code in (204, 304):
            pass
        elif (seen.header("transfer-encoding") or "").lower() == "chunked":
            async for piece in _chunks(reader):
                seen.body += piece
                if leave_after and leave_after in seen.body:
                    await _read_until_silence(reader, seen)
                    return False
        elif length is not None:
            seen.body = await reader.readexactly(int(length))
        else:
            seen.body = await reader.read()
            return False
    except (asyncio.IncompleteReadError, ValueError) as error:
        seen.end = "cut"
        seen.body += getattr(error, "partial", b"")
        return False
    return (seen.header("connection") or "").lower() != "close"


async def _read_until_silence(reader: asyncio.StreamReader, seen: Observation) -> None:
    """Read the bytes that the gateway has sent already; then the client leaves."""
    seen.end = "left"
    with suppress(TimeoutError):
        async with asyncio.timeout(_SILENCE):
            async for piece in _chunks(reader):
                seen.body += piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        data = await reader.readexactly(size + 2)
        if not size:
            return
        yield data[:-2]
