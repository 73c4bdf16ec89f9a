"""A gateway as a process of its own in the simulation: it starts, stops, and can be killed."""

import os
import random
from collections.abc import Mapping
from contextlib import suppress
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
from tests.simulation.event_loop import SimulatedLoop

EPOCH = 1_795_000_000.0
"""The wall clock at the start of a simulation: a Wednesday in November 2026."""


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
    ) -> None:
        self.port, self.folder, self.starts = port, folder, 0
        self.log: list[dict[str, object]] = []
        self._loop, self._name, self._config = loop, name, config
        self._environ = {"TIERGATE_DATA": str(folder), **environ}
        self._seed = seed
        self._machine = ""

    @property
    def counter_store(self) -> CounterStore:
        return self._gateway._counter_store

    async def start(self) -> None:
        """Start, as after a reboot: nothing but the data folder is left of an earlier run."""
        loop = self._loop
        self.starts += 1
        self._machine = f"{self._name}.{self.starts}"
        with loop.on(self._machine):
            await loop.create_task(self._start())

    async def _start(self) -> None:
        loop = self._loop
        clocks = Clocks(lambda: EPOCH + loop.time(), loop.time)
        now = datetime.fromtimestamp(clocks.wall(), UTC)
        built_config = build_config(load(self._config, self._environ), now)
        jitter = random.Random(f"{self._seed} {self._machine}").random
        self._gateway = Gateway(
            built_config, self._environ, self._note, clocks=clocks, jitter=jitter
        )
        self._app = App(self._gateway)
        state = _ServerState(self._app)
        await self._gateway.start()
        await loop.create_server(lambda: ClientConnection(state, state, {}), "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Stop in good order; the clients have left."""
        with self._loop.on(self._machine):
            await self._loop.create_task(self._gateway.stop())

    def count_calls(self) -> int:
        """Return how many calls run."""
        return self._app.admission.count_calls()

    def kill(self) -> None:
        """End at once, as SIGKILL: the kernel keeps what was written, and frees the locks."""
        self._loop.kill(self._machine)
        null = os.open(os.devnull, os.O_RDWR)
        for link in list(Path("/proc/self/fd").iterdir()):
            with suppress(OSError):  # the descriptor of the listing itself
                if link.readlink().is_relative_to(self.folder / "ledger"):
                    os.dup2(null, int(link.name), inheritable=False)
        os.close(null)

    def _note(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, "at": self._loop.time(), **fields})
