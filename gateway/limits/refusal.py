"""What a client is told whose call does not pass."""

from decimal import Decimal

from gateway.core.problem import Problem, ProblemError
from gateway.limits.meter import Over

_MICRO = Decimal(1_000_000)
UNCOUNTED = Problem(
    kind="overloaded",
    message="Budgets cannot be counted now, so nothing is sent. Try again soon.",
    retry_after=5.0,
)
_LONGEST_TOLD = 60.0
"""Seconds. Some SDKs wait for any time that stands in `retry-after`, others give up."""


def refusal(over: Over, *, known: bool) -> ProblemError:
    """Tell why a call does not pass, and when to try again.

    `known`: it is known what the call costs at most.
    """
    need = over.need
    if over.busy:
        message = (
            f"The budget {need.name!r} has no room at the moment: calls that run now have reserved "
            "what is left of it. Try again in a second, or send a smaller max_tokens."
        )
        return ProblemError(
            Problem(kind="budget_busy", message=message, retry_after=over.retry_after)
        )
    if need.kind == "usd" and not known:
        message = (
            f"The budget {need.name!r} cannot be held: what this call costs at most is not known. "
            "Give its models a price and a max_output, or set max_tokens."
        )
        return ProblemError(Problem(kind="budget", message=message))
    if need.kind in ("usd", "share"):
        window = need.field.rpartition("|")[2]
        when = "" if window == "total" else f" for {window}"
        if need.kind == "usd":
            message = (
                f"The budget {need.name!r} is spent{when}: what is left is less than this call "
                f"may cost, ${need.amount / _MICRO:f}."
            )
        else:
            message = f"The budget {need.name!r} leaves no more of this tier{when}."
        return ProblemError(Problem(kind="budget", message=message))
    pace = f"{need.limit:,} {need.kind}"
    if need.kind == "concurrency":
        pace = f"{need.limit:,} calls at a time"
    else:
        pace += f" in {need.period:g} s"
    message = f"The limit {need.name!r} is reached: {pace}. Try again later."
    wait = 1.0 if over.retry_after is None else min(over.retry_after, _LONGEST_TOLD)
    return ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
