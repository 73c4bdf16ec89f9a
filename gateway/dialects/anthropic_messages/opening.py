"""How a conversation of the Messages API begins."""

from collections.abc import Iterator

from gateway.core import jsonio
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

_SESSION = "_session_"


def read(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing."""
    value = body.outline
    metadata = value.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    user = user if isinstance(user, str) else ""
    session = _session(user)
    return ConversationStart(
        system=conversation_start.cut_system(
            conversation_start.list_texts(value.get("system"), "text")
        ),
        first_text=conversation_start.find_first_text(_turns(value)),
        name_and_member=(session, "metadata.user_id") if session else None,
        user=user,
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; odd members say nothing."""
    value = body.outline
    metadata = read_labels(value.get("metadata"))
    return RequestFacts(
        system=join_system(conversation_start.list_texts(value.get("system"), "text")),
        user=metadata.get("user_id", ""),
        metadata=metadata,
        temperature=read_number(value.get("temperature")),
    )


def _turns(value: dict[str, Json]) -> Iterator[str | list[str]]:
    for message in value["messages"]:
        if message.get("role") == "user":
            yield conversation_start.read_content(message.get("content"), "text")


def _session(user: str) -> str:
    """The session that Claude Code writes into the name of its user: in JSON, or at its end."""
    if not user.startswith("{"):
        return user.rpartition(_SESSION)[2] if _SESSION in user else ""
    try:
        said = jsonio.loads(user.encode("utf-8", "replace"))
    except jsonio.JsonError:
        return ""
    found = said.get("session_id")
    return found if isinstance(found, str) else ""
