"""An event loop whose clock jumps to the next timer, and whose choices come from a seed.

The callbacks of one machine run in the order in which they were scheduled, as asyncio promises.
Which machine runs next, how long work in a thread takes and which of two timers for the same time
is first: the seed decides. A machine is a name in the context of a callback. A killed machine runs
no callback any more, not even to clean up, as a killed process.
"""

import asyncio
import contextvars
import gc
import hashlib
import heapq
import logging
import random
import socket
import sys
import typing
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
    """A callback that is to run, or was cancelled: then it has no work."""

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        """Set what this loop reads, and no more: asyncio's own loop has no part in it."""
        self._when, self._source_traceback = when, None
        self.context = contextvars.copy_context() if context is None else context
        self.work: tuple[Callable[..., object], tuple[Any, ...]] | None = (callback, args)

    def __repr__(self) -> str:
        return f"<{self.work} at {self._when}>"

    def cancel(self) -> None:
        self.work = None

    def cancelled(self) -> bool:
        return self.work is None


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The loop of all machines of one simulation.

    One callback of the loop beneath runs all others, so that the order is this loop's own.
    """

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._chance = random.Random(f"{seed} order")
        self._now = 0.0
        self._queues: dict[str, deque[_Scheduled]] = {}
        """Callbacks that are due, by machine; a machine without any has no queue."""
        self._timers: list[tuple[float, float, int, _Scheduled]] = []
        self._scheduled_count = 0
        self._dead_machines: set[str] = set()
        self._tasks: dict[asyncio.Task[Any], str] = {}
        """All tasks, with the name of the task that has created each.

        Those of a killed machine must not be collected, which would run their end."""
        self.network = Network(self, random.Random(f"{seed} network"))
        self.errors: list[str] = []
        """Exceptions that no code handled."""
        self.steps = 0
        """Callbacks that ran."""
        self._trace = hashlib.blake2b(digest_size=16)
        self.set_exception_handler(self._record_error)

    # time and callbacks

    def time(self) -> float:
        return self._now

    def call_soon[*Ts](
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        scheduled = _Scheduled(self._now, callback, args, context)
        if (machine := self._find_machine(scheduled)) is not None:
            self._queues.setdefault(machine, deque()).append(scheduled)
        return scheduled

    call_soon_threadsafe = call_soon  # there are no threads

    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        scheduled = _Scheduled(when, callback, args, context)
        self._scheduled_count += 1
        order = self._chance.random()
        heapq.heappush(self._timers, (when, order, self._scheduled_count, scheduled))
        return scheduled

    def _find_machine(self, scheduled: _Scheduled) -> str | None:
        """Return the machine of a callback; None if it is dead."""
        machine = scheduled.context.get(MACHINE, "world")
        return None if machine in self._dead_machines else machine

    def record(self, data: bytes) -> None:
        """Add what a machine reads or writes to the trace, until the simulation has ended."""
        if not self.is_closed():
            self._trace.update(data)

    @property
    def trace(self) -> str:
        """A hash of all that ran so far: each callback's time and machine, and all bytes moved."""
        return self._trace.hexdigest()

    def list_tasks(self, machine: str) -> list[tuple[asyncio.Task[Any], str]]:
        """Return the tasks of a machine that have not ended, with their creators' names."""
        return [
            (task, creator)
            for task, creator in self._tasks.items()
            if task.get_context().get(MACHINE) == machine
        ]

    def _record_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # running

    def run[T](self, main: Coroutine[Any, Any, T]) -> T:
        """Run until a coroutine ends, and close the loop. Raises Deadlock if it cannot end."""
        task = self.create_task(main)
        super().call_soon(self._run_all, task)
        try:
            self.run_forever()
            if not task.done():
                raise Deadlock
            return task.result()
        finally:
            del task
            self._drop()

    def _drop(self) -> None:
        """Collect all tasks; nothing of this world runs any more meanwhile."""
        previous_hook, sys.unraisablehook = sys.unraisablehook, _ignore
        self.set_exception_handler(_ignore)
        logging.disable()
        self._dead_machines.update(["world", *self._queues])
        self.close()
        self.network.close()
        self._queues.clear()
        self._timers.clear()
        self._tasks.clear()
        for clear in typing._cleanups:  # type: ignore[attr-defined]
            clear()  # annotations of routes keep the gateways of killed machines
        gc.collect()
        logging.disable(logging.NOTSET)
        sys.unraisablehook = previous_hook

    def _run_all(self, main: asyncio.Task[Any]) -> None:
        """Run callbacks until a task ends, or nothing will ever run again."""
        queues = self._queues
        while not main.done() and (queues or self._advance()):
            machine = self._chance.choice(list(queues)) if len(queues) > 1 else next(iter(queues))
            self._run_one(machine, queues[machine])
        self.stop()

    def _run_one(self, machine: str, queue: deque[_Scheduled]) -> None:
        scheduled = queue.popleft()
        if not queue:
            del self._queues[machine]
        if scheduled.work is None:
            return
        self.steps += 1
        self._trace.update(f"{self._now} {machine}".encode())
        callback, args = scheduled.work
        try:
            scheduled.context.run(callback, *args)
        except Exception as error:  # noqa: BLE001 - as every loop
            self.errors.append(f"{machine}: {callback!r} raised {error!r}")

    def _advance(self) -> bool:
        """Let time jump to the next timer; return False without one."""
        while self._timers:
            when, _, _, scheduled = heapq.heappop(self._timers)
            machine = self._find_machine(scheduled)
            if scheduled.work is not None and machine is not None:
                self._now = max(self._now, when) + _STEP_SECONDS
                self._queues.setdefault(machine, deque()).append(scheduled)
                return True
        return False

    def skip(self, seconds: float) -> None:
        """Let time jump at once, as if all machines had slept: every timer that is due is late."""
        self._now += seconds

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
        self._queues.pop(machine, None)
        self.network.kill(machine)

    def is_dead(self, machine: str) -> bool:
        """True if a machine was killed, or the simulation has ended."""
        return machine in self._dead_machines

    # tasks and futures

    def create_task[T](self, coro: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        task = super().create_task(coro, **options)
        creator = asyncio.current_task(self)
        self._tasks[task] = "" if creator is None else creator.get_name()
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]

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


def _ignore(*_: object) -> None:
    """Ignore what the end of an abandoned task raises."""
