"""What a client is told where nothing may serve its call.

A text names only what the client has named or what its key may use. It names no setting of the
operator's: that is the detail of a problem, which no client is told.
"""

from collections.abc import Iterable

from gateway.core.decision import Skipped
from gateway.core.problem import Problem, ProblemError
from gateway.routing import constraint

_LONG = 100
"""Characters of a name that are repeated."""
_MOST = 3
"""Reasons that are told."""


def shown(name: str) -> str:
    """Quote a name that a client has sent."""
    return repr(name if len(name) <= _LONG else f"{name[:_LONG]}...")


def not_allowed(what: str, why: str = "") -> ProblemError:
    """Refuse what a key may not use: "the model 'x'"."""
    message = f"This key may not use {what} for this call{f': {why}' if why else ''}."
    return ProblemError(Problem(kind="not_allowed", message=message, param="model"))


def no_target(what: str, skipped: Iterable[Skipped]) -> ProblemError:
    """Refuse a call that no target can serve, with the reasons that lie in the request.

    Targets that the key may not use are left out, and those that are off are told without a name.
    """
    names: dict[str, dict[str, None]] = {}
    details: dict[str, None] = {}
    for one in skipped:
        if one.detail:
            details[f"{one.target} is off: {one.detail}"] = None
        elif one.reason not in constraint.SCOPE:
            names.setdefault(one.reason, {})[one.target] = None
    reasons = [f"{reason} ({', '.join(targets)})" for reason, targets in names.items()]
    if len(reasons) > _MOST:
        reasons[_MOST:] = [f"and {len(reasons) - _MOST} more reasons"]
    if not reasons:
        reasons = ["its providers are off" if details else "it has none"]
    message = f"No target of {what} can serve this request: {'; '.join(reasons)}."
    detail = "; ".join(details)
    return ProblemError(Problem(kind="no_target", message=message, detail=detail, param="model"))
