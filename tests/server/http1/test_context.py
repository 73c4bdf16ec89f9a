"""Test context variables: what one call sets is invisible to other calls and to its connection."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest

from gateway.server.http1.exchange import EndpointExchange
from gateway.server.http1.protocol import ClientConnection
from gateway.server.request_headers import Receive, Scope, Send
from tests.server.gate import CHAT, request
from tests.server.http1.fakes import FakeApp

CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class CallerEndpoint:
    """Reads the caller that it finds, then sets its own; `waits` makes it pause before it answers."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.waits = False

    def begin(self) -> None:
        self.seen.append(CALLER.get())
        CALLER.set(f"call {len(self.seen)}")

    async def answer(self, send: Send) -> None:
        if self.waits:
            await asyncio.sleep(0)
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async def serve_exchange(self, exchange: EndpointExchange) -> None:
        self.begin()
        await self.answer(exchange.send)

    async def serve_asgi(self, _scope: Scope, receive: Receive, send: Send) -> None:
        self.begin()
        while (await receive())["more_body"]:
            pass
        await self.answer(send)


class WatchedConnection(ClientConnection):
    """Records the caller that each of its callbacks sees."""

    seen: dict[str, set[str]]

    def _note(self, name: str) -> None:
        self.seen.setdefault(name, set()).add(CALLER.get())

    def data_received(self, data: bytes) -> None:
        self._note("data_received")
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("connection_lost")
        super().connection_lost(exc)

    def _check_idle(self) -> None:
        self._note("idle timer")
        super()._check_idle()

    def _on_head_timeout(self) -> None:
        self._note("head timer")
        super()._on_head_timeout()


@contextlib.asynccontextmanager
async def serving(app: FakeApp, seen: dict[str, set[str]]) -> AsyncIterator[socket.socket]:
    """Connect a client to an application on a real connection."""
    state: Any = type("State", (), {})()
    state.connections, state.tasks, state.total_requests = set(), set(), 0
    state.default_headers = []
    config: Any = type("Config", (), {"app": app})()

    def make_connection() -> asyncio.Protocol:
        connection = WatchedConnection(config, state, {})
        connection.seen = seen
        return connection

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make_connection, "127.0.0.1", 0)
    try:
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            yield client
    finally:
        server.close()
        await server.wait_closed()


async def ask(client: socket.socket, data: bytes, count: int = 1) -> None:
    """Send requests, and read as many answers."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, data)
    answers = b""
    while answers.count(b"\r\n\r\n") < count:
        piece = await asyncio.wait_for(loop.sock_recv(client, 65_536), 10)
        assert piece
        answers += piece
    assert answers == OK * count


@pytest.mark.jumping_clock
@pytest.mark.parametrize("waits", [False, True])
async def test_a_call_does_not_see_the_context_of_the_one_before(*, waits: bool) -> None:
    """Whole requests, pipelined ones, and large bodies that pause reading see nothing of each
    other.
    """
    endpoint = CallerEndpoint()
    endpoint.waits = waits
    app = FakeApp(endpoint, endpoint.serve_asgi)
    app.timeouts = app.timeouts.model_copy(update={"idle": 0.01, "head": 0.01})
    seen: dict[str, set[str]] = {}
    whole, large = request(CHAT, b"{}"), request("/elsewhere", b"x" * 300_000)
    async with serving(app, seen) as client:
        for data, count in ((whole, 1), (whole, 1), (whole + whole, 2), (large, 1), (whole, 1)):
            await ask(client, data, count)
        closed = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 10)
        assert closed == b""  # the idle timer closed it
    assert endpoint.seen == ["nobody"] * 6
    assert seen["data_received"] == seen["idle timer"] == seen["connection_lost"] == {"nobody"}


@pytest.mark.jumping_clock
async def test_a_timer_that_a_call_starts_does_not_see_its_context() -> None:
    """The timer for the rest of an unread body starts inside the call."""
    endpoint = CallerEndpoint()
    seen: dict[str, set[str]] = {}

    async def answer_early(_scope: Scope, _receive: Receive, send: Send) -> None:
        endpoint.begin()
        await endpoint.answer(send)

    app = FakeApp(None, answer_early)
    app.timeouts = app.timeouts.model_copy(update={"head": 0.01})
    async with serving(app, seen) as client:
        await ask(client, request("/elsewhere", b"x" * 100)[:-9])
        closed = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 10)
        assert closed == b""
    assert seen["head timer"] == {"nobody"}
    assert endpoint.seen == ["nobody"]
