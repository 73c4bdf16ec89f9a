"""What is sent in one turn of the loop goes together: rows, then requests, then answers."""

import asyncio

from gateway.outbox import _MOST, Outbox


class Letter:
    def __init__(self, order: list[str], name: str) -> None:
        self._order, self._name = order, name

    def post(self) -> None:
        self._order.append(self._name)


class Sent:
    """What left, in order."""

    def __init__(self, calls: int = 2) -> None:
        self.order: list[str] = []
        self.box = Outbox(lambda: self.order.append("rows"))
        self.box.calls = lambda: calls

    def letter(self, name: str) -> Letter:
        return Letter(self.order, name)


async def test_rows_go_first_then_requests_then_answers() -> None:
    sent = Sent()
    for name in "ab":
        sent.box.answer(sent.letter(f"answer {name}"))
        sent.box.ask(sent.letter(f"request {name}"))
    assert sent.order == []
    await asyncio.sleep(0)
    assert sent.order == ["rows", "request a", "request b", "answer a", "answer b"]
    await asyncio.sleep(0)
    assert len(sent.order) == 5


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


async def test_not_more_than_so_many_wait_for_each_other() -> None:
    sent = Sent()
    for at in range(_MOST + 1):
        sent.box.ask(sent.letter(str(at)))
    assert sent.order == ["rows", *map(str, range(_MOST))]
    await asyncio.sleep(0)
    assert sent.order[-2:] == ["rows", str(_MOST)]


async def test_who_cannot_wait_has_all_sent_and_nothing_twice() -> None:
    sent = Sent()
    sent.box.answer(sent.letter("a"))
    sent.box.flush()
    assert sent.order == ["rows", "a"]
    await asyncio.sleep(0)
    assert sent.order == ["rows", "a", "rows"]
