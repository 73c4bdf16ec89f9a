"""HTTP/1.1 of clients and providers: heads and bodies, compared with h11, and the fast paths."""

import asyncio
from typing import Any

import h11
import httpx

from gateway.server.http1.request_parser import RequestHead, RequestParser, UnreadableRequestError
from gateway.upstream.http1.response import IncomingResponse, unwrap_chunk
from tests.fuzz.target import FuzzTarget, check_cuts, cut
from tests.server.http1.test_head_cache import feed_both

type Headers = list[tuple[bytes, bytes]]

_PREFIX = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class _RequestRecorder:
    """Keeps the requests that a parser reads."""

    def __init__(self) -> None:
        self.requests: list[tuple[RequestHead, bytearray]] = []
        self.complete = 0

    def on_head(self, head: RequestHead) -> None:
        self.requests.append((head, bytearray()))

    def on_body(self, body: bytes) -> None:
        self.requests[-1][1].extend(body)

    def on_message_complete(self) -> None:
        self.complete += 1

    def on_upgrade(self, head: RequestHead, remaining_data: bytes) -> bool:
        return False


type ReadRequests = tuple[list[tuple[RequestHead, bytes]], int, str]


def _read_requests(pieces: list[bytes]) -> ReadRequests:
    """Return the requests in the bytes, how many of them are whole, and why the rest is refused."""
    recorder = _RequestRecorder()
    parser = RequestParser(recorder)
    problem = ""
    try:
        for piece in pieces:
            if piece:
                parser.feed(piece)
    except UnreadableRequestError as error:
        problem = error.problem.message
    parser.stop()
    return [(head, bytes(body)) for head, body in recorder.requests], recorder.complete, problem


def _read_by_h11(data: bytes, role: Any) -> tuple[Any, bytes] | None:
    """Return the first message with its body; None if h11 refuses it or it is not whole."""
    connection = h11.Connection(role, max_incomplete_event_size=100_000)
    head, body = None, b""
    try:
        if role is h11.CLIENT:
            connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
            connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        if role is h11.CLIENT:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request | h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return head, body
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.ProtocolError:
        return None


def _select(headers: Headers, *names: bytes) -> Headers:
    """Return the headers that say where a message ends, with their values in one form."""
    return [(name, value.strip().lower()) for name, value in headers if name in names]


def check_requests(data: bytes) -> None:
    """Whatever h11 accepts too has the same method, target, length and body here."""
    requests, complete, _ = check_cuts(data, _read_requests)
    other = _read_by_h11(data, h11.SERVER)
    if not complete or other is None:
        return
    head, body = requests[0]
    other_head, other_body = other
    assert (head.method, body) == (other_head.method, other_body)
    if other_head.target.startswith(b"/"):  # the gateway takes the path of an absolute target
        assert head.url == other_head.target
    if not other_head.target.startswith(b"/") or b"upgrade" in data.lower():
        return  # the gateway takes these headers out
    assert [name for name, _ in head.headers] == [name for name, _ in other_head.headers]
    names = (b"content-length", b"host")
    assert _select(head.headers, *names) == _select(list(other_head.headers), *names)


type ReadResponse = tuple[int, Headers, bytes, bool, bool, bool]


def _read_response(pieces: list[bytes]) -> ReadResponse:
    """Return status, headers, body, and True if it is whole, kept, and refused."""
    response = IncomingResponse()
    try:
        for piece in pieces:
            response.feed(piece)
    except httpx.RemoteProtocolError:
        return 0, [], b"", False, False, True
    response.feed_eof()
    body = response.take_body()
    state = response.complete, response.complete and response.can_keep_alive, False
    return response.status, response.fields if response.head_complete else [], body, *state


def check_responses(data: bytes) -> None:
    """Whatever h11 accepts too has the same status, headers and body here."""
    status, headers, body, is_complete, _, _ = check_cuts(data, _read_response)
    other = _read_by_h11(data, h11.CLIENT)
    if not is_complete or other is None:
        return
    other_head, other_body = other
    assert (status, body) == (other_head.status_code, other_body)
    names = (b"content-length", b"content-type")
    assert _select(headers, *names) == _select(list(other_head.headers), *names)


_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def check_chunks(data: bytes) -> None:
    """A chunk that skips the parser is one whole chunk to the parser, with the same content."""
    content = unwrap_chunk(data)
    if content is None:
        return
    response = IncomingResponse()
    response.feed(_CHUNKED_HEAD)
    response.feed(data)
    assert (response.take_body(), response.complete) == (content, False)
    response.feed(b"1\r\nx\r\n0\r\n\r\n")
    assert (response.take_body(), response.complete, response.can_keep_alive) == (b"x", True, True)


_REQUEST_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: one\r\n"
    b"content-length: 2\r\nx-odd: 2\r\n\r\n"
)


def check_repeated_heads(data: bytes) -> None:
    """A connection that knows the head reads all bytes as one that does not know it."""

    async def compare() -> None:
        first = _REQUEST_HEAD + b"{}"
        for pieces in cut(data):
            known, unknown = feed_both(first, *[piece for piece in pieces if piece])
            for client in (known, unknown):
                if client.connection._body_timer is not None:
                    client.connection._on_body_timeout()  # as its timer does
            assert known.state() == unknown.state()
            for client in (known, unknown):
                client.connection.connection_lost(None)
            await asyncio.gather(*known.connection._server_state.tasks)

    asyncio.run(compare())


_REQUESTS = (
    b"GET /v1/models HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n2\r\n{}\r\n0\r\nx-t: 1\r\n\r\n",
    b"GET http://a.test/p?q=1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nContent-Length: 1\r\n\r\nx",
    b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\nrest",
)
_RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh\r\nConnection: close\r\n\r\nbody",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 204 No Content\r\n\r\n",
)
_WORDS = (
    b"\r\n", b"\r\n\r\n", b"\n", b": ", b" HTTP/1.1\r\n", b"Host: ", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
    b"Connection: ", b"keep-alive", b"close", b"Upgrade: ", b"Expect: 100-continue\r\n", b"GET ", b"POST ", b"CONNECT ",
    b"http://", b"\t", b"\x0b", b"\xa0", b";", b"0\r\n\r\n", b"+", b"-", b"_", b",", b"Trailer: ",
)  # fmt: skip

TARGETS = (
    FuzzTarget("http-requests", check_requests, _REQUESTS, _WORDS),
    FuzzTarget("http-responses", check_responses, _RESPONSES, _WORDS),
    FuzzTarget(
        "http-chunks", check_chunks,
        (b"1\r\nx\r\n", b"b\r\ndata: {}\r\n\n\r\n", b"10\r\n0123456789abcdef\r\n", b"01\r\nx\r\n", b"2\r\n\r\n\r\n"),
        (b"\r\n", b"a", b"A", b"0", b";"),
    ),
    FuzzTarget(
        "http-repeated-heads", check_repeated_heads,
        (_REQUEST_HEAD + b"{}", _REQUEST_HEAD.replace(b"h: 2", b"h: 3") + b"{ }", _REQUEST_HEAD, (_REQUEST_HEAD + b"{}") * 2),
        _WORDS,
    ),
)  # fmt: skip
