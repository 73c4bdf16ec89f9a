"""Errors for a call that nothing may serve.

A message names only what the client has named or its key may use. The operator's settings are in
the detail of a problem, which no client sees.
"""

from collections.abc import Iterable

from gateway.core.decision import SkippedTarget
from gateway.core.errors import Problem, ProblemError
from gateway.routing import capabilities

_MAX_NAME_CHARS = 100
"""The maximum number of characters of a name that a message repeats."""
_MAX_REASONS = 3
"""The maximum number of reasons in one message."""


def quote_name(name: str) -> str:
    """Quote a name that a client has sent."""
    return repr(name if len(name) <= _MAX_NAME_CHARS else f"{name[:_MAX_NAME_CHARS]}...")


def not_allowed(subject: str, reason: str = "") -> ProblemError:
    """Refuse what a key may not use, such as "the model 'x'"."""
    message = f"This key may not use {subject} for this call{f': {reason}' if reason else ''}."
    return ProblemError(Problem(kind="not_allowed", message=message, param="model"))


def no_target(
    subject: str, skipped: Iterable[SkippedTarget], continuation_member: str = ""
) -> ProblemError:
    """Refuse a call that no target can serve, with the reasons that lie in the request.

    The message leaves out targets that the key may not use, and names of targets that are off. If
    the call continues an earlier answer, `continuation_member` is the member that names it.
    """
    targets_by_reason: dict[str, dict[str, None]] = {}
    details: dict[str, None] = {}
    for skipped_target in skipped:
        if skipped_target.detail:
            details[f"{skipped_target.target} is off: {skipped_target.detail}"] = None
        elif skipped_target.reason not in capabilities.KEY_SCOPE_REASONS:
            targets_by_reason.setdefault(skipped_target.reason, {})[skipped_target.target] = None
    if capabilities.NO_EARLIER_RESPONSES in targets_by_reason:
        details["`keeps_responses: true` says of a provider that it keeps them"] = None
    reasons = [f"{reason} ({', '.join(targets)})" for reason, targets in targets_by_reason.items()]
    if len(reasons) > _MAX_REASONS:
        reasons[_MAX_REASONS:] = [f"and {len(reasons) - _MAX_REASONS} more reasons"]
    if not reasons:
        reasons = ["its providers are off" if details else "it has none"]
    message = f"No target of {subject} can serve this request: {'; '.join(reasons)}."
    detail = "; ".join(details)
    if not continuation_member:
        return ProblemError(
            Problem(kind="no_target", message=message, detail=detail, param="model")
        )
    hint = (
        f"Send the whole conversation without `{continuation_member}`, or name a model of the "
        "provider that has the earlier answer."
    )
    return ProblemError(
        Problem(
            kind="not_found",
            message=(
                f"The gateway cannot continue from what `{continuation_member}` names. "
                f"{message} {hint}"
            ),
            detail=detail,
            param=continuation_member,
        )
    )
