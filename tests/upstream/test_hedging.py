"""Test two attempts at a time, step by step: the winner, the closed answer, the rows."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import httpx
import msgspec
import pytest

from gateway.core.call import Call
from gateway.core.call_accounting import AttemptAccount, CallAccount
from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account as ProviderAccount
from gateway.core.target import Target
from gateway.upstream.client import HttpxSender
from gateway.upstream.hedging import Hedge
from gateway.upstream.retry import Candidate, list_candidates
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse
from tests.upstream.test_retry import target

PAIR = Plan(targets=(target("x/m"), target("y/m")), dialects=("openai-chat",) * 2)
FIRST, SECOND = list_candidates(PAIR)
BAD = Problem(kind="upstream_error", message="")
CALL = Call(
    id="tg-1", dialect="openai-chat", operation="generate", body=b"{}", received_at=0.0, started_at=0.0
)  # fmt: skip


class Body(httpx.AsyncByteStream):
    """A body that knows if it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""

    async def aclose(self) -> None:
        self.closed = True


class HedgedAccount(CallAccount):
    """Records the attempts that failed, and how."""

    failures: list[tuple[int, str]] = msgspec.field(default_factory=list)

    async def attempt_started(
        self, target: Target, account: ProviderAccount, *, is_parallel: bool
    ) -> AttemptAccount:
        return self.start_attempt(target, account, 0.0, 0.0, is_parallel=is_parallel)

    def attempt_failed(self, attempt: AttemptAccount, problem: Problem) -> None:
        self.fail_attempt(attempt, problem, 0.0, 0.0)
        self.failures.append((attempt.number, problem.name or problem.kind))

    def attempt_finished(self, attempt: AttemptAccount) -> None:
        raise AssertionError("whoever asked for the race tells that")


class HedgedRequest(msgspec.Struct, frozen=True):
    """The fields of a request that a hedge reads."""

    call_account: HedgedAccount
    is_parallel: bool = False


async def settled() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class AttemptRace:
    """Two attempts that end when the test says."""

    def __init__(self) -> None:
        self.account = HedgedAccount(CALL, "c1")
        self.bodies = {"x": Body(), "y": Body()}
        self.ends: dict[str, asyncio.Future[None]] = {}
        job = cast("UpstreamRequest", HedgedRequest(self.account))
        self.hedge = Hedge(self.attempt, job, (FIRST, SECOND))

    async def attempt(self, job: UpstreamRequest, candidate: Candidate) -> UpstreamResponse:
        name = candidate.target.provider.name
        attempt_account = await job.call_account.attempt_started(
            candidate.target, candidate.account, is_parallel=job.is_parallel
        )
        end = self.ends[name] = asyncio.get_running_loop().create_future()
        try:
            await end
        except ProblemError as error:
            if error.problem.kind == "upstream_truncated":  # its answer waits for a better one
                attempt_account.ended_at = 1.0
            else:
                job.call_account.attempt_failed(attempt_account, error.problem)
            raise
        answer = HttpxSender(name, 200, [], self.bodies[name])
        return cast(
            "UpstreamResponse",
            SimpleNamespace(
                target=candidate.target, provider_response=answer, attempt_account=attempt_account
            ),
        )

    @property
    def open_attempts(self) -> list[int]:
        return [attempt.number for attempt in self.account.attempts if attempt.is_open]

    async def both(self) -> asyncio.Task[UpstreamResponse]:
        """Start a race in which the second target is asked too."""

        async def at_once() -> None: ...

        task = asyncio.create_task(self.hedge.run(at_once(), lambda: True))
        await settled()
        return task


async def test_if_both_targets_answer_together_the_first_wins() -> None:
    """The gateway closes the other answer, and its attempt has its own row."""
    race = AttemptRace()
    task = await race.both()
    race.ends["y"].set_result(None)
    race.ends["x"].set_result(None)
    assert (await task).target is FIRST.target
    assert (race.bodies["x"].closed, race.bodies["y"].closed) == (False, True)
    assert (race.account.failures, race.open_attempts) == ([(2, "hedged")], [1])


async def test_the_gateway_cancels_the_attempt_that_loses() -> None:
    race = AttemptRace()
    task = await race.both()
    race.ends["y"].set_result(None)
    assert (await task).target is SECOND.target
    assert race.ends["x"].cancelled()
    assert (race.account.failures, race.open_attempts) == ([(1, "hedged")], [2])


@pytest.mark.parametrize("order", ["xy", "yx"])
async def test_if_both_targets_fail_the_last_error_is_raised(order: str) -> None:
    race = AttemptRace()
    task = await race.both()
    for name in order:
        race.ends[name].set_exception(ProblemError(Problem(kind="upstream_error", message=name)))
        await settled()
    with pytest.raises(ProblemError, match=order[1]):
        await task
    assert race.account.failures == [("xy".index(name) + 1, "upstream_error") for name in order]
    assert race.hedge.used_second


@pytest.mark.parametrize("is_won", [True, False])
async def test_an_answer_that_waits_for_a_better_one_is_not_recorded_as_late(
    *, is_won: bool
) -> None:
    """Its attempt stays open: whoever asked for the race records what became of it."""
    race = AttemptRace()
    task = await race.both()
    race.ends["y"].set_exception(ProblemError(Problem(kind="upstream_truncated", message="y")))
    await settled()
    if is_won:
        race.ends["x"].set_result(None)
        assert (await task).target is FIRST.target
    else:
        race.ends["x"].set_exception(ProblemError(BAD))
        with pytest.raises(ProblemError):
            await task
    assert race.account.failures == ([] if is_won else [(1, BAD.kind)])
    assert race.open_attempts == ([1, 2] if is_won else [2])


async def test_an_exception_ends_both_attempts() -> None:
    race = AttemptRace()
    task = await race.both()
    race.ends["y"].set_exception(KeyError("bug"))
    with pytest.raises(KeyError):
        await task
    assert race.ends["x"].cancelled()
    assert (race.account.failures, race.open_attempts) == ([(2, "hedged")], [1])


async def test_without_a_retry_in_the_budget_the_first_attempt_continues_alone() -> None:
    race = AttemptRace()

    async def at_once() -> None: ...

    task = asyncio.create_task(race.hedge.run(at_once(), lambda: False))
    await settled()
    race.ends["x"].set_exception(ProblemError(BAD))
    with pytest.raises(ProblemError):
        await task
    assert (race.account.failures, race.hedge.used_second) == ([(1, "upstream_error")], False)


async def test_a_cancelled_call_ends_both_attempts() -> None:
    race = AttemptRace()
    task = await race.both()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert race.ends["x"].cancelled()
    assert race.ends["y"].cancelled()
    assert (race.account.failures, race.open_attempts) == ([(2, "hedged")], [1])
