"""Errors of the Responses API: those of Chat Completions in bodies, and events of its own.

In a stream an error is `{"type": "error", ...}`. The official SDK raises only where that holds a
member `error`, clients with types read `code` and `message` beside it: both are written.
"""

from collections.abc import Mapping

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.dialects import upstream_errors
from gateway.dialects.openai_chat import problems as chat
from gateway.dialects.upstream_errors import ErrorWords

LAST = 2**31 - 1
"""The number of an error in its stream: above that of every event before it."""

_CODES: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "slow_down": 429,
    "server_is_overloaded": 503,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "model_not_found": 404,
}
"""What `error.code` stands for; the codes of broken images are the request's own fault too."""

_WORDS = ErrorWords(
    account_words=("insufficient_quota", "billing_hard_limit_reached", "invalid_api_key"),
    context_words=(
        "context_length_exceeded",
        "maximum context length",
        "context window",
        "prompt is too long",
        "too many tokens",
        "reduce the length",
    ),
)

status = chat.status
write = chat.write


def read(status: int, body: bytes, retry_after: float | None) -> Problem:
    """A provider's error; see failure.read."""
    return upstream_errors.read_problem(_WORDS, status, body, retry_after)


def frame(problem: Problem) -> bytes:
    """The error as the last frame of a stream; no terminal event follows it."""
    value = jsonio.loads(write(problem))
    said = value.get("error", value) if isinstance(value, dict) else None
    inner = said if isinstance(said, dict) else {"message": problem.message}
    event = {
        "type": "error",
        "sequence_number": LAST,
        "code": inner.get("code"),
        "message": inner.get("message") or problem.message,
        "param": inner.get("param"),
        "error": inner,
    }
    return b"event: error\ndata: " + jsonio.dumps(event) + b"\n\n"


def found(error: Json) -> Problem:
    """An error object where an answer should be: in a 200, or in the middle of a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    meant = code if isinstance(code, int) and 400 <= code < 600 else 500
    if isinstance(code, str):
        meant = 400 if "image" in code else _CODES.get(code, 500)
    if meant == 500 and isinstance(error, dict) and error.get("type") == "invalid_request_error":
        meant = 400
    return upstream_errors.read_error_answer(_WORDS, meant, jsonio.dumps({"error": error}))
