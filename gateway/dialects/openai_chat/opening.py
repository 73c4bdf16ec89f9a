"""How a conversation of Chat Completions begins."""

from collections.abc import Iterator
from itertools import islice

from gateway.core.jsonio import Json
from gateway.dialects import conversation_start
from gateway.dialects.base import RequestBody
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.request_facts import (
    RequestFacts,
    join_system,
    read_labels,
    read_number,
)

_SYSTEM = ("system", "developer")


def read(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing."""
    value = body.outline
    messages = value["messages"]
    first = ""
    for message in messages:
        if message.get("role") == "user":
            first = conversation_start.read_user_text(message.get("content"))
            break
    named = "session_id" in value or "prompt_cache_key" in value
    return ConversationStart(
        system=_system(messages),
        first_text=first or conversation_start.find_first_text(_turns(messages)),
        name_and_member=_named(value) if named else None,
        user=conversation_start.find_end_user(value),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; odd members say nothing."""
    value = body.outline
    return RequestFacts(
        system=join_system(_list_system(value["messages"])),
        user=conversation_start.find_end_user(value),
        metadata=read_labels(value.get("metadata")),
        temperature=read_number(value.get("temperature")),
    )


def _named(value: dict[str, Json]) -> tuple[str, str] | None:
    """Its name; OpenRouter's own word for that is session_id."""
    return conversation_start.find_name(value, "session_id") or conversation_start.find_cache_key(
        value
    )


def _system(messages: list[dict[str, Json]]) -> tuple[str, ...]:
    return conversation_start.cut_system(
        list(islice(_list_system(messages), conversation_start.MAX_BLOCKS))
    )


def _list_system(messages: list[dict[str, Json]]) -> Iterator[str]:
    """List the blocks of instructions that stand before the conversation."""
    for message in messages:
        if message.get("role") not in _SYSTEM:
            break
        content = message.get("content")
        if isinstance(content, str):
            yield content
        else:
            yield from conversation_start.list_texts(content, "text")


def _turns(messages: list[dict[str, Json]]) -> Iterator[str | list[str]]:
    for message in messages:
        if message.get("role") == "user":
            yield conversation_start.read_content(message.get("content"), "text")
