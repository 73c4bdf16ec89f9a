"""Plays a stage at the gateways of both trees, from their start to what they leave behind."""

import asyncio
import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.redis_process import serving_any
from tests.twin import commands, gateway_process, records, redis_keys
from tests.twin.compare import TwinDifference, differences, parts
from tests.twin.configuration import HOST, SECRETS, SIDES
from tests.twin.exchanges.exchange import Observation, TwinExchange, unique
from tests.twin.gateway_process import Deployment, GatewayProcess
from tests.twin.masks import Masks
from tests.twin.provider import TwinProvider
from tests.twin.stages import TwinStage
from tests.twin.traffic import play
from tests.twin.trees import Tree

_PROGRESS = 500
"""Exchanges between two lines of progress."""
_REDIS_EVENT = '"event":"redis"'
"""Part of the log line of a gateway that goes on without Redis after 100 ms, or finds it again."""


@dataclass
class StageResult:
    """Counts and differences of a run."""

    counts: dict[str, int] = field(default_factory=dict)
    """Exchanges by section, at each gateway."""
    left: dict[str, int] = field(default_factory=dict)
    """Rows, lines and keys that the base's gateways left behind."""
    differences: list[TwinDifference] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    """Events of the machine that can explain differences."""

    @property
    def exchanges(self) -> int:
        """All exchanges."""
        return sum(self.counts.values())


@dataclass
class Run:
    """Plays stages at both trees, and collects the result."""

    trees: Sequence[Tree]
    """The base and this tree."""
    folder: Path
    """The folder in which each stage has one."""
    log: Callable[[str], object] = str
    """Receives lines of progress."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Variables of the second gateway alone: a difference that a test plants."""
    result: StageResult = field(default_factory=StageResult)

    async def play(self, stage: TwinStage) -> None:
        """Play one stage. Raises RuntimeError if a gateway does not start."""
        folder, provider = self.folder / stage.name, TwinProvider()
        config = stage.configuration.write(folder / "config", self.trees[0].folder / "config")
        await provider.start()
        try:
            with ExitStack() as stack:
                deployments = [
                    Deployment(
                        side, tree, stage.configuration, config, folder / side, provider.url,
                        stack.enter_context(serving_any()) if stage.configuration.redis else None,
                        self.overrides if side == SIDES[1] else {},
                    )
                    for side, tree in zip(SIDES, self.trees, strict=True)
                ]  # fmt: skip
                await self._play(stage, deployments, provider)
        finally:
            await provider.stop()

    async def _play(
        self, stage: TwinStage, deployments: Sequence[Deployment], provider: TwinProvider
    ) -> None:
        masks = [Masks() for _ in deployments]  # their run begins before the gateways start
        started = await asyncio.gather(
            *(asyncio.to_thread(gateway_process.start, deployment) for deployment in deployments),
            return_exceptions=True,
        )
        gateways = [gateway for gateway in started if isinstance(gateway, GatewayProcess)]
        try:
            for error in started:
                if isinstance(error, BaseException):
                    raise error
            exchanges = unique(stage.exchanges(_models(gateways[0])))
            self.log(f"{stage.name}: {len(exchanges)} exchanges")
            await self._exchange(gateways, provider, exchanges, masks)
        finally:
            statuses = [await asyncio.to_thread(gateway.stop) for gateway in gateways]
        if statuses[0] != statuses[1]:
            base, tree = map(str, statuses)
            difference = TwinDifference("the end", "SIGTERM", "process", "exit status", base, tree)
            self.result.differences.append(difference)
        self.result.differences += self._records(gateways, provider, masks, exchanges)
        self.result.differences += self._redis_keys(deployments, masks)
        if stage.commands:
            self.log(f"{stage.name}: the command line")
            compared = await asyncio.to_thread(lambda: [*commands.compare(deployments, masks)])
            self.result.differences += compared

    async def _exchange(
        self,
        gateways: Sequence[GatewayProcess],
        provider: TwinProvider,
        exchanges: Sequence[TwinExchange],
        masks: Sequence[Masks],
    ) -> None:
        """Play the exchanges, and compare them as they come."""
        number = 0
        async for exchange, observations in play(gateways, provider, exchanges):
            number += 1
            section = exchange.section
            self.result.counts[section] = self.result.counts.get(section, 0) + 1
            await self._compare(exchange, number, observations, masks)
            if number % _PROGRESS == 0:
                count = len(self.result.differences)
                self.log(f"  {number} of {len(exchanges)}, {section}; {count} differences")

    async def _compare(
        self,
        exchange: TwinExchange,
        number: int,
        observations: Sequence[Observation],
        masks: Sequence[Masks],
    ) -> None:
        base, tree = (
            parts(seen, mask, number, reaches_provider=exchange.reaches_provider)
            for seen, mask in zip(observations, masks, strict=True)
        )
        if base == tree:
            return
        # In a thread, as a large comparison would delay the clients.
        compared = await asyncio.to_thread(lambda: [*differences(exchange, base, tree)])
        kinds = {difference.kind for difference in self.result.differences}
        for kind in dict.fromkeys(difference.kind for difference in compared):
            if kind not in kinds:
                self.log(f"  {': '.join(kind)}, in {exchange.name}")
        self.result.differences += compared

    def _records(
        self,
        gateways: Sequence[GatewayProcess],
        provider: TwinProvider,
        masks: Sequence[Masks],
        exchanges: Sequence[TwinExchange],
    ) -> Iterator[TwinDifference]:
        """Compare the rows that both gateways left behind."""
        names = {
            f"tg-{masked}": exchanges[int(masked[1:].partition(".")[0]) - 1].name
            for mask in masks
            for masked in mask.ids.values()
        }
        for mask in masks:
            mask.begin("after")
        base, tree = (
            records.read(gateway, mask, provider.alerts[gateway.deployment.side])
            for gateway, mask in zip(gateways, masks, strict=True)
        )
        for gateway in gateways:
            if _REDIS_EVENT in gateway.child.err:
                side = gateway.deployment.side
                notice = f"notice: Redis was too slow for the gateway of {side}; run again on an idle machine"
                self.result.notices.append(notice)
        for where, rows in base.items():
            self._count(where, sum(map(len, rows.values())))
            yield from records.compare(where, rows, tree[where], names)

    def _redis_keys(
        self, deployments: Sequence[Deployment], masks: Sequence[Masks]
    ) -> Iterator[TwinDifference]:
        """Compare the keys that both gateways left in Redis."""
        base, tree = (
            redis_keys.read(deployment.redis, mask) if deployment.redis else {}
            for deployment, mask in zip(deployments, masks, strict=True)
        )
        self._count("keys in Redis", len(base))
        yield from redis_keys.compare(base, tree)

    def _count(self, what: str, count: int) -> None:
        self.result.left[what] = self.result.left.get(what, 0) + count


def _models(gateway: GatewayProcess) -> list[str]:
    """List the names of models that a gateway serves, without those of scripted faults."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    headers = {"host": HOST, "authorization": f"Bearer {SECRETS['main']}"}
    connection.request("GET", "/v1/models", headers=headers)
    listed = json.loads(connection.getresponse().read())["data"]
    connection.close()
    return sorted(row["id"] for row in listed if not row["id"].startswith("fault-"))
