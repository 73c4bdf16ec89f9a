"""Usage as the Messages API reports it, in the five classes that never overlap.

`input_tokens` leaves out what was read from and written to the prompt cache; `output_tokens`
includes thinking. Tokens of a compaction are told in `iterations` and in no total. Source: `Usage`
and `BetaUsage` of Anthropic's API reference.
"""

from gateway.core.jsonio import Json
from gateway.core.usage import Usage, count

_LIFETIMES = {"5m": "ephemeral_5m_input_tokens", "1h": "ephemeral_1h_input_tokens"}


def read(usage: Json) -> Usage | None:
    """Read one usage object; None where it counts nothing."""
    if not isinstance(usage, dict):
        return None
    own = _read(usage)
    iterations = usage.get("iterations")
    for part in iterations if isinstance(iterations, list) else ():
        if isinstance(part, dict) and part.get("type") == "compaction":
            own = _add(own, _read(part))
    return own


def _read(usage: dict[str, Json]) -> Usage | None:
    fresh, out = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if fresh is None and out is None:
        return None
    details = usage.get("output_tokens_details")
    thought = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    if out is not None and thought is not None:
        thought = min(thought, out)  # a part is never more than the whole
        out -= thought
    return Usage(
        input=fresh,
        cache_read=count(usage.get("cache_read_input_tokens")),
        cache_write=_written(usage),
        output=out,
        reasoning=thought,
    )


def _written(usage: dict[str, Json]) -> dict[str, int]:
    """Tokens written to the cache by lifetime; what the total has beyond them is of none."""
    inside = usage.get("cache_creation")
    parts = inside if isinstance(inside, dict) else {}
    by = {life: n for life, name in _LIFETIMES.items() if (n := count(parts.get(name)))}
    total = count(usage.get("cache_creation_input_tokens"))
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
