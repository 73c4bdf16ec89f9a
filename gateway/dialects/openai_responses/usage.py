"""Usage as the Responses API reports it, in the five classes that never overlap, both ways.

`input_tokens` includes tokens read from and written to the prompt cache; `output_tokens` includes
reasoning, unless `total_tokens` shows that it does not. Tools billed by the request
stand beside it: `tool_usage` of newer answers, and items of the output. Source: `ResponseUsage` and
`ToolUsage` of OpenAI's API reference, and its price list of tools.
"""

from collections.abc import Iterable, Iterator

import msgspec

from gateway.core.jsonio import Json
from gateway.core.usage import (
    Usage,
    parse_count,
    parse_service_tier,
    split_output,
    sum_media_tokens,
)
from gateway.dialects import billing
from gateway.dialects.json_values import read_text
from gateway.dialects.media_details import (
    MEDIA_MEMBERS,
    add_cached_media,
    write_media_details,
)

type ToolUseKey = tuple[str, str]
"""A tool, and an id that tells its uses apart."""

_LIFETIME_MEMBERS = {"30m": "ttl_30m_tokens", "12h": "ttl_12h_tokens"}
_CACHE_WRITE_MEMBERS = frozenset({"cache_write_tokens", "cache_write_tokens_details"})
_NO_MEMBERS: dict[str, Json] = {}
_IMAGE_TOOL = "image_generation"
_BILLED_TOOLS = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": _IMAGE_TOOL,
    "x_search_call": "x_search",
}
"""Items of hosted tools that are billed by their number.

Images are billed by tokens, which newer answers tell (`tool_usage.image_gen`).
"""
_SERVICE_TIERS = frozenset({"flex", "scale", "priority", "fast"})
"""Service tiers beside the standard one that clients' types know."""
_NO_IMAGE_USAGE: dict[str, Json] = {
    **dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0),
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
_UNBILLED_STATUSES = frozenset({"failed", "in_progress", "searching"})
_FREE_ACTIONS = frozenset({"open_page", "find_in_page", "find"})
"""Actions of a search tool that are not billed."""


def read_response(response: dict[str, Json], seen: Iterable[ToolUseKey] = ()) -> Usage | None:
    """Read the usage of a response, with tools and service tier; None if it counts no tokens.

    `seen`: uses of tools that the stream has shown.
    """
    usage = read(response.get("usage"))
    if usage is None:
        return None
    output = response.get("output")
    tool_uses = {*seen, *list_tool_uses(output if isinstance(output, list) else ())}
    tools = billing.count_tool_uses(tool_uses) if tool_uses else {}
    if image_tokens := _count_image_tokens(response):
        tools = {name: uses for name, uses in tools.items() if name != _IMAGE_TOOL}
        tools |= image_tokens
    searches = _read_searches(response)
    if searches is not None:
        tools = {**tools, "web_search": searches}
    service = parse_service_tier(response.get("service_tier"))
    if not tools and service is None:
        return usage
    tools = {name: number for name, number in {**tools, **usage.tools}.items() if number}
    return msgspec.structs.replace(usage, tools=tools, service=service)


def _count_image_tokens(response: dict[str, Json]) -> dict[str, int]:
    """Return the tokens of generated images, which OpenAI bills at the rates of their model.

    Empty if the response does not tell them: then it tells only how many images there are.
    """
    tool_usage = _read_object(response.get("tool_usage"))
    counts = _read_object(tool_usage.get("image_gen"))
    if not counts.get("total_tokens"):
        return {}
    tools = response.get("tools")
    models = [
        tool.get("model")
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and tool.get("type") == _IMAGE_TOOL
    ]
    model = next((name for name in models if isinstance(name, str)), _IMAGE_TOOL)
    tokens: dict[str, int | None] = {}
    for direction in ("input", "output"):
        total = parse_count(counts.get(f"{direction}_tokens")) or 0
        details = _read_object(counts.get(f"{direction}_tokens_details"))
        images = min(parse_count(details.get("image_tokens")) or 0, total)
        tokens[direction], tokens[f"{direction}_image"] = total - images, images
    return dict(billing.count_model_tokens(model, tokens))


def _read_searches(response: dict[str, Json]) -> int | None:
    """Read the number of billed searches; None if the response does not tell it."""
    tool_usage = _read_object(response.get("tool_usage"))
    return parse_count(_read_object(tool_usage.get("web_search")).get("num_requests"))


def list_tool_uses(items: Iterable[Json], first: Json = 0) -> Iterator[ToolUseKey]:
    """List the billed uses of tools in items. Of code, containers are billed, not calls.

    `first` is the place of the first item in the output; items without an id are known by place.
    """
    for index, item in enumerate(items, first if isinstance(first, int) else 0):
        kind = item.get("type") if isinstance(item, dict) else None
        tool = _BILLED_TOOLS.get(kind) if isinstance(kind, str) else None
        if tool is None or read_text(item.get("status")) in _UNBILLED_STATUSES:
            continue
        if read_text(_read_object(item.get("action")).get("type")) in _FREE_ACTIONS:
            continue
        use_id = item.get("container_id") or item.get("id")
        yield tool, use_id if isinstance(use_id, str) else str(index)


def read(usage: Json) -> Usage | None:
    """Read one usage object; None if it counts nothing."""
    if not isinstance(usage, dict):
        return None
    prompt, out = parse_count(usage.get("input_tokens")), parse_count(usage.get("output_tokens"))
    if prompt is None and out is None:
        return None
    details = _read_object(usage.get("input_tokens_details"))
    cached, written, uncached = (
        parse_count(details.get("cached_tokens")),
        _read_cache_writes(details),
        None,
    )
    if prompt is not None:  # a part is never more than the whole, whatever a host says
        cached = None if cached is None else min(cached, prompt)
        remaining = prompt - (cached or 0)
        total = sum(written.values())
        if total > remaining:
            written, total = ({"": remaining} if remaining else {}), remaining
        uncached = remaining - total
    visible, reasoning = _split_output(usage, prompt, out)
    media = _read_media("input", details)
    media |= _read_media("output", _read_object(usage.get("output_tokens_details")))
    tools, billed = billing.read_billing(usage)
    return Usage(
        input=uncached,
        cache_read=cached,
        cache_write=written,
        output=visible,
        reasoning=reasoning,
        tools=tools,
        media=add_cached_media(media, details, cached),
        billed=billed,
    )


def _read_cache_writes(details: dict[str, Json]) -> dict[str, int]:
    """Read the tokens written to the cache by lifetime; the rest of the total has lifetime `""`."""
    if _CACHE_WRITE_MEMBERS.isdisjoint(details):
        return {}
    members = _read_object(details.get("cache_write_tokens_details"))
    by_lifetime = {
        lifetime: count
        for lifetime, name in _LIFETIME_MEMBERS.items()
        if (count := parse_count(members.get(name)))
    }
    rest = (parse_count(details.get("cache_write_tokens")) or 0) - sum(by_lifetime.values())
    return {**by_lifetime, "": rest} if rest > 0 else by_lifetime


def _read_media(direction: str, details: dict[str, Json]) -> dict[str, int]:
    """Return the tokens of one direction that are not text."""
    return sum_media_tokens(
        direction, [(modality, details.get(name)) for name, modality in MEDIA_MEMBERS]
    )


def _split_output(
    usage: dict[str, Json], prompt: int | None, out: int | None
) -> tuple[int | None, int | None]:
    """Return the shown and the reasoning tokens."""
    reasoning = parse_count(
        _read_object(usage.get("output_tokens_details")).get("reasoning_tokens")
    )
    if out is None:
        return None, reasoning
    total = parse_count(usage.get("total_tokens"))
    outside = None if total is None or prompt is None else total - prompt - out
    return split_output(out, reasoning, outside)


def _read_object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _NO_MEMBERS


def write_other_members(usage: Usage | None) -> dict[str, Json]:
    """Write the members that tell usage other than tokens: service tier and searches."""
    members: dict[str, Json] = {}
    if usage is not None and usage.service in _SERVICE_TIERS:
        members["service_tier"] = usage.service
    searches = usage.tools.get("web_search") if usage is not None else None
    if searches:
        members["tool_usage"] = {
            "image_gen": _NO_IMAGE_USAGE,
            "web_search": {"num_requests": searches},
        }
    return members


def write(usage: Usage | None) -> dict[str, Json] | None:
    """Write usage for a client; None if input or output is unknown.

    Clients' types require whole numbers in the details. What no provider has told is 0 there.
    """
    if usage is None or usage.prompt is None or usage.completion is None:
        return None
    details: dict[str, Json] = {
        "cached_tokens": usage.cache_read or 0,
        "cache_write_tokens": sum(usage.cache_write.values()),
    }
    if not usage.cache_write.keys().isdisjoint(_LIFETIME_MEMBERS):
        details["cache_write_tokens_details"] = {
            name: usage.cache_write.get(lifetime, 0) for lifetime, name in _LIFETIME_MEMBERS.items()
        }
    output_details: dict[str, Json] = {"reasoning_tokens": usage.reasoning or 0}
    if usage.media:
        details |= write_media_details("input", usage)
        output_details |= write_media_details("output", usage)
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": details,
        "output_tokens": usage.completion,
        "output_tokens_details": output_details,
        "total_tokens": usage.prompt + usage.completion,
    }
