"""A second target that is asked too where the first has given no content for a while.

Whoever has content first answers; the other is closed, and its row says `hedged`: it may be billed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from gateway.core.call_accounting import AttemptAccount
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Target
from gateway.upstream.retry import Candidate
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

type Attempt = Callable[[UpstreamRequest, Candidate], Coroutine[Any, Any, UpstreamResponse]]

_LOST = Problem(
    kind="upstream_timeout",
    message="Another target had its first content before.",
    name="hedged",
    spent="maybe",
)


class HedgedAccount:
    """Two attempts of one call at a time: what happens to each is written down as its own."""

    def __init__(
        self, job: UpstreamRequest, aside: Callable[[AttemptAccount | None], AttemptAccount]
    ) -> None:
        self._job = job
        self._aside = aside
        self._at = 0
        self._kept: dict[int, AttemptAccount] = {}

    def job(self, side: int) -> UpstreamRequest:
        """The call as one of them goes on with it."""

        def dialling(target: Target, account: Account) -> Awaitable[None] | None:
            self.turn(side)
            return self._job.dialling(target, account)

        def failing(problem: Problem) -> None:
            self.failing(side, problem)

        return msgspec.structs.replace(self._job, dialling=dialling, failing=failing)

    def failing(self, side: int, problem: Problem) -> None:
        """One of them gave no answer."""
        self.turn(side)
        self._job.failing(problem)

    def turn(self, side: int) -> None:
        """What is written down from now on is of this one."""
        if side != self._at:
            self._kept[self._at] = self._aside(self._kept.pop(side, None))
            self._at = side


class Hedge:
    """One call, and who may be asked for it beside the first."""

    def __init__(
        self, attempt: Attempt, job: UpstreamRequest, pair: tuple[Candidate, Candidate]
    ) -> None:
        self._attempt = attempt
        self._job = job
        self._pair = pair
        self.both = False
        """Whether the second was asked too."""

    async def run(
        self,
        aside: Callable[[AttemptAccount | None], AttemptAccount],
        wait: Awaitable[None],
        grant: Callable[[], bool],
    ) -> UpstreamResponse:
        """The first answer of the two; the second is asked after `wait`, where it is granted.

        Raises ProblemError where neither answers; the rows of both are then written.
        """
        sides = HedgedAccount(self._job, aside)
        tasks = [asyncio.create_task(self._attempt(sides.job(0), self._pair[0]))]
        bell = asyncio.ensure_future(wait)
        won = 0
        try:
            await asyncio.wait({tasks[0], bell}, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done() and grant():
                self.both = True
                tasks.append(asyncio.create_task(self._second(sides.job(1))))
            won = await _first(tasks, sides)
            return tasks[won].result()
        finally:
            bell.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(bell, *tasks, return_exceptions=True)
            await _lose(tasks, won, sides)

    async def _second(self, job: UpstreamRequest) -> UpstreamResponse:
        other = self._pair[1]
        if job.extending is not None:
            await job.extending(other.target)
        return await self._attempt(job, other)


async def _first(tasks: list[asyncio.Task[UpstreamResponse]], sides: HedgedAccount) -> int:
    """Which of them has answered. Raises ProblemError with the last failure where none has."""
    pending = set(tasks)
    failure: Problem | None = None
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for side, task in enumerate(tasks):
            if task not in done:
                continue
            error = task.exception()
            if error is None:
                return side
            if not isinstance(error, ProblemError):
                raise error
            sides.failing(side, error.problem)
            failure = error.problem
    # Made anew: the one that was raised is held by its task, which whoever waits here holds.
    raise ProblemError(failure) if failure else RuntimeError("nobody was asked")


async def _lose(
    tasks: list[asyncio.Task[UpstreamResponse]], won: int, sides: HedgedAccount
) -> None:
    """Close who was too late, and write down that it was asked; the other goes on."""
    for side, task in enumerate(tasks):
        if side == won:
            continue
        if not task.cancelled() and task.exception() is None:
            await task.result().answer.close()
        sides.failing(side, _LOST)
    sides.turn(won)
