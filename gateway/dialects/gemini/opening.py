"""How a conversation with Gemini begins. It has no name there."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import conversation_start
from gateway.dialects.base import RequestBody
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.gemini import content as wire
from gateway.dialects.request_facts import (
    RequestFacts,
    join_system,
    read_labels,
    read_number,
)


def read(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing."""
    system = wire.get(body.value, "systemInstruction")
    said = [system] if isinstance(system, str) else wire.texts(system)
    return ConversationStart(
        system=conversation_start.cut_system(said),
        first_text=conversation_start.find_first_text(_turns(body.value)),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; odd members say nothing. A user has no name there."""
    value = body.value
    system = wire.get(value, "systemInstruction")
    texts = [system] if isinstance(system, str) else wire.texts(system)
    return RequestFacts(
        system=join_system(texts),
        metadata=read_labels(value.get("labels")),
        temperature=read_number(wire.group(value, "generationConfig").get("temperature")),
    )


def _turns(value: dict[str, Json]) -> Iterator[str | list[str]]:
    for content in wire.rows(value.get("contents")):
        if content.get("role") in ("user", None):
            yield wire.texts(content)
