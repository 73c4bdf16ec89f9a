"""How a conversation of the Responses API begins."""

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
_MESSAGE = (None, "message")
_CODEX = ("thread_id", "session_id")


def read(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing.

    `client_metadata` is Codex's: it has there what stands in its headers too.
    """
    value = body.outline
    return ConversationStart(
        system=conversation_start.cut_system(
            list(islice(_list_system(value), conversation_start.MAX_BLOCKS))
        ),
        first_text=conversation_start.find_first_text(_turns(value)),
        name_and_member=_codex(value.get("client_metadata"))
        or conversation_start.find_cache_key(value)
        or conversation_start.find_name(
            value, "conversation", "session_id", "previous_response_id"
        ),
        user=conversation_start.find_end_user(value),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; odd members say nothing."""
    value = body.outline
    return RequestFacts(
        system=join_system(_list_system(value)),
        user=conversation_start.find_end_user(value),
        metadata=read_labels(value.get("metadata")),
        temperature=read_number(value.get("temperature")),
    )


def _codex(metadata: Json) -> tuple[str, str] | None:
    return conversation_start.find_name(metadata, *_CODEX) if isinstance(metadata, dict) else None


def _messages(given: Json) -> Iterator[tuple[Json, str | list[str]]]:
    """The messages of an input: who says what."""
    for item in given or ():
        if item.get("type") in _MESSAGE:
            yield (
                item.get("role"),
                conversation_start.read_content(item.get("content"), "input_text", "text"),
            )


def _list_system(value: dict[str, Json]) -> Iterator[str]:
    """List the blocks of instructions that stand before the conversation."""
    instructions, given = value.get("instructions"), value.get("input")
    if isinstance(instructions, str):
        yield instructions
    for role, said in () if isinstance(given, str) else _messages(given):
        if role not in _SYSTEM:
            break
        yield from [said] if isinstance(said, str) else said


def _turns(value: dict[str, Json]) -> Iterator[str | list[str]]:
    given = value.get("input")
    if isinstance(given, str):
        yield given
    else:
        for role, said in _messages(given):
            if role == "user":
                yield said
