"""Test a body that comes a moment behind its head: the gateway reads it like one that comes with
it.

Cuts in a request change nothing, also under a repeated head, and in requests made to be read in two
ways. A body that takes longer is read as it comes.
"""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.server.http1 import protocol
from gateway.server.http1.asgi_exchange import AsgiExchange
from tests.hostile.smuggled import CANARY, mutations
from tests.server.gate import CHAT, request
from tests.server.http1.test_head_cache import BODIES, LINES, CountingClient, Line, feed_both, head

BODY = b'{"a": 1}'
CALL = request(CHAT, BODY, b"x-api-key: one")
END = CALL.index(b"\r\n\r\n") + 4


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at the places."""
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(ends)]


def reads_as_it_arrives(client: CountingClient) -> bool:
    """Return True if the gateway reads the request's body as it comes."""
    return isinstance(client.connection._get_last_exchange(), AsgiExchange)


async def serve_slowly(*_: Any) -> None:
    """Serve as an application that does not answer yet."""
    await asyncio.sleep(60)


@given(
    lines=LINES,
    position=st.integers(0, 9),
    bodies=st.lists(BODIES, min_size=1, max_size=4),
    places=st.lists(st.lists(st.integers(0, 600), max_size=3), min_size=4, max_size=4),
)
@example(lines=[], position=0, bodies=[BODY, BODY], places=[[70], [70], [], []])
async def test_a_body_behind_its_head_is_read_like_one_in_the_same_piece(
    lines: list[Line], position: int, bodies: list[bytes], places: list[list[int]]
) -> None:
    whole, pieces = CountingClient(), CountingClient()
    for body, cuts in zip(bodies, places, strict=False):
        data = head(lines, position, b"content-length", b"%d" % len(body)) + body
        whole.send(data)
        for piece in cut(data, cuts):
            pieces.send(piece)
    if not any(map(reads_as_it_arrives, (whole, pieces))):
        assert pieces.state() == whole.state()


@pytest.mark.parametrize("place", [END, END + 3, END - 1, 30])
async def test_a_head_in_one_piece_is_remembered_for_the_next_request(place: int) -> None:
    """A head that itself came in pieces is not remembered."""
    client = CountingClient()
    for data in (CALL, CALL, CALL):
        for piece in cut(data, [place]):
            client.send(piece)
    assert [recorded[0] for recorded in client.endpoint.requests] == [BODY] * 3  # type: ignore[index]
    assert client.endpoint.repeated_count == (2 if place == END else 0)
    client.send(CALL)
    assert client.endpoint.repeated_count == (3 if place == END else 1 if place > END else 0)


async def test_a_remembered_head_with_another_length_waits_for_its_body_too() -> None:
    client = CountingClient()
    client.send(CALL)
    for body in (b"x", b"x" * 1234, BODY):
        data = request(CHAT, body, b"x-api-key: one")
        for piece in cut(data, [len(data) - len(body)]):
            client.send(piece)
    assert client.endpoint.repeated_count == 3
    assert client.connection._body_timer is None


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("sent", [END, END + 3])
async def test_a_slow_body_is_read_as_it_arrives(is_known: bool, sent: int) -> None:
    client = CountingClient()
    if is_known:
        client.send(CALL)
    served_before = len(client.endpoint.requests)
    client.app.serve = serve_slowly
    client.send(CALL[:sent])
    assert not reads_as_it_arrives(client)
    await asyncio.sleep(protocol._BODY_WAIT_SECONDS * 3)
    assert reads_as_it_arrives(client)
    client.send(CALL[sent:])
    last = client.connection._get_last_exchange()
    assert isinstance(last, AsgiExchange)
    assert bytes(last._body) == BODY
    assert not last.more_body
    assert len(client.endpoint.requests) == served_before
    for task in client.connection._server_state.tasks:
        task.cancel()


async def test_the_gateway_does_not_wait_for_a_large_body() -> None:
    data = request(CHAT, b"x" * (protocol._SMALL_BODY_BYTES + 9))
    client = CountingClient()
    client.send(data[:-5])
    assert reads_as_it_arrives(client)
    assert client.connection._body_timer is None


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_client_that_leaves_before_its_body_leaves_no_timer(is_known: bool) -> None:
    client = CountingClient()
    if is_known:
        client.send(CALL)
    client.send(CALL[:END])
    client.connection.connection_lost(None)
    await asyncio.sleep(protocol._BODY_WAIT_SECONDS * 3)
    assert not reads_as_it_arrives(client)
    assert client.connection._body_timer is None


async def test_a_stopping_gateway_closes_the_connection_after_a_waiting_body() -> None:
    client = CountingClient()
    client.send(CALL)
    client.send(CALL[:END])
    client.shutdown.closes_connections = True
    client.send(CALL[END:])
    assert [recorded[1] for recorded in client.endpoint.requests] == [True, False]  # type: ignore[index]


@pytest.mark.parametrize("number", [b"08", b"8 ", b"", b"+8", b"8, 8", b"100000", b"-1", b"0"])
async def test_the_parser_checks_a_malformed_content_length(number: bytes) -> None:
    first = head([], 0, b"content-length", b"8") + BODY
    with_memory, without_memory = feed_both(first, head([], 0, b"content-length", number))
    assert with_memory.connection._pending_head is None
    assert with_memory.state() == without_memory.state()


async def test_sec_smuggle_c_12_ambiguous_requests_read_the_same_behind_a_remembered_head() -> None:
    """SEC-SMUGGLE, C-12: 500 ambiguous requests, cut behind the head."""
    honest = head([], 0, b"content-length", b"2") + b"{}"
    for data, _ in mutations(500):
        place = data.find(b"\r\n\r\n") + 4
        for first in (honest, data):
            with_memory, without_memory = feed_both(first, data[:place], data[place:] + CANARY)
            assert with_memory.state() == without_memory.state(), data
