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
    MODALITIES,
    Usage,
    parse_count,
    parse_service_tier,
    split_output,
    sum_media_tokens,
)
from gateway.dialects import billing

type ToolUseKey = tuple[str, str]
"""A tool, and what tells one use of it from another."""

_LIFETIMES = {"30m": "ttl_30m_tokens", "12h": "ttl_12h_tokens"}
_WRITTEN = frozenset({"cache_write_tokens", "cache_write_tokens_details"})
_NO_TOKENS: dict[str, Json] = {}
_BILLED = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
    "x_search_call": "x_search",
}
"""Items of hosted tools that are billed by their number."""
_SERVICES = frozenset({"flex", "scale", "priority", "fast"})
"""Words that clients' types have for a service tier other than the standard one."""
_NO_IMAGES: dict[str, Json] = {
    **dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0),
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
_FAILED = frozenset({"failed", "in_progress", "searching"})
_FREE_ACTIONS = frozenset({"open_page", "find_in_page", "find"})
"""What a search does beside searching."""


def read_response(response: dict[str, Json], seen: Iterable[ToolUseKey] = ()) -> Usage | None:
    """Usage of a response, with tools and service tier; None where no tokens are counted.

    `seen`: tools that its stream has shown in use.
    """
    told = read(response.get("usage"))
    if told is None:
        return None
    output = response.get("output")
    uses = {*seen, *list_tool_uses(output if isinstance(output, list) else ())}
    tools = billing.count_tool_uses(uses) if uses else {}
    searches = _searches(response)
    if searches is not None:
        tools = {**tools, "web_search": searches}
    served = parse_service_tier(response.get("service_tier"))
    if not tools and served is None:
        return told
    tools = {name: number for name, number in {**tools, **told.tools}.items() if number}
    return msgspec.structs.replace(told, tools=tools, service=served)


def _searches(response: dict[str, Json]) -> int | None:
    """Searches that are billed, where the response says so itself."""
    usage = _dict(response.get("tool_usage"))
    return parse_count(_dict(usage.get("web_search")).get("num_requests"))


def list_tool_uses(items: Iterable[Json], first: Json = 0) -> Iterator[ToolUseKey]:
    """Uses of tools that items show; code runs in containers, which are billed, not the calls.

    `first` is the place of the first of them in the output, by which those without an id are known.
    """
    for at, item in enumerate(items, first if isinstance(first, int) else 0):
        kind = item.get("type") if isinstance(item, dict) else None
        tool = _BILLED.get(kind) if isinstance(kind, str) else None
        if tool is None or _word(item.get("status")) in _FAILED:
            continue
        if _word(_dict(item.get("action")).get("type")) in _FREE_ACTIONS:
            continue
        one = item.get("container_id") or item.get("id")
        yield tool, one if isinstance(one, str) else str(at)


def read(usage: Json) -> Usage | None:
    """Read one usage object; None where it counts nothing."""
    if not isinstance(usage, dict):
        return None
    prompt, out = parse_count(usage.get("input_tokens")), parse_count(usage.get("output_tokens"))
    if prompt is None and out is None:
        return None
    inside = _dict(usage.get("input_tokens_details"))
    cached, written, fresh = parse_count(inside.get("cached_tokens")), _written(inside), None
    if prompt is not None:  # a part is never more than the whole, whatever a host says
        cached = None if cached is None else min(cached, prompt)
        room = prompt - (cached or 0)
        total = sum(written.values())
        if total > room:
            written, total = ({"": room} if room else {}), room
        fresh = room - total
    shown, reasoning = _output(usage, prompt, out)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write=written,
        output=shown,
        reasoning=reasoning,
        tools=billing.read_tool_counts(usage),
        media=_media("input", inside) | _media("output", _dict(usage.get("output_tokens_details"))),
        billed=billing.read_billed_usd(usage),
    )


def _written(inside: dict[str, Json]) -> dict[str, int]:
    """Tokens written to the cache by lifetime; what the total has beyond them is of none."""
    if _WRITTEN.isdisjoint(inside):
        return {}
    parts = _dict(inside.get("cache_write_tokens_details"))
    by = {life: n for life, name in _LIFETIMES.items() if (n := parse_count(parts.get(name)))}
    beyond = (parse_count(inside.get("cache_write_tokens")) or 0) - sum(by.values())
    return {**by, "": beyond} if beyond > 0 else by


def _media(direction: str, details: dict[str, Json]) -> dict[str, int]:
    """Return the tokens of one direction that are not text."""
    return sum_media_tokens(direction, [(it, details.get(f"{it}_tokens")) for it in MODALITIES])


def _output(
    usage: dict[str, Json], prompt: int | None, out: int | None
) -> tuple[int | None, int | None]:
    """Return the shown and the reasoning tokens."""
    reasoning = parse_count(_dict(usage.get("output_tokens_details")).get("reasoning_tokens"))
    if out is None:
        return None, reasoning
    total = parse_count(usage.get("total_tokens"))
    beyond = None if total is None or prompt is None else total - prompt - out
    return split_output(out, reasoning, beyond)


def _word(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _NO_TOKENS


def write_other_members(usage: Usage | None) -> dict[str, Json]:
    """Members of a response that tell usage beside tokens, where there is any to tell."""
    told: dict[str, Json] = {}
    if usage is not None and usage.service in _SERVICES:
        told["service_tier"] = usage.service
    searches = usage.tools.get("web_search") if usage is not None else None
    if searches:
        told["tool_usage"] = {"image_gen": _NO_IMAGES, "web_search": {"num_requests": searches}}
    return told


def write(usage: Usage | None) -> dict[str, Json] | None:
    """Usage for a client; None where input or output is unknown.

    The details are whole numbers in every client's types and have no word for unknown: what no
    provider has told is 0 there.
    """
    if usage is None or usage.prompt is None or usage.completion is None:
        return None
    inside: dict[str, Json] = {
        "cached_tokens": usage.cache_read or 0,
        "cache_write_tokens": sum(usage.cache_write.values()),
    }
    if not usage.cache_write.keys().isdisjoint(_LIFETIMES):
        inside["cache_write_tokens_details"] = {
            name: usage.cache_write.get(life, 0) for life, name in _LIFETIMES.items()
        }
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": inside,
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.prompt + usage.completion,
    }
