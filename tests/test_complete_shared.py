"""Calls that ask for a complete answer, in the engine alone: who leaves, who shares, what is cached."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.core.ledger_rows import FinalRow
from tests.breaking import (
    COST,
    CUT,
    FREE,
    LOST,
    TEXT,
    Waits,
    ask,
    lost,
    made,
    other,
    read,
    streamed,
    text,
)
from tests.e2e.upstream import ROLE, frames, whole
from tests.e2e.world import subscribers
from tests.pipeline.test_engine import HEL, EngineFixture, drain


@pytest.fixture
def stage(tmp_path: Path) -> EngineFixture:
    return made(tmp_path)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0)


@pytest.mark.parametrize("second", [False, True])
async def test_a_client_that_leaves_while_it_is_held(stage: EngineFixture, second: bool) -> None:
    """The call has one entry, with the usage of the open attempt so far, and no stream stays open."""
    body = Waits(ROLE, HEL)
    stage.answers = [streamed(ROLE, HEL, CUT)] if second else []
    stage.answers.append(httpx.Response(200, stream=body))
    task = asyncio.create_task(ask(stage, "hold"))
    await body.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.closed
    row = stage.entry
    assert (row.state, row.status, row.aborted_by) == ("aborted", 499, "client")
    assert row.cost == (2 if second else 1) * LOST
    assert len(lost(stage)) == second


async def test_only_a_whole_answer_of_the_first_target_is_kept(tmp_path: Path) -> None:
    stage = made(tmp_path, cached=True)
    stage.answers = [streamed(ROLE, HEL, CUT), other(), streamed(*frames())]
    for id in ("a", "b", "c"):
        assert text(await read(await ask(stage, "hold", id))) == TEXT
        await stage.engine.drain()
    cache = [row.cache for row in stage.rows if isinstance(row, FinalRow)]
    assert cache == ["miss", "miss", "hit"]
    assert len(stage.requests) == 3


@pytest.mark.parametrize("fails", [False, True])
async def test_who_shares_it_gets_the_same(tmp_path: Path, fails: bool) -> None:
    """All subscribers get one answer or one error; the first one pays for both attempts."""
    stage = made(tmp_path, cached=True)
    body = Waits(ROLE, HEL)
    bad = httpx.Response(400, content=b"{}")
    stage.answers = [httpx.Response(200, stream=body), bad if fails else other()]

    async def one(id: str) -> tuple[int, bytes]:
        reply = await ask(stage, "hold", id)
        return reply.status, await read(reply)

    calls = [asyncio.create_task(one(id)) for id in "ab"]
    await body.waiting.wait()
    await until(lambda: len(subscribers(stage.engine)) == 2)
    body.cut.set()
    (status, data), again = await asyncio.gather(*calls)
    rows = {row.id: row for row in stage.rows if isinstance(row, FinalRow)}
    if fails:
        assert again[0] == status
        assert b'"error"' in data
        assert b'"error"' in again[1]
        assert text(again[1]) == text(data)
    else:
        assert again == (status, data)
        assert text(data) == TEXT
        assert (rows["a"].cost, rows["b"].cost) == (COST + LOST, FREE)
        assert rows["b"].state == "cache_hit"
        assert rows["b"].provider == "spare"
    assert len(stage.requests) == 2
    assert len(rows) == 2


async def test_an_answer_without_a_reason_for_its_end_is_not_shared(tmp_path: Path) -> None:
    """Each call asks its targets itself, and the gateway caches nothing."""
    stage = made(tmp_path, cached=True)
    cut = (whole().pieces[0] or b"").replace(b'"finish_reason":"stop"', b'"x":1')
    body = Waits(cut[:9])
    answers = [httpx.Response(200, content=cut) for _ in range(3)]
    stage.answers = [httpx.Response(200, stream=body), *answers]
    first = asyncio.create_task(ask(stage, None, "a", stream=False, stream_options=None))
    await body.waiting.wait()
    second = asyncio.create_task(ask(stage, None, "b", stream=False, stream_options=None))
    await until(lambda: len(subscribers(stage.engine)) == 2)
    body.rest = cut[9:]
    body.cut.set()
    replies = await asyncio.gather(first, second)
    assert [reply.body for reply in replies] == [cut, cut]
    rows = [row for row in stage.rows if isinstance(row, FinalRow)]
    assert {(row.id, row.state, row.attempts) for row in rows} == {
        ("a", "aborted", 2),
        ("b", "aborted", 2),
    }
    await stage.engine.drain()
    good = whole().pieces[0] or b""
    stage.answers = [httpx.Response(200, content=good)]
    reply = await ask(stage, None, "c", stream=False, stream_options=None)
    assert (reply.body, len(stage.requests)) == (good, 5)


async def test_who_asks_for_less_shares_nothing_with_it(tmp_path: Path) -> None:
    """A plain call would wait for the end of a buffered answer, or be cut where others are not."""
    stage = made(tmp_path, cached=True)
    stage.answers = [streamed(*frames()) for _ in range(2)]
    replies = await asyncio.gather(ask(stage, None, "n"), ask(stage, "hold", "h"))
    for reply in replies:
        await drain(reply)
    assert len(stage.requests) == 2
