"""Replicas of an engine with prefix caches, behind the real engine, on a virtual clock.

Each replica remembers the beginnings of the prompts that it has read, as vLLM's prefix cache does.
It takes a request's time by a seed, breaks its answers when it is killed, and counts what it gets.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from gateway.cache.session_store import LocalSessionStore
from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, Call, RequestOptions
from gateway.core.ledger_rows import FinalRow, Row
from gateway.core.target import Provider
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.context import ContextLoader
from gateway.pipeline.engine import Engine
from gateway.pipeline.response import Response
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from gateway.telemetry.log import ignore_event
from gateway.upstream.client import ProviderClient
from gateway.upstream.failover import Upstream
from gateway.upstream.provider_state import ProviderState
from tests.e2e.upstream import frames, whole
from tests.simulation.event_loop import SimulatedLoop

type Config = dict[str, Any]

NAMES = ("a", "b", "c", "d")


class SimulatedReplica:
    """One server of the engine."""

    def __init__(self, name: str, seconds: float, chance: random.Random) -> None:
        self.name, self.seconds = name, seconds
        self.chance = chance
        self.is_up = True
        self.calls = self.refused = self.in_flight = self.most_in_flight = 0
        self.later_turns = self.hits = 0
        """Calls after the first of their conversation; those whose last turn is in the cache."""
        self.prefixes: set[bytes] = set()
        self.deaths = asyncio.Event()

    def kill(self) -> None:
        """Refuse connections and break off answers; what is in memory is lost."""
        self.is_up = False
        self.prefixes.clear()
        self.deaths.set()

    def restart(self) -> None:
        self.is_up, self.deaths = True, asyncio.Event()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if not self.is_up:
            self.refused += 1
            raise httpx.ConnectError("refused")
        body = jsonio.loads(request.content)
        messages = body.get("messages", [])
        self.calls += 1
        if len(messages) > 2:
            self.later_turns += 1
            self.hits += jsonio.dumps(messages[:-2]) in self.prefixes
        self.prefixes.add(jsonio.dumps(messages))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            seconds = self.seconds * self.chance.uniform(0.5, 1.5)
            async with asyncio.timeout(seconds):
                await self.deaths.wait()
            raise httpx.ReadError("reset")
        except TimeoutError:
            if body.get("stream"):
                return httpx.Response(200, content=b"".join(filter(None, frames())))
            return httpx.Response(200, content=whole().pieces[0] or b"")
        finally:
            self.in_flight -= 1


def replicas_config(balance: str | None = None, count: int = 4) -> Config:
    """Configure one provider with replicas."""
    provider: Config = {
        "replicas": [f"http://{name}:8000/v1" for name in NAMES[:count]],
        "dialects": {"openai-chat": "/chat/completions"},
        "auth": "none",
    }
    if balance is not None:
        provider["balance"] = balance
    return _lab({"vllm": provider}, {"smart": [{"provider": "vllm", "model": "qwen"}]})


def group_config(balance: str = "hash", **weights: float) -> Config:
    """Configure a group of providers, and a target that takes over if all of them fail."""
    providers = {
        f"vllm-{name}": {
            "base_url": f"http://{name}:8000/v1",
            "dialects": {"openai-chat": "/chat/completions"},
            "auth": "none",
        }
        for name in (*NAMES, "spare")
    }
    targets: list[Config] = [
        {
            "provider": f"vllm-{name}",
            "model": "qwen",
            "group": "qwen",
            "weight": weights.get(name, 1),
        }
        for name in NAMES
    ]
    targets.append({"provider": "vllm-spare", "model": "other"})
    return _lab(providers, {"smart": targets, "groups": {"qwen": {"balance": balance}}})


def _lab(providers: Config, lab: Config) -> Config:
    return {
        "version": 1,
        "default": {"lab": "mine", "tier": "smart"},
        "routing": {"classifier": "prior"},
        "cache": {"ttl": "0s"},
        "providers": providers,
        "labs": {"mine": lab},
    }


class ReplicaWorld:
    """A gateway's engine before replicas; calls run on a virtual clock."""

    def __init__(
        self, folder: Path, config: Config, *, seed: str = "1", seconds: float = 1.0
    ) -> None:
        self.chance = random.Random(seed)
        self.loop = SimulatedLoop(seed)
        self.replicas = {
            name: SimulatedReplica(name, seconds, self.chance) for name in (*NAMES, "spare")
        }
        self.rows: dict[str, FinalRow] = {}
        self.call_count = 0
        self.served: dict[str, list[tuple[float, str]]] = {}
        """For each conversation when its calls began, and the replica that served each."""
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(config))
        self.built = build_config(load(file, {}), datetime(2026, 11, 24, tzinfo=UTC))
        clock = self.loop.time
        self.state = ProviderState(jitter=self.chance.random, clock=clock)
        self.client = ProviderClient(transports=lambda _: httpx.MockTransport(self._answer))
        self.upstream = Upstream(
            self.client,
            wait_until_ready=self._wait_until_ready,
            sleep=asyncio.sleep,
            jitter=self.chance.random,
            provider_state=self.state,
            wall=lambda: 1e9 + clock(),
        )
        self.context_loader = ContextLoader(
            LocalSessionStore(clock=clock),
            ttl=3600,
            unavailable_reason=self.state.health.get_skip_reason,
        )
        self.engine = Engine(
            router=self.built.router,
            upstream=self.upstream,
            response_store=None,
            recorder=CallRecorder(
                self._record,
                ignore_event,
                on_end=self.context_loader.save_session,
                clock=clock,
                wall=lambda: 1e9 + clock(),
            ),
            context_loader=self.context_loader,
            log=ignore_event,
            on_loss="drop-and-tell",
            clock=clock,
            wall=lambda: 1e9 + clock(),
        )

    async def _wait_until_ready(self, _: Provider) -> None: ...

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        return await self.replicas[request.url.host].answer(request)

    def _record(self, row: Row) -> None:
        if isinstance(row, FinalRow):
            self.rows[row.id] = row

    async def ask(
        self,
        conversation: str,
        turn: int = 1,
        *,
        stream: bool = False,
        options: RequestOptions = NO_OPTIONS,
        model: str = "smart",
    ) -> Response:
        """Make a call of a conversation that has had some turns; read all of the answer."""
        messages: list[Config] = [{"role": "user", "content": f"Question 1 of {conversation}."}]
        for at in range(2, turn + 1):
            messages.append({"role": "assistant", "content": "Hello you."})
            messages.append({"role": "user", "content": f"Question {at} of {conversation}."})
        begun, self.call_count = self.loop.time(), self.call_count + 1
        call = Call(
            id=f"tg-{self.call_count}", dialect="openai-chat", operation="generate",
            body=jsonio.dumps({"model": model, "messages": messages, "stream": stream}),
            options=options, received_at=1e9 + begun, started_at=begun,
        )  # fmt: skip
        response = await self.engine.serve(call)
        if response.stream is not None:
            async for _ in response.stream:
                pass
        row = self.rows[call.id]
        name = row.provider or ""
        served = (row.account or "").partition(":")[0] if name == "vllm" else name[len("vllm-") :]
        self.served.setdefault(conversation, []).append((begun, served))
        return response

    async def converse(
        self, conversation: str, turns: int, *, start: float = 0.0, pause: float = 10.0, **more: Any
    ) -> list[int]:
        """Hold a conversation from `start` on; return the status of each answer."""
        await asyncio.sleep(start)
        statuses = []
        for turn in range(1, turns + 1):
            response = await self.ask(conversation, turn, **more)
            statuses.append(response.status)
            await asyncio.sleep(self.chance.uniform(0, 2 * pause))
        return statuses

    async def converse_all(
        self,
        count: int,
        turns: int,
        *,
        spread: float = 60.0,
        pause: float = 10.0,
        name: str = "chat",
        between: Callable[[], Any] | None = None,
        **more: Any,
    ) -> list[int]:
        """Hold many conversations at a time that begin within `spread` seconds."""
        tasks = [
            asyncio.create_task(
                self.converse(
                    f"{name} {number}", turns, start=self.chance.uniform(0, spread), pause=pause,
                    **more,
                )
            )
            for number in range(count)
        ]  # fmt: skip
        if between is not None:
            tasks.append(asyncio.create_task(between()))
        statuses = await asyncio.gather(*tasks)
        return [status for items in statuses for status in items or ()]

    @property
    def equals(self) -> list[SimulatedReplica]:
        return [self.replicas[name] for name in NAMES]

    @property
    def imbalance(self) -> float:
        """The most calls of a replica, as a multiple of the mean."""
        calls = [item.calls for item in self.equals]
        return max(calls) / (sum(calls) / len(calls))

    @property
    def hit_rate(self) -> float:
        """The part of later turns whose prefix was in the cache: 1 for pinned conversations."""
        return sum(item.hits for item in self.equals) / sum(
            item.later_turns for item in self.equals
        )

    def list_servers(self, since: float, until: float) -> dict[str, set[str]]:
        """Return the replicas that served each conversation between two moments."""
        return {
            conversation: {name for begun, name in served if since <= begun < until}
            for conversation, served in self.served.items()
        }
