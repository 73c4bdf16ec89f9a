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


class FakeFeed:
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
        result = self.tells.pop(0) if self.tells else 0
        if isinstance(result, Exception):
            raise result
        return result

    async def wait_until_running(self) -> None:
        """Return once another feed has begun."""
        assert await asyncio.to_thread(self._began.acquire, timeout=PATIENCE)

    def release(self, times: int = 1) -> None:
        """Let this many feeds end."""
        self._go.release(times)


@pytest.fixture
def feed() -> FakeFeed:
    return FakeFeed()


@pytest.fixture
def ledger_runtime(
    tmp_path: Path, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LedgerRuntime]:
    def silent(event: str, **fields: object) -> None:
        pass

    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    runtime = LedgerRuntime(Config(version=1), tmp_path, silent, url=url, info={}, providers={})
    monkeypatch.setattr(runtime.store, "feed", feed)
    yield runtime
    if not runtime.is_ended:
        runtime.close()


type Wait = Callable[[], asyncio.Task[bool]]


@pytest.fixture
def wait(ledger_runtime: LedgerRuntime) -> Wait:
    """Return a function that starts catching up."""
    return lambda: asyncio.create_task(ledger_runtime.catch_up())


async def test_all_callers_that_wait_share_one_feed(feed: FakeFeed, wait: Wait) -> None:
    """Callers that come during a feed share the next one: the running one may have missed their
    rows.
    """
    early = [wait() for _ in range(9)]
    await feed.wait_until_running()
    late = [wait() for _ in range(9)]
    await asyncio.sleep(0)
    feed.release()
    await asyncio.gather(*early)
    await feed.wait_until_running()
    assert not any(task.done() for task in late)
    feed.release()
    await asyncio.gather(*late)
    assert feed.begun == 2


async def test_a_feed_by_another_process_is_waited_for(feed: FakeFeed, wait: Wait) -> None:
    """A caller that came before a feed of this process is served by that feed."""
    feed.tells = [None, None, 7]
    early = wait()
    await feed.wait_until_running()
    late = wait()
    feed.release(3)
    await asyncio.gather(early, late)
    assert feed.begun == 3


async def test_waiting_for_another_process_has_a_time_limit(
    feed: FakeFeed, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr("gateway.pipeline.ledger_runtime.asyncio.sleep", sleep)
    feed.tells = [None] * 1000
    feed.release(1000)
    assert not await wait()
    assert 1 <= sum(slept) <= 5


async def test_a_failed_feed_raises_and_the_next_one_may_succeed(
    feed: FakeFeed, wait: Wait
) -> None:
    feed.tells = [StoreError("it is away")]
    feed.release(2)
    with pytest.raises(StoreError, match="away"):
        await wait()
    assert await wait()


async def test_a_caller_that_leaves_does_not_stop_the_feed_of_others(
    ledger_runtime: LedgerRuntime, feed: FakeFeed, wait: Wait
) -> None:
    """No feed is running once the ledger runtime has stopped."""
    cancelled, other = wait(), wait()
    await feed.wait_until_running()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    feed.release()
    await other
    abandoned = wait()
    await feed.wait_until_running()
    abandoned.cancel()
    await asyncio.gather(abandoned, return_exceptions=True)
    feed.tells = [StoreError("nobody is told")]
    ending = asyncio.create_task(ledger_runtime.stop())
    await asyncio.sleep(0.01)
    assert not ending.done()
    feed.release(2)  # the last feed as well
    await ending
    assert feed.begun == 3
