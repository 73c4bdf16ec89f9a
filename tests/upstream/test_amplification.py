"""Retries make no bad minute worse: requests to the provider for each call, SDKs in the loop.

Promise: at most 1.2 times the requests that the SDKs alone would send, and no fewer answers,
whatever part of the requests fails, at 50 calls a second for a minute. All on a clock that the
test turns.
"""

import heapq
import random
from pathlib import Path

import httpx
import pytest

from gateway.pipeline.response import Response
from gateway.upstream.client import ConnectionPools
from tests.e2e.world import chat, spared
from tests.pipeline.test_engine import Stage, head, ok

RATE, SECONDS = 50, 60
_RETRIES = 2
"""What the official SDKs make of their own."""
_SEEN = frozenset({408, 409, 429, 500, 502, 503, 504})


class Loop:
    """Calls that begin evenly, each made by an SDK that tries again as the official ones do."""

    def __init__(self, folder: Path, share: float, *, spare: bool, seed: int = 1) -> None:
        self.stage = Stage(folder, change=spared if spare else lambda _: None)
        self.rng = random.Random(seed)
        self.share = share
        self.hosts: list[str] = []
        self.good = 0
        self.calls = 0
        self.latest = 0.0
        upstream = self.stage.engine._upstream
        upstream._sleep = self.sleep
        upstream.health.clock = self.clock
        self.stage.client._pools = ConnectionPools(lambda _: httpx.MockTransport(self.answer))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        acme = "acme" in request.url.path
        self.hosts.append("acme" if acme else "spare")
        return httpx.Response(503) if acme and self.rng.random() < self.share else ok()

    async def sleep(self, seconds: float) -> None:
        """Other calls go on meanwhile."""

    def clock(self) -> float:
        self.latest = max(self.latest, self.stage.now)
        return self.latest

    async def run(self) -> None:
        stage = self.stage
        begun = stage.now
        due = [(begun + at / RATE, at, 0) for at in range(RATE * SECONDS)]
        self.calls = len(due)
        while due:
            stage.now, number, retried = heapq.heappop(due)
            reply = await stage.ask(chat(), retried=retried)
            self.good += reply.status == 200
            wait = _waits(reply, retried)
            if wait is not None:
                heapq.heappush(due, (stage.now + wait, number, retried + 1))

    @property
    def factor(self) -> float:
        return len(self.hosts) / self.calls


def _waits(reply: Response, retried: int) -> float | None:
    """Seconds after which an SDK tries again; None where it does not."""
    told = head(reply)
    if retried >= _RETRIES or reply.status not in _SEEN or told.get("x-should-retry") == "false":
        return None
    return float(told.get("retry-after", 0.5))


def alone(share: float) -> tuple[float, float]:
    """What an SDK without a gateway gets: requests of a call, and the share of calls answered."""
    tries = range(_RETRIES + 1)
    return sum(share**failed for failed in tries), 1.0 - share ** len(tries)


_CHANCE = 0.02
"""More than three times what a share of so many calls strays by chance."""


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.1])
async def test_the_gateway_multiplies_requests_by_a_fifth_at_most(
    tmp_path: Path, share: float
) -> None:
    """And no fewer calls are answered than the SDKs alone would get through."""
    loop = Loop(tmp_path, share, spare=False)
    await loop.run()
    requests, answered = alone(share)
    assert loop.factor <= 1.2 * requests
    assert loop.good >= (answered - _CHANCE) * loop.calls
    if share == 1.0:
        assert loop.factor < 0.05  # a provider that fails outright is left alone


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
async def test_with_another_provider_no_call_is_lost(tmp_path: Path, share: float) -> None:
    loop = Loop(tmp_path, share, spare=True)
    await loop.run()
    assert loop.good == loop.calls
    assert loop.factor <= 1.2
