"""Token counts: a Responses request in which every member is optional, and a number as answer.

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

    A request without a model asks for `auto`. Without input, the other members count. None streams.
    """
    return request.read(_add_required(raw))


def _add_required(raw: bytes) -> bytes:
    """Return a body with all required members; a body that is not JSON stays as it is."""
    try:
        members = jsonio.read_members(raw)
    except jsonio.JsonError:
        return raw
    counted = {
        name: raw_value for name, raw_value in members.items() if _is_counted(name, raw_value)
    }
    if {"model", "input"} <= counted.keys() and len(counted) == len(members):
        return raw
    return jsonio.join_members({"model": _DEFAULT_MODEL, "input": _DEFAULT_INPUT} | counted)


def _is_counted(name: str, raw_value: msgspec.Raw) -> bool:
    """True if a member counts; a null model or input counts as left out."""
    if name in ("model", "input"):
        return bytes(memoryview(raw_value)) != b"null"
    return name != "stream"


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: only the model changes."""
    patch = reasoning_state.edit(body, target)
    if body.prompt.model != target.model:
        patch.set_member("model", target.model)
    return patch.finish()


def summarize(body: bytes) -> ResponseSummary:
    """Read the number in an answer. It used no tokens, so it costs nothing."""
    return count_tokens.summarize(body, TOKENS_MEMBER, summarize_response)


def write_token_count(tokens: int) -> bytes:
    """Write the answer for a number of tokens."""
    return jsonio.dumps({"object": "response.input_tokens", TOKENS_MEMBER: tokens})
