"""How a conversation of Chat Completions begins."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import conversation_start
from gateway.dialects.base import RequestBody
from gateway.dialects.conversation_start import ConversationStart

_SYSTEM = ("system", "developer")


def read(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing."""
    value = body.said
    messages = value["messages"]
    first = ""
    for message in messages:
        if message.get("role") == "user":
            first = conversation_start.spoken(message.get("content"))
            break
    named = "session_id" in value or "prompt_cache_key" in value
    return ConversationStart(
        system=_system(messages),
        first=first or conversation_start.first(_turns(messages)),
        named=_named(value) if named else None,
        user=conversation_start.asker(value),
    )


def _named(value: dict[str, Json]) -> tuple[str, str] | None:
    """Its name; OpenRouter's own word for that is session_id."""
    return conversation_start.name(value, "session_id") or conversation_start.cache_key(value)


def _system(messages: list[dict[str, Json]]) -> tuple[str, ...]:
    found: list[str] = []
    for message in messages:
        if message.get("role") not in _SYSTEM or len(found) >= conversation_start.MOST_BLOCKS:
            break
        content = message.get("content")
        if isinstance(content, str):
            found.append(content)
        else:
            found += conversation_start.texts(content, "text")
    return conversation_start.system(found)


def _turns(messages: list[dict[str, Json]]) -> Iterator[str | list[str]]:
    for message in messages:
        if message.get("role") == "user":
            yield conversation_start.said(message.get("content"), "text")
