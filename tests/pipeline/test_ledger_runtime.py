"""Test how sums wait until the store has read the journals."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.ledger.errors import StoreError
from gateway.pipeline.ledger_runtime import LedgerRuntime
from gateway.settings.schema.root import Config
from tests.e2e.upstream import PATIENCE


class Feed:
    """Stands in for the store's feed: each feed waits until it is released, then returns the set
    result.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.tells: list[int | Exception | None] = []
        self._began = threading.Semaphore(0)
        self._go = threading.Semaphore(0)

    def __call__(self, _: Path) -> int | None:
        self.begun += 1
        self._began.release()
        assert self._go.acquire(timeout=PATIENCE)
        told = self.tells.pop(0) if self.tells else 0
        if isinstance(told, Exception):
            raise told
        return told

    async def running(self) -> None:
        """Return once another feed has begun."""
        assert await asyncio.to_thread(self._began.acquire, timeout=PATIENCE)

    def go(self, times: int = 1) -> None:
        """Let this many feeds end."""
        self._go.release(times)


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def archive(tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerRuntime]:
    def silent(event: str, **fields: object) -> None:
        pass

    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    made = LedgerRuntime(Config(version=1), tmp_path, silent, url=url, info={}, providers={})
    monkeypatch.setattr(made.store, "feed", feed)
    yield made
    if not made.is_ended:
        made.close()


type Wait = Callable[[], asyncio.Task[bool]]


@pytest.fixture
def wait(archive: LedgerRuntime) -> Wait:
    """Return a function that starts catching up."""
    return lambda: asyncio.create_task(archive.catch_up())


async def test_all_who_wait_share_one_feed(feed: Feed, wait: Wait) -> None:
    """Callers that come during a feed share the next one: the running one may have missed their
    rows.
    """
    early = [wait() for _ in range(9)]
    await feed.running()
    late = [wait() for _ in range(9)]
    await asyncio.sleep(0)
    feed.go()
    await asyncio.gather(*early)
    await feed.running()
    assert not any(one.done() for one in late)
    feed.go()
    await asyncio.gather(*late)
    assert feed.begun == 2


async def test_another_that_feeds_is_waited_for(feed: Feed, wait: Wait) -> None:
    """A caller that came before a feed of this process is served by that feed."""
    feed.tells = [None, None, 7]
    early = wait()
    await feed.running()
    late = wait()
    feed.go(3)
    await asyncio.gather(early, late)
    assert feed.begun == 3


async def test_nobody_waits_for_ever(
    feed: Feed, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    asleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asleep(0)

    monkeypatch.setattr("gateway.pipeline.ledger_runtime.asyncio.sleep", sleep)
    feed.tells = [None] * 1000
    feed.go(1000)
    assert not await wait()
    assert 1 <= sum(slept) <= 5


async def test_a_feed_that_fails_is_told_and_the_next_may_not(feed: Feed, wait: Wait) -> None:
    feed.tells = [StoreError("it is away")]
    feed.go(2)
    with pytest.raises(StoreError, match="away"):
        await wait()
    assert await wait()


async def test_one_that_leaves_takes_no_feed_from_others(
    archive: LedgerRuntime, feed: Feed, wait: Wait
) -> None:
    """No feed is running once the ledger runtime has stopped."""
    one, other = wait(), wait()
    await feed.running()
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    feed.go()
    await other
    left = wait()
    await feed.running()
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    feed.tells = [StoreError("nobody is told")]
    ending = asyncio.create_task(archive.stop())
    await asyncio.sleep(0.01)
    assert not ending.done()
    feed.go(2)  # the last feed as well
    await ending
    assert feed.begun == 3
