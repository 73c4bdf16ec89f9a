"""An event loop whose clock jumps to the next timer, and whose choices come from a seed.

The callbacks of one machine run in the order in which they were scheduled, as asyncio promises.
Which machine runs next, how long work in a thread takes and which of two timers for the same time
is first: the seed decides. A machine is a name in the context of a callback. A killed machine runs
no callback any more, not even to clean up, as a killed process.
"""

import asyncio
import contextvars
import gc
import heapq
import logging
import random
import socket
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any

from tests.simulation.network import MACHINE, Network

_THREAD_SECONDS = 0.002
"""The most that work in a thread takes, in seconds."""
_STEP_SECONDS = 1e-6
"""The time that passes before a timer's callback: no clock stands still."""


class Deadlock(Exception):
    """Nothing will ever run again, and the simulation has not ended."""


class _Scheduled(asyncio.TimerHandle):
    """A callback that is to run, or was cancelled."""

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        super().__init__(when, callback, [], loop, context)
        self.work: tuple[Callable[..., object], tuple[Any, ...]] | None = (callback, args)
        self.context = context

    def cancel(self) -> None:
        self.work = None

    def cancelled(self) -> bool:
        return self.work is None


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop of all machines of one simulation."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(f"{seed} order")
        self._now = 0.0
        self._ready: dict[str, deque[_Scheduled]] = {}
        self._timers: list[tuple[float, float, int, _Scheduled]] = []
        self._scheduled_count = 0
        self._dead_machines: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        """All tasks: those of a killed machine must not be collected, which would run their end."""
        self.network = Network(self, random.Random(f"{seed} network"))
        self.errors: list[str] = []
        """Exceptions that no code handled."""
        self.steps = 0
        """Callbacks that ran."""

    # time and callbacks

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # any callback
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        scheduled = self._make(self._now, callback, args, context)
        if (machine := self._find_machine(scheduled)) is not None:
            self._ready.setdefault(machine, deque()).append(scheduled)
        return scheduled

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads

    def call_later(  # type: ignore[override]  # any callback
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # any callback
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        scheduled = self._make(when, callback, args, context)
        self._scheduled_count += 1
        order = self._chance.random()
        heapq.heappush(self._timers, (when, order, self._scheduled_count, scheduled))
        return scheduled

    def _make(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> _Scheduled:
        return _Scheduled(
            when, callback, args, self, contextvars.copy_context() if context is None else context
        )

    def _find_machine(self, scheduled: _Scheduled) -> str | None:
        """Return the machine of a callback; None if it is dead."""
        machine = scheduled.context.get(MACHINE, "world")
        return None if machine in self._dead_machines else machine

    # running

    def run_until_complete[T](self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]
        """Run until a coroutine ends. Raises Deadlock if it cannot end."""
        previous_hook = sys.unraisablehook
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(future)
            while not task.done():
                self._run_one()
            return task.result()
        finally:
            # Nothing of this world may run any more when its tasks are collected.
            self._dead_machines.update(["world", *self._ready])
            sys.unraisablehook = _ignore
            logging.disable()
            self._ready.clear()
            self._timers.clear()
            self._tasks.clear()
            task = None  # type: ignore[assignment]
            gc.collect()
            sys.unraisablehook = previous_hook
            logging.disable(logging.NOTSET)
            asyncio._set_running_loop(None)

    def _run_one(self) -> None:
        machines = [machine for machine, queue in self._ready.items() if queue]
        if not machines:
            self._advance()
            return
        machine = machines[0] if len(machines) == 1 else self._chance.choice(machines)
        scheduled = self._ready[machine].popleft()
        if scheduled.work is None:
            return
        self.steps += 1
        callback, args = scheduled.work
        try:
            scheduled.context.run(callback, *args)
        except Exception as error:  # noqa: BLE001 - as every loop
            self.errors.append(f"{machine}: {callback!r} raised {error!r}")

    def _advance(self) -> None:
        """Let time jump to the next timer. Raises Deadlock without one."""
        while self._timers:
            when, _, _, scheduled = heapq.heappop(self._timers)
            machine = self._find_machine(scheduled)
            if scheduled.work is not None and machine is not None:
                self._now = max(self._now, when) + _STEP_SECONDS
                self._ready.setdefault(machine, deque()).append(scheduled)
                return
        raise Deadlock

    # machines

    @contextmanager
    def on(self, machine: str) -> Generator[None]:
        """Let what is scheduled here run on a machine."""
        token = MACHINE.set(machine)
        try:
            yield
        finally:
            MACHINE.reset(token)

    def kill(self, machine: str) -> None:
        """Let no callback of a machine run any more, and reset its connections."""
        self._dead_machines.add(machine)
        self._ready.pop(machine, None)
        self.network.kill(machine)

    # tasks and futures

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task[T](
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def run_in_executor(  # type: ignore[override]
        self, _executor: None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a function a little later, on the loop itself."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self._chance.uniform(0, _THREAD_SECONDS), work)
        return future

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: the simulation drops them."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # connections

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        await self.network.connect(address[1])
        self.network.addresses[sock] = address[1]

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, Any]:
        if sock is not None:
            port = self.network.addresses.pop(sock)
            sock.close()
        assert port is not None
        await self.network.connect(port)
        return self.network.open(port, protocol_factory)

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], _host: str, port: int, **_: Any
    ) -> None:
        """Listen on a port, on this machine."""
        self.network.listen(port, protocol_factory)


def make_loop(seed: str) -> SimulatedLoop:
    """Return a loop without the methods that no simulated machine calls."""
    return SimulatedLoop(seed)  # type: ignore[abstract]


def _ignore(_: object) -> None:
    """Ignore what the end of an abandoned task raises."""
