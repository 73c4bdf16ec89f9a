"""What to try after a failure, and when: tenacity's loop with one readable decision inside.

certain   the request itself is at fault           -> the caller's, nothing is tried
          the model or its window is at fault      -> a target that differs in just that
          the credential is at fault               -> another account or target
likely    the provider did not do the work         -> what comes next in the plan, else once more
doubtful  it may have done it (and billed it)      -> another target, never the same again
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import tenacity

from gateway.core.decision import Plan
from gateway.core.problem import Problem, ProblemError
from gateway.core.target import Account, Target
from gateway.upstream.quota import FREE, Room

_MOST = 4
"""Attempts of one call: with the SDKs' own three, more would multiply a provider's bad minute."""
LONGEST_WAIT = 20.0
"""Seconds; a provider that asks for more is told apart by the client, which can wait longer."""
_AGAIN = frozenset({"upstream_rate_limited", "upstream_overloaded", "upstream_error"})


class Candidate(msgspec.Struct, frozen=True):
    """A target with one of its provider's accounts, and the dialect in which it is asked."""

    target: Target
    account: Account
    door: str


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
    every = [
        Candidate(target, account, door)
        for target, door in zip(plan.targets, plan.doors, strict=True)
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


def after(problem: Problem, at: int, order: list[Candidate]) -> int | None:
    """The place of the candidate to try next, or None where trying again cannot help."""
    failed, rest = order[at], range(at + 1, len(order))
    match problem.kind:
        case "upstream_rejected":
            return None
        case "upstream_context":
            window = failed.target.facts.window or 0
            return _first(rest, lambda i: (order[i].target.facts.window or 0) > window)
        case "upstream_model":
            return _first(rest, lambda i: order[i].target.name != failed.target.name)
        case kind if kind.startswith("upstream_"):
            if rest:
                return (
                    rest[0]
                    if problem.spent == "no"
                    else _first(rest, lambda i: order[i].target.name != failed.target.name)
                )
            unread = kind in _AGAIN or (kind == "upstream_unreachable" and problem.spent == "no")
            return at if unread and problem.spent == "no" else None
        case _:
            return None


def _first(places: range, fits: Callable[[int], bool]) -> int | None:
    return next((place for place in places if fits(place)), None)


async def again[T](
    attempt: Callable[[Candidate], Awaitable[T]],
    order: list[Candidate],
    first: Problem,
    *,
    sleep: Callable[[float], Awaitable[None]],
    jitter: Callable[[], float],
) -> T:
    """Go on after the first candidate has failed. Raises ProblemError with the last failure."""
    state = _State(order, first, jitter)
    retrying = tenacity.AsyncRetrying(
        sleep=sleep,
        stop=lambda _: state.at is None or state.tried >= _MOST,
        wait=lambda _: state.wait,
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, ProblemError)),
        reraise=True,
    )
    if state.at is None:
        raise ProblemError(first)
    await sleep(state.wait)
    return await retrying(state.run, attempt)


class _State:
    """Where in the plan a call is, and how long to wait before the next attempt."""

    def __init__(self, order: list[Candidate], first: Problem, jitter: Callable[[], float]) -> None:
        self.order = order
        self.jitter = jitter
        self.tried = 1
        self.at: int | None = 0
        self.wait = 0.0
        self.note(first)

    def note(self, problem: Problem) -> None:
        before = self.at
        if before is None:
            return
        self.at = after(problem, before, self.order)
        self.wait = 0.0
        if self.at == before:
            asked = problem.retry_after or 0.0
            if asked > LONGEST_WAIT:
                self.at = None
            # Full jitter: see "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
            self.wait = max(asked, self.jitter() * min(8.0, 0.5 * 2**self.tried))

    async def run(self, attempt: Callable[[Candidate], Awaitable[Any]]) -> Any:
        at = self.at or 0
        self.tried += 1
        try:
            return await attempt(self.order[at])
        except ProblemError as error:
            self.note(error.problem)
            raise
