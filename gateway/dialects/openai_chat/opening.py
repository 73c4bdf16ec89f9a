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
    return Opening(
        system=opening.system(_system(value)),
        first=opening.first(_turns(value)),
        # OpenRouter's own name for it is session_id.
        named=opening.name(value, "session_id") or opening.cache_key(value),
        user=opening.asker(value),
    )


def _system(value: dict[str, Json]) -> Iterator[str]:
    for message in value["messages"]:
        if message.get("role") not in _SYSTEM:
            return
        yield from opening.texts(message.get("content"), "text")


def _turns(value: dict[str, Json]) -> Iterator[list[str]]:
    for message in value["messages"]:
        if message.get("role") == "user":
            yield opening.texts(message.get("content"), "text")
