"""A request body as every dialect begins to read it: one strict JSON object and its members."""

from collections.abc import Callable

from gateway.core import jsonio
from gateway.core.jsonio import Json, Members
from gateway.core.problem import Problem, ProblemError, invalid
from gateway.core.prompt import Prompt
from gateway.dialects.base import Body


def parse(raw: bytes, prompt: Callable[[dict[str, Json], Members], Prompt]) -> Body:
    """Read a body, its prompt by `prompt`. Raises ProblemError: invalid_json, invalid_request."""
    try:
        value = jsonio.loads(raw)
        if not isinstance(value, dict):
            raise invalid("The request body must be a JSON object.")
        members = jsonio.members(raw)
    except jsonio.JsonError as error:
        message = f"The request body is not valid JSON: {error}."
        raise ProblemError(Problem(kind="invalid_json", message=message)) from None
    return Body(raw, members, value, prompt(value, members))
