"""A client that calls a transport directly, as the gateway does, without httpx.AsyncClient."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import httpx

TIMES = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}


def ask(
    url: str,
    method: str = "GET",
    *,
    headers: Iterable[tuple[str, str]] = (),
    content: bytes | AsyncIterator[bytes] | None = None,
    **times: float,
) -> httpx.Request:
    """Make a request; `times` replace the default limit of five seconds for each wait."""
    return httpx.Request(
        method,
        url,
        headers=[("accept-encoding", "identity"), *headers],
        content=content,
        extensions={"timeout": TIMES | times},
    )


async def whole(
    transport: httpx.AsyncBaseTransport, request: httpx.Request
) -> tuple[httpx.Response, bytes]:
    """Return the response and its body, read to the end. A hang fails the test."""
    async with asyncio.timeout(60):
        response = await transport.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            return response, b"".join([data async for data in stream])
        finally:
            await stream.aclose()


async def opened(
    transport: httpx.AsyncBaseTransport, request: httpx.Request
) -> tuple[AsyncIterator[bytes], httpx.AsyncByteStream]:
    """Return the body of a response twice: as an iterator, and as a stream to close."""
    response = await transport.handle_async_request(request)
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return aiter(stream), stream


async def until(condition: Callable[[], bool]) -> None:
    """Wait up to 30 seconds for a condition that has no event."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
