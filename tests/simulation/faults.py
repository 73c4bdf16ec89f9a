"""The faults of a simulation: what fails, when and for how long is drawn from its seed."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal

from tests.simulation.disk import SimulatedDisk
from tests.simulation.event_loop import SimulatedLoop
from tests.simulation.ledger_engine import SINK_PORT, STORE_PORT
from tests.simulation.machine import GatewayMachine
from tests.simulation.network import Outage
from tests.simulation.redis_server import RedisServer
from tests.simulation.surroundings import WallClocks

type FaultKind = Literal[
    "kill", "power cut", "redis outage", "store outage", "sink outage", "partition", "slow link",
    "clock jump", "bad disk",
]  # fmt: skip
PROVIDER_PORT, REDIS_PORT = 1001, 6379
_SHARED_PORTS = (PROVIDER_PORT, REDIS_PORT, STORE_PORT)
_JUMPS = (-86_400.0, -3600.0, -7.0, -0.4, 0.4, 7.0, 3600.0, 86_400.0)
"""Seconds by which a wall clock jumps: none leaves the month."""
_DOWN_SECONDS = (0.0, 1.0, 30.0)
_OUTAGE_SECONDS = (0.1, 5.0, 60.0)
_HANGS: tuple[Outage, ...] = ("hangs", "loses requests", "loses answers")


class Faults:
    """Plays faults on the machines of a simulation, all of them at the same time."""

    def __init__(
        self,
        seed: str,
        loop: SimulatedLoop,
        gateways: Sequence[GatewayMachine],
        redis: RedisServer,
        disk: SimulatedDisk,
        wall_clocks: WallClocks,
        *,
        span: float,
        scale: float,
        forgets: bool,
    ) -> None:
        """Begin each fault within `span` seconds after the one before of its kind.

        `scale` multiplies how long they last. With `forgets` an outage may take all of Redis's data.
        """
        self.played: Counter[str] = Counter()
        """The number of faults played, by kind."""
        self._seed, self._loop, self._gateways = seed, loop, gateways
        self._redis, self._disk, self._wall_clocks = redis, disk, wall_clocks
        self._span, self._scale, self._forgets = span, scale, forgets
        self._players: dict[FaultKind, Callable[[random.Random], Coroutine[Any, Any, None]]] = {
            "kill": self._kill,
            "power cut": self._cut_power,
            "redis outage": self._take_redis,
            "store outage": lambda chance: self._take_away(chance, STORE_PORT),
            "sink outage": lambda chance: self._take_away(chance, SINK_PORT),
            "partition": self._partition,
            "slow link": self._slow_down,
            "clock jump": self._jump,
            "bad disk": self._break_disk,
        }

    async def play(self, counts: dict[FaultKind, int]) -> None:
        """Play faults of each kind, one after another, and end all of them."""
        await asyncio.gather(*(self._play_kind(kind, count) for kind, count in counts.items()))

    async def _play_kind(self, kind: FaultKind, count: int) -> None:
        chance = random.Random(f"{self._seed} {kind}")
        for _ in range(count):
            await asyncio.sleep(chance.uniform(0, self._span))
            self.played[kind] += 1
            await self._players[kind](chance)

    async def _wait(self, chance: random.Random, lengths: Sequence[float]) -> None:
        await asyncio.sleep(chance.choice(lengths) * chance.random() * self._scale)

    async def _kill(self, chance: random.Random) -> None:
        gateway = chance.choice(self._gateways)
        if gateway.is_running:
            gateway.kill()
            await self._restart(gateway, chance)

    async def _cut_power(self, chance: random.Random) -> None:
        gateway = chance.choice(self._gateways)
        if gateway.is_running:
            gateway.kill()
            self._disk.cut_power(gateway.folder)
            await self._restart(gateway, chance)

    async def _restart(self, gateway: GatewayMachine, chance: random.Random) -> None:
        await self._wait(chance, _DOWN_SECONDS)
        while self._disk.is_broken(gateway.name):  # noqa: ASYNC110 - a look costs nothing here
            await asyncio.sleep(1)
        await asyncio.shield(asyncio.ensure_future(gateway.start()))

    async def _take_redis(self, chance: random.Random) -> None:
        outage: Outage = chance.choice(("refuses", "hangs"))
        if self._forgets and outage == "refuses":
            self._redis.forget()
        await self._cut(chance, REDIS_PORT, outage)

    async def _take_away(self, chance: random.Random, port: int) -> None:
        await self._cut(chance, port, chance.choice(("refuses", *_HANGS)))

    async def _partition(self, chance: random.Random) -> None:
        """Cut one gateway off from one server, in one direction or in both.

        The provider's connections are not reset: a gateway takes a request for not billed if its
        connection closes at once, which a provider may see otherwise.
        """
        gateway, port = chance.choice(self._gateways), chance.choice(_SHARED_PORTS)
        outages = _HANGS if port == PROVIDER_PORT else ("refuses", *_HANGS)
        await self._cut(chance, port, chance.choice(outages), gateway.name)

    async def _cut(
        self, chance: random.Random, port: int, outage: Outage, host: str | None = None
    ) -> None:
        network = self._loop.network
        network.cut(port, outage, host)
        await self._wait(chance, _OUTAGE_SECONDS)
        network.restore(port, host)

    async def _slow_down(self, chance: random.Random) -> None:
        network, port = self._loop.network, chance.choice(_SHARED_PORTS)
        host = chance.choice((None, chance.choice(self._gateways).name))
        network.slow_down(port, chance.choice((0.02, 0.15, 0.4)), host)
        await self._wait(chance, _OUTAGE_SECONDS)
        network.slow_down(port, 0, host)

    async def _jump(self, chance: random.Random) -> None:
        """Let a gateway's wall clock jump, and some time later be right again: a second jump."""
        gateway = chance.choice(self._gateways)
        self._wall_clocks.jump(gateway.name, chance.choice(_JUMPS))
        await self._wait(chance, _OUTAGE_SECONDS)
        self._wall_clocks.correct(gateway.name)

    async def _break_disk(self, chance: random.Random) -> None:
        gateway = chance.choice(self._gateways)
        self._disk.break_down(gateway.name, chance.choice((0.05, 0.3)))
        await self._wait(chance, _OUTAGE_SECONDS)
        self._disk.break_down(gateway.name, 0.0)
