"""What a call waits for on its connection, and how it goes on when that is here."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

type Wake = Callable[[Mark], object]


class Mark(asyncio.Future[None]):
    """A future of one task, which can go on at once where the loop tells of what it waits for.

    A loop calls back in its next round. By then it would have looked at all sockets again, and
    what answers it has found could not be sent together with the requests that it has found.
    """

    __slots__ = ("_context", "_wake")

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._wake: Wake | None = None
        self._context: Context | None = None

    def add_done_callback(self, fn: Wake, /, *, context: Context | None = None) -> None:
        """As the task does that waits here, or what goes on like one; nobody else does."""
        self._wake, self._context = fn, context

    def reach(self) -> None:
        """It is here: go on with the task, in here where no other one runs. Called by a loop."""
        wake, context = self._wake, self._context
        if wake is None or asyncio.current_task() is not None:
            self.set_result(None)
        else:
            self._wake = None
            super().set_result(None)
            if context is None:  # it has none of its own
                wake(self)
            else:
                context.run(wake, self)
            del wake  # where the task has failed, what it raised knows this frame, and it the task

    def set_result(self, result: None, /) -> None:
        """It is here: go on with the task in the loop's next round."""
        super().set_result(result)
        self._later()

    def cancel(self, msg: Any | None = None) -> bool:
        """Nobody waits any more."""
        done = super().cancel(msg)
        self._later()
        return done

    def _later(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            self.get_loop().call_soon(wake, self, context=self._context)
