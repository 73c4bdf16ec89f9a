"""A call run along its plan: who is asked first, and who after a failure."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import msgspec

from gateway.core.call_accounting import AttemptAccount
from gateway.core.decision import Plan, SkippedTarget
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Provider, Target, Tier
from gateway.upstream.attempt import EARLY, AttemptRunner, load, where
from gateway.upstream.client import ProviderClient
from gateway.upstream.hedging import Hedge
from gateway.upstream.media_fetch import MediaFetcher
from gateway.upstream.provider_quota import Headroom
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry import (
    DEFAULT,
    Candidate,
    RetryPolicy,
    RetryState,
    again,
    by_room,
    candidates,
    spread,
    told,
)
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_MOST_PLANS = 64
"""Plans of which it is kept who may be asked."""


def _others(order: list[Candidate], avoid: Collection[str]) -> list[Candidate]:
    """Those that are not to be avoided. Raises ProblemError where that is nobody."""
    left = [one for one in order if one.target.name not in avoid]
    if not left:
        message = "No other target can serve this call."
        raise ProblemError(Problem(kind="no_target", message=message))
    return left


class Upstream:
    """Runs calls against providers."""

    def __init__(  # noqa: PLR0913 - what it asks with, and what tests put in place of the world
        self,
        client: ProviderClient,
        *,
        ready: Callable[[Provider], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
        media: MediaFetcher | None = None,
        hedge: Mapping[str, float | None] = {},
        policy: RetryPolicy = DEFAULT,
        known: ProviderState | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Without `media` nothing is fetched that a request has by URL.

        `hedge` has the seconds by tier after which a second target is asked too; None: once the
        first is later than 95 % of its answers are. `policy` says how long calls wait for a target.
        Without `known` nothing is known yet.
        """
        self.known = known = known or ProviderState(jitter=jitter)
        self.quota = known.quota
        """What is left of the providers' own limits."""
        self.health = known.health
        self.allowances = known.allowances
        """The retries of each lab."""
        self._attempt = AttemptRunner(
            client, self.quota, self.health, ready=ready, media=media, wall=wall
        )
        self._turn = client.turn
        self._orders: dict[int, tuple[Plan, list[Candidate]]] = {}
        """Who may be asked, by the identity of a plan, which is kept with them."""
        self._hedge = hedge
        self._policy = policy
        self._onward = msgspec.structs.replace(policy, preferred_again=0)
        """For an answer that broke off: another target goes on with it."""
        self._wall = wall
        self._sleep = sleep
        self._jitter = jitter

    async def run(self, job: UpstreamRequest) -> UpstreamResponse:
        """The first answer that the plan gives. Raises ProblemError when none does."""
        if (turn := self._turn()) is not None:
            await turn
        order = self._order(job)
        allowance = self.known.allowances.get(job.lab) or self._allowance(job)
        if not job.order and not job.call.retried:
            allowance.earn()
        health = self.health
        if not health.calm:
            order = health.order(order, lambda one: where(job, one))
        waited = 0.0
        if self.quota.told:
            order, room = self._by_room(job, order, allowance)
            if room.parked:
                waited = await self._pause(job, order[0], room)
        if not health.calm:
            health.claim(where(job, order[0]))
        if self._hedge and job.tier in self._hedge and job.aside is not None:
            wait, other = self._patience(job, order[0]), self._second(job, order)
            if other is not None and wait is not None:
                return await self._both(job, (order, other), wait, job.aside, allowance)
        try:
            return await self._attempt.once(job, order[0])  # straight on, as nearly all calls go
        except ProblemError as error:
            first = error.problem
        try:
            return await self._attempt.less(job, order[0], first)
        except ProblemError as error:
            first = error.problem
            job.failing(first)
        return await self._again(job, order, first, waited=waited)

    def _order(self, job: UpstreamRequest) -> list[Candidate]:
        """Who may be asked. Raises ProblemError where that is nobody.

        The same list for all calls of a plan that ask for nothing else: nobody may change it.
        """
        plan = job.plan
        if job.seat is None and not job.order and not job.avoid:
            kept = self._orders.get(id(plan))
            if kept is None:
                if len(self._orders) >= _MOST_PLANS:
                    self._orders.clear()
                kept = self._orders[id(plan)] = plan, candidates(plan)
            return kept[1]
        order = list(job.order) if job.order else candidates(plan, job.seat)
        return _others(order, job.avoid) if job.avoid else order

    async def _both(
        self,
        job: UpstreamRequest,
        pair: tuple[list[Candidate], int],
        wait: float,
        aside: Callable[[AttemptAccount | None], AttemptAccount],
        allowance: RetryBudget,
    ) -> UpstreamResponse:
        """Ask a second too, the one at a place in the order, where the first has given nothing."""
        order, other = pair
        hedge = Hedge(self._attempt, job, (order[0], order[other]))

        def grant() -> bool:
            granted = allowance.take()
            if granted:
                self.known.hedged += 1
                self.health.claim(where(job, order[other]))
            return granted

        try:
            return await hedge.run(aside, self._sleep(wait), grant)
        except ProblemError as error:
            first = error.problem
        return await self._again(job, order, first, also=other if hedge.both else None)

    def _patience(self, job: UpstreamRequest, first: Candidate) -> float | None:
        """Seconds that the first has to itself; None where that is not known yet."""
        wait = self._hedge[job.tier]
        if wait is not None:
            return wait
        return self.health.tail(where(job, first), stream=job.body.prompt.stream)

    def _second(self, job: UpstreamRequest, order: list[Candidate]) -> int | None:
        """The next that may be asked in its turn and has room."""
        for at, one in enumerate(order[1:], 1):
            if not self.health.why(where(job, one)) and self._room(job, one).free:
                return at
        return None

    def standing(self, plan: Plan, tier: Tier | None) -> Plan:
        """A plan without targets that are out of their turn, unless all are: as it is run now."""
        if self.health.calm:
            return plan
        whys = [self._why(target) for target in plan.targets]
        kept = [at for at, why in enumerate(whys) if not why]
        if not kept or len(kept) == len(whys):
            return plan
        out = [
            SkippedTarget(target.name, tier, why)
            for target, why in zip(plan.targets, whys, strict=True)
            if why
        ]
        return Plan(
            targets=tuple(plan.targets[at] for at in kept),
            doors=tuple(plan.doors[at] for at in kept),
            labs=tuple(plan.labs[at] for at in kept) if plan.labs else (),
            skipped=(*plan.skipped, *out),
        )

    def _why(self, target: Target) -> str:
        """Why a target is out of its turn; empty where some account of it is not."""
        name, accounts = target.provider.name, target.provider.accounts
        whys = [self.health.why((name, account.name, target.model)) for account in accounts]
        return "" if "" in whys else whys[0]

    async def _again(
        self,
        job: UpstreamRequest,
        order: list[Candidate],
        first: Problem,
        *,
        also: int | None = None,
        waited: float = 0.0,
    ) -> UpstreamResponse:
        """Go on after the first candidate has failed, and the one that was asked `also`.

        `waited` are the seconds that the call has waited for the first.
        """
        health = self.health
        trail = RetryState(
            order,
            self._onward if job.order else self._policy,
            stream=job.body.prompt.stream,
            retries=job.call.patience is not None,
            retried=job.call.retried > 0,
            out=lambda one: health.barred(where(job, one)),
            rest=lambda one: self._rest(job, one),
            waited=waited,
        )

        if also is not None:
            trail.at = also
            trail.tried.append(also)

        async def attempt(candidate: Candidate) -> UpstreamResponse:
            health.claim(where(job, candidate))
            try:
                return await self._attempt(job, candidate)
            except ProblemError as error:
                job.failing(error.problem)
                raise

        try:
            return await again(
                attempt,
                trail,
                first,
                sleep=self._wait,
                jitter=self._jitter,
                may_wait=lambda following, wait: self._may_wait(job, following, wait),
                grant=lambda failed, following: self.grant(job, failed, following),
            )
        except ProblemError as error:
            used_up = not self._may_wait(job, trail.order[trail.at], 0.0)
            problem = told(error.problem, trail, self._jitter, used_up=used_up)
            raise ProblemError(problem) from None

    def grant(self, job: UpstreamRequest, failed: Candidate, following: Candidate) -> bool:
        """Whether one may be asked after another has failed.

        Who has not failed of late, somewhere else, is not what a bad minute is made of.
        """
        elsewhere = failed.target.provider.name != following.target.provider.name
        clean = elsewhere and self.health.clean(where(job, following))
        return clean or self._allowance(job).take()

    def _allowance(self, job: UpstreamRequest) -> RetryBudget:
        return self.known.allowance(job.lab)

    def _room(self, job: UpstreamRequest, candidate: Candidate) -> Headroom:
        return self.quota.room(where(job, candidate), load(job, candidate), self._wall())

    def _rest(self, job: UpstreamRequest, candidate: Candidate) -> float:
        """Return the seconds until a provider takes a candidate again, as it has said."""
        now = self._wall()
        room = self.quota.parked(where(job, candidate), now)
        return room.until - now if room.parked else 0.0

    def _may_wait(self, job: UpstreamRequest, candidate: Candidate, seconds: float) -> bool:
        """True if a call may wait so long for a candidate; without a wait, if it has time left."""
        now = asyncio.get_running_loop().time()
        limits = candidate.target.provider.timers[job.tier]
        if seconds:
            return self.known.waiting.free and now + seconds < job.waits_until(limits)
        return now + EARLY < min(job.deadline(limits), job.ends)

    async def _wait(self, seconds: float) -> None:
        """Wait between two attempts. Raises ProblemError where the gateway stops."""
        if seconds:
            await self.known.waiting.wait(self._sleep(seconds))
        else:
            await self._sleep(seconds)

    def _by_room(
        self, job: UpstreamRequest, order: list[Candidate], allowance: RetryBudget
    ) -> tuple[list[Candidate], Headroom]:
        """Return the candidates, those with room first, and the room of the first."""
        preferred = order[0]
        if len(order) == 1:  # nobody else can go first
            return order, self.quota.parked(where(job, preferred), self._wall())
        found, room = by_room(order, lambda one: self._room(job, one), job.seat)
        if found[0] is not preferred and self._waits_for(job, preferred, found[0], allowance):
            found = [preferred, *(one for one in found if one is not preferred)]
            room = self.quota.parked(where(job, preferred), self._wall())
        return found, room

    def _waits_for(
        self, job: UpstreamRequest, preferred: Candidate, other: Candidate, allowance: RetryBudget
    ) -> bool:
        """True if a call waits for its preferred target, which is parked, rather than ask another.

        While a lab has no more retries its provider is in trouble, and nobody waits for it.
        """
        if preferred.target is other.target or job.order or not allowance.some:
            return False
        rest = self._rest(job, preferred)
        return 0.0 < rest <= self._policy.preferred_wait and self._may_wait(job, preferred, rest)

    async def _pause(self, job: UpstreamRequest, candidate: Candidate, room: Headroom) -> float:
        """Wait until a provider takes a candidate again; return the seconds.

        Raises ProblemError if the call may not wait so long.
        """
        wait = room.until - self._wall()
        if wait > self._policy.longest_wait or not self._may_wait(job, candidate, wait):
            message = "The providers of this model take no more requests for now. Try again later."
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
        await self._wait(spread(wait, self._jitter))
        return wait
