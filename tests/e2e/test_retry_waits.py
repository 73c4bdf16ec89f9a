"""Calls that wait for a provider: for how long, how many of them, and what ends the wait."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.core.ledger_rows import AttemptRow
from gateway.server import keepalive
from tests.e2e.child import until
from tests.e2e.test_provider_quota import QuotaClock
from tests.e2e.upstream import PATIENCE, Upstream, failing, stream, whole
from tests.e2e.world import Config, Make, World, chat, spared

SOON, LATER = failing(429, retry_after="2"), failing(429, retry_after="10")


class Sleeps:
    """The waits of a world's calls: each lasts until the test ends it."""

    def __init__(self, world: World) -> None:
        self._loop = world.loop
        self._go = asyncio.Event()
        self.came: list[float] = []
        world.gateway.engine._upstream._sleep = self

    async def __call__(self, seconds: float) -> None:
        if seconds:
            self.came.append(seconds)
            await self._go.wait()

    def wait(self, count: int) -> None:
        until(lambda: len(self.came) == count, f"{count} calls wait")

    def end(self) -> None:
        async def go() -> None:
            self._go.set()

        self._loop.run(go())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def gauge(world: World) -> float:
    text = world.client.get("/metrics").text
    (line,) = [row for row in text.splitlines() if row.startswith("tiergate_waiting_calls ")]
    return float(line.split()[1])


def test_a_waiting_call_holds_no_connection_and_counts_in_a_gauge(
    world: World, upstream: Upstream, pool: ThreadPoolExecutor
) -> None:
    """Meanwhile its connection serves another call; each attempt is a row."""
    sleeps = Sleeps(world)
    upstream.on("/acme", SOON, whole())
    waiting = pool.submit(world.ask, chat())
    sleeps.wait(1)
    assert gauge(world) == 1.0
    assert world.gateway.waiting_calls.calls == 1
    assert world.ask(chat(model="fast")).status_code == 200
    assert upstream.connections == 1
    sleeps.end()
    assert waiting.result(PATIENCE).headers["x-tiergate-attempts"] == "2"
    assert gauge(world) == 0.0
    attempts = [row for row in world.rows() if isinstance(row, AttemptRow)]
    assert [row.problem for row in attempts] == ["upstream_rate_limited"]


def test_at_most_a_quarter_of_all_calls_may_wait(
    make: Make, upstream: Upstream, pool: ThreadPoolExecutor
) -> None:
    """The gateway tells one more call at once when to come back; its client's own rule holds."""

    def small(value: Config) -> None:
        value["server"] = {"in_flight": 8}

    world = make(small)
    sleeps = Sleeps(world)
    upstream.on("/acme", LATER, whole())
    waiting = []
    for count in (1, 2):
        waiting.append(pool.submit(world.ask, chat()))
        sleeps.wait(count)
    refused = world.ask(chat())
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert "x-should-retry" not in refused.headers
    assert gauge(world) == 2.0
    sleeps.end()
    assert [call.result(PATIENCE).status_code for call in waiting] == [200, 200]


def test_another_target_takes_over_at_once_when_too_many_calls_wait(
    make: Make, upstream: Upstream, pool: ThreadPoolExecutor
) -> None:
    def small(value: Config) -> None:
        spared(value)
        value["server"] = {"in_flight": 4}

    world = make(small)
    sleeps = Sleeps(world)
    upstream.on("/acme", SOON)
    waiting = pool.submit(world.ask, chat())
    sleeps.wait(1)
    assert world.ask(chat()).headers["x-tiergate-provider"] == "spare"
    sleeps.end()
    assert waiting.result(PATIENCE).status_code == 200


def test_a_waiting_call_ends_at_once_when_the_gateway_stops(
    world: World, upstream: Upstream, pool: ThreadPoolExecutor
) -> None:
    """The client is to send the call again: a second gateway can take it."""
    sleeps = Sleeps(world)
    upstream.on("/acme", LATER)
    waiting = pool.submit(world.ask, chat())
    sleeps.wait(1)

    async def stop() -> None:
        world._server.config.loaded_app.admission.shutdown.close()

    world.loop.run(stop())
    reply = waiting.result(PATIENCE)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "draining")
    assert "x-should-retry" not in reply.headers
    assert len(upstream.requests) == 1
    entry = world.entry()
    assert (entry.state, entry.problem, entry.attempts) == ("failed", "draining", 1)


def test_a_waiting_stream_sends_keepalives(
    world: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepalive, "INTERVAL_SECONDS", 0.02)
    sleeps = Sleeps(world)
    upstream.on("/acme", SOON, stream())
    with world.client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as reply:
        lines = reply.iter_lines()
        assert next(lines) == next(line for line in lines if line) == ": ping"
        sleeps.end()
        rest = [line for line in lines if line and line != ": ping"]
    assert rest[-1] == "data: [DONE]"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("patience", "waits"), [("600", True), ("12", True), ("9", False)])
def test_a_call_waits_no_longer_than_its_client(
    world: World, upstream: Upstream, patience: str, waits: bool, streamed: bool
) -> None:
    """The gateway tells the client at once when to come back if the wait is too long."""
    upstream.on("/acme", failing(429, retry_after="8"), stream() if streamed else whole())
    reply = world.ask(chat(stream=streamed), x_stainless_read_timeout=patience)
    assert reply.status_code == (200 if waits else 429)
    assert world.waits == ([9.0] if waits else [])
    if not waits:
        assert reply.headers["retry-after"] == "8"
        assert "x-should-retry" not in reply.headers


def test_a_stream_whose_client_retries_waits_only_until_a_keepalive(
    make: Make, upstream: Upstream
) -> None:
    """After a keep-alive an error stands in the stream, where no SDK retries it."""
    for patience, waits in (({"x_stainless_read_timeout": "600"}, []), ({}, [16.0])):
        world = make()
        upstream.on("/acme", failing(429, retry_after="15"), stream())
        assert world.ask(chat(stream=True), **patience).status_code == (200 if waits else 429)
        assert world.waits == waits


def test_later_calls_wait_for_the_preferred_target_too(make: Make, upstream: Upstream) -> None:
    """For a wait of two seconds a conversation does not change its model."""
    world = make(spared)
    clock = QuotaClock(world)
    upstream.on("/acme", SOON, whole())
    providers = []
    for _ in range(2):
        providers.append(world.ask(chat()).headers["x-tiergate-provider"])
        clock.now += 0.5
    assert providers == ["acme", "acme"]
    assert world.waits == [3.0, 2.25]
    clock.now += 9
    upstream.on("/acme", failing(429, retry_after="4"), whole())
    providers = [world.ask(chat()).headers["x-tiergate-provider"] for _ in range(2)]
    assert providers == ["spare", "spare"]


def test_no_call_waits_where_the_configuration_turns_waits_off(
    make: Make, upstream: Upstream
) -> None:
    """The next target takes over at once, as in earlier versions."""

    def at_once(value: Config) -> None:
        spared(value)
        value["retry"] = {"preferred_wait": "0s", "preferred_again": 0}

    world = make(at_once)
    QuotaClock(world)
    upstream.on("/acme", SOON)
    for _ in range(2):
        assert world.ask(chat()).headers["x-tiergate-provider"] == "spare"
    upstream.on("/acme", failing(500))
    assert world.ask(chat()).headers["x-tiergate-provider"] == "spare"
    assert [wait for wait in world.waits if wait] == []
