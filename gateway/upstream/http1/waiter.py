"""What a call waits for on its connection, and how it goes on when that is here."""

import asyncio
from collections.abc import Generator
from contextvars import Context
from typing import Any

from gateway.upstream.write_batch import Wake


class Waiter:
    """Like a future of one task, which can go on at once where the loop tells of what it waits for.

    A loop calls back in its next round. By then it would have looked at all sockets again, and
    what answers it has found could not be sent together with the requests that it has found. It has
    no result, and may be waited for again and again, each time after `begin`.
    """

    __slots__ = (
        "__weakref__",
        "_asyncio_future_blocking",
        "_cancel_args",
        "_context",
        "_loop",
        "_wake",
        "is_pending",
    )  # fmt: skip

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        """What is waited for is not here yet."""
        self._asyncio_future_blocking = False  # as a task is told that there is something to wait
        self._loop = loop
        self._wake: Wake | None = None
        self._context: Context | None = None
        self._cancel_args: tuple[object, ...] | None = None
        self.is_pending = True
        """Whether it is still to come, and nobody has given up the wait for it."""

    def begin(self) -> None:
        """Something else is waited for, which is not here yet."""
        self.is_pending, self._cancel_args = True, None

    def __await__(self) -> Generator[Any]:
        """Wait for it."""
        if self.is_pending:
            self._asyncio_future_blocking = True
            yield self
        self.result()

    def resume_now(self) -> None:
        """It is here: go on with the task, in here where no other one runs. Called by a loop."""
        wake, context = self._wake, self._context
        self.is_pending = False
        if wake is None:
            return
        if asyncio.current_task() is not None:
            self._resume_later()
            return
        self._wake = None
        if context is None:  # it has none of its own
            wake(self)
        else:
            context.run(wake, self)
        del wake  # where the task has failed, what it raised knows this frame, and it the task

    def stop(self) -> None:
        """There is nothing to wait for any more: go on with the task in the loop's next round."""
        if self.is_pending:
            self.is_pending = False
            self._resume_later()

    def _resume_later(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            self._loop.call_soon(wake, self, context=self._context)

    # what is asked of a future

    def add_done_callback(self, fn: Wake, /, *, context: Context | None = None) -> None:
        """As the task does that waits here, or what goes on like one; nobody else does."""
        self._wake, self._context = fn, context

    def cancel(self, msg: object = None) -> bool:
        """Nobody waits any more; False where it was here before."""
        if not self.is_pending:
            return False
        self.is_pending, self._cancel_args = False, () if msg is None else (msg,)
        self._resume_later()
        return True

    def done(self) -> bool:
        """Whether it is here, or was given up."""
        return not self.is_pending

    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._cancel_args is not None

    def result(self) -> None:
        """Nothing. Raises CancelledError where it was given up."""
        if self._cancel_args is not None:
            raise asyncio.CancelledError(*self._cancel_args)

    def exception(self) -> None:
        """As `result`."""
        self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which its task runs."""
        return self._loop
