"""Usage as Chat Completions hosts report it, in the five classes that never overlap.

`prompt_tokens` includes cached and written tokens. `completion_tokens` includes reasoning, but for
hosts whose `total_tokens` shows that it does not (xAI, Google's OpenAI door).
"""

from gateway.core.jsonio import Json
from gateway.core.usage import Usage, count


def find(value: dict[str, Json]) -> Usage | None:
    """Usage of an answer or of one chunk, from the places where hosts put it."""
    usage = value.get("usage")
    if not isinstance(usage, dict):
        usage = _elsewhere(value)
    return read(usage) if usage else None


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
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    inside = _dict(usage.get("prompt_tokens_details"))
    cached = _first(
        inside.get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),
        usage.get("cached_tokens"),
        usage.get("cache_read_input_tokens"),
    )
    written = _first(inside.get("cache_write_tokens"), usage.get("cache_creation_input_tokens"))
    fresh = None
    if prompt is not None:  # a part is never more than the whole, whatever a host says
        cached = None if cached is None else min(cached, prompt)
        written = None if written is None else min(written, prompt - (cached or 0))
        fresh = prompt - (cached or 0) - (written or 0)
    shown, reasoning = _output(usage, prompt, completion)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write={"": written} if written else {},
        output=shown,
        reasoning=reasoning,
    )


def _output(
    usage: dict[str, Json], prompt: int | None, completion: int | None
) -> tuple[int | None, int | None]:
    inside = _dict(usage.get("completion_tokens_details"))
    reasoning = _first(inside.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    if completion is None:
        return None, reasoning
    total = count(usage.get("total_tokens"))
    beyond = 0 if total is None or prompt is None else total - prompt - completion
    if beyond > 0 and reasoning in (None, beyond):
        return completion, beyond
    if reasoning is None or reasoning > completion:
        return completion, reasoning
    return completion - reasoning, reasoning


def _first(*values: Json) -> int | None:
    return next((read for value in values if (read := count(value)) is not None), None)


def _dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
