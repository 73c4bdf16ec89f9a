"""What is sent in one turn of the loop, sent together at its end.

A write to a socket wakes whoever waits at its other end, which costs more than the write itself.
Where the writes of a turn come one right after the other, who was woken for the first is still
awake for the others: a busy gateway gets more done. One that is not busy has the time, and of what
comes at once little waits for the rest. The rows that letters wait for are written before them, all
in one piece; where those of requests cannot be written, no request is sent.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Protocol

type Wake = Callable[[Any], object]
"""What has a task go on; it is given what was waited for."""

_ALONE = 1
"""Calls of which none waits for the end of the turn: there is nothing to go with."""
_MOST = 32
"""Letters that wait for others at most: milliseconds of a busy loop."""
_FEW = 4
"""The same where the loop is not busy."""
_BUSY = 2_000
"""Letters a second from which it is: a seventh of what a core can do."""
_WINDOW = 0.05
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


class TurnBarrier:
    """Where calls wait for others of a turn, each as for a future of its own.

    They go on one after the other. One that is cancelled meanwhile is told of it then.
    """

    __slots__ = ("_asyncio_future_blocking", "waiting")

    def __init__(self) -> None:
        self._asyncio_future_blocking = False  # as a task is told that there is something to wait
        self.waiting: deque[tuple[Wake, Context | None]] = deque()

    def __await__(self) -> Generator[Any]:
        """Wait for the end of the turn."""
        self._asyncio_future_blocking = True
        yield self

    def end(self) -> None:
        """Have all of them go on, with those that come meanwhile. Raises what the first raises."""
        waiting = self.waiting
        while waiting:
            wake, context = waiting.popleft()
            if context is None:  # it has none of its own
                wake(self)
            else:
                context.run(wake, self)

    # what is asked of a future

    def add_done_callback(self, fn: Wake, /, *, context: Context | None = None) -> None:
        """As the task does that waits here, or what goes on like one."""
        self.waiting.append((fn, context))

    def cancel(self, _: object = None) -> bool:
        """False: it does not end the wait."""
        return False

    def cancelled(self) -> bool:
        """False."""
        return False

    def result(self) -> None:
        """Nothing."""

    def exception(self) -> None:
        """None."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop whose turn it is."""
        return asyncio.get_running_loop()


def nobody() -> None:
    """There are no others to wait for."""


class WriteBatch:
    """One for a loop. `first` is done before anything is sent, and never raises.

    It tells whether requests may be sent. Where a call is alone nothing waits: `calls` tells how
    many are being served. `clock` is monotonic seconds.
    """

    __slots__ = (
        "_answers",
        "_clock",
        "_due",
        "_first",
        "_followed",
        "_halt",
        "_most",
        "_requests",
        "_sent",
        "_since",
        "calls",
    )

    def __init__(
        self, first: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = first
        self._clock = clock
        self.calls: Callable[[], int] = int
        self._requests: list[PendingRequest] = []
        self._answers: list[PendingWrite] = []
        self._halt = TurnBarrier()
        self._due = False
        self._followed = False
        self._most = _FEW
        self._since = 0.0
        self._sent = 0
        """Letters since then."""

    def ask(self, request: PendingRequest) -> None:
        """Send a request towards a provider at the end of this turn."""
        self._requests.append(request)
        self.soon()

    def answer(self, answer: PendingWrite) -> None:
        """Send an answer towards a client at the end of this turn."""
        self._answers.append(answer)
        self.soon()

    def turn(self) -> TurnBarrier | None:
        """What a call may wait for until others of this turn have come as far: where it is busy.

        They go on one after the other, before what is sent then. Many that do the same thing so
        take less time for it than where each does something else in between: a processor then has
        at hand what that thing needs. It must be waited for at once.
        """
        if self.due() and self._most == _MOST and len(self._halt.waiting) < _MOST:
            return self._halt
        return None

    def soon(self) -> None:
        """Flush once the loop has told of all that it has found; at once where much waits."""
        if not self.due() or len(self._requests) + len(self._answers) >= self._most:
            self.flush()

    def due(self) -> bool:
        """Have a flush at the end of this turn; False where a call is alone: nothing waits."""
        if self._due:
            return True
        if self.calls() <= _ALONE and not self._followed:
            return False
        self._due = True
        asyncio.get_running_loop().call_soon(self._end)
        if (passed := self._clock() - self._since) > _WINDOW:
            self._most = _MOST if self._sent > _BUSY * passed else _FEW
            self._since += passed
            self._sent = 0
        return True

    def meanwhile(self, work: Callable[[], object]) -> None:
        """Do what will be needed later, where a call is alone, while it waits for somebody.

        In the turn after the next: what it asks for leaves at the end of the next. Where others
        are served it is not done, as there is always something else to do.
        """
        if self.calls() <= _ALONE and not self._followed:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, work)

    def passed(self) -> None:
        """A call has come and was answered within this turn: those that follow are not alone.

        A cache's answers, above all, would else be made and sent one by one.
        """
        if not self._followed:
            self._followed = True
            asyncio.get_running_loop().call_soon(self._turned)

    def flush(self) -> bool:
        """Send what waits now: requests before answers, of which providers need longer.

        Tells whether what waited was written; else no request was sent.
        """
        written = self._first()
        requests, answers = self._requests, self._answers
        self._sent += len(requests) + len(answers)
        if requests:
            self._requests = []
            for one in requests:
                if written:
                    one.post()
                else:
                    one.refuse()
        if answers:
            self._answers = []
            for letter in answers:
                letter.post()
        return written

    def _turned(self) -> None:
        self._followed = False

    def _end(self) -> None:
        try:
            self._halt.end()
        finally:
            self._due = False
            self.flush()
