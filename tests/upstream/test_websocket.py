"""WebSockets towards providers, and the frames of one side, without a gateway around them."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from gateway.core.errors import Problem, ProblemError
from gateway.upstream.client import UpgradeRoute
from gateway.upstream.http1.connect import Connector, ProxySettings
from gateway.upstream.websocket_accept import accept_websocket
from gateway.upstream.websocket_connect import RefusedUpgradeError, connect_websocket
from gateway.upstream.websocket_peer import MAX_UNPARSED_BYTES, PeerClosedError, WebSocketPeer
from tests.contract.conftest import Certificates


class FakeTransport:
    """Keeps what is written, and the pauses of reading."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_write_paused = False
        self.pauses: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        raise AssertionError("nothing waits here")

    def pause_reading(self) -> None:
        self.pauses.append("pause")

    def resume_reading(self) -> None:
        self.pauses.append("resume")


class FakeMemory:
    """Has room for a number of bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.reserved = 0

    def reserve_body(self, size: int) -> None:
        if size > self.room:
            raise ProblemError(Problem(kind="overloaded", message="no room"))
        self.reserved = size

    def release(self) -> None:
        self.reserved = 0


def make_peer(max_message: int = 1_000_000) -> tuple[WebSocketPeer, FakeTransport]:
    """Return the client's side of a session, as a server sees it."""
    transport = FakeTransport()
    protocol = Protocol(Side.SERVER, max_size=max_message)
    return WebSocketPeer(protocol, transport, asyncio.get_running_loop().time()), transport


def encode(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def test_a_side_stops_reading_while_much_waits() -> None:
    peer, transport = make_peer()
    peer.feed(encode(b"x" * (MAX_UNPARSED_BYTES // 2)))
    assert transport.pauses == []
    peer.feed(encode(b"y" * (MAX_UNPARSED_BYTES // 2)))
    assert transport.pauses == ["pause"]
    assert [len(frame.data) for frame in await peer.read()] == [MAX_UNPARSED_BYTES // 2]
    assert [len(frame.data) for frame in await peer.read()] == [MAX_UNPARSED_BYTES // 2]
    reading = asyncio.create_task(peer.read())
    await asyncio.sleep(0)
    assert transport.pauses == ["pause", "resume"]
    assert peer.is_waiting
    peer.feed_end()
    assert await reading == []


async def test_a_message_that_arrives_reserves_memory_until_it_is_whole() -> None:
    """All frames of the message count: they wait until the last one."""
    peer, _ = make_peer()
    memory = peer.memory = FakeMemory(300_000)
    peer.feed(encode(b"x" * 100_000, fin=False))
    await peer.read()
    assert memory.reserved > 60_000
    peer.feed(encode(b"x" * 100_000, Opcode.CONT, fin=False))
    await peer.read()
    assert memory.reserved > 150_000
    peer.feed(encode(b"", Opcode.CONT))
    await peer.read()
    assert memory.reserved == 0
    peer.feed(encode(b"x" * 400_000))
    with pytest.raises(ProblemError, match="no room"):
        await peer.read()


async def test_a_flood_of_empty_frames_yields_to_other_tasks() -> None:
    peer, _ = make_peer()
    peer.feed(encode(b"", Opcode.PING) * 50_000 + encode(b"end"))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert [bytes(frame.data) for frame in await peer.read()] == [b"end"]
    counting.cancel()
    assert turns > 10


async def test_nothing_is_sent_after_a_close_frame() -> None:
    peer, transport = make_peer()
    peer.close(1000, "é" * 100)
    assert len(transport.written) == 4 - 2 + 2 + 122  # a reason has at most 123 bytes
    peer.close(1011, "again")
    peer.ping()
    with pytest.raises(PeerClosedError):
        await peer.send(Opcode.TEXT, b"x")
    assert peer.close_sent == (1000, "é" * 61)


@pytest.mark.parametrize(
    ("drop", "status"),
    [(b"upgrade", 426), (b"sec-websocket-key", 400), (b"sec-websocket-version", 400)],
)
async def test_a_handshake_that_is_not_valid_is_refused(drop: bytes, status: int) -> None:
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
    ]
    response, _ = accept_websocket(headers, "realtime", FakeTransport(), max_message=10)
    assert response.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Protocol: realtime\r\n" in response
    assert b"extensions" not in response.lower()
    broken = [header for header in headers if header[0] != drop]
    with pytest.raises(ProblemError) as caught:
        accept_websocket(broken, None, FakeTransport(), max_message=10)
    assert caught.value.problem.http_status == status


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def connect_proxy(seen: list[bytes]) -> AsyncIterator[int]:
    """Run a proxy that opens tunnels; `seen` gets the first lines of its requests."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.partition(b"\r\n")[0])
        host, _, port = head.split()[1].decode().partition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, up_writer), pipe(up_reader, writer))

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("has_proxy", [False, True])
async def test_a_provider_is_reached_with_tls_and_through_a_proxy(
    tmp_path: Path, has_proxy: bool
) -> None:
    certificates, seen = Certificates(tmp_path), list[bytes]()
    async with (
        serve(echo, "127.0.0.1", 0, ssl=certificates.server("good")) as server,
        connect_proxy(seen) as proxy_port,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        proxy = ProxySettings(f"http://127.0.0.1:{proxy_port}") if has_proxy else None
        route = make_route(port, certificates.client(), proxy)
        provider = await connect_websocket(route, [], max_message=1_000, timeout_seconds=5)
        await provider.peer.send(Opcode.TEXT, b"hello")
        assert [bytes(frame.data) for frame in await provider.peer.read()] == [b"hello"]
        provider.peer.close(1000, "")
        await provider.close()
    assert seen == ([f"CONNECT localhost:{port} HTTP/1.1".encode()] if has_proxy else [])


def make_route(
    port: int, tls: ssl.SSLContext | None = None, proxy: ProxySettings | None = None
) -> UpgradeRoute:
    scheme = "http" if tls is None else "https"
    url = httpx.URL(f"{scheme}://localhost:{port}/v1/realtime?model=x")
    return UpgradeRoute(Connector("localhost", port, tls, None, proxy), url, (("x-a", "b"),))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 429 no\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno", RefusedUpgradeError),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", httpx.RemoteProtocolError),
        (b"\x00\x01 no HTTP\r\n\r\n", httpx.RemoteProtocolError),
        (b"", httpx.RemoteProtocolError),
    ],
)
async def test_an_answer_that_is_no_websocket_is_an_error(
    answer: bytes, error: type[Exception]
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(refuse, "localhost", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(error) as caught:
            await connect_websocket(make_route(port), [], max_message=1_000, timeout_seconds=5)
    if isinstance(caught.value, RefusedUpgradeError):
        refusal = caught.value
        assert (refusal.status, refusal.body, refusal.retry_after) == (429, b"no", "7")


async def test_a_provider_that_never_answers_is_late() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        route = make_route(listener.getsockname()[1])
        with pytest.raises(TimeoutError):
            await connect_websocket(route, [], max_message=1_000, timeout_seconds=0.2)
