"""Usage as Chat Completions hosts report it, in the five classes that never overlap.

The provider's `total_tokens` decides. `prompt_tokens` includes cached and written tokens unless the
total shows that it does not. `completion_tokens` includes reasoning unless the total shows that it
does not (xAI, Google's OpenAI endpoint). Vercel is the exception: its total leaves reasoning out.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from gateway.core.jsonio import Json
from gateway.core.usage import (
    MODALITIES,
    Usage,
    parse_count,
    parse_service_tier,
    parse_usd,
    split_output,
    sum_media_tokens,
)  # fmt: skip
from gateway.dialects import billing

_LIFETIME = re.compile(r"(?:ephemeral|ttl)_(\w{1,8}?)(?:_input)?_tokens")
"""Members that tell tokens written to the cache by lifetime, in OpenAI's and Anthropic's words."""
_NOTHING: dict[str, Json] = {}
_CACHED_MEMBERS = (
    "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "num_cached_tokens",
)  # fmt: skip
"""Where hosts tell cached tokens that do not tell them in `prompt_tokens_details`."""
_MEDIA_MEMBERS = tuple((f"{modality}_tokens", modality) for modality in MODALITIES)


def find(value: dict[str, Json], word: Json = None) -> Usage | None:
    """Usage of an answer or of one chunk, from the places where hosts put it.

    `word` is what earlier chunks called the service tier; None where nothing is counted here.
    """
    usage = value.get("usage")
    if not isinstance(usage, dict) or not usage:
        usage = _elsewhere(value)
        if not usage:
            return None
    found = read(usage)
    if found is None:
        return None
    served = parse_service_tier(value.get("service_tier") or word, usage.get("service_tier"))
    billed = found.billed
    if billed is None and "cost" in value:  # Venice
        billed = parse_usd(_dict(value["cost"]).get("usd"))
    if served is None and billed is None:
        return found
    return msgspec.structs.replace(found, service=served, billed=billed)


def _elsewhere(value: dict[str, Json]) -> dict[str, Json] | None:
    choices = value.get("choices")
    places = [*choices] if isinstance(choices, list) else []
    places.append(value.get("x_groq"))
    for place in places:
        usage = place.get("usage") if isinstance(place, dict) else None
        if isinstance(usage, dict):
            return usage
    return None


def read(usage: dict[str, Json]) -> Usage | None:
    """Read one usage object; None where it counts nothing."""
    prompt = parse_count(usage.get("prompt_tokens"))
    completion = parse_count(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    inside = _dict(usage.get("prompt_tokens_details"))
    beside = _dict(usage.get("completion_tokens_details"))
    cached = _first(inside, "cached_tokens", usage, _CACHED_MEMBERS)
    written = _first(inside, "cache_write_tokens", usage, ("cache_creation_input_tokens",))
    reasoning = _first(beside, "reasoning_tokens", usage, ("reasoning_tokens",))
    total = parse_count(usage.get("total_tokens"))
    beyond = None  # tokens that the total has more than both sides
    if total is not None and prompt is not None and completion is not None:
        beyond = total - prompt - completion
    fresh = None
    if prompt is not None:
        if beyond and beyond == (cached or 0) + (written or 0) and reasoning != beyond:
            prompt, beyond = prompt + beyond, 0
        # A part is never more than the whole, whatever a host says.
        cached = None if cached is None else min(cached, prompt)
        written = None if written is None else min(written, prompt - (cached or 0))
        fresh = prompt - (cached or 0) - (written or 0)
    shown = completion
    if completion is not None:
        if reasoning is None and beyond is not None and beyond > 0:
            reasoning = beyond  # Google's OpenAI endpoint
        elif "market_cost" not in usage:  # Vercel bills reasoning beside a completion and a total
            shown, reasoning = split_output(completion, reasoning, beyond)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write=_lifetimes(usage, inside, written) if written else {},
        output=shown,
        reasoning=reasoning,
        tools=billing.read_tool_counts(usage),
        media=_read_media(usage, inside, beside),
        billed=billing.read_billed_usd(usage),
    )


def media_of(usage: Mapping[str, Json]) -> dict[str, int]:
    """Return the tokens that are not text."""
    inside = _dict(usage.get("prompt_tokens_details"))
    return _read_media(usage, inside, _dict(usage.get("completion_tokens_details")))


def _read_media(
    usage: Mapping[str, Json], inside: Mapping[str, Json], beside: Mapping[str, Json]
) -> dict[str, int]:
    """Return the tokens that are not text, of the details; Cerebras tells those of images above."""
    given = [(modality, inside[name]) for name, modality in _MEDIA_MEMBERS if inside.get(name)]
    made = [(modality, beside[name]) for name, modality in _MEDIA_MEMBERS if beside.get(name)]
    if "image_tokens" in usage and not inside.get("image_tokens"):
        given.append(("image", usage["image_tokens"]))
    if not given and not made:
        return {}
    return sum_media_tokens("input", given) | sum_media_tokens("output", made)


def _lifetimes(
    usage: Mapping[str, Json], inside: Mapping[str, Json], written: int
) -> dict[str, int]:
    """Written tokens by lifetime; what the total has beyond them is of none."""
    by: dict[str, int] = {}
    places = (inside.get("cache_write_tokens_details"), usage.get("cache_creation"))
    for place in places:
        for name, value in _dict(place).items():
            life, number = _LIFETIME.fullmatch(name), parse_count(value)
            if life is not None and number and not by.get(life[1]):
                by[life[1]] = number
    rest = written - sum(by.values())
    if rest < 0:
        return {"": written}
    return {**by, "": rest} if rest else by


def _first(
    details: Mapping[str, Json], detail: str, usage: Mapping[str, Json], names: Iterable[str]
) -> int | None:
    """Return the first count: of the details, or else of the members above them."""
    if (count := parse_count(details.get(detail))) is not None:
        return count
    for name in names:
        if name in usage and (count := parse_count(usage[name])) is not None:
            return count
    return None


def _dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _NOTHING
