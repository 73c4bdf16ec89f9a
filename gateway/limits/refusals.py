"""The errors that a client gets when its call does not pass its limits."""

from decimal import Decimal

import msgspec

from gateway.core.errors import Problem, ProblemError
from gateway.core.rate_limits import ExceededQuota
from gateway.limits import window
from gateway.limits.cost_bounds import BoundGap
from gateway.limits.counters import CounterDemand, Refusal
from gateway.limits.rate_view import find_tightest

_MICRO_PER_USD = Decimal(1_000_000)
UNCOUNTED_PROBLEM = Problem(
    kind="overloaded",
    message="The gateway cannot count budgets now, so it calls no provider. Try again soon.",
    retry_after=5.0,
)
_MAX_RETRY_AFTER = 60.0
"""Seconds. Some SDKs wait for any time in `retry-after`, others give up."""


_CAP_NAMES = {"openai-responses": "max_output_tokens", "gemini": "maxOutputTokens"}
"""Each dialect's name for the cap on the output, if it is not max_tokens."""


def make_refusal_error(answer: Refusal, dialect: str, now: float) -> ProblemError:
    """Tell a client of a dialect why its call does not pass, and when to try again.

    `now` is in seconds since the epoch.

    The message about a budget for all tenants does not reveal what others have spent.
    """
    demand = answer.demand
    quota_limit = None if demand.kind in ("usd", "share") else demand.limit
    problem = msgspec.structs.replace(
        _make_refusal_problem(answer, dialect, now),
        exceeded_quota=ExceededQuota(demand.kind, demand.name, quota_limit),
        rate_limits=find_tightest(answer.rates, now),
    )
    return ProblemError(problem)


def _make_refusal_problem(answer: Refusal, dialect: str, now: float) -> Problem:
    demand, cap_name = answer.demand, _CAP_NAMES.get(dialect, "max_tokens")
    if answer.busy:
        message = (
            f"The budget {demand.name!r} has no room now: running calls have reserved the "
            f"rest of it. Try again in a second, or send a smaller {cap_name}."
        )
        return Problem(kind="budget_busy", message=message, retry_after=answer.retry_after)
    if demand.kind in ("usd", "share"):
        window_name = demand.field.rpartition("|")[2]
        window_text = "" if window_name == "total" else f" for {window_name}"
        cost = f"${demand.amount / _MICRO_PER_USD:f}"
        if demand.kind == "usd" and 0 < demand.limit < demand.amount:
            message = (
                f"This call may cost {cost}, which is more than all of the budget {demand.name!r}. "
                f"Send a smaller {cap_name}."
            )
        elif demand.kind == "usd":
            message = (
                f"The budget {demand.name!r} is spent{window_text}: less is left than this "
                f"call may cost, {cost}."
            )
            # The SDKs of clients wait for the next minute, but not for the next hour.
            wait = window.compute_minute_wait(window_name, now) if demand.limit else None
            if wait is not None:
                text = f"{message} Try again in the next minute."
                return Problem(kind="budget_busy", message=text, retry_after=max(1.0, wait))
        else:
            message = f"The budget {demand.name!r} leaves no more of this tier{window_text}."
        return Problem(kind="budget", message=message)
    limit_text = f"{demand.limit:,} {demand.kind}"
    if demand.kind == "concurrency":
        limit_text = f"{demand.limit:,} calls at a time"
    else:
        limit_text += f" in {demand.period:g} s"
    message = f"The limit {demand.name!r} is reached: {limit_text}. Try again later."
    wait = 1.0 if answer.retry_after is None else min(answer.retry_after, _MAX_RETRY_AFTER)
    return Problem(kind="rate_limited", message=message, retry_after=wait)


def make_unbounded_error(demand: CounterDemand, dialect: str, gap: BoundGap) -> ProblemError:
    """Tell a client that a hard budget cannot reserve the most that its call may cost.

    `gap` is what is missing. A cap on the answer can come from the client.
    """
    explanation = f"the budget {demand.name!r} has to reserve what a call can cost"
    if gap == "input":
        message = (
            f"No model that can serve this call has a known window, and {explanation}. Files, "
            "stored turns and tools of the provider have no other bound. The operator of the "
            "gateway has to give one of them a `context`."
        )
        return ProblemError(Problem(kind="budget_unbounded", message=message))
    if gap == "operation":
        message = (
            f"The request does not show what it may cost, and {explanation}. A batch shows it if "
            "its file went through the gateway in one upload, each request has a cap on its "
            "answer, and each model has a price."
        )
        return ProblemError(Problem(kind="budget_unbounded", message=message))
    if gap == "price":
        message = (
            f"No model that can serve this call has a known price, and {explanation}. "
            "The operator of the gateway has to give one of them a price, or all of them an "
            "`unknown_price`."
        )
        return ProblemError(Problem(kind="budget_unbounded", message=message))
    cap_name = _CAP_NAMES.get(dialect, "max_tokens")
    message = (
        f"No model that can serve this call has a known limit of its answer, and {explanation}. "
        f"Send {cap_name}. The operator of the gateway can give one of them a `max_output` or a "
        "`context`, or all of them `unknown_output`."
    )
    return ProblemError(Problem(kind="budget_unbounded", message=message, param=cap_name))
