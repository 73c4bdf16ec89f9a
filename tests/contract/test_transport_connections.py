"""Every transport keeps, counts and closes connections, and never mixes up two answers."""

import asyncio
import contextlib
import random
from pathlib import Path

import httpx
import pytest

from gateway.upstream.http1 import Http1Transport, StaleConnection
from tests.contract.client import ask, opened, until, whole
from tests.contract.conftest import Make
from tests.contract.server import CHUNKED, OK, RawPeer, RawServer, always, once

_POISON = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
_EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


async def _until_empty(server: RawServer) -> None:
    async with asyncio.timeout(30):
        await server.empty.wait()


@pytest.mark.parametrize(
    "first", [OK, _EMPTY, CHUNKED + b"2\r\nok\r\n0\r\n\r\n"], ids=["200", "204", "chunks"]
)
@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later"])
async def test_an_unrequested_answer_reaches_no_request(
    make: Make, first: bytes, later: bool
) -> None:
    """Only the defaults are safe.

    With max_idle, httpcore passes the bytes on, so stock() keeps none.
    """
    pushed = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        if peer.server.opened == 1:
            await peer.request()
            await peer.send(first if later else first + _POISON)
        if peer.server.opened == 1 and later:
            await pushed.wait()
            with contextlib.suppress(ConnectionError):
                await peer.send(_POISON)
        while True:
            await peer.request()
            await peer.send(OK)

    async with RawServer(script) as server:
        transport = make()
        await whole(transport, ask(server.url))
        pushed.set()
        await asyncio.sleep(0.01 if later else 0)
        for _ in range(2):
            assert (await whole(transport, ask(server.url)))[1] == b"ok"


async def test_a_connection_is_used_again(make: Make) -> None:
    async with RawServer(always(OK)) as server:
        transport = make(max_idle=10)
        for _ in range(5):
            await whole(transport, ask(server.url, "POST", content=b"x"))
        assert server.opened == 1


async def test_the_transport_obeys_connection_close(make: Make) -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with RawServer(always(answer)) as server:
        transport = make(max_idle=10)
        for _ in range(3):
            await whole(transport, ask(server.url))
        assert server.opened == 3


async def test_the_transport_does_not_use_a_closed_idle_connection(make: Make) -> None:
    async with RawServer(once(OK)) as server:
        transport = make(max_idle=10)
        for _ in range(6):
            await whole(transport, ask(server.url, "POST", content=b"x"))
            await server.empty.wait()
        assert len(server.requests) == 6


async def test_the_transport_does_not_repeat_a_post_that_the_server_read(
    make: Make, kind: str
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    async with RawServer(script) as server:
        transport = make(max_idle=10)
        await whole(transport, ask(server.url, "POST", content=b"x"))
        truth = StaleConnection if kind == "http1" else httpx.TransportError
        with pytest.raises(truth):
            await whole(transport, ask(server.url, "POST", content=b"x"))
        assert len(server.requests) == 2


@pytest.mark.parametrize("partial_answer", [b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_connection_that_began_to_answer_does_not_count_as_stale(
    make: Make, partial_answer: bytes
) -> None:
    """A server that answers has read the request: such an error must never look safe to repeat."""

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(partial_answer)

    async with RawServer(script) as server:
        transport = make(max_idle=10)
        await whole(transport, ask(server.url))
        with pytest.raises(httpx.TransportError) as caught:
            await whole(transport, ask(server.url))
        assert not isinstance(caught.value, (StaleConnection, httpx.ConnectError))


async def test_a_race_with_a_closing_server_loses_no_post(make: Make) -> None:
    """The server saw exactly the answered requests; each other one raises an error that says so."""
    async with RawServer(once(OK)) as server:
        transport = make(max_idle=10)
        answered = 0
        for _ in range(100):
            with contextlib.suppress(StaleConnection, httpx.ReadError, httpx.RemoteProtocolError):
                answered += (await whole(transport, ask(server.url, "POST", content=b"x")))[
                    1
                ] == b"ok"
        assert answered == len(server.requests) >= 50


@pytest.mark.parametrize("started", [False, True], ids=["waiting", "in mid-stream"])
async def test_a_cancelled_request_closes_its_connection(make: Make, started: bool) -> None:
    request_arrived = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.request()
        if started:
            await peer.send(CHUNKED)
            await peer.chunk(b"one")
        request_arrived.set()
        await peer.left()

    async with RawServer(script) as server:
        transport = make()
        task = asyncio.create_task(whole(transport, ask(server.url)))
        await request_arrived.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until_empty(server)


async def test_closing_an_answer_early_closes_the_connection(make: Make) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"one")
        await peer.left()

    async with RawServer(script) as server:
        stream, body = await opened(make(max_idle=10), ask(server.url))
        assert await anext(stream) == b"one"
        await body.aclose()
        await _until_empty(server)


async def test_the_transport_opens_no_more_connections_than_the_limit(make: Make) -> None:
    async with RawServer(always(OK)) as server:
        transport = make(limit=2, max_idle=2)
        answers = await asyncio.gather(*[whole(transport, ask(server.url)) for _ in range(40)])
        assert [body for _, body in answers] == [b"ok"] * 40
        assert server.peak == 2


async def test_a_full_pool_raises_a_pool_timeout(make: Make) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.left()

    async with RawServer(script) as server:
        transport = make(limit=1)
        first = asyncio.create_task(whole(transport, ask(server.url)))
        await until(lambda: bool(server.requests))
        with pytest.raises(httpx.PoolTimeout):
            await whole(transport, ask(server.url, pool=0.05))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_each_origin_has_its_own_connection_limit(make: Make, kind: str) -> None:
    """The limit of httpx spans all hosts, so each provider needs its own stock()."""

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.left()

    async with RawServer(script) as full, RawServer(always(OK)) as other_stream:
        transport = make(limit=1)
        first = asyncio.create_task(whole(transport, ask(full.url)))
        await until(lambda: bool(full.requests))
        if kind == "stock":
            with pytest.raises(httpx.PoolTimeout):
                await whole(transport, ask(other_stream.url, pool=0.05))
        else:
            assert (await whole(transport, ask(other_stream.url, pool=5.0)))[1] == b"ok"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_idle_connections_expire(make: Make, kind: str) -> None:
    async with RawServer(always(OK)) as server:
        transport = make(keepalive_expiry=0.05, max_idle=10)
        await whole(transport, ask(server.url))
        if kind == "stock":
            await asyncio.sleep(0.06)  # httpcore checks only at the next request
            await whole(transport, ask(server.url))
            assert server.opened == 2
        else:
            await _until_empty(server)


async def test_the_transport_keeps_no_more_idle_connections_than_max_idle(make: Make) -> None:
    meet = asyncio.Barrier(4)

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await meet.wait()
        await peer.send(OK)
        await peer.left()

    async with RawServer(script) as server:
        transport = make(max_idle=1)
        await asyncio.gather(*[whole(transport, ask(server.url)) for _ in range(4)])
        await until(lambda: server.live == 1)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_500_aborted_streams_leave_no_open_file(make: Make) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"one")
        await peer.left()

    async with RawServer(script) as server:
        transport = make(max_idle=10)

        async def abort() -> None:
            stream, body = await opened(transport, ask(server.url))
            await anext(stream)
            await body.aclose()

        await abort()
        await _until_empty(server)
        before = _open_files()
        for _ in range(20):
            await asyncio.gather(*[abort() for _ in range(25)])
        await _until_empty(server)
        await asyncio.sleep(0.01)
        assert _open_files() <= before
        assert server.opened == 501
        if isinstance(transport, Http1Transport):
            assert [
                (pool.in_use_count, pool.idle_count, pool.queued_count)
                for pool in transport.list_pools()
            ] == [(0, 0, 0)]


async def test_each_request_gets_its_own_answer(make: Make) -> None:
    """The server echoes requests of all sizes over few connections.

    A third of the calls are cancelled.
    """

    async def script(peer: RawPeer) -> None:
        while True:
            request = await peer.request()
            await peer.send(
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(request.body) + request.body
            )

    seeded = random.Random(7)
    done = {"whole": 0, "cancelled": 0}
    room = asyncio.Semaphore(40)

    async def echo(number: int) -> None:
        mark = b"%08d" % number
        sent = mark + b"z" * seeded.choice((10, 2_000, 100_000)) + mark
        leave, after = seeded.random() < 0.35, seeded.random() * 0.01
        async with room:
            task = asyncio.create_task(whole(transport, ask(server.url, "POST", content=sent)))
            if leave:
                await asyncio.sleep(after)
                task.cancel()
            try:
                _, body = await task
            except asyncio.CancelledError:
                done["cancelled"] += 1
            else:
                assert body == sent
                done["whole"] += 1

    async with RawServer(script) as server:
        transport = make(limit=15, max_idle=15)
        await asyncio.gather(*[echo(number) for number in range(600)])
        assert done["whole"] + done["cancelled"] == 600
        assert done["cancelled"] > 20
        if isinstance(transport, Http1Transport):
            (pool,) = transport.list_pools()
            assert (pool.in_use_count, pool.queued_count) == (0, 0)
            assert pool.idle_count <= 15
        await transport.aclose()
        await _until_empty(server)


async def test_streams_in_use_finish_after_the_transport_is_closed(make: Make, kind: str) -> None:
    """Only httpcore closes connections in use, and raises an error in their reader."""
    closed = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"one")
        await closed.wait()
        await peer.chunk(b"two")
        await peer.send(b"0\r\n\r\n")
        await peer.left()

    async with RawServer(script) as server:
        transport = make()
        stream, body = await opened(transport, ask(server.url))
        assert await anext(stream) == b"one"
        await transport.aclose()
        closed.set()
        if kind == "stock":
            with pytest.raises(httpx.ReadError):
                await anext(stream)
        else:
            assert [data async for data in stream] == [b"two"]
        await body.aclose()
        await _until_empty(server)


async def test_a_closed_answer_delivers_no_bytes_of_another(make: Make) -> None:
    """The connection may serve another request by then."""
    async with RawServer(always(OK)) as server:
        transport = make(max_idle=10)
        stream, body = await opened(transport, ask(server.url))
        assert await anext(stream) == b"ok"
        await body.aclose()
        other_stream, other_body = await opened(transport, ask(server.url))
        with contextlib.suppress(httpx.ReadError, StopAsyncIteration):
            assert not await anext(stream)
        assert await anext(other_stream) == b"ok"
        await other_body.aclose()
