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

_MAX_END_SECONDS = 2.0
"""Seconds at the end for calls that are ended; a quarter of all where that is less."""
_LAST_CLIENT_SECONDS = 0.3
"""Seconds for who was let in last to ask, where somebody balances load."""
_POLL_SECONDS = 0.05
"""Seconds between looks at what still runs."""


class ServingApp(Protocol):
    """What serves calls."""

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str) -> None:
        """A call is to end: `cancel` its task, once that does nothing for others."""
        ...


class InFlightRequest:
    """One call while its client is here, from the moment that it is let in; made in its task."""

    __slots__ = (
        "_call",
        "_is_cancelled",
        "_send",
        "_serving_app",
        "_task",
        "ended_by",
        "has_started",
        "is_complete",
        "memory",
    )

    _call: Call
    _send: Send

    def __init__(self) -> None:
        self.ended_by = ""
        """Who ends it before its time."""
        self.has_started = False
        """The head of an answer is written."""
        self.is_complete = False
        """The last byte of its answer is written."""
        self.memory: MemoryReservation | None = None
        """Memory for its body, where that is not small."""
        self._serving_app: ServingApp | None = None
        self._is_cancelled = False
        self._task = current_task()

    def set_serving_app(self, serving_app: ServingApp, call: Call) -> None:
        """From now on `serving_app` is told when it is to end: others may need what it does."""
        self._serving_app, self._call = serving_app, call

    def track_send(self, send: Send) -> Send:
        """What writes its answer, and knows how much of that is written."""
        self._send = send
        return self._send_tracked

    async def _send_tracked(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_complete = True
        await self._send(message)
        self.has_started = True

    def end(self, ended_by: str) -> None:
        """End it: its client has left, or it is not waited for any more."""
        if self.ended_by or self.is_complete:
            return
        self.ended_by = ended_by
        if self._serving_app is None:
            self._cancel_task()
        else:
            self._serving_app.abort(self._call, self._cancel_task, ended_by)

    def undo_cancellation(self) -> bool:
        """Whether a cancellation of its task is this one's, which is then undone."""
        if not self.ended_by or self._task is None:
            return False
        self._task.uncancel()
        return True

    def _cancel_task(self) -> None:
        """Several may ask for it; once is enough."""
        if not self.is_complete and not self._is_cancelled and self._task is not None:
            self._is_cancelled = True
            self._task.cancel()


class GracefulShutdown:
    """How far the end has come, and the calls that run."""

    def __init__(self, on_close: Callable[[], object] = lambda: None) -> None:
        """`on_close` ends what calls wait for: it is called once nobody is let in any more."""
        self.has_begun = False
        self.is_closed = False
        self._on_close = on_close
        self.closes_connections = False
        """Connections end behind their next answer: it has begun, or others take what comes."""
        self.requests: set[InFlightRequest] = set()

    def close(self) -> None:
        """Take no more calls, and end the waits of the running ones."""
        self.is_closed = True
        self._on_close()

    def end(self) -> int:
        """End the calls that still run; how many there were."""
        requests = tuple(self.requests)
        for request in requests:
            request.end("drain")
        return len(requests)


class ShutdownSteps(NamedTuple):
    """What the end of a server is made of, and whether it is in a hurry."""

    stop_accepting: Callable[[], object]
    """Take no more connections."""
    is_busy: Callable[[], bool]
    """Whether anybody is being answered."""
    is_hurried: Callable[[], bool]
    """Whether it is to be at once."""


async def let_clients_leave(
    shutdown: GracefulShutdown,
    is_busy: Callable[[], bool],
    *,
    timeout_seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> float:
    """Let those who are connected leave, for as long as some are; the seconds that remain to end.

    Nobody may be let in any more, and others must be.
    """
    started_at = clock()
    shutdown.closes_connections = True
    end_seconds = _compute_end_seconds(timeout_seconds)
    while is_busy() and clock() < started_at + timeout_seconds - end_seconds:
        await sleep(_POLL_SECONDS)
    return max(started_at + timeout_seconds - clock(), end_seconds)


async def run(
    shutdown: GracefulShutdown,
    steps: ShutdownSteps,
    *,
    delay: float,
    timeout_seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> int:
    """Bring all that runs to its end within `timeout_seconds`; how many calls had to be ended.

    Connections are taken for `delay` seconds more, as long as whoever balances load may not know;
    then whoever was let in last, and has not asked yet, has a moment for it.
    """
    started_at = clock()
    end_seconds = _compute_end_seconds(timeout_seconds)
    delay = min(delay, timeout_seconds - end_seconds)

    async def wait(deadline: float, is_done: Callable[[], bool]) -> None:
        while not is_done() and clock() < deadline:
            await sleep(_POLL_SECONDS)

    shutdown.has_begun = shutdown.closes_connections = True
    await wait(started_at + delay, steps.is_hurried)
    steps.stop_accepting()
    if delay:
        await wait(
            min(clock() + _LAST_CLIENT_SECONDS, started_at + timeout_seconds - end_seconds),
            steps.is_hurried,
        )
    shutdown.close()
    await wait(
        started_at + timeout_seconds - end_seconds,
        lambda: not steps.is_busy() or steps.is_hurried(),
    )
    ended_count = shutdown.end()
    await wait(clock() + end_seconds, lambda: not steps.is_busy())
    return ended_count


def _compute_end_seconds(timeout: float) -> float:
    return min(_MAX_END_SECONDS, timeout / 4)
