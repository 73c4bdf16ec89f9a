"""Calls that ask for a complete answer, in the engine alone: rows, cost, and what clients read."""

import asyncio
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, ProblemKind
from gateway.upstream import continuation
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse
from tests.breaking import (
    COST,
    CUT,
    FREE,
    LO,
    LOST,
    TEXT,
    Waits,
    ask,
    asked,
    lost,
    made,
    other,
    read,
    streamed,
    text,
)
from tests.e2e.upstream import DONE, ROLE, chunk, frames, usage, whole
from tests.pipeline.test_engine import HEL, EngineFixture, drain, head


@pytest.fixture
def stage(tmp_path: Path) -> EngineFixture:
    return made(tmp_path)


async def test_nothing_is_asked_again_for_a_call_that_does_not_ask_for_it(
    stage: EngineFixture,
) -> None:
    for how in (None, "off"):
        stage.answers = [streamed(ROLE, HEL, CUT)]
        stage.rows.clear()
        assert b'"error"' in await drain(await ask(stage, how))
        assert (stage.entry.state, stage.entry.attempts) == ("aborted", 1)
        assert not lost(stage)
    assert asked(stage) == ["able-1", "able-1"]


async def test_a_held_answer_is_of_whom_its_head_names(stage: EngineFixture) -> None:
    """The answer has nothing of the first target; the row names both, and its usage is the second's."""
    stage.answers = [streamed(ROLE, HEL, CUT), other()]
    reply = await ask(stage, "hold")
    headers = head(reply)
    assert (headers["x-tiergate-model"], headers["x-tiergate-provider"]) == ("able-2", "spare")
    assert headers["x-tiergate-attempts"] == "2"
    data = await drain(reply)
    assert text(data) == TEXT
    assert data.count(b"[DONE]") == 1
    assert b"up-1" not in data
    row = stage.entry
    assert (row.state, row.provider, row.served) == ("settled", "spare", "served-2")
    assert (row.input, row.output, row.usage) == (7, 3, "provider")
    (loss,) = lost(stage)
    assert (loss.problem, loss.cost, loss.estimate, loss.output) == (
        "upstream_truncated",
        LOST,
        LOST,
        1,
    )
    assert (row.cost, row.wasted, row.estimate) == (COST + LOST, LOST, LOST)


@pytest.mark.parametrize("ends", [CUT, None], ids=["cut", "ended"])
async def test_the_client_gets_each_word_once_wherever_the_stream_breaks_off(
    stage: EngineFixture, ends: Exception | None
) -> None:
    """The stream may break off before the first word, between two frames, or before the end of the answer."""
    first = frames()
    last = [] if ends is None else [ends]
    for at in range(1, len(first)):
        stage.rows.clear()
        stage.answers = [streamed(*first[:at], *last), other(), other()]
        data = await read(await ask(stage, "hold"))
        assert text(data) == TEXT
        assert data.count(b"data: [DONE]") <= 1
        assert stage.entry.state in ("settled", "estimated")
        assert len(lost(stage)) == stage.entry.attempts - 1


async def test_what_was_held_goes_out_in_pieces(stage: EngineFixture) -> None:
    """The pieces are whole frames: a slow client takes them one by one, and a subscriber lags by one."""
    long = [chunk({"content": f"{at:05} "}) for at in range(2000)]
    stage.answers = [streamed(ROLE, long[0], CUT), streamed(ROLE, *long, *frames()[4:])]
    reply = await ask(stage, "hold")
    assert reply.stream is not None
    pieces = [data async for data in reply.stream]
    assert 5 < len(pieces) < 12
    assert all(data.endswith(b"\n\n") and len(data) < 65_000 for data in pieces)
    assert text(b"".join(pieces)) == "".join(f"{at:05} " for at in range(2000))


@pytest.mark.parametrize("left", [1, 2])
async def test_who_leaves_before_the_last_piece_has_not_got_it_all(
    stage: EngineFixture, left: int
) -> None:
    """The gateway has the whole answer by then; the row has the whole cost in either case."""
    long = [chunk({"content": f"{at:05} "}) for at in range(2000)]
    stage.answers = [streamed(ROLE, long[0], CUT), streamed(ROLE, *long, *frames()[4:])]
    reply = await ask(stage, "hold")
    assert reply.stream is not None
    async for data in reply.stream:
        if left == 1 and len(data) > 60_000:
            break
        if DONE in data:
            break
    await reply.stream.aclose()
    row = stage.entry
    assert (row.state, row.status) == (("aborted", 499) if left == 1 else ("settled", 200))
    (loss,) = lost(stage)
    assert loss.cost is not None
    assert row.cost == COST + loss.cost


async def test_the_one_that_broke_off_is_asked_once_more_at_last(stage: EngineFixture) -> None:
    """The other target breaks off too; then the first one sends the whole answer."""
    stage.answers = [streamed(ROLE, HEL, CUT), streamed(ROLE, HEL, LO), other()]
    assert text(await drain(await ask(stage, "hold"))) == TEXT
    assert asked(stage) == ["able-1", "able-2", "able-1"]
    assert [it.provider for it in lost(stage)] == ["acme", "spare"]
    assert (stage.entry.state, stage.entry.provider, stage.entry.attempts) == ("settled", "acme", 3)


async def test_a_bad_minute_is_not_made_worse(stage: EngineFixture) -> None:
    """If the lab has no retry left, a healthy target of another provider is asked, and then no other."""
    stage.answers = [streamed(ROLE, HEL), streamed(ROLE, HEL)]
    stage.engine._upstream.retry_budgets["acme"] = allowance = RetryBudget()
    allowance.balance = 0.0
    data = await read(await ask(stage, "hold"))
    assert b'"error"' in data
    assert asked(stage) == ["able-1", "able-2"]
    assert (allowance.granted_count, allowance.denied_count) == (0, 1)


async def test_four_that_break_off_are_enough(stage: EngineFixture) -> None:
    """The client gets an error with a status of its own, and the ledger not one row too many."""
    stage.answers = [streamed(ROLE, HEL) for _ in range(4)]
    reply = await ask(stage, "hold")
    assert (reply.status, reply.stream) == (502, None)
    assert jsonio.loads(reply.body)["error"]["code"] == "upstream_truncated"
    assert head(reply)["x-should-retry"] == "false"
    row = stage.entry
    assert row.state == "failed"
    assert asked(stage) == ["able-1", "able-2", "able-1", "able-2"]
    assert (row.attempts, row.wasted, row.cost) == (4, 4 * LOST, 4 * LOST)
    assert len(lost(stage)) == 4


async def test_who_cannot_be_asked_any_more_ends_it(stage: EngineFixture) -> None:
    """All targets that are left fail before any content: the client gets their error."""
    stage.answers = [streamed(ROLE, HEL), httpx.ConnectError("x"), httpx.Response(400, content=b"{}")]  # fmt: skip
    reply = await ask(stage, "hold")
    data = await read(reply)
    assert b'"error"' in data
    assert len(lost(stage)) == 3
    assert (stage.entry.attempts, stage.entry.cost) == (3, LOST)


@pytest.mark.parametrize(("kind", "message"), [("overloaded", "upstream_truncated"), ("budget", "budget")])  # fmt: skip
async def test_the_client_gets_the_reason_for_no_second_attempt_if_it_is_its_own(
    stage: EngineFixture, monkeypatch: pytest.MonkeyPatch, kind: ProblemKind, message: str
) -> None:
    """If all others are left alone, the client gets the break's error, and does not retry it."""
    upstream = stage.engine._upstream
    run = upstream.run

    async def refuse(job: UpstreamRequest) -> UpstreamResponse:
        if job.candidates:
            raise ProblemError(Problem(kind=kind, message="No."))
        return await run(job)

    monkeypatch.setattr(upstream, "run", refuse)
    stage.answers = [streamed(ROLE, HEL)]
    reply = await ask(stage, "hold")
    assert head(reply)["x-should-retry"] == "false"
    assert (stage.entry.problem, stage.entry.cost) == (message, LOST)


ANSWERS = {
    "length": frames(finish="length"),
    "filter": frames(finish="content_filter"),
    "refused": (chunk({"role": "assistant", "refusal": "No."}), chunk({}, "stop"), DONE),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_complete_answer_is_not_requested_again(stage: EngineFixture, kind: str) -> None:
    stage.answers = [streamed(*ANSWERS[kind])]
    assert await drain(await ask(stage, "hold")) == b"".join(ANSWERS[kind])
    assert len(stage.requests) == 1
    assert stage.entry.state in ("settled", "estimated")


async def test_an_error_of_the_request_reaches_the_client_at_once(stage: EngineFixture) -> None:
    """A late error of the caller is no break: its row has the usage, and no other target is asked."""
    wrong = b'data: {"error":{"message":"Too long.","type":"invalid_request_error","code":"context_length_exceeded"}}\n\n'
    stage.answers = [streamed(ROLE, HEL, wrong)]
    reply = await ask(stage, "hold")
    data = await read(reply)
    assert b"Too long." in data
    assert len(stage.requests) == 1
    assert not lost(stage)
    assert (stage.entry.problem, stage.entry.cost) == ("upstream_context", LOST)


async def test_an_answer_that_is_too_large_is_not_buffered(
    stage: EngineFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of another target may be shorter."""
    monkeypatch.setattr(continuation, "_MAX_BUFFERED_BYTES", 900)
    stage.answers = [streamed(ROLE, *[HEL] * 9, CUT), streamed(ROLE, chunk({"content": "a"}), chunk({}, "stop"), DONE)]  # fmt: skip
    data = await drain(await ask(stage, "hold"))
    assert text(data) == "a"
    assert (lost(stage)[0].problem, stage.entry.state) == ("upstream_error", "estimated")


async def test_a_whole_answer_that_breaks_off_is_asked_for_elsewhere(stage: EngineFixture) -> None:
    """Any call gets another target here: its client has seen nothing of the answer."""
    stage.answers = [streamed(b'{"id":', CUT), httpx.Response(200, content=whole().pieces[0])]
    reply = await ask(stage, "hold", stream=False, stream_options=None)
    assert reply.body == whole().pieces[0]
    assert (stage.entry.provider, stage.entry.attempts) == ("spare", 2)


async def test_a_whole_answer_that_breaks_off_is_asked_for_of_the_same_at_last(
    tmp_path: Path,
) -> None:
    """Only a call that asks for a complete answer goes to its one target again."""
    stage = EngineFixture(tmp_path, change=lambda _: None)
    answer = httpx.Response(200, content=whole().pieces[0])
    for how in (None, "hold"):
        stage.rows.clear()
        stage.answers = [streamed(ROLE, CUT), answer]
        reply = await ask(stage, how, stream=False, stream_options=None)
        assert (reply.status, stage.entry.attempts) == ((502, 1) if how is None else (200, 2))
        assert [it.provider for it in lost(stage)] == ["acme"]
    assert asked(stage) == ["able-1"] * 3


def unreasoned() -> httpx.Response:
    """Make a whole answer without a finish reason."""
    body = whole().pieces[0] or b""
    return httpx.Response(200, content=body.replace(b'"finish_reason":"stop"', b'"x":1'))


async def test_a_whole_answer_without_a_reason_for_its_end_has_broken_off(
    stage: EngineFixture,
) -> None:
    """Another target answers, whether the call asks for a complete answer or not."""
    for how in (None, "hold"):
        stage.rows.clear()
        stage.answers = [unreasoned(), httpx.Response(200, content=whole().pieces[0])]
        reply = await ask(stage, how, stream=False, stream_options=None)
        assert reply.body == whole().pieces[0]
        row = stage.entry
        assert (row.state, row.attempts, row.cost) == ("settled", 2, COST + COST)
        assert [(it.problem, it.cost) for it in lost(stage)] == [("upstream_truncated", COST)]


async def test_a_whole_answer_without_a_reason_passes_as_it_came_where_no_other_target_is_left(
    tmp_path: Path,
) -> None:
    """A header and the row tell that its end is unknown."""
    stage = EngineFixture(tmp_path, change=lambda _: None)
    stage.answers = [unreasoned()]
    reply = await ask(stage, None, stream=False, stream_options=None)
    assert (reply.status, reply.body) == (200, unreasoned().content)
    assert head(reply)["x-tiergate-finish"] == "unknown"
    row = stage.entry
    assert (row.state, row.problem, row.aborted_by) == ("aborted", "upstream_truncated", "upstream")
    assert (row.attempts, row.cost, row.wasted, row.usage) == (1, COST, FREE, "provider")
    assert not lost(stage)


async def test_a_call_that_wants_a_complete_answer_gets_an_error_in_place_of_it(
    tmp_path: Path,
) -> None:
    """The error says what an operator can do, and the client may try again."""
    stage = EngineFixture(tmp_path, change=lambda _: None)
    stage.answers = [unreasoned(), unreasoned()]
    reply = await ask(stage, "hold", stream=False, stream_options=None)
    assert reply.status == 502
    assert b"`finish: optional`" in (reply.body or b"")
    headers = head(reply)
    assert "x-should-retry" not in headers
    assert "x-tiergate-finish" not in headers
    row = stage.entry
    assert (row.state, row.problem, row.attempts) == ("failed", "upstream_truncated", 2)
    assert (row.cost, row.wasted) == (COST + COST, COST + COST)


async def test_an_answer_without_a_reason_is_better_than_the_failure_of_the_next_target(
    stage: EngineFixture,
) -> None:
    """The client gets what the preferred target sent, and the headers and the row name that one."""
    stage.answers = [unreasoned(), httpx.Response(400, content=b"{}")]
    reply = await ask(stage, None, stream=False, stream_options=None)
    assert (reply.status, reply.body) == (200, unreasoned().content)
    headers = head(reply)
    assert (headers["x-tiergate-model"], headers["x-tiergate-attempts"]) == ("able-1", "2")
    row = stage.entry
    assert (row.state, row.provider, row.attempts, row.cost) == ("aborted", "acme", 2, COST)
    assert [(it.attempt, it.problem) for it in lost(stage)] == [(2, "upstream_rejected")]


async def test_the_first_of_two_answers_without_a_reason_is_passed_on(stage: EngineFixture) -> None:
    """The other one was billed too."""
    second = unreasoned().content.replace(b'"up-1"', b'"up-2"')
    stage.answers = [unreasoned(), httpx.Response(200, content=second)]
    reply = await ask(stage, None, stream=False, stream_options=None)
    assert reply.body == unreasoned().content
    row = stage.entry
    assert (row.provider, row.cost, row.wasted) == ("acme", COST + COST, COST)
    assert [(it.attempt, it.problem, it.cost) for it in lost(stage)] == [
        (2, "upstream_truncated", COST)
    ]


async def test_an_answer_without_a_reason_is_on_record_if_its_client_leaves(
    stage: EngineFixture,
) -> None:
    """The client waits for the second target when it leaves; the first has billed its answer."""
    body = Waits()
    stage.answers = [unreasoned(), httpx.Response(200, stream=body)]
    call = asyncio.create_task(ask(stage, None, stream=False, stream_options=None))
    await body.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [(it.attempt, it.problem, it.cost) for it in lost(stage)] == [
        (1, "upstream_truncated", COST)
    ]
    assert (stage.entry.state, stage.entry.provider) == ("aborted", "spare")


async def test_answers_without_a_reason_count_as_broken_off(stage: EngineFixture) -> None:
    """The circuit breaker counts them like streams that break off: other targets go first."""
    good = whole().pieces[0]
    for _ in range(10):
        stage.answers = [unreasoned(), httpx.Response(200, content=good)]
        await ask(stage, None, stream=False, stream_options=None)
    stage.rows.clear()
    stage.answers = [httpx.Response(200, content=good)]
    await ask(stage, None, stream=False, stream_options=None)
    assert (stage.entry.provider, stage.entry.attempts) == ("spare", 1)
    assert not stage.engine._upstream.health.is_healthy(("acme", "main", "able-1"))


async def test_a_target_that_never_gives_a_reason_is_asked_where_there_is_no_other(
    tmp_path: Path,
) -> None:
    """Its answers break off, but it answers: the circuit breaker does not refuse its calls."""
    stage = EngineFixture(tmp_path, change=lambda _: None)
    for _ in range(12):
        stage.answers = [unreasoned()]
        reply = await ask(stage, None, stream=False, stream_options=None)
        assert reply.status == 200
        stage.now += 2
    assert not stage.engine._upstream.health.is_healthy(("acme", "main", "able-1"))


async def test_a_stream_that_breaks_off_unseen_is_asked_for_twice_of_one_target(
    tmp_path: Path,
) -> None:
    """A call that wants to be complete gets no more attempts than any other call."""
    for how in (None, "hold"):
        stage = EngineFixture(tmp_path, change=lambda _: None)
        stage.answers = [streamed(ROLE, CUT), streamed(ROLE, CUT)]
        reply = await ask(stage, how)
        assert (reply.status, stage.entry.attempts) == (502, 2)


@pytest.mark.parametrize(
    ("answers", "status", "attempts"),
    [
        ([httpx.Response(400, content=b"{}")], 400, 1),
        ([httpx.Response(500)] * 4, 502, 3),
        ([streamed(CUT) for _ in range(4)], 502, 4),
    ],
)  # fmt: skip
async def test_only_a_break_is_retried_and_at_most_twice(
    stage: EngineFixture, answers: list[httpx.Response], status: int, attempts: int
) -> None:
    stage.answers = [*answers]
    reply = await ask(stage, "hold", stream=False, stream_options=None)
    assert (reply.status, stage.entry.attempts) == (status, attempts)


async def test_usage_that_was_reported_before_the_break_counts(stage: EngineFixture) -> None:
    """The row has the reported usage, not an estimate."""
    usage_frame = (
        b"data: " + jsonio.dumps({"id": "up-1", "choices": [], "usage": usage(7, 2)}) + b"\n\n"
    )
    stage.answers = [streamed(ROLE, HEL, usage_frame, CUT), other()]
    await drain(await ask(stage, "hold"))
    (loss,) = lost(stage)
    assert (loss.input, loss.output, loss.cost, loss.estimate) == (7, 2, Decimal("0.000015"), FREE)
