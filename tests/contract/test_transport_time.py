"""Every transport limits each single wait, but never the whole duration of a stream."""

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.contract.client import ask, opened, whole
from tests.contract.conftest import Make
from tests.contract.server import CHUNKED, OK, RawPeer, RawServer

_SHORT = 0.05


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Return an address with a full connection queue, where connecting waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(place)
            waiting.append(client)
        yield f"http://127.0.0.1:{place[1]}"
        for client in waiting:
            client.close()


async def test_a_server_that_accepts_no_connection_is_a_connect_timeout(
    make: Make, nowhere: str
) -> None:
    with pytest.raises(httpx.ConnectTimeout):
        await whole(make(), ask(nowhere, connect=_SHORT))


async def test_a_closed_port_is_a_connect_error(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(httpx.ConnectError) as caught:
        await whole(make(), ask(f"http://127.0.0.1:{port}"))
    assert "127.0.0.1" not in str(caught.value), "where a provider is, is no client's business"


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "x" * 300])
async def test_an_impossible_host_name_is_a_connect_error(make: Make, kind: str, host: str) -> None:
    """The name never reaches a resolver; the stock transport lets Python's own error through."""
    wrong = (httpx.ConnectError, UnicodeError) if kind == "stock" else httpx.ConnectError
    with pytest.raises(wrong):
        await whole(make(), ask(f"http://{host}/"))


@pytest.mark.parametrize(
    "partial_answer",
    [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, CHUNKED + b"3\r\none\r\n", CHUNKED + b"3\r\non"],
)
async def test_a_silent_server_is_a_read_timeout(make: Make, partial_answer: bytes) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(partial_answer)
        await peer.left()

    async with RawServer(script) as server:
        with pytest.raises(httpx.ReadTimeout):
            await whole(make(), ask(server.url, read=_SHORT))
        async with asyncio.timeout(10):
            await server.empty.wait()


async def test_each_request_on_a_connection_has_its_own_time_limit(make: Make) -> None:
    """The first request on the connection had a longer limit."""

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await asyncio.sleep(0)
        await peer.send(OK)
        await peer.request()
        await peer.left()

    async with RawServer(script) as server:
        transport = make(max_idle=10)
        await whole(transport, ask(server.url, read=60.0))
        async with asyncio.timeout(10):
            with pytest.raises(httpx.ReadTimeout):
                await whole(transport, ask(server.url, read=_SHORT))


@pytest.mark.jumping_clock
async def test_a_long_stream_outlives_a_short_limit(make: Make) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(20):
            await asyncio.sleep(0.02)
            await peer.chunk(b"x")
        await peer.send(b"0\r\n\r\n")

    async with RawServer(script) as server:
        assert (await whole(make(), ask(server.url, read=0.2)))[1] == b"x" * 20


async def test_a_slow_reader_causes_no_read_timeout(make: Make) -> None:
    """The transport limits the silence of the provider, not of the reader."""

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"one")
        await go_on.wait()
        await peer.chunk(b"two")
        await peer.send(b"0\r\n\r\n")

    go_on = asyncio.Event()
    async with RawServer(script) as server:
        stream, body = await opened(make(), ask(server.url, read=_SHORT))
        assert await anext(stream) == b"one"
        await asyncio.sleep(2 * _SHORT)
        go_on.set()
        assert [data async for data in stream] == [b"two"]
        await body.aclose()


async def test_a_server_that_does_not_read_is_a_write_timeout(make: Make) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
        await asyncio.Event().wait()

    async with RawServer(script) as server:
        with pytest.raises(httpx.WriteTimeout):
            await whole(make(), ask(server.url, "POST", content=b"x" * 30_000_000, write=_SHORT))


@pytest.mark.jumping_clock
async def test_a_slow_upload_outlives_a_short_limit(make: Make) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        remaining = 12_000_000
        while remaining > 0:
            remaining -= len(await peer.reader.read(1_000_000))
            await asyncio.sleep(0.01)
        await peer.send(OK)

    async with RawServer(script) as server:
        request = ask(server.url, "POST", content=b"x" * 12_000_000, write=0.1)
        assert (await whole(make(), request))[1] == b"ok"
