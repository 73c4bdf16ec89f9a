"""Test every transport of the client: truthful errors, prompt ends, unchanged bytes."""

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest

from gateway.upstream import http1
from tests.e2e.upstream import (
    DROPPED,
    PATIENCE,
    ROLE,
    SILENT,
    SSE,
    Answer,
    Request,
    Upstream,
    failing,
    frames,
    stream,
    whole,
)
from tests.e2e.world import Loop

type Make = Callable[..., httpx.AsyncBaseTransport]

BODY = b'{"messages":[]}'


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    transports: list[httpx.AsyncBaseTransport] = []

    def make(**options: Any) -> httpx.AsyncBaseTransport:
        transports.append(http1.Http1Transport(**options))
        return transports[-1]

    yield make
    for item in transports:
        await item.aclose()


@pytest.fixture
def door(make: Make) -> httpx.AsyncBaseTransport:
    return make()


def post(url: str, body: bytes = BODY, /, **headers: str) -> httpx.Request:
    return httpx.Request("POST", f"{url}/chat/completions", content=body, headers=headers)


async def read(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        return b"".join([data async for data in response.stream])
    finally:
        await response.stream.aclose()


async def ask(door: httpx.AsyncBaseTransport, url: str, **headers: str) -> bytes:
    return await read(await door.handle_async_request(post(url, BODY, **headers)))


async def arrived(upstream: Upstream) -> Request:
    return await asyncio.to_thread(upstream.arrived)


async def test_the_transport_changes_no_bytes_of_a_request_or_an_answer(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    answer = whole("\u2028\u0085")
    upstream.on("/", answer)
    request = post(upstream.url, x_own="a b", cookie="c=d")
    response = await door.handle_async_request(request)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert await read(response) == answer.pieces[0]
    request_seen = upstream.requests[0]
    assert (request_seen.method, request_seen.path, request_seen.body) == (
        "POST",
        "/chat/completions",
        BODY,
    )
    assert request_seen.header("x-own".replace("-", "_")) == "a b"
    assert request_seen.header("content-length") == str(len(BODY))
    assert request_seen.header("cookie") == "c=d"
    names = {name.lower() for name, _ in request_seen.headers}
    assert names <= {b"host", b"content-length", b"x_own", b"cookie", b"accept", b"accept-encoding",
                     b"connection", b"user-agent"}  # fmt: skip


async def test_the_transport_sends_a_large_body_whole(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    body = b'{"messages":[],"x":"%b"}' % (b"x" * 3_000_000)
    await read(await door.handle_async_request(post(upstream.url, body)))
    assert upstream.requests[0].body == body


async def test_the_transport_delivers_each_chunk_at_once(
    door: httpx.AsyncBaseTransport, upstream: Upstream, loop: Loop
) -> None:
    """The transport holds nothing back: the provider writes on only when the test says."""
    first_frame, second_frame = frames()[:2]
    upstream.on("/", stream(first_frame, None, second_frame))
    response = await door.handle_async_request(post(upstream.url))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    chunks = aiter(response.stream)
    assert await anext(chunks) == first_frame
    await asyncio.to_thread(loop.run, upstream.release())
    assert await anext(chunks) == second_frame
    await response.stream.aclose()


async def test_a_connection_is_used_again(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    for _ in range(5):
        await ask(door, upstream.url)
    assert upstream.connections == 1
    await asyncio.gather(*(ask(door, upstream.url) for _ in range(4)))
    assert 1 < upstream.connections <= 4


async def test_a_connection_with_an_unread_body_is_not_used_again(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    upstream.on("/", stream(ROLE, end="stall"), whole())
    response = await door.handle_async_request(post(upstream.url))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    await response.stream.aclose()
    request = await arrived(upstream)
    assert await asyncio.to_thread(request.left.wait, PATIENCE)
    assert (await ask(door, upstream.url)).startswith(b'{"id"')
    assert upstream.connections == 2


async def test_a_closed_port_is_a_connect_error(door: httpx.AsyncBaseTransport) -> None:
    """The provider has not read the request: the gateway may send it elsewhere."""
    with pytest.raises(httpx.ConnectError):
        await ask(door, "http://127.0.0.1:1")


async def test_an_unknown_host_is_a_connect_error(door: httpx.AsyncBaseTransport) -> None:
    with pytest.raises(httpx.ConnectError):
        await ask(door, "http://no-such-host.invalid")


async def test_a_host_that_accepts_no_connection_is_a_connect_timeout(
    door: httpx.AsyncBaseTransport,
) -> None:
    """The listening queue is full, so a connection is neither made nor refused."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for item in waiting:
            item.setblocking(False)
            with suppress(BlockingIOError):
                item.connect(address)
        request = post(f"http://127.0.0.1:{address[1]}")
        request.extensions["timeout"] = {"connect": 0.1}
        with pytest.raises(httpx.ConnectTimeout):
            await door.handle_async_request(request)
        for item in waiting:
            item.close()


async def test_a_connection_closed_before_the_answer_is_a_read_error(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    """The provider may have read the request: the error is one of reading, not of connecting."""
    upstream.on("/", DROPPED)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await ask(door, upstream.url)
    assert len(upstream.requests) == 1


CUT: list[tuple[str, Answer]] = [
    ("length", Answer(pieces=(b"abc",), length=9, end="cut")),
    ("length, ended", Answer(pieces=(b"abc",), length=9)),
    ("chunked", Answer(pieces=(b"abc",), end="cut")),
]


@pytest.mark.parametrize("answer", [row[1] for row in CUT], ids=[row[0] for row in CUT])
async def test_a_truncated_body_is_a_read_error(
    door: httpx.AsyncBaseTransport, upstream: Upstream, loop: Loop, answer: Answer
) -> None:
    """A cut body never looks complete."""
    upstream.on("/", answer)
    response = await door.handle_async_request(post(upstream.url))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    if answer.end == "clean":  # the provider waits for another request: it must go away
        await asyncio.to_thread(loop.run, upstream.stop())
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await read(response)


async def test_an_answer_that_is_not_http_is_a_read_error(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    upstream.on("/", Answer(status=0, pieces=(b"hello\r\n\r\n",), length=0, end="cut"))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await ask(door, upstream.url)


LEAVING: list[tuple[str, Answer]] = [
    ("waiting for the head", SILENT),
    ("in the body", stream(ROLE, end="stall")),
]


@pytest.mark.parametrize("answer", [row[1] for row in LEAVING], ids=[row[0] for row in LEAVING])
async def test_a_cancelled_request_closes_its_connection_within_250_ms(
    door: httpx.AsyncBaseTransport, upstream: Upstream, answer: Answer
) -> None:
    """The provider sees the connection closed within 250 ms (the best of three)."""
    upstream.on("/", answer)
    seconds = []
    for _ in range(3):
        task = asyncio.create_task(ask(door, upstream.url))
        request = await arrived(upstream)
        since = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(request.left.wait, PATIENCE)
        seconds.append(request.left_at - since)
    assert min(seconds) < 0.25


BAD = ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rb", "a\0b"]


@pytest.mark.parametrize("value", BAD)
async def test_a_header_value_cannot_inject_another_header(
    door: httpx.AsyncBaseTransport, upstream: Upstream, value: str
) -> None:
    """The error shows that nothing was sent."""
    with pytest.raises(httpx.LocalProtocolError):
        await ask(door, upstream.url, traceparent=value)
    assert not upstream.requests


async def test_a_redirect_is_returned_and_not_followed(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    upstream.on("/", failing(308, b"", location=f"{upstream.url}/elsewhere"))
    response = await door.handle_async_request(post(upstream.url))
    assert response.status_code == 308
    await read(response)
    assert len(upstream.requests) == 1


async def test_the_transport_decompresses_nothing(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    """SEC-BOMB: a bomb stays as small as it came."""
    bomb = gzip.compress(b"0" * 10_000_000)
    headers = (("content-encoding", "gzip"), ("content-type", "application/json"))
    upstream.on("/", Answer(pieces=(bomb,), headers=headers, length=len(bomb)))
    assert await ask(door, upstream.url) == bomb


async def test_the_transport_keeps_no_cookie(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    upstream.on("/", Answer(pieces=(b"{}",), headers=(("set-cookie", "a=b; Path=/"),), length=2))
    await ask(door, upstream.url)
    await ask(door, upstream.url)
    assert upstream.requests[1].header("cookie") is None


async def test_the_transport_returns_repeated_and_latin_1_headers(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    headers = (*SSE, ("X-Twice", "a"), ("x-twice", "b"), ("x-latin", "caf\xe9"))
    upstream.on("/", Answer(pieces=(b"{}",), headers=headers, length=2))
    response = await door.handle_async_request(post(upstream.url))
    assert response.headers.get_list("x-twice") == ["a", "b"]
    assert response.headers["x-latin"] == "caf\xe9"
    await read(response)


async def test_a_plain_request_goes_through_a_proxy(make: Make, upstream: Upstream) -> None:
    """A plain URL goes to the proxy whole; the proxy's credentials go to no other host."""
    proxied = make(proxy=upstream.url.replace("://", "://user:pass%40word@"))
    upstream.on("http://provider.invalid/", whole())
    assert (await ask(proxied, "http://provider.invalid/v1")).startswith(b'{"id"')
    request = upstream.requests[0]
    assert request.path == "http://provider.invalid/v1/chat/completions"
    assert request.header("host") == "provider.invalid"
    assert request.header("proxy-authorization") == "Basic dXNlcjpwYXNzQHdvcmQ="


async def test_a_proxy_that_refuses_the_tunnel_is_a_connect_error(
    make: Make, upstream: Upstream
) -> None:
    """The tunnel was not made: the provider has read nothing."""
    proxied = make(proxy=upstream.url)
    upstream.on("provider.invalid:443", failing(403))
    with pytest.raises((httpx.ConnectError, httpx.ProxyError)):
        await ask(proxied, "https://provider.invalid")


async def test_many_cancelled_requests_leave_no_connection(
    door: httpx.AsyncBaseTransport, upstream: Upstream
) -> None:
    upstream.on("/", SILENT)
    tasks = [asyncio.create_task(ask(door, upstream.url)) for _ in range(30)]
    requests = [await arrived(upstream) for _ in tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for request in requests:
        assert await asyncio.to_thread(request.left.wait, PATIENCE)
    upstream.on("/", whole())
    await ask(door, upstream.url)
