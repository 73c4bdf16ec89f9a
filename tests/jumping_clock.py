"""An event loop with real sockets whose clock jumps to the next timer once nothing else is to do.

So a test of time limits takes no time, and a busy machine cannot make it fail. Both ends of each
connection must run in this loop: the clock does not wait for another process.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

_KERNEL_SECONDS = 0.01
"""Real seconds that the kernel has to deliver bytes to the other end of a connection."""


class JumpingClockSelector(selectors.BaseSelector):
    """A selector that, where it would wait for a timer, moves the clock on instead."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.now = 0.0
        """The time on the loop's clock, in seconds."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return self._selector.select()
        ready = self._selector.select(min(timeout, _KERNEL_SECONDS))
        if not ready:
            self.now += max(0.0, timeout)
        return ready

    def close(self) -> None:
        self._selector.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()


class JumpingClockLoop(asyncio.SelectorEventLoop):
    """A loop on the clock of its selector."""

    def __init__(self) -> None:
        self._clock = JumpingClockSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(  # type: ignore[override]  # any function
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a function at once: the clock would not wait for a thread."""
        del executor
        result = self.create_future()
        result.set_result(func(*args))
        return result
