"""How a conversation of the Responses API begins."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import opening
from gateway.dialects.body import Body
from gateway.dialects.opening import Opening

_SYSTEM = ("system", "developer")


def read(body: Body) -> Opening:
    """Read it; odd members say nothing.

    `client_metadata` is Codex's: it has there what stands in its headers too.
    """
    value = body.value
    return Opening(
        system=opening.system(_system(value)),
        first=opening.first(_turns(value)),
        named=opening.name(value.get("client_metadata"), "thread_id", "session_id")
        or opening.cache_key(value)
        or opening.name(value, "conversation", "session_id", "previous_response_id"),
        user=opening.asker(value),
    )


def _messages(value: dict[str, Json]) -> Iterator[tuple[Json, list[str]]]:
    given = value.get("input")
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given or ():
        if item.get("type") in (None, "message"):
            yield item.get("role"), opening.texts(item.get("content"), "input_text", "text")


def _system(value: dict[str, Json]) -> Iterator[str]:
    instructions = value.get("instructions")
    if isinstance(instructions, str):
        yield instructions
    for role, texts in _messages(value):
        if role not in _SYSTEM:
            return
        yield from texts


def _turns(value: dict[str, Json]) -> Iterator[list[str]]:
    for role, texts in _messages(value):
        if role == "user":
            yield texts
