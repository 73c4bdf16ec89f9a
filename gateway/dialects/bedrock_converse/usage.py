"""Usage as Converse reports it, in the five classes that never overlap.

`inputTokens` leaves out the tokens that were read from the prompt cache or written to it, as AWS's
guide of prompt caching says. `outputTokens` includes reasoning, which no count tells apart.
Sources: TokenUsage, ServiceTier and PerformanceConfiguration of AWS's API reference.
"""

from gateway.core.jsonio import Json
from gateway.core.usage import Usage, parse_count, parse_service_tier

type Object = dict[str, Json]


def read(answer: Object) -> Usage | None:
    """Read the usage of a whole answer, or of a metadata event; None where it counts nothing."""
    counts = answer.get("usage")
    if not isinstance(counts, dict):
        return None
    fresh, output = parse_count(counts.get("inputTokens")), parse_count(counts.get("outputTokens"))
    if fresh is None and output is None:
        return None
    return Usage(
        input=fresh,
        cache_read=parse_count(counts.get("cacheReadInputTokens")),
        cache_write=_read_cache_writes(counts),
        output=output,
        service=parse_service_tier(
            _get_inner(answer, "serviceTier", "type"),
            _get_inner(answer, "performanceConfig", "latency"),
        ),
    )


def _read_cache_writes(counts: Object) -> dict[str, int]:
    """Return tokens written to the cache by lifetime; what no detail names has none."""
    total = parse_count(counts.get("cacheWriteInputTokens"))
    written: dict[str, int] = {}
    details = counts.get("cacheDetails")
    for detail in details if isinstance(details, list) else ():
        tokens = parse_count(detail.get("inputTokens")) if isinstance(detail, dict) else None
        lifetime = detail.get("ttl") if tokens else None
        if tokens and isinstance(lifetime, str):
            written[lifetime] = written.get(lifetime, 0) + tokens
    rest = (total or 0) - sum(written.values())
    if rest < 0:
        return {"": total} if total else {}
    return {**written, "": rest} if rest else written


def _get_inner(answer: Object, name: str, inner: str) -> Json:
    member = answer.get(name)
    return member.get(inner) if isinstance(member, dict) else None
