"""Test a whole answer that waits for the iteration's end: it keeps its order and is not lost."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.server.http1.client_transport import ClientTransport
from gateway.upstream.write_batch import WriteBatch
from tests.server.test_slow import Line


class Waits:
    """A client's connection whose answers wait behind a row."""

    def __init__(self) -> None:
        line: Any = Line()
        self.line: Line = line
        self.rows = 0
        box = WriteBatch(self._row)
        box.count_calls = lambda: 2
        self.transport = ClientTransport(line, box, 60.0)

    def _row(self) -> bool:
        assert self.line.written == b""  # the row is written before the answer
        self.rows += 1
        return True


async def test_it_leaves_at_the_end_of_the_turn() -> None:
    one = Waits()
    one.transport.write_in_batch(b"whole")
    one.transport.write_in_batch(b" and another")
    assert one.line.written == b""
    assert one.transport.count_unsent() == len(b"whole and another")
    await asyncio.sleep(0)
    assert (one.line.written, one.rows, one.transport.count_unsent()) == (
        b"whole and another",
        1,
        0,
    )


async def test_what_is_written_behind_it_comes_behind_it() -> None:
    one = Waits()
    one.transport.write_in_batch(b"whole")
    one.transport.write(b" and more")
    assert (one.line.written, one.rows) == (b"whole and more", 1)


@pytest.mark.parametrize("owes", [False, True])
async def test_it_leaves_before_the_connection_closes(owes: bool) -> None:
    one = Waits()
    one.transport.write_in_batch(b"whole")
    one.transport.close(lingers=owes)
    assert (one.line.written, one.rows) == (b"whole", 1)
    assert one.line.ended if owes else one.line.closed


async def test_it_leaves_before_the_connection_is_dropped() -> None:
    one = Waits()
    one.transport.write_in_batch(b"whole")
    one.transport.abort()
    assert (one.line.written, one.line.aborted) == (b"whole", True)


async def test_one_whose_client_has_left_is_not_sent() -> None:
    one = Waits()
    one.transport.write_in_batch(b"whole")
    one.line.closed = True
    await asyncio.sleep(0)
    assert (one.line.written, one.rows) == (b"", 1)


async def test_writers_wait_while_the_client_does_not_read() -> None:
    transport = Waits().transport
    await transport.drain()  # does not wait
    transport.pause_writing()
    assert transport.is_write_paused
    writer = asyncio.ensure_future(transport.drain())
    await asyncio.sleep(0)
    assert not writer.done()
    transport.resume_writing()
    await writer
    assert not transport.is_write_paused


async def test_reading_is_paused_and_resumed_once() -> None:
    calls: list[str] = []
    line: Any = SimpleNamespace(
        is_closing=lambda: "closed" in calls,
        pause_reading=lambda: calls.append("pause"),
        resume_reading=lambda: calls.append("resume"),
    )
    transport = ClientTransport(line, WriteBatch(lambda: True), 60.0)
    for step in (transport.resume_reading, transport.pause_reading, transport.pause_reading):
        step()
    for step in (transport.resume_reading, transport.resume_reading):
        step()
    assert calls == ["pause", "resume"]
    calls.append("closed")  # a closed uvloop transport refuses both
    transport.pause_reading()
    assert calls == ["pause", "resume", "closed"]
