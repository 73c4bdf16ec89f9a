"""Who waits for an answer goes on where the loop tells of it, and as any task where not."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.upstream.http1.waiter import Waiter


async def _waiting(order: list[str]) -> tuple[Waiter, asyncio.Task[None]]:
    mark = Waiter(loop=asyncio.get_running_loop())

    async def wait() -> None:
        await mark
        order.append("on")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return mark, task


async def _called_by_the_loop(callback: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)


async def test_its_task_goes_on_in_the_loops_own_call() -> None:
    order: list[str] = []
    mark, task = await _waiting(order)

    def told() -> None:
        mark.resume_now()
        order.append("told")

    await _called_by_the_loop(told)
    assert order == ["on", "told"]
    await task


@pytest.mark.parametrize("how", ["reach", "stop"])
async def test_in_another_task_it_goes_on_in_the_next_round(how: str) -> None:
    """No task runs within another."""
    order: list[str] = []
    mark, task = await _waiting(order)
    if how == "reach":
        mark.resume_now()
    else:
        mark.stop()
    assert order == []
    await task
    assert order == ["on"]


async def test_what_is_here_before_anybody_waits_is_not_waited_for() -> None:
    mark = Waiter(loop=asyncio.get_running_loop())
    await _called_by_the_loop(mark.resume_now)
    assert mark.done()
    await mark


async def test_it_may_be_waited_for_again() -> None:
    """What was here before does not count."""
    order: list[str] = []
    mark, task = await _waiting(order)
    await _called_by_the_loop(mark.resume_now)
    await task
    mark.begin()

    async def wait() -> None:
        await mark
        order.append("again")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert order == ["on"]
    await _called_by_the_loop(mark.resume_now)
    assert order == ["on", "again"]
    mark.stop()
    await task
    mark.begin()
    assert mark.cancel("left")
    with pytest.raises(asyncio.CancelledError, match="left"):
        await mark
    mark.begin()
    assert not mark.cancelled()


async def test_who_is_cancelled_hears_of_it_and_nothing_wakes_it_again() -> None:
    order: list[str] = []
    mark, task = await _waiting(order)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mark.cancelled()
    assert not mark.cancel()
    assert order == []
