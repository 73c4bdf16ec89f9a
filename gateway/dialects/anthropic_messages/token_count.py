"""Counting the tokens of a request: a Messages request without max_tokens, answered with a number.

Source: POST /v1/messages/count_tokens of Anthropic's API reference; counting is not billed.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.target import Target
from gateway.dialects import count_tokens
from gateway.dialects.anthropic_messages import reasoning_state, request, response
from gateway.dialects.base import RequestBody, ResponseSummary, TranslationFunctions, WrittenBody

_TOKENS = "input_tokens"


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    body = request.read(raw, counting=True)
    prompt = msgspec.structs.replace(body.prompt, stream=False)  # a count is one number
    return msgspec.structs.replace(body, prompt=prompt)


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: another model is all that is changed."""
    edit = reasoning_state.edit(body, target)
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    return edit.finish()


def summarize(body: bytes) -> ResponseSummary:
    """Read the answer: `input_tokens`. Nothing was used, so that it costs nothing."""
    return count_tokens.summarize(body, _TOKENS, response.summarize)


def write_token_count(tokens: int) -> bytes:
    """The answer that tells a number."""
    return jsonio.dumps({_TOKENS: tokens})


def make_translation(dialect_functions: TranslationFunctions) -> TranslationFunctions:
    """Return how a count is translated, from the translation of requests and answers."""
    return count_tokens.make_translation(
        dialect_functions,
        {"messages", "system", "tools", "tool_choice", "output_config"},
        member=_TOKENS,
        write_token_count=write_token_count,
    )
