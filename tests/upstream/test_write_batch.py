"""Test that writes of one loop iteration leave together: rows, then requests, then answers."""

import asyncio

from gateway.upstream.write_batch import (
    _BUSY_WRITES_PER_SECOND,
    _MAX_BUSY_BATCH,
    _MAX_QUIET_BATCH,
    _WINDOW_SECONDS,
    WriteBatch,
)


class RecordedWrite:
    def __init__(self, order: list[str], name: str) -> None:
        self._order, self._name = order, name

    def post(self) -> None:
        self._order.append(self._name)

    def refuse(self) -> None:
        self._order.append(f"no {self._name}")


class RecordedBatch:
    """Records writes in order; `written` is True if there is room for rows."""

    def __init__(self, calls: int = 2, *, written: bool = True) -> None:
        self.order: list[str] = []
        self.written = written
        self.now = 0.0
        self.box = WriteBatch(self._rows, lambda: self.now)
        self.box.count_calls = lambda: calls

    def _rows(self) -> bool:
        self.order.append("rows")
        return self.written

    def letter(self, name: str) -> RecordedWrite:
        return RecordedWrite(self.order, name)


async def test_a_batch_writes_rows_then_requests_then_answers() -> None:
    sent = RecordedBatch()
    sent.box.add_answer(sent.letter("answer"))
    for name in "ab":
        sent.box.add_request(sent.letter(f"request {name}"))
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows", "request a", "request b", "answer"]
    await asyncio.sleep(0)
    assert len(sent.order) == 4


async def test_each_loop_iteration_sends_its_own_batch() -> None:
    sent = RecordedBatch()
    for name in "ab":
        sent.box.add_request(sent.letter(name))
        await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "rows", "b"]


async def test_rows_alone_are_written_at_the_end_of_the_iteration_too() -> None:
    sent = RecordedBatch()
    assert sent.box.schedule_flush()
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows"]


async def test_a_single_call_does_not_wait() -> None:
    sent = RecordedBatch(calls=1)
    sent.box.add_request(sent.letter("request"))
    assert sent.order == ["rows", "request"]
    sent.box.add_answer(sent.letter("answer"))
    assert sent.order[2:] == ["rows", "answer"]


async def test_calls_that_the_cache_answers_share_a_batch() -> None:
    """Calls that the cache answers arrive together but are never open together."""
    sent = RecordedBatch(calls=1)
    sent.box.add_answer(sent.letter("a"))
    for name in "bc":
        sent.box.mark_immediate_answer()
        assert sent.order == ["rows", "a"]
        sent.box.add_answer(sent.letter(name))
    await asyncio.sleep(0)
    assert sent.order[2:] == ["rows", "b", "c"]
    sent.box.add_answer(sent.letter("d"))
    assert sent.order[5:] == ["rows", "d"]


async def fill(sent: RecordedBatch, count: int) -> list[int]:
    """Add `count` requests in one iteration; return the size of each batch."""
    sent.order.clear()
    for at in range(count):
        sent.box.add_request(sent.letter(str(at)))
    await asyncio.sleep(0)
    batches = " ".join(sent.order).split("rows")[1:]
    assert " ".join(batches).split() == [*map(str, range(count))]
    return [len(batch.split()) for batch in batches]


async def test_the_size_of_a_batch_is_bounded() -> None:
    """Batches are small while the gateway is not busy, at the start and after a rest."""
    sent = RecordedBatch()
    assert await fill(sent, 2 * _MAX_QUIET_BATCH + 1) == [_MAX_QUIET_BATCH, _MAX_QUIET_BATCH, 1]
    for _ in range(2):  # the first round only finds that the window before it was busy
        await fill(sent, int(_BUSY_WRITES_PER_SECOND * _WINDOW_SECONDS) * 2)
        sent.now += _WINDOW_SECONDS * 1.01
    assert await fill(sent, 2 * _MAX_BUSY_BATCH + 1) == [_MAX_BUSY_BATCH, _MAX_BUSY_BATCH, 1]
    sent.now += _WINDOW_SECONDS * 0.99
    assert await fill(sent, _MAX_BUSY_BATCH + 1) == [_MAX_BUSY_BATCH, 1]
    sent.now += 1
    assert await fill(sent, _MAX_QUIET_BATCH + 1) == [_MAX_QUIET_BATCH, 1]


async def test_flush_writes_the_batch_at_once_and_nothing_twice() -> None:
    sent = RecordedBatch()
    sent.box.add_answer(sent.letter("a"))
    sent.box.flush()
    assert sent.order == ["rows", "a"]
    await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "rows"]


async def test_if_the_rows_fail_answers_are_sent_and_requests_are_not() -> None:
    for calls, order in (
        (1, ["rows", "answer", "rows", "no request"]),
        (2, ["rows", "no request", "answer"]),
    ):
        sent = RecordedBatch(calls, written=False)
        sent.box.add_answer(sent.letter("answer"))
        sent.box.add_request(sent.letter("request"))
        await asyncio.sleep(0)
        assert sent.order == order
        assert not sent.box.flush()
        sent.written = True
        assert sent.box.flush()


async def test_rows_wait_if_several_calls_are_open() -> None:
    alone, several = RecordedBatch(calls=1), RecordedBatch()
    assert (
        alone.box.schedule_flush(),
        several.box.schedule_flush(),
        several.box.schedule_flush(),
    ) == (False, True, True)
    assert alone.order == several.order == []
    await asyncio.sleep(0)
    assert (alone.order, several.order) == ([], ["rows"])


async def busy(calls: int = 2) -> RecordedBatch:
    sent = RecordedBatch(calls)
    for _ in range(2):
        await fill(sent, int(_BUSY_WRITES_PER_SECOND * _WINDOW_SECONDS) * 2)
        sent.now += _WINDOW_SECONDS * 1.01
    sent.order.clear()
    return sent
