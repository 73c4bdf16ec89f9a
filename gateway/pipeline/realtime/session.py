"""A session: frames between a client and a provider, byte for byte, until one of them ends it.

Each direction is a loop: read a frame, let the observer see it, send it on. A side that reads
slowly stops the loop, and the other side is then read no more: no memory grows. A third loop
watches the time: silence, the length of the session, and a side that vanished without a word.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec
from websockets.frames import Frame, Opcode

from gateway.core.call import Call
from gateway.core.errors import DRAINING, Problem, ProblemError
from gateway.upstream.websocket_peer import PeerClosedError, WebSocketPeer

NORMAL, GOING_AWAY, POLICY, TOO_BIG, FAILED = 1000, 1001, 1008, 1009, 1011
RESTART, TRY_LATER = 1012, 1013
_UNSENT_CODES = frozenset({1004, 1005, 1006, 1015})
"""Codes that no close frame may have (RFC 6455 7.4)."""
_MAX_TICK_SECONDS = 1.0


class SessionBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a session: bytes and seconds."""

    max_message: int = 16_000_000
    """The most bytes of one message, all its frames together."""
    idle: float = 600.0
    """Seconds without a message from either side."""
    length: float = 3600.0
    ping: float = 20.0
    """Seconds between pings; a side that is silent for two of them is gone."""


class SessionEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why a session ends, and what the client is told."""

    ended_by: str
    """client, client_slow, upstream, timeout, drain or limit, for rows."""
    code: int
    """The code of the close frame for the client."""
    reason: str = ""
    problem: Problem | None = None
    """The error that the client gets before the close frame; None if it gets none."""


class SessionEndedError(Exception):
    """An observer ends the session."""

    def __init__(self, end: SessionEnd) -> None:
        super().__init__(end.reason)
        self.end = end


class FrameObserver(Protocol):
    """Sees every frame before it goes on. Each method may raise SessionEndedError."""

    @property
    def has_open_response(self) -> bool:
        """True while the provider answers."""
        ...

    async def see_client_frame(self, frame: Frame) -> None:
        """See a frame of the client."""
        ...

    async def see_provider_frame(self, frame: Frame) -> None:
        """See a frame of the provider."""
        ...


class RelaySession:
    """One session, from its handshakes to its end."""

    def __init__(
        self,
        client: WebSocketPeer,
        provider: WebSocketPeer,
        observer: FrameObserver,
        bounds: SessionBounds,
        *,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_draining` is True once the gateway stops: the session ends between two answers."""
        self._client = client
        self._provider = provider
        self._observer = observer
        self._bounds = bounds
        self._is_draining = is_draining
        self._time = asyncio.get_running_loop().time
        self._last_message_at = self._time()
        self._end: SessionEnd | None = None
        self._end_event = asyncio.Event()

    async def run(self) -> SessionEnd:
        """Relay frames until a side, the clock or the gateway ends the session."""
        tasks = [
            asyncio.create_task(relay) for relay in (self._relay_provider(), self._relay_client())
        ]
        watcher = asyncio.create_task(self._watch())
        try:
            await asyncio.wait((*tasks, watcher), return_when=asyncio.FIRST_COMPLETED)
            if self._end is not None and self._end.ended_by != "client":
                return self._end
            # A provider that closes may also fail what is sent to it: its own word counts.
            return next(task.result() for task in (*tasks, watcher) if task.done())
        finally:
            for task in (*tasks, watcher):
                task.cancel()
            await asyncio.gather(*tasks, watcher, return_exceptions=True)

    def abort(self, _call: Call, _cancel: Callable[[], object], ended_by: str) -> None:
        """End the session: the client has left, or the gateway stops."""
        self.end(
            _DRAINED if ended_by == "drain" else SessionEnd(ended_by=ended_by, code=GOING_AWAY)
        )

    def end(self, end: SessionEnd) -> None:
        """End the session soon."""
        self._end = self._end or end
        self._end_event.set()

    async def _relay_client(self) -> SessionEnd:
        client, provider, observer = self._client, self._provider, self._observer
        try:
            while frames := await client.read():
                for frame in frames:
                    self._last_message_at = self._time()
                    await observer.see_client_frame(frame)
                    await provider.send(Opcode(frame.opcode), frame.data, is_last=frame.fin)
        except SessionEndedError as error:
            return error.end
        except ProblemError as error:  # the message that arrives needs more memory than there is
            return _make_memory_end(error.problem)
        except PeerClosedError:  # what it sent before it closed still has to reach the client
            await asyncio.Event().wait()
        return self._explain_client_end()

    async def _relay_provider(self) -> SessionEnd:
        client, provider, observer = self._client, self._provider, self._observer
        try:
            while frames := await provider.read():
                for frame in frames:
                    self._last_message_at = self._time()
                    await observer.see_provider_frame(frame)
                    await client.send(Opcode(frame.opcode), frame.data, is_last=frame.fin)
        except SessionEndedError as error:
            return error.end
        except ProblemError as error:  # the message that arrives needs more memory than there is
            return _make_memory_end(error.problem)
        except PeerClosedError:
            return self._explain_client_end()
        return self._explain_provider_end()

    def _explain_client_end(self) -> SessionEnd:
        received, sent = self._client.close_received, self._client.close_sent
        if received is not None or sent is None:
            code, reason = received or (GOING_AWAY, "")
            return SessionEnd(ended_by="client", code=code, reason=reason)
        code, reason = sent
        if code == TOO_BIG:
            reason = f"a message has more than {self._bounds.max_message} bytes"
        return SessionEnd(ended_by="client", code=code, reason=reason)

    def _explain_provider_end(self) -> SessionEnd:
        received, sent = self._provider.close_received, self._provider.close_sent
        if received is not None and received[0] not in _UNSENT_CODES:
            return SessionEnd(ended_by="upstream", code=received[0], reason=received[1])
        if received is not None:
            return SessionEnd(ended_by="upstream", code=NORMAL)
        if sent is not None and sent[0] == TOO_BIG:
            message = f"A message of the provider has more than {self._bounds.max_message} bytes."
            return _make_upstream_end(message, TOO_BIG)
        if sent is not None:
            return _make_upstream_end("The provider broke the WebSocket protocol.", FAILED)
        return _make_upstream_end("The connection to the provider broke.", FAILED)

    async def _watch(self) -> SessionEnd:
        bounds, time = self._bounds, self._time
        started_at = pinged_at = time()
        while True:
            now = time()
            deadline = min(
                now + _MAX_TICK_SECONDS,
                started_at + bounds.length,
                self._last_message_at + bounds.idle,
                pinged_at + bounds.ping,
            )
            try:
                async with asyncio.timeout_at(deadline):
                    await self._end_event.wait()
            except TimeoutError:
                pass
            if self._end is not None:
                return self._end
            now = time()
            if now >= started_at + bounds.length:
                text = f"the session has reached its {bounds.length:g} seconds (realtime.length)"
                return SessionEnd(ended_by="timeout", code=GOING_AWAY, reason=text)
            if now >= self._last_message_at + bounds.idle:
                text = f"no message for {bounds.idle:g} seconds (realtime.idle)"
                return SessionEnd(ended_by="timeout", code=GOING_AWAY, reason=text)
            if self._is_draining() and not self._observer.has_open_response:
                return _DRAINED
            if now >= pinged_at + bounds.ping:
                if self._is_gone(self._client, now):
                    return SessionEnd(ended_by="client", code=GOING_AWAY, reason="no pong")
                if self._is_gone(self._provider, now):
                    return _make_upstream_end("The provider answers no more.", FAILED)
                pinged_at = now
                self._client.ping()
                self._provider.ping()

    def _is_gone(self, peer: WebSocketPeer, now: float) -> bool:
        """True if a side is silent although the gateway reads it and has pinged it."""
        return peer.is_waiting and now - peer.last_heard_at > 2 * self._bounds.ping


def _make_memory_end(problem: Problem) -> SessionEnd:
    return SessionEnd(ended_by="limit", code=TRY_LATER, reason=problem.message, problem=problem)


def _make_upstream_end(message: str, code: int) -> SessionEnd:
    problem = Problem(kind="upstream_truncated", message=message, spent="maybe")
    return SessionEnd(ended_by="upstream", code=code, reason=message, problem=problem)


_DRAINED = SessionEnd(
    ended_by="drain",
    code=RESTART,
    reason="the gateway is stopping: connect again",
    problem=DRAINING,
)
