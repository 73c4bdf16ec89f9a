"""Test that the shorter way through our own transport does the same as the way through httpx."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import msgspec
import pytest

from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Provider, Timers
from gateway.dialects import OPENAI_CHAT
from gateway.upstream.client import ProviderClient, ProviderResponse
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.http1 import Http1Transport
from gateway.upstream.http1.request import MAX_SINGLE_WRITE_BYTES
from gateway.upstream.write_batch import WriteBatch
from tests.contract.client import until
from tests.contract.server import CHUNKED, OK, RawPeer, RawServer, always, once

KEY = Account("main", "sk-1")
PATIENT = Timers(headers=9.0, idle=9.0)


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    client = ProviderClient(hop="h")
    yield client
    await client.close()
    await asyncio.sleep(0)


def provider(server: RawServer, **more: object) -> Provider:
    values = {"name": "acme", "urls": {"openai-chat": f"{server.url}/v1/chat"}, **more}
    return msgspec.convert(values, Provider, from_attributes=True)


async def send(
    client: ProviderClient,
    server: RawServer,
    *,
    body: bytes = b'{"a": 1.50}',
    limits: Timers = PATIENT,
    account: Account = KEY,
    **headers: str,
) -> ProviderResponse:
    return await client.send(provider(server), account, OPENAI_CHAT, body, headers, limits)


async def collect(answer: ProviderResponse, *, idle: float = 9.0, total: float = 9.0) -> bytes:
    deadline = asyncio.get_running_loop().time() + total
    try:
        return b"".join([data async for data in answer.read(idle, deadline)])
    finally:
        await answer.close()


async def refused(client: ProviderClient, server: RawServer, limits: Timers = PATIENT) -> Problem:
    with pytest.raises(ProblemError) as caught:
        await send(client, server, limits=limits)
    return caught.value.problem


async def test_the_request_equals_that_of_httpx_byte_for_byte(client: ProviderClient) -> None:
    """The request equals httpx's byte for byte: line, headers in order, length, body."""
    async with RawServer(always(OK)) as server:
        assert await collect(await send(client, server, traceparent="00-1-2-01")) == b"ok"
        (request,) = server.requests
        assert request.head.replace(str(server.port).encode(), b"PORT") == (
            b"POST /v1/chat HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\ncontent-type: application/json\r\n"
            b"accept-encoding: identity\r\nuser-agent: tiergate\r\nx-tiergate-hop: h\r\n"
            b"authorization: Bearer sk-1\r\ncontent-length: 11\r\ntraceparent: 00-1-2-01\r\n\r\n"
        )
        assert request.body == b'{"a": 1.50}'


async def test_one_connection_serves_several_accounts_with_their_own_keys(
    client: ProviderClient,
) -> None:
    async with RawServer(always(OK)) as server:
        for secret in ("sk-1", "sk-2", "sk-1"):
            answer = await send(client, server, account=Account(secret, secret))
            assert answer.take_buffered() in (b"ok", None)
            await collect(answer)
        sent = [request.all(b"authorization") for request in server.requests]
        assert sent == [[b"Bearer sk-1"], [b"Bearer sk-2"], [b"Bearer sk-1"]]
        assert server.opened == 1


async def test_a_buffered_answer_is_returned_without_a_wait(client: ProviderClient) -> None:
    """Once taken, the body has no more bytes."""
    async with RawServer(always(OK)) as server:
        await collect(await send(client, server))
        answer = await send(client, server)
        assert answer.take_buffered() == b"ok"
        assert await collect(answer) == b""


async def test_an_incomplete_answer_is_read_to_its_end(client: ProviderClient) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"a")
        await go.wait()
        await peer.chunk(b"b")
        await peer.send(b"0\r\n\r\n")

    go = asyncio.Event()
    async with RawServer(script) as server:
        answer = await send(client, server)
        assert answer.take_buffered() is None
        go.set()
        assert await collect(answer) == b"ab"


@pytest.mark.parametrize(
    "value", ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rb", "a\0b"], ids=["crlf", "lf", "cr", "nul"]
)
async def test_a_header_value_cannot_inject_another_header(
    client: ProviderClient, value: str
) -> None:
    async with RawServer(always(OK)) as server:
        with pytest.raises(ProblemError) as caught:
            await send(client, server, traceparent=value)
        problem = caught.value.problem
        assert (problem.kind, problem.spent) == ("upstream_unreachable", "no")
        assert not server.requests


@pytest.mark.parametrize("name", ["content-length", "Transfer-Encoding", "host"])
async def test_no_header_can_change_the_framing_of_a_request(
    client: ProviderClient, name: str
) -> None:
    async with RawServer(always(OK)) as server:
        with pytest.raises(ProblemError, match="given twice"):
            await client.send(provider(server), KEY, OPENAI_CHAT, b"", {name: "1"}, PATIENT)
        assert not server.requests


async def test_a_large_body_is_sent_whole(client: ProviderClient) -> None:
    body = b"x" * (MAX_SINGLE_WRITE_BYTES + 1)
    async with RawServer(always(OK)) as server:
        assert await collect(await send(client, server, body=body)) == b"ok"
        assert server.requests[0].body == body


async def test_a_large_body_that_the_provider_does_not_read_times_out(
    client: ProviderClient,
) -> None:
    async def script(peer: RawPeer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own has it
        await asyncio.Event().wait()

    async with RawServer(script) as server:
        with pytest.raises(ProblemError, match="in time"):
            await send(client, server, body=b"x" * 30_000_000, limits=Timers(headers=0.05))


async def test_an_incomplete_head_times_out(client: ProviderClient) -> None:
    """An interim answer is no head, and bytes of a head do not prolong the wait."""

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        await peer.left()

    async with RawServer(script) as server:
        problem = await refused(client, server, Timers(headers=0.05))
        assert (problem.kind, problem.spent) == ("upstream_timeout", "maybe")
        assert problem.message == "acme did not answer in time."
        async with asyncio.timeout(30):
            await server.empty.wait()


@pytest.mark.parametrize(
    ("idle", "total", "why"),
    [(0.05, 9.0, "stopped sending"), (9.0, 0.05, "took longer than its tier allows")],
)
async def test_a_late_body_times_out(
    client: ProviderClient, idle: float, total: float, why: str
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"a")
        await peer.left()

    async with RawServer(script) as server:
        answer = await send(client, server)
        with pytest.raises(ProblemError, match=why) as caught:
            await collect(answer, idle=idle, total=total)
        assert (caught.value.problem.kind, caught.value.problem.spent) == (
            "upstream_timeout", "maybe",
        )  # fmt: skip


async def test_a_truncated_body_is_an_error(client: ProviderClient) -> None:
    async with RawServer(once(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")) as server:
        answer = await send(client, server)
        with pytest.raises(ProblemError, match="cut off") as caught:
            await collect(answer)
        assert caught.value.problem.kind == "upstream_truncated"


async def test_a_kept_connection_forgets_the_deadline_of_the_last_call(
    client: ProviderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept connection forgets the deadline of the call before, even while it waits again."""
    request_arrived, answers = asyncio.Event(), asyncio.Event()

    async def twice(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        request_arrived.set()
        await answers.wait()
        await peer.send(OK)

    loop = asyncio.get_running_loop()
    async with RawServer(twice) as server:
        await collect(await send(client, server, limits=Timers(headers=5)), idle=5)
        second_call = asyncio.ensure_future(send(client, server, limits=Timers(headers=60)))
        await request_arrived.wait()
        now, later = loop.time, 6
        monkeypatch.setattr(loop, "time", lambda: now() + later)
        for _ in range(3):
            await asyncio.sleep(0)  # let due timers fire
        assert not second_call.done()
        answers.set()
        assert await collect(await second_call) == b"ok"
        assert server.opened == 1


async def leaving(peer: RawPeer) -> None:
    """Answer one request, and leave after reading a second."""
    await peer.request()
    await peer.send(OK)
    await peer.request()


async def test_a_request_on_a_stale_connection_is_sent_once_more(
    client: ProviderClient,
) -> None:
    """The connection looked usable; since it closed before a byte of the answer, the connection is
    to blame.

    The caller can record this before the second request.
    """
    resends: list[tuple[Problem, int]] = []
    async with RawServer(leaving) as server:

        async def waited() -> None:
            resends.append((resends.pop()[0], len(server.requests)))

        def again(problem: Problem) -> Awaitable[None]:
            resends.append((problem, 0))
            return waited()

        await collect(await send(client, server))
        who = provider(server)
        answer = await client.send(who, KEY, OPENAI_CHAT, b"{}", {}, PATIENT, on_resend=again)
        assert await collect(answer) == b"ok"
        assert len(server.requests) == 3
        assert server.opened == 2
    ((problem, before),) = resends
    assert (problem.kind, problem.spent, before) == ("upstream_unreachable", "no", 2)


async def test_a_request_that_the_provider_may_have_processed_is_not_sent_again(
    client: ProviderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection closed late: the provider may bill the request, so the next target is asked."""
    monkeypatch.setattr("gateway.upstream.client._CROSSING_SECONDS", 0.0)
    async with RawServer(leaving) as server:
        await collect(await send(client, server))
        problem = await refused(client, server)
        assert len(server.requests) == 2
    assert (problem.kind, problem.spent) == ("upstream_unreachable", "maybe")


async def test_a_closed_port_is_unreachable(client: ProviderClient) -> None:
    async with RawServer(always(OK)) as server:
        pass
    problem = await refused(client, server)
    assert (problem.kind, problem.spent) == ("upstream_unreachable", "no")


async def test_a_cancelled_call_closes_its_connection(client: ProviderClient) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.left()

    async with RawServer(script) as server:
        task = asyncio.create_task(send(client, server))
        await until(lambda: bool(server.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(30):
            await server.empty.wait()


async def test_a_proxy_gets_the_whole_url_of_a_plain_request(client: ProviderClient) -> None:
    async with RawServer(always(OK)) as server:
        acme = provider(
            server,
            urls={"openai-chat": "http://provider.invalid/v1"},
            proxy=server.url.replace("://", "://user:pass@"),
        )
        answer = await client.send(acme, KEY, OPENAI_CHAT, b"{}", {}, PATIENT)
        assert await collect(answer) == b"ok"
        (request,) = server.requests
        assert request.line == b"POST http://provider.invalid/v1 HTTP/1.1"
        assert request.all(b"host") == [b"provider.invalid"]
        assert request.all(b"proxy-authorization") == [b"Basic dXNlcjpwYXNz"]


async def test_a_call_waits_while_the_pool_is_full() -> None:
    transport = Http1Transport(limit=1)
    client = ProviderClient(lambda _: transport)
    async with RawServer(always(OK)) as server:
        first_answer = await send(client, server)
        second_call = asyncio.create_task(send(client, server))
        await until(lambda: transport.list_pools()[0].queued_count == 1)
        assert await collect(first_answer) == b"ok"
        assert await collect(await second_call) == b"ok"
        assert server.opened == 1
        await client.close()


class Rows:
    """A ledger behind a write batch, with or without room."""

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.room = True
        self.written: list[int] = []
        """Number of requests that the provider had seen at each write."""
        box = WriteBatch(self._write)
        box.count_calls = lambda: 2
        self.client = ProviderClient(ConnectionPools(write_batch=box), write_batch=box)

    def _write(self) -> bool:
        self.written.append(len(self.server.requests))
        return self.room


@pytest.mark.parametrize("size", [10, MAX_SINGLE_WRITE_BYTES + 1])
async def test_the_gateway_sends_no_request_without_its_row(size: int) -> None:
    """Kept or new connection, one piece or several: without a row the gateway sends nothing."""
    async with RawServer(always(OK)) as server:
        rows = Rows(server)
        body = b"1" * size
        rows.room = False
        with pytest.raises(ProblemError) as caught:
            await send(rows.client, server, body=body)
        assert (caught.value.problem.kind, server.opened) == ("ledger", 0)
        rows.room = True
        assert await collect(await send(rows.client, server, body=body)) == b"ok"
        rows.room = False
        with pytest.raises(ProblemError) as caught:
            await send(rows.client, server, body=body)
        assert (caught.value.problem.kind, len(server.requests)) == ("ledger", 1)
        rows.room = True
        assert await collect(await send(rows.client, server, body=body)) == b"ok"
        assert rows.written[:2] == [0, 0]
        assert sorted(rows.written) == rows.written
        await rows.client.close()
