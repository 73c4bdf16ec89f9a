"""A flight by itself: who reads the source, what each subscriber gets, and how it ends."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.cache.coalescing import WHOLE_FORM, Flights, Subscriber
from gateway.core.errors import ProblemError


class Source:
    """A provider's stream that sends a piece when a test says so."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.ended = self.closed = 0
        self.broken = False

    async def frames(self) -> AsyncGenerator[bytes]:
        try:
            while (piece := await self.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        except (asyncio.CancelledError, GeneratorExit):
            self.broken = True
            raise

    def say(self, *pieces: bytes | Exception | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    def end(self) -> None:
        self.ended += 1

    async def close(self) -> None:
        self.closed += 1


def start_flight(most: int = 1_000) -> tuple[Flights[str], Subscriber[str], Source]:
    flights: Flights[str] = Flights(most)
    first, source = flights.start("key", "stream"), Source()
    first.flight.begin("begun", source.frames(), source.end, source.close)
    return flights, first, source


def join(flights: Flights[str], form: str = "stream") -> Subscriber[str]:
    seat = flights.join("key", form)
    assert seat is not None
    return seat


async def read_all(seat: Subscriber[str]) -> bytes:
    body = b"".join([data async for data in seat.read_frames()])
    await seat.close()
    return body


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(9):
        await asyncio.sleep(0)


async def test_the_flight_reads_each_piece_once_and_every_subscriber_gets_it() -> None:
    flights, first, source = start_flight()
    tasks = [asyncio.create_task(read_all(seat)) for seat in (first, join(flights))]
    await settled()
    tasks.append(asyncio.create_task(read_all(join(flights))))
    source.say(b"a", b"b")
    await settled()
    late = join(flights)
    source.say(b"c", None)
    assert [await task for task in tasks] == [b"abc"] * 3
    before = late.has_read_all
    assert await read_all(late) == b"abc"
    assert (before, late.has_read_all) == (False, True)
    assert (source.ended, source.closed, source.broken) == (1, 1, False)
    assert first.flight.body == b"abc"


async def test_an_exception_of_the_source_reaches_every_subscriber() -> None:
    flights, first, source = start_flight()
    tasks = [asyncio.create_task(read_all(seat)) for seat in (first, join(flights))]
    source.say(b"a", ZeroDivisionError())
    for task in tasks:
        with pytest.raises(ZeroDivisionError):
            await task
    assert flights.join("key", "stream") is None
    assert (source.ended, source.closed) == (1, 1)


async def test_a_reader_that_is_cancelled_ends_the_flight_for_all() -> None:
    """The gateway stops and nobody can read on: subscribers get an error, and none waits on."""
    flights, first, source = start_flight()
    task = asyncio.create_task(read_all(first))
    await settled()
    other_reader = asyncio.create_task(read_all(join(flights)))
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProblemError, match="The gateway stopped the call"):
        await other_reader
    assert (source.ended, source.broken) == (1, True)
    assert flights.join("key", "stream") is None


async def test_an_abandoned_reader_stops_after_the_piece_it_reads_for_others() -> None:
    flights, first, source = start_flight()
    task = asyncio.create_task(read_all(first))
    await settled()
    other_reader = asyncio.create_task(read_all(join(flights)))
    await settled()
    first.abandon(task.cancel)
    await settled()
    assert first.has_left
    assert not task.done()
    source.say(b"a", b"b", None)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await other_reader == b"ab"
    assert not source.broken


async def test_an_abandoned_reader_stops_at_once_when_the_others_leave() -> None:
    flights, first, source = start_flight()
    task = asyncio.create_task(read_all(first))
    await settled()
    other = join(flights)
    first.abandon(task.cancel)
    await settled()
    assert not task.done()
    await other.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    await first.close()
    assert (source.ended, source.closed, source.broken) == (1, 1, True)


async def test_the_last_subscriber_to_leave_ends_the_flight() -> None:
    flights, first, source = start_flight()
    other_reader = join(flights)
    frames = [seat.read_frames() for seat in (first, other_reader)]
    source.say(b"a")
    assert [await anext(each) for each in frames] == [b"a", b"a"]
    for each in frames:
        await each.aclose()
    await first.close()
    assert source.ended == 0
    await other_reader.close()
    assert (source.ended, source.closed, source.broken) == (1, 1, True)


async def test_no_call_joins_an_abandoned_flight() -> None:
    flights, first, _ = start_flight()
    stopped = []
    first.abandon(lambda: stopped.append(True))
    assert stopped == [True]
    assert flights.join("key", "stream") is None
    await first.close()


async def test_a_flight_that_is_too_long_keeps_only_what_its_subscribers_need() -> None:
    """No call joins it any more.

    A subscriber too far behind gets an error; the others lose nothing.
    """
    flights, first, source = start_flight(most=10)
    behind, far = join(flights), join(flights)
    frames = first.read_frames()
    near = behind.read_frames()
    source.say(b"12345", b"67890")
    assert [await anext(frames), await anext(frames)] == [b"12345", b"67890"]
    body = first.flight.body
    source.say(b"abcde", b"fghij")
    assert [await anext(near), await anext(near)] == [b"12345", b"67890"]
    assert [await anext(frames), await anext(frames)] == [b"abcde", b"fghij"]
    assert flights.join("key", "stream") is None
    assert (body, first.flight.body) == (b"1234567890", None)
    source.say(None)
    assert [data async for data in near] == [b"abcde", b"fghij"]
    with pytest.raises(ProblemError, match="too slowly"):
        await read_all(far)
    assert [data async for data in frames] == []


async def test_a_flight_that_is_too_long_keeps_nothing_for_one_subscriber() -> None:
    _, first, source = start_flight(most=10)
    source.say(*[b"12345"] * 9, None)
    sizes = [sum(map(len, first.flight._chunks)) async for _ in first.read_frames()]
    assert sizes[3:] == [0] * 6


async def test_a_joining_call_gets_what_the_only_client_was_sent_before() -> None:
    """The first joiner is reported once: from then on no piece bypasses the flight."""
    flights: Flights[str] = Flights()
    first, source, joined = flights.start("key", "stream"), Source(), list[bool]()
    flight = first.flight
    flight.begin("b", source.frames(), source.end, source.close, lambda: joined.append(True))
    frames = first.read_frames()
    source.say(b"a")
    assert await anext(frames) == b"a"
    first.note_passed_chunk(b"b")
    first.note_passed_chunk(b"c")
    assert joined == []
    both = [asyncio.create_task(read_all(join(flights))) for _ in range(2)]
    await settled()
    assert joined == [True]
    source.say(b"d", None)
    assert [data async for data in frames] == [b"d"]
    assert [await task for task in both] == [b"abcd"] * 2
    assert flight.body == b"abcd"


async def test_no_call_joins_once_the_client_was_sent_too_much() -> None:
    flights, first, source = start_flight(most=10)
    frames = first.read_frames()
    source.say(b"123")
    assert await anext(frames) == b"123"
    for _ in range(9):
        first.note_passed_chunk(b"12345")
    assert flights.join("key", "stream") is None
    assert first.flight._chunks == []
    source.say(b"end", None)
    assert [data async for data in frames] == [b"end"]
    assert first.flight.body is None


async def test_waiting_calls_get_the_error_of_the_first() -> None:
    flights: Flights[str] = Flights()
    flight = flights.start("key", WHOLE_FORM).flight
    waiting = [
        asyncio.create_task(join(flights, WHOLE_FORM).flight.wait_for_start()) for _ in range(2)
    ]
    await settled()
    flight.fail(ZeroDivisionError())
    for task in waiting:
        with pytest.raises(ZeroDivisionError):
            await task
    assert flights.join("key", WHOLE_FORM) is None


async def test_waiting_calls_get_an_error_if_the_first_is_cancelled() -> None:
    flights: Flights[str] = Flights()
    flight = flights.start("key", WHOLE_FORM).flight
    other_reader = join(flights, WHOLE_FORM)
    flight.fail(asyncio.CancelledError())
    with pytest.raises(ProblemError, match="The gateway stopped the call"):
        await other_reader.flight.wait_for_start()


async def test_a_flight_that_has_not_begun_cannot_be_read() -> None:
    flights: Flights[str] = Flights()
    seat = flights.start("key", "stream")
    seat.flight.worker = None
    with pytest.raises(RuntimeError):
        await anext(seat.read_frames())


def test_a_call_joins_a_flight_of_a_suitable_form() -> None:
    """A whole answer comes from any form of flight, its own first; a stream from its own form."""
    flights: Flights[str] = Flights()
    assert flights.join("key", WHOLE_FORM) is None
    stream = flights.start("key", "stream").flight
    assert join(flights, WHOLE_FORM).flight is stream
    assert flights.join("key", "stream with usage") is None
    assert flights.join("other", "stream") is None
    whole = flights.start("key", WHOLE_FORM).flight
    assert join(flights, WHOLE_FORM).flight is whole
    whole.is_open = False
    assert join(flights, WHOLE_FORM).flight is stream


def test_no_call_joins_a_dropped_flight_and_a_newer_one_stays() -> None:
    flights: Flights[str] = Flights()
    old = flights.start("key", "stream").flight
    new = flights.start("key", "stream").flight
    flights.drop(old)
    assert join(flights).flight is new
    flights.drop(new)
    flights.drop(new)
    assert flights.join("key", "stream") is None
    assert not flights._by_key
