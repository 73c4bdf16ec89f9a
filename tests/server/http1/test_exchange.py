"""A call that comes whole is served as one that comes in pieces; what no answer needs is not made."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.server.http1.exchange import HttpExchange
from gateway.server.http1.protocol import ClientConnection
from tests.server.gate import CHAT, MESSAGES, Gate, Told, answers, chat, drain, plain, request

CLOSE = b"connection: close"
CALL = request(CHAT, chat(), CLOSE)
HEAD = CALL.index(b"\r\n\r\n") + 4


def spoken(told: Told) -> tuple[Any, ...]:
    """What of an answer does not differ from call to call."""
    own = ("x-request-id", "request-id", "x-tiergate-decision")
    headers = {name: value for name, value in told.headers.items() if name not in own}
    return told.status, headers, told.body


@pytest.mark.parametrize("cut", [1, 20, HEAD - 2, HEAD, HEAD + 1, len(CALL) - 1])
def test_it_says_the_same_however_it_comes(gate: Gate, cut: int) -> None:
    """In one write, and in two with a cut anywhere; the gateway has read the first before."""
    (whole,) = answers(gate.exchange(CALL))
    with gate.dial() as connection:
        connection.sendall(CALL[:cut])
        gate.ask("/health", method="GET")  # by now it has read what was written before
        connection.sendall(CALL[cut:])
        (told,) = answers(drain(connection))
    assert spoken(told) == spoken(whole)
    assert told.status == 200


def test_one_connection_takes_both_by_turns(gate: Gate) -> None:
    """Whole, in pieces, for another door, refused: each has its own answer, and the next its turn."""
    call, wrong = request(CHAT, chat()), request(CHAT, b"{")
    with gate.dial() as connection:
        for piece in (call + wrong + call[:-5], call[-5:], request(MESSAGES, plain(MESSAGES))):
            connection.sendall(piece)
            gate.ask("/health", method="GET")
        connection.sendall(CALL)
        told = answers(drain(connection))
    assert [one.status for one in told] == [200, 400, 200, 200, 200]


def test_what_follows_it_and_is_none_waits_for_its_answer(gate: Gate) -> None:
    (told,) = answers(gate.exchange(request(CHAT, chat()) + b"rubbish\r\n\r\n"))
    assert (told.status, told.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("origin", [b"https://elsewhere.example", b"null"])
def test_a_web_page_from_elsewhere_is_refused_whole_too(gate: Gate, origin: bytes) -> None:
    (told,) = answers(gate.exchange(request(CHAT, chat(), b"origin: " + origin, CLOSE)))
    assert told.status == 403


def test_it_has_what_calls_are_read_from() -> None:
    wire: Any = SimpleNamespace(
        transport=None, flow=None, logger=None, on_response_complete=lambda: None
    )

    door: Any = object()
    made = HttpExchange(wire, door, [(b"a", b"b")], b"{}", keep_alive=True)
    assert (made.data, made.connection, made.headers) == (b"{}", wire, [(b"a", b"b")])
    assert (made.more_body, made.response_complete, made.disconnected) == (False, False, False)
    made.disconnected = made.response_complete = True
    other = HttpExchange(wire, door, [], b"", keep_alive=True)
    assert not other.disconnected
    assert not other.response_complete


class Clock:
    """A loop whose time is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[float] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, _: Any) -> object:
        self.due.append(when)
        return object()


@pytest.mark.parametrize(
    ("until", "closed", "again"), [(5.0, True, []), (12.0, False, [12.0]), (math.inf, False, [])]
)
def test_one_timer_watches_over_all_rests_of_a_connection(
    until: float, closed: bool, again: list[float]
) -> None:
    """It looks at when the last answer was: closed, waited on, or left to whom is served now."""
    clock, shut = Clock(), asyncio.Event()
    clock.now = 10.0
    wire: Any = SimpleNamespace(
        loop=clock, _idle_timer=object(), _idle_deadline=until, _check_idle=None,
        _corked_transport=SimpleNamespace(is_closing=lambda: False),
        transport=SimpleNamespace(close=shut.set),
    )  # fmt: skip
    ClientConnection._check_idle(wire)
    assert (shut.is_set(), clock.due) == (closed, again)
    assert (wire._idle_timer is None) == (not again)
