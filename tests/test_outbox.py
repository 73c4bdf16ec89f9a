"""What is sent in one turn of the loop goes together: rows, then requests, then answers."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.outbox import _BUSY, _FEW, _MOST, _WINDOW, Outbox
from gateway.upstream.client import Client
from tests.e2e.world import chat
from tests.test_engine import Stage, ok


class Letter:
    def __init__(self, order: list[str], name: str) -> None:
        self._order, self._name = order, name

    def post(self) -> None:
        self._order.append(self._name)

    def refuse(self) -> None:
        self._order.append(f"no {self._name}")


class Sent:
    """What left, in order; `written`: whether there is room for rows."""

    def __init__(self, calls: int = 2, *, written: bool = True) -> None:
        self.order: list[str] = []
        self.written = written
        self.now = 0.0
        self.box = Outbox(self._rows, lambda: self.now)
        self.box.calls = lambda: calls

    def _rows(self) -> bool:
        self.order.append("rows")
        return self.written

    def letter(self, name: str) -> Letter:
        return Letter(self.order, name)


async def test_rows_go_first_then_requests_then_answers() -> None:
    sent = Sent()
    sent.box.answer(sent.letter("answer"))
    for name in "ab":
        sent.box.ask(sent.letter(f"request {name}"))
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows", "request a", "request b", "answer"]
    await asyncio.sleep(0)
    assert len(sent.order) == 4


async def test_each_turn_sends_its_own() -> None:
    sent = Sent()
    for name in "ab":
        sent.box.ask(sent.letter(name))
        await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "rows", "b"]


async def test_rows_alone_are_written_at_the_end_of_the_turn_too() -> None:
    sent = Sent()
    sent.box.soon()
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows"]


async def test_a_call_that_is_alone_waits_for_nobody() -> None:
    sent = Sent(calls=1)
    sent.box.ask(sent.letter("request"))
    assert sent.order == ["rows", "request"]
    sent.box.answer(sent.letter("answer"))
    assert sent.order[2:] == ["rows", "answer"]


async def test_what_will_be_needed_is_done_while_a_call_that_is_alone_waits() -> None:
    """Once what it asks in this turn, at the end of the next, is on its way."""
    sent = Sent(calls=1)
    sent.box.meanwhile(lambda: sent.order.append("work"))
    asyncio.get_running_loop().call_soon(sent.order.append, "asked")
    await asyncio.sleep(0)
    assert sent.order == ["asked"]
    await asyncio.sleep(0)
    assert sent.order == ["asked", "work"]


async def test_while_others_are_served_nothing_is_done_before_it_is_needed() -> None:
    sent = Sent()
    sent.box.meanwhile(lambda: sent.order.append("work"))
    for _ in range(4):
        await asyncio.sleep(0)
    assert sent.order == []


async def fill(sent: Sent, count: int) -> list[int]:
    """Asks for so many things in one turn; how many each write took."""
    sent.order.clear()
    for at in range(count):
        sent.box.ask(sent.letter(str(at)))
    await asyncio.sleep(0)
    told = " ".join(sent.order).split("rows")[1:]
    assert " ".join(told).split() == [*map(str, range(count))]
    return [len(one.split()) for one in told]


async def test_not_more_than_so_many_wait_for_each_other() -> None:
    """Few where it is not busy, as at the start and after a rest, since none should wait for all."""
    sent = Sent()
    assert await fill(sent, 2 * _FEW + 1) == [_FEW, _FEW, 1]
    for _ in range(2):  # the first of them finds that what was before is busy
        await fill(sent, int(_BUSY * _WINDOW) * 2)
        sent.now += _WINDOW * 1.01
    assert await fill(sent, 2 * _MOST + 1) == [_MOST, _MOST, 1]
    sent.now += _WINDOW * 0.99
    assert await fill(sent, _MOST + 1) == [_MOST, 1]
    sent.now += 1
    assert await fill(sent, _FEW + 1) == [_FEW, 1]


async def test_who_cannot_wait_has_all_sent_and_nothing_twice() -> None:
    sent = Sent()
    sent.box.answer(sent.letter("a"))
    sent.box.flush()
    assert sent.order == ["rows", "a"]
    await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "rows"]


async def test_without_its_row_no_request_is_sent_and_answers_are() -> None:
    for calls, order in (
        (1, ["rows", "answer", "rows", "no request"]),
        (2, ["rows", "no request", "answer"]),
    ):
        sent = Sent(calls, written=False)
        sent.box.answer(sent.letter("answer"))
        sent.box.ask(sent.letter("request"))
        await asyncio.sleep(0)
        assert sent.order == order
        assert not sent.box.flush()
        sent.written = True
        assert sent.box.flush()


async def test_rows_of_requests_wait_where_others_may_come() -> None:
    alone, several = Sent(calls=1), Sent()
    assert (alone.box.due(), several.box.due(), several.box.due()) == (False, True, True)
    assert alone.order == several.order == []
    await asyncio.sleep(0)
    assert (alone.order, several.order) == ([], ["rows"])


class Call:
    """One that is to go on: what it does then, and whether somebody has ended it."""

    def __init__(self, work: Callable[[], object], *, ended: bool = False) -> None:
        self.work, self.ended = work, ended

    def done(self) -> bool:
        return self.ended

    def reach(self) -> None:
        self.ended = True
        self.work()


async def busy(calls: int = 2) -> Sent:
    sent = Sent(calls)
    for _ in range(2):
        await fill(sent, int(_BUSY * _WINDOW) * 2)
        sent.now += _WINDOW * 1.01
    sent.order.clear()
    return sent


async def test_where_the_loop_is_busy_calls_go_on_one_after_the_other() -> None:
    """Before what is sent then, those too that came to it meanwhile; who was ended does not."""
    sent = await busy()

    def ask(name: str) -> Call:
        return Call(lambda: sent.box.ask(sent.letter(name)))

    def more() -> None:
        assert sent.box.waits()
        sent.box.step(ask("d"))

    sent.box.answer(sent.letter("c"))
    assert sent.box.waits()
    for one in (
        ask("a"),
        Call(more),
        Call(lambda: sent.order.append("ended"), ended=True),
        ask("b"),
    ):
        sent.box.step(one)
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "b", "d", "c"]


async def test_nobody_waits_where_it_is_not_busy_nor_for_too_many() -> None:
    assert not Sent().box.waits()
    assert not Sent(calls=1).box.waits()
    sent = await busy()
    sent.box.calls = lambda: 1
    assert not sent.box.waits()
    sent.box.calls = lambda: 100
    for _ in range(_MOST):
        assert sent.box.waits()
        sent.box.step(Call(lambda: sent.order.append("on")))
    assert not sent.box.waits()
    await asyncio.sleep(0)
    assert sent.order == ["on"] * _MOST + ["rows"]
    assert sent.box.waits()


async def test_one_that_fails_keeps_nobody_else_from_going_on() -> None:
    sent, failed = await busy(), list[object]()

    def fail() -> None:
        raise RuntimeError("it breaks")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: failed.append(told["exception"]))
    assert sent.box.waits()
    sent.box.step(Call(fail))
    sent.box.step(Call(lambda: sent.order.append("on")))
    await asyncio.sleep(0)
    assert sent.box.waits()
    await asyncio.sleep(0)
    assert (sent.order, len(failed)) == (["rows", "on", "rows"], 1)


@pytest.mark.parametrize("left", [False, True])
async def test_a_call_waits_for_others_before_it_asks_and_may_be_left_then(
    tmp_path: Path, *, left: bool
) -> None:
    """One that is left then has sent nothing."""
    stage, sent = Stage(tmp_path), await busy()
    client = Client(transports=lambda _: httpx.MockTransport(stage.answer), outbox=sent.box)
    stage.engine._upstream._turn = client.turn
    stage.answers = [ok()]
    loop = asyncio.get_running_loop()
    task = asyncio.Task(stage.ask(chat()), loop=loop, eager_start=True)
    assert (stage.rows, stage.requests) == ([], [])
    if left:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (stage.entry.state, stage.entry.attempts, stage.requests) == ("aborted", 0, [])
    else:
        assert (await task).status == 200
        assert (stage.entry.state, stage.entry.attempts) == ("settled", 1)


async def test_without_an_outbox_no_call_waits() -> None:
    assert Client().turn() is None
    assert Client(outbox=Sent().box).turn() is None
