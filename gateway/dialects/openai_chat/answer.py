"""Whole Chat Completions answers: a glance for accounting, the bytes untouched."""

from gateway.core import jsonio
from gateway.dialects.base import Glance
from gateway.dialects.held import broken
from gateway.dialects.openai_chat import amount, problems, usage
from gateway.dialects.openai_chat.usual import Usual

_usual = Usual()


def glance(body: bytes) -> Glance:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    found = _usual.glance(body)
    return any_glance(body) if found is None else found


def any_glance(body: bytes) -> Glance:
    """As `glance`, of any answer."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return Glance(problem=broken("an answer that is not JSON"))
    if not isinstance(value, dict):
        return Glance(problem=broken("an answer that is not a JSON object"))
    choices = value.get("choices")
    if value.get("error") and not choices:
        return Glance(problem=problems.found(value["error"], body))
    if not isinstance(choices, list):
        return Glance(problem=broken("an answer without choices"))
    served = value.get("model")
    first = choices[0] if choices and isinstance(choices[0], dict) else {}
    finish = first.get("finish_reason")
    told = usage.find(value)
    return Glance(
        usage=told,
        heard=0 if told is not None and told.both else amount.whole(body),
        served=served if isinstance(served, str) else None,
        finish=finish if isinstance(finish, str) else None,
    )
