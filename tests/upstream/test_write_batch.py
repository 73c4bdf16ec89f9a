"""What is sent in one turn of the loop goes together: rows, then requests, then answers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from msgspec.structs import replace

from gateway.core.call import Key
from gateway.core.call_accounting import CallAccount
from gateway.core.decision import Decision, Plan, TraceStep
from gateway.core.ledger_rows import FinalRow, IntentRow, Row
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.limiter import Limiter
from gateway.server.http1.request_task import RequestTask
from gateway.upstream.client import ProviderClient
from gateway.upstream.write_batch import (
    _BUSY_WRITES_PER_SECOND,
    _MAX_BUSY_BATCH,
    _MAX_QUIET_BATCH,
    _WINDOW_SECONDS,
    TurnBarrier,
    WriteBatch,
    skip_turn,
)
from tests.e2e.world import chat
from tests.pipeline.test_engine import Stage, ok


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
        self.box = WriteBatch(self._rows, lambda: self.now)
        self.box.count_calls = lambda: calls

    def _rows(self) -> bool:
        self.order.append("rows")
        return self.written

    def letter(self, name: str) -> Letter:
        return Letter(self.order, name)


async def test_rows_go_first_then_requests_then_answers() -> None:
    sent = Sent()
    sent.box.add_answer(sent.letter("answer"))
    for name in "ab":
        sent.box.add_request(sent.letter(f"request {name}"))
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows", "request a", "request b", "answer"]
    await asyncio.sleep(0)
    assert len(sent.order) == 4


async def test_each_turn_sends_its_own() -> None:
    sent = Sent()
    for name in "ab":
        sent.box.add_request(sent.letter(name))
        await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "rows", "b"]


async def test_rows_alone_are_written_at_the_end_of_the_turn_too() -> None:
    sent = Sent()
    sent.box.flush_soon()
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows"]


async def test_a_call_that_is_alone_waits_for_nobody() -> None:
    sent = Sent(calls=1)
    sent.box.add_request(sent.letter("request"))
    assert sent.order == ["rows", "request"]
    sent.box.add_answer(sent.letter("answer"))
    assert sent.order[2:] == ["rows", "answer"]


async def test_who_follows_one_that_was_answered_in_its_turn_is_not_alone() -> None:
    """As calls that a cache answers are, which come together and are never open together."""
    sent = Sent(calls=1)
    sent.box.add_answer(sent.letter("a"))
    for name in "bc":
        sent.box.mark_immediate_answer()
        assert sent.order == ["rows", "a"]
        sent.box.add_answer(sent.letter(name))
    sent.box.run_if_alone(lambda: sent.order.append("work"))
    await asyncio.sleep(0)
    assert sent.order[2:] == ["rows", "b", "c"]
    sent.box.add_answer(sent.letter("d"))
    assert sent.order[5:] == ["rows", "d"]
    for _ in range(4):
        await asyncio.sleep(0)
    assert sent.order[7:] == []


async def test_what_will_be_needed_is_done_while_a_call_that_is_alone_waits() -> None:
    """Once what it asks in this turn, at the end of the next, is on its way."""
    sent = Sent(calls=1)
    sent.box.run_if_alone(lambda: sent.order.append("work"))
    asyncio.get_running_loop().call_soon(sent.order.append, "asked")
    await asyncio.sleep(0)
    assert sent.order == ["asked"]
    await asyncio.sleep(0)
    assert sent.order == ["asked", "work"]


async def test_while_others_are_served_nothing_is_done_before_it_is_needed() -> None:
    sent = Sent()
    sent.box.run_if_alone(lambda: sent.order.append("work"))
    for _ in range(4):
        await asyncio.sleep(0)
    assert sent.order == []


async def fill(sent: Sent, count: int) -> list[int]:
    """Asks for so many things in one turn; how many each write took."""
    sent.order.clear()
    for at in range(count):
        sent.box.add_request(sent.letter(str(at)))
    await asyncio.sleep(0)
    told = " ".join(sent.order).split("rows")[1:]
    assert " ".join(told).split() == [*map(str, range(count))]
    return [len(one.split()) for one in told]


async def test_not_more_than_so_many_wait_for_each_other() -> None:
    """Few where it is not busy, as at the start and after a rest, since none should wait for all."""
    sent = Sent()
    assert await fill(sent, 2 * _MAX_QUIET_BATCH + 1) == [_MAX_QUIET_BATCH, _MAX_QUIET_BATCH, 1]
    for _ in range(2):  # the first of them finds that what was before is busy
        await fill(sent, int(_BUSY_WRITES_PER_SECOND * _WINDOW_SECONDS) * 2)
        sent.now += _WINDOW_SECONDS * 1.01
    assert await fill(sent, 2 * _MAX_BUSY_BATCH + 1) == [_MAX_BUSY_BATCH, _MAX_BUSY_BATCH, 1]
    sent.now += _WINDOW_SECONDS * 0.99
    assert await fill(sent, _MAX_BUSY_BATCH + 1) == [_MAX_BUSY_BATCH, 1]
    sent.now += 1
    assert await fill(sent, _MAX_QUIET_BATCH + 1) == [_MAX_QUIET_BATCH, 1]


async def test_who_cannot_wait_has_all_sent_and_nothing_twice() -> None:
    sent = Sent()
    sent.box.add_answer(sent.letter("a"))
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
        sent.box.add_answer(sent.letter("answer"))
        sent.box.add_request(sent.letter("request"))
        await asyncio.sleep(0)
        assert sent.order == order
        assert not sent.box.flush()
        sent.written = True
        assert sent.box.flush()


async def test_rows_of_requests_wait_where_others_may_come() -> None:
    alone, several = Sent(calls=1), Sent()
    assert (
        alone.box.schedule_flush(),
        several.box.schedule_flush(),
        several.box.schedule_flush(),
    ) == (False, True, True)
    assert alone.order == several.order == []
    await asyncio.sleep(0)
    assert (alone.order, several.order) == ([], ["rows"])


async def busy(calls: int = 2) -> Sent:
    sent = Sent(calls)
    for _ in range(2):
        await fill(sent, int(_BUSY_WRITES_PER_SECOND * _WINDOW_SECONDS) * 2)
        sent.now += _WINDOW_SECONDS * 1.01
    sent.order.clear()
    return sent


def step(sent: Sent, work: Callable[[], object]) -> asyncio.Task[None]:
    """A call that has begun, and goes on with some work once others have come as far."""

    async def call() -> None:
        if (turn := sent.box.join_turn()) is not None:
            await turn
        work()

    return asyncio.Task(call(), loop=asyncio.get_running_loop(), eager_start=True)


@pytest.mark.parametrize("how", ["task", "course"])
async def test_where_the_loop_is_busy_calls_go_on_one_after_the_other(how: str) -> None:
    """Before what is sent then, those too that came to it meanwhile; who was ended does not."""
    sent = await busy()
    loop = asyncio.get_running_loop()
    calls: list[asyncio.Task[None] | RequestTask] = []

    async def call(work: Callable[[], object]) -> None:
        if (turn := sent.box.join_turn()) is not None:
            await turn
        work()

    def begin(work: Callable[[], object]) -> None:
        if how == "course":
            calls.append(RequestTask(call(work), loop))
        else:
            calls.append(asyncio.Task(call(work), loop=loop, eager_start=True))

    def ask(name: str) -> Callable[[], object]:
        return lambda: sent.box.add_request(sent.letter(name))

    def come() -> None:
        sent.box.add_answer(sent.letter("c"))
        begin(ask("a"))
        begin(lambda: loop.call_soon(begin, ask("d")))
        begin(lambda: sent.order.append("ended"))
        begin(ask("b"))
        calls[2].cancel()
        assert sent.order == []

    loop.call_soon(come)
    await asyncio.sleep(0)
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "b", "c"]
    for _ in range(3):
        await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "b", "c", "rows", "d"]
    assert [one.cancelled() for one in calls] == [False, False, True, False, False]
    assert all(one.done() for one in calls)


async def test_a_call_that_comes_while_others_go_on_goes_on_with_them() -> None:
    sent = await busy()
    tasks: list[asyncio.Task[None]] = []

    def more() -> None:
        turn = sent.box.join_turn()
        assert turn is not None
        turn.add_done_callback(lambda _: sent.box.add_request(sent.letter("b")))

    tasks.append(step(sent, more))
    sent.box.add_answer(sent.letter("c"))
    tasks.append(step(sent, lambda: sent.box.add_request(sent.letter("a"))))
    await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "b", "c"]
    await asyncio.gather(*tasks)


async def test_nobody_waits_where_it_is_not_busy_nor_for_too_many() -> None:
    assert Sent().box.join_turn() is None
    assert Sent(calls=1).box.join_turn() is None
    sent = await busy()
    sent.box.count_calls = lambda: 1
    assert sent.box.join_turn() is None
    sent.box.count_calls = lambda: 100
    tasks = [step(sent, lambda: sent.order.append("on")) for _ in range(_MAX_BUSY_BATCH)]
    assert sent.box.join_turn() is None
    await asyncio.sleep(0)
    assert sent.order == ["on"] * _MAX_BUSY_BATCH + ["rows"]
    assert sent.box.join_turn() is not None
    await asyncio.gather(*tasks)


async def test_one_that_is_cancelled_and_then_not_goes_on() -> None:
    sent = await busy()
    task = step(sent, lambda: sent.order.append("on"))
    task.cancel()
    task.uncancel()
    await asyncio.sleep(0)
    assert sent.order == ["on", "rows"]
    await task


async def test_one_that_fails_keeps_nobody_else_from_going_on() -> None:
    sent, failed = await busy(), list[object]()

    def fail(_: object) -> None:
        raise RuntimeError("it breaks")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: failed.append(told["exception"]))
    turn = sent.box.join_turn()
    assert turn is not None
    turn.add_done_callback(fail)
    task = step(sent, lambda: sent.order.append("on"))
    await asyncio.sleep(0)
    assert sent.box.join_turn() is not None
    await asyncio.sleep(0)
    assert (sent.order, len(failed)) == (["rows", "on", "rows"], 1)
    await task


@pytest.mark.parametrize("left", [False, True])
async def test_a_call_waits_for_others_before_it_asks_and_may_be_left_then(
    tmp_path: Path, *, left: bool
) -> None:
    """One that is left then has sent nothing."""
    stage, sent = Stage(tmp_path), await busy()
    client = ProviderClient(
        transports=lambda _: httpx.MockTransport(stage.answer), write_batch=sent.box
    )
    stage.engine._upstream._join_turn = client.join_turn
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


class Counter:
    """Lets every call pass, and knows of those that asked."""

    def __init__(self) -> None:
        self.asked: list[Decision] = []

    def applies_to(self, _: Key) -> bool:
        return True

    async def admit(
        self, _: UsageBound, decision: Decision, plan: Plan, *__: object, **___: object
    ) -> tuple[Decision, Plan]:
        self.asked.append(decision)
        return decision, plan

    async def extend(self, *_: object) -> None: ...


def _next() -> Any:
    """The end of a turn that is busy."""
    halt = TurnBarrier()
    asyncio.get_running_loop().call_soon(halt.release)
    return halt


def counted(folder: Path, *, busy: bool) -> tuple[Stage, Counter]:
    """An engine whose calls are all counted, on a loop that is busy or not."""
    stage, counter = Stage(folder), Counter()
    stage.engine._limiter = cast("Limiter", counter)
    stage.engine._join_turn = _next if busy else skip_turn
    return stage, counter


def lines(decision: Decision) -> list[TraceStep]:
    """Its trace, but for how long each line took."""
    return [replace(step, ms=0.0) for step in decision.trace]


def untimed(rows: list[Row]) -> list[Row]:
    """Those before requests, then the last ones, but for how long each call took."""
    ends = [replace(one, duration=0.0, first_content=0.0) for one in rows if type(one) is FinalRow]
    return [*(one for one in rows if type(one) is IntentRow), *ends]


@pytest.mark.parametrize("model", ["auto", "fast", "able-1"])
async def test_calls_that_are_counted_are_all_read_before_the_first_is_decided(
    tmp_path: Path, model: str
) -> None:
    """Where the loop is busy; what becomes of them is the same."""
    loop, seen = asyncio.get_running_loop(), []
    for busy in (True, False):
        stage, counter = counted(tmp_path, busy=busy)
        stage.answers = [ok(), ok(), ok()]
        asked = [stage.ask(chat(model=model)) for _ in range(3)]
        tasks = [asyncio.Task(one, loop=loop, eager_start=True) for one in asked]
        assert len(counter.asked) == (0 if busy else 3)
        await asyncio.sleep(0)
        assert len(counter.asked) == 3
        replies = [(one.status, one.body) for one in await asyncio.gather(*tasks)]
        decided = [(replace(one, trace=()), lines(one)) for one in counter.asked]
        seen.append((replies, decided, untimed(stage.rows)))
    assert seen[0] == seen[1]


async def three(
    stage: Stage, model: str, *, busy: bool
) -> tuple[list[tuple[int, bytes]], list[tuple[Decision, list[TraceStep]]], list[Row]]:
    """What becomes of three calls that come in one turn: answers, decisions, rows."""
    decided: list[Decision] = []
    note = stage.engine._recorder.note_decision

    def told(call_account: CallAccount, decision: Decision) -> None:
        decided.append(decision)
        note(call_account, decision)

    stage.engine._recorder.note_decision = told  # type: ignore[method-assign]
    stage.engine._join_turn = _next if busy else skip_turn
    stage.answers = [ok(), ok(), ok()]
    loop = asyncio.get_running_loop()
    asked = [stage.ask(chat(model=model)) for _ in range(3)]
    tasks = [asyncio.Task(one, loop=loop, eager_start=True) for one in asked]
    assert len(decided) == (0 if busy else 3)
    await asyncio.sleep(0)
    assert len(decided) == 3
    replies = [(one.status, one.body) for one in await asyncio.gather(*tasks)]
    return replies, [(replace(one, trace=()), lines(one)) for one in decided], untimed(stage.rows)


@pytest.mark.parametrize("model", ["auto", "able-1"])
async def test_so_are_those_that_nobody_counts(tmp_path: Path, model: str) -> None:
    busy = await three(Stage(tmp_path), model, busy=True)
    assert busy == await three(Stage(tmp_path), model, busy=False)


async def test_a_call_that_is_left_before_it_is_decided_has_asked_nobody(tmp_path: Path) -> None:
    stage, counter = counted(tmp_path, busy=True)
    loop = asyncio.get_running_loop()
    task = asyncio.Task(stage.ask(chat()), loop=loop, eager_start=True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (stage.entry.state, stage.entry.attempts, stage.entry.tier) == ("aborted", 0, None)
    assert (counter.asked, stage.requests) == ([], [])


async def test_without_an_outbox_no_call_waits() -> None:
    assert ProviderClient().join_turn() is None
    assert ProviderClient(write_batch=Sent().box).join_turn() is None
