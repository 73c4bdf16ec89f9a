"""The last text that a user typed, separate from the rest of the request."""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json, Members
from gateway.dialects.base import RequestBody

_TURN_MEMBERS = {
    "openai-chat": "messages",
    "openai-responses": "input",
    "anthropic-messages": "messages",
    "gemini": "contents",
}
"""The member that has the conversation's turns, by dialect."""
_PARTS_MEMBER = "parts"
_TEXT_KINDS = (None, "text", "input_text")
_read_list = jsonio.make_reader(list[msgspec.Raw])


class TypedQuestion(msgspec.Struct, frozen=True):
    """The text of a question, and the request without it."""

    text: str
    members: Members
    """The members, byte for byte as they came. In the last turn, null replaces the text."""


def read_question(body: RequestBody, dialect: str) -> TypedQuestion | None:
    """Read the text of the last turn. Return None if this turn is not just one text of a user."""
    turns_member = _TURN_MEMBERS[dialect]
    value = body.outline.get(turns_member)
    if isinstance(value, str):
        return TypedQuestion(value, {**body.members, turns_member: msgspec.Raw(b"null")})
    last_turn = value[-1] if isinstance(value, list) and value else None
    if not isinstance(last_turn, dict) or last_turn.get("role") not in (None, "user"):
        return None
    content_member = _PARTS_MEMBER if dialect == "gemini" else "content"
    text, remainder = _split_text(last_turn.get(content_member))
    if text is None or last_turn.get("type") not in (None, "message"):
        return None
    turns = _read_list(bytes(memoryview(body.members[turns_member])))
    new_turns = [
        *(bytes(memoryview(turn)) for turn in turns[:-1]),
        jsonio.dumps({**last_turn, content_member: remainder}),
    ]
    raw = msgspec.Raw(b"[" + b",".join(new_turns) + b"]")
    return TypedQuestion(text, {**body.members, turns_member: raw})


def _split_text(content: Json) -> tuple[str | None, Json]:
    """Split a content into its text and the rest. The text is None if it is not the only part."""
    if isinstance(content, str):
        return content, None
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    if not isinstance(part, dict) or part.get("type") not in _TEXT_KINDS:
        return None, None
    text = part.get("text")
    return (text, [{**part, "text": None}]) if isinstance(text, str) else (None, None)
