"""Test requests that the gateway forwards as they are, through its own transport and httpx's."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Provider, Timers
from gateway.upstream.client import (
    ProviderClient,
    ProviderResponse,
    _IteratorStream,
)
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.forwarded_request import ForwardedRequest
from gateway.upstream.http1 import ProviderConnection
from gateway.upstream.http1.request import OutgoingRequest, upload_body
from gateway.upstream.write_batch import WriteBatch
from tests.contract.server import CHUNKED, OK, RawPeer, RawServer, always
from tests.upstream.http1.line import ProviderLine

KEY = Account("main", "sk-1")
PATIENT = Timers(headers=9.0, idle=9.0)
PIECE = b"x" * 65_536
REFUSAL = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig"
both_transports = pytest.mark.parametrize("transport", ["own", "stock"])


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    client = ProviderClient(hop="h")
    yield client
    await client.close()
    await asyncio.sleep(0)


def make_provider(server: RawServer, transport: str = "own") -> Provider:
    return Provider(
        name="acme",
        urls={"openai-chat": f"{server.url}/v1/chat"},
        headers={"x-own": "1"},
        transport="stock" if transport == "stock" else "own",
    )


async def forward(
    client: ProviderClient,
    server: RawServer,
    *,
    transport: str = "own",
    method: str = "POST",
    body: bytes | AsyncIterator[bytes] | None = None,
    length: int | None = None,
    headers: dict[str, str] | None = None,
    timers: Timers = PATIENT,
    seconds: float = 9.0,
    on_resend: Callable[[Problem], Awaitable[None]] | None = None,
) -> ProviderResponse:
    request = ForwardedRequest(
        method=method,
        url=f"{server.url}/v1/files?a=%2F",
        headers=headers or {},
        body=body,
        length=length,
    )
    return await client.forward(
        make_provider(server, transport),
        KEY,
        request,
        timers,
        deadline=asyncio.get_running_loop().time() + seconds,
        on_resend=on_resend,
    )


async def collect(answer: ProviderResponse) -> bytes:
    deadline = asyncio.get_running_loop().time() + 9.0
    try:
        return b"".join([data async for data in answer.read(9.0, deadline)])
    finally:
        await answer.close()


async def fail(client: ProviderClient, server: RawServer, **more: object) -> Problem:
    with pytest.raises(ProblemError) as caught:
        await forward(client, server, **more)  # type: ignore[arg-type]  # as given
    return caught.value.problem


async def pieces(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        await asyncio.sleep(0)
        yield item


async def endless(wait: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """Yield pieces for ever; after the first, wait for an event that may never come."""
    yield PIECE
    if wait is not None:
        await wait.wait()
    while True:
        await asyncio.sleep(0)
        yield PIECE


async def read_head(peer: RawPeer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")


async def test_the_request_has_the_gateways_headers_and_the_clients(
    client: ProviderClient,
) -> None:
    headers = {
        "content-type": "multipart/form-data; boundary=é",
        "user-agent": "mine",
        "x-own": "2",
    }
    async with RawServer(always(OK)) as server:
        answer = await forward(client, server, body=pieces(b"ab", b"c"), length=3, headers=headers)
        assert await collect(answer) == b"ok"
        (request,) = server.requests
        assert request.head.replace(str(server.port).encode(), b"PORT") == (
            b"POST /v1/files?a=%2F HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n"
            b"accept-encoding: identity\r\nuser-agent: tiergate\r\nx-tiergate-hop: h\r\nx-own: 1\r\n"
            b"authorization: Bearer sk-1\r\ncontent-type: multipart/form-data; boundary=\xe9\r\n"
            b"content-length: 3\r\n\r\n"
        )
        assert request.body == b"abc"


@both_transports
@pytest.mark.parametrize(
    ("method", "body", "length", "framing"),
    [
        ("GET", None, None, None),
        ("DELETE", None, None, None),
        ("POST", None, None, b"content-length: 0"),
        ("PUT", b"{}", None, b"content-length: 2"),
        ("POST", PIECE * 2, None, b"content-length: 131072"),
        ("PATCH", (b"ab", b"", b"cd"), None, b"transfer-encoding: chunked"),
        ("POST", (b"ab", b"", b"cd"), 4, b"content-length: 4"),
        ("POST", (PIECE,) * 9, 9 * len(PIECE), b"content-length: 589824"),
        ("POST", (), None, b"transfer-encoding: chunked"),
        ("POST", (), 0, b"content-length: 0"),
    ],
)
async def test_each_method_and_body_arrives_unchanged(
    client: ProviderClient,
    transport: str,
    method: str,
    body: bytes | tuple[bytes, ...] | None,
    length: int | None,
    framing: bytes | None,
) -> None:
    given = pieces(*body) if isinstance(body, tuple) else body
    async with RawServer(always(OK)) as server:
        answer = await forward(
            client, server, transport=transport, method=method, body=given, length=length
        )
        assert await collect(answer) == b"ok"
        (request,) = server.requests
        assert request.line.startswith(method.encode() + b" /v1/files?a=%2F ")
        lines = [
            line.lower()
            for line in request.fields
            if line.lower().startswith((b"content-length", b"transfer-encoding"))
        ]
        assert lines == ([] if framing is None else [framing])
        assert request.body == (b"".join(body) if isinstance(body, tuple) else body or b"")


async def test_a_head_request_has_no_answer_body(client: ProviderClient) -> None:
    async with RawServer(always(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")) as server:
        answer = await forward(client, server, method="HEAD")
        assert (answer.get_header(b"content-length"), await collect(answer)) == ("9", b"")


async def test_a_credential_never_goes_to_another_host(client: ProviderClient) -> None:
    async with RawServer(always(OK)) as server, RawServer(always(OK)) as other:
        request = ForwardedRequest(method="GET", url=f"{other.url}/v1/files")
        with pytest.raises(ValueError, match="none of acme"):
            await client.forward(make_provider(server), KEY, request, PATIENT)
        assert not other.opened


async def test_a_path_leads_to_the_local_engine(client: ProviderClient) -> None:
    async with RawServer(always(OK)) as server:
        client.set_base_url("local", server.url)
        local = Provider(name="local", urls={"openai-chat": "/v1/chat"}, auth="none")
        request = ForwardedRequest(method="GET", url="/v1/files")
        assert await collect(await client.forward(local, KEY, request, PATIENT)) == b"ok"
        assert server.requests[0].line == b"GET /v1/files HTTP/1.1"
        assert not server.requests[0].all(b"authorization")


@pytest.mark.parametrize("waits", [False, True], ids=["sends", "waits"])
async def test_a_refusal_stops_the_upload(client: ProviderClient, waits: bool) -> None:
    """Also while the gateway waits for a client that sends nothing."""

    async def script(peer: RawPeer) -> None:
        await read_head(peer)
        await peer.reader.readexactly(len(PIECE))
        await peer.send(REFUSAL)
        if waits:
            await peer.left()

    async with RawServer(script) as server:
        body = endless(asyncio.Event() if waits else None)
        answer = await forward(client, server, body=body, length=1 << 40)
        assert (answer.status, await collect(answer)) == (413, b"big")
        await asyncio.wait_for(server.empty.wait(), 9)


async def test_the_stock_transport_returns_a_refusal_too(client: ProviderClient) -> None:
    """It sends the whole body first."""

    async def script(peer: RawPeer) -> None:
        await read_head(peer)
        await peer.send(REFUSAL)
        await peer.left()

    async with RawServer(script) as server:
        body = pieces(*[PIECE] * 9)
        answer = await forward(client, server, transport="stock", body=body)
        assert (answer.status, await collect(answer)) == (413, b"big")


async def test_an_early_answer_that_is_no_refusal_does_not_stop_the_upload(
    client: ProviderClient,
) -> None:
    async def script(peer: RawPeer) -> None:
        await read_head(peer)
        await peer.send(CHUNKED)
        received = await peer.reader.readexactly(len(PIECE) * 9)
        await peer.chunk(b"%d" % len(received))
        await peer.send(b"0\r\n\r\n")

    async with RawServer(script) as server:
        body = pieces(*[PIECE] * 9)
        answer = await forward(client, server, body=body, length=9 * len(PIECE))
        assert await collect(answer) == b"%d" % (9 * len(PIECE))


@both_transports
async def test_a_provider_that_stops_reading_times_out(
    client: ProviderClient, transport: str
) -> None:
    async def script(peer: RawPeer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
        await gone.wait()

    gone = asyncio.Event()
    async with RawServer(script) as server:
        timers = Timers(headers=9.0, idle=0.05)
        body = endless()
        problem = await fail(
            client, server, transport=transport, body=body, length=1 << 40, timers=timers
        )
        gone.set()
    assert (problem.kind, problem.spent) == ("upstream_timeout", "maybe")
    assert problem.message == "acme stopped reading the request."


@both_transports
async def test_the_head_may_take_its_time_after_the_upload_only(
    client: ProviderClient, transport: str
) -> None:
    """The upload may take longer than the head: here three times as long."""

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(6):
            await asyncio.sleep(0.05)
            yield b"x"

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.left()

    timers = Timers(headers=0.1, idle=9.0)
    async with RawServer(script) as server:
        problem = await fail(client, server, transport=transport, body=slow(), timers=timers)
        assert len(server.requests) == 1
    assert (problem.kind, problem.message) == (
        "upstream_timeout",
        "acme did not answer in time.",
    )


@both_transports
async def test_an_upload_ends_at_the_deadline(client: ProviderClient, transport: str) -> None:
    async with RawServer(always(OK)) as server:
        body = endless(asyncio.Event())
        problem = await fail(client, server, transport=transport, body=body, seconds=0.1)
        await asyncio.wait_for(server.empty.wait(), 9)
    assert (problem.kind, problem.spent) == ("upstream_timeout", "maybe")


@pytest.mark.parametrize("waits", [False, True], ids=["sends", "waits"])
async def test_a_provider_that_dies_in_an_upload_is_unreachable(
    client: ProviderClient,
    waits: bool,
) -> None:
    async def script(peer: RawPeer) -> None:
        await read_head(peer)
        await peer.reader.readexactly(len(PIECE))
        peer.writer.transport.abort()

    async with RawServer(script) as server:
        body = endless(asyncio.Event() if waits else None)
        problem = await fail(client, server, body=body, length=1 << 40)
        assert server.opened == 1
    assert (problem.kind, problem.spent) == ("upstream_unreachable", "maybe")


@both_transports
async def test_an_error_of_the_body_ends_the_request(
    client: ProviderClient, transport: str
) -> None:
    """The error of the client's side arrives as it is, and the provider sees a broken request."""

    class GoneError(Exception):
        """The client has left."""

    async def leave() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(0.01)
        raise GoneError

    async with RawServer(always(OK)) as server:
        with pytest.raises(GoneError):
            await forward(client, server, transport=transport, body=leave())
        await asyncio.wait_for(server.empty.wait(), 9)
        assert not server.requests


async def test_a_body_that_times_out_by_itself_is_no_refusal(client: ProviderClient) -> None:
    async def time_out() -> AsyncIterator[bytes]:
        yield b"x"
        raise TimeoutError

    async with RawServer(always(OK)) as server:
        problem = await fail(client, server, body=time_out())
        assert not server.requests
    assert problem.kind == "upstream_timeout"


async def leaving(peer: RawPeer) -> None:
    """Answer one request, and leave after the head of a second."""
    await peer.request()
    await peer.send(OK)
    await read_head(peer)


@pytest.mark.parametrize("body", [None, b"{}"])
async def test_a_whole_request_on_a_stale_connection_is_sent_once_more(
    client: ProviderClient, body: bytes | None
) -> None:
    resends: list[Problem] = []

    async def note(problem: Problem) -> None:
        await asyncio.sleep(0)
        resends.append(problem)

    async with RawServer(leaving) as server:
        await collect(await forward(client, server))
        answer = await forward(client, server, body=body, on_resend=note)
        assert await collect(answer) == b"ok"
        await collect(await forward(client, server, body=body))
        assert server.opened == 3
    assert [problem.spent for problem in resends] == ["no"]


async def test_an_upload_on_a_stale_connection_is_not_sent_again(client: ProviderClient) -> None:
    async with RawServer(leaving) as server:
        await collect(await forward(client, server))
        problem = await fail(client, server, body=pieces(b"a"))
        assert (problem.spent, server.opened) == ("maybe", 1)


async def test_a_late_close_is_no_stale_connection(
    client: ProviderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstream.client._CROSSING_SECONDS", 0.0)
    async with RawServer(leaving) as server:
        await collect(await forward(client, server))
        problem = await fail(client, server, method="GET")
        assert (problem.spent, server.opened) == ("maybe", 1)


@both_transports
async def test_no_request_is_sent_without_its_row(transport: str) -> None:
    has_room = False
    batch = WriteBatch(lambda: has_room)
    client = ProviderClient(ConnectionPools(write_batch=batch), write_batch=batch)
    async with RawServer(always(OK)) as server:
        problem = await fail(client, server, transport=transport, body=pieces(b"a"))
        assert (problem.kind, server.opened) == ("ledger", 0)
        has_room = True
        answer = await forward(client, server, transport=transport, body=pieces(b"a"))
        assert await collect(answer) == b"ok"
    await client.close()


async def test_a_large_answer_waits_for_its_reader(client: ProviderClient) -> None:
    """The provider cannot send more than the buffers of the kernel and the gateway hold."""
    sent = 0

    async def script(peer: RawPeer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (1000 * len(PIECE)))
        for _ in range(1000):
            await peer.send(PIECE)
            sent += 1

    async with RawServer(script) as server:
        answer = await forward(client, server, method="GET")
        await asyncio.sleep(0.3)
        assert sent < 300
        assert len(await collect(answer)) == 1000 * len(PIECE)


async def test_a_refusal_is_read_before_the_next_write(client: ProviderClient) -> None:
    """A write after the provider has closed would lose an answer that the loop has not read."""

    def refuse() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(len(PIECE))
            peer.sendall(REFUSAL)
        closed.set()

    async def body() -> AsyncIterator[bytes]:
        yield PIECE
        assert closed.wait(9)  # the loop stands still meanwhile
        time.sleep(0.02)  # noqa: ASYNC251 - as said
        yield PIECE
        yield PIECE

    closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        acme = Provider(name="acme", urls={"openai-chat": f"{url}/v1/chat"})
        request = ForwardedRequest(method="POST", url=f"{url}/v1/files", body=body())
        answer = await client.forward(acme, KEY, request, PATIENT)
        assert (answer.status, await collect(answer)) == (413, b"big")
        thread.join()


async def test_an_upload_ends_once_if_its_connection_is_lost_after_a_refusal() -> None:
    """The loss of the connection arrives while the refusal is ending the upload."""
    connection, line = ProviderConnection(asyncio.get_running_loop()), ProviderLine()
    connection.connection_made(line)
    connection.begin(b"head", has_more=True)
    message = OutgoingRequest(b"head", httpx.ByteStream(b""), chunked=True)
    stream = _IteratorStream(endless(asyncio.Event()))
    upload = asyncio.create_task(upload_body(connection, message, stream, 9.0))
    await asyncio.sleep(0)
    connection.data_received(REFUSAL)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await upload
    assert (await connection.wait_for_head()).status == 413
