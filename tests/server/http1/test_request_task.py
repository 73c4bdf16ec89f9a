"""A call that goes on without a task is for all that it awaits what a task is."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.http1.request_task import RequestTask
from tests.e2e.child import until
from tests.e2e.upstream import SILENT, Upstream, frames, stream, whole
from tests.e2e.world import Config, Make, abort, chat

type Work = Coroutine[Any, Any, None]
type Start = Callable[[Work], Any]


def task(work: Work) -> asyncio.Task[None]:
    return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)


def apart(begin: Callable[[], Any]) -> Any:
    """Do something where no task runs, and give what it gave."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: found.set_result(begin()))
    return found


def course(work: Work) -> RequestTask:
    return RequestTask(work, asyncio.get_running_loop())


WAITS = ("turn", "future", "shield", "limit", "scope", "lock", "thrown", "sub")
ACTS = ("turn", "done", "failed", "cancel", "twice", "uncancel")


async def wait(kind: str, futures: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    if kind != "turn":
        futures.append(future)
    if kind == "turn":
        await asyncio.sleep(0)
    elif kind == "shield":
        await asyncio.shield(future)
    elif kind == "limit":
        async with asyncio.timeout(0):
            await future
    elif kind == "scope":
        async with asyncio.timeout(30):
            await future
    elif kind == "lock":
        lock = asyncio.Lock()
        async with lock:
            await future
    elif kind == "thrown":
        asyncio.current_task().cancel("own")  # type: ignore[union-attr]
        await future
    elif kind == "sub":
        await asyncio.Task(wait("future", futures), loop=loop, eager_start=True)
    else:
        await future


async def story(  # noqa: C901 - it is what may happen to a call
    start: Start, waits: list[tuple[str, bool | None]], acts: list[str]
) -> list[tuple[object, ...]]:
    """What becomes of a call that waits for all this while all that is done to it."""
    log: list[tuple[object, ...]] = []
    futures: list[Any] = []

    async def work() -> None:
        for kind, back in waits:
            try:
                await wait(kind, futures)
                log.append((kind, "done"))
            except asyncio.CancelledError as error:
                me: Any = asyncio.current_task()
                log.append((kind, "cancelled", error.args, me.cancelling()))
                if back is None:
                    raise
                if back:
                    log.append(("left", me.uncancel()))
            except Exception as error:  # noqa: BLE001 - all are told
                log.append((kind, type(error).__name__))
        log.append(("end",))

    one = await apart(lambda: start(work()))
    for act in acts:
        if act == "turn":
            await asyncio.sleep(0)
        elif act == "cancel":
            log.append((act, one.cancel(), one.cancelling()))
        elif act == "twice":
            log.append((act, one.cancel("a"), one.cancel("b"), one.cancelling()))
        elif act == "uncancel":
            log.append((act, one.uncancel()))
        elif futures and not futures[-1].done():
            if act == "done":
                futures[-1].set_result(None)
            else:
                futures[-1].set_exception(ValueError(act))
        log.append((act, one.done(), one.cancelling()))
    while not one.done():
        await asyncio.sleep(0.001)
        for future in futures:
            if not future.done():
                future.set_result(None)
    await asyncio.wait({one}, timeout=1)
    log.append((one.done(), one.cancelled(), one.cancel()))
    return log


@given(
    st.lists(st.tuples(st.sampled_from(WAITS), st.sampled_from([True, False, None])), max_size=4),
    st.lists(st.sampled_from(ACTS), max_size=8),
)
def test_it_goes_on_as_a_task_does(waits: list[tuple[str, bool | None]], acts: list[str]) -> None:
    async def both() -> None:
        assert await story(course, waits, acts) == await story(task, waits, acts)

    asyncio.run(both())


async def test_whoever_waits_for_its_end_is_told() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await gate

    one = await apart(lambda: course(work()))
    assert (one.get_name(), one.get_loop()) == ("call", asyncio.get_running_loop())
    assert one.get_coro() is not None
    done, pending = await asyncio.wait({one}, timeout=0.001)
    assert (done, pending) == (set(), {one})
    asyncio.get_running_loop().call_soon(gate.set_result, None)
    done, pending = await asyncio.wait({one}, timeout=1)
    assert (done, pending, one.get_coro()) == ({one}, set(), None)
    assert [*await asyncio.gather(one, return_exceptions=True)] == [None]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_error_that_nobody_takes_is_told_to_the_loop() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("bad")

    one = await apart(lambda: course(work()))
    await asyncio.wait({one})
    assert [str(context["exception"]) for context in told] == ["bad"]


async def test_nothing_of_it_is_left_for_the_garbage_collector() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    async def work() -> None:
        await future

    gc.disable()
    try:
        one = await apart(lambda: course(work()))
        seen = weakref.ref(one)
        loop.call_soon(future.set_result, None)
        await asyncio.wait({one})
        await asyncio.sleep(0)
        del one
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_transport_of_another_maker_runs_in_it(
    make: Make, upstream: Upstream, *, streamed: bool
) -> None:
    """One that looks closely at the task that it runs in: anyio's time limits do."""

    def stock(value: Config) -> None:
        value["providers"]["acme"]["transport"] = "stock"
        value["providers"]["acme"]["timeouts"] = {"headers": 0.3}

    world = make(stock)
    upstream.on("/", stream(*frames()) if streamed else whole())
    assert world.ask(chat(stream=streamed)).status_code == 200
    upstream.on("/", SILENT)
    assert world.ask(chat(stream=streamed)).status_code >= 500
    with world.leaving(chat(stream=streamed)) as connection:
        until(lambda: bool(upstream.requests), "it is asked")
        abort(connection)
        until(lambda: not world._server.server_state.tasks, "it has ended")
