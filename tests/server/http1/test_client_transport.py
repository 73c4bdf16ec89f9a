"""Test a whole answer that waits for the iteration's end: it keeps its order and is not lost."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.server.http1.client_transport import ClientTransport
from gateway.upstream.write_batch import WriteBatch
from tests.server.test_slow_clients import SlowTransport


class BatchedConnection:
    """A client's connection whose answers wait behind a row."""

    def __init__(self) -> None:
        line: Any = SlowTransport()
        self.line: SlowTransport = line
        self.rows = 0
        box = WriteBatch(self._row)
        box.count_calls = lambda: 2
        self.transport = ClientTransport(line, box, 60.0)

    def _row(self) -> bool:
        assert self.line.written == b""  # the row is written before the answer
        self.rows += 1
        return True


async def test_batched_writes_leave_together_at_the_end_of_the_iteration() -> None:
    connection = BatchedConnection()
    connection.transport.write_in_batch(b"whole")
    connection.transport.write_in_batch(b" and another")
    assert connection.line.written == b""
    assert connection.transport.count_unsent() == len(b"whole and another")
    await asyncio.sleep(0)
    assert (connection.line.written, connection.rows, connection.transport.count_unsent()) == (
        b"whole and another",
        1,
        0,
    )


async def test_a_direct_write_comes_behind_a_batched_one() -> None:
    connection = BatchedConnection()
    connection.transport.write_in_batch(b"whole")
    connection.transport.write(b" and more")
    assert (connection.line.written, connection.rows) == (b"whole and more", 1)


@pytest.mark.parametrize("lingers", [False, True])
async def test_a_batched_answer_leaves_before_the_connection_closes(lingers: bool) -> None:
    connection = BatchedConnection()
    connection.transport.write_in_batch(b"whole")
    connection.transport.close(lingers=lingers)
    assert (connection.line.written, connection.rows) == (b"whole", 1)
    assert connection.line.ended if lingers else connection.line.closed


async def test_a_batched_answer_leaves_before_the_connection_is_aborted() -> None:
    connection = BatchedConnection()
    connection.transport.write_in_batch(b"whole")
    connection.transport.abort()
    assert (connection.line.written, connection.line.aborted) == (b"whole", True)


async def test_a_batched_answer_is_not_sent_to_a_client_that_has_left() -> None:
    connection = BatchedConnection()
    connection.transport.write_in_batch(b"whole")
    connection.line.closed = True
    await asyncio.sleep(0)
    assert (connection.line.written, connection.rows) == (b"", 1)


async def test_writers_wait_while_the_client_does_not_read() -> None:
    transport = BatchedConnection().transport
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
