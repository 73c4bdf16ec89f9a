"""Graceful shutdown: announce the end, admit no more calls, let calls finish, end the rest.

    begun    the gateway is not ready: load balancers send calls elsewhere
    closed   the gateway admits no call, and refuses requests on open connections
    ended    the gateway ends the calls that still run, each in its client's dialect

If other processes serve the same port, the gateway first lets its clients leave. It then refuses
nothing, and closes each connection after the next answer on it.

This module knows neither connections nor signals: the caller that stops the server does each step.
"""

from asyncio import Task, current_task
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from gateway.limits.load_shedding import MemoryReservation
from gateway.server.request_headers import Message, Send

_MAX_END_SECONDS = 2.0
"""Seconds at the end for ending calls; a quarter of the whole time if that is less."""
_LAST_CLIENT_SECONDS = 0.3
"""Seconds for the client that was accepted last to send its request, behind a load balancer."""
_POLL_SECONDS = 0.05
"""Seconds between checks of running calls."""


class InFlightRequest(msgspec.Struct, kw_only=True, eq=False):
    """One call while its client is connected, from its admission on; created in the call's task."""

    ended_by: str = ""
    """The cause that ends the call early: client, client_slow or drain; else empty."""
    has_started: bool = False
    """True once the head of an answer is written."""
    is_complete: bool = False
    """True once the last byte of the answer is written."""
    memory: MemoryReservation | None = None
    """Memory for the call's body, unless that is small."""
    client_send: Send | None = None
    """The function that writes messages of the answer; None until the call is served."""
    abort: Callable[[Callable[[], object], str], object] | None = None
    """The function of the engine that ends the call, once it serves it: other calls may need the
    work. It gets the function that cancels the call's task, and the cause."""
    _is_cancelled: bool = False
    _task: Task[object] | None = msgspec.field(default_factory=current_task)

    async def send(self, message: Message) -> None:
        """Write a message of the answer, and record how much of it is written."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_complete = True
        if self.client_send is None:
            raise RuntimeError("the call is not served yet")
        await self.client_send(message)
        self.has_started = True

    def end(self, ended_by: str) -> None:
        """End the call: its client has left, or the gateway waits for it no longer."""
        if self.ended_by or self.is_complete:
            return
        self.ended_by = ended_by
        if self.abort is None:
            self._cancel_task()
        else:
            self.abort(self._cancel_task, ended_by)

    def undo_cancellation(self) -> bool:
        """Undo a cancellation that this request caused, and return True; else return False."""
        if not self.ended_by or self._task is None:
            return False
        self._task.uncancel()
        return True

    def _cancel_task(self) -> None:
        """Cancel the task once, even if several callers ask for it."""
        if not self.is_complete and not self._is_cancelled and self._task is not None:
            self._is_cancelled = True
            self._task.cancel()


class GracefulShutdown:
    """The progress of a shutdown, and the calls that still run."""

    def __init__(self, on_close: Callable[[], object] = lambda: None) -> None:
        """Prepare a shutdown. `close` calls `on_close`, which ends the waits of running calls."""
        self.has_begun = False
        self.is_closed = False
        self._on_close = on_close
        self.closes_connections = False
        """True if connections close after their next answer: at shutdown, or if others serve."""
        self.requests: set[InFlightRequest] = set()

    def close(self) -> None:
        """Admit no more calls, and end the waits of the running ones."""
        self.is_closed = True
        self._on_close()

    def end(self) -> int:
        """End the calls that still run. Return their number."""
        requests = tuple(self.requests)
        for request in requests:
            request.end("drain")
        return len(requests)


class ShutdownSteps(NamedTuple):
    """The steps of a server's shutdown, and whether to hurry."""

    stop_accepting: Callable[[], object]
    """Accept no more connections."""
    is_busy: Callable[[], bool]
    """True if any client is being answered."""
    is_hurried: Callable[[], bool]
    """True if the server must stop at once."""


async def let_clients_leave(
    shutdown: GracefulShutdown,
    is_busy: Callable[[], bool],
    *,
    timeout_seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> float:
    """Wait until the connected clients have left. Return the seconds that remain for the end.

    The caller must have stopped accepting here, while other processes accept connections.
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
    """End all calls within `timeout_seconds`. Return how many calls the gateway had to end.

    The server accepts connections for `delay` seconds more, since load balancers may not know yet.
    Then a client that was accepted last and has sent nothing yet gets a moment for its request.
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
