"""Usage of the Messages API: read, written and added up, in the five classes that never overlap.

`input_tokens` leaves out what was read from and written to the prompt cache; `output_tokens`
includes thinking. `iterations` tells the same tokens by sampling, and beside them those that no
total has: of a compaction, and of an advisor or a fallback, which are other models at other prices.
Source: `Usage` and `BetaUsage` of Anthropic's API reference.
"""

import msgspec

from gateway.core.jsonio import Json
from gateway.core.usage import Usage, parse_count, parse_service_tier
from gateway.dialects import billing

_LIFETIMES = {"5m": "ephemeral_5m_input_tokens", "1h": "ephemeral_1h_input_tokens"}
_NOTHING: dict[str, Json] = {}
_INPUTS = (
    "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation",
)  # fmt: skip
_OTHERS = {"advisor_message": "advisor", "fallback_message": "fallback"}
"""Samplings of other models than the one that was asked, and what a price knows them by."""
_SERVICES = {"priority": "service_tier", "batch": "service_tier", "fast": "speed"}
"""Words of the API for how it served, and the members that they stand in."""


def read(usage: Json) -> Usage | None:
    """Read one usage object; None where it counts nothing."""
    if not isinstance(usage, dict):
        return None
    own, tools = _read(usage), billing.read_tool_counts(usage)
    parts = usage.get("iterations")
    rows = [row for row in parts if isinstance(row, dict)] if isinstance(parts, list) else ()
    if rows:
        own = _sampled(own, rows)
        tools |= _others(rows)
    if own is None:
        return None
    served = parse_service_tier(
        usage.get("service_tier"), usage.get("speed"), usage.get("inference_geo")
    )
    billed = billing.read_billed_usd(usage)
    if not tools and served is None and billed is None:
        return own
    return msgspec.structs.replace(own, tools=tools, service=served, billed=billed)


def write(usage: Usage | None) -> dict[str, Json]:
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


def merge(told: dict[str, Json], more: dict[str, Json]) -> dict[str, Json]:
    """A usage object after it was told once more: running totals, and what is left out stands.

    Hosts that count the input when a message begins may tell 0 of it where it ends.
    """
    said = {name: value for name, value in more.items() if value is not None}
    if not any(said.get(name) for name in _INPUTS):
        said = {name: value for name, value in said.items() if name not in _INPUTS}
    return {**told, **said}


def _sampled(own: Usage | None, rows: list[dict[str, Json]]) -> Usage | None:
    """The totals with what is told of each sampling."""
    if own is not None:
        own = _whole(own, rows)
    for row in rows:
        if row.get("type") == "compaction":
            own = _add(own, _read(row))
    return own


def _others(rows: list[dict[str, Json]]) -> dict[str, int]:
    """Samplings that are billed at the price of another model: no price of this one has them."""
    kinds = [tool for row in rows if (tool := _OTHERS.get(str(row.get("type"))))]
    return {tool: kinds.count(tool) for tool in kinds}


def _whole(own: Usage, rows: list[dict[str, Json]]) -> Usage:
    """The totals, or the sum of the samplings where some tokens of theirs are in no total."""
    total: Usage | None = None
    for row in rows:
        if row.get("type") == "fallback_message":
            return own  # the hops before it were declined, and are not billed
        if row.get("type") == "message":
            total = _add(total, _read(row))
    if total is None:
        return own
    missed = sum(total.cache_write.values()) > sum(own.cache_write.values())
    more = (total.completion or 0) - (own.completion or 0)
    return Usage(
        input=_most(own.input, total.input),
        cache_read=_most(own.cache_read, total.cache_read),
        cache_write=total.cache_write if missed else own.cache_write,
        output=own.output if own.output is None or more <= 0 else own.output + more,
        reasoning=own.reasoning,
    )


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else max(one, other or 0)


def _read(usage: dict[str, Json]) -> Usage | None:
    fresh, out = parse_count(usage.get("input_tokens")), parse_count(usage.get("output_tokens"))
    if fresh is None and out is None:
        return None
    details = usage.get("output_tokens_details")
    thought = parse_count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    if out is not None and thought is not None:
        thought = min(thought, out)  # a part is never more than the whole
        out -= thought
    return Usage(
        input=fresh,
        cache_read=parse_count(usage.get("cache_read_input_tokens")),
        cache_write=_written(usage),
        output=out,
        reasoning=thought,
    )


def _written(usage: dict[str, Json]) -> dict[str, int]:
    """Tokens written to the cache by lifetime; what the total has beyond them is of none."""
    inside = usage.get("cache_creation")
    parts = inside if isinstance(inside, dict) else _NOTHING
    if not usage.get("cache_creation_input_tokens") and not any(parts.values()):
        return {}
    by = {life: n for life, name in _LIFETIMES.items() if (n := parse_count(parts.get(name)))}
    total = parse_count(usage.get("cache_creation_input_tokens"))
    beyond = 0 if total is None else total - sum(by.values())
    if beyond < 0:  # the total was told later than its parts
        return {"": total} if total else {}
    return {**by, "": beyond} if beyond else by


def _add(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    written = dict(one.cache_write)
    for life, tokens in other.cache_write.items():
        written[life] = written.get(life, 0) + tokens
    return Usage(
        input=_sum(one.input, other.input),
        cache_read=_sum(one.cache_read, other.cache_read),
        cache_write=written,
        output=_sum(one.output, other.output),
        reasoning=_sum(one.reasoning, other.reasoning),
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
