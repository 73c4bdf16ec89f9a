"""A gateway as a process of its own in the simulation: it starts, stops, and can be killed."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.core.clocks import Clocks
from gateway.limits.counters import CounterStore
from gateway.runtime.build import build_config
from gateway.runtime.composition import Gateway
from gateway.server.app import App
from gateway.server.http1.protocol import ClientConnection
from gateway.settings.loader import load
from tests.simulation.disk import SimulatedDisk
from tests.simulation.event_loop import SimulatedLoop
from tests.simulation.surroundings import WallClocks

_DELIVERY_TRIES = 5


class _ServerState:
    """The server's part of a connection's arguments, and its configuration."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.connections: set[Any] = set()
        self.tasks: set[Any] = set()
        self.total_requests = 0
        self.default_headers: list[tuple[bytes, bytes]] = []


class GatewayMachine:
    """A gateway with a port and a data folder; after a kill, a new one takes both."""

    def __init__(
        self,
        loop: SimulatedLoop,
        name: str,
        port: int,
        folder: Path,
        config: Path,
        environ: Mapping[str, str],
        seed: str,
        *,
        disk: SimulatedDisk,
        wall_clocks: WallClocks,
    ) -> None:
        self.name, self.port, self.folder, self.starts = name, port, folder, 0
        self.log: list[dict[str, object]] = []
        self.is_running = False
        self._loop, self._config, self._disk = loop, config, disk
        self._environ = {"TIERGATE_DATA": str(folder), **environ}
        self._wall_clocks, self._seed = wall_clocks, seed
        self._machine = ""
        self._own_tasks: set[str] = set()
        """The names of the tasks that run beside calls."""

    @property
    def gateway(self) -> Gateway:
        """The gateway of the last start."""
        return self._gateway

    @property
    def counter_store(self) -> CounterStore:
        return self._gateway._counter_store

    async def start(self) -> None:
        """Start, as after a reboot: nothing but the data folder is left of an earlier run."""
        loop = self._loop
        self.starts += 1
        self._machine = f"{self.name}.{self.starts}"
        with loop.on(self._machine):
            await loop.create_task(self._start())
        self.is_running = True
        self._own_tasks = {task.get_name() for task, _ in loop.list_tasks(self._machine)}

    async def _start(self) -> None:
        loop = self._loop
        clocks = Clocks(self._wall_clocks.read, loop.time)
        now = datetime.fromtimestamp(clocks.wall(), UTC)
        built_config = build_config(load(self._config, self._environ), now)
        jitter = random.Random(f"{self._seed} {self._machine}").random
        self._gateway = Gateway(
            built_config, self._environ, self._note, clocks=clocks, jitter=jitter
        )
        self._app = App(self._gateway)
        self._state = state = _ServerState(self._app)
        await self._gateway.start()
        await loop.create_server(lambda: ClientConnection(state, state, {}), "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Stop in good order; the clients have left. The databases then have all rows."""
        with self._loop.on(self._machine):
            await self._loop.create_task(self._stop())

    async def _stop(self) -> None:
        await self._gateway.stop()
        tries = 0

        def sleep(_seconds: float) -> None:
            nonlocal tries
            tries += 1
            if tries == _DELIVERY_TRIES:
                raise TimeoutError("the databases do not take the last rows")

        self._gateway.ledger_runtime.deliver_rest(sleep)

    def count_calls(self) -> int:
        """Return how many calls run."""
        return self._app.admission.count_calls() if self.is_running else 0

    def count_connections(self) -> int:
        """Return how many connections of clients are open."""
        return len(self._state.connections)

    def list_stray_tasks(self) -> list[str]:
        """Return the names of tasks that neither run beside calls nor belong to one."""
        return [
            f"{task.get_name()} {task.get_coro()}"
            for task, creator in self._loop.list_tasks(self._machine)
            if self._own_tasks.isdisjoint((task.get_name(), creator))
        ]

    def kill(self) -> None:
        """End at once, as SIGKILL: the kernel keeps what was written, and frees the locks."""
        self.is_running = False
        self._loop.kill(self._machine)
        self._disk.kill(self._machine)

    def _note(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, "at": self._loop.time(), **fields})
