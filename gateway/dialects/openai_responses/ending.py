"""The end of a Responses answer: its status, and errors at any level."""

from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.dialects.openai_responses import errors as problems
from gateway.dialects.stream_commit import make_broken_problem, make_empty_problem

type Object = dict[str, Json]

_ENDED = ("completed", "incomplete")
_WORKING = ("queued", "in_progress")
_FAILED = ("failed", "cancelled")
_MADE = ("message", "reasoning", "function_call", "custom_tool_call")
"""Items that the model makes. All others are of tools: their errors are for the model to see."""


def complete(response: Object) -> bool:
    """True if a response ended as its status says."""
    return response.get("status") in _ENDED


def working(response: Object) -> bool:
    """True if the status says that the provider still works on a response."""
    return response.get("status") in _WORKING


def pending(response: Object) -> bool:
    """True if the provider still works on a response, in the background."""
    return response.get("background") is True and working(response) and error(response) is None


def finish(response: Object) -> str | None:
    """Read how a response ended: why it is incomplete, else its status."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    status = response.get("status")
    if status == "incomplete" and isinstance(reason, str):
        return reason
    return status if isinstance(status, str) and status else None


def error(response: Json) -> Json:
    """Find the error of a response, or of an item which the model makes; None if there is none."""
    if not isinstance(response, dict):
        return None
    if response.get("error") or response.get("status") in _FAILED:
        return response.get("error") or {}
    output = response.get("output")
    found = map(item_error, output) if isinstance(output, list) else ()
    return next((it for it in found if it is not None), None)


def item_error(item: Json) -> Json:
    """Find the error of an item that the model makes; None if it has none."""
    if not isinstance(item, dict) or item.get("type") not in _MADE:
        return None
    return item.get("error") or ({} if item.get("status") == "failed" else None)


def wrong(response: Json) -> Problem | None:
    """Tell why a value is no response: an error, or neither content nor an end.

    None if it is one.
    """
    if not isinstance(response, dict):
        return make_broken_problem("an answer that is not a JSON object")
    failed, output = error(response), response.get("output")
    if failed is not None:
        return problems.found(failed)
    if not isinstance(output, list):
        return make_broken_problem("an answer without output")
    return None if output or complete(response) else make_empty_problem()
