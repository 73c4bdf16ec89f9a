"""Errors for a call that nothing may serve.

A message names only what the client has named or what its key may use. Settings of the operator
stand in the detail of a problem, which no client sees.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.decision import SkippedTarget
from gateway.core.errors import Problem, ProblemError
from gateway.routing import capabilities

_LONG = 100
"""Characters of a name that are repeated."""
_MOST = 3
"""Reasons in one message."""


def shown(name: str) -> str:
    """Quote a name that a client has sent."""
    return repr(name if len(name) <= _LONG else f"{name[:_LONG]}...")


def not_allowed(what: str, why: str = "") -> ProblemError:
    """Refuse what a key may not use: "the model 'x'"."""
    message = f"This key may not use {what} for this call{f': {why}' if why else ''}."
    return ProblemError(Problem(kind="not_allowed", message=message, param="model"))


def no_target(what: str, skipped: Iterable[SkippedTarget]) -> ProblemError:
    """Refuse a call that no target can serve, with the reasons that lie in the request.

    The message leaves out targets that the key may not use, and names of targets that are off.
    """
    names: dict[str, dict[str, None]] = {}
    details: dict[str, None] = {}
    for one in skipped:
        if one.detail:
            details[f"{one.target} is off: {one.detail}"] = None
        elif one.reason not in capabilities.SCOPE:
            names.setdefault(one.reason, {})[one.target] = None
    reasons = [f"{reason} ({', '.join(targets)})" for reason, targets in names.items()]
    if len(reasons) > _MOST:
        reasons[_MOST:] = [f"and {len(reasons) - _MOST} more reasons"]
    if not reasons:
        reasons = ["its providers are off" if details else "it has none"]
    message = f"No target of {what} can serve this request: {'; '.join(reasons)}."
    detail = "; ".join(details)
    return ProblemError(Problem(kind="no_target", message=message, detail=detail, param="model"))


def unknown_past(what: str, skipped: Iterable[SkippedTarget], member: str) -> ProblemError:
    """Refuse a call that goes on from an answer which no target of its lab has."""
    problem = no_target(what, skipped).problem
    again = f"Send the whole conversation: without `{member}`, or beginning another."
    message = f"{problem.message} {again}"
    return ProblemError(
        msgspec.structs.replace(problem, kind="not_found", message=message, param=member)
    )
