"""Whole Responses answers: a glance for accounting, the bytes untouched."""

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.problem import Problem
from gateway.dialects.base import Glance
from gateway.dialects.held import broken
from gateway.dialects.openai_responses import amount, problems, usage


def glance(body: bytes) -> Glance:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return Glance(problem=broken("an answer that is not JSON"))
    problem = wrong(value)
    if problem is not None:
        return Glance(problem=problem)
    served, told = value.get("model"), usage.find(value)
    return Glance(
        usage=told,
        heard=0 if told is not None and told.both else sum(map(amount.item, value["output"])),
        served=served if isinstance(served, str) else None,
        finish=finish(value),
    )


def wrong(value: Json) -> Problem | None:
    """Why a value is no answer; None where it is one."""
    if not isinstance(value, dict):
        return broken("an answer that is not a JSON object")
    output = value.get("output")
    if value.get("status") == "failed" or (value.get("error") and not output):
        return problems.found(value.get("error"))
    return None if isinstance(output, list) else broken("an answer without output")


def finish(response: dict[str, Json]) -> str | None:
    """The provider's word for how an answer ended: why it is incomplete, else its status."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    status = response.get("status")
    if status == "incomplete" and isinstance(reason, str):
        return reason
    return status if isinstance(status, str) else None
