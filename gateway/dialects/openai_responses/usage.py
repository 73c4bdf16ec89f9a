"""Usage as the Responses API reports it, in the five classes that never overlap, both ways.

`input_tokens` includes tokens read from and written to the prompt cache; `output_tokens` includes
reasoning, but for hosts whose `total_tokens` shows that it does not. Source: `ResponseUsage` of
OpenAI's API reference.
"""

from gateway.core.jsonio import Json
from gateway.core.usage import Usage, count

_LIFETIMES = {"30m": "ttl_30m_tokens", "12h": "ttl_12h_tokens"}
_NO_TOKENS: dict[str, Json] = {}


def read(usage: Json) -> Usage | None:
    """Read one usage object; None where it counts nothing."""
    if not isinstance(usage, dict):
        return None
    prompt, out = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if prompt is None and out is None:
        return None
    inside = _dict(usage.get("input_tokens_details"))
    cached, written, fresh = count(inside.get("cached_tokens")), _written(inside), None
    if prompt is not None:  # a part is never more than the whole, whatever a host says
        cached = None if cached is None else min(cached, prompt)
        room = prompt - (cached or 0)
        total = sum(written.values())
        if total > room:
            written, total = ({"": room} if room else {}), room
        fresh = room - total
    shown, reasoning = _output(usage, prompt, out)
    return Usage(
        input=fresh, cache_read=cached, cache_write=written, output=shown, reasoning=reasoning
    )


def _written(inside: dict[str, Json]) -> dict[str, int]:
    """Tokens written to the cache by lifetime; what the total has beyond them is of none."""
    parts = _dict(inside.get("cache_write_tokens_details"))
    by = {life: n for life, name in _LIFETIMES.items() if (n := count(parts.get(name)))}
    beyond = (count(inside.get("cache_write_tokens")) or 0) - sum(by.values())
    return {**by, "": beyond} if beyond > 0 else by


def _output(
    usage: dict[str, Json], prompt: int | None, out: int | None
) -> tuple[int | None, int | None]:
    reasoning = count(_dict(usage.get("output_tokens_details")).get("reasoning_tokens"))
    if out is None or reasoning is None:
        return out, reasoning
    total = count(usage.get("total_tokens"))
    beyond = 0 if total is None or prompt is None else total - prompt - out
    if reasoning > out or 0 < beyond == reasoning:
        return out, reasoning
    return out - reasoning, reasoning


def _dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _NO_TOKENS


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
