"""Tokens that nobody counted, from bytes: what a row says where a provider has not said all.

An estimate is a floor of what was billed: reasoning that stays hidden is in no byte, and none is
made up for it.
"""

import msgspec

from gateway.core.ledger_rows import UsageSource
from gateway.core.usage import Usage

_BYTES_PER_TEN_TOKENS = 38
"""Of ten tokens: what recorded answers of 40 hosts have whose reasoning is all to be seen. It is
more for prose (41) and less for calls of tools (24), whose form has tokens of its own."""


def estimate_tokens(content_bytes: int) -> int:
    """Tokens of content, from its UTF-8 bytes; never 0 where there is any."""
    return -(-content_bytes * 10 // _BYTES_PER_TEN_TOKENS)


def fill_usage(
    reported: Usage | None, *, prompt_tokens: int, content_bytes: int | None, is_complete: bool
) -> tuple[Usage, UsageSource]:
    """Usage with both sides known as well as they can be, and who counted them.

    `reported`: as far as the provider told it; `prompt_tokens`: estimated tokens of the request;
    `content_bytes`: bytes of content that came, None where nobody could hear any (a whole answer
    that was given up while it was made): its output stays unknown. A stream that was given up
    before it said anything has said nothing: its output is 0. `is_complete`: the answer ended as
    its dialect ends one, so that what was told of it is the whole account; of one that was cut, the
    output is what was told by then, or what was heard where that is more.
    """
    usage = reported or Usage()
    if usage.input is not None and usage.output is not None and is_complete:
        return usage, "provider"
    is_partial = usage.input is not None or usage.output is not None
    input_tokens = prompt_tokens if usage.input is None else usage.input
    output_tokens = (
        usage.output
        if is_complete or content_bytes is None
        else _estimate_output(usage, content_bytes)
    )
    if output_tokens is None and content_bytes is not None:
        output_tokens = estimate_tokens(content_bytes)
    result = msgspec.structs.replace(usage, input=input_tokens, output=output_tokens)
    return result, "partial" if is_partial else "estimate"


def _estimate_output(usage: Usage, content_bytes: int) -> int:
    """Shown tokens of an answer that was cut: told reasoning may be heard as well, or hidden."""
    if usage.output is None:
        return estimate_tokens(content_bytes)
    return max(usage.output, estimate_tokens(content_bytes) - (usage.reasoning or 0))
