"""A call that has come whole, as it goes on: with less than a task of asyncio takes.

Nearly all calls wait once, for a provider's answer. Who asks for the current task gets this while
it runs, so that it does for asyncio what a task does: it may be cancelled, and a cancellation taken
back; time limits count on both. It has no context of its own, no name and no result, and nobody
waits for its end but a server that stops.
"""

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from typing import Any

type DoneCallback = Callable[[Any], object]


class RequestTask:
    """One call; what it awaits must be a future of asyncio, or nothing for a turn of the loop."""

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_cancel_count",
        "_cancel_message",
        "_coro",
        "_fut_waiter",
        "_is_cancelled",
        "_loop",
        "_must_cancel",
    )  # fmt: skip

    _asyncio_future_blocking = False
    """That it is there tells asyncio that this may be waited for, with others, as a future."""

    def __init__(self, coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        """Begins at once, and may have ended then. No task may be running."""
        self._coro: Coroutine[Any, Any, None] | None = coro
        self._loop = loop
        self._cancel_count = 0
        self._is_cancelled = False
        self._must_cancel = False  # as a task calls it, for libraries that look
        self._fut_waiter: asyncio.Future[Any] | None = None  # the same
        self._cancel_message: object = None
        self._callbacks: list[tuple[DoneCallback, Any]] | None = None
        self._step()

    def _step(self, done_future: asyncio.Future[Any] | None = None) -> None:
        """Go on until it waits again, or has ended; what it waited for tells it the rest."""
        coro, loop = self._coro, self._loop
        if coro is None:
            return
        must_throw = False
        if self._must_cancel:
            must_throw = self._must_throw(done_future)
        del done_future  # what it raises there knows this frame, and is known by that
        self._fut_waiter = None
        _enter_task(loop, self)  # type: ignore[arg-type]  # it does for one
        try:
            if must_throw:
                next_future = coro.throw(asyncio.CancelledError(*self._cancel_args()))
            else:
                next_future = coro.send(None)
        except StopIteration:
            self._finish()
            return
        except asyncio.CancelledError:
            self._is_cancelled = True
            self._finish()
            return
        except BaseException as error:
            self._finish()
            if not isinstance(error, Exception):
                raise
            text = "A call has ended with an error that nobody has taken"
            loop.call_exception_handler({"message": text, "exception": error})
            return
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]  # the same
        if next_future is None:
            loop.call_soon(self._step)
            return
        next_future._asyncio_future_blocking = False  # noqa: SLF001 - as a task tells that it waits
        next_future.add_done_callback(self._step)
        self._fut_waiter = next_future
        if self._must_cancel and next_future.cancel(*self._cancel_args()):
            self._must_cancel = False
        del next_future  # as above

    def _must_throw(self, done_future: asyncio.Future[Any] | None) -> bool:
        """Whether it must be told of a cancellation: not by what it waited for."""
        self._must_cancel = False
        if done_future is None:
            return True
        if done_future.cancelled():
            return False
        done_future.exception()  # which nobody will ask for
        return True

    def _cancel_args(self) -> tuple[object, ...]:
        return () if self._cancel_message is None else (self._cancel_message,)

    def _finish(self) -> None:
        self._coro = None
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            for callback, context in callbacks:
                self._loop.call_soon(callback, self, context=context)

    # what is asked of a task

    def cancel(self, msg: object = None) -> bool:
        """Have what it waits for raise CancelledError; False where it has ended."""
        if self._coro is None:
            return False
        self._cancel_count += 1
        self._cancel_message = msg
        future = self._fut_waiter
        if future is None or not future.cancel(*self._cancel_args()):
            self._must_cancel = True
        return True

    def uncancel(self) -> int:
        """Take one cancellation back; how many are left."""
        if self._cancel_count:
            self._cancel_count -= 1
            if not self._cancel_count:
                self._must_cancel = False
        return self._cancel_count

    def cancelling(self) -> int:
        """How many cancellations were asked for and not taken back."""
        return self._cancel_count

    def done(self) -> bool:
        """Whether it has ended."""
        return self._coro is None

    def cancelled(self) -> bool:
        """Whether a cancellation has ended it."""
        return self._is_cancelled

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

    def add_done_callback(self, fn: DoneCallback, *, context: Any = None) -> None:
        """Have something told of its end, in a turn of the loop."""
        if self._coro is None:
            self._loop.call_soon(fn, self, context=context)
        else:
            self._callbacks = [*(self._callbacks or ()), (fn, context)]

    def remove_done_callback(self, fn: DoneCallback) -> int:
        """Not tell it; how many were to be told."""
        callbacks = self._callbacks or []
        self._callbacks = [entry for entry in callbacks if entry[0] != fn]
        return len(callbacks) - len(self._callbacks)
