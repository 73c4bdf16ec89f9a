"""Counting of tokens: a Messages request without `max_tokens`, and a number as its answer.

Source: POST /v1/messages/count_tokens of Anthropic's API reference; counting is not billed.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.target import Target
from gateway.dialects import count_tokens
from gateway.dialects.anthropic_messages import reasoning_state, request, response
from gateway.dialects.base import RequestBody, ResponseSummary, TranslationFunctions, WrittenBody

_COUNT_MEMBER = "input_tokens"


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    body = request.read(raw, counting=True)
    prompt = msgspec.structs.replace(body.prompt, stream=False)  # a count is one number
    return msgspec.structs.replace(body, prompt=prompt)


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Return the body for one target: the gateway changes the model alone."""
    edit = reasoning_state.edit(body, target)
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    return edit.finish()


def summarize(body: bytes) -> ResponseSummary:
    """Return the summary of an answer: it used nothing and costs nothing."""
    return count_tokens.summarize(body, _COUNT_MEMBER, response.summarize)


def write_token_count(tokens: int) -> bytes:
    """Return the answer for a number of tokens."""
    return jsonio.dumps({_COUNT_MEMBER: tokens})


def make_translation(dialect_functions: TranslationFunctions) -> TranslationFunctions:
    """Return how a count is translated, from the translation of requests and answers."""
    return count_tokens.make_translation(
        dialect_functions,
        {"messages", "system", "tools", "tool_choice", "output_config"},
        member=_COUNT_MEMBER,
        write_token_count=write_token_count,
    )
