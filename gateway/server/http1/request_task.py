"""A call that has come whole, as it goes on: with less than a task of asyncio takes.

Nearly all calls wait once, for a provider's answer, and go on where the loop tells of that. Who
asks for the current task gets this while it runs, so that it does for asyncio what a task does: it
may be cancelled, and a cancellation taken back; time limits count on both. It has no context of its
own, no name and no result, and nobody waits for its end but a server that stops.
"""

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from typing import Any

type Done = Callable[[Any], object]


class RequestTask:
    """One call; what it awaits must be a future of asyncio, or nothing for a turn of the loop."""

    __slots__ = (
        "__weakref__", "_asked", "_coro", "_cut", "_done", "_fut_waiter", "_loop", "_message",
        "_must_cancel",
    )  # fmt: skip

    _asyncio_future_blocking = False
    """That it is there tells asyncio that this may be waited for, with others, as a future."""

    def __init__(self, coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        """Begins at once, and may have ended then. No task may be running."""
        self._coro: Coroutine[Any, Any, None] | None = coro
        self._loop = loop
        self._asked = 0
        self._cut = False
        self._must_cancel = False  # as a task calls it, for libraries that look
        self._fut_waiter: asyncio.Future[Any] | None = None  # the same
        self._message: object = None
        self._done: list[tuple[Done, Any]] | None = None
        self._go()

    def _go(self, came: asyncio.Future[Any] | None = None) -> None:
        """Go on until it waits again, or has ended; what it waited for tells it the rest."""
        coro, loop = self._coro, self._loop
        if coro is None:
            return
        struck = False
        if self._must_cancel:
            struck = self._struck(came)
        del came  # what it raises there knows this frame, and is known by that
        self._fut_waiter = None
        _enter_task(loop, self)  # type: ignore[arg-type]  # it does for one
        try:
            if struck:
                found = coro.throw(asyncio.CancelledError(*self._words()))
            else:
                found = coro.send(None)
        except StopIteration:
            self._end()
            return
        except asyncio.CancelledError:
            self._cut = True
            self._end()
            return
        except BaseException as error:
            self._end()
            if not isinstance(error, Exception):
                raise
            text = "A call has ended with an error that nobody has taken"
            loop.call_exception_handler({"message": text, "exception": error})
            return
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]  # the same
        if found is None:
            loop.call_soon(self._go)
            return
        found._asyncio_future_blocking = False  # noqa: SLF001 - as a task tells that it waits
        found.add_done_callback(self._go)
        self._fut_waiter = found
        if self._must_cancel and found.cancel(*self._words()):
            self._must_cancel = False
        del found  # as above

    def _struck(self, came: asyncio.Future[Any] | None) -> bool:
        """Whether it must be told of a cancellation: not by what it waited for."""
        self._must_cancel = False
        if came is None:
            return True
        if came.cancelled():
            return False
        came.exception()  # which nobody will ask for
        return True

    def _words(self) -> tuple[object, ...]:
        return () if self._message is None else (self._message,)

    def _end(self) -> None:
        self._coro = None
        if self._done is not None:
            told, self._done = self._done, None
            for call, context in told:
                self._loop.call_soon(call, self, context=context)

    # what is asked of a task

    def cancel(self, msg: object = None) -> bool:
        """Have what it waits for raise CancelledError; False where it has ended."""
        if self._coro is None:
            return False
        self._asked += 1
        self._message = msg
        waits = self._fut_waiter
        if waits is None or not waits.cancel(*self._words()):
            self._must_cancel = True
        return True

    def uncancel(self) -> int:
        """Take one cancellation back; how many are left."""
        if self._asked:
            self._asked -= 1
            if not self._asked:
                self._must_cancel = False
        return self._asked

    def cancelling(self) -> int:
        """How many cancellations were asked for and not taken back."""
        return self._asked

    def done(self) -> bool:
        """Whether it has ended."""
        return self._coro is None

    def cancelled(self) -> bool:
        """Whether a cancellation has ended it."""
        return self._cut

    def exception(self) -> None:
        """None: what nobody has taken is told to the loop."""

    def result(self) -> None:
        """Nothing."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs in."""
        return self._loop

    def get_coro(self) -> Coroutine[Any, Any, None] | None:
        """What it runs; None once that has ended."""
        return self._coro

    def get_name(self) -> str:
        """What it is called."""
        return "call"

    def add_done_callback(self, fn: Done, *, context: Any = None) -> None:
        """Have something told of its end, in a turn of the loop."""
        if self._coro is None:
            self._loop.call_soon(fn, self, context=context)
        else:
            self._done = [*(self._done or ()), (fn, context)]

    def remove_done_callback(self, fn: Done) -> int:
        """Not tell it; how many were to be told."""
        before = self._done or []
        self._done = [one for one in before if one[0] != fn]
        return len(before) - len(self._done)
