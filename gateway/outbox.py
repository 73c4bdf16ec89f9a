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
from collections.abc import Callable
from typing import Protocol

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


class Letter(Protocol):
    """Something that is to be sent."""

    def post(self) -> None:
        """Send it, if it still can be; never raises."""
        ...


class Request(Letter, Protocol):
    """A letter that must not leave without its row."""

    def refuse(self) -> None:
        """Not send it, and tell who waits for its answer; never raises."""
        ...


class Step(Protocol):
    """A call that is to go on once others have come as far as it has; a future is one."""

    def done(self) -> bool:
        """Whether it does not wait any more."""
        ...

    def reach(self) -> None:
        """Go on."""
        ...


class Outbox:
    """One for a loop. `first` is done before anything is sent, and never raises.

    It tells whether requests may be sent. Where a call is alone nothing waits: `calls` tells how
    many are being served. `clock` is monotonic seconds.
    """

    __slots__ = (
        "_answers",
        "_clock",
        "_due",
        "_first",
        "_most",
        "_requests",
        "_sent",
        "_since",
        "_steps",
        "calls",
    )

    def __init__(
        self, first: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = first
        self._clock = clock
        self.calls: Callable[[], int] = int
        self._requests: list[Request] = []
        self._answers: list[Letter] = []
        self._steps: deque[Step] = deque()
        self._due = False
        self._most = _FEW
        self._since = 0.0
        self._sent = 0
        """Letters since then."""

    def ask(self, request: Request) -> None:
        """Send a request towards a provider at the end of this turn."""
        self._requests.append(request)
        self.soon()

    def answer(self, answer: Letter) -> None:
        """Send an answer towards a client at the end of this turn."""
        self._answers.append(answer)
        self.soon()

    def busy(self) -> bool:
        """Whether the loop was busy when it was last looked, and others are being served."""
        return self._most == _MOST and self.calls() > _ALONE

    def waits(self) -> bool:
        """Whether a call may wait here for others of this turn: where the loop is busy.

        Then `step` must be told of it.
        """
        return self.due() and self._most == _MOST and len(self._steps) < _MOST

    def step(self, step: Step) -> None:
        """Have a call go on at the end of this turn, one after the other, before what is sent then.

        Many calls that do the same thing one after the other take less time for it than where each
        does something else in between: a processor then has at hand what that thing needs.
        """
        self._steps.append(step)

    def soon(self) -> None:
        """Flush once the loop has told of all that it has found; at once where much waits."""
        if not self.due() or len(self._requests) + len(self._answers) >= self._most:
            self.flush()

    def due(self) -> bool:
        """Have a flush at the end of this turn; False where a call is alone: nothing waits."""
        if self._due:
            return True
        if self.calls() <= _ALONE:
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
        if self.calls() <= _ALONE:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, work)

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

    def _end(self) -> None:
        try:
            while self._steps:
                one = self._steps.popleft()
                if not one.done():
                    one.reach()
        finally:
            self._due = False
            self.flush()
