"""The server of one process: how it handles signals, and how it ends.

SIGTERM, SIGINT   stop in good order; a second one: at once, still in good order
SIGHUP            read the configuration again; if a person started it in a terminal, stop
SIGUSR1           nothing
SIGUSR2           nothing; a worker leaves, and other workers take new connections
SIGABRT           print where the code is, without any values, and end
"""

import asyncio
import contextlib
import faulthandler
import gc
import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from types import FrameType
from typing import cast

import uvicorn

from gateway.server import shutdown
from gateway.server.app import App
from gateway.server.http1.protocol import ClientConnection
from gateway.server.shutdown import ShutdownSteps
from gateway.settings.schema.server import ServerPart
from gateway.telemetry import process
from gateway.telemetry.log import Log

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_OTHER_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
_GC_THRESHOLDS = (20_000, 10, 10)
"""Numbers of new objects after which the garbage collector looks for cycles, by generation."""
_GRACE_SECONDS = 3.0
"""Seconds beyond `server.drain` after which the process ends in any case."""


def is_interactive() -> bool:
    """Return True if a person started this process in a terminal, and waits for its end."""
    streams = (sys.stdin, sys.stderr)
    return any(stream is not None and not stream.closed and stream.isatty() for stream in streams)


def describe_signal(signal_number: int, *, can_restart: bool = False) -> dict[str, object]:
    """Describe a signal that stops nothing, for the log. `can_restart`: SIGUSR2 restarts."""
    text = "the gateway ignores it"
    if signal_number == getattr(signal, "SIGHUP", None):
        text = "the gateway reads the configuration again"
    elif can_restart and signal_number == getattr(signal, "SIGUSR2", None):
        text = "the gateway replaces its workers"
    return {"name": signal.Signals(signal_number).name, "text": text}


class WorkerServer(uvicorn.Server):
    """A uvicorn server that serves until a signal stops it.

    It calls `on_started` once it listens, and `heartbeat` while it works.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: App,
        settings: ServerPart,
        log: Log,
        *,
        on_started: Callable[[], object] = int,
        heartbeat: Callable[[], object] = int,
        is_worker: bool = False,
        deliver_seconds: float = 0.0,
    ) -> None:
        """`deliver_seconds`: what this process may take after its end, to deliver its last rows."""
        super().__init__(config)
        self._app = app
        self._settings = settings
        self._deliver_seconds = deliver_seconds
        self._log = log
        self._on_started = on_started
        self._heartbeat = heartbeat
        self._is_interactive = is_interactive()
        self._must_hurry = False
        self._is_worker = is_worker
        self._is_leaving = False
        """True if other workers serve on: clients of this worker must not notice its end."""
        self._accept_tasks: set[asyncio.Task[object]] = set()
        """The tasks that accept the last connections."""
        self._pending_signals: list[int] = []
        """Signals to log and handle in `on_tick`: their handlers may interrupt anything."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            faulthandler.enable()  # it prints names of functions and lines, but no values
        process.trim()  # give back memory that only the start needed
        gc.freeze()  # what is here now stays: the collector need not search it again
        gc.set_threshold(*_GC_THRESHOLDS)  # a call leaves no reference cycles behind
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        """Send a heartbeat and handle pending signals; uvicorn calls this ten times a second."""
        self._heartbeat()
        while self._pending_signals:
            signal_number = self._pending_signals.pop(0)
            self._log("signal", **describe_signal(signal_number))
            if signal_number == getattr(signal, "SIGHUP", None):
                self._app.reload()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handle signals until the very end: a late one must not kill what is nearly done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for signal_number in STOP_SIGNALS:
            signal.signal(signal_number, self.handle_exit)
        for signal_number in _OTHER_SIGNALS:
            signal.signal(signal_number, self._handle_other_signal)
        yield

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """Stop in good order, or, if that has begun, at once."""
        if self._is_leaving:
            self._is_leaving = False  # the other workers stop too
        elif self.should_exit and not self._must_hurry:
            self._must_hurry = True
            self._start_exit_timer(_GRACE_SECONDS)
        elif not self.should_exit:
            self.should_exit = True
            drain = self._settings.drain
            self._start_exit_timer(drain + self._deliver_seconds + _GRACE_SECONDS)

    def _handle_other_signal(self, sig: int, frame: FrameType | None) -> None:
        if self._is_interactive and sig == getattr(signal, "SIGHUP", None):
            self.handle_exit(sig, frame)
        elif self._is_worker and sig == getattr(signal, "SIGUSR2", None):
            if not self.should_exit:
                self._is_leaving = self.should_exit = True
                self._start_exit_timer(self._settings.drain + _GRACE_SECONDS)
        else:
            self._pending_signals.append(sig)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down in good order."""
        state, settings = self.server_state, self._settings
        delay = 0.0 if self._is_interactive else settings.lb_delay
        in_flight_count = len(self._app.admission.shutdown.requests)
        timeout, is_leaving = settings.drain, self._is_leaving
        delay = 0.0 if is_leaving else delay
        if in_flight_count or delay or is_leaving:
            self._log("drain", calls=in_flight_count)

        def stop() -> None:
            # Copies of the sockets: a server that closes also closes its own socket.
            copies = [listener.dup() for listener in sockets or () if listener.fileno() >= 0]
            for server in self.servers:
                server.close()
            for listener in sockets or ():
                listener.close()
            self._accept_waiting(copies)
            for connection in cast("set[ClientConnection]", state.connections):
                connection.close_after_answer()

        async def sleep(seconds: float) -> None:
            self._heartbeat()
            await asyncio.sleep(seconds)

        if is_leaving:
            timeout = await self._wait_for_connections(sleep)
        ended_count = await shutdown.run(
            self._app.admission.shutdown,
            ShutdownSteps(stop, lambda: bool(state.tasks), lambda: self._must_hurry),
            delay=delay,
            timeout_seconds=timeout,
            clock=time.monotonic,
            sleep=sleep,
        )
        if ended_count:
            self._log("drain", ended=ended_count)
        await self._end_connections()
        await self.lifespan.shutdown()

    def _accept_waiting(self, listeners: Sequence[socket.socket]) -> None:
        """Accept the connections that wait already, then close. A plain close would reset them."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.settimeout(0)
            with listener, contextlib.suppress(OSError):  # until no connection waits
                while True:
                    client_socket, _ = listener.accept()
                    coroutine = loop.connect_accepted_socket(self._make_protocol, client_socket)
                    task = loop.create_task(coroutine)
                    self._accept_tasks.add(task)
                    task.add_done_callback(self._accept_tasks.discard)

    def _make_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _end_connections(self) -> None:
        """End the connections that are left, and their tasks."""
        state = self.server_state
        for connection in tuple(state.connections):
            connection.shutdown()
        for task in state.tasks:
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=1.0)

    async def _wait_for_connections(self, sleep: Callable[[float], Awaitable[None]]) -> float:
        """Accept no more connections, and wait for the open ones. Return the seconds left."""
        for server in self.servers:
            server.close()
        timeout = await shutdown.let_clients_leave(
            self._app.admission.shutdown,
            lambda: bool(self.server_state.connections) and self._is_leaving,
            timeout_seconds=self._settings.drain,
            clock=time.monotonic,
            sleep=sleep,
        )
        self._is_leaving = False
        return timeout

    def _start_exit_timer(self, seconds: float) -> None:
        """End the process after some seconds, whatever holds it: the rows of its calls are kept."""
        timer = threading.Timer(seconds, lambda: os._exit(0 if self._app.has_ended() else 1))
        timer.daemon = True
        timer.start()
