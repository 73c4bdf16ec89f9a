"""A call run along its plan: who is asked first, and who after a failure."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.core.problem import Problem, ProblemError
from gateway.core.target import Provider
from gateway.upstream.attempt import Attempts, load, where
from gateway.upstream.client import Client
from gateway.upstream.job import Begun, Job
from gateway.upstream.media import Fetch
from gateway.upstream.quota import Book, Room
from gateway.upstream.retry import LONGEST_WAIT, Candidate, again, by_room, candidates


class Upstream:
    """Runs calls against providers."""

    def __init__(
        self,
        client: Client,
        *,
        ready: Callable[[Provider], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
        media: Fetch | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Without `media` nothing is fetched that a request has by URL."""
        self.quota = Book()
        """What is left of the providers' own limits."""
        self._attempt = Attempts(client, self.quota, ready=ready, media=media, wall=wall)
        self._wall = wall
        self._sleep = sleep
        self._jitter = jitter

    async def run(self, job: Job) -> Begun:
        """The first answer that the plan gives. Raises ProblemError when none does."""
        every = job.order or candidates(job.plan, job.seat)
        order = [one for one in every if one.target.name not in job.avoid]
        if not order:
            message = "No other target can serve this call."
            raise ProblemError(Problem(kind="no_target", message=message))
        if self.quota:
            order, room = by_room(order, lambda one: self._room(job, one), job.seat)
            if room.parked:
                await self._pause(job, order[0], room)
        try:
            return await self._attempt(job, order[0])
        except ProblemError as error:
            first = error.problem
            job.failing(first)

        async def attempt(candidate: Candidate) -> Begun:
            try:
                return await self._attempt(job, candidate)
            except ProblemError as error:
                job.failing(error.problem)
                raise

        return await again(attempt, order, first, sleep=self._sleep, jitter=self._jitter)

    def _room(self, job: Job, candidate: Candidate) -> Room:
        return self.quota.room(*where(job, candidate), load(job, candidate), self._wall())

    async def _pause(self, job: Job, candidate: Candidate, room: Room) -> None:
        """Wait until the first is taken again. Raises ProblemError where a call may not so long."""
        now = asyncio.get_running_loop().time()
        deadline = min(job.deadline(candidate.target.provider.timers[job.tier]), job.ends)
        wait = room.until - self._wall()
        if wait > min(LONGEST_WAIT, deadline - now):
            message = "The providers of this model take no more requests for now. Try again later."
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
        await self._sleep(wait + self._jitter())  # not all at once
