"""Estimates of tokens from bytes, for rows whose provider did not report all usage.

An estimate is a lower bound of the billed tokens. No byte shows hidden reasoning, and the estimate
adds nothing for it.
"""

import msgspec

from gateway.core.ledger_rows import UsageSource
from gateway.core.usage import Usage

_BYTES_PER_TEN_TOKENS = 38
"""The UTF-8 bytes of ten tokens, from recorded answers of 40 hosts that show all their reasoning.

Prose has more (41). Tool calls have fewer (24), as their form has tokens of its own.
"""


def estimate_tokens(content_bytes: int) -> int:
    """Return the estimated tokens of UTF-8 bytes of content; 0 only for no bytes."""
    return -(-content_bytes * 10 // _BYTES_PER_TEN_TOKENS)


def fill_usage(
    reported: Usage | None,
    *,
    prompt_tokens: int,
    content_bytes: int | None,
    is_complete: bool,
    may_estimate: bool = True,
) -> tuple[Usage, UsageSource]:
    """Return usage with input and output filled in as far as possible, and who counted them.

    `reported` is the usage that the provider reported. `prompt_tokens` are the estimated tokens of
    the request. `content_bytes` are the bytes of content that came. They are None for a whole
    answer that was given up before it came: its output stays unknown. They are 0 for a stream that
    was given up before its first content: its output is 0.

    `is_complete` is True if the answer ended as its dialect demands: then the reported usage is
    final. The output of a cut answer is the reported output so far, or the estimate if it is more.
    Without `may_estimate` the usage stays as it is reported.
    """
    usage = reported or Usage()
    if not may_estimate:
        return usage, "provider" if is_complete else "partial"
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
    """Return the shown tokens of a cut answer; its bytes may include the reported reasoning."""
    if usage.output is None:
        return estimate_tokens(content_bytes)
    return max(usage.output, estimate_tokens(content_bytes) - (usage.reasoning or 0))
