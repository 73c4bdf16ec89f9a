"""One connection: answers in any pieces, silence, nonsense, and a server that goes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.connection import (
    RedisConnection,
    RedisError,
    Reply,
    _IncompleteReply,
    _parse_reply,
    encode_command,
)

LITERAL: list[tuple[bytes, Reply]] = [
    (b":7\r\n", 7),
    (b":-1\r\n", -1),
    (b"$3\r\na\r\n\r\n", b"a\r\n"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"+OK\r\n", b"OK"),
    (b"*0\r\n", []),
    (b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", [[1], b"x"]),
]


@pytest.mark.parametrize(("data", "reply"), LITERAL)
def test_answers_are_read(data: bytes, reply: Reply) -> None:
    assert _parse_reply(data, 0, 0) == (reply, len(data))
    for end in range(len(data)):
        with pytest.raises((_IncompleteReply, IndexError)):
            _parse_reply(data[:end], 0, 0)


def test_an_error_is_an_answer() -> None:
    reply, _ = _parse_reply(b"-MOVED 5 h:1\r\n", 0, 0)
    assert isinstance(reply, RedisError)
    assert (reply.text, reply.code) == ("MOVED 5 h:1", "MOVED")


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 400 Bad Request\r\n", b"\x00\xff\xfe", b":x\r\n", b"$many\r\n", b"*9\r\n" * 9 + b":1\r\n",
     b"$536870912\r\nabc"],
)  # fmt: skip
def test_nonsense_is_no_answer(data: bytes) -> None:
    with pytest.raises(ValueError):
        _parse_reply(data, 0, 0)


def test_a_request_is_an_array_of_bulk_strings() -> None:
    assert encode_command(b"GET", b"", b"a\r\n") == b"*3\r\n$3\r\nGET\r\n$0\r\n\r\n$3\r\na\r\n\r\n"


class Transport:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
async def wire() -> AsyncIterator[RedisConnection]:
    made = RedisConnection(deadline=10.0)
    transport: Any = Transport()
    made.connection_made(transport)
    yield made
    made.close()


@given(st.lists(st.sampled_from(LITERAL), min_size=1, max_size=6), st.data())
def test_any_split_gives_the_same_answers_in_order(
    parts: list[tuple[bytes, Reply]], data: st.DataObject
) -> None:
    whole = b"".join(part for part, _ in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))

    async def story() -> list[Reply]:
        wire = RedisConnection(deadline=10.0)
        transport: Any = Transport()
        wire.connection_made(transport)
        answers = [wire.send(b"x") for _ in parts]
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            if start < end:
                wire.data_received(whole[start:end])
        wire.close()
        return [await answer for answer in answers]

    assert asyncio.run(story()) == [reply for _, reply in parts]


async def test_who_leaves_does_not_shift_the_answers(wire: RedisConnection) -> None:
    first, second = wire.send(b"1"), wire.send(b"2")
    first.cancel()
    wire.data_received(b":1\r\n:2\r\n")
    assert await second == 2


@pytest.mark.parametrize("data", [b":1\r\n:2\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_more_than_was_asked_or_nonsense_closes_it(
    wire: RedisConnection, data: bytes
) -> None:
    answer = wire.send(b"1")
    wire.data_received(data)
    assert not wire.is_open
    if data.startswith(b":"):
        assert await answer == 1
    else:
        with pytest.raises(StoreUnavailable, match="does not speak its protocol"):
            await answer
    with pytest.raises(StoreUnavailable, match="no connection"):
        await wire.send(b"2")


async def test_a_server_that_goes_is_told_to_all_who_wait(wire: RedisConnection) -> None:
    answers = [wire.send(b"x") for _ in range(3)]
    wire.connection_lost(None)
    for answer in answers:
        with pytest.raises(StoreUnavailable, match="no connection"):
            await answer


def still(wire: RedisConnection) -> bool:
    return wire.is_open


async def test_silence_closes_it_when_the_oldest_has_waited_long_enough(
    wire: RedisConnection,
) -> None:
    answer = wire.send(b"x")
    later = wire.send(b"y")
    wire.data_received(b":1\r\n")
    due = wire._waiters[0][1] + 10.0
    wire._check_timeout(due)  # the first was answered: its time is not the second's
    assert still(wire)
    wire._waiters[0] = (wire._waiters[0][0], wire.loop.time() - 11.0)
    wire._check_timeout(wire.loop.time())
    assert not still(wire)
    assert await answer == 1
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        await later


async def test_a_stall_of_this_process_is_not_silence(wire: RedisConnection) -> None:
    """The answer may lie in the socket, unread."""
    answer = wire.send(b"x")
    now = wire.loop.time()
    wire._waiters[0] = (wire._waiters[0][0], now - 11.0)
    wire._check_timeout(now - 1.0)
    assert wire.is_open
    wire.data_received(b":1\r\n")
    assert await answer == 1


SEEDS = st.sampled_from([part for part, _ in LITERAL])
PIECES = st.lists(st.one_of(SEEDS, st.binary(max_size=9), st.sampled_from([b"*3\r\n", b"$5\r\n", b":", b"\r\n", b"-", b"*-1\r\n", b"$-2\r\n", b"%1\r\n", b"_\r\n", b"*99999999\r\n"])), max_size=6)  # fmt: skip


@given(PIECES)
def test_whatever_a_server_says_is_an_answer_or_the_end(parts: list[bytes]) -> None:
    """Nothing is raised where the loop calls, and nobody is left waiting once it is closed."""

    async def story() -> None:
        wire = RedisConnection(deadline=10.0)
        transport: Any = Transport()
        wire.connection_made(transport)
        answers = [wire.send(b"x") for _ in range(3)]
        for part in parts:
            if part:
                wire.data_received(part)
        wire.close()
        told = await asyncio.gather(*answers, return_exceptions=True)
        assert all(
            not isinstance(one, BaseException) or isinstance(one, StoreUnavailable) for one in told
        )

    asyncio.run(story())
