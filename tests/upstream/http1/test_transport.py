"""Test the parts of the transport beyond the contract of transports."""

import asyncio
import socket
import struct

import httpx
import pytest

from gateway.upstream.http1.connect import ProxySettings
from gateway.upstream.http1.connection import ProviderConnection
from gateway.upstream.http1.request import encode_request
from gateway.upstream.http1.transport import Http1Transport
from tests.contract.client import ask, opened, until, whole
from tests.contract.server import CHUNKED, OK, RawPeer, RawServer, always
from tests.upstream.http1.line import ProviderLine


@pytest.mark.parametrize("url", ["ftp://provider.example/", "https:///path"])
async def test_an_unsupported_url_is_an_error(url: str) -> None:
    request = httpx.Request("GET", url, headers={"host": "x"})
    with pytest.raises(httpx.UnsupportedProtocol):
        await Http1Transport().handle_async_request(request)


@pytest.mark.parametrize(
    ("method", "headers", "why"),
    [("GE T", {}, "method"), ("G\xcbT", {}, "method"), ("", {}, "method"),
     ("POST", {"content-length": "1", "transfer-encoding": "chunked"}, "twice"),
     ("POST", {"transfer-encoding": "gzip"}, "cannot be read")],
)  # fmt: skip
def test_an_invalid_request_is_an_error(method: str, headers: dict[str, str], why: str) -> None:
    request = httpx.Request(method, "http://provider.example", headers=headers)
    with pytest.raises(httpx.LocalProtocolError, match=why):
        encode_request(request)


def test_a_request_has_one_host() -> None:
    headers = [("host", "one"), ("Host", "two")]
    with pytest.raises(httpx.LocalProtocolError, match="one host"):
        encode_request(httpx.Request("GET", "http://one", headers=headers))


def test_a_path_with_a_line_break_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path is wrong only if httpx did not escape it; the check holds even then."""
    monkeypatch.setattr(httpx.URL, "raw_path", b"/ HTTP/1.1\r\nx-evil: 1")
    with pytest.raises(httpx.LocalProtocolError, match="address"):
        encode_request(httpx.Request("GET", "http://one"))


def test_a_synchronous_stream_is_refused() -> None:
    request = httpx.Request("POST", "http://one", content=iter([b"x"]))
    with pytest.raises(httpx.LocalProtocolError, match="async"):
        encode_request(request)


async def test_a_body_of_bytes_may_be_sent_as_chunks() -> None:
    async with RawServer(always(OK)) as server:
        transport = Http1Transport()
        headers = {"host": "one", "transfer-encoding": "chunked"}
        for body in (b"", b"abc"):
            stream = httpx.ByteStream(body)
            await whole(
                transport, httpx.Request("POST", server.url, headers=headers, stream=stream)
            )
        assert [request.body for request in server.requests] == [b"", b"abc"]
        await transport.aclose()


def test_a_proxy_shows_no_password() -> None:
    assert (
        repr(ProxySettings("http://user:secret@proxy.example:3128")) == "Proxy(proxy.example:3128)"
    )


async def test_a_read_during_a_close_is_an_error() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.left()

    async with RawServer(script) as server:
        transport = Http1Transport()
        stream, body = await opened(transport, ask(server.url))
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await body.aclose()
        with pytest.raises(httpx.ReadError):
            await reader
        with pytest.raises(httpx.ReadError):
            await anext(stream)
        await body.aclose()
        assert [(pool.in_use_count, pool.idle_count) for pool in transport.list_pools()] == [(0, 0)]


async def test_an_answer_that_was_read_can_be_iterated_again() -> None:
    async with RawServer(always(OK)) as server:
        transport = Http1Transport()
        stream, body = await opened(transport, ask(server.url))
        assert [data async for data in stream] == [b"ok"]
        await body.aclose()
        assert [data async for data in stream] == []
        await transport.aclose()


async def test_an_idle_connection_that_closes_leaves_the_pool_at_once() -> None:
    leave = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await leave.wait()

    async with RawServer(script) as server:
        transport = Http1Transport()
        await whole(transport, ask(server.url))
        (pool,) = transport.list_pools()
        assert pool.idle_count == 1
        leave.set()
        await until(lambda: not pool.idle_count)
        await transport.aclose()


async def test_a_connection_lost_before_its_use_is_a_connect_error() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.begin(b"GET", bodiless=False, silence_timeout=0)
    with pytest.raises(httpx.ConnectError):
        await connection.wait_for_head()


async def test_reading_without_a_request_is_an_error() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    for read in (connection.wait_for_head, connection.read_chunk):
        with pytest.raises(httpx.LocalProtocolError):
            await read()


async def test_a_deadline_does_not_end_the_next_upload_on_the_connection() -> None:
    """The first exchange's timer may fire then, while no caller waits for a head yet."""
    loop = asyncio.get_running_loop()
    connection, line = ProviderConnection(loop), ProviderLine()
    connection.connection_made(line)
    connection.begin(b"first")
    connection.overall_deadline = loop.time() + 0.02
    loop.call_soon(connection.data_received, OK)
    await connection.wait_for_head()
    assert connection.take_whole() == b"ok"
    assert connection.finish_exchange()
    connection.begin(b"second", has_more=True)
    await asyncio.sleep(0.04)
    assert not line.closed
    connection.data_received(OK)
    assert (await connection.wait_for_head()).status == 200


async def test_a_cancelled_wait_for_the_head_stays_cancelled() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(ProviderLine())
    connection.begin(b"first", silence_timeout=0.02)
    task = asyncio.create_task(connection.wait_for_head())
    await asyncio.sleep(0)
    task.cancel("left")
    connection.data_received(OK)
    with pytest.raises(asyncio.CancelledError, match="left"):
        await task
    await asyncio.sleep(0.04)
    assert (await connection.wait_for_head()).status == 200


async def test_each_idle_connection_expires_at_its_own_time() -> None:
    meet = asyncio.Barrier(2)

    async def script(peer: RawPeer) -> None:
        while True:
            if (await peer.request()).line.startswith(b"GET /both"):
                await meet.wait()
            await peer.send(OK)

    async with RawServer(script) as server:
        transport = Http1Transport(keepalive_expiry=0.1)
        await asyncio.gather(*[whole(transport, ask(f"{server.url}/both")) for _ in range(2)])
        await asyncio.sleep(0.06)
        await whole(transport, ask(server.url))
        (pool,) = transport.list_pools()
        assert pool.idle_count == 2
        await until(lambda: pool.idle_count < 2)
        assert pool.idle_count == 1
        async with asyncio.timeout(30):
            await server.empty.wait()
        assert pool.idle_count == 0


async def test_a_reset_is_a_read_error() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        peer.writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        peer.writer.transport.abort()

    async with RawServer(script) as server:
        with pytest.raises(httpx.ReadError):
            await whole(Http1Transport(), ask(server.url))
