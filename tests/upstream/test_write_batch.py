"""Test that writes of one loop iteration leave together: rows, then requests, then answers."""

import asyncio

from gateway.upstream.write_batch import (
    _BUSY_WRITES_PER_SECOND,
    _MAX_BUSY_BATCH,
    _MAX_QUIET_BATCH,
    _WINDOW_SECONDS,
    WriteBatch,
)


class Letter:
    def __init__(self, order: list[str], name: str) -> None:
        self._order, self._name = order, name

    def post(self) -> None:
        self._order.append(self._name)

    def refuse(self) -> None:
        self._order.append(f"no {self._name}")


class Sent:
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
    """Calls that the cache answers arrive together but are never open together."""
    sent = Sent(calls=1)
    sent.box.add_answer(sent.letter("a"))
    for name in "bc":
        sent.box.mark_immediate_answer()
        assert sent.order == ["rows", "a"]
        sent.box.add_answer(sent.letter(name))
    await asyncio.sleep(0)
    assert sent.order[2:] == ["rows", "b", "c"]
    sent.box.add_answer(sent.letter("d"))
    assert sent.order[5:] == ["rows", "d"]


async def fill(sent: Sent, count: int) -> list[int]:
    """Add `count` requests in one iteration; return the size of each batch."""
    sent.order.clear()
    for at in range(count):
        sent.box.add_request(sent.letter(str(at)))
    await asyncio.sleep(0)
    told = " ".join(sent.order).split("rows")[1:]
    assert " ".join(told).split() == [*map(str, range(count))]
    return [len(one.split()) for one in told]


async def test_not_more_than_so_many_wait_for_each_other() -> None:
    """Batches are small while the gateway is not busy, at the start and after a rest."""
    sent = Sent()
    assert await fill(sent, 2 * _MAX_QUIET_BATCH + 1) == [_MAX_QUIET_BATCH, _MAX_QUIET_BATCH, 1]
    for _ in range(2):  # the first round only finds that the window before it was busy
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
