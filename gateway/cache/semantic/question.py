"""The last thing that somebody typed, apart from all else of a request."""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json, Members
from gateway.dialects.base import RequestBody

_TURNS = {
    "openai-chat": "messages",
    "openai-responses": "input",
    "anthropic-messages": "messages",
    "gemini": "contents",
}
"""The member that has the turns, by dialect."""
_PARTS = "parts"
_KINDS = (None, "text", "input_text")
_list = jsonio.reader(list[msgspec.Raw])


class TypedQuestion(msgspec.Struct, frozen=True):
    """A text, and the request without it."""

    text: str
    members: Members
    """Byte for byte as they came, but for the turn that has the text: a null stands for it."""


def question(body: RequestBody, dialect: str) -> TypedQuestion | None:
    """The text of the last turn; None where that is not one text of a user's, or not all of it."""
    name = _TURNS[dialect]
    given = body.said.get(name)
    if isinstance(given, str):
        return TypedQuestion(given, {**body.members, name: msgspec.Raw(b"null")})
    last = given[-1] if isinstance(given, list) and given else None
    if not isinstance(last, dict) or last.get("role") not in (None, "user"):
        return None
    at = _PARTS if dialect == "gemini" else "content"
    text, rest = _text(last.get(at))
    if text is None or last.get("type") not in (None, "message"):
        return None
    turns = _list(bytes(memoryview(body.members[name])))
    whole = [*(bytes(memoryview(turn)) for turn in turns[:-1]), jsonio.dumps({**last, at: rest})]
    raw = msgspec.Raw(b"[" + b",".join(whole) + b"]")
    return TypedQuestion(text, {**body.members, name: raw})


def _text(content: Json) -> tuple[str | None, Json]:
    """A content that is one text, and what is left without it."""
    if isinstance(content, str):
        return content, None
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    if not isinstance(part, dict) or part.get("type") not in _KINDS:
        return None, None
    text = part.get("text")
    return (text, [{**part, "text": None}]) if isinstance(text, str) else (None, None)
