"""Collect what one iteration of the event loop has to send, and send it together at its end.

A write to a socket wakes the process at the other end, and that costs more than the write. If the
writes of an iteration follow each other, a process that was woken for the first is still awake for
the others. A loop that is not busy waits for few writes, so that none is late. The batch writes the
rows of the iteration first, all at once. If it cannot write the rows of requests, it sends no
request. docs/design/speed.md has the whole story ("The write batch of an iteration").
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

_MAX_CALLS_ALONE = 1
"""The number of calls in service up to which no write waits for the end of the iteration."""
_MAX_BUSY_BATCH = 32
"""The number of writes at which a busy loop flushes at once: milliseconds of its time."""
_MAX_QUIET_BATCH = 4
"""The number of writes at which a loop that is not busy flushes at once."""
_BUSY_WRITES_PER_SECOND = 2_000
"""Writes a second above which a loop is busy: a seventh of a core's capacity."""
_WINDOW_SECONDS = 0.05
"""Seconds over which the batch counts writes."""


class PendingWrite(Protocol):
    """Something to send."""

    def post(self) -> None:
        """Send it if that is still possible; never raises."""
        ...


class PendingRequest(PendingWrite, Protocol):
    """A request that must not leave before its row is written."""

    def refuse(self) -> None:
        """Drop it, and tell the call that waits for its answer; never raises."""
        ...


class WriteBatch:
    """The batch of one event loop.

    It calls `write_rows` before it sends anything; that never raises and returns True if requests
    may be sent. `count_calls` returns how many calls are in service: the writes of a lone call do
    not wait. `clock` returns monotonic seconds.
    """

    __slots__ = (
        "_answers",
        "_clock",
        "_has_followers",
        "_is_flush_due",
        "_max_batch",
        "_requests",
        "_sent_count",
        "_window_start",
        "_write_rows",
        "count_calls",
    )

    def __init__(
        self, write_rows: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write_rows = write_rows
        self._clock = clock
        self.count_calls: Callable[[], int] = int
        self._requests: list[PendingRequest] = []
        self._answers: list[PendingWrite] = []
        self._is_flush_due = False
        self._has_followers = False
        self._max_batch = _MAX_QUIET_BATCH
        self._window_start = 0.0
        self._sent_count = 0
        """The number of writes since `_window_start`."""

    def add_request(self, request: PendingRequest) -> None:
        """Send a request towards a provider at the end of this iteration."""
        self._requests.append(request)
        if not self.schedule_flush():
            self.flush()

    def add_answer(self, answer: PendingWrite) -> None:
        """Send an answer towards a client at the end of this iteration."""
        self._answers.append(answer)
        if not self.schedule_flush():
            self.flush()

    def schedule_flush(self) -> bool:
        """Schedule a flush at the end of this iteration.

        Return False if nothing may wait for it: a call is alone, or the batch is full.
        """
        if self._is_flush_due:
            return len(self._requests) + len(self._answers) < self._max_batch
        if self.count_calls() <= _MAX_CALLS_ALONE and not self._has_followers:
            return False
        self._is_flush_due = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        if (elapsed := self._clock() - self._window_start) > _WINDOW_SECONDS:
            self._max_batch = (
                _MAX_BUSY_BATCH
                if self._sent_count > _BUSY_WRITES_PER_SECOND * elapsed
                else _MAX_QUIET_BATCH
            )
            self._window_start += elapsed
            self._sent_count = 0
        return True

    def mark_immediate_answer(self) -> None:
        """Note that a call was answered within this iteration: those after it are not alone.

        Without this the gateway would make and send the answers of a cache one by one.
        """
        if not self._has_followers:
            self._has_followers = True
            asyncio.get_running_loop().call_soon(self._forget_followers)

    def flush(self) -> bool:
        """Send all that waits now: requests before answers, since providers need longer.

        Return True if the rows were written; otherwise no request is sent.
        """
        rows_written = self._write_rows()
        requests, answers = self._requests, self._answers
        self._sent_count += len(requests) + len(answers)
        if requests:
            self._requests = []
            for request in requests:
                if rows_written:
                    request.post()
                else:
                    request.refuse()
        if answers:
            self._answers = []
            for answer in answers:
                answer.post()
        return rows_written

    def _forget_followers(self) -> None:
        self._has_followers = False

    def _end_turn(self) -> None:
        self._is_flush_due = False
        self.flush()
