"""Decides what a call tries after a failure, and when; tenacity has the loop.

certain   the request itself is at fault           -> the caller's, nothing is tried
          the model or its window is at fault      -> a target that differs in just that
          the credential is at fault               -> another account or target
likely    the provider did not do the work         -> what comes next in the plan, else once more
doubtful  it may have done it (and billed it)      -> another target takes over, once

Before another target takes over, the preferred one is asked once more after a blip (Policy). No
target is asked before the time that its provider has named. A content filter's refusal is an
answer, and is never shopped around.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import tenacity

from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Target
from gateway.upstream.provider_quota import FREE, Headroom, Place

_MOST = 4
"""Attempts of one call: with the SDKs' own three, more would multiply a provider's bad minute."""
_SAME = 3
"""Attempts after which nobody is asked again who has been asked before."""
_FEW = 2
"""Attempts at a target that limits the rate, or whose client retries by itself."""
_BAD_MINUTE = frozenset({"upstream_overloaded", "upstream_error", "upstream_unreachable"})
"""Kinds after which a provider may be well again soon."""
_LATER = frozenset({"upstream_rate_limited", "upstream_overloaded", "upstream_error"})
"""Kinds with which a provider may name the time from which it takes calls again."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of a call for a target, and how often it asks the preferred one again."""

    preferred_wait: float = 3.0
    """Seconds that a call waits for its preferred target before another one takes over."""
    preferred_again: int = 1
    """Times that a call asks its preferred target again before another one takes over."""
    longest_wait: float = 20.0
    """Seconds that a call waits where no other target can take it now."""


DEFAULT = RetryPolicy()


class Candidate(msgspec.Struct, frozen=True):
    """A target with one of its provider's accounts, and the dialect in which it is asked."""

    target: Target
    account: Account
    door: str
    place: Place = ("", "", "")
    """Whose limits it is under, but where tokens are counted; found from the others."""

    def __post_init__(self) -> None:
        """Find its place."""
        target = self.target
        place = target.provider.name, self.account.name, target.model
        msgspec.structs.force_setattr(self, "place", place)


class PinnedAccount(msgspec.Struct, frozen=True):
    """Who has what the call goes on from: a model's reasoning, or an earlier answer."""

    provider: str
    account: str
    model: str | None = None
    """None where any model of the provider can use it."""

    def fits(self, candidate: Candidate) -> bool:
        """Whether a candidate is the one that has it."""
        target = candidate.target
        own = target.provider.name == self.provider and candidate.account.name == self.account
        return own and self.model in (None, target.model)


def candidates(plan: Plan, seat: PinnedAccount | None = None) -> list[Candidate]:
    """Every target of a plan with every account, in order; but first who has the seat."""
    targets = plan.targets
    if len(targets) == 1 and len(targets[0].provider.accounts) == 1:
        return [Candidate(targets[0], targets[0].provider.accounts[0], plan.doors[0])]
    every = [
        Candidate(target, account, door)
        for target, door in zip(targets, plan.doors, strict=True)
        for account in target.provider.accounts
    ]
    return every if seat is None else sorted(every, key=lambda one: not seat.fits(one))


def by_room(
    order: list[Candidate], room: Callable[[Candidate], Headroom], seat: PinnedAccount | None = None
) -> tuple[list[Candidate], Headroom]:
    """The same, those with room first and those that a provider has parked last, soonest first.

    Who has the seat is not left for a shortage, only where it is parked. Also gives the room of the
    first: where that is parked, all are.
    """
    rooms = [room(one) for one in order]
    if all(one.free for one in rooms):
        return order, FREE

    def rank(at: int) -> tuple[int, float]:
        found = rooms[at]
        if found.parked:
            return 2, found.until
        seated = seat is not None and seat.fits(order[at])
        return 0 if found.free or seated else 1, 0.0

    places = sorted(range(len(order)), key=rank)
    return [order[at] for at in places], rooms[places[0]]


class RetryState:
    """Where in the plan a call is, and what it has tried."""

    __slots__ = (
        "at", "doubts", "order", "out", "policy", "rest", "retried", "retries", "stream", "tried",
        "waited",
    )  # fmt: skip

    def __init__(
        self,
        order: list[Candidate],
        policy: RetryPolicy = DEFAULT,
        *,
        stream: bool = False,
        retries: bool = False,
        retried: bool = False,
        out: Callable[[Candidate], bool] = lambda _: False,
        rest: Callable[[Candidate], float] = lambda _: 0.0,
        waited: float = 0.0,
    ) -> None:
        """Begin after the first of `order` has failed.

        `retries`: the client retries by itself. `retried`: it has done so, and nobody is asked
        twice. `out` tells who must not be asked, `rest` the seconds until a provider takes a
        candidate again. `waited` are the seconds that the call has waited for its preferred target.
        """
        self.order = order
        self.policy = policy
        self.stream = stream
        self.retries = retries
        self.retried = retried
        self.out = out
        self.rest = rest
        self.waited = waited
        self.at = 0
        self.tried = [0]
        """Places, in the order in which they were asked."""
        self.doubts = 0
        """Attempts that may have been billed."""

    @property
    def beyond(self) -> list[int]:
        """The places that come next in the plan."""
        return [at for at in range(self.at + 1, len(self.order)) if at not in self.tried]

    @property
    def elsewhere(self) -> list[int]:
        """The places that come next, other providers first."""
        failed = self.order[self.at].target.provider.name
        return sorted(self.beyond, key=lambda at: self.order[at].target.provider.name == failed)

    @property
    def others(self) -> list[int]:
        """The places of other targets that come next, whatever their accounts."""
        failed = self.order[self.at].target.name
        return [at for at in self.beyond if self.order[at].target.name != failed]

    @property
    def larger(self) -> list[int]:
        """The places of targets with a larger window; if there is none, with an unknown one."""
        window = self.order[self.at].target.facts.window or 0
        asked = {self.order[at].target.name for at in self.tried}
        left = [at for at, one in enumerate(self.order) if one.target.name not in asked]
        known = [at for at in left if (self.order[at].target.facts.window or 0) > window]
        return known or [at for at in left if self.order[at].target.facts.window is None]

    def same(self, problem: Problem) -> list[int]:
        """The place of the same candidate, if it may be asked once more."""
        failed = self.order[self.at]
        few = self.retries or problem.kind == "upstream_rate_limited"
        most = _FEW if few else _SAME
        if self.retried or problem.lasting or len(self.tried) >= _SAME:
            return []
        if sum(self.order[at].place == failed.place for at in self.tried) >= most:
            return []
        return [] if (problem.retry_after or 0.0) > self.policy.longest_wait else [self.at]

    def pick(self, places: Iterable[int]) -> int | None:
        """Return the first of these that may be asked now, else the one that may be soonest."""
        most = self.policy.longest_wait
        rests = {at: self.rest(self.order[at]) for at in places if not self.out(self.order[at])}
        soon = [at for at, rest in rests.items() if rest <= most]
        return min(soon, key=rests.__getitem__, default=None)

    def once_more(self, problem: Problem) -> int | None:
        """Return the preferred target after a blip, if another target would take over now."""
        policy, failed, preferred = self.policy, self.order[self.at], self.order[0].target.name
        asked = sum(self.order[at].target.name == preferred for at in self.tried)
        if self.retried or failed.target.name != preferred or asked > policy.preferred_again:
            return None
        following = self.pick(self.beyond)
        if following is None or self.order[following].target.name == preferred:
            return None  # nobody else takes over, or another account of it does
        wait = max(problem.retry_after or 0.0, self.rest(failed))
        if self.waited + wait > policy.preferred_wait or self.out(failed):
            return None
        return self.at if _blip(problem) else None


def _blip(problem: Problem) -> bool:
    """True if the same request may be answered a moment later."""
    if problem.lasting or _answered(problem):
        return False
    if problem.kind == "upstream_rate_limited":
        return problem.retry_after is not None
    return problem.kind in _BAD_MINUTE


def _answered(problem: Problem) -> bool:
    """True if the provider has answered, with an error or with what nobody can read."""
    return problem.kind in _LATER and problem.spent == "maybe"


def after(problem: Problem, trail: RetryState) -> int | None:
    """The place of the candidate to try next, or None where trying again cannot help."""
    places: list[int]
    match problem.kind:
        # Certain: what is at fault is known.
        case "upstream_context":
            places = trail.larger
        case "upstream_model":
            places = trail.others
        case "upstream_auth":
            places = trail.beyond
        case "upstream_moved" | "overloaded":
            places = trail.elsewhere
        # Likely: the provider says that it did not do the work.
        case "upstream_rate_limited" | "upstream_overloaded":
            places = [*trail.beyond, *trail.same(problem)]
        case "upstream_error" if problem.spent == "no":
            places = [*trail.beyond, *trail.same(problem)]
        # Likely: it was never reached.
        case "upstream_unreachable" if problem.spent == "no":
            places = [*trail.elsewhere, *trail.same(problem)]
        case "upstream_timeout" if problem.spent == "no":
            places = trail.elsewhere
        # Doubtful: it may have done it, and billed it.
        case _ if trail.doubts > 1:
            places = []
        case "upstream_truncated" | "upstream_unreachable" if trail.stream:
            # It was cut before its first content: nobody has seen anything of it.
            places = [*trail.others, *trail.same(problem)]
        case "upstream_error" | "upstream_timeout" | "upstream_truncated" | "upstream_unreachable":
            places = trail.others
        # Certain: the request itself, or the gateway.
        case _:
            places = []
    return trail.pick(places)


async def again[T](
    attempt: Callable[[Candidate], Awaitable[T]],
    trail: RetryState,
    first: Problem,
    *,
    sleep: Callable[[float], Awaitable[None]],
    jitter: Callable[[], float],
    may_wait: Callable[[Candidate, float], bool],
    grant: Callable[[Candidate, Candidate], bool],
) -> T:
    """Go on after the first candidate has failed. Raises ProblemError with the last failure.

    `may_wait` tells whether the call may wait so many seconds (0.0: go on) for a candidate.
    `grant` is asked before each further request, with who has failed and who is next.
    """
    state = _State(trail, first, jitter, may_wait, grant)
    retrying = tenacity.AsyncRetrying(
        sleep=sleep,
        stop=lambda _: state.next is None,
        wait=lambda _: state.wait,
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, ProblemError)),
        reraise=True,
    )
    if state.next is None:
        raise ProblemError(first)
    await sleep(state.wait)
    try:
        return await retrying(state.run, attempt)
    except ProblemError as error:
        # The frames it came through know it: in a circle, with all that they know of the call.
        error.__traceback__ = None
        raise
    finally:
        retrying.iter_state.reset()  # it knows itself by what it would do next


class _State:
    """What comes next for a call, and how long it waits for that."""

    def __init__(
        self,
        trail: RetryState,
        first: Problem,
        jitter: Callable[[], float],
        may_wait: Callable[[Candidate, float], bool],
        grant: Callable[[Candidate, Candidate], bool],
    ) -> None:
        self.trail = trail
        self.jitter = jitter
        self.may_wait = may_wait
        self.grant = grant
        self.next: int | None = None
        self.wait = 0.0
        self.note(first)

    def note(self, problem: Problem) -> None:
        """Find out what comes after a failure."""
        trail, self.wait, self.next = self.trail, 0.0, None
        trail.doubts += problem.spent == "maybe"
        if len(trail.tried) >= _MOST:
            return
        preferred = trail.once_more(problem)
        if preferred is not None and self._take(preferred, problem):
            trail.doubts -= problem.spent == "maybe"  # another may still take over
            trail.waited += self.wait
            return
        found = after(problem, trail)
        if found is not None:
            self._take(found, problem)

    def _take(self, at: int, problem: Problem) -> bool:
        """Ask a candidate next, where the call has the time and the lab a retry for it."""
        trail = self.trail
        failed, following = trail.order[trail.at], trail.order[at]
        if at == trail.at:
            # Full jitter: see "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
            backoff = self.jitter() * min(8.0, 0.5 * 2 ** len(trail.tried))
            named = max(problem.retry_after or 0.0, trail.rest(following))
            wait = max(spread(named, self.jitter), backoff)
        else:
            wait = spread(trail.rest(following), self.jitter)
        if not self.may_wait(following, wait) or not self.grant(failed, following):
            return False
        self.next, self.wait = at, wait
        return True

    async def run(self, attempt: Callable[[Candidate], Awaitable[Any]]) -> Any:
        trail = self.trail
        trail.at = trail.at if self.next is None else self.next
        trail.tried.append(trail.at)
        try:
            return await attempt(trail.order[trail.at])
        except ProblemError as error:
            self.note(error.problem)
            raise


def spread(seconds: float, jitter: Callable[[], float]) -> float:
    """Return a wait that is up to half longer, and a second at most: not all come back at once."""
    return seconds + jitter() * min(1.0, seconds / 2)


def told(
    problem: Problem, trail: RetryState, jitter: Callable[[], float], *, used_up: bool = False
) -> Problem:
    """Return the last failure as the client gets it: with the time of the soonest target.

    The client retries by its own rule where it would at the provider, unless its time is `used_up`.
    After several attempts of its own the gateway asks the client to wait a little first.
    """
    after, retryable = problem.retry_after, problem.retryable
    if after is not None and problem.kind in _LATER:
        failed = trail.order[trail.at].place
        others = [trail.rest(one) for one in trail.order if one.place != failed]
        after = min([after, *filter(None, others)])
    if used_up or _answered(problem):
        retryable = False
    elif problem.kind == "upstream_truncated" and not trail.stream:
        retryable = True  # SDKs do not retry a stream that has begun
    if (
        problem.kind in _BAD_MINUTE
        and after is None
        and (len(trail.tried) > 1 or retryable is False)
    ):
        after = 1.0 + 4.0 * jitter()
    return msgspec.structs.replace(problem, retry_after=after, retryable=retryable)
