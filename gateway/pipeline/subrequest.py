"""A call that the gateway makes for another one: served like any, and waited for so long only.

A model that fails is left alone for a while.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from gateway.core.call import Call
from gateway.pipeline.response import Response

_FAILURES = 3
"""In a row, after which a model is left alone."""
_PAUSE = 30.0
"""Seconds for which it is."""


class SubrequestServer(Protocol):
    """Serves calls: the engine."""

    async def serve(self, call: Call) -> Response:
        """Answer a call."""
        ...

    def leave(self, call: Call, cancel: Callable[[], object], by: str) -> None:
        """End a call that is being served."""
        ...

    def forget(self, call: Call) -> None:
        """It has ended."""
        ...


class CoolDown:
    """Whether a model may be asked: it outlives configurations.

    It is told to `say` when it is left alone, and when it is back; `clock` is monotonic seconds.
    """

    def __init__(
        self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._failures = 0
        self._until = float("-inf")

    @property
    def out(self) -> bool:
        """Whether it is left alone for now."""
        return self._clock() < self._until

    def begin(self) -> None:
        """Somebody asks: where it had failed, nobody else does until that has ended."""
        if self._failures >= _FAILURES:
            self._until = self._clock() + _PAUSE

    def fail(self, why: str) -> None:
        """It gave nothing; after several in a row one call at a time finds out if it is back."""
        self._failures += 1
        if self._failures >= _FAILURES:
            self._until = self._clock() + _PAUSE
            if self._failures == _FAILURES:
                self._say(f"left alone for a while: {why}")

    def back(self) -> None:
        """It has answered."""
        if self._failures >= _FAILURES:
            self._until = float("-inf")
            self._say("back")
        self._failures = 0


async def ask(server: SubrequestServer, asked: Call, within: float) -> Response | None:
    """The answer; None where there is none `within` seconds.

    It ends where the client of the call that it is for leaves.
    """
    task = asyncio.ensure_future(server.serve(asked))
    try:
        await asyncio.wait((task,), timeout=within)
    except asyncio.CancelledError:
        server.leave(asked, task.cancel, "client")
        raise
    if task.done():
        return task.result()
    server.leave(asked, task.cancel, "timeout")
    await asyncio.gather(task, return_exceptions=True)
    server.forget(asked)
    return None
