"""Whole Messages answers: a glance for accounting, the bytes untouched."""

from gateway.core import jsonio
from gateway.dialects.anthropic_messages import amount, problems, usage
from gateway.dialects.base import Glance
from gateway.dialects.held import broken


def glance(body: bytes) -> Glance:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return Glance(problem=broken("an answer that is not JSON"))
    if not isinstance(value, dict):
        return Glance(problem=broken("an answer that is not a JSON object"))
    content = value.get("content")
    if value.get("type") == "error" or (value.get("error") and content is None):
        return Glance(problem=problems.found(value.get("error"), body))
    if not isinstance(content, list):
        return Glance(problem=broken("an answer without content"))
    served, finish = value.get("model"), value.get("stop_reason")
    told = usage.read(value.get("usage"))
    return Glance(
        usage=told,
        heard=0 if told is not None and told.both else amount.whole(body),
        served=served if isinstance(served, str) else None,
        finish=finish if isinstance(finish, str) else None,
    )
