"""Ledger queries outside the serving process, so that none takes the interpreter from calls.

A pool has at most two query processes. It starts one for the first query, keeps it for the next
ones, and ends it after some minutes without a query. So a gateway that nobody asks has none.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.core.errors import Problem, ProblemError
from gateway.ledger.store import LedgerStore
from gateway.runtime.query_process import QueryProcess
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric, GaugeMetric

MAX_PROCESSES = 2
"""The maximum number of queries that run at the same time."""
MAX_WAITING = 32
"""The maximum number of queries that wait for a process."""
QUERY_SECONDS = 30.0
"""The maximum number of seconds of a query, and the maximum that it waits for a process."""
_IDLE_SECONDS = 300.0
"""Seconds without a query after which a process ends."""
_LOOK_SECONDS = 60.0
"""Seconds between looks for idle processes."""
_RETRY_SECONDS = 5.0
"""Seconds after which a client may ask again."""


class QueryPool:
    """Runs ledger queries in a few processes, and bounds how long they take."""

    def __init__(
        self,
        start_process: Callable[[], Awaitable[QueryProcess]],
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start_process` may raise OSError; `clock` returns seconds."""
        self._start_process = start_process
        self._log = log
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_PROCESSES)
        self._waiting_count = 0
        self._processes: set[QueryProcess] = set()
        self._idle: list[tuple[QueryProcess, float]] = []
        """Processes without a query, and since when. The last one is used first."""
        self._is_closed = False
        self.query_count, self.failure_count, self.query_seconds = 0, 0, 0.0

    async def run[T, *Ts](
        self,
        function: Callable[[LedgerStore, *Ts], T],
        *arguments: *Ts,
        seconds: float = QUERY_SECONDS,
    ) -> T:
        """Return `function(store, *arguments)`, run in a query process.

        The function is one of a module; it, its arguments and its value are pickled. If the caller
        is cancelled, the query ends. Raises StoreError and OSError from the store, and ProblemError
        if the query itself raises it, waits or runs for too long, or its process ends.
        """
        if self._waiting_count >= MAX_WAITING:
            raise self._count_failure(_make_busy_error())
        self._waiting_count += 1
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise self._count_failure(_make_busy_error()) from None
        finally:
            self._waiting_count -= 1
        try:
            return await self._run_now(function, arguments, seconds)
        finally:
            self._slots.release()

    async def _run_now[T](
        self, function: Callable[..., T], arguments: tuple[object, ...], seconds: float
    ) -> T:
        """Run a query in an idle process or in a new one."""
        started_at = self._clock()
        process = await self._take_process()
        has_reply = False
        try:
            async with asyncio.timeout(seconds):
                reply = await process.run(function, arguments)
            has_reply = True
        except TimeoutError:
            raise self._report(
                function,
                "a query took too long",
                f"The query took longer than {seconds:g} s, so the gateway ended it. Ask for a"
                " shorter time or with more filters, or use the command line.",
                status=504,
            ) from None
        except (EOFError, ConnectionError):
            raise self._report(
                function,
                "a query process has ended",
                "The process of the query ended before its answer. Ask again: the gateway starts"
                " another.",
            ) from None
        finally:
            self.query_count += 1
            self.query_seconds += self._clock() - started_at
            if has_reply:
                self._idle.append((process, self._clock()))
            else:
                await self._end(process)
        if reply.bug:
            self._log("bug", error=reply.bug, query=function.__name__)
            message = "The gateway failed on this request; its log has the reason."
            raise self._count_failure(ProblemError(Problem(kind="internal", message=message)))
        if reply.error is not None:
            raise self._count_failure(reply.error)
        value: T = reply.value
        return value

    async def end_idle_periodically(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        """End processes that have had no query for some minutes, until cancelled."""
        while True:
            await sleep(_LOOK_SECONDS)
            await self.end_idle()

    async def end_idle(self) -> None:
        """End processes that have had no query for some minutes."""
        oldest = self._clock() - _IDLE_SECONDS
        ended = [process for process, since in self._idle if since <= oldest]
        self._idle = [item for item in self._idle if item[0] not in ended]
        for process in ended:
            await self._end(process)

    async def close(self) -> None:
        """End all processes; queries that still run fail."""
        self._is_closed = True
        for process in list(self._processes):
            await self._end(process)

    def build_metrics(self) -> tuple[list[GaugeMetric], list[CounterMetric]]:
        """Return the metrics of queries for /metrics."""
        return [
            GaugeMetric(
                "ledger_query_processes",
                "Processes that run ledger queries.",
                lambda: len(self._processes),
            )
        ], [
            CounterMetric("ledger_queries", "Ledger queries.", lambda: self.query_count),
            CounterMetric(
                "ledger_query_seconds", "Seconds of ledger queries.", lambda: self.query_seconds
            ),
            CounterMetric(
                "ledger_query_failures",
                "Ledger queries without an answer.",
                lambda: self.failure_count,
            ),
        ]

    async def _take_process(self) -> QueryProcess:
        """Return a process that runs no query, which may be a new one."""
        while self._idle:
            process, _ = self._idle.pop()
            if process.is_running():
                return process
            await self._end(process)
        try:
            if self._is_closed:
                raise ConnectionAbortedError(0, "The gateway is stopping")
            process = await self._start_process()
        except OSError as error:
            message = f"The gateway cannot start a process for ledger queries: {error.strerror}."
            self._log("ledger", error=message)
            problem = Problem(kind="ledger", message=message, retry_after=_RETRY_SECONDS)
            raise self._count_failure(ProblemError(problem)) from None
        self._processes.add(process)
        return process

    async def _end(self, process: QueryProcess) -> None:
        self._processes.discard(process)
        await process.kill()

    def _report(
        self, function: Callable[..., object], error: str, message: str, status: int = 0
    ) -> ProblemError:
        """Log that a query has no answer, and return the error of its client."""
        self._log("ledger", error=error, query=function.__name__)
        retry_after = None if status else _RETRY_SECONDS
        problem = Problem(kind="ledger", message=message, status=status, retry_after=retry_after)
        return self._count_failure(ProblemError(problem))

    def _count_failure[E: Exception](self, error: E) -> E:
        self.failure_count += 1
        return error


def _make_busy_error() -> ProblemError:
    message = "Too many ledger queries are waiting. Ask again in a moment."
    return ProblemError(Problem(kind="ledger", message=message, retry_after=_RETRY_SECONDS))
