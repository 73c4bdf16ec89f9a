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


def begun(most: int = 1_000) -> tuple[Flights[str], Subscriber[str], Source]:
    flights: Flights[str] = Flights(most)
    first, source = flights.start("key", "stream"), Source()
    first.flight.begin("begun", source.frames(), source.end, source.close)
    return flights, first, source


def join(flights: Flights[str], form: str = "stream") -> Subscriber[str]:
    seat = flights.join("key", form)
    assert seat is not None
    return seat


async def hear(seat: Subscriber[str]) -> bytes:
    heard = b"".join([data async for data in seat.read_frames()])
    await seat.close()
    return heard


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(9):
        await asyncio.sleep(0)


async def test_each_piece_is_taken_once_and_heard_by_all() -> None:
    flights, first, source = begun()
    tasks = [asyncio.create_task(hear(seat)) for seat in (first, join(flights))]
    await settled()
    tasks.append(asyncio.create_task(hear(join(flights))))
    source.say(b"a", b"b")
    await settled()
    late = join(flights)
    source.say(b"c", None)
    assert [await task for task in tasks] == [b"abc"] * 3
    before = late.has_read_all
    assert await hear(late) == b"abc"
    assert (before, late.has_read_all) == (False, True)
    assert (source.ended, source.closed, source.broken) == (1, 1, False)
    assert first.flight.body == b"abc"


async def test_a_bug_in_the_source_is_raised_in_each() -> None:
    flights, first, source = begun()
    tasks = [asyncio.create_task(hear(seat)) for seat in (first, join(flights))]
    source.say(b"a", ZeroDivisionError())
    for task in tasks:
        with pytest.raises(ZeroDivisionError):
            await task
    assert flights.join("key", "stream") is None
    assert (source.ended, source.closed) == (1, 1)


async def test_a_task_that_is_stopped_while_it_takes_breaks_the_flight_off_for_all() -> None:
    """The gateway stops and nobody can read on: subscribers get an error, and none waits on."""
    flights, first, source = begun()
    task = asyncio.create_task(hear(first))
    await settled()
    other = asyncio.create_task(hear(join(flights)))
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProblemError, match="was stopped"):
        await other
    assert (source.ended, source.broken) == (1, True)
    assert flights.join("key", "stream") is None


async def test_who_takes_for_others_stops_after_that_piece() -> None:
    flights, first, source = begun()
    task = asyncio.create_task(hear(first))
    await settled()
    other = asyncio.create_task(hear(join(flights)))
    await settled()
    first.abandon(task.cancel)
    await settled()
    assert first.has_left
    assert not task.done()
    source.say(b"a", b"b", None)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await other == b"ab"
    assert not source.broken


async def test_it_stops_at_once_when_the_others_leave_too() -> None:
    flights, first, source = begun()
    task = asyncio.create_task(hear(first))
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


async def test_the_last_to_leave_between_two_pieces_ends_it() -> None:
    flights, first, source = begun()
    other = join(flights)
    frames = [seat.read_frames() for seat in (first, other)]
    source.say(b"a")
    assert [await anext(each) for each in frames] == [b"a", b"a"]
    for each in frames:
        await each.aclose()
    await first.close()
    assert source.ended == 0
    await other.close()
    assert (source.ended, source.closed, source.broken) == (1, 1, True)


async def test_nobody_joins_a_flight_that_is_about_to_be_stopped() -> None:
    flights, first, _ = begun()
    stopped = []
    first.abandon(lambda: stopped.append(True))
    assert stopped == [True]
    assert flights.join("key", "stream") is None
    await first.close()


async def test_too_long_a_flight_keeps_what_is_needed_alone() -> None:
    """No call joins it any more.

    A subscriber too far behind gets an error; the others lose nothing.
    """
    flights, first, source = begun(most=10)
    behind, far = join(flights), join(flights)
    frames = first.read_frames()
    near = behind.read_frames()
    source.say(b"12345", b"67890")
    assert [await anext(frames), await anext(frames)] == [b"12345", b"67890"]
    kept = first.flight.body
    source.say(b"abcde", b"fghij")
    assert [await anext(near), await anext(near)] == [b"12345", b"67890"]
    assert [await anext(frames), await anext(frames)] == [b"abcde", b"fghij"]
    assert flights.join("key", "stream") is None
    assert (kept, first.flight.body) == (b"1234567890", None)
    source.say(None)
    assert [data async for data in near] == [b"abcde", b"fghij"]
    with pytest.raises(ProblemError, match="too slowly"):
        await hear(far)
    assert [data async for data in frames] == []


async def test_alone_it_keeps_nothing_once_it_is_too_long() -> None:
    _, first, source = begun(most=10)
    source.say(*[b"12345"] * 9, None)
    held = [sum(map(len, first.flight._chunks)) async for _ in first.read_frames()]
    assert held[3:] == [0] * 6


async def test_what_its_only_client_was_sent_already_is_kept_for_those_that_join() -> None:
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
    both = [asyncio.create_task(hear(join(flights))) for _ in range(2)]
    await settled()
    assert joined == [True]
    source.say(b"d", None)
    assert [data async for data in frames] == [b"d"]
    assert [await task for task in both] == [b"abcd"] * 2
    assert flight.body == b"abcd"


async def test_too_much_that_was_sent_already_is_not_kept() -> None:
    flights, first, source = begun(most=10)
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


async def test_all_wait_for_the_first_and_hear_why_it_failed() -> None:
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


async def test_a_first_call_that_is_cancelled_is_told_as_an_error() -> None:
    flights: Flights[str] = Flights()
    flight = flights.start("key", WHOLE_FORM).flight
    other = join(flights, WHOLE_FORM)
    flight.fail(asyncio.CancelledError())
    with pytest.raises(ProblemError, match="was stopped"):
        await other.flight.wait_for_start()


async def test_a_stream_is_read_after_it_has_begun() -> None:
    flights: Flights[str] = Flights()
    seat = flights.start("key", "stream")
    seat.flight.worker = None
    with pytest.raises(RuntimeError):
        await anext(seat.read_frames())


def test_forms() -> None:
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


def test_what_is_dropped_is_not_joined_and_a_newer_one_stays() -> None:
    flights: Flights[str] = Flights()
    old = flights.start("key", "stream").flight
    new = flights.start("key", "stream").flight
    flights.drop(old)
    assert join(flights).flight is new
    flights.drop(new)
    flights.drop(new)
    assert flights.join("key", "stream") is None
    assert not flights._by_key
