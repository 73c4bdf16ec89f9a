"""Usage as Gemini reports it, in the five classes that never overlap: both ways.

`promptTokenCount` includes cached tokens. `candidatesTokenCount` leaves thoughts out, unless
`totalTokenCount` shows that it does not. Tokens that hosted tools put into the prompt have a count
of their own. A count of zero is left out, as protos do. Google bills searches by the query or by
the prompt that was grounded, as the model has it: both are counted.
Source: UsageMetadata and GroundingMetadata of Google's API reference.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from gateway.core.jsonio import Json
from gateway.core.usage import (
    MODALITIES,
    Usage,
    count_cached_media,
    parse_count,
    parse_service_tier,
    split_output,
    sum_media_tokens,
)
from gateway.dialects import billing
from gateway.dialects.gemini.content import (
    Object,
    as_integer,
    get_object,
    list_objects,
)
from gateway.dialects.json_values import as_text

type ToolUse = tuple[str, str]
"""A tool, and a key of one use of it."""

_TRAFFIC_TYPES = ("", "on_demand", "provisioned_throughput")
"""Words that some clients' proxies write as the numbers of Google's enum."""
_TIER_BY_TRAFFIC = {"provisioned_throughput": "provisioned", "traffic_type_unspecified": ""}
_TOOL_DETAILS = "toolUsePromptTokensDetails"
_INPUT_DETAILS = ("promptTokensDetails", "promptTokenDetails", _TOOL_DETAILS)
"""The second is the name in answers of embedContent."""
_TEXT = "TEXT"
_TEXTUAL = frozenset({"", "text", "document", "modality_unspecified"})
_MODALITIES = ("", "text", "image", "video", "audio", "document")
"""Modalities that some clients' proxies write as the numbers of Google's enum."""
_WRITTEN_TIERS = frozenset({"flex", "priority"})
"""Words of `serviceTier`."""


def read(usage: Json, *, ended: bool, used: AbstractSet[ToolUse] = frozenset()) -> Usage | None:
    """Read one usageMetadata; None where it counts nothing.

    `ended`: no more will be counted; `used`: tools that the answer shows in use.
    """
    if not isinstance(usage, dict):
        return None
    prompt = parse_count(usage.get("promptTokenCount"))
    shown = parse_count(usage.get("candidatesTokenCount"))
    thoughts = parse_count(usage.get("thoughtsTokenCount"))
    total = parse_count(usage.get("totalTokenCount"))
    if prompt is None and shown is None:
        return None
    tools, cached = parse_count(usage.get("toolUsePromptTokenCount")), None
    fresh = None
    if prompt is not None:  # a part is never more than the whole
        cached = parse_count(usage.get("cachedContentTokenCount"))
        cached = None if cached is None else min(cached, prompt)
        fresh = prompt - (cached or 0) + (tools or 0)
    if shown is None and ended and total == (prompt or 0) + (tools or 0) + (thoughts or 0):
        shown = 0
    elif shown and thoughts and total == (prompt or 0) + (tools or 0) + shown:
        shown, thoughts = split_output(shown, thoughts, 0)
    media = read_media_tokens(usage)
    if media and cached:
        media |= count_cached_media(
            media, _list_modalities(usage.get("cacheTokensDetails"), with_text=True), cached
        )
    return Usage(
        input=fresh,
        cache_read=cached,
        output=shown,
        reasoning=thoughts,
        tools=billing.count_tool_uses(used) if used else {},
        media=media,
        service=_read_service_tier(usage),
    )


def read_media_tokens(usage: Object) -> dict[str, int]:
    """Return the tokens that are not text, by direction; those of tools are input.

    Documents are billed as text. A count that stands in `cacheTokensDetails` stands in the prompt's
    details too: see `count_cached_media`.
    """
    given: Any = usage.get("promptTokensDetails")
    made: Any = usage.get("candidatesTokensDetails")
    try:  # nearly all of many chunks tell one count of text
        text = len(given) == 1 and given[0]["modality"] == _TEXT
        text = text and (made is None or (len(made) == 1 and made[0]["modality"] == _TEXT))
    except (TypeError, LookupError):
        text = False
    if text and _TOOL_DETAILS not in usage:
        return {}
    counts = [pair for name in _INPUT_DETAILS for pair in _list_modalities(usage.get(name))]
    return sum_media_tokens("input", counts) | sum_media_tokens("output", _list_modalities(made))


def _list_modalities(details: Json, *, with_text: bool = False) -> list[tuple[str, Json]]:
    """Return counts by modality; those of text are left out unless `with_text`."""
    rows = [
        (_read_modality(row.get("modality")), row.get("tokenCount"))
        for row in list_objects(details)
    ]
    return [pair for pair in rows if with_text or pair[0] not in _TEXTUAL]


def _read_modality(word: Json) -> str:
    number = as_integer(word)
    if number is not None:
        return _MODALITIES[number] if 0 <= number < len(_MODALITIES) else str(number)
    return (as_text(word) or "").lower()


def _read_service_tier(usage: Object) -> str | None:
    tier, traffic = usage.get("serviceTier"), usage.get("trafficType")
    if traffic is None and tier in (None, "standard"):  # as nearly all of many chunks have it
        return None
    return parse_service_tier(tier, _read_traffic_type(traffic))


def _read_traffic_type(kind: Json) -> str:
    """Return Vertex's traffic type in the words of the Gemini API."""
    number = as_integer(kind)
    if number is not None:
        word = _TRAFFIC_TYPES[number] if 0 <= number < len(_TRAFFIC_TYPES) else str(number)
    else:
        word = (as_text(kind) or "").lower()
    return _TIER_BY_TRAFFIC.get(word, word.removeprefix("on_demand_"))


def list_tool_uses(candidate: Object) -> Iterator[ToolUse]:
    """List the uses of tools billed beside tokens; repeated chunks show the same uses."""
    grounding = get_object(candidate, "groundingMetadata")
    for name in ("webSearchQueries", "imageSearchQueries"):
        queries = grounding.get(name)
        for query in queries if isinstance(queries, list) else ():
            if query and isinstance(query, str):  # empty ones are not billed
                yield "web_search", query
                yield "grounding", ""
    if any("maps" in row for row in list_objects(grounding.get("groundingChunks"))):
        yield "google_maps", ""


def write(usage: Usage) -> Object:
    """Write one usageMetadata without unknown counts. It has no member for cache writes."""
    prompt, completion = usage.prompt, usage.completion
    counts = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": None if prompt is None or completion is None else prompt + completion,
        "serviceTier": usage.service if usage.service in _WRITTEN_TIERS else None,
    }
    written: Object = {name: number for name, number in counts.items() if number is not None}
    if usage.media:
        written |= _write_details(usage)
    return written


def _write_details(usage: Usage) -> Object:
    """Write the counts by modality; what is of no known modality counts as text."""
    totals = {
        "promptTokensDetails": ("input", usage.prompt),
        "cacheTokensDetails": ("cache_read", usage.cache_read),
        "candidatesTokensDetails": ("output", usage.output),
    }
    details: Object = {}
    for name, (direction, total) in totals.items():
        counts = {
            modality.upper(): usage.media[f"{direction}_{modality}"]
            for modality in MODALITIES
            if f"{direction}_{modality}" in usage.media
        }
        if counts and total is not None:
            counts = {_TEXT: total - sum(counts.values()), **counts}
            details[name] = [
                {"modality": modality, "tokenCount": tokens}
                for modality, tokens in counts.items()
                if tokens > 0
            ]
    return details
