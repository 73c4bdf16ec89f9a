"""Test calls that arrive whole or in pieces: they are served alike, and each has one answer."""

import asyncio
import math
from typing import Any

import pytest

from gateway.pipeline.response import Response
from gateway.server.http1.exchange import EndpointExchange
from gateway.server.http1.protocol import ClientConnection
from gateway.server.request_headers import Message, Receive, Scope, Send
from tests.e2e.child import until
from tests.e2e.upstream import SILENT, Upstream, frames, stream, whole
from tests.e2e.world import Config, Make, abort
from tests.e2e.world import chat as chat_body
from tests.server.gate import (
    CHAT,
    MESSAGES,
    Gate,
    GateReply,
    answers,
    chat,
    drain,
    request,
    valid_body,
)
from tests.server.http1.fakes import FakeApp, FakeTransport, connect

CLOSE = b"connection: close"
CALL = request(CHAT, chat(), CLOSE)
HEAD = CALL.index(b"\r\n\r\n") + 4


def drop_ids(reply: GateReply) -> tuple[Any, ...]:
    """Return the parts of an answer that are the same for every call."""
    per_call = ("x-request-id", "request-id", "x-tiergate-decision")
    headers = {name: value for name, value in reply.headers.items() if name not in per_call}
    return reply.status, headers, reply.body


@pytest.mark.parametrize("cut", [1, 20, HEAD - 2, HEAD, HEAD + 1, len(CALL) - 1])
def test_the_answer_does_not_depend_on_how_a_request_is_cut(gate: Gate, cut: int) -> None:
    """The answer does not depend on cuts in the request; the gateway reads the first part
    separately.
    """
    (whole,) = answers(gate.exchange(CALL))
    with gate.dial() as connection:
        connection.sendall(CALL[:cut])
        gate.ask("/health", method="GET")  # by now the gateway has read what was written before
        connection.sendall(CALL[cut:])
        (reply,) = answers(drain(connection))
    assert drop_ids(reply) == drop_ids(whole)
    assert reply.status == 200


def test_whole_cut_and_refused_requests_share_one_connection(gate: Gate) -> None:
    """Whole, cut, refused, or for another endpoint: each request has its own answer, in order."""
    call, invalid = request(CHAT, chat()), request(CHAT, b"{")
    with gate.dial() as connection:
        for piece in (
            call + invalid + call[:-5],
            call[-5:],
            request(MESSAGES, valid_body(MESSAGES)),
        ):
            connection.sendall(piece)
            gate.ask("/health", method="GET")
        connection.sendall(CALL)
        replies = answers(drain(connection))
    assert [reply.status for reply in replies] == [200, 400, 200, 200, 200]


def test_invalid_bytes_behind_a_request_do_not_change_its_answer(gate: Gate) -> None:
    (reply,) = answers(gate.exchange(request(CHAT, chat()) + b"rubbish\r\n\r\n"))
    assert (reply.status, reply.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("origin", [b"https://elsewhere.example", b"null"])
def test_a_web_page_from_elsewhere_is_refused_in_a_whole_request_too(
    gate: Gate, origin: bytes
) -> None:
    (told,) = answers(gate.exchange(request(CHAT, chat(), b"origin: " + origin, CLOSE)))
    assert told.status == 403


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_stock_transport_can_serve_a_call_of_the_fast_path(
    make: Make, upstream: Upstream, *, is_stream: bool
) -> None:
    """The stock transport checks the task that it runs in: anyio's time limits do so."""

    def use_stock_transport(value: Config) -> None:
        value["providers"]["acme"]["transport"] = "stock"
        value["providers"]["acme"]["timeouts"] = {"headers": 0.3}

    world = make(use_stock_transport)
    upstream.on("/", stream(*frames()) if is_stream else whole())
    assert world.ask(chat_body(stream=is_stream)).status_code == 200
    upstream.on("/", SILENT)
    assert world.ask(chat_body(stream=is_stream)).status_code >= 500
    with world.leaving(chat_body(stream=is_stream)) as connection:
        until(lambda: bool(upstream.requests), "it is asked")
        abort(connection)
        until(lambda: not world._server.server_state.tasks, "it has ended")


class ReplyingEndpoint:
    """Answers each request with one response, in one piece."""

    def __init__(self, reply: Response) -> None:
        self.reply = reply
        self.exchanges: list[EndpointExchange] = []
        self.results: list[bool] = []
        self.is_client_stuck = False

    async def serve_exchange(self, exchange: EndpointExchange) -> None:
        self.exchanges.append(exchange)
        if self.is_client_stuck:
            exchange.connection.transport.pause_writing()
        self.results.append(exchange.write_reply(self.reply))
        exchange.connection.transport.resume_writing()


class EndpointClient:
    """A client of an endpoint."""

    def __init__(self, reply: Response) -> None:
        self.endpoint, self.transport = ReplyingEndpoint(reply), FakeTransport()
        self.app = FakeApp(self.endpoint)
        self.connection = connect(self.app, self.transport)

    def send(self, *lines: bytes) -> bytes:
        self.connection.data_received(request(CHAT, b"{}", *lines))
        return self.transport.data


REPLY = Response(status=200, headers=[(b"a", b"b")], body=b"{\r\n}")
FAILED = b"Internal Server Error"


async def test_a_whole_answer_is_written_in_one_piece() -> None:
    client = EndpointClient(REPLY)
    written = b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 4\r\n\r\n{\r\n}"
    assert client.send() == written
    assert client.endpoint.results == [True]
    assert client.endpoint.exchanges[0].writer.is_complete
    assert client.connection._server_state.total_requests == 1
    assert client.send() == written * 2
    assert client.transport.written == [written] * 2


async def test_nothing_is_written_to_a_client_that_has_left() -> None:
    client = EndpointClient(REPLY)
    client.send()
    exchange = client.endpoint.exchanges[0]
    disconnected = EndpointExchange(
        exchange.connection,
        client.connection._make_writer(keep_alive=True),
        exchange.endpoint,
        (),
        b"",
    )
    disconnected.disconnect()
    assert disconnected.write_reply(REPLY)
    await disconnected.send({"type": "http.response.start", "status": 200, "headers": []})
    assert len(client.transport.written) == 1


@pytest.mark.parametrize("value", [b"b\r\nc: d", b"b\n", b"\r", b"\0"])
async def test_sec_hdr_a_header_with_a_line_break_becomes_a_500(value: bytes) -> None:
    client = EndpointClient(Response(status=200, headers=[(b"a", value)], body=b"{}"))
    written = client.send()
    assert client.endpoint.results == [False]
    assert written.startswith(b"HTTP/1.1 500 ")  # the status of an answer that never began


async def test_an_answer_waits_for_a_client_that_does_not_read() -> None:
    client = EndpointClient(REPLY)
    client.endpoint.is_client_stuck = True
    client.send()
    assert client.endpoint.results == [False]


async def test_the_last_answer_of_a_connection_announces_the_close() -> None:
    client = EndpointClient(REPLY)
    client.send(b"connection: close")
    assert client.endpoint.results == [False]
    assert b"connection: close" in client.transport.data
    assert client.transport.is_closed


class AsgiClient:
    """A client of an ASGI application."""

    def __init__(self, *messages: Message, error: Exception | None = None) -> None:
        self.messages, self.error = messages, error
        self.scope: Scope = {}
        self.received: list[Message] = []
        self.receives = 0
        """Number of messages that the application receives before it answers."""
        self.transport = FakeTransport()
        self.connection = connect(FakeApp(None, self.serve), self.transport)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        for _ in range(self.receives):
            self.received.append(await receive())
        for message in self.messages:
            await send(message)
        if self.error is not None:
            raise self.error

    async def send(self, data: bytes) -> bytes:
        self.connection.data_received(data)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.transport.data


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"some"}
GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_an_application_gets_the_scope_that_asgi_defines() -> None:
    client = AsgiClient(START, BODY)
    written = await client.send(GET)
    assert written.endswith(b"transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n\r\n")
    scope = dict(client.scope)
    assert scope.pop("exchange") is client.connection._current
    assert scope == {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "server": None, "client": None, "scheme": "http", "root_path": "", "method": "GET",
        "path": "/a b", "raw_path": b"/a%20b", "query_string": b"c=d",
        "headers": [(b"host", b"localhost")], "state": {},
    }  # fmt: skip
    assert not client.transport.is_closed


async def test_an_application_receives_a_body_piece_by_piece() -> None:
    client = AsgiClient(START, BODY)
    client.receives = 2
    data = request("/elsewhere", b"x" * 70_000)
    assert await client.send(data[:-1]) == b""
    assert [len(message["body"]) for message in client.received] == [69_999]
    await client.send(data[-1:])
    assert [message["more_body"] for message in client.received] == [True, False]
    assert client.transport.data.startswith(b"HTTP/1.1 200 ")
    assert client.transport.is_reading


async def test_a_large_body_is_read_as_fast_as_the_application_takes_it() -> None:
    client = AsgiClient(START, BODY)
    client.receives = 2
    await client.send(request("/elsewhere", b"x" * 200_000)[:100])
    client.connection.data_received(b"x" * 70_000)
    assert not client.transport.is_reading
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [len(message["body"]) for message in client.received][1:] == [70_000]


async def test_an_application_learns_that_its_client_has_left() -> None:
    client = AsgiClient(START, BODY)
    client.receives = 2
    await client.send(request("/elsewhere", b"{}")[:-1])
    client.connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.received[-1] == {"type": "http.disconnect"}
    assert client.transport.data == b""


@pytest.mark.parametrize(
    ("messages", "error"), [((), None), ((), ValueError("bug")), ((BODY,), None)]
)
async def test_an_application_that_does_not_answer_becomes_a_500(
    messages: tuple[Message, ...], error: Exception | None
) -> None:
    client = AsgiClient(*messages, error=error)
    written = await client.send(GET)
    assert written.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert written.endswith(b"content-length: 21\r\nconnection: close\r\n\r\nInternal Server Error")
    assert client.transport.is_closed


@pytest.mark.parametrize("error", [None, ValueError("bug")])
async def test_an_incomplete_answer_is_cut_and_the_connection_closes(
    error: Exception | None,
) -> None:
    """The client sees that the last chunk is missing; a head without a body is sent too."""
    for messages in ((START,), (START, {**BODY, "more_body": True}), (START, START)):
        client = AsgiClient(*messages, error=error)
        written = await client.send(GET)
        assert written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not written.endswith(b"0\r\n\r\n")
        assert client.transport.is_closed


async def test_an_application_can_send_nothing_after_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = AsgiClient(START, BODY, BODY)
    written = await client.send(GET)
    assert written.count(b"some") == 1
    assert "Unexpected ASGI message 'http.response.body'." in caplog.text


async def test_head_gets_the_headers_of_get() -> None:
    client = AsgiClient({**START, "headers": [(b"content-length", b"4")]}, BODY)
    written = await client.send(GET.replace(b"GET", b"HEAD"))
    assert written == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [GET.replace(b"1.1", b"1.0"), GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")],
)
async def test_the_client_can_end_the_connection(data: bytes) -> None:
    client = AsgiClient({**START, "headers": [(b"content-length", b"4")]}, BODY)
    written = await client.send(data)
    assert written.endswith(b"connection: close\r\n\r\nsome")
    assert client.transport.is_closed


async def test_a_stopping_server_lets_answers_end() -> None:
    idle, busy = AsgiClient(START, BODY), AsgiClient(START, BODY)
    await idle.send(GET)
    idle.connection.shutdown()
    assert idle.transport.is_closed
    busy.connection.data_received(GET)
    busy.connection.shutdown()
    assert not busy.transport.is_closed
    await asyncio.sleep(0)
    assert b"connection: close" in busy.transport.data
    assert busy.transport.is_closed


async def test_pipelined_requests_are_answered_in_order() -> None:
    """While the gateway answers one request it reads nothing more; then it reads on."""
    client = AsgiClient(START, BODY)
    client.connection.data_received(GET + GET)
    reads = [client.transport.is_reading]
    for _ in range(4):
        await asyncio.sleep(0)
    assert client.transport.data.count(b"HTTP/1.1 200 ") == 2
    assert [*reads, client.transport.is_reading] == [False, True]
    assert client.connection._server_state.total_requests == 2


class FakeLoop:
    """A loop whose time the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[float] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, _: Any) -> object:
        self.due.append(when)
        return object()


@pytest.mark.parametrize(
    ("until", "closed", "due"), [(5.0, True, []), (12.0, False, [12.0]), (math.inf, False, [])]
)
async def test_the_idle_timer_closes_waits_on_or_does_nothing(
    until: float, closed: bool, due: list[float]
) -> None:
    """By the time of the last answer the timer closes, waits on, or leaves a connection in use
    alone.
    """
    transport, clock = FakeTransport(), FakeLoop()
    clock.now = 10.0
    connection: Any = connect(FakeApp(), transport)
    connection._loop, connection._idle_deadline = clock, until
    ClientConnection._check_idle(connection)
    assert (transport.is_closed, clock.due) == (closed, due)
    assert (connection._idle_timer is None) == (not due)
