"""What is sent in one turn of the loop, sent together at its end.

A write to a socket wakes whoever waits at its other end, which costs more than the write itself.
Where the writes of a turn come one right after the other, who was woken for the first is still
awake for the others: a busy gateway gets more done. One that is not busy has the time, and of what
comes at once little waits for the rest. The rows that letters wait for are written before them, all
in one piece; where those of requests cannot be written, no request is sent.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

_MAX_CALLS_ALONE = 1
"""Calls of which none waits for the end of the turn: there is nothing to go with."""
_MAX_BUSY_BATCH = 32
"""Letters that wait for others at most: milliseconds of a busy loop."""
_MAX_QUIET_BATCH = 4
"""The same where the loop is not busy."""
_BUSY_WRITES_PER_SECOND = 2_000
"""Letters a second from which it is: a seventh of what a core can do."""
_WINDOW_SECONDS = 0.05
"""Seconds of which that is told."""


class PendingWrite(Protocol):
    """Something that is to be sent."""

    def post(self) -> None:
        """Send it, if it still can be; never raises."""
        ...


class PendingRequest(PendingWrite, Protocol):
    """A letter that must not leave without its row."""

    def refuse(self) -> None:
        """Not send it, and tell who waits for its answer; never raises."""
        ...


class WriteBatch:
    """One for a loop. `write_rows` is done before anything is sent, and never raises.

    It tells whether requests may be sent. Where a call is alone nothing waits: `count_calls` tells
    how many are being served. `clock` is monotonic seconds.
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
        """Letters since then."""

    def add_request(self, request: PendingRequest) -> None:
        """Send a request towards a provider at the end of this turn."""
        self._requests.append(request)
        self.flush_soon()

    def add_answer(self, answer: PendingWrite) -> None:
        """Send an answer towards a client at the end of this turn."""
        self._answers.append(answer)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Flush once the loop has told of all that it has found; at once where much waits."""
        if not self.schedule_flush() or len(self._requests) + len(self._answers) >= self._max_batch:
            self.flush()

    def schedule_flush(self) -> bool:
        """Have a flush at the end of this turn; False where a call is alone: nothing waits."""
        if self._is_flush_due:
            return True
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

    def run_if_alone(self, work: Callable[[], object]) -> None:
        """Do what will be needed later, where a call is alone, while it waits for somebody.

        In the turn after the next: what it asks for leaves at the end of the next. Where others
        are served it is not done, as there is always something else to do.
        """
        if self.count_calls() <= _MAX_CALLS_ALONE and not self._has_followers:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, work)

    def mark_immediate_answer(self) -> None:
        """A call has come and was answered within this turn: those that follow are not alone.

        A cache's answers, above all, would else be made and sent one by one.
        """
        if not self._has_followers:
            self._has_followers = True
            asyncio.get_running_loop().call_soon(self._forget_followers)

    def flush(self) -> bool:
        """Send what waits now: requests before answers, of which providers need longer.

        Tells whether what waited was written; else no request was sent.
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
