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

_HEDGED_PROBLEM = Problem(
    kind="upstream_timeout",
    message="Another target had its first content before.",
    name="hedged",
    spent="maybe",
)


class HedgedAccount:
    """Two attempts of one call at a time: what happens to each is written down as its own."""

    def __init__(
        self,
        request: UpstreamRequest,
        swap_attempt_account: Callable[[AttemptAccount | None], AttemptAccount],
    ) -> None:
        self._request = request
        self._swap_attempt_account = swap_attempt_account
        self._active_side = 0
        self._saved_accounts: dict[int, AttemptAccount] = {}

    def build_request(self, side: int) -> UpstreamRequest:
        """The call as one of them goes on with it."""

        def on_attempt_start(target: Target, account: Account) -> Awaitable[None] | None:
            self.switch_to(side)
            return self._request.on_attempt_start(target, account)

        def on_attempt_failure(problem: Problem) -> None:
            self.record_failure(side, problem)

        return msgspec.structs.replace(
            self._request, on_attempt_start=on_attempt_start, on_attempt_failure=on_attempt_failure
        )

    def record_failure(self, side: int, problem: Problem) -> None:
        """One of them gave no answer."""
        self.switch_to(side)
        self._request.on_attempt_failure(problem)

    def switch_to(self, side: int) -> None:
        """What is written down from now on is of this one."""
        if side != self._active_side:
            self._saved_accounts[self._active_side] = self._swap_attempt_account(
                self._saved_accounts.pop(side, None)
            )
            self._active_side = side


class Hedge:
    """One call, and who may be asked for it beside the first."""

    def __init__(
        self, attempt: Attempt, request: UpstreamRequest, candidates: tuple[Candidate, Candidate]
    ) -> None:
        self._attempt = attempt
        self._request = request
        self._candidates = candidates
        self.used_second = False
        """Whether the second was asked too."""

    async def run(
        self,
        swap_attempt_account: Callable[[AttemptAccount | None], AttemptAccount],
        delay: Awaitable[None],
        grant: Callable[[], bool],
    ) -> UpstreamResponse:
        """The first answer of the two; the second is asked after `delay`, where it is granted.

        Raises ProblemError where neither answers; the rows of both are then written.
        """
        hedged_account = HedgedAccount(self._request, swap_attempt_account)
        tasks = [
            asyncio.create_task(self._attempt(hedged_account.build_request(0), self._candidates[0]))
        ]
        delay_future = asyncio.ensure_future(delay)
        winner = 0
        try:
            await asyncio.wait({tasks[0], delay_future}, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done() and grant():
                self.used_second = True
                tasks.append(asyncio.create_task(self._run_second(hedged_account.build_request(1))))
            winner = await _wait_for_winner(tasks, hedged_account)
            return tasks[winner].result()
        finally:
            delay_future.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(delay_future, *tasks, return_exceptions=True)
            await _close_losers(tasks, winner, hedged_account)

    async def _run_second(self, request: UpstreamRequest) -> UpstreamResponse:
        second_candidate = self._candidates[1]
        if request.on_parallel_attempt is not None:
            await request.on_parallel_attempt(second_candidate.target)
        return await self._attempt(request, second_candidate)


async def _wait_for_winner(
    tasks: list[asyncio.Task[UpstreamResponse]], hedged_account: HedgedAccount
) -> int:
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
            hedged_account.record_failure(side, error.problem)
            failure = error.problem
    # Made anew: the one that was raised is held by its task, which whoever waits here holds.
    raise ProblemError(failure) if failure else RuntimeError("nobody was asked")


async def _close_losers(
    tasks: list[asyncio.Task[UpstreamResponse]], winner: int, hedged_account: HedgedAccount
) -> None:
    """Close who was too late, and write down that it was asked; the other goes on."""
    for side, task in enumerate(tasks):
        if side == winner:
            continue
        if not task.cancelled() and task.exception() is None:
            await task.result().provider_response.close()
        hedged_account.record_failure(side, _HEDGED_PROBLEM)
    hedged_account.switch_to(winner)
