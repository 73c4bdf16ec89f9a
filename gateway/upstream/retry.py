"""Decide what a call tries after a failure, and when; tenacity runs the loop.

certain   the request itself is at fault           -> the caller's, nothing is tried
          the model or its window is at fault      -> a target that differs in just that
          the credential is at fault               -> another account or target
          the account lacks the earlier answer     -> another account, if nobody knows whose it is
likely    the provider did not do the work         -> what comes next in the plan, else once more
doubtful  it may have done it (and billed it)      -> another target takes over, once

Before another target takes over, the preferred one is asked once more after a blip (RetryPolicy).
No target is asked before the time that its provider has named. A content filter's refusal is an
answer: the gateway never takes it to another target.
"""

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import tenacity

from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Target
from gateway.dialects.tool_reasoning import is_response_missing
from gateway.upstream.provider_quota import FREE_HEADROOM, AccountModelKey, Headroom

_MAX_ATTEMPTS = 4
"""Attempts of one call. With the SDKs' own three, more would multiply a provider's bad minute."""
_REPEAT_LIMIT = 3
"""Attempts after which the gateway asks no candidate a second time."""
_LOW_REPEAT_LIMIT = 2
"""Attempts at a target that limits the rate, or at any target if the client retries by itself."""
_TRANSIENT_KINDS = frozenset({"upstream_overloaded", "upstream_error", "upstream_unreachable"})
"""Kinds after which a provider may be well again soon."""
_RETRY_AFTER_KINDS = frozenset({"upstream_rate_limited", "upstream_overloaded", "upstream_error"})
"""Kinds with which a provider may name the time from which it takes calls again."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of a call for a target, and how often it asks the preferred one again."""

    preferred_wait: float = 3.0
    """Seconds that a call waits for its preferred target before another one takes over."""
    preferred_again: int = 1
    """Times that a call asks its preferred target again before another one takes over."""
    longest_wait: float = 20.0
    """Seconds that a call waits where no other target can take it now."""


DEFAULT_POLICY = RetryPolicy()


class Candidate(msgspec.Struct, frozen=True):
    """A target with one of its provider's accounts, and the dialect in which it is asked."""

    target: Target
    account: Account
    dialect_name: str
    operation: str = "generate"
    key: AccountModelKey = ("", "", "")
    """The provider, account and model whose limits apply, set from the rest.

    Counting tokens has limits of its own.
    """
    is_balanced: bool = False
    """True if the gateway chooses it among equals by their load or the conversation, set too."""

    def __post_init__(self) -> None:
        """Set the key, and if the candidate is balanced."""
        target = self.target
        provider = target.provider
        model = target.model
        if self.operation == "count_tokens":
            model = f"{model} {self.operation}"
        key = provider.name, self.account.name, model
        msgspec.structs.force_setattr(self, "key", key)
        has_equals = provider.balance != "order" and len(provider.accounts) > 1
        is_balanced = has_equals or target.group is not None
        msgspec.structs.force_setattr(self, "is_balanced", is_balanced)

    @property
    def server(self) -> tuple[str, str]:
        """The provider with all its accounts, or one of its replicas: it fails as one."""
        return self.key[0], self.account.name if self.account.base_url else ""

    def is_same_place(self, other: "Candidate") -> bool:
        """Return True if it is the same target at the same server."""
        return self.target.name == other.target.name and self.server == other.server


class PinnedAccount(msgspec.Struct, frozen=True):
    """The account that has what the call continues: a model's reasoning, or an earlier answer."""

    provider: str
    account: str
    model: str | None = None
    """The model; None if any model of the provider can use it."""
    is_only: bool = False
    """True if no other account may be asked: none has the objects that the call names."""
    is_session: bool = False
    """True if only a session names it: another account lacks nothing but the prompt cache."""

    def matches(self, candidate: Candidate) -> bool:
        """Return True if a candidate is the pinned one."""
        target = candidate.target
        is_same_account = (
            target.provider.name == self.provider and candidate.account.name == self.account
        )
        return is_same_account and self.model in (None, target.model)


def list_candidates(plan: Plan, operation: str = "generate") -> list[Candidate]:
    """Return every target of a plan with every account, in order."""
    return [
        Candidate(target, account, dialect_name, operation)
        for target, dialect_name in zip(plan.targets, plan.dialects, strict=True)
        for account in target.provider.accounts
    ]


def move_to_front[T](items: list[T], item: T | None) -> list[T]:
    """Return the items, the given one first; as they are if it is None."""
    if item is None or item is items[0]:
        return items
    return [item, *(other for other in items if other is not item)]


def pin_candidates(
    candidates: list[Candidate], pinned_account: PinnedAccount | None
) -> list[Candidate]:
    """Return the candidates, the pinned account first; no other if no other may be asked."""
    if pinned_account is None:
        return candidates
    if pinned_account.is_only:
        return [item for item in candidates if pinned_account.matches(item)]
    return sorted(candidates, key=lambda item: not pinned_account.matches(item))


def sort_by_headroom(
    candidates: list[Candidate],
    get_headroom: Callable[[Candidate], Headroom],
    pinned_account: PinnedAccount | None = None,
) -> tuple[list[Candidate], Headroom]:
    """Return the candidates: first those with room, last the parked ones, soonest first.

    A pinned candidate keeps its place in a shortage, but not if it is parked. Also return the
    headroom of the first candidate: if it is parked, all are.
    """
    headrooms = [get_headroom(item) for item in candidates]
    if all(item.is_free for item in headrooms):
        return candidates, FREE_HEADROOM

    def rank(index: int) -> tuple[int, float]:
        headroom = headrooms[index]
        if headroom.is_parked:
            return 2, headroom.available_at
        is_pinned = pinned_account is not None and pinned_account.matches(candidates[index])
        return 0 if headroom.is_free or is_pinned else 1, 0.0

    indices = sorted(range(len(candidates)), key=rank)
    return [candidates[index] for index in indices], headrooms[indices[0]]


class RetryState:
    """The position of a call in its plan, and what the call has tried."""

    __slots__ = (
        "candidates",
        "client_retried",
        "client_retries",
        "current_index",
        "doubtful_attempts",
        "get_cooldown",
        "is_excluded",
        "policy",
        "seeking_problem",
        "seeks_response",
        "stream",
        "tried_indices",
        "waited_seconds",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - facts of the call, and of its candidates
        self,
        candidates: list[Candidate],
        policy: RetryPolicy = DEFAULT_POLICY,
        *,
        stream: bool = False,
        client_retries: bool = False,
        client_retried: bool = False,
        seeks_response: bool = False,
        is_excluded: Callable[[Candidate], bool] = lambda _: False,
        get_cooldown: Callable[[Candidate], float] = lambda _: 0.0,
        waited_seconds: float = 0.0,
    ) -> None:
        """Begin after the first of `candidates` has failed.

        `client_retries`: the client retries by itself. `client_retried`: it has done so, and no
        candidate is asked twice. `seeks_response`: it is not known which account has the earlier
        answer that the call names. `is_excluded` returns True for a candidate that must not be
        asked. `get_cooldown` returns the seconds until a provider takes a candidate again.
        `waited_seconds` are the seconds that the call has waited for its preferred target.
        """
        self.candidates = candidates
        self.policy = policy
        self.stream = stream
        self.client_retries = client_retries
        self.client_retried = client_retried
        self.seeks_response = seeks_response
        self.seeking_problem: Problem | None = None
        """The last failure of an account that may have the earlier answer all the same."""
        self.is_excluded = is_excluded
        self.get_cooldown = get_cooldown
        self.waited_seconds = waited_seconds
        self.current_index = 0
        self.tried_indices = [0]
        """The indices of candidates, in the order in which they were asked."""
        self.doubtful_attempts = 0
        """Attempts that may have been billed."""

    @property
    def next_indices(self) -> list[int]:
        """The indices of candidates that come next in the plan."""
        return [
            index
            for index in range(self.current_index + 1, len(self.candidates))
            if index not in self.tried_indices
        ]

    @property
    def other_server_indices(self) -> list[int]:
        """The indices of candidates that come next, other providers and replicas first."""
        failed_server = self.candidates[self.current_index].server
        return sorted(
            self.next_indices, key=lambda index: self.candidates[index].server == failed_server
        )

    @property
    def other_place_indices(self) -> list[int]:
        """The indices of other targets and replicas that come next, with any account."""
        failed_candidate = self.candidates[self.current_index]
        return [
            index
            for index in self.next_indices
            if not self.candidates[index].is_same_place(failed_candidate)
        ]

    def find_response_indices(self, problem: Problem) -> list[int]:
        """Return the indices of other accounts, if one may have the earlier answer.

        Return none unless the call seeks that answer and the problem says that it is missing.
        """
        if not self.seeks_response or not is_response_missing(problem):
            return []
        tried_accounts = {self.candidates[index].key[:2] for index in self.tried_indices}
        return [
            index
            for index in self.next_indices
            if self.candidates[index].key[:2] not in tried_accounts
        ]

    @property
    def larger_window_indices(self) -> list[int]:
        """The indices of targets with a larger window; if there is none, with an unknown one."""
        window = self.candidates[self.current_index].target.facts.prompt_window or 0
        tried_names = {self.candidates[index].target.name for index in self.tried_indices}
        untried_indices = [
            index
            for index, candidate in enumerate(self.candidates)
            if candidate.target.name not in tried_names
        ]
        larger_indices = [
            index
            for index in untried_indices
            if (self.candidates[index].target.facts.prompt_window or 0) > window
        ]
        return larger_indices or [
            index
            for index in untried_indices
            if self.candidates[index].target.facts.prompt_window is None
        ]

    def find_repeat_indices(self, problem: Problem) -> list[int]:
        """Return the index of the same candidate, if it may be asked once more."""
        failed_candidate = self.candidates[self.current_index]
        has_low_limit = self.client_retries or problem.kind == "upstream_rate_limited"
        limit = _LOW_REPEAT_LIMIT if has_low_limit else _REPEAT_LIMIT
        if self.client_retried or problem.is_permanent or len(self.tried_indices) >= _REPEAT_LIMIT:
            return []
        if (
            sum(self.candidates[index].key == failed_candidate.key for index in self.tried_indices)
            >= limit
        ):
            return []
        return (
            [] if (problem.retry_after or 0.0) > self.policy.longest_wait else [self.current_index]
        )

    def pick_soonest(self, indices: Iterable[int]) -> int | None:
        """Return the first of these that may be asked now, else the one that may be soonest."""
        max_wait = self.policy.longest_wait
        cooldowns = {
            index: self.get_cooldown(self.candidates[index])
            for index in indices
            if not self.is_excluded(self.candidates[index])
        }
        available_indices = [index for index, cooldown in cooldowns.items() if cooldown <= max_wait]
        return min(available_indices, key=cooldowns.__getitem__, default=None)

    def find_preferred_retry(self, problem: Problem) -> int | None:
        """Return the preferred target after a blip, if another target would take over now."""
        policy = self.policy
        failed_candidate = self.candidates[self.current_index]
        preferred_target = self.candidates[0].target

        def is_preferred(candidate: Candidate) -> bool:
            target = candidate.target
            return target.name == preferred_target.name or target.shares_group(preferred_target)

        attempt_count = sum(is_preferred(self.candidates[index]) for index in self.tried_indices)
        if (
            self.client_retried
            or not is_preferred(failed_candidate)
            or attempt_count > policy.preferred_again
        ):
            return None
        next_index = self.pick_soonest(self.next_indices)
        if next_index is None or is_preferred(self.candidates[next_index]):
            return None  # no other target takes over, at most an equal one or another account
        wait = max(problem.retry_after or 0.0, self.get_cooldown(failed_candidate))
        if self.waited_seconds + wait > policy.preferred_wait or self.is_excluded(failed_candidate):
            return None
        return self.current_index if _is_transient(problem) else None


def _is_transient(problem: Problem) -> bool:
    """Return True if the same request may be answered a moment later."""
    if problem.is_permanent or _is_provider_answer(problem):
        return False
    if problem.kind == "upstream_rate_limited":
        return problem.retry_after is not None
    return problem.kind in _TRANSIENT_KINDS


def _is_provider_answer(problem: Problem) -> bool:
    """Return True if the provider has answered, with an error or with something unreadable."""
    return problem.kind in _RETRY_AFTER_KINDS and problem.spent == "maybe"


def choose_next(problem: Problem, retry_state: RetryState) -> int | None:
    """Return the index of the candidate to try next, or None if trying again cannot help."""
    indices: list[int]
    match problem.kind:
        # Certain: the fault is known.
        case "upstream_context":
            indices = retry_state.larger_window_indices
        case "upstream_model":
            indices = retry_state.other_place_indices
        case "upstream_auth":
            indices = retry_state.next_indices
        case "upstream_moved" | "overloaded":
            indices = retry_state.other_server_indices
        # Likely: the provider says that it did not do the work.
        case "upstream_rate_limited" | "upstream_overloaded":
            indices = [*retry_state.next_indices, *retry_state.find_repeat_indices(problem)]
        case "upstream_error" if problem.spent == "no":
            indices = [*retry_state.next_indices, *retry_state.find_repeat_indices(problem)]
        # Likely: the provider was never reached.
        case "upstream_unreachable" if problem.spent == "no":
            indices = [
                *retry_state.other_server_indices,
                *retry_state.find_repeat_indices(problem),
            ]
        case "upstream_timeout" if problem.spent == "no":
            indices = retry_state.other_server_indices
        # Doubtful: the provider may have done the work, and billed it.
        case _ if retry_state.doubtful_attempts > 1:
            indices = []
        case "upstream_truncated" | "upstream_unreachable" if retry_state.stream:
            # The stream was cut before its first content: nobody has seen any of it.
            indices = [*retry_state.other_place_indices, *retry_state.find_repeat_indices(problem)]
        case "upstream_error" | "upstream_timeout" | "upstream_truncated" | "upstream_unreachable":
            indices = retry_state.other_place_indices
        # Certain: the request itself is at fault, or the gateway.
        case _:
            indices = retry_state.find_response_indices(problem)
    return retry_state.pick_soonest(indices)


async def retry_candidates[T](
    attempt: Callable[[Candidate], Awaitable[T]],
    retry_state: RetryState,
    first_problem: Problem,
    *,
    sleep: Callable[[float], Awaitable[None]],
    jitter: Callable[[], float],
    may_wait: Callable[[Candidate, float], bool],
    grant: Callable[[Candidate, Candidate], bool],
) -> T:
    """Go on after the first candidate has failed. Raises ProblemError with the last failure.

    `may_wait` returns True if the call may wait so many seconds (0.0: go on) for a candidate. The
    loop calls `grant` before each further request, with the failed candidate and the next one.
    """
    state = _RetryPlanner(retry_state, first_problem, jitter, may_wait, grant)
    retrying = tenacity.AsyncRetrying(
        sleep=sleep,
        stop=lambda _: state.next_index is None,
        wait=lambda _: state.wait_seconds,
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, ProblemError)),
        reraise=True,
    )
    if state.next_index is None:
        raise ProblemError(first_problem)
    await sleep(state.wait_seconds)
    try:
        return await retrying(state.run, attempt)
    except ProblemError as error:
        # The frames of its traceback refer back to the error: a cycle that holds all of the call.
        error.__traceback__ = None
        raise
    finally:
        retrying.iter_state.reset()  # its state refers back to it: a cycle


class _RetryPlanner:
    """The planner of a call's next candidate, and of the wait before it."""

    def __init__(
        self,
        retry_state: RetryState,
        first_problem: Problem,
        jitter: Callable[[], float],
        may_wait: Callable[[Candidate, float], bool],
        grant: Callable[[Candidate, Candidate], bool],
    ) -> None:
        self.retry_state = retry_state
        self.jitter = jitter
        self.may_wait = may_wait
        self.grant = grant
        self.next_index: int | None = None
        self.wait_seconds = 0.0
        self.plan_next(first_problem)

    def plan_next(self, problem: Problem) -> None:
        """Plan what comes after a failure."""
        retry_state, self.wait_seconds, self.next_index = self.retry_state, 0.0, None
        retry_state.doubtful_attempts += problem.spent == "maybe"
        if retry_state.seeks_response and not is_response_missing(problem):
            retry_state.seeking_problem = problem
        if len(retry_state.tried_indices) >= _MAX_ATTEMPTS:
            return
        preferred_index = retry_state.find_preferred_retry(problem)
        if preferred_index is not None and self._schedule(preferred_index, problem):
            retry_state.doubtful_attempts -= problem.spent == "maybe"  # another may still take over
            retry_state.waited_seconds += self.wait_seconds
            return
        next_index = choose_next(problem, retry_state)
        if next_index is not None:
            self._schedule(next_index, problem)

    def _schedule(self, index: int, problem: Problem) -> bool:
        """Plan a candidate next, if the call has time and the lab a retry for it.

        Return True if so.
        """
        retry_state = self.retry_state
        failed_candidate = retry_state.candidates[retry_state.current_index]
        next_candidate = retry_state.candidates[index]
        if index == retry_state.current_index:
            # Full jitter: see "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
            backoff = self.jitter() * min(8.0, 0.5 * 2 ** len(retry_state.tried_indices))
            stated_wait = max(problem.retry_after or 0.0, retry_state.get_cooldown(next_candidate))
            wait = max(add_jitter(stated_wait, self.jitter), backoff)
        else:
            wait = add_jitter(retry_state.get_cooldown(next_candidate), self.jitter)
        if not self.may_wait(next_candidate, wait) or not self.grant(
            failed_candidate, next_candidate
        ):
            return False
        self.next_index, self.wait_seconds = index, wait
        return True

    async def run(self, attempt: Callable[[Candidate], Awaitable[Any]]) -> Any:
        retry_state = self.retry_state
        retry_state.current_index = (
            retry_state.current_index if self.next_index is None else self.next_index
        )
        retry_state.tried_indices.append(retry_state.current_index)
        try:
            return await attempt(retry_state.candidates[retry_state.current_index])
        except ProblemError as error:
            self.plan_next(error.problem)
            raise


def add_jitter(seconds: float, jitter: Callable[[], float]) -> float:
    """Return a wait that is up to half longer, a second at most, so that calls spread out."""
    return seconds + jitter() * min(1.0, seconds / 2)


def build_client_problem(
    problem: Problem,
    retry_state: RetryState,
    jitter: Callable[[], float],
    *,
    is_time_up: bool = False,
) -> Problem:
    """Return the last failure as the client gets it, with the time of the soonest target.

    The client retries by its own rule where it would at the provider. It does not if its time is
    up, or if the provider has answered with an error. After several attempts of its own, the
    gateway asks the client to wait a little first. An earlier answer is missing only if no account
    that was asked has it.
    """
    if retry_state.seeking_problem is not None and is_response_missing(problem):
        problem = retry_state.seeking_problem
    retry_after, retryable = problem.retry_after, problem.retryable
    if retry_after is not None and problem.kind in _RETRY_AFTER_KINDS:
        failed_key = retry_state.candidates[retry_state.current_index].key
        other_cooldowns = [
            retry_state.get_cooldown(candidate)
            for candidate in retry_state.candidates
            if candidate.key != failed_key
        ]
        retry_after = min([retry_after, *filter(None, other_cooldowns)])
    if is_time_up or _is_provider_answer(problem):
        retryable = False
    elif problem.kind == "upstream_truncated" and not retry_state.stream:
        retryable = True  # SDKs do not retry a stream that has begun
    if (
        problem.kind in _TRANSIENT_KINDS
        and retry_after is None
        and (len(retry_state.tried_indices) > 1 or retryable is False)
    ):
        retry_after = 1.0 + 4.0 * jitter()
    message = problem.message
    if retry_after is not None and retryable is not False:
        message = f"{message} {make_retry_hint(retry_after)}"
    return msgspec.structs.replace(
        problem, message=message, retry_after=retry_after, retryable=retryable
    )


def make_retry_hint(seconds: float) -> str:
    """Return a sentence that says when to try again, as the header does: many programs log none."""
    return f"Try again in {max(1, math.ceil(seconds))} s."
