"""Several requests to stores take one round trip."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.state.eager_gather import await_sent, gather_eagerly
from gateway.state.errors import StoreUnavailable


async def send(name: str, sent: list[str], answer: asyncio.Future[str]) -> str:
    sent.append(name)
    return f"{name}: {await answer}"


async def test_all_have_sent_before_one_is_answered() -> None:
    loop, sent = asyncio.get_running_loop(), list[str]()
    answers = [loop.create_future() for _ in range(3)]
    a, b, c = (send(name, sent, answer) for name, answer in zip("abc", answers, strict=True))
    gathering = asyncio.Task(gather_eagerly(a, b, None, c), loop=loop, eager_start=True)
    assert sent == ["b", "c", "a"]
    for number, answer in enumerate(answers):
        answer.set_result(str(number))
    assert await gathering == ("a: 0", "b: 1", None, "c: 2")


async def test_nothing_is_awaited_for_what_is_not_needed() -> None:
    assert await gather_eagerly(None, None, None, None) == (None, None, None, None)


@pytest.mark.parametrize("failing", [0, 1])
async def test_one_failure_fails_all_and_leaves_no_task_or_unread_error(
    failing: int, unread_errors: list[object]
) -> None:
    loop, sent = asyncio.get_running_loop(), list[str]()
    answers = [loop.create_future(), loop.create_future()]
    a, b = (send(name, sent, answer) for name, answer in zip("ab", answers, strict=True))
    gathering = asyncio.Task(gather_eagerly(a, b), loop=loop, eager_start=True)
    answers[failing].set_exception(StoreUnavailable())
    if failing:
        answers[0].set_result("fine")
    with pytest.raises(StoreUnavailable):
        await gathering
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert unread_errors == []


async def test_a_second_failure_is_read_and_not_logged(unread_errors: list[object]) -> None:
    async def fail() -> str:
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await gather_eagerly(fail(), fail())
    await asyncio.sleep(0)
    assert unread_errors == []


async def receive(answer: asyncio.Future[str]) -> str:
    return await answer


async def test_answers_to_sent_requests_come_in_the_order_of_the_requests() -> None:
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
    awaiting = asyncio.create_task(await_sent(*map(receive, answers)))
    await asyncio.sleep(0)
    answers[1].set_result("second")
    answers[0].set_result("first")
    assert await awaiting == ["first", "second"]


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_failed_request_leaves_no_unread_error_of_the_later_ones(
    *, is_cancelled: bool, unread_errors: list[object]
) -> None:
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
    awaiting = asyncio.create_task(await_sent(*map(receive, answers)))
    await asyncio.sleep(0)
    if is_cancelled:
        awaiting.cancel()
    else:
        answers[0].set_exception(StoreUnavailable())
    with pytest.raises(asyncio.CancelledError if is_cancelled else StoreUnavailable):
        await awaiting
    if not answers[1].done():
        answers[1].set_exception(StoreUnavailable())
    del answers
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert unread_errors == []


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_what_a_later_request_has_not_sent_stays_unsent_if_an_earlier_one_fails(
    *, is_cancelled: bool
) -> None:
    loop, sent = asyncio.get_running_loop(), list[str]()
    first, opening = loop.create_future(), loop.create_future()

    async def open_and_send() -> str:
        await opening  # as for the epoch of an owner
        sent.append("later")
        return "later"

    awaiting = asyncio.create_task(await_sent(receive(first), open_and_send()))
    await asyncio.sleep(0)
    if is_cancelled:
        awaiting.cancel()
    else:
        first.set_exception(StoreUnavailable())
    with pytest.raises(asyncio.CancelledError if is_cancelled else StoreUnavailable):
        await awaiting
    if not opening.done():
        opening.set_result(None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert sent == []


@pytest.fixture
async def unread_errors() -> list[object]:
    errors: list[object] = []
    handler: Callable[..., None] = lambda _, context: errors.append(context)  # noqa: E731
    asyncio.get_running_loop().set_exception_handler(handler)
    return errors
