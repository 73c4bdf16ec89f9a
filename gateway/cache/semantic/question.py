"""The last thing that somebody typed, apart from all else of a request."""

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
"""The member that has the turns, by dialect."""
_PARTS_MEMBER = "parts"
_TEXT_KINDS = (None, "text", "input_text")
_read_list = jsonio.make_reader(list[msgspec.Raw])


class TypedQuestion(msgspec.Struct, frozen=True):
    """A text, and the request without it."""

    text: str
    members: Members
    """Byte for byte as they came, but for the turn that has the text: a null stands for it."""


def read_question(body: RequestBody, dialect: str) -> TypedQuestion | None:
    """The text of the last turn; None where that is not one text of a user's, or not all of it."""
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
    """A content that is one text, and what is left without it."""
    if isinstance(content, str):
        return content, None
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    if not isinstance(part, dict) or part.get("type") not in _TEXT_KINDS:
        return None, None
    text = part.get("text")
    return (text, [{**part, "text": None}]) if isinstance(text, str) else (None, None)
