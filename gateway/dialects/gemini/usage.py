"""Usage as Gemini reports it, in the five classes that never overlap: both ways.

`promptTokenCount` includes cached tokens; `candidatesTokenCount` leaves thoughts out; tokens that
hosted tools put into the prompt are counted apart. A count of zero is left out, as protos do.
Source: UsageMetadata of Google's API reference.
"""

from gateway.core.jsonio import Json
from gateway.core.usage import Usage, count
from gateway.dialects.gemini.wire import Object


def read(usage: Json, *, ended: bool) -> Usage | None:
    """Read one usageMetadata; None where it counts nothing. `ended`: no more will be counted."""
    if not isinstance(usage, dict):
        return None
    prompt, shown = count(usage.get("promptTokenCount")), count(usage.get("candidatesTokenCount"))
    thoughts, total = count(usage.get("thoughtsTokenCount")), count(usage.get("totalTokenCount"))
    if prompt is None and shown is None:
        return None
    tools, cached = count(usage.get("toolUsePromptTokenCount")), None
    fresh = None
    if prompt is not None:  # a part is never more than the whole
        cached = count(usage.get("cachedContentTokenCount"))
        cached = None if cached is None else min(cached, prompt)
        fresh = prompt - (cached or 0) + (tools or 0)
    if shown is None and ended and total == (prompt or 0) + (tools or 0) + (thoughts or 0):
        shown = 0
    return Usage(input=fresh, cache_read=cached, output=shown, reasoning=thoughts)


def write(usage: Usage) -> Object:
    """One usageMetadata; what is unknown is left out. It has no word for what a cache was given."""
    prompt, completion = usage.prompt, usage.completion
    said = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": None if prompt is None or completion is None else prompt + completion,
    }
    return {name: number for name, number in said.items() if number is not None}
