"""The end of a gateway: it says so, takes no more, lets calls end, and ends those that do not.

    begun    not ready: whoever balances load sends calls elsewhere
    closed   nobody is let in any more; what comes on a connection that is open is refused
    ended    calls that still run are ended, each in its client's dialect

Where other processes serve the same port it is left before that: nothing is refused, and each
connection ends behind the next answer on it.

Connections and signals are not known here: who stops the server does each step in its time.
"""

from asyncio import current_task
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from gateway.core.call import Call
from gateway.limits.load_shedding import MemoryReservation
from gateway.server.request_headers import Message, Send

_LAST = 2.0
"""Seconds at the end for calls that are ended; a quarter of all where that is less."""
_MOMENT = 0.3
"""Seconds for who was let in last to ask, where somebody balances load."""
_LOOK = 0.05
"""Seconds between looks at what still runs."""


class ServingApp(Protocol):
    """What serves calls."""

    def leave(self, call: Call, cancel: Callable[[], object], by: str) -> None:
        """A call is to end: `cancel` its task, once that does nothing for others."""
        ...


class InFlightRequest:
    """One call while its client is here, from the moment that it is let in; made in its task."""

    __slots__ = ("_call", "_send", "_serving", "_stopped", "_task", "by", "done", "hold", "told")

    _call: Call
    _send: Send

    def __init__(self) -> None:
        self.by = ""
        """Who ends it before its time."""
        self.told = False
        """The head of an answer is written."""
        self.done = False
        """The last byte of its answer is written."""
        self.hold: MemoryReservation | None = None
        """Memory for its body, where that is not small."""
        self._serving: ServingApp | None = None
        self._stopped = False
        self._task = current_task()

    def serves(self, serving: ServingApp, call: Call) -> None:
        """From now on `serving` is told when it is to end, since others may need what it does."""
        self._serving, self._call = serving, call

    def telling(self, send: Send) -> Send:
        """What writes its answer, and knows how much of that is written."""
        self._send = send
        return self._tell

    async def _tell(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.done = True
        await self._send(message)
        self.told = True

    def end(self, by: str) -> None:
        """End it: its client has left, or it is not waited for any more."""
        if self.by or self.done:
            return
        self.by = by
        if self._serving is None:
            self._stop()
        else:
            self._serving.leave(self._call, self._stop, by)

    def ended(self) -> bool:
        """Whether a cancellation of its task is this one's, which is then undone."""
        if not self.by or self._task is None:
            return False
        self._task.uncancel()
        return True

    def _stop(self) -> None:
        """Several may ask for it; once is enough."""
        if not self.done and not self._stopped and self._task is not None:
            self._stopped = True
            self._task.cancel()


class GracefulShutdown:
    """How far the end has come, and the calls that run."""

    def __init__(self, close: Callable[[], object] = lambda: None) -> None:
        """`close` ends what calls wait for: it is called once nobody is let in any more."""
        self.begun = False
        self.closed = False
        self._close = close
        self.parts = False
        """Connections end behind their next answer: it has begun, or others take what comes."""
        self.visits: set[InFlightRequest] = set()

    def close(self) -> None:
        """Take no more calls, and end the waits of the running ones."""
        self.closed = True
        self._close()

    def end(self) -> int:
        """End the calls that still run; how many there were."""
        found = tuple(self.visits)
        for visit in found:
            visit.end("drain")
        return len(found)


class ShutdownSteps(NamedTuple):
    """What the end of a server is made of, and whether it is in a hurry."""

    stop: Callable[[], object]
    """Take no more connections."""
    busy: Callable[[], bool]
    """Whether anybody is being answered."""
    hurry: Callable[[], bool]
    """Whether it is to be at once."""


async def leave(
    drain: GracefulShutdown,
    busy: Callable[[], bool],
    *,
    within: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> float:
    """Let those who are connected leave, for as long as some are; the seconds that remain to end.

    Nobody may be let in any more, and others must be.
    """
    began = clock()
    drain.parts = True
    while busy() and clock() < began + within - _part(within):
        await sleep(_LOOK)
    return max(began + within - clock(), _part(within))


async def run(
    drain: GracefulShutdown,
    steps: ShutdownSteps,
    *,
    delay: float,
    within: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> int:
    """Bring all that runs to its end, `within` some seconds; how many calls had to be ended.

    Connections are taken for `delay` seconds more, as long as whoever balances load may not know;
    then whoever was let in last, and has not asked yet, has a moment for it.
    """
    began = clock()
    last = _part(within)
    delay = min(delay, within - last)

    async def wait(until: float, done: Callable[[], bool]) -> None:
        while not done() and clock() < until:
            await sleep(_LOOK)

    drain.begun = drain.parts = True
    await wait(began + delay, steps.hurry)
    steps.stop()
    if delay:
        await wait(min(clock() + _MOMENT, began + within - last), steps.hurry)
    drain.close()
    await wait(began + within - last, lambda: not steps.busy() or steps.hurry())
    ended = drain.end()
    await wait(clock() + last, lambda: not steps.busy())
    return ended


def _part(within: float) -> float:
    return min(_LAST, within / 4)
