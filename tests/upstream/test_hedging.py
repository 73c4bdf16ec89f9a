"""Two attempts at a time, each step as the test says: who wins, what is closed, what is written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import cast

import httpx
import msgspec
import pytest

from gateway.core.call_accounting import AttemptAccount
from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.upstream.client import HttpxSender
from gateway.upstream.hedging import Hedge
from gateway.upstream.retry import Candidate, list_candidates
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse
from tests.upstream.test_retry import target

PAIR = Plan(targets=(target("x/m"), target("y/m")), dialects=("openai-chat",) * 2)
FIRST, SECOND = list_candidates(PAIR)
BAD = Problem(kind="upstream_error", message="")


class Body(httpx.AsyncByteStream):
    """Knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""

    async def aclose(self) -> None:
        self.closed = True


class Asked(msgspec.Struct, frozen=True):
    """What of a job is looked at."""

    on_attempt_start: Callable[..., None]
    on_attempt_failure: Callable[[Problem], None]
    on_parallel_attempt: None = None


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


class Race:
    """Both attempts end when the test says; rows are what was written down, each with its side."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []
        self.bodies = {"x": Body(), "y": Body()}
        self.ends: dict[str, asyncio.Future[None]] = {}
        self.side = 0
        job = cast("UpstreamRequest", Asked(lambda *_: None, self.failing))
        self.hedge = Hedge(self.attempt, job, (FIRST, SECOND))

    def failing(self, problem: Problem) -> None:
        self.rows.append((self.side, problem.name or problem.kind))

    def aside(self, side: AttemptAccount | None) -> AttemptAccount:
        """The number stands for all that is put aside."""
        was, self.side = (
            AttemptAccount(attempt_number=self.side),
            1 if side is None else side.attempt_number,
        )
        return was

    async def attempt(self, job: UpstreamRequest, candidate: Candidate) -> UpstreamResponse:
        name = candidate.target.provider.name
        if job.on_attempt_start(candidate.target, candidate.account) is not None:
            raise AssertionError
        end = self.ends[name] = asyncio.get_running_loop().create_future()
        await end
        answer = HttpxSender(name, 200, [], self.bodies[name])
        return cast(
            "UpstreamResponse", SimpleNamespace(target=candidate.target, provider_response=answer)
        )

    async def both(self) -> asyncio.Task[UpstreamResponse]:
        """The second is asked too."""

        async def at_once() -> None: ...

        task = asyncio.create_task(self.hedge.run(self.aside, at_once(), lambda: True))
        await settled()
        return task


async def test_of_two_that_answer_in_the_same_moment_the_first_wins() -> None:
    """The other is closed, and its row is its own."""
    race = Race()
    task = await race.both()
    race.ends["y"].set_result(None)
    race.ends["x"].set_result(None)
    assert (await task).target is FIRST.target
    assert (race.bodies["x"].closed, race.bodies["y"].closed) == (False, True)
    assert (race.rows, race.side) == ([(1, "hedged")], 0)


async def test_the_one_that_is_not_needed_is_ended() -> None:
    race = Race()
    task = await race.both()
    race.ends["y"].set_result(None)
    assert (await task).target is SECOND.target
    assert race.ends["x"].cancelled()
    assert (race.rows, race.side) == ([(0, "hedged")], 1)


@pytest.mark.parametrize("order", ["xy", "yx"])
async def test_the_last_of_two_failures_is_told(order: str) -> None:
    race = Race()
    task = await race.both()
    for name in order:
        race.ends[name].set_exception(ProblemError(Problem(kind="upstream_error", message=name)))
        await settled()
    with pytest.raises(ProblemError, match=order[1]):
        await task
    assert race.rows[:2] == [("xy".index(name), "upstream_error") for name in order]
    assert race.hedge.used_second


async def test_a_bug_ends_both() -> None:
    race = Race()
    task = await race.both()
    race.ends["y"].set_exception(KeyError("bug"))
    with pytest.raises(KeyError):
        await task
    assert race.ends["x"].cancelled()


async def test_without_a_grant_the_first_goes_on_alone() -> None:
    race = Race()

    async def at_once() -> None: ...

    task = asyncio.create_task(race.hedge.run(race.aside, at_once(), lambda: False))
    await settled()
    race.ends["x"].set_exception(ProblemError(BAD))
    with pytest.raises(ProblemError):
        await task
    assert (race.rows, race.hedge.used_second) == ([(0, "upstream_error")], False)


async def test_a_call_that_is_given_up_ends_both() -> None:
    race = Race()
    task = await race.both()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert race.ends["x"].cancelled()
    assert race.ends["y"].cancelled()
    assert (race.rows, race.side) == ([(1, "hedged")], 0)
