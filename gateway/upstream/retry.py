"""What to try after a failure, and when: tenacity's loop with one readable decision inside.

certain   the request itself is at fault           -> the caller's, nothing is tried
          the model or its window is at fault      -> a target that differs in just that
          the credential is at fault               -> another account or target
likely    the provider did not do the work         -> what comes next in the plan, else once more
doubtful  it may have done it (and billed it)      -> another target takes over, once

A content filter's refusal is an answer, and is never shopped around.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import tenacity

from gateway.core.decision import Plan
from gateway.core.problem import Problem, ProblemError
from gateway.core.target import Account, Target
from gateway.upstream.quota import FREE, Place, Room

_MOST = 4
"""Attempts of one call: with the SDKs' own three, more would multiply a provider's bad minute."""
_SAME = 3
"""Attempts after which nobody is asked again who has been asked before."""
_LIMITED = 2
"""Attempts at who limits the rate: it has said how many it takes."""
LONGEST_WAIT = 20.0
"""Seconds; a provider that asks for more is told apart by the client, which can wait longer."""
_UNDONE = frozenset({
    "upstream_rate_limited", "upstream_overloaded", "upstream_error", "upstream_unreachable",
    "upstream_timeout",
})  # fmt: skip
"""Kinds that say, where nothing was spent, that the work was not done."""
_BAD_MINUTE = frozenset({"upstream_overloaded", "upstream_error", "upstream_unreachable"})
"""Kinds after which a provider may be well again soon."""


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


class Seat(msgspec.Struct, frozen=True):
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


def candidates(plan: Plan, seat: Seat | None = None) -> list[Candidate]:
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
    order: list[Candidate], room: Callable[[Candidate], Room], seat: Seat | None = None
) -> tuple[list[Candidate], Room]:
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


class Trail:
    """Where in the plan a call is, and what it has tried."""

    __slots__ = ("at", "denied", "doubts", "order", "out", "retried", "stream", "tried")

    def __init__(
        self,
        order: list[Candidate],
        *,
        stream: bool = False,
        retried: bool = False,
        out: Callable[[Candidate], bool] = lambda _: False,
    ) -> None:
        """`retried`: its client tries again by itself. `out`: who must not be asked now."""
        self.order = order
        self.stream = stream
        self.retried = retried
        self.out = out
        self.at = 0
        self.tried = [0]
        """Places, in the order in which they were asked."""
        self.doubts = 0
        """Attempts that may have been billed."""
        self.denied = False
        """One more would have been made, but the lab has no more retries."""

    @property
    def next(self) -> int | None:
        """What comes next in the plan."""
        return self._find(lambda _: True)

    @property
    def elsewhere(self) -> int | None:
        """The next of another provider, else the next."""
        failed = self.order[self.at].target.provider.name
        return _else(self._find(lambda one: one.target.provider.name != failed), self.next)

    @property
    def other(self) -> int | None:
        """The next target, whatever its accounts."""
        failed = self.order[self.at].target.name
        return self._find(lambda one: one.target.name != failed)

    @property
    def larger(self) -> int | None:
        """The next that takes a longer prompt."""
        window = self.order[self.at].target.facts.window or 0
        return self._find(lambda one: (one.target.facts.window or 0) > window)

    def _find(self, fits: Callable[[Candidate], bool]) -> int | None:
        for at in range(self.at + 1, len(self.order)):
            if fits(self.order[at]) and not self.out(self.order[at]):
                return at
        return None

    def same(self, problem: Problem) -> int | None:
        """The same once more, where that may help."""
        most = _LIMITED if problem.kind == "upstream_rate_limited" else _SAME
        if self.retried or problem.lasting or len(self.tried) >= _SAME:
            return None
        if self.tried.count(self.at) >= most or (problem.retry_after or 0.0) > LONGEST_WAIT:
            return None
        return None if self.out(self.order[self.at]) else self.at


def after(problem: Problem, trail: Trail) -> int | None:
    """The place of the candidate to try next, or None where trying again cannot help."""
    found: int | None = None
    match problem.kind:
        # Certain: what is at fault is known.
        case "upstream_context":
            found = trail.larger
        case "upstream_model":
            found = trail.other
        case "upstream_auth":
            found = trail.next
        case "upstream_moved" | "overloaded":
            found = trail.elsewhere
        # Likely: the provider says that it did not do the work.
        case "upstream_rate_limited" | "upstream_overloaded":
            found = _else(trail.next, trail.same(problem))
        case "upstream_error" if problem.spent == "no":
            found = _else(trail.next, trail.same(problem))
        # Likely: it was never reached.
        case "upstream_unreachable" if problem.spent == "no":
            found = _else(trail.elsewhere, trail.same(problem))
        case "upstream_timeout" if problem.spent == "no":
            found = trail.elsewhere
        # Doubtful: it may have done it, and billed it.
        case _ if trail.doubts > 1:
            found = None
        case "upstream_truncated" | "upstream_unreachable" if trail.stream:
            # It was cut before its first content: nobody has seen anything of it.
            found = _else(trail.other, trail.same(problem))
        case "upstream_error" | "upstream_timeout" | "upstream_truncated" | "upstream_unreachable":
            found = trail.other
        # Certain: the request itself, or the gateway.
        case _:
            found = None
    return found


def _else(found: int | None, other: int | None) -> int | None:
    return other if found is None else found


async def again[T](
    attempt: Callable[[Candidate], Awaitable[T]],
    trail: Trail,
    first: Problem,
    *,
    sleep: Callable[[float], Awaitable[None]],
    jitter: Callable[[], float],
    left: Callable[[], float],
    grant: Callable[[Candidate, Candidate], bool],
) -> T:
    """Go on after the first candidate has failed. Raises ProblemError with the last failure.

    `left` tells how many seconds the call has. `grant` is asked before each further request, with
    who has failed and who is next.
    """
    state = _State(trail, first, jitter, left, grant)
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
        trail: Trail,
        first: Problem,
        jitter: Callable[[], float],
        left: Callable[[], float],
        grant: Callable[[Candidate, Candidate], bool],
    ) -> None:
        self.trail = trail
        self.jitter = jitter
        self.left = left
        self.grant = grant
        self.next: int | None = None
        self.wait = 0.0
        self.note(first)

    def note(self, problem: Problem) -> None:
        trail, self.wait, self.next = self.trail, 0.0, None
        trail.doubts += problem.spent == "maybe"
        found = after(problem, trail) if len(trail.tried) < _MOST else None
        if found is None:
            return
        if found == trail.at:
            # Full jitter: see "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
            spread = self.jitter() * min(8.0, 0.5 * 2 ** len(trail.tried))
            self.wait = max(problem.retry_after or 0.0, spread)
        if self.wait >= self.left():
            return
        if not self.grant(trail.order[trail.at], trail.order[found]):
            trail.denied = True
            return
        self.next = found

    async def run(self, attempt: Callable[[Candidate], Awaitable[Any]]) -> Any:
        trail = self.trail
        trail.at = trail.at if self.next is None else self.next
        trail.tried.append(trail.at)
        try:
            return await attempt(trail.order[trail.at])
        except ProblemError as error:
            self.note(error.problem)
            raise


def told(
    problem: Problem, trail: Trail, allow: Callable[[], bool], jitter: Callable[[], float]
) -> Problem:
    """The last failure as the client is told it, and whether it may come back by itself.

    It may where it was tried once, nothing was spent, and the lab has a retry left, which is then
    the client's. Else one layer has tried enough: this one, and whoever asks anew waits a little.
    """
    undone = problem.kind in _UNDONE and problem.spent == "no" and not problem.lasting
    if undone and len(trail.tried) == 1 and not trail.denied and allow():
        return msgspec.structs.replace(problem, once=True)
    if problem.kind in _BAD_MINUTE and problem.retry_after is None:
        return msgspec.structs.replace(problem, retry_after=1.0 + 4.0 * jitter())
    return problem
