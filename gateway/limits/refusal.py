"""What a client is told whose call does not pass."""

from gateway.core.problem import Problem, ProblemError
from gateway.limits.meter import Over

UNCOUNTED = Problem(
    kind="overloaded",
    message="Budgets cannot be counted now, so nothing is sent. Try again soon.",
    retry_after=5.0,
)
_LONGEST_TOLD = 60.0
"""Seconds. Some SDKs wait for any time that stands in `retry-after`, others give up."""


def refusal(over: Over, *, known: bool) -> ProblemError:
    """Why, and when to try again; `known`: it is known what the call costs at most."""
    need = over.need
    if need.kind == "usd" and not known:
        message = (
            f"The budget {need.name!r} cannot be held: what this call costs at most is not known. "
            "Give its models a price and a max_output, or set max_tokens."
        )
        return ProblemError(Problem(kind="budget", message=message))
    if need.kind in ("usd", "share"):
        window = need.field.rpartition("|")[2]
        when = "" if window == "total" else f" for {window}"
        what = "is spent" if need.kind == "usd" else "leaves no more of this tier"
        message = f"The budget {need.name!r} {what}{when}, with what runs now."
        return ProblemError(Problem(kind="budget", message=message))
    pace = f"{need.limit:,} {need.kind}"
    if need.kind == "concurrency":
        pace = f"{need.limit:,} calls at a time"
    else:
        pace += f" in {need.period:g} s"
    message = f"The limit {need.name!r} is reached: {pace}. Try again later."
    wait = 1.0 if over.retry_after is None else min(over.retry_after, _LONGEST_TOLD)
    return ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
