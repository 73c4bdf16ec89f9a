"""A call has one ledger entry with all its usage, in each way to end and to share it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from gateway.cache.coalescing import Flights
from gateway.core import jsonio
from gateway.core.call import Call
from gateway.core.ledger_rows import FinalRow
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.conversation_memory import ConversationMemory
from gateway.pipeline.response import Response
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse
from tests.e2e.upstream import ROLE, frames, whole
from tests.e2e.world import Body, chat
from tests.pipeline.test_engine import HEL, Chunks, EngineFixture, drain, ok

COST = Decimal("0.000019")
"""USD of the 7 input and 3 output tokens that the provider reports."""


async def ask(stage: EngineFixture, id: str, body: Body) -> Response:
    call = Call(
        id=id, dialect="openai-chat", operation="generate", body=jsonio.dumps(body),
        received_at=1e9, started_at=stage.now,
    )  # fmt: skip
    return await stage.engine.serve(call)


def entries(stage: EngineFixture) -> dict[str, FinalRow]:
    rows = [row for row in stage.rows if isinstance(row, FinalRow)]
    rows_by_id = {row.id: row for row in rows}
    assert len(rows_by_id) == len(rows)
    return rows_by_id


async def step(reply: Response) -> bytes:
    assert reply.stream is not None
    return await anext(reply.stream)


async def end(*replies: Response) -> None:
    for reply in replies:
        assert reply.stream is not None
        await reply.stream.aclose()


async def test_a_first_that_leaves_a_flight_which_is_over_has_its_row(tmp_path: Path) -> None:
    """One subscriber has read it all and another has not: the provider is done, and nobody closes later."""
    stage = EngineFixture(tmp_path, cached=True)
    stage.answers = [httpx.Response(200, stream=Chunks(*frames()))]
    first, second, third = [await ask(stage, id, chat(stream=True)) for id in "abc"]
    for reply in (first, second, third):
        await step(reply)
    await drain(second)
    await end(first)
    row = entries(stage)["a"]
    assert (row.state, row.status, row.aborted_by, row.cost) == ("aborted", 499, "client", COST)
    await end(third)
    assert len(entries(stage)) == 3


@pytest.mark.parametrize("left", [False, True])
async def test_a_first_that_is_too_slow_pays_for_what_goes_on(tmp_path: Path, left: bool) -> None:
    """The first caller gets an error early or leaves with the flight; it pays for the rest as well."""
    stage = EngineFixture(tmp_path, cached=True)
    stage.engine._coalescer._flights = Flights(400)
    stage.answers = [httpx.Response(200, stream=Chunks(ROLE, *[HEL] * 20, *frames()[2:]))]
    first, second = [await ask(stage, id, chat(stream=True)) for id in "ab"]
    await step(first)
    for _ in range(12):
        await step(second)
    data = b""
    if left:
        data = await step(first)
        await end(first)
    else:
        data = await drain(first)
    assert b"the answer too slowly" in data
    assert not entries(stage)
    await drain(second)
    row = entries(stage)["a"]
    assert (row.state, row.aborted_by, row.problem) == ("aborted", "upstream", "upstream_truncated")
    assert (row.usage, row.cost) == ("provider", COST)
    assert entries(stage)["b"].cost == 0


async def test_a_bug_for_the_first_is_not_the_end_of_the_flight(tmp_path: Path) -> None:
    stage = EngineFixture(tmp_path, cached=True)
    stage.answers = [httpx.Response(200, stream=Chunks(*frames()))]

    class Forgetful(ConversationMemory):
        def make_listener(  # type: ignore[override]  # the caller only calls what it gives
            self, request: UpstreamRequest, response: UpstreamResponse, *, is_first: bool
        ) -> object:
            async def take(_: bytes) -> None:
                raise KeyError("x")

            return take if is_first else None

    stage.engine._streams._memory = Forgetful()
    first, second = [await ask(stage, id, chat(stream=True)) for id in "ab"]
    assert b'"code":"internal"' in await drain(first)
    await drain(second)
    row = entries(stage)["a"]
    assert (row.problem, row.usage, row.cost) == ("internal", "provider", COST)


@pytest.mark.parametrize("cached", [False, True])
async def test_a_client_that_leaves_as_its_row_goes_to_the_disk(
    tmp_path: Path, cached: bool
) -> None:
    """The row is written as cancelled, and nothing else is."""
    stage = EngineFixture(tmp_path, cached=cached)
    stage.answers = [ok()]
    waits, never = asyncio.Event(), asyncio.Event()

    async def settled() -> None:
        if entries(stage):
            waits.set()
            await never.wait()

    stage.engine._recorder = CallRecorder(
        stage.record, stage.log_event, sync_waiter=settled, clock=lambda: stage.now
    )
    task = asyncio.create_task(ask(stage, "a", chat()))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (entries(stage)["a"].state, entries(stage)["a"].cost) == ("settled", COST)
    assert not stage.log


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_from_the_cache_waits_for_the_disk_too(
    tmp_path: Path, streamed: bool
) -> None:
    stage = EngineFixture(tmp_path, cached=True)
    stage.answers = [ok(*frames()) if streamed else ok()]
    reply = await ask(stage, "a", chat(stream=streamed))
    if streamed:
        await drain(reply)
    await stage.engine.drain()
    seen: list[int] = []

    async def settled() -> None:
        seen.append(len(entries(stage)))

    stage.engine._recorder = CallRecorder(
        stage.record, stage.log_event, sync_waiter=settled, clock=lambda: stage.now
    )
    await ask(stage, "b", chat(stream=streamed))
    assert entries(stage)["b"].state == "cache_hit"
    assert seen == [2]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyError("x")])
async def test_what_a_whole_answer_used_is_known_once_it_is_read(
    tmp_path: Path, error: BaseException
) -> None:
    """The usage is known even if the answer cannot be stored, or its client leaves meanwhile."""
    stage = EngineFixture(tmp_path)

    class Full(ConversationMemory):
        def can_save(self, request: UpstreamRequest, response: UpstreamResponse) -> bool:
            return True

        async def save(self, request: UpstreamRequest, response: UpstreamResponse) -> None:
            raise error

    stage.engine.memory = Full()
    stage.answers = [httpx.Response(200, content=whole().pieces[0] or b"")]
    try:
        await ask(stage, "a", chat())
    except asyncio.CancelledError:
        assert isinstance(error, asyncio.CancelledError)
    row = entries(stage)["a"]
    assert row.state in {"aborted", "failed"}
    assert (row.usage, row.cost, row.reserved) == ("provider", COST, None)
