"""Test repeated heads: the gateway does not parse one again, and understands it as if it did.

One connection has seen the head before, another has not. Both must accept, refuse and await the
same bytes, also bytes that were made to be read in two ways.
"""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.errors import ProblemError
from gateway.server.http1 import head_cache
from gateway.server.http1.asgi_exchange import AsgiExchange
from gateway.server.http1.exchange import EndpointExchange
from gateway.server.http1.head_cache import RepeatedHead
from gateway.server.request_headers import RequestHeaders
from tests.hostile.smuggled import CANARY, mutations
from tests.server.gate import CHAT, request
from tests.server.http1.fakes import FakeApp, FakeTransport, connect

type Line = tuple[bytes, bytes]


class RecordingEndpoint:
    """Records what comes in, and answers nothing."""

    def __init__(self) -> None:
        self.requests: list[object] = []
        self.repeated_count = 0
        """Number of requests whose head was not parsed."""
        self.may_answer: asyncio.Event | None = None
        """An event to wait for before each request."""

    async def serve_exchange(self, exchange: EndpointExchange) -> None:
        if self.may_answer is not None:
            await self.may_answer.wait()
        exchange.writer.is_complete = True
        if exchange.request_headers is None:
            try:
                exchange.request_headers = RequestHeaders(
                    exchange.headers, frozenset({b"anthropic-beta"})
                )
            except ProblemError as error:
                self.requests.append(error.problem)
                exchange.connection.cut_answer()
                return
        headers, parsed = exchange.request_headers, isinstance(exchange.headers, list)
        self.repeated_count += not parsed
        length = headers.length if parsed else len(exchange.data)
        self.requests.append(
            (
                exchange.data, exchange.writer.keep_alive, length, headers.forwarded, headers.hints, headers.options,
                headers.secrets, headers.trace, headers.retry_count, headers.client_timeout,
            )
        )  # fmt: skip


class CountingClient:
    """One connection."""

    def __init__(self) -> None:
        self.endpoint, self.transport = RecordingEndpoint(), FakeTransport()
        self.immediate_counts: list[int] = []
        """Number of calls so far, noted each time a call ended in the iteration in which it came."""
        self.app = FakeApp(
            self.endpoint, None, lambda: self.immediate_counts.append(len(self.endpoint.requests))
        )
        self.shutdown = self.app.shutdown
        self.connection = connect(self.app, self.transport)

    def send(self, data: bytes) -> None:
        if not self.transport.is_closed:
            self.connection.data_received(data)

    def state(self) -> tuple[object, ...]:
        """Return the state of the connection: requests understood, and bytes still awaited."""
        connection, parser, last = (
            self.connection,
            self.connection._parser,
            self.connection._get_last_exchange(),
        )
        status = [answer.split(b"\r\n")[0] for answer in self.transport.written]
        more = None if last is None else (last.more_body, last.writer.is_complete)
        slow = bytes(last._body) if isinstance(last, AsgiExchange) else b""
        return (
            self.endpoint.requests, status, self.transport.is_closed, parser.is_between_requests, parser.is_in_head, more, slow,
            connection._head_timer is None,
        )  # fmt: skip


def feed_both(first: bytes, *data: bytes) -> tuple[CountingClient, CountingClient]:
    """Make two connections that receive the same bytes; only one knows the first request's head."""
    both = CountingClient(), CountingClient()
    for client in both:
        client.send(first)
        client.endpoint.requests.clear()
    both[1].connection._repeated_head = None
    both[1].connection._new_head_count = 99
    for piece in data:
        for client in both:
            client.send(piece)
    return both


NAMES = st.sampled_from(
    [
        b"Accept", b"user-agent", b"X-Stainless-Retry-Count", b"x-stainless-timeout", b"anthropic-beta",
        b"authorization", b"x-api-key", b"x-tiergate-tags", b"x-tiergate-cache", b"traceparent",
        b"cache-control", b"Content-Type", b"connection", b"expect", b"upgrade", b"origin",
        b"transfer-encoding", b"content-length", b"content-encoding", b"x-odd",
    ]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        b"a", b"", b"1", b"12", b"off", b"keep-alive", b"close", b"chunked", b"100-continue", b"h2c",
        b"Bearer sk-1", b"a: 12", b"\xc3\xa4", b"identity", b"upgrade", b" 12 ", b"012",
    ]
)  # fmt: skip
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=8)
BODIES = st.binary(max_size=300)
LENGTH = st.sampled_from([b"Content-Length", b"content-length", b"CONTENT-LENGTH"])


def head(lines: list[Line], at: int, name: bytes, number: bytes) -> bytes:
    """Build a head that has its Content-Length among other headers."""
    index = at % (len(lines) + 1)
    rows = [*lines[:index], (name, number), *lines[index:]]
    header_lines = b"".join(b"%b: %b\r\n" % row for row in rows)
    return b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: localhost\r\n" + header_lines + b"\r\n"


async def test_the_objects_of_a_connection_have_no_dict() -> None:
    """The parts of a connection have none either."""
    client = CountingClient()
    client.send(request(CHAT, b"{}"))
    exchange = client.connection._current
    assert exchange is not None
    for value in (
        client.connection,
        client.connection._parser,
        client.connection.transport,
        exchange,
        exchange.writer,
    ):
        assert not hasattr(value, "__dict__")


async def test_the_connection_reports_calls_that_end_in_the_iteration_in_which_they_came() -> None:
    client, may_answer = CountingClient(), asyncio.Event()
    for count in (1, 2):
        client.send(request(CHAT, b"{}"))
        assert client.immediate_counts == [*range(1, count + 1)]
    client.endpoint.may_answer = may_answer
    client.send(request(CHAT, b"{}"))
    await asyncio.sleep(0)
    may_answer.set()
    await asyncio.gather(*client.connection._server_state.tasks)
    assert (len(client.endpoint.requests), client.immediate_counts) == (3, [1, 2])


async def test_a_repeated_head_is_not_parsed_again() -> None:
    """The gateway recognizes the head before a body of another length too, and reads it the same
    way.
    """
    bodies = [b"{}", b'{"a":1}', b"x" * 1234, b""]
    first, *rest = (request(CHAT, body, b"x-api-key: one") for body in bodies)
    with_memory, without_memory = feed_both(first, *rest)
    assert (with_memory.endpoint.repeated_count, without_memory.endpoint.repeated_count) == (3, 0)
    assert len(with_memory.endpoint.requests) == len(rest)
    assert with_memory.state() == without_memory.state()


@given(
    lines=LINES, at=st.integers(0, 9), name=LENGTH, bodies=st.lists(BODIES, min_size=2, max_size=4)
)
@example(lines=[], at=0, name=b"content-length", bodies=[b"", b"x"])
@example(lines=[(b"x-odd", b"2")], at=0, name=b"content-length", bodies=[b"12", b"123"])
async def test_a_repeated_head_is_read_like_the_first_time(
    lines: list[Line], at: int, name: bytes, bodies: list[bytes]
) -> None:
    first, *rest = (head(lines, at, name, b"%d" % len(body)) + body for body in bodies)
    with_memory, without_memory = feed_both(first, *rest)
    assert with_memory.state() == without_memory.state()


@given(
    body=BODIES,
    number=st.sampled_from([b"%d", b"0%d", b"+%d", b"%d ", b" %d", b"%d,%d", b"%d1", b"-%d", b"0x%x", b"%d\r\n x", b"%d\n"]),
    more=st.binary(max_size=40),
    cut=st.integers(0, 400),
    other_lines=LINES,
)  # fmt: skip
async def test_odd_lengths_and_bodies_are_read_like_a_new_head(
    body: bytes, number: bytes, more: bytes, cut: int, other_lines: list[Line]
) -> None:
    """Try other numbers, bytes behind the body, a missing body, and lines that the first head
    lacked.
    """
    odd = number % ((len(body),) * number.count(b"%"))
    first = head([], 0, b"content-length", b"2") + b"{}"
    for rest in (
        head([], 0, b"content-length", odd) + body,
        head([], 0, b"content-length", b"%d" % len(body)) + body + more,
        head(other_lines, 0, b"content-length", odd) + body,
    ):
        with_memory, without_memory = feed_both(first, rest[:cut], rest[cut:])
        assert with_memory.state() == without_memory.state()


@given(
    flips=st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=2)), min_size=1, max_size=3)
)
async def test_a_head_that_differs_in_a_byte_is_a_new_head(flips: list[tuple[int, bytes]]) -> None:
    first = head([(b"x-api-key", b"one"), (b"x-odd", b"5")], 1, b"content-length", b"5") + b"12345"
    data = first
    for at, put in flips:
        data = data[:at] + put + data[at + 1 :]
    with_memory, without_memory = feed_both(first, data)
    assert with_memory.state() == without_memory.state()


async def test_sec_smuggle_c_12_ambiguous_requests_read_the_same_behind_a_repeated_head() -> None:
    """SEC-SMUGGLE, C-12: the gateway reads 500 ambiguous requests the same with and without a known
    head.
    """
    honest = head([], 0, b"content-length", b"2") + b"{}"
    for data, _ in mutations(500):
        for first, following in ((honest, data + CANARY), (data, data + CANARY)):
            with_memory, without_memory = feed_both(first, following)
            assert with_memory.state() == without_memory.state(), data


@pytest.mark.parametrize("pieces", [(1,), (30,), (-1,), (-3, -1)])
async def test_a_repeated_head_that_arrives_in_pieces_is_read_the_same(
    pieces: tuple[int, ...],
) -> None:
    data = request(CHAT, b"{} {}")
    first = request(CHAT, b"{}")
    ends = [0, *(end % len(data) for end in pieces), len(data)]
    with_memory, without_memory = feed_both(first, *(data[a:b] for a, b in pairwise(ends)), first)
    assert with_memory.state() == without_memory.state()


async def test_two_requests_in_one_piece_are_read_the_same() -> None:
    data = request(CHAT, b"{}")
    with_memory, without_memory = feed_both(data, data + data)
    assert with_memory.state() == without_memory.state()


async def test_a_stopping_gateway_closes_behind_a_repeated_head_too() -> None:
    data = request(CHAT, b"{}")
    client, _ = feed_both(data)
    client.shutdown.closes_connections = True
    client.send(data)
    assert [recorded[1] for recorded in client.endpoint.requests] == [False]  # type: ignore[index]
    assert client.endpoint.repeated_count == 1


async def test_heads_that_never_repeat_are_soon_not_remembered() -> None:
    client = CountingClient()
    for number in range(20):
        client.send(request(CHAT, b"{}", b"x-request-id: %d" % number))
    last = client.connection._repeated_head
    client.send(request(CHAT, b"{}", b"x-request-id: new"))
    assert client.connection._repeated_head is last is not None
    client.send(request(CHAT, b"{}", b"x-request-id: 7"))
    assert (len(client.endpoint.requests), client.endpoint.repeated_count) == (22, 1)


async def test_a_long_head_is_not_remembered() -> None:
    data = request(CHAT, b"{}", b"x-odd: " + b"a" * head_cache.MAX_HEAD_BYTES)
    client, _ = feed_both(data, data)
    assert client.connection._repeated_head is None
    assert len(client.endpoint.requests) == 1


def test_only_the_content_length_header_sets_the_length_of_a_repeated_head() -> None:
    data = head([(b"x-content-length", b"2"), (b"x-odd", b"content-length: 2")], 2, b"Content-Length", b"2") + b"{}"  # fmt: skip
    exchange: Any = SimpleNamespace(
        data=b"{}", request_headers=SimpleNamespace(length=2), endpoint=None
    )
    repeated = RepeatedHead.from_request(data, exchange)
    assert repeated is not None
    assert repeated.match_body(data.replace(b"h: 2\r\n\r\n{}", b"h: 3\r\n\r\n{ }")) == b"{ }"
    assert repeated.match_body(data.replace(b"x-content-length: 2", b"x-content-length: 3")) is None
