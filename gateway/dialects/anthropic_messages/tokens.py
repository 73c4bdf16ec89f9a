"""Usage as the Messages API says it."""

from gateway.core.jsonio import Json
from gateway.core.usage import Usage

_SERVICES = {"priority": "service_tier", "batch": "service_tier", "fast": "speed"}
"""Words of the API for how it served, and the members that they stand in."""
_LIFETIMES = {"5m": "ephemeral_5m_input_tokens", "1h": "ephemeral_1h_input_tokens"}


def written(usage: Usage | None) -> dict[str, Json]:
    """What `usage.read` turns back into the same usage; what is unknown is left out."""
    told: dict[str, Json] = {}
    if usage is None:
        return told
    if usage.input is not None:
        told["input_tokens"] = usage.input
    if usage.cache_read is not None:
        told["cache_read_input_tokens"] = usage.cache_read
    if usage.cache_write:
        told["cache_creation_input_tokens"] = sum(usage.cache_write.values())
        by = {_LIFETIMES[k]: n for k, n in usage.cache_write.items() if k in _LIFETIMES}
        if by:
            told["cache_creation"] = by
    if usage.completion is not None:
        told["output_tokens"] = usage.completion
    if usage.reasoning is not None:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    searches = usage.tools.get("web_search")
    if searches:
        told["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    if usage.service in _SERVICES:
        told[_SERVICES[usage.service]] = usage.service
    return told
