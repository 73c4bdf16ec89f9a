"""Ask a second target too if the first has sent no content for a while.

The first target to send content answers. The gateway closes the other, and its row says `hedged`:
it may be billed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from gateway.core.errors import Problem, ProblemError
from gateway.upstream.retry import Candidate
from gateway.upstream.upstream_request import UpstreamAccount, UpstreamRequest, UpstreamResponse

type Attempt = Callable[[UpstreamRequest, Candidate], Coroutine[Any, Any, UpstreamResponse]]

_HEDGED_PROBLEM = Problem(
    kind="upstream_timeout",
    message="Another target sent its first content earlier.",
    name="hedged",
    spent="maybe",
)


class Hedge:
    """One call, with its first candidate and the one that may be asked beside it."""

    def __init__(
        self, attempt: Attempt, request: UpstreamRequest, candidates: tuple[Candidate, Candidate]
    ) -> None:
        self._attempt = attempt
        self._request = request
        self._candidates = candidates
        self.used_second = False
        """True if the second candidate was asked too."""

    async def run(self, delay: Awaitable[None], grant: Callable[[], bool]) -> UpstreamResponse:
        """Return the first answer of the two; ask the second after `delay`, if `grant` allows it.

        Raises ProblemError if neither answers.
        """
        request, (first, second) = self._request, self._candidates
        tasks = [asyncio.create_task(self._attempt(request, first))]
        delay_future = asyncio.ensure_future(delay)
        winner: UpstreamResponse | None = None
        try:
            await asyncio.wait({tasks[0], delay_future}, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done() and grant():
                self.used_second = True
                parallel_request = msgspec.structs.replace(request, is_parallel=True)
                tasks.append(asyncio.create_task(self._attempt(parallel_request, second)))
            winner = await _wait_for_winner(tasks)
            return winner
        finally:
            delay_future.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(delay_future, *tasks, return_exceptions=True)
            await _close_losers(request.call_account, tasks, winner)


async def _wait_for_winner(tasks: list[asyncio.Task[UpstreamResponse]]) -> UpstreamResponse:
    """Return the first answer. Raises ProblemError with the last failure if there is none."""
    pending = set(tasks)
    failure: Problem | None = None
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task not in done:
                continue
            error = task.exception()
            if error is None:
                return task.result()
            if not isinstance(error, ProblemError):
                raise error
            failure = error.problem
    # Raise a new error: the task holds the one that it raised, and this frame holds the task.
    raise ProblemError(failure) if failure else RuntimeError("no target was asked")


async def _close_losers(
    call_account: UpstreamAccount,
    tasks: list[asyncio.Task[UpstreamResponse]],
    winner: UpstreamResponse | None,
) -> None:
    """Close an answer that was too late, and record that its attempt failed.

    Without a winner the call is over: the first attempt, which may be billed, stays open. So does
    one whose answer waits for a better one.
    """
    for task in tasks:
        if not task.cancelled() and task.exception() is None and task.result() is not winner:
            await task.result().provider_response.close()
    for attempt in call_account.attempts:
        is_loser = attempt.is_parallel if winner is None else attempt is not winner.attempt_account
        has_lost = is_loser and attempt.is_open and attempt.ended_at is None
        if has_lost:
            call_account.attempt_failed(attempt, _HEDGED_PROBLEM)
