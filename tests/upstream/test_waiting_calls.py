"""Test calls that wait for a provider: counted, bounded, and released when the gateway stops."""

import asyncio

import pytest

from gateway.core.errors import ProblemError
from gateway.upstream.waiting_calls import WaitingCalls


async def test_a_call_counts_while_it_waits() -> None:
    waiting, go = WaitingCalls(1), asyncio.Event()
    assert waiting.has_free_slot
    task = asyncio.create_task(waiting.wait(_until(go)))
    await asyncio.sleep(0)
    assert (waiting.calls, waiting.has_free_slot) == (1, False)
    go.set()
    await task
    assert (waiting.calls, waiting.has_free_slot) == (0, True)


async def test_a_cancelled_call_does_not_count() -> None:
    waiting, go = WaitingCalls(), asyncio.Event()
    task = asyncio.create_task(waiting.wait(_until(go)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.calls == 0


async def test_no_call_waits_while_the_gateway_stops() -> None:
    """The gateway refuses a call that waits already, and one that comes."""
    waiting, go = WaitingCalls(), asyncio.Event()
    task = asyncio.create_task(waiting.wait(_until(go)))
    await asyncio.sleep(0)
    waiting.close()
    assert not waiting.has_free_slot
    for wait in (task, waiting.wait(_until(go))):
        with pytest.raises(ProblemError) as caught:
            await wait
        assert caught.value.problem.kind == "draining"
    assert waiting.calls == 0


async def test_no_call_may_wait_if_the_gateway_takes_few_calls() -> None:
    assert not WaitingCalls(0).has_free_slot


async def _until(go: asyncio.Event) -> None:
    await go.wait()
