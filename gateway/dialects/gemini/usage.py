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
    Usage,
    parse_count,
    parse_service_tier,
    split_output,
    sum_media_tokens,
)
from gateway.dialects import billing
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.content import Object

type Used = tuple[str, str]
"""A tool, and what tells one use of it from another."""

_TRAFFIC = ("", "on_demand", "provisioned_throughput")
"""Words that some clients' proxies write as the numbers of Google's enum."""
_SERVICES = {"provisioned_throughput": "provisioned", "traffic_type_unspecified": ""}
_TOOLS = "toolUsePromptTokensDetails"
_GIVEN = ("promptTokensDetails", "promptTokenDetails", _TOOLS)
"""The second is the name in answers of embedContent."""
_TEXT = "TEXT"
_TEXTUAL = frozenset({"", "text", "document", "modality_unspecified"})
_MODALITY = ("", "text", "image", "video", "audio", "document")
"""Modalities that some clients' proxies write as the numbers of Google's enum."""
_TOLD = frozenset({"flex", "priority"})
"""Words of `serviceTier`."""


def read(usage: Json, *, ended: bool, used: AbstractSet[Used] = frozenset()) -> Usage | None:
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
    return Usage(
        input=fresh,
        cache_read=cached,
        output=shown,
        reasoning=thoughts,
        tools=billing.count_tool_uses(used) if used else {},
        media=media_of(usage),
        service=_served(usage),
    )


def media_of(usage: Object) -> dict[str, int]:
    """Return the tokens that are not text, of what went in, what tools brought, and what came out.

    Documents are billed as text. A count that stands in `cacheTokensDetails` stands in the prompt's
    details too.
    """
    given: Any = usage.get("promptTokensDetails")
    made: Any = usage.get("candidatesTokensDetails")
    try:  # nearly all of many chunks tell one count of text
        text = len(given) == 1 and given[0]["modality"] == _TEXT
        text = text and (made is None or (len(made) == 1 and made[0]["modality"] == _TEXT))
    except (TypeError, LookupError):
        text = False
    if text and _TOOLS not in usage:
        return {}
    counts = [pair for name in _GIVEN for pair in _modalities(usage.get(name))]
    return sum_media_tokens("input", counts) | sum_media_tokens("output", _modalities(made))


def _modalities(details: Json) -> list[tuple[str, Json]]:
    """Return counts by modality; those of text are left out."""
    rows = [(_modality(row.get("modality")), row.get("tokenCount")) for row in wire.rows(details)]
    return [(modality, number) for modality, number in rows if modality not in _TEXTUAL]


def _modality(word: Json) -> str:
    number = wire.whole(word)
    if number is not None:
        return _MODALITY[number] if 0 <= number < len(_MODALITY) else str(number)
    return (wire.text(word) or "").lower()


def _served(usage: Object) -> str | None:
    tier, traffic = usage.get("serviceTier"), usage.get("trafficType")
    if traffic is None and tier in (None, "standard"):  # as nearly all of many chunks have it
        return None
    return parse_service_tier(tier, _traffic(traffic))


def _traffic(kind: Json) -> str:
    """Vertex's word for how a request was served, as the Gemini API calls the same."""
    number = wire.whole(kind)
    if number is not None:
        word = _TRAFFIC[number] if 0 <= number < len(_TRAFFIC) else str(number)
    else:
        word = (wire.text(kind) or "").lower()
    return _SERVICES.get(word, word.removeprefix("on_demand_"))


def used(candidate: Object) -> Iterator[Used]:
    """Tools billed beside tokens that a candidate shows in use; repeated chunks show the same."""
    grounding = wire.group(candidate, "groundingMetadata")
    for name in ("webSearchQueries", "imageSearchQueries"):
        queries = grounding.get(name)
        for query in queries if isinstance(queries, list) else ():
            if query and isinstance(query, str):  # empty ones are not billed
                yield "web_search", query
                yield "grounding", ""
    if any("maps" in row for row in wire.rows(grounding.get("groundingChunks"))):
        yield "google_maps", ""


def write(usage: Usage) -> Object:
    """One usageMetadata; what is unknown is left out. It has no word for what a cache was given."""
    prompt, completion = usage.prompt, usage.completion
    said = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": None if prompt is None or completion is None else prompt + completion,
        "serviceTier": usage.service if usage.service in _TOLD else None,
    }
    return {name: number for name, number in said.items() if number is not None}
