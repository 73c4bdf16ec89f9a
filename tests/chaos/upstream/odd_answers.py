"""Frames and bodies of a provider by dialect: longer, odd or cut."""

from gateway.core import jsonio
from tests.chaos.provider import body, frames
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES

LEAD = {CHAT: 1, RESPONSES: 4, MESSAGES: 2, GEMINI: 0}
"""Frames of a stream before its first content."""
CONTENT = {CHAT: 3, RESPONSES: 3, MESSAGES: 3, GEMINI: 2}
"""Frames of content in the usual stream; Gemini's last one also has the end."""


def long(dialect: str, count: int) -> tuple[bytes, ...]:
    """Return a stream with `count` frames of content."""
    usual, lead = frames(dialect), LEAD[dialect]
    rest = usual[lead + CONTENT[dialect] :]
    return (*usual[:lead], *(usual[lead] for _ in range(count)), *rest)


def begun(dialect: str, count: int) -> tuple[bytes, ...]:
    """Return the start of that stream, with up to `count` frames of content."""
    return long(dialect, max(count, 1))[: LEAD[dialect] + count]


def shown(dialect: str, count: int) -> str:
    """Return the verdict of a client that gets that start and then an error."""
    return f"{LEAD[dialect] + count} + error"


def error(
    dialect: str,
    status: int,
    word: str = "overloaded_error",
    message: str = "The model is overloaded for now.",
) -> bytes:
    """Return a provider's own error."""
    if dialect == MESSAGES:
        return jsonio.dumps({"type": "error", "error": {"type": word, "message": message}})
    if dialect == GEMINI:
        names = {
            400: "INVALID_ARGUMENT",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
        }
        members = {"code": status, "message": message, "status": names.get(status, "INTERNAL")}
        return jsonio.dumps({"error": members})
    code = {404: "model_not_found", 429: "rate_limit_exceeded"}.get(status)
    members = {"message": message, "type": "server_error", "param": None, "code": code}
    return jsonio.dumps({"error": members})


def error_frame(dialect: str, status: int = 503) -> bytes:
    """Return a provider's own error as an event of a stream."""
    error_body = error(dialect, status)
    if dialect == RESPONSES:
        members = {
            "type": "error",
            "code": "server_error",
            "message": "The model is overloaded for now.",
            "param": None,
            "sequence_number": 0,
        }
        return b"event: error\ndata: " + jsonio.dumps(members) + b"\n\n"
    named = b"event: error\n" if dialect == MESSAGES else b""
    return named + b"data: " + error_body + b"\n\n"


def speaking(dialect: str, text: str, *, stream: bool) -> tuple[bytes, ...]:
    """Return the usual answer with another first text, not escaped; a whole answer is one piece."""
    data = text.encode()
    if not stream:
        return (body(dialect).replace(b"Hello you.", data),)
    usual, lead = list(frames(dialect)), LEAD[dialect]
    usual[lead] = usual[lead].replace(b"Hell", data)
    return tuple(usual)
