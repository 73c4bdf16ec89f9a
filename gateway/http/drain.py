"""The end of a gateway: it says so, takes no more, lets calls end, and ends those that do not.

    begun    not ready: whoever balances load sends calls elsewhere
    closed   nobody is let in any more; what comes on a connection that is open is refused
    ended    calls that still run are ended, each in its client's dialect

Connections and signals are not known here: who stops the server does each step in its time.
"""

import asyncio
from collections.abc import Callable

from gateway.core.problem import Problem
from gateway.http.edge import Message, Send
from gateway.limits.pressure import Hold

PROBLEM = Problem(
    kind="draining",
    message="The gateway is stopping. Send the call again: another will take it.",
    status=503,  # for every client, also those that have a status of their own for what is busy
    retry_after=1.0,
)


class Visit:
    """One call while its client is here, from the moment that it is let in; made in its task."""

    __slots__ = ("_leave", "_task", "by", "done", "hold", "told")

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self._task = asyncio.current_task()
        self._leave: Callable[[Callable[[], object], str], object] | None = None
        self.by = ""
        """Who ends it before its time."""
        self.told = False
        """The head of an answer is written."""
        self.done = False
        """The last byte of its answer is written."""

    def serves(self, leave: Callable[[Callable[[], object], str], object]) -> None:
        """From now on `leave` is told when it is to end, since others may need what it does."""
        self._leave = leave

    def telling(self, send: Send) -> Send:
        """What writes its answer, and knows how much of that is written."""

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.done = True
            await send(message)
            self.told = True

        return tell

    def end(self, by: str) -> None:
        """End it: its client has left, or it is not waited for any more."""
        if self.by or self.done:
            return
        self.by = by
        if self._leave is None:
            self._stop()
        else:
            self._leave(self._stop, by)

    def ended(self) -> bool:
        """Whether a cancellation of its task is this one's, which is then undone."""
        if not self.by or self._task is None:
            return False
        self._task.uncancel()
        return True

    def _stop(self) -> None:
        if not self.done and self._task is not None:
            self._task.cancel()


class Drain:
    """How far the end has come, and the calls that run."""

    def __init__(self) -> None:
        self.begun = False
        self.closed = False
        self.visits: set[Visit] = set()

    def end(self) -> None:
        """End the calls that still run."""
        for visit in tuple(self.visits):
            visit.end("drain")
