"""The server of one process: what signals mean to it, and how it ends.

SIGTERM, SIGINT   stop in good order; a second one: at once, still in good order
SIGHUP            read the configuration again; where a terminal goes away, stop
SIGUSR1           nothing
SIGUSR2           nothing; to a worker, leave: another takes what comes
SIGABRT           where it is, without a word of what it works on, and an end
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

import uvicorn

from gateway.server import shutdown
from gateway.server.app import App
from gateway.server.http1.protocol import ClientConnection
from gateway.server.shutdown import ShutdownSteps
from gateway.settings.schema.server import ServerPart as Settings
from gateway.telemetry import process
from gateway.telemetry.log import Log

STOP = (signal.SIGTERM, signal.SIGINT)
_OTHERS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
_SELDOM = (20_000, 10, 10)
"""After how many new objects the garbage collector looks for cycles, by generation."""
_OVER = 3.0
"""Seconds beyond `server.drain` in which what is left must end."""


def terminal() -> bool:
    """Whether a person started this process, and waits for its end."""
    streams = (sys.stdin, sys.stderr)
    return any(stream is not None and not stream.closed and stream.isatty() for stream in streams)


def heard(number: int, *, restarts: bool = False) -> dict[str, object]:
    """What the log says of a signal that does not stop anything; `restarts`: at SIGUSR2."""
    text = "it changes nothing"
    if number == getattr(signal, "SIGHUP", None):
        text = "the configuration is read again"
    elif restarts and number == getattr(signal, "SIGUSR2", None):
        text = "workers are replaced"
    return {"name": signal.Signals(number).name, "text": text}


class WorkerServer(uvicorn.Server):
    """Serves until it is told to stop. `begun` is called once it listens, `beat` while it works."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: App,
        settings: Settings,
        log: Log,
        *,
        begun: Callable[[], object] = int,
        beat: Callable[[], object] = int,
        worker: bool = False,
    ) -> None:
        super().__init__(config)
        self._app = app
        self._settings = settings
        self._log = log
        self._begun = begun
        self._beat = beat
        self._person = terminal()
        self._hurry = False
        self._worker = worker
        self._leaves = False
        """Others serve: nobody who has a connection here is to see that this one ends."""
        self._late: set[asyncio.Task[object]] = set()
        """Connections that were let in last."""
        self._came: list[int] = []
        """Signals that are to be told of: not where they come, in the middle of anything."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            faulthandler.enable()  # names of functions and lines, no value of anything
        process.trim()  # what starting took and is not needed any more
        gc.freeze()  # what is here now stays: it is not searched again and again
        gc.set_threshold(*_SELDOM)  # a call leaves no cycles behind
        self._begun()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        self._beat()
        while self._came:
            number = self._came.pop(0)
            self._log("signal", **heard(number))
            if number == getattr(signal, "SIGHUP", None):
                self._app.reload()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Heed them, also to the end: none that comes late kills what is nearly done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for one in STOP:
            signal.signal(one, self.handle_exit)
        for one in _OTHERS:
            signal.signal(one, self._other)
        yield

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """Stop, or, if that has begun, at once."""
        if self._leaves:
            self._leaves = False  # the others stop too
        elif self.should_exit and not self._hurry:
            self._hurry = True
            self._must_end(_OVER)
        elif not self.should_exit:
            self.should_exit = True
            self._must_end(self._settings.drain + _OVER)

    def _other(self, sig: int, frame: FrameType | None) -> None:
        if self._person and sig == getattr(signal, "SIGHUP", None):
            self.handle_exit(sig, frame)
        elif self._worker and sig == getattr(signal, "SIGUSR2", None):
            if not self.should_exit:
                self._leaves = self.should_exit = True
                self._must_end(self._settings.drain + _OVER)
        else:
            self._came.append(sig)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The end in good order."""
        state, settings = self.server_state, self._settings
        delay = 0.0 if self._person else settings.lb_delay
        calls = len(self._app.entrance.drain.visits)
        within, leaves = settings.drain, self._leaves
        delay = 0.0 if leaves else delay
        if calls or delay or leaves:
            self._log("drain", calls=calls)

        def stop() -> None:
            # Of their own: a closed server takes its socket with it.
            copies = [one.dup() for one in sockets or () if one.fileno() >= 0]
            for server in self.servers:
                server.close()
            for one in sockets or ():
                one.close()
            self._let_in(copies)
            for connection in state.connections:
                if isinstance(connection, ClientConnection):
                    connection.last()

        async def sleep(seconds: float) -> None:
            self._beat()
            await asyncio.sleep(seconds)

        if leaves:
            within = await self._leave(sleep)
        ended = await shutdown.run(
            self._app.entrance.drain,
            ShutdownSteps(stop, lambda: bool(state.tasks), lambda: self._hurry),
            delay=delay,
            within=within,
            clock=time.monotonic,
            sleep=sleep,
        )
        if ended:
            self._log("drain", ended=ended)
        await self._cut()
        await self.lifespan.shutdown()

    def _let_in(self, listening: Sequence[socket.socket]) -> None:
        """Take who is connected already and waits to be taken, and close: they would be reset."""
        loop = asyncio.get_running_loop()
        for one in listening:
            one.settimeout(0)
            with one, contextlib.suppress(OSError):  # until there is nobody
                while True:
                    come, _ = one.accept()
                    taking = loop.connect_accepted_socket(self._protocol, come)
                    task = loop.create_task(taking)
                    self._late.add(task)
                    task.add_done_callback(self._late.discard)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _cut(self) -> None:
        """End what is left of connections and their tasks."""
        state = self.server_state
        for connection in tuple(state.connections):
            connection.shutdown()
        for task in state.tasks:
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=1.0)

    async def _leave(self, sleep: Callable[[float], Awaitable[None]]) -> float:
        """Take no more connections, and wait for those that are; the seconds left to end."""
        for server in self.servers:
            server.close()
        within = await shutdown.leave(
            self._app.entrance.drain,
            lambda: bool(self.server_state.connections) and self._leaves,
            within=self._settings.drain,
            clock=time.monotonic,
            sleep=sleep,
        )
        self._leaves = False
        return within

    def _must_end(self, seconds: float) -> None:
        """End the process after a time, whatever still holds it: the rows of its calls are kept."""
        late = threading.Timer(seconds, lambda: os._exit(0 if self._app.ended() else 1))
        late.daemon = True
        late.start()
