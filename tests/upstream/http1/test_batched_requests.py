"""Test that a request that waits for the end of the iteration is sent then, or not at all."""

import asyncio

import httpx
import pytest

from gateway.upstream.http1 import StaleConnection, UnwrittenError
from gateway.upstream.http1.connection import ProviderConnection
from gateway.upstream.write_batch import WriteBatch
from tests.upstream.http1.line import ProviderLine

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def _connected(*, reused: bool = False) -> tuple[ProviderConnection, ProviderLine]:
    line = ProviderLine()
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(line)
    if reused:
        connection.begin(b"first")
        connection.data_received(OK)
        assert connection.take_whole() == b"ok"
        assert connection.finish_exchange()
        line.sent = b""
    return connection, line


def _box(*, written: bool = True) -> WriteBatch:
    box = WriteBatch(lambda: written)
    box.count_calls = lambda: 2
    return box


@pytest.mark.parametrize("reused", [False, True])
async def test_a_request_is_sent_at_the_end_of_the_loop_iteration(reused: bool) -> None:
    connection, line = _connected(reused=reused)
    connection.send_request(b"request", _box())
    assert line.sent == b""
    await asyncio.sleep(0)
    assert line.sent == b"request"
    connection.data_received(OK)
    assert (await connection.wait_for_head()).status == 200
    assert connection.finish_exchange()


async def test_an_abandoned_request_is_not_sent() -> None:
    connection, line = _connected()
    connection.send_request(b"request", _box())
    assert not connection.finish_exchange()
    await asyncio.sleep(0)
    assert (line.sent, line.closed) == (b"", True)


@pytest.mark.parametrize(
    ("reused", "error"), [(True, StaleConnection), (False, httpx.ConnectError)]
)
async def test_a_connection_lost_before_the_write_has_sent_nothing(
    reused: bool, error: type[Exception]
) -> None:
    connection, line = _connected(reused=reused)
    connection.send_request(b"request", _box())
    connection.connection_lost(None)
    with pytest.raises(error):
        await connection.wait_for_head()
    await asyncio.sleep(0)
    assert line.sent == b""


async def test_nothing_is_written_to_a_closing_connection() -> None:
    connection, line = _connected()
    connection.send_request(b"request", _box())
    line.closed = True
    await asyncio.sleep(0)
    assert line.sent == b""


async def test_bytes_on_a_kept_connection_before_the_request_are_no_answer() -> None:
    connection, line = _connected(reused=True)
    connection.send_request(b"request", _box())
    connection.data_received(OK)
    with pytest.raises(StaleConnection):
        await connection.wait_for_head()
    await asyncio.sleep(0)
    assert (line.sent, line.closed) == (b"", True)


async def test_an_early_answer_on_a_new_connection_is_read() -> None:
    """A provider that has too many connections may refuse one before it reads."""
    connection, line = _connected()
    connection.send_request(b"request", _box())
    connection.data_received(OK)
    assert line.sent == b"request"
    assert (await connection.wait_for_head()).status == 200
    await asyncio.sleep(0)
    assert line.sent == b"request"


async def test_a_request_without_its_row_is_not_sent_and_raises_an_error() -> None:
    connection, line = _connected(reused=True)
    connection.send_request(b"request", _box(written=False))
    with pytest.raises(UnwrittenError):
        await connection.wait_for_head()
    assert (line.sent, line.closed) == (b"", True)


async def test_an_abandoned_request_without_its_row_raises_nothing() -> None:
    connection, line = _connected()
    connection.send_request(b"request", _box(written=False))
    connection.abort()
    await asyncio.sleep(0)
    assert (line.sent, line.closed) == (b"", True)
