"""How a conversation of Chat Completions begins."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import opening
from gateway.dialects.body import Body
from gateway.dialects.opening import Opening

_SYSTEM = ("system", "developer")


def read(body: Body) -> Opening:
    """Read it; odd members say nothing."""
    value = body.said
    messages = value["messages"]
    first = ""
    for message in messages:
        if message.get("role") == "user":
            first = opening.spoken(message.get("content"))
            break
    named = "session_id" in value or "prompt_cache_key" in value
    return Opening(
        system=_system(messages),
        first=first or opening.first(_turns(messages)),
        named=_named(value) if named else None,
        user=opening.asker(value),
    )


def _named(value: dict[str, Json]) -> tuple[str, str] | None:
    """Its name; OpenRouter's own word for that is session_id."""
    return opening.name(value, "session_id") or opening.cache_key(value)


def _system(messages: list[dict[str, Json]]) -> tuple[str, ...]:
    found: list[str] = []
    for message in messages:
        if message.get("role") not in _SYSTEM or len(found) >= opening.MOST_BLOCKS:
            break
        content = message.get("content")
        if isinstance(content, str):
            found.append(content)
        else:
            found += opening.texts(content, "text")
    return opening.system(found)


def _turns(messages: list[dict[str, Json]]) -> Iterator[str | list[str]]:
    for message in messages:
        if message.get("role") == "user":
            yield opening.said(message.get("content"), "text")
