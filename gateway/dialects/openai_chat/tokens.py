"""Usage as Chat Completions says it."""

from gateway.core.jsonio import Json
from gateway.core.usage import Usage

_SERVICES = frozenset({"flex", "scale", "priority", "fast"})


def service(usage: Usage | None) -> str | None:
    """The service tier, where it is one that clients' types have a word for."""
    return usage.service if usage is not None and usage.service in _SERVICES else None


def written(usage: Usage | None) -> dict[str, Json] | None:
    """What `usage.read` turns back into the same usage.

    None where either count is unknown: the SDKs' type has no place for that.
    """
    if usage is None or usage.prompt is None or usage.completion is None:
        return None
    told: dict[str, Json] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }
    inside: dict[str, Json] = {}
    if usage.cache_read is not None:
        inside["cached_tokens"] = usage.cache_read
    if usage.cache_write:
        inside["cache_write_tokens"] = sum(usage.cache_write.values())
    if inside:
        told["prompt_tokens_details"] = inside
    if usage.reasoning is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return told
