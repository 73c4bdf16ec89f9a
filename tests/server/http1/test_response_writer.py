"""A whole answer that waits for the end of the turn: nothing passes it, and it is never lost."""

import asyncio
from typing import Any

import pytest

from gateway.server.http1.response_writer import CorkedTransport
from gateway.upstream.write_batch import WriteBatch
from tests.server.test_slow import Line

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Waits:
    """A client's connection whose answers wait, behind a row."""

    def __init__(self, *, owes: bool = False) -> None:
        line: Any = Line()
        self.line: Line = line
        self.rows = 0
        box = WriteBatch(self._row)
        box.count_calls = lambda: 2
        self.corked = CorkedTransport(line, lambda: owes, 60.0, box)

    def _row(self) -> bool:
        assert self.line.written == b""  # before the answer
        self.rows += 1
        return True


async def test_it_leaves_at_the_end_of_the_turn() -> None:
    one = Waits()
    one.corked.write_response(b"whole")
    one.corked.write_response(b" and another")
    assert one.line.written == b""
    assert one.corked.count_unsent() == len(b"whole and another")
    await asyncio.sleep(0)
    assert (one.line.written, one.rows, one.corked.count_unsent()) == (b"whole and another", 1, 0)


async def test_a_head_that_was_kept_goes_with_it() -> None:
    one = Waits()
    one.corked.write(HEAD)
    one.corked.write_response(b"whole")
    await asyncio.sleep(0)
    assert one.line.written == HEAD + b"whole"


async def test_what_is_written_behind_it_comes_behind_it() -> None:
    one = Waits()
    one.corked.write_response(b"whole")
    one.corked.write(HEAD)
    assert (one.line.written, one.rows) == (b"whole", 1)
    one.corked.uncork()
    assert one.line.written == b"whole" + HEAD


@pytest.mark.parametrize("owes", [False, True])
async def test_it_leaves_before_the_connection_closes(owes: bool) -> None:
    one = Waits(owes=owes)
    one.corked.write_response(b"whole")
    one.corked.close()
    assert (one.line.written, one.rows) == (b"whole", 1)
    assert one.line.ended if owes else one.line.closed


async def test_it_leaves_before_the_connection_is_dropped() -> None:
    one = Waits()
    one.corked.write_response(b"whole")
    one.corked.drop()
    assert (one.line.written, one.line.aborted) == (b"whole", True)


async def test_one_whose_client_has_left_is_not_sent() -> None:
    one = Waits()
    one.corked.write_response(b"whole")
    one.line.closed = True
    await asyncio.sleep(0)
    assert (one.line.written, one.rows) == (b"", 1)
