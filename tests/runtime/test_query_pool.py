"""Test how a pool shares its query processes, and bounds queries; the processes are played."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.ledger.errors import StoreError
from gateway.ledger.store import LedgerStore
from gateway.runtime.query_pool import MAX_PROCESSES, MAX_WAITING, QUERY_SECONDS, QueryPool
from gateway.runtime.query_program import QueryReply

pytestmark = pytest.mark.jumping_clock


class PlayedProcess:
    """A process that replies when the test says so."""

    def __init__(self) -> None:
        self.is_killed = False
        self.replies: asyncio.Queue[QueryReply | Exception] = asyncio.Queue()

    def is_running(self) -> bool:
        return not self.is_killed

    async def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> QueryReply:
        del function, arguments
        reply = await self.replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def kill(self) -> None:
        self.is_killed = True


class PlayedPool(QueryPool):
    """A pool of played processes, with its log and its clock."""

    def __init__(self) -> None:
        self.started: list[PlayedProcess] = []
        self.start_error: OSError | None = None
        self.log: list[dict[str, object]] = []
        self.now = 0.0
        super().__init__(self._start, self._note, lambda: self.now)

    async def _start(self) -> PlayedProcess:
        if self.start_error is not None:
            raise self.start_error
        self.started.append(PlayedProcess())
        return self.started[-1]

    def _note(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    def read_metrics(self) -> list[float | None]:
        """Return the processes, queries, seconds and failures."""
        gauges, counters = self.build_metrics()
        return [gauge.read() for gauge in gauges] + [counter.read() for counter in counters]


def query(store: LedgerStore) -> str:
    """Stand for a query; played processes do not run it."""
    raise NotImplementedError(store)


async def start_queries(pool: PlayedPool, count: int) -> list[asyncio.Task[str]]:
    """Start queries, and let them come as far as they can."""
    tasks = [asyncio.create_task(pool.run(query)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_processes_start_when_they_are_needed_and_are_used_again() -> None:
    pool = PlayedPool()
    assert pool.read_metrics() == [0, 0, 0, 0]
    tasks = await start_queries(pool, MAX_PROCESSES + 1)
    assert len(pool.started) == MAX_PROCESSES
    pool.now = 2.5
    pool.started[0].replies.put_nowait(QueryReply("a"))
    pool.started[0].replies.put_nowait(QueryReply("b"))
    assert [await tasks[0], await tasks[2]] == ["a", "b"]
    pool.started[1].replies.put_nowait(QueryReply("c"))
    assert await tasks[1] == "c"
    assert pool.read_metrics() == [2, 3, 5.0, 0]
    await pool.close()
    assert all(process.is_killed for process in pool.started)


async def test_processes_without_queries_end_after_some_minutes() -> None:
    pool = PlayedPool()
    tasks = await start_queries(pool, 2)
    pool.started[0].replies.put_nowait(QueryReply("a"))
    await tasks[0]
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        pool.now += seconds
        if pool.started[0].is_killed:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await pool.end_idle_periodically(sleep)
    assert sum(waits[:-1]) == 300
    assert not pool.started[1].is_killed  # it has a query
    assert pool.read_metrics()[0] == 1
    pool.started[1].replies.put_nowait(QueryReply("b"))
    assert await tasks[1] == "b"
    await pool.close()


async def test_a_query_that_takes_too_long_is_ended() -> None:
    pool = PlayedPool()
    with pytest.raises(ProblemError, match="longer than 30 s") as raised:
        await pool.run(query)
    assert (raised.value.problem.http_status, raised.value.problem.retry_after) == (504, None)
    assert pool.started[0].is_killed
    assert pool.log == [{"event": "ledger", "error": "a query took too long", "query": "query"}]
    assert pool.read_metrics() == [0, 1, 0, 1]


async def test_a_bounded_number_of_queries_waits_for_a_bounded_time() -> None:
    pool = PlayedPool()
    tasks = await start_queries(pool, MAX_PROCESSES + MAX_WAITING)
    with pytest.raises(ProblemError, match="Too many ledger queries") as raised:
        await pool.run(query)
    assert (raised.value.problem.http_status, raised.value.problem.retry_after) == (503, 5)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert asyncio.get_running_loop().time() < 2 * QUERY_SECONDS + 1
    texts = [str(result) for result in results]
    assert sum("longer than" in text for text in texts) >= MAX_PROCESSES
    assert all("longer than" in text or "Too many" in text for text in texts)


async def test_a_query_whose_caller_leaves_is_ended() -> None:
    pool = PlayedPool()
    (task, *_) = await start_queries(pool, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.started[0].is_killed


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError()])
async def test_a_process_that_ends_is_replaced(error: Exception) -> None:
    pool = PlayedPool()
    (task, *_) = await start_queries(pool, 1)
    pool.started[0].replies.put_nowait(error)
    with pytest.raises(ProblemError, match="Ask again") as raised:
        await task
    assert (raised.value.problem.http_status, raised.value.problem.retry_after) == (503, 5)
    (task, *_) = await start_queries(pool, 1)
    pool.started[1].replies.put_nowait(QueryReply("a"))
    assert await task == "a"
    await pool.started[1].kill()  # while it has no query
    (task, *_) = await start_queries(pool, 1)
    pool.started[2].replies.put_nowait(QueryReply("b"))
    assert await task == "b"


async def test_errors_of_queries_keep_their_process() -> None:
    """A bug's place is in the log, and no more of it anywhere."""
    pool = PlayedPool()
    tasks = await start_queries(pool, 2)
    pool.started[0].replies.put_nowait(QueryReply(error=StoreError("no luck")))
    pool.started[1].replies.put_nowait(QueryReply(bug="KeyError at costs.py:1"))
    with pytest.raises(StoreError, match="no luck"):
        await tasks[0]
    with pytest.raises(ProblemError, match="its log has the reason") as raised:
        await tasks[1]
    assert raised.value.problem.http_status == 500
    assert pool.log == [{"event": "bug", "error": "KeyError at costs.py:1", "query": "query"}]
    assert pool.read_metrics() == [2, 2, 0, 2]


async def test_a_process_that_cannot_start_is_told_of() -> None:
    pool = PlayedPool()
    pool.start_error = OSError(11, "Resource temporarily unavailable")
    with pytest.raises(ProblemError, match="cannot start a process for ledger queries: Resource"):
        await pool.run(query)
    assert [line["event"] for line in pool.log] == ["ledger"]
    pool.start_error = None
    await pool.close()
    with pytest.raises(ProblemError, match="stopping"):
        await pool.run(query)
