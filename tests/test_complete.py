"""Calls that ask for a complete answer, in the engine alone: rows, cost, who shares and who leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core import jsonio
from gateway.core.call import Call, Complete, Steer
from gateway.core.entry import Attempt, Entry
from gateway.core.problem import Kind, Problem, ProblemError
from gateway.reply import Reply
from gateway.upstream import complete
from gateway.upstream.allowance import Allowance
from gateway.upstream.health import Sent
from gateway.upstream.job import Begun, Job
from tests.e2e.upstream import DONE, ROLE, WORDS, chunk, frames, usage, whole
from tests.e2e.world import Config, chat, spared
from tests.test_engine import HEL, Chunks, Stage, drain, head

LO = chunk({"content": WORDS[1]})
MODES: tuple[Complete, ...] = ("hold", "live")
TEXT = "".join(WORDS)
COST = Decimal("0.000019")
"""USD of the 7 tokens in and 3 out that the provider tells, at either target."""
LOST = Decimal("0.000010")
"""USD of an attempt of which "Hel" was heard: 6 tokens in and 1 out, by estimate."""

FREE = Decimal(0)


def priced(value: Config) -> None:
    """Both targets of the smart tier at one price."""
    spared(value)
    value["models"]["able-2"] = value["models"]["able-1"]


def made(folder: Path, *, cached: bool = False) -> Stage:
    return Stage(folder, cached=cached, change=priced)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return made(tmp_path)


def streamed(*pieces: bytes | Exception) -> httpx.Response:
    return httpx.Response(200, stream=Chunks(*pieces))


def other(*words: str, finish: str = "stop") -> httpx.Response:
    """A whole stream of the spare target, under a name of its own."""
    said = b"".join(frames(words or ("Hello", " you."), finish=finish))
    return streamed(said.replace(b'"up-1"', b'"up-2"').replace(b'"served-1"', b'"served-2"'))


async def ask(stage: Stage, how: Complete | None, id: str = "tg-1", **more: Any) -> Reply:
    asked: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, **more}
    call = Call(
        id=id, dialect="openai-chat", operation="generate", body=jsonio.dumps(chat(**asked)),
        steer=Steer(complete=how), received_at=1e9, started=stage.now,
    )  # fmt: skip
    return await stage.engine.serve(call)


async def read(reply: Reply) -> bytes:
    return reply.body if reply.stream is None else await drain(reply)


def text(said: bytes) -> str:
    """What a client reads."""
    found = ""
    for line in said.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in jsonio.loads(line[6:]).get("choices", ()):
                found += choice["delta"].get("content") or ""
    return found


def lost(stage: Stage) -> list[Attempt]:
    return [row for row in stage.rows if isinstance(row, Attempt)]


def asked(stage: Stage) -> list[str]:
    """Who was asked, in order."""
    return [jsonio.loads(request.content)["model"] for request in stage.requests]


CUT = httpx.ReadError("gone")


async def test_nothing_is_asked_again_for_a_call_that_does_not_ask_for_it(stage: Stage) -> None:
    for how in (None, "off"):
        stage.answers = [streamed(ROLE, HEL, CUT)]
        stage.rows.clear()
        assert b'"error"' in await drain(await ask(stage, how))
        assert (stage.entry.state, stage.entry.attempts) == ("aborted", 1)
        assert not lost(stage)
    assert asked(stage) == ["able-1", "able-1"]


async def test_a_held_answer_is_of_whom_its_head_names(stage: Stage) -> None:
    """Nothing of the first is in it; the row has both, and usage is of the second alone."""
    stage.answers = [streamed(ROLE, HEL, CUT), other()]
    reply = await ask(stage, "hold")
    told = head(reply)
    assert (told["x-tiergate-model"], told["x-tiergate-provider"]) == ("able-2", "spare")
    assert told["x-tiergate-attempts"] == "2"
    said = await drain(reply)
    assert text(said) == TEXT
    assert said.count(b"[DONE]") == 1
    assert b"up-1" not in said
    row = stage.entry
    assert (row.state, row.provider, row.served) == ("settled", "spare", "served-2")
    assert (row.input, row.output, row.usage) == (7, 3, "provider")
    (one,) = lost(stage)
    assert (one.problem, one.cost, one.estimate, one.output) == (
        "upstream_truncated",
        LOST,
        LOST,
        1,
    )
    assert (row.cost, row.wasted, row.estimate) == (COST + LOST, LOST, LOST)


async def test_an_answer_shown_live_goes_on_in_the_same_message(stage: Stage) -> None:
    """What was shown is as it came; the frames of the second follow by the first one's id."""
    stage.answers = [streamed(ROLE, HEL, CUT), other()]
    reply = await ask(stage, "live")
    assert head(reply)["x-tiergate-model"] == "able-1"
    said = await drain(reply)
    assert said.startswith(ROLE + HEL + b": x-tiergate-model: spare/able-2\n\n")
    assert text(said) == TEXT
    assert said.endswith(DONE)
    assert said.count(b'"role"') == 1
    assert b"up-2" not in said
    assert said.count(b'"model":"served-2"') == 4
    row = stage.entry
    assert (row.state, row.status, row.provider, row.served) == (
        "settled",
        200,
        "spare",
        "served-2",
    )
    assert (row.input, row.output, row.usage, row.problem) == (7, 3, "provider", None)
    assert (row.cost, row.wasted, row.attempts) == (COST + LOST, LOST, 2)


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("ends", [CUT, None], ids=["cut", "ended"])
async def test_wherever_it_breaks_off_each_word_is_told_once(
    stage: Stage, how: Complete, ends: Exception | None
) -> None:
    """Before the first word, between any two frames, and before the end, which is none yet."""
    first = frames()
    last = [] if ends is None else [ends]
    for at in range(1, len(first)):
        stage.rows.clear()
        stage.answers = [streamed(*first[:at], *last), other(), other()]
        said = await read(await ask(stage, how))
        assert text(said) == TEXT
        assert said.count(b"data: [DONE]") <= 1
        assert stage.entry.state in ("settled", "estimated")
        assert len(lost(stage)) == stage.entry.attempts - 1


async def test_an_answer_that_begins_otherwise_is_an_error(stage: Stage) -> None:
    """Nothing of it is shown, nobody else is asked, and what it used is on its row."""
    stage.answers = [streamed(ROLE, HEL, CUT), other("Hi", " you.")]
    said = await drain(await ask(stage, "live"))
    assert said.startswith(ROLE + HEL + b'data: {"error":{')
    assert b"goes on in the same words" in said
    assert b"Hi" not in said
    assert b"[DONE]" not in said
    row = stage.entry
    assert (row.state, row.status, row.aborted_by) == ("aborted", 200, "upstream")
    assert row.problem == "upstream_truncated"
    assert [(it.provider, it.cost, it.estimate) for it in lost(stage)] == [
        ("acme", LOST, LOST),
        ("spare", COST, FREE),
    ]
    assert (row.cost, row.wasted) == (LOST + COST, LOST + COST)
    assert (row.input, row.output) == (None, None)
    assert len(stage.requests) == 2


@pytest.mark.parametrize("how", MODES)
async def test_what_was_held_goes_out_in_pieces(stage: Stage, how: Complete) -> None:
    """Of whole frames: a slow client takes one after the other, and who shares it falls behind by one."""
    long = [chunk({"content": f"{at:05} "}) for at in range(2000)]
    stage.answers = [streamed(ROLE, long[0], CUT), streamed(ROLE, *long, *frames()[4:])]
    reply = await ask(stage, how)
    assert reply.stream is not None
    pieces = [data async for data in reply.stream]
    assert 5 < len(pieces) < 12
    assert all(data.endswith(b"\n\n") and len(data) < 65_000 for data in pieces)
    assert text(b"".join(pieces)) == "".join(f"{at:05} " for at in range(2000))


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("left", [1, 2])
async def test_who_leaves_before_the_last_piece_has_not_got_it_all(
    stage: Stage, how: Complete, left: int
) -> None:
    """Although all of it is here; its row has the whole cost in either case."""
    long = [chunk({"content": f"{at:05} "}) for at in range(2000)]
    stage.answers = [streamed(ROLE, long[0], CUT), streamed(ROLE, *long, *frames()[4:])]
    reply = await ask(stage, how)
    assert reply.stream is not None
    async for data in reply.stream:
        if left == 1 and len(data) > 60_000:
            break
        if DONE in data:
            break
    await reply.stream.aclose()
    row = stage.entry
    assert (row.state, row.status) == (("aborted", 499) if left == 1 else ("settled", 200))
    (one,) = lost(stage)
    assert one.cost is not None
    assert row.cost == COST + one.cost


@pytest.mark.parametrize("how", MODES)
async def test_the_one_that_broke_off_is_asked_once_more_at_last(
    stage: Stage, how: Complete
) -> None:
    """The other target breaks off too; then the first says all of it."""
    stage.answers = [streamed(ROLE, HEL, CUT), streamed(ROLE, HEL, LO), other()]
    assert text(await drain(await ask(stage, how))) == TEXT
    assert asked(stage) == ["able-1", "able-2", "able-1"]
    assert [it.provider for it in lost(stage)] == ["acme", "spare"]
    assert (stage.entry.state, stage.entry.provider, stage.entry.attempts) == ("settled", "acme", 3)


@pytest.mark.parametrize("how", MODES)
async def test_a_bad_minute_is_not_made_worse(stage: Stage, how: Complete) -> None:
    """Where the lab has no retry left, another provider that is well is asked, and nobody again."""
    stage.answers = [streamed(ROLE, HEL), streamed(ROLE, HEL)]
    stage.engine._upstream.allowances["acme"] = allowance = Allowance()
    allowance.left = 0.0
    said = await read(await ask(stage, how))
    assert b'"error"' in said
    assert asked(stage) == ["able-1", "able-2"]
    assert (allowance.taken, allowance.denied) == (0, 1)


@pytest.mark.parametrize("how", MODES)
async def test_four_that_break_off_are_enough(stage: Stage, how: Complete) -> None:
    """A clear error, and not one row too many: held it has a status, live it comes in the stream."""
    stage.answers = [streamed(ROLE, HEL) for _ in range(4)]
    reply = await ask(stage, how)
    if how == "hold":
        assert (reply.status, reply.stream) == (502, None)
        assert jsonio.loads(reply.body)["error"]["code"] == "upstream_truncated"
        assert head(reply)["x-should-retry"] == "false"
    else:
        said = await drain(reply)
        assert said.startswith(ROLE + HEL + b'data: {"error":{')
    row = stage.entry
    assert row.state == ("failed" if how == "hold" else "aborted")
    assert asked(stage) == ["able-1", "able-2", "able-1", "able-2"]
    assert (row.attempts, row.wasted, row.cost) == (4, 4 * LOST, 4 * LOST)
    assert len(lost(stage)) == 4


@pytest.mark.parametrize("how", MODES)
async def test_who_cannot_be_asked_any_more_ends_it(stage: Stage, how: Complete) -> None:
    """All that are left fail before they say anything: their error is told."""
    stage.answers = [streamed(ROLE, HEL), httpx.ConnectError("x"), httpx.Response(400, content=b"{}")]  # fmt: skip
    reply = await ask(stage, how)
    said = await read(reply)
    assert b'"error"' in said
    assert len(lost(stage)) == 3
    assert (stage.entry.attempts, stage.entry.cost) == (3, LOST)


@pytest.mark.parametrize(("kind", "told"), [("overloaded", "upstream_truncated"), ("budget", "budget")])  # fmt: skip
async def test_why_nobody_is_asked_is_told_where_it_is_the_callers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: Kind, told: str
) -> None:
    """That all others are left alone is not: what broke it off is told, and no client sends it again."""
    upstream = stage.engine._upstream
    run = upstream.run

    async def refuse(job: Job) -> Begun:
        if job.order:
            raise ProblemError(Problem(kind=kind, message="No."))
        return await run(job)

    monkeypatch.setattr(upstream, "run", refuse)
    stage.answers = [streamed(ROLE, HEL)]
    reply = await ask(stage, "hold")
    assert head(reply)["x-should-retry"] == "false"
    assert (stage.entry.problem, stage.entry.cost) == (told, LOST)


ANSWERS = {
    "length": frames(finish="length"),
    "filter": frames(finish="content_filter"),
    "refused": (chunk({"role": "assistant", "refusal": "No."}), chunk({}, "stop"), DONE),
}


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("kind", ANSWERS)
async def test_what_is_an_answer_is_not_asked_for_again(
    stage: Stage, how: Complete, kind: str
) -> None:
    stage.answers = [streamed(*ANSWERS[kind])]
    assert await drain(await ask(stage, how)) == b"".join(ANSWERS[kind])
    assert len(stage.requests) == 1
    assert stage.entry.state in ("settled", "estimated")


@pytest.mark.parametrize("how", MODES)
async def test_what_is_wrong_with_the_request_is_told_at_once(stage: Stage, how: Complete) -> None:
    """An error of the caller that comes late is no break: it has its row's usage, and nobody else is asked."""
    wrong = b'data: {"error":{"message":"Too long.","type":"invalid_request_error","code":"context_length_exceeded"}}\n\n'
    stage.answers = [streamed(ROLE, HEL, wrong)]
    reply = await ask(stage, how)
    said = await read(reply)
    assert b"Too long." in said
    assert len(stage.requests) == 1
    assert not lost(stage)
    assert (stage.entry.problem, stage.entry.cost) == ("upstream_context", LOST)


async def test_an_error_and_half_a_frame_are_never_shown_live(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came with them is; and the target's health knows of each."""
    failed: list[str] = []
    monkeypatch.setattr(Sent, "failed", lambda _, problem: failed.append(problem.kind))
    for bad in (b'{"error":{"message":"no"}}', b'{"half', b"half"):
        stage.rows.clear()
        stage.answers = [streamed(ROLE + HEL, LO + b"data: %b\n\n" % bad), other()]
        said = await drain(await ask(stage, "live"))
        assert said.startswith(ROLE + HEL + LO + b": x-tiergate")
        assert text(said) == TEXT
        assert stage.entry.state == "settled"
        stage.answers = [streamed(ROLE + HEL, b"data: %b\n\n" % bad), other()]
        assert text(await drain(await ask(stage, "live", "tg-2"))) == TEXT
    assert failed == ["upstream_error"] * 6


async def test_what_came_with_the_first_content_may_be_all(stage: Stage) -> None:
    """One read has content and an error: nothing but the content is shown."""
    stage.answers = [streamed(ROLE + HEL + b'data: {"error":{"message":"no"}}\n\n'), other()]
    said = await drain(await ask(stage, "live"))
    assert said.startswith(ROLE + HEL + b": x-tiergate")
    assert text(said) == TEXT


@pytest.mark.parametrize("how", MODES)
async def test_what_is_too_large_is_not_kept(
    stage: Stage, how: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held, another may be shorter; live, it is not gone on with."""
    monkeypatch.setattr(complete, "_MOST", 900)
    monkeypatch.setattr(complete, "_SHOWN", 300)
    stage.answers = [streamed(ROLE, *[HEL] * 9, CUT), streamed(ROLE, chunk({"content": "a"}), chunk({}, "stop"), DONE)]  # fmt: skip
    said = await drain(await ask(stage, how))
    if how == "hold":
        assert text(said) == "a"
        assert (lost(stage)[0].problem, stage.entry.state) == ("upstream_error", "estimated")
    else:
        assert text(said) == 9 * "Hel"
        assert b'"error"' in said
        assert (len(stage.requests), stage.entry.state) == (1, "aborted")


class Waits(Chunks):
    """A body that says so once it has nothing more to say for now, until it is cut."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(*pieces)
        self.waiting, self.cut = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in super().__aiter__():
            yield piece
        self.waiting.set()
        await self.cut.wait()
        raise CUT


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop go on until something holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0)


@pytest.mark.parametrize("second", [False, True])
async def test_a_client_that_leaves_while_it_is_held(stage: Stage, second: bool) -> None:
    """One entry, with what was heard so far of the attempt that was open, and nothing stays open."""
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


async def test_a_client_that_leaves_while_another_is_asked_for_the_rest(stage: Stage) -> None:
    """The usage of the first is on its row, and what was heard of the second on the call's."""
    body = Waits(ROLE, HEL, LO)
    stage.answers = [streamed(ROLE, HEL, CUT), httpx.Response(200, stream=body)]
    reply = await ask(stage, "live")
    task = asyncio.create_task(drain(reply))
    await body.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.closed
    row = stage.entry
    assert (row.state, row.status, row.aborted_by) == ("aborted", 499, "client")
    assert (row.provider, row.wasted) == ("spare", LOST)
    assert row.cost == 2 * LOST + Decimal("0.000004")


async def test_a_client_that_leaves_live_is_not_finished_for(stage: Stage) -> None:
    stage.answers = [streamed(ROLE, HEL, LO, CUT)]
    reply = await ask(stage, "live")
    assert reply.stream is not None
    await anext(reply.stream)
    await reply.stream.aclose()
    assert len(stage.requests) == 1
    assert (stage.entry.state, stage.entry.aborted_by) == ("aborted", "client")


@pytest.mark.parametrize("how", MODES)
async def test_only_a_whole_answer_of_the_first_target_is_kept(
    tmp_path: Path, how: Complete
) -> None:
    stage = made(tmp_path, cached=True)
    stage.answers = [streamed(ROLE, HEL, CUT), other(), streamed(*frames())]
    for id in ("a", "b", "c"):
        assert text(await read(await ask(stage, how, id))) == TEXT
        await stage.engine.settle()
    cache = [row.cache for row in stage.rows if isinstance(row, Entry)]
    assert cache == ["miss", "miss", "hit"]
    assert len(stage.requests) == 3


async def test_a_spliced_answer_of_the_first_target_is_not_kept_either(tmp_path: Path) -> None:
    """Half of it is another's."""
    stage = made(tmp_path, cached=True)
    stage.answers = [
        streamed(ROLE, HEL, CUT), httpx.Response(500), streamed(*frames()), streamed(*frames()),
    ]  # fmt: skip
    for id in ("a", "b"):
        assert text(await drain(await ask(stage, "live", id))) == TEXT
        await stage.engine.settle()
    assert asked(stage) == ["able-1", "able-2", "able-1", "able-1"]
    assert [row.cache for row in stage.rows if isinstance(row, Entry)] == ["miss", "miss"]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("how", MODES)
async def test_who_shares_it_gets_the_same(tmp_path: Path, how: Complete, fails: bool) -> None:
    """One answer for all, or one error; the first pays for both attempts."""
    stage = made(tmp_path, cached=True)
    body = Waits(ROLE, HEL)
    bad = httpx.Response(400, content=b"{}") if how == "hold" else other("Hi")
    stage.answers = [httpx.Response(200, stream=body), bad if fails else other()]

    async def one(id: str) -> tuple[int, bytes]:
        reply = await ask(stage, how, id)
        return reply.status, await read(reply)

    calls = [asyncio.create_task(one(id)) for id in "ab"]
    await body.waiting.wait()
    await until(lambda: len(stage.engine._seats) == 2)
    body.cut.set()
    (status, said), again = await asyncio.gather(*calls)
    rows = {row.id: row for row in stage.rows if isinstance(row, Entry)}
    if fails:
        assert again[0] == status
        assert b'"error"' in said
        assert b'"error"' in again[1]
        assert text(again[1]) == text(said)
    else:
        assert again == (status, said)
        assert text(said) == TEXT
        assert (rows["a"].cost, rows["b"].cost) == (COST + LOST, FREE)
        assert rows["b"].state == "cache_hit"
        assert rows["b"].provider == "spare"
    assert len(stage.requests) == 2
    assert len(rows) == 2


async def test_who_asks_for_less_shares_nothing_with_it(tmp_path: Path) -> None:
    """It would wait for the end, or be cut off where others are not."""
    stage = made(tmp_path, cached=True)
    stage.answers = [streamed(*frames()) for _ in range(3)]
    replies = await asyncio.gather(*(ask(stage, how, how or "n") for how in (None, *MODES)))
    for reply in replies:
        await drain(reply)
    assert len(stage.requests) == 3


async def test_a_whole_answer_that_breaks_off_is_asked_for_elsewhere(stage: Stage) -> None:
    """As for any call: nothing of it was shown."""
    stage.answers = [streamed(b'{"id":', CUT), httpx.Response(200, content=whole().pieces[0])]
    reply = await ask(stage, "hold", stream=False, stream_options=None)
    assert reply.body == whole().pieces[0]
    assert (stage.entry.provider, stage.entry.attempts) == ("spare", 2)


async def test_a_whole_answer_that_breaks_off_is_asked_for_of_the_same_at_last(
    tmp_path: Path,
) -> None:
    """Where there is no other; for a call that does not ask for it, not even then."""
    stage = Stage(tmp_path, change=lambda _: None)
    said = httpx.Response(200, content=whole().pieces[0])
    for how in (None, "hold"):
        stage.rows.clear()
        stage.answers = [streamed(ROLE, CUT), said]
        reply = await ask(stage, how, stream=False, stream_options=None)
        assert (reply.status, stage.entry.attempts) == ((502, 1) if how is None else (200, 2))
        assert [it.provider for it in lost(stage)] == ["acme"]
    assert asked(stage) == ["able-1"] * 3


async def test_a_stream_that_breaks_off_unseen_is_asked_for_twice_of_one_target(
    tmp_path: Path,
) -> None:
    """As for any call: no more for one that wants to be complete."""
    for how in (None, *MODES):
        stage = Stage(tmp_path, change=lambda _: None)
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
async def test_what_is_no_break_is_not_asked_for_again_and_nobody_more_than_twice(
    stage: Stage, answers: list[httpx.Response], status: int, attempts: int
) -> None:
    stage.answers = [*answers]
    reply = await ask(stage, "hold", stream=False, stream_options=None)
    assert (reply.status, stage.entry.attempts) == (status, attempts)


async def test_usage_that_was_told_before_the_break_is_counted(stage: Stage) -> None:
    """Rather than an estimate."""
    told = b"data: " + jsonio.dumps({"id": "up-1", "choices": [], "usage": usage(7, 2)}) + b"\n\n"
    stage.answers = [streamed(ROLE, HEL, told, CUT), other()]
    await drain(await ask(stage, "hold"))
    (one,) = lost(stage)
    assert (one.input, one.output, one.cost, one.estimate) == (7, 2, Decimal("0.000015"), FREE)
