"""What a client is told whose call does not pass."""

from decimal import Decimal

from gateway.core.errors import Problem, ProblemError
from gateway.limits.counters import CounterDemand, Refusal

_MICRO = Decimal(1_000_000)
UNCOUNTED = Problem(
    kind="overloaded",
    message="Budgets cannot be counted now, so nothing is sent. Try again soon.",
    retry_after=5.0,
)
_LONGEST_TOLD = 60.0
"""Seconds. Some SDKs wait for any time that stands in `retry-after`, others give up."""


_CAPS = {"openai-responses": "max_output_tokens", "gemini": "maxOutputTokens"}
"""What dialects call the cap on the output, where it is not max_tokens."""


def refusal(over: Refusal, dialect: str) -> ProblemError:
    """Tell a client of a dialect why its call does not pass, and when to try again.

    A budget for all tenants is told as any other: nothing is said of what others have spent.
    """
    need, cap = over.need, _CAPS.get(dialect, "max_tokens")
    if over.busy:
        message = (
            f"The budget {need.name!r} has no room at the moment: calls that run now have reserved "
            f"what is left of it. Try again in a second, or send a smaller {cap}."
        )
        return ProblemError(
            Problem(kind="budget_busy", message=message, retry_after=over.retry_after)
        )
    if need.kind in ("usd", "share"):
        window = need.field.rpartition("|")[2]
        when = "" if window == "total" else f" for {window}"
        cost = f"${need.amount / _MICRO:f}"
        if need.kind == "usd" and 0 < need.limit < need.amount:
            message = (
                f"This call may cost {cost}, which is more than all of the budget {need.name!r}. "
                f"Send a smaller {cap}."
            )
        elif need.kind == "usd":
            message = (
                f"The budget {need.name!r} is spent{when}: what is left is less than this call "
                f"may cost, {cost}."
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


def unbounded(need: CounterDemand, dialect: str, *, priced: bool) -> ProblemError:
    """Tell a client that a hard budget cannot reserve what its call costs at most.

    `priced`: a cap on the answer would bound the cost of a target, so the client can help itself.
    """
    what = f"the budget {need.name!r} has to reserve what a call can cost"
    if not priced:
        message = (
            f"No model that can serve this call has a known price, and {what}. "
            "The operator of the gateway has to give one of them a price."
        )
        return ProblemError(Problem(kind="budget_unbounded", message=message))
    cap = _CAPS.get(dialect, "max_tokens")
    message = (
        f"No model that can serve this call has a known limit of its answer, and {what}. "
        f"Send {cap}. The operator of the gateway can give one of them a `max_output` or a "
        "`context`, or all of them `unknown_output`."
    )
    return ProblemError(Problem(kind="budget_unbounded", message=message, param=cap))
