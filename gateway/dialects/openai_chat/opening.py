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
    return Opening(
        system=opening.system(_system(messages)),
        first=opening.first(_turns(messages)),
        # OpenRouter's own name for it is session_id.
        named=opening.name(value, "session_id") or opening.cache_key(value),
        user=opening.asker(value),
    )


def _system(messages: list[dict[str, Json]]) -> list[str]:
    found: list[str] = []
    for message in messages:
        if message.get("role") not in _SYSTEM or len(found) >= opening.MOST_BLOCKS:
            break
        found += opening.texts(message.get("content"), "text")
    return found


def _turns(messages: list[dict[str, Json]]) -> Iterator[str | list[str]]:
    for message in messages:
        if message.get("role") == "user":
            yield opening.said(message.get("content"), "text")
