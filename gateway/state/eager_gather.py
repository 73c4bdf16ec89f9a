"""Awaits several requests to stores in one round trip."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def gather_eagerly[A, B, C, D](
    first: Coroutine[Any, Any, A] | None,
    second: Coroutine[Any, Any, B] | None,
    third: Coroutine[Any, Any, C] | None = None,
    fourth: Coroutine[Any, Any, D] | None = None,
) -> tuple[A | None, B | None, C | None, D | None]:
    """Await up to four coroutines in one round trip; None stands for one that is not needed.

    The tasks are eager, so that all have sent before one waits. The first sends last and needs no
    task: most calls have no other, and a task costs an iteration of the loop.
    """
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[Any] | None] = [
        None if work is None else asyncio.Task(work, loop=loop, eager_start=True)
        for work in (second, third, fourth)
    ]
    try:
        a = None if first is None else await first
        b, c, d = [None if task is None else await task for task in tasks]
    except BaseException:
        for task in tasks:
            if task is not None:
                _abandon(task)
        raise
    return a, b, c, d


async def await_sent[A](*requests: Coroutine[Any, Any, A]) -> list[A]:
    """Await the answers to requests that are sent already; no task is needed for that.

    If one fails, the answers to the later ones are dropped, and what was not sent yet stays unsent:
    it would come after the end of its call.
    """
    waiting = iter(requests)
    try:
        return [await request for request in waiting]
    except BaseException:
        for later_request in waiting:
            loop = asyncio.get_running_loop()
            _abandon(asyncio.Task(later_request, loop=loop, eager_start=True))
        raise


def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancel a task that nobody awaits any more."""
    task.cancel()
    task.add_done_callback(_read_exception)


def _read_exception(task: asyncio.Task[Any]) -> None:
    """Read the error of a task that nobody awaits any more, so that the loop does not log it."""
    if not task.cancelled():
        task.exception()
