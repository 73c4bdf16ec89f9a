"""Usage as Chat Completions hosts report it, in the five classes that never overlap.

The provider's `total_tokens` decides. `prompt_tokens` includes cached and written tokens unless the
total shows that it does not. `completion_tokens` includes reasoning unless the total shows that it
does not (xAI, Google's OpenAI endpoint). Vercel is the exception: its total leaves reasoning out.
"""

import re
from collections.abc import Mapping

import msgspec

from gateway.core.jsonio import Json
from gateway.core.usage import (
    MAX_TOKENS,
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
_USUAL = frozenset(
    {
        "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details",
        "completion_tokens_details",
    }
)  # fmt: skip
_USUAL_INSIDE = frozenset({"cached_tokens", "audio_tokens"})
_USUAL_BESIDE = frozenset(
    {
        "reasoning_tokens", "audio_tokens", "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    }
)  # fmt: skip
"""Members of OpenAI's own usage, of which nothing else than the counts here is told apart."""


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
    return _plain(usage) or _read(usage)


def _plain(usage: dict[str, Json]) -> Usage | None:
    """What most hosts tell, and as they tell it; None for all else, which `_read` reads."""
    if not _USUAL.issuperset(usage):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    inside = usage.get("prompt_tokens_details") or _NOTHING
    beside = usage.get("completion_tokens_details") or _NOTHING
    if not (type(prompt) is type(completion) is int and type(inside) is type(beside) is dict):
        return None
    cached, reasoning = inside.get("cached_tokens"), beside.get("reasoning_tokens")
    total = prompt + completion
    if (
        not _USUAL_INSIDE.issuperset(inside)
        or not _USUAL_BESIDE.issuperset(beside)
        or inside.get("audio_tokens")
        or beside.get("audio_tokens")
        or usage.get("total_tokens", total) != total
        or not 0 <= prompt <= MAX_TOKENS
        or not 0 <= completion <= MAX_TOKENS
        or not (cached is None or (type(cached) is int and 0 <= cached <= prompt))
        or not (reasoning is None or (type(reasoning) is int and 0 <= reasoning <= completion))
    ):
        return None
    return Usage(
        input=prompt - (cached or 0),
        cache_read=cached,
        output=completion - (reasoning or 0),
        reasoning=reasoning,
    )


def _read(usage: dict[str, Json]) -> Usage | None:
    prompt = parse_count(usage.get("prompt_tokens"))
    completion = parse_count(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    inside = _dict(usage.get("prompt_tokens_details"))
    cached = _first(
        inside.get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),
        usage.get("cached_tokens"),
        usage.get("cache_read_input_tokens"),
        usage.get("num_cached_tokens"),
    )
    written = _first(inside.get("cache_write_tokens"), usage.get("cache_creation_input_tokens"))
    fresh, beyond = None, _beyond(usage, prompt, completion)
    if prompt is not None:
        if beyond and beyond == (cached or 0) + (written or 0) and _reasoning(usage) != beyond:
            prompt, beyond = prompt + beyond, 0
        # A part is never more than the whole, whatever a host says.
        cached = None if cached is None else min(cached, prompt)
        written = None if written is None else min(written, prompt - (cached or 0))
        fresh = prompt - (cached or 0) - (written or 0)
    shown, reasoning = _output(usage, completion, beyond)
    media = media_of(usage)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write=_lifetimes(usage, inside, written) if written else {},
        output=shown,
        reasoning=reasoning,
        tools=billing.read_tool_counts(usage),
        media=media,
        billed=billing.read_billed_usd(usage),
    )


def media_of(usage: Mapping[str, Json]) -> dict[str, int]:
    """Return the tokens that are not text; Cerebras tells those of images at the top."""
    inside = _dict(usage.get("prompt_tokens_details"))
    beside = _dict(usage.get("completion_tokens_details"))
    images = inside.get("image_tokens") or usage.get("image_tokens")
    given = sum_media_tokens("input", _media({**inside, "image_tokens": images}))
    return given | sum_media_tokens("output", _media(beside))


def _media(details: Mapping[str, Json]) -> list[tuple[str, Json]]:
    return [(modality, details.get(f"{modality}_tokens")) for modality in MODALITIES]


def _beyond(usage: Mapping[str, Json], prompt: int | None, completion: int | None) -> int | None:
    """Return how many tokens the total has beyond both sides; None where it tells no total."""
    total = parse_count(usage.get("total_tokens"))
    if total is None or prompt is None or completion is None:
        return None
    return total - prompt - completion


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


def _reasoning(usage: Mapping[str, Json]) -> int | None:
    inside = _dict(usage.get("completion_tokens_details"))
    return _first(inside.get("reasoning_tokens"), usage.get("reasoning_tokens"))


def _output(
    usage: Mapping[str, Json], completion: int | None, beyond: int | None
) -> tuple[int | None, int | None]:
    """Return the shown and the reasoning tokens."""
    reasoning = _reasoning(usage)
    if completion is None:
        return None, reasoning
    if reasoning is None and beyond is not None and beyond > 0:
        return completion, beyond  # Google's OpenAI endpoint
    if "market_cost" in usage:  # Vercel, which bills reasoning beside a completion and a total
        return completion, reasoning
    return split_output(completion, reasoning, beyond)


def _first(*values: Json) -> int | None:
    for value in values:
        if value is not None and (read := parse_count(value)) is not None:
            return read
    return None


def _dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _NOTHING
