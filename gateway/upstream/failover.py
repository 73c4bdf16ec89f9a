"""Run a call along its plan: which candidate is asked first, and which after a failure."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec

from gateway.core.decision import Plan, SkippedTarget
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Provider, Target, Tier
from gateway.upstream.attempt import (
    TIMER_TOLERANCE,
    AttemptRunner,
    estimate_request,
    make_unfinished_problem,
)
from gateway.upstream.balance.balancer import BalancedCall
from gateway.upstream.balance.member_sets import MemberSet, build_member_sets
from gateway.upstream.client import ProviderClient
from gateway.upstream.hedging import Hedge
from gateway.upstream.media_fetch import MediaFetcher
from gateway.upstream.provider_quota import Headroom
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry import (
    DEFAULT_POLICY,
    Candidate,
    RetryPolicy,
    RetryState,
    add_jitter,
    build_client_problem,
    list_candidates,
    make_retry_hint,
    move_to_front,
    pin_candidates,
    retry_candidates,
    sort_by_headroom,
)
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

type _PlanCandidates = tuple[Plan, list[Candidate], tuple[MemberSet, ...]]
"""A plan, its candidates, and its sets of equals, if it has any."""

_MAX_CACHED_PLANS = 64
"""The number of plans whose candidates are kept."""


def _exclude_targets(
    candidates: list[Candidate], excluded_targets: Collection[str]
) -> list[Candidate]:
    """Return the candidates that are not excluded. Raises ProblemError if there is none."""
    allowed_candidates = [
        candidate for candidate in candidates if candidate.target.name not in excluded_targets
    ]
    if not allowed_candidates:
        message = "No other target can serve this call."
        raise ProblemError(Problem(kind="no_target", message=message))
    return allowed_candidates


def _record_unserved(request: UpstreamRequest, served: UpstreamResponse | None) -> None:
    """Record that the attempts at all other answers without a reason for their end have failed."""
    for response in request.unfinished_responses:
        if response is not served:
            problem = make_unfinished_problem(response)
            request.call_account.attempt_failed(response.attempt_account, problem)
    request.unfinished_responses.clear()


class Upstream:
    """Runs calls against providers."""

    def __init__(  # noqa: PLR0913 - its parts, and what tests put in place of the world
        self,
        client: ProviderClient,
        *,
        wait_until_ready: Callable[[Provider], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
        media_fetcher: MediaFetcher | None = None,
        hedge_seconds: Mapping[str, float | None] = {},
        policy: RetryPolicy = DEFAULT_POLICY,
        provider_state: ProviderState | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Without `media_fetcher`, the gateway fetches no media that a request gives by URL.

        `hedge_seconds` has, by tier, the seconds after which a second target is asked too. None
        means: once the first target is later than 95 % of its answers. `policy` says how long calls
        wait for a target. Without `provider_state`, nothing is known of providers yet.
        """
        self.provider_state = provider_state = provider_state or ProviderState(jitter=jitter)
        self.quota = provider_state.quota
        """The tracker of the providers' own limits."""
        self.health = provider_state.health
        self.retry_budgets = provider_state.retry_budgets
        """The retry budget of each lab."""
        self._attempt_runner = AttemptRunner(
            client,
            self.quota,
            self.health,
            provider_state.balancer.loads,
            wait_until_ready=wait_until_ready,
            media_fetcher=media_fetcher,
            wall=wall,
        )
        self._candidates_by_plan: dict[tuple[int, str], _PlanCandidates] = {}
        """The candidates of a plan, by the `id()` of the plan, and by operation."""
        self._hedge_seconds = hedge_seconds
        self._policy = policy
        self._continuation_policy = msgspec.structs.replace(policy, preferred_again=0)
        """The policy for an answer that broke off: another target goes on with it."""
        self._wall = wall
        self._sleep = sleep
        self._jitter = jitter

    async def run(self, request: UpstreamRequest) -> UpstreamResponse:
        """Return the first answer that the plan gives. Raises ProblemError if there is none.

        A whole answer without a reason for its end is the last resort: it counts if no other target
        answers, unless the call must be complete. The gateway passes on the first of them.
        """
        response = None
        try:
            response = await self._run_plan(request)
        except ProblemError:
            if not request.unfinished_responses or request.requires_complete:
                raise
            response = request.unfinished_responses[0]
        finally:
            if request.unfinished_responses:
                _record_unserved(request, response)
        request.call_account.attempt_finished(response.attempt_account)
        return response

    async def _run_plan(self, request: UpstreamRequest) -> UpstreamResponse:
        candidates = self.list_candidates(request)
        retry_budget = self.provider_state.retry_budgets.get(request.lab) or self._get_retry_budget(
            request
        )
        if not request.candidates and not request.call.retry_count:
            retry_budget.earn()
        health = self.health
        if not health.all_closed:
            candidates = health.sort_candidates(candidates)
        waited_seconds = 0.0
        if self.quota.reported_keys:
            if len(candidates) == 1:  # no other candidate can go first
                headroom = self.quota.get_parked_headroom(candidates[0].key, self._wall())
            else:
                candidates, headroom = self._sort_by_headroom(request, candidates, retry_budget)
            if headroom.is_parked:
                waited_seconds = await self._pause(request, candidates[0], headroom)
        if not health.all_closed:
            health.claim_probe(candidates[0].key)
        if self._hedge_seconds and request.tier in self._hedge_seconds and not request.candidates:
            hedge_delay = self._get_hedge_delay(request, candidates[0])
            second_index = self._find_second(request, candidates)
            if second_index is not None and hedge_delay is not None:
                return await self._run_hedged(
                    request,
                    (candidates, second_index),
                    hedge_delay,
                    retry_budget,
                )
        try:
            return await self._attempt_runner.send_once(
                request, candidates[0]
            )  # the direct path of nearly all calls
        except ProblemError as error:
            first_problem = error.problem
        try:
            return await self._attempt_runner.retry_reduced(request, candidates[0], first_problem)
        except ProblemError as error:
            first_problem = error.problem
        return await self._retry(request, candidates, first_problem, waited_seconds=waited_seconds)

    def list_candidates(self, request: UpstreamRequest) -> list[Candidate]:
        """Return the candidates that may be asked. Raises ProblemError if there are none.

        All calls of a plan without equals that ask for nothing else get the same list, so nobody
        may change it.
        """
        if request.candidates:
            candidates = list(request.candidates)
        else:
            key = id(request.plan), request.dialect.operation
            cached_entry = self._candidates_by_plan.get(key) or self._cache_candidates(request)
            _, candidates, member_sets = cached_entry
            if member_sets:
                candidates = self._balance(request, member_sets)
            elif request.pinned_account is not None:
                candidates = pin_candidates(candidates, request.pinned_account)
        return (
            _exclude_targets(candidates, request.excluded_targets)
            if request.excluded_targets
            else candidates
        )

    def _cache_candidates(self, request: UpstreamRequest) -> _PlanCandidates:
        """List the candidates of a plan, and its sets of equals; both are kept for its calls."""
        plan, operation = request.plan, request.dialect.operation
        if len(self._candidates_by_plan) >= _MAX_CACHED_PLANS:
            self._candidates_by_plan.clear()
        candidates = list_candidates(plan, operation)
        cached_entry = plan, candidates, build_member_sets(candidates)
        self._candidates_by_plan[id(plan), operation] = cached_entry
        return cached_entry

    def _balance(
        self, request: UpstreamRequest, member_sets: Sequence[MemberSet]
    ) -> list[Candidate]:
        """Return the candidates of a plan with equals in the order in which a call asks them."""
        health = self.health
        call = BalancedCall(
            conversation=request.get_conversation(),
            stream=request.body.prompt.stream,
            pinned_account=request.pinned_account,
            is_fit=None if health.all_closed else lambda item: not health.get_skip_reason(item.key),
        )
        return self.provider_state.balancer.order(member_sets, call)

    async def _run_hedged(
        self,
        request: UpstreamRequest,
        candidates_and_second: tuple[list[Candidate], int],
        hedge_delay: float,
        retry_budget: RetryBudget,
    ) -> UpstreamResponse:
        """Ask the candidate at the given index too, if the first one gives nothing in time."""
        candidates, second_index = candidates_and_second
        hedge = Hedge(self._attempt_runner, request, (candidates[0], candidates[second_index]))

        def grant() -> bool:
            is_granted = retry_budget.take_retry()
            if is_granted:
                self.provider_state.hedge_count += 1
                self.health.claim_probe(candidates[second_index].key)
            return is_granted

        try:
            return await hedge.run(self._sleep(hedge_delay), grant)
        except ProblemError as error:
            first_problem = error.problem
        return await self._retry(
            request,
            candidates,
            first_problem,
            hedged_index=second_index if hedge.used_second else None,
        )

    def _get_hedge_delay(self, request: UpstreamRequest, candidate: Candidate) -> float | None:
        """Return the seconds that the first candidate has to itself; None: not known yet."""
        delay = self._hedge_seconds[request.tier]
        if delay is not None:
            return delay
        return self.health.get_tail_seconds(candidate.key, stream=request.body.prompt.stream)

    def _find_second(self, request: UpstreamRequest, candidates: list[Candidate]) -> int | None:
        """Return the index of the next candidate in its turn that has room, or None."""
        for index, candidate in enumerate(candidates[1:], 1):
            if (
                not self.health.get_skip_reason(candidate.key)
                and self._get_headroom(request, candidate).is_free
            ):
                return index
        return None

    def exclude_unavailable(self, plan: Plan, tier: Tier | None) -> Plan:
        """Return a plan as it runs now: without targets that are out of turn, unless all are."""
        if self.health.all_closed:
            return plan
        reasons = [self._get_skip_reason(target) for target in plan.targets]
        indices = [index for index, reason in enumerate(reasons) if not reason]
        if not indices or len(indices) == len(reasons):
            return plan
        skipped_targets = [
            SkippedTarget(target.name, tier, reason)
            for target, reason in zip(plan.targets, reasons, strict=True)
            if reason
        ]
        return Plan(
            targets=tuple(plan.targets[index] for index in indices),
            dialects=tuple(plan.dialects[index] for index in indices),
            labs=tuple(plan.labs[index] for index in indices) if plan.labs else (),
            skipped=(*plan.skipped, *skipped_targets),
        )

    def _get_skip_reason(self, target: Target) -> str:
        """Return why a target is out of its turn; empty if one of its accounts is not."""
        name, accounts = target.provider.name, target.provider.accounts
        reasons = [
            self.health.get_skip_reason((name, account.name, target.model)) for account in accounts
        ]
        return "" if "" in reasons else reasons[0]

    async def _retry(
        self,
        request: UpstreamRequest,
        candidates: list[Candidate],
        first_problem: Problem,
        *,
        hedged_index: int | None = None,
        waited_seconds: float = 0.0,
    ) -> UpstreamResponse:
        """Go on after the first candidate has failed, and the one at `hedged_index`, if any.

        `waited_seconds` are the seconds that the call has waited for the first.
        """
        health = self.health
        retry_state = RetryState(
            candidates,
            self._continuation_policy if request.candidates else self._policy,
            stream=request.body.prompt.stream,
            client_retries=request.call.client_timeout is not None,
            client_retried=request.call.retry_count > 0,
            seeks_response=bool(request.body.prompt.continuation_member),
            is_excluded=lambda item: health.is_blocked(item.key),
            get_cooldown=self._get_cooldown,
            waited_seconds=waited_seconds,
        )

        if hedged_index is not None:
            retry_state.current_index = hedged_index
            retry_state.tried_indices.append(hedged_index)

        async def attempt(candidate: Candidate) -> UpstreamResponse:
            health.claim_probe(candidate.key)
            return await self._attempt_runner(request, candidate)

        try:
            return await retry_candidates(
                attempt,
                retry_state,
                first_problem,
                sleep=self._wait,
                jitter=self._jitter,
                may_wait=lambda next_candidate, wait: self._may_wait(request, next_candidate, wait),
                grant=lambda failed_candidate, next_candidate: self.grant_retry(
                    request, failed_candidate, next_candidate
                ),
            )
        except ProblemError as error:
            is_time_up = not self._may_wait(
                request, retry_state.candidates[retry_state.current_index], 0.0
            )
            problem = build_client_problem(
                error.problem, retry_state, self._jitter, is_time_up=is_time_up
            )
            raise ProblemError(problem) from None

    def grant_retry(
        self, request: UpstreamRequest, failed_candidate: Candidate, next_candidate: Candidate
    ) -> bool:
        """Return True if a candidate may be asked after another has failed.

        A healthy candidate of another provider, or at another replica, takes no retry: it does not
        worsen a bad minute.
        """
        is_other_server = failed_candidate.server != next_candidate.server
        is_healthy = is_other_server and self.health.is_healthy(next_candidate.key)
        return is_healthy or self._get_retry_budget(request).take_retry()

    def _get_retry_budget(self, request: UpstreamRequest) -> RetryBudget:
        return self.provider_state.get_retry_budget(request.lab)

    def _get_headroom(self, request: UpstreamRequest, candidate: Candidate) -> Headroom:
        return self.quota.get_headroom(
            candidate.key,
            estimate_request(request, candidate),
            self._wall(),
        )

    def _get_cooldown(self, candidate: Candidate) -> float:
        """Return the seconds until a provider takes a candidate again, as it has said."""
        now = self._wall()
        headroom = self.quota.get_parked_headroom(candidate.key, now)
        return headroom.available_at - now if headroom.is_parked else 0.0

    def _may_wait(self, request: UpstreamRequest, candidate: Candidate, seconds: float) -> bool:
        """Return True if a call may wait so many seconds for a candidate.

        For 0, return True if the call has time left.
        """
        now = asyncio.get_running_loop().time()
        timers = candidate.target.provider.timers[request.tier]
        if seconds:
            return (
                self.provider_state.waiting_calls.has_free_slot
                and now + seconds < request.compute_wait_deadline(timers)
            )
        return now + TIMER_TOLERANCE < min(
            request.compute_deadline(timers), request.client_deadline
        )

    async def _wait(self, seconds: float) -> None:
        """Wait between two attempts. Raises ProblemError if the gateway stops."""
        if seconds:
            await self.provider_state.waiting_calls.wait(self._sleep(seconds))
        else:
            await self._sleep(seconds)

    def _sort_by_headroom(
        self, request: UpstreamRequest, candidates: list[Candidate], retry_budget: RetryBudget
    ) -> tuple[list[Candidate], Headroom]:
        """Return the candidates, those with room first, and the room of the first."""
        preferred_candidate = candidates[0]
        ordered_candidates, headroom = sort_by_headroom(
            candidates,
            lambda candidate: self._get_headroom(request, candidate),
            request.pinned_account,
        )
        if ordered_candidates[0] is not preferred_candidate and self._waits_for(
            request, preferred_candidate, ordered_candidates[0], retry_budget
        ):
            ordered_candidates = move_to_front(ordered_candidates, preferred_candidate)
            headroom = self.quota.get_parked_headroom(preferred_candidate.key, self._wall())
        return ordered_candidates, headroom

    def _waits_for(
        self,
        request: UpstreamRequest,
        preferred_candidate: Candidate,
        other_candidate: Candidate,
        retry_budget: RetryBudget,
    ) -> bool:
        """Return True if a call waits for its parked preferred target rather than ask another.

        While a lab has no more retries, its provider is in trouble, and no call waits for it.
        """
        if (
            preferred_candidate.target is other_candidate.target
            or preferred_candidate.target.shares_group(other_candidate.target)
            or request.candidates
            or not retry_budget.has_retry
        ):
            return False
        cooldown = self._get_cooldown(preferred_candidate)
        return 0.0 < cooldown <= self._policy.preferred_wait and self._may_wait(
            request, preferred_candidate, cooldown
        )

    async def _pause(
        self, request: UpstreamRequest, candidate: Candidate, headroom: Headroom
    ) -> float:
        """Wait until a provider takes a candidate again; return the seconds.

        Raises ProblemError if the call may not wait so long.
        """
        wait = headroom.available_at - self._wall()
        if wait > self._policy.longest_wait or not self._may_wait(request, candidate, wait):
            message = (
                "The providers of this model accept no more requests for now. "
                f"{make_retry_hint(wait)}"
            )
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
        await self._wait(add_jitter(wait, self._jitter))
        return wait
