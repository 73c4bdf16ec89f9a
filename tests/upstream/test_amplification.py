"""Test that retries make no bad minute worse: provider requests for each call, with SDKs retrying.

Promise: at most 1.2 times the requests that the SDKs alone would send, and no fewer answers. It
holds whatever part of the requests fails, at 50 calls a second for half a minute. The test turns the
clock.
"""

import heapq
import random
from pathlib import Path

import httpx
import pytest

from gateway.pipeline.response import Response
from gateway.upstream.connection_pools import ConnectionPools
from tests.e2e.world import chat, spared
from tests.pipeline.test_engine import EngineFixture, head, ok

RATE, SECONDS = 50, 30
_RETRIES = 2
"""Default of the official SDKs."""
_SEEN = frozenset({408, 409, 429, 500, 502, 503, 504})


class RetryLoop:
    """Calls that begin evenly, each made by an SDK that retries like the official ones."""

    def __init__(self, folder: Path, share: float, *, spare: bool, seed: int = 1) -> None:
        self.stage = EngineFixture(folder, change=spared if spare else lambda _: None)
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
        """Return at once: other calls go on meanwhile."""

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
            reply = await stage.ask(chat(), retry_count=retried)
            self.good += reply.status == 200
            wait = _waits(reply, retried)
            if wait is not None:
                heapq.heappush(due, (stage.now + wait, number, retried + 1))

    @property
    def factor(self) -> float:
        return len(self.hosts) / self.calls


def _waits(reply: Response, retried: int) -> float | None:
    """Return the seconds after which an SDK retries, or None if it does not."""
    headers = head(reply)
    if retried >= _RETRIES or reply.status not in _SEEN or headers.get("x-should-retry") == "false":
        return None
    return float(headers.get("retry-after", 0.5))


def alone(share: float) -> tuple[float, float]:
    """Return an SDK's figures without a gateway: requests for each call, and the share of answered
    calls.
    """
    tries = range(_RETRIES + 1)
    return sum(share**failed for failed in tries), 1.0 - share ** len(tries)


_CHANCE = 0.02
"""More than three times the random deviation of a share of this many calls."""


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.1])
async def test_the_gateway_multiplies_requests_by_a_fifth_at_most(
    tmp_path: Path, share: float
) -> None:
    """The gateway answers no fewer calls than the SDKs alone would get through."""
    loop = RetryLoop(tmp_path, share, spare=False)
    await loop.run()
    requests, answered = alone(share)
    assert loop.factor <= 1.2 * requests
    assert loop.good >= (answered - _CHANCE) * loop.calls
    if share == 1.0:
        assert loop.factor < 0.05  # the gateway leaves a provider that fails outright alone


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
async def test_with_a_second_provider_every_call_is_answered(tmp_path: Path, share: float) -> None:
    loop = RetryLoop(tmp_path, share, spare=True)
    await loop.run()
    assert loop.good == loop.calls
    assert loop.factor <= 1.2
