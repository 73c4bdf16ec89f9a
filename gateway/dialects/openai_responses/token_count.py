"""Counts of the tokens of a request: a Responses request in which all is optional, and a number.

Source: POST /v1/responses/input_tokens of OpenAI's API reference; counting is not billed. Few of
the hosts that follow OpenAI have it.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.target import Target
from gateway.dialects import count_tokens
from gateway.dialects.base import RequestBody, ResponseSummary, WrittenBody
from gateway.dialects.openai_responses import reasoning_state, request
from gateway.dialects.openai_responses.response import summarize as summarize_response

TOKENS_MEMBER = "input_tokens"
_DEFAULT_MODEL, _DEFAULT_INPUT = msgspec.Raw(b'"auto"'), msgspec.Raw(b'""')


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field.

    A count of no model is that of `auto`, one without input counts the rest, and none is a stream.
    """
    return request.read(_add_required(raw))


def _add_required(raw: bytes) -> bytes:
    """Return a body with all that a request must have; one that cannot be read stays as it is."""
    try:
        members = jsonio.read_members(raw)
    except jsonio.JsonError:
        return raw
    given = {name: part for name, part in members.items() if _is_counted(name, part)}
    if {"model", "input"} <= given.keys() and len(given) == len(members):
        return raw
    return jsonio.join_members({"model": _DEFAULT_MODEL, "input": _DEFAULT_INPUT} | given)


def _is_counted(name: str, part: msgspec.Raw) -> bool:
    """True if a member counts: a null model or input is one that was left out."""
    if name in ("model", "input"):
        return bytes(memoryview(part)) != b"null"
    return name != "stream"


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: another model is all that is changed."""
    edit = reasoning_state.edit(body, target)
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    return edit.finish()


def summarize(body: bytes) -> ResponseSummary:
    """Read the answer: `input_tokens`. Nothing was used, so that it costs nothing."""
    return count_tokens.summarize(body, TOKENS_MEMBER, summarize_response)


def write_token_count(tokens: int) -> bytes:
    """The answer that tells a number."""
    return jsonio.dumps({"object": "response.input_tokens", TOKENS_MEMBER: tokens})
