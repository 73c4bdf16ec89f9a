"""Usage of the Messages API: read, written and added up, in the five classes that never overlap.

`input_tokens` leaves out the tokens read from and written to the prompt cache; `output_tokens`
includes thinking. `iterations` counts the same tokens by sampling, and some that no total has: of a
compaction, and of an advisor or a fallback, which are other models at other prices.
Source: `Usage` and `BetaUsage` of Anthropic's API reference.
"""

from collections import Counter

import msgspec

from gateway.core.jsonio import Json
from gateway.core.usage import Usage, parse_count, parse_service_tier
from gateway.dialects import billing

_LIFETIMES = {"5m": "ephemeral_5m_input_tokens", "1h": "ephemeral_1h_input_tokens"}
_NO_PARTS: dict[str, Json] = {}
_INPUT_MEMBERS = (
    "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation",
)  # fmt: skip
_ADVISOR = "advisor_message"
_OTHER_MODELS = {_ADVISOR: "advisor", "fallback_message": "fallback"}
"""Samplings of models that the client did not ask for, and their names in price lists."""
_SERVICE_MEMBERS = {"priority": "service_tier", "batch": "service_tier", "fast": "speed"}
"""Service levels of the API, and the members that hold them."""


def read(usage: Json) -> Usage | None:
    """Return one usage object as Usage; None if it counts nothing."""
    if not isinstance(usage, dict):
        return None
    own, (tools, billed) = _read_counts(usage), billing.read_billing(usage)
    parts = usage.get("iterations")
    rows = [row for row in parts if isinstance(row, dict)] if isinstance(parts, list) else ()
    if rows:
        own = _add_samplings(own, rows)
        tools |= _count_other_models(rows)
    if own is None:
        return None
    served = parse_service_tier(
        usage.get("service_tier"), usage.get("speed"), usage.get("inference_geo")
    )
    if not tools and served is None and billed is None:
        return own
    return msgspec.structs.replace(own, tools=tools, service=served, billed=billed)


def write(usage: Usage | None) -> dict[str, Json]:
    """Return a usage object, without unknown counts; `read` turns it back into the same Usage."""
    totals: dict[str, Json] = {}
    if usage is None:
        return totals
    if usage.input is not None:
        totals["input_tokens"] = usage.input
    if usage.cache_read is not None:
        totals["cache_read_input_tokens"] = usage.cache_read
    if usage.cache_write:
        totals["cache_creation_input_tokens"] = sum(usage.cache_write.values())
        by = {_LIFETIMES[k]: n for k, n in usage.cache_write.items() if k in _LIFETIMES}
        if by:
            totals["cache_creation"] = by
    if usage.completion is not None:
        totals["output_tokens"] = usage.completion
    if usage.reasoning is not None:
        totals["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    searches = usage.tools.get("web_search")
    if searches:
        totals["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    if usage.service in _SERVICE_MEMBERS:
        totals[_SERVICE_MEMBERS[usage.service]] = usage.service
    return totals


def merge(totals: dict[str, Json], more: dict[str, Json]) -> dict[str, Json]:
    """Return a usage object with later running totals in it; what they leave out stands.

    Hosts that count the input when a message begins may send 0 for it at the end.
    """
    stated = {name: value for name, value in more.items() if value is not None}
    if not any(stated.get(name) for name in _INPUT_MEMBERS):
        stated = {name: value for name, value in stated.items() if name not in _INPUT_MEMBERS}
    return {**totals, **stated}


def _add_samplings(own: Usage | None, rows: list[dict[str, Json]]) -> Usage | None:
    """Return the totals, corrected by the samplings, with those of compactions added."""
    if own is not None:
        own = _correct_totals(own, rows)
    for row in rows:
        if row.get("type") == "compaction":
            own = _add_usage(own, _read_counts(row))
    return own


def _count_other_models(rows: list[dict[str, Json]]) -> dict[str, int]:
    """Return the samplings that are billed at the price of another model.

    Anthropic bills the tokens of an advisor at the rates of its model.
    """
    counts: Counter[str] = Counter()
    for row in rows:
        model, advice = row.get("model"), _read_counts(row)
        if row.get("type") == _ADVISOR and isinstance(model, str) and advice is not None:
            written = {
                f"cache_write_{life}" if life else "cache_write": tokens
                for life, tokens in advice.cache_write.items()
            }
            counts += billing.count_model_tokens(
                model,
                {
                    "input": advice.input,
                    "cache_read": advice.cache_read,
                    **written,
                    "output": advice.completion,
                },
            )
        elif tool := _OTHER_MODELS.get(str(row.get("type"))):
            counts[tool] += 1
    return dict(counts)


def _correct_totals(own: Usage, rows: list[dict[str, Json]]) -> Usage:
    """Return the totals, or the sum of the samplings if the totals leave some tokens out."""
    total: Usage | None = None
    for row in rows:
        if row.get("type") == "fallback_message":
            return own  # the provider does not bill the declined attempts before it
        if row.get("type") == "message":
            total = _add_usage(total, _read_counts(row))
    if total is None:
        return own
    missed = sum(total.cache_write.values()) > sum(own.cache_write.values())
    more = (total.completion or 0) - (own.completion or 0)
    return Usage(
        input=_take_larger(own.input, total.input),
        cache_read=_take_larger(own.cache_read, total.cache_read),
        cache_write=total.cache_write if missed else own.cache_write,
        output=own.output if own.output is None or more <= 0 else own.output + more,
        reasoning=own.reasoning,
    )


def _take_larger(first: int | None, second: int | None) -> int | None:
    return second if first is None else max(first, second or 0)


def _read_counts(usage: dict[str, Json]) -> Usage | None:
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
        cache_write=_read_cache_writes(usage),
        output=out,
        reasoning=thought,
    )


def _read_cache_writes(usage: dict[str, Json]) -> dict[str, int]:
    """Return tokens written to the cache by lifetime; the rest of the total has none."""
    inside = usage.get("cache_creation")
    parts = inside if isinstance(inside, dict) else _NO_PARTS
    if not usage.get("cache_creation_input_tokens") and not any(parts.values()):
        return {}
    by = {life: n for life, name in _LIFETIMES.items() if (n := parse_count(parts.get(name)))}
    total = parse_count(usage.get("cache_creation_input_tokens"))
    beyond = 0 if total is None else total - sum(by.values())
    if beyond < 0:  # the total came later than its parts
        return {"": total} if total else {}
    return {**by, "": beyond} if beyond else by


def _add_usage(first: Usage | None, second: Usage | None) -> Usage | None:
    if first is None or second is None:
        return first or second
    written = dict(first.cache_write)
    for life, tokens in second.cache_write.items():
        written[life] = written.get(life, 0) + tokens
    return Usage(
        input=_add_counts(first.input, second.input),
        cache_read=_add_counts(first.cache_read, second.cache_read),
        cache_write=written,
        output=_add_counts(first.output, second.output),
        reasoning=_add_counts(first.reasoning, second.reasoning),
    )


def _add_counts(first: int | None, second: int | None) -> int | None:
    return None if first is None and second is None else (first or 0) + (second or 0)
