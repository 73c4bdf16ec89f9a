"""A call that the gateway makes for another one: served like any, and waited for so long only.

A model that fails is left alone for a while.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from gateway.core.call import Call
from gateway.pipeline.response import Response

_MAX_FAILURES = 3
"""In a row, after which a model is left alone."""
_PAUSE_SECONDS = 30.0
"""Seconds for which it is."""


class SubrequestServer(Protocol):
    """Serves calls: the engine."""

    async def serve(self, call: Call) -> Response:
        """Answer a call."""
        ...

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str) -> None:
        """End a call that is being served."""
        ...


class CoolDown:
    """Whether a model may be asked: it outlives configurations.

    It is told to `notify` when it is left alone, and when it is back; `clock` is monotonic seconds.
    """

    def __init__(
        self, notify: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._notify = notify
        self._clock = clock
        self._failures = 0
        self._paused_until = float("-inf")

    @property
    def is_paused(self) -> bool:
        """Whether it is left alone for now."""
        return self._clock() < self._paused_until

    def start_call(self) -> None:
        """Somebody asks: where it had failed, nobody else does until that has ended."""
        if self._failures >= _MAX_FAILURES:
            self._paused_until = self._clock() + _PAUSE_SECONDS

    def record_failure(self, reason: str) -> None:
        """It gave nothing; after several in a row one call at a time finds out if it is back."""
        self._failures += 1
        if self._failures >= _MAX_FAILURES:
            self._paused_until = self._clock() + _PAUSE_SECONDS
            if self._failures == _MAX_FAILURES:
                self._notify(f"left alone for a while: {reason}")

    def record_success(self) -> None:
        """It has answered."""
        if self._failures >= _MAX_FAILURES:
            self._paused_until = float("-inf")
            self._notify("back")
        self._failures = 0


async def serve_subrequest(
    server: SubrequestServer, call: Call, timeout_seconds: float
) -> Response | None:
    """The answer; None where there is none within `timeout_seconds`.

    It ends where the client of the call that it is for leaves.
    """
    task = asyncio.ensure_future(server.serve(call))
    try:
        await asyncio.wait((task,), timeout=timeout_seconds)
    except asyncio.CancelledError:
        server.abort(call, task.cancel, "client")
        raise
    if task.done():
        return task.result()
    server.abort(call, task.cancel, "timeout")
    await asyncio.gather(task, return_exceptions=True)
    return None
