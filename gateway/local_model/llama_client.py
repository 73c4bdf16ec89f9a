"""The HTTP client of the llama.cpp server that runs in this process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httptools

type Headers = Iterable[tuple[bytes, bytes]]

_READ_BYTES: Final = 65536  # bytes

# Headers of one connection, not of the message (RFC 9110, 7.6.1).
_HOP_HEADERS: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OWN_HEADERS: Final = _HOP_HEADERS | {
    b"content-length",
    b"expect",
    b"host",
}  # this client writes its own


class AnswerCut(Exception):
    """An error: the connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The status and the end-to-end headers of an answer."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]


type Reply = AsyncGenerator[AnswerHead | bytes]
"""The head, then pieces of the body as they come."""


class EngineAnswer:
    """One answer of llama.cpp while the client reads it."""

    def __init__(self, reader: asyncio.StreamReader, *, has_no_body: bool) -> None:
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._has_no_body = has_no_body
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._has_head = False
        self._is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header from the parser."""
        if (name := name.lower()) not in _HOP_HEADERS:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the end of the headers, for the parser."""
        self._has_head = True

    def on_body(self, chunk: bytes) -> None:
        """Take bytes of the body from the parser."""
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        """Note the end of the answer, for the parser."""
        self._is_complete = True

    async def _feed(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        if not data:
            raise AnswerCut("llama.cpp closed the connection within an answer")
        self._parser.feed_data(data)

    async def read_head(self) -> AnswerHead:
        """Return the status and the headers. Raises AnswerCut."""
        while not self._has_head:
            await self._feed()
        return AnswerHead(self._parser.get_status_code(), tuple(self._headers))

    async def iterate_body(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the body, each as soon as it comes. Raises AnswerCut."""
        while not self._has_no_body:
            if self._chunks:
                yield b"".join(self._chunks)
                self._chunks.clear()
            if self._is_complete:
                return
            await self._feed()

    async def read_body(self) -> bytes:
        """Return the whole body. Raises AnswerCut."""
        return b"".join([chunk async for chunk in self.iterate_body()])


@dataclass(frozen=True, slots=True)
class LlamaClient:
    """A client for llama.cpp at `host` and `port`.

    It opens one connection for each request, and closes the connection to cancel the work.
    """

    host: str
    port: int

    @asynccontextmanager
    async def send(
        self, method: str, target: bytes, headers: Headers, body: bytes
    ) -> AsyncGenerator[EngineAnswer]:
        """Send one request, and yield its answer.

        At the end of the context the connection closes at once, and llama.cpp stops generating.
        """
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            lines = [
                b"%b %b HTTP/1.1" % (method.encode(), target),
                b"host: %b:%d" % (self.host.encode(), self.port),
                b"connection: close",
                b"content-length: %d" % len(body),
                *(b"%b: %b" % (name, value) for name, value in headers if name not in _OWN_HEADERS),
            ]
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            await writer.drain()
            yield EngineAnswer(reader, has_no_body=method == "HEAD")
        finally:
            writer.transport.abort()

    async def relay(self, method: str, target: bytes, headers: Headers, body: bytes) -> Reply:
        """Relay one request and its answer byte for byte."""
        async with self.send(method, target, headers, body) as answer:
            yield await answer.read_head()
            async for chunk in answer.iterate_body():
                yield chunk
