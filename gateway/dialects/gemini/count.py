"""Counting the tokens of a request: contents alone or a whole request, answered with a number.

Source: models.countTokens of Google's API reference; counting is not billed.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Members
from gateway.core.problem import Problem, ProblemError
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import Usage, count
from gateway.dialects.base import Body, Glance, Written
from gateway.dialects.gemini import answer, request, seal, wire
from gateway.dialects.gemini.wire import Object
from gateway.dialects.parse import parse

METHOD = "countTokens"
_INNER = "generateContentRequest"


def read(raw: bytes, path: str = "") -> Body:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    model, method = request.address(path)
    if method not in (METHOD, ""):
        raise ProblemError(request.unknown(method))

    def prompt(value: Object, members: Members) -> Prompt:
        asked = value
        inner = wire.get(value, _INNER)
        if isinstance(inner, dict):
            asked = inner
            members = jsonio.members(bytes(memoryview(members[wire.spelled(value, _INNER)])))
        name = model or request.bare(wire.text(asked.get("model") or value.get("model")) or "")
        return request.prompt(asked, members, model=name, stream=False)

    return parse(raw, prompt)


def write(body: Body, target: Target) -> Written:
    """The body for one target: another model is all that is changed."""
    edit = seal.edit(body, target)
    if edit.has("model"):
        edit.remove("model")
    inner = wire.group(body.value, _INNER)
    if "model" in inner and inner["model"] != f"models/{target.model}":
        edit.put_in(wire.spelled(body.value, _INNER), "model", f"models/{target.model}")
    return msgspec.structs.replace(edit.done(), tail=request.tail(target.model, METHOD))


def glance(body: bytes) -> Glance:
    """Read the answer: `totalTokens`. Nothing was used, so that it costs nothing."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        value = None
    if isinstance(value, dict) and count(value.get("totalTokens")) is not None:
        return Glance(usage=Usage(input=0, output=0))
    found = answer.glance(body).problem
    missing = Problem(kind="upstream_error", message="The provider sent no count of tokens.")
    return Glance(problem=found or missing)


def counted(tokens: int) -> bytes:
    """The answer that tells a number."""
    return jsonio.dumps({"totalTokens": tokens})
