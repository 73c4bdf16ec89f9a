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

from gateway.server.http1 import protocol as wires
from gateway.server.http1.asgi_exchange import AsgiExchange
from tests.hostile.smuggled import CANARY, mutations
from tests.server.gate import CHAT, request
from tests.server.http1.test_head_cache import BODIES, LINES, Client, Line, head, understood

BODY = b'{"a": 1}'
CALL = request(CHAT, BODY, b"x-api-key: one")
END = CALL.index(b"\r\n\r\n") + 4


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at the places."""
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(ends)]


def begun(line: Client) -> bool:
    """Return True if the gateway reads the request's body as it comes."""
    return isinstance(line.wire._get_last_exchange(), AsgiExchange)


async def waiting(*_: Any) -> None:
    """Serve as an application that does not answer yet."""
    await asyncio.sleep(60)


@given(
    lines=LINES,
    at=st.integers(0, 9),
    bodies=st.lists(BODIES, min_size=1, max_size=4),
    places=st.lists(st.lists(st.integers(0, 600), max_size=3), min_size=4, max_size=4),
)
@example(lines=[], at=0, bodies=[BODY, BODY], places=[[70], [70], [], []])
async def test_it_goes_in_as_if_it_were_whole(
    lines: list[Line], at: int, bodies: list[bytes], places: list[list[int]]
) -> None:
    whole, pieces = Client(), Client()
    for body, where in zip(bodies, places, strict=False):
        data = head(lines, at, b"content-length", b"%d" % len(body)) + body
        whole.take(data)
        for piece in cut(data, where):
            pieces.take(piece)
    if not any(map(begun, (whole, pieces))):
        assert pieces.state() == whole.state()


@pytest.mark.parametrize("place", [END, END + 3, END - 1, 30])
async def test_its_head_is_known_from_then_on(place: int) -> None:
    """A head that itself came in pieces is not remembered."""
    line = Client()
    for data in (CALL, CALL, CALL):
        for piece in cut(data, [place]):
            line.take(piece)
    assert [came[0] for came in line.door.came] == [BODY] * 3  # type: ignore[index]
    assert line.door.again == (2 if place == END else 0)
    line.take(CALL)
    assert line.door.again == (3 if place == END else 1 if place > END else 0)


async def test_a_known_head_with_another_length_is_waited_for_too() -> None:
    line = Client()
    line.take(CALL)
    for body in (b"x", b"x" * 1234, BODY):
        data = request(CHAT, body, b"x-api-key: one")
        for piece in cut(data, [len(data) - len(body)]):
            line.take(piece)
    assert line.door.again == 3
    assert line.wire._body_timer is None


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("sent", [END, END + 3])
async def test_who_takes_longer_is_read_as_it_comes(known: bool, sent: int) -> None:
    line = Client()
    if known:
        line.take(CALL)
    came = len(line.door.came)
    line.app.serve = waiting
    line.take(CALL[:sent])
    assert not begun(line)
    await asyncio.sleep(wires._BODY_WAIT_SECONDS * 3)
    assert begun(line)
    line.take(CALL[sent:])
    last = line.wire._get_last_exchange()
    assert isinstance(last, AsgiExchange)
    assert bytes(last._body) == BODY
    assert not last.more_body
    assert len(line.door.came) == came
    for task in line.wire._server_state.tasks:
        task.cancel()


async def test_a_large_body_is_not_waited_for() -> None:
    data = request(CHAT, b"x" * (wires._SMALL_BODY_BYTES + 9))
    line = Client()
    line.take(data[:-5])
    assert begun(line)
    assert line.wire._body_timer is None


@pytest.mark.parametrize("known", [False, True])
async def test_a_client_that_leaves_in_that_moment_leaves_nothing(known: bool) -> None:
    line = Client()
    if known:
        line.take(CALL)
    line.take(CALL[:END])
    line.wire.connection_lost(None)
    await asyncio.sleep(wires._BODY_WAIT_SECONDS * 3)
    assert not begun(line)
    assert line.wire._body_timer is None


async def test_a_gateway_that_stops_says_so_in_that_moment_too() -> None:
    line = Client()
    line.take(CALL)
    line.take(CALL[:END])
    line.drain.closes_connections = True
    line.take(CALL[END:])
    assert [came[1] for came in line.door.came] == [True, False]  # type: ignore[index]


@pytest.mark.parametrize("number", [b"08", b"8 ", b"", b"+8", b"8, 8", b"100000", b"-1", b"0"])
async def test_another_length_is_for_the_parser(number: bytes) -> None:
    first = head([], 0, b"content-length", b"8") + BODY
    with_it, without = understood(first, head([], 0, b"content-length", number))
    assert with_it.wire._pending_head is None
    assert with_it.state() == without.state()


async def test_sec_smuggle_c_12_what_hides_a_second_request_is_no_other_here() -> None:
    """SEC-SMUGGLE, C-12: 500 ambiguous requests, cut behind the head."""
    honest = head([], 0, b"content-length", b"2") + b"{}"
    for data, _ in mutations(500):
        place = data.find(b"\r\n\r\n") + 4
        for first in (honest, data):
            with_it, without = understood(first, data[:place], data[place:] + CANARY)
            assert with_it.state() == without.state(), data
