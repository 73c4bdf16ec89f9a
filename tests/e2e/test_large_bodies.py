"""Large bodies: read outside the event loop, one at a time, and answered as any."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Config, Make, chat


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the threads that did the work."""
    names: list[str] = []
    real = asyncio.to_thread

    async def to_thread[T](work: Callable[..., T], *args: object) -> T:
        def noted() -> T:
            names.append(threading.current_thread().name)
            return work(*args)

        return await real(noted)

    monkeypatch.setattr("gateway.pipeline.engine.asyncio.to_thread", to_thread)
    return names


@pytest.mark.parametrize(("size", "apart"), [(1_100_000, 3), (900_000, 0)])
def test_p_12_a_large_body_is_read_in_a_thread(
    make: Make, upstream: Upstream, threads: list[str], size: int, apart: int
) -> None:
    """P-12: a thread reads the body and its features, decides, and makes the request."""

    def cached(value: Config) -> None:
        value["cache"] = {"default": "on", "ttl": "1h"}

    world = make(cached)
    upstream.on("/acme", whole())
    body = chat("x" * size)
    assert world.ask(body).headers["x-tiergate-cache"] == "miss"
    assert len(threads) == apart
    assert "loop" not in threads  # the thread of the event loop
    world.loop.run(world.gateway.engine.drain())
    assert world.ask(body).headers["x-tiergate-cache"] == "hit"
    assert upstream.requests[0].json["messages"][0]["content"] == "x" * size


def test_a_large_request_is_explained_in_a_thread(make: Make, threads: list[str]) -> None:
    """It reads the body and its features, and decides with what each target would lose."""
    world = make()
    assert world.client.post("/v1/route", json=chat("x" * 1_100_000)).status_code == 200
    assert len(threads) == 2


def test_a_large_request_that_must_lose_nothing_is_checked_in_a_thread(
    make: Make, upstream: Upstream, threads: list[str]
) -> None:
    world = make()
    upstream.on("/acme", whole())
    reply = world.ask(chat("x" * 1_100_000), **{"x-tiergate-on-loss": "refuse"})
    assert reply.status_code == 200
    assert len(threads) == 4


def test_p_12_a_large_malformed_body_is_refused_like_a_small_one(
    make: Make, threads: list[str]
) -> None:
    """P-12: an error in the thread is the same as outside it."""
    world = make()
    reply = world.ask(b'{"model":"smart","messages":[' + b"1000000000," * 110_000)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json")
    assert len(threads) == 1
    assert world.entry().problem == "invalid_json"


def test_an_answer_with_too_much_text_is_an_error_of_the_provider(
    make: Make, upstream: Upstream
) -> None:
    """No model writes so much: 2 million tokens."""
    world = make()
    upstream.on("/acme", whole("\u00e9\n" * 2_600_000))
    reply = world.ask(chat("hi"))
    assert reply.status_code == 502
    assert "10,000,000 bytes of strings with escapes or with characters outside" in reply.text


def test_p_12_large_bodies_are_read_one_at_a_time(make: Make, upstream: Upstream) -> None:
    """P-12: many large bodies at once leave the other threads free."""
    world = make()
    started: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        started.append(1)
        begun.set()
        go.wait()

    async def many() -> int:
        engine = world.gateway.engine
        tasks = [asyncio.create_task(engine._large_work.run(work, is_large=True)) for _ in range(3)]
        await asyncio.to_thread(begun.wait)
        await asyncio.to_thread(int)  # a thread is free for other work
        count = len(started)
        go.set()
        await asyncio.gather(*tasks)
        return count

    assert world.loop.run(many()) == 1
    assert len(started) == 3
