"""A transport that keeps what goes to a provider and what comes back, byte by byte."""

from collections.abc import AsyncIterator

import httpx
import msgspec


class RecordedExchange(msgspec.Struct, eq=False):
    """One request and its answer, as far as it was read."""

    request_headers: list[tuple[str, str]] = []
    request_body: bytes = b""
    status: int = 0
    """The HTTP status; 0 if no answer came."""
    response_headers: list[tuple[str, str]] = []
    chunks: list[bytes] = []
    """The bytes of each read."""

    @property
    def body(self) -> bytes:
        """The answer."""
        return b"".join(self.chunks)

    def get_header(self, name: str) -> str:
        """Return a header of the answer by its lower-case name; empty if it has none."""
        return next((value for key, value in self.response_headers if key == name), "")


class RecordingTransport(httpx.AsyncBaseTransport):
    """A transport that records one exchange on its way through another transport."""

    def __init__(self, transport: httpx.AsyncBaseTransport, exchange: RecordedExchange) -> None:
        self._transport = transport
        self._exchange = exchange

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and record it with its answer. Raises httpx errors."""
        exchange = self._exchange
        exchange.request_headers = request.headers.multi_items()
        exchange.request_body = await request.aread()
        response = await self._transport.handle_async_request(request)
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("this transport is async only")
        exchange.status = response.status_code
        exchange.response_headers = response.headers.multi_items()
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_RecordedStream(stream, exchange),
            extensions=response.extensions,
        )


class _RecordedStream(httpx.AsyncByteStream):
    """A body whose reads are recorded."""

    def __init__(self, stream: httpx.AsyncByteStream, exchange: RecordedExchange) -> None:
        self._stream = stream
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            self._exchange.chunks.append(data)
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()
