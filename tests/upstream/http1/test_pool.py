"""Test the pool alone: its places, its queue, and races at the last moment."""

import asyncio
import socket

import httpx
import pytest

from gateway.upstream.http1.connection import Loop, ProviderConnection
from gateway.upstream.http1.pool import ConnectionPool
from tests.upstream.http1.line import ProviderLine

_NEVER = 3600.0


async def _dial(loop: Loop) -> ProviderConnection:
    return ProviderConnection(loop)


async def _pool(limit: int) -> tuple[ConnectionPool, ProviderConnection]:
    """Make a pool and its first connection, which has no transport and so is never kept."""
    pool = ConnectionPool(
        asyncio.get_running_loop(), _dial, limit=limit, max_idle=10, keepalive_expiry=30.0
    )
    return pool, await pool.acquire(connect_timeout=0, wait_timeout=0)


async def _turn(pool: ConnectionPool, wait: float = _NEVER) -> ProviderConnection:
    return await pool.acquire(connect_timeout=0, wait_timeout=wait)


async def test_waiting_requests_get_connections_in_order() -> None:
    pool, first_connection = await _pool(1)
    order: list[int] = []

    async def work(number: int) -> None:
        connection = await _turn(pool)
        order.append(number)
        pool.release(connection)

    tasks = [asyncio.create_task(work(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert pool.queued_count == 3
    pool.release(first_connection)
    tasks.append(asyncio.create_task(work(3)))  # comes while the place is being handed on
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]
    assert (pool.in_use_count, pool.queued_count) == (0, 0)


async def test_a_request_cancelled_with_a_free_slot_passes_it_on() -> None:
    pool, first_connection = await _pool(1)
    leaving = asyncio.create_task(_turn(pool))
    waiting = asyncio.create_task(_turn(pool))
    await asyncio.sleep(0)
    pool.release(first_connection)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    pool.release(await waiting)
    assert (pool.in_use_count, pool.queued_count) == (0, 0)


async def test_a_request_cancelled_in_the_queue_is_skipped() -> None:
    pool, first_connection = await _pool(1)
    leaving = asyncio.create_task(_turn(pool))
    waiting = asyncio.create_task(_turn(pool))
    await asyncio.sleep(0)
    leaving.cancel()
    pool.release(first_connection)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    pool.release(await waiting)
    assert (pool.in_use_count, pool.queued_count) == (0, 0)


async def test_a_slot_that_is_free_at_the_timeout_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout and the free place come in the same step of the loop."""
    pool, first_connection = await _pool(1)
    timers: list[asyncio.Timeout] = []
    real = asyncio.timeout

    def timeout(delay: float | None) -> asyncio.Timeout:
        timers.append(real(delay))
        return timers[-1]

    monkeypatch.setattr(asyncio, "timeout", timeout)
    late = asyncio.create_task(_turn(pool))
    await asyncio.sleep(0)
    pool.release(first_connection)
    timers[-1].reschedule(asyncio.get_running_loop().time())
    timers[-1]._on_timeout()  # type: ignore[attr-defined]  # what the timer calls
    pool.release(await late)
    assert (pool.in_use_count, pool.queued_count) == (0, 0)


async def test_a_failed_connect_releases_its_slot() -> None:
    async def fail(_: Loop) -> ProviderConnection:
        raise httpx.ConnectError("no")

    pool = ConnectionPool(
        asyncio.get_running_loop(), fail, limit=1, max_idle=10, keepalive_expiry=30.0
    )
    for _ in range(3):
        with pytest.raises(httpx.ConnectError):
            await pool.acquire(connect_timeout=1.0, wait_timeout=1.0)
    assert (pool.in_use_count, pool.queued_count) == (0, 0)


class _PoolLine(ProviderLine):
    """A transport with a real socket that can be checked."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        super().__init__(ours)
        self._ours = ours

    def end(self) -> None:
        for end_socket in (self._ours, self.theirs):
            end_socket.close()


async def _kept(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[ConnectionPool, ProviderConnection, _PoolLine, list[float]]:
    """Make a pool with one idle connection, on a clock of our own."""
    loop, now = asyncio.get_running_loop(), [100.0]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    pool, line = (
        ConnectionPool(loop, _dial, limit=5, max_idle=10, keepalive_expiry=30.0),
        _PoolLine(),
    )
    connection = await pool.acquire(connect_timeout=0, wait_timeout=0)
    connection.connection_made(line)
    connection.begin(b"request")
    connection.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
    pool.release(connection)
    assert pool.idle_count == 1
    return pool, connection, line, now


@pytest.mark.parametrize("wait", [0.0, 0.1])
async def test_an_idle_connection_is_checked_unless_just_used(
    monkeypatch: pytest.MonkeyPatch, wait: float
) -> None:
    """The provider has closed it, and the loop does not know yet."""
    pool, connection, line, now = await _kept(monkeypatch)
    line.theirs.close()
    now[0] += wait
    assert pool.acquire_idle() is (None if wait else connection)
    line.end()
    pool.close()


async def test_a_request_that_cannot_be_repeated_checks_every_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, connection, line, _ = await _kept(monkeypatch)
    line.theirs.close()
    assert await pool.acquire(connect_timeout=0, wait_timeout=0) is not connection
    line.end()
    pool.close()


async def test_the_pool_checks_every_connection_if_a_provider_closes_them_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, connection, line, _ = await _kept(monkeypatch)
    pool.check_every_connection()
    line.theirs.close()
    assert pool.acquire_idle() is None
    assert connection not in pool._idle
    line.end()
    pool.close()


@pytest.mark.parametrize(("after", "looked"), [(0.5, 0.0), (10.0, 0.005)])
async def test_a_connection_lost_right_after_its_answer_makes_the_pool_check(
    monkeypatch: pytest.MonkeyPatch, after: float, looked: float
) -> None:
    pool, connection, line, now = await _kept(monkeypatch)
    now[0] += after
    connection.connection_lost(None)
    assert (pool.idle_count, pool._unchecked_seconds) == (0, looked)
    line.end()
    pool.close()
