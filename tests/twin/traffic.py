"""Plays the exchanges of a stage at both gateways side by side, and yields what it observes of both."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from tests.twin.client import RawClient
from tests.twin.exchanges.exchange import Observation, RequestSource, TwinExchange, resolve
from tests.twin.gateway_process import GatewayProcess
from tests.twin.provider import TwinProvider
from tests.twin.settled_calls import SettledCalls

_APART = 0.25
"""Seconds between two concurrent requests."""
_CLOSES = 0.05
"""Seconds in which a gateway notices that its client has left."""


@dataclass
class _Player:
    """Plays exchanges at one gateway."""

    gateway: GatewayProcess
    provider: TwinProvider
    history: dict[str, Observation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        deployment = self.gateway.deployment
        self._client = RawClient(self.gateway.port)
        self._settled = SettledCalls(deployment.data / "ledger", deployment.redis)

    async def play(self, exchange: TwinExchange) -> Observation:
        """Play one exchange, and remember its answer for later ones."""
        await asyncio.sleep(exchange.pause)
        side = self.gateway.deployment.side
        seen = Observation(sent=self.provider.play(side, exchange.answers))
        data = resolve(exchange.request, self.history)
        if exchange.raw:
            await self._client.send_raw(data, seen)
        elif exchange.concurrent:
            await self._send_concurrently(data, exchange.concurrent, seen)
        else:
            leave_after = exchange.leave_after
            await self._client.send(data, seen, fresh=exchange.fresh, leave_after=leave_after)
        if exchange.leave_after:
            await asyncio.sleep(_CLOSES)
            await self.provider.idle(side)
        call = seen.header("x-request-id")
        if exchange.is_settled_first and call is not None:
            await self._settled.wait(call, failed=seen.code >= 400)
        if exchange.keeps_body:
            self.history[exchange.name] = seen
        else:
            self.history[exchange.name] = Observation(status=seen.status, head=seen.head)
        return seen

    async def _send_concurrently(
        self, data: bytes, sources: Sequence[RequestSource], seen: Observation
    ) -> None:
        """Send several requests, each a moment after the one before."""
        requests = [data, *(resolve(source, self.history) for source in sources)]
        observations = [seen, *(Observation() for _ in sources)]
        async with asyncio.TaskGroup() as tasks:
            for request, observation in zip(requests, observations, strict=True):
                tasks.create_task(self._client.send(request, observation, fresh=True))
                await asyncio.sleep(_APART)
        for observation in observations[1:]:
            lines = [observation.status, *observation.head, b"", observation.body]
            seen.others.append(b"\n".join(lines))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._settled.close()


async def play(
    gateways: Sequence[GatewayProcess], provider: TwinProvider, exchanges: Sequence[TwinExchange]
) -> AsyncIterator[tuple[TwinExchange, list[Observation]]]:
    """Yield each exchange with what both gateways sent, in order.

    Neither gateway waits for the other, so that a machine with two cores is used.
    """
    players = [_Player(gateway, provider) for gateway in gateways]
    queues = [asyncio.Queue[Observation]() for _ in players]

    async def run(player: _Player, queue: asyncio.Queue[Observation]) -> None:
        for exchange in exchanges:
            queue.put_nowait(await player.play(exchange))

    tasks = [asyncio.create_task(run(*pair)) for pair in zip(players, queues, strict=True)]
    try:
        for exchange in exchanges:
            yield exchange, [await _next(*pair) for pair in zip(queues, tasks, strict=True)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for player in players:
            player.close()


async def _next(queue: asyncio.Queue[Observation], task: asyncio.Task[None]) -> Observation:
    """Wait for the next observation of a player. Raises the error that ended its task."""
    waiting = asyncio.create_task(queue.get())
    await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done() and queue.empty():
        waiting.cancel()
        task.result()
    return await waiting
