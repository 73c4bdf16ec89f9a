"""Errors of the Responses API, both ways, and the status that tells how a response ended.

Error bodies are those of Chat Completions. In a stream an error is `{"type": "error", ...}`. The
official SDK raises only if the event has a member `error`. Typed clients read `code` and `message`
beside it. The gateway writes both.
"""

from collections.abc import Mapping

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.dialects import upstream_errors
from gateway.dialects.openai_chat import errors as chat
from gateway.dialects.openai_responses.content import Object
from gateway.dialects.openai_responses.stream_encoder import write_event
from gateway.dialects.stream_frames import make_broken_problem, make_empty_problem
from gateway.dialects.upstream_errors import ErrorWords

LAST_NUMBER = 2**31 - 1
"""The sequence number of an error: above that of every event before it."""

_STATUS_BY_CODE: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "slow_down": 429,
    "server_is_overloaded": 503,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "model_not_found": 404,
}
"""The HTTP status for each `error.code`; codes of broken images mean 400 too."""

_ERROR_WORDS = ErrorWords(
    account_words=("insufficient_quota", "billing_hard_limit_reached", "invalid_api_key"),
    context_words=(
        "context_length_exceeded",
        "maximum context length",
        "context window",
        "prompt is too long",
        "too many tokens",
        "reduce the length",
    ),
    request_words=("previous_response_not_found", "previous response with id"),
)

_COMPLETE_STATUSES = ("completed", "incomplete")
_WORKING_STATUSES = ("queued", "in_progress")
_FAILED_STATUSES = ("failed", "cancelled")
_MODEL_ITEMS = ("message", "reasoning", "function_call", "custom_tool_call")
"""Items that the model makes. All others are of tools, and the model sees their errors."""

find_status = chat.find_status
write_problem = chat.write_problem


def read_problem(status: int, body: bytes, retry_after: float | None) -> Problem:
    """Read a provider's error; see upstream_errors.read_problem."""
    return upstream_errors.read_problem(_ERROR_WORDS, status, body, retry_after)


def write_problem_frame(problem: Problem) -> bytes:
    """Write an error as the last frame of a stream; no terminal event follows it."""
    value = jsonio.loads(write_problem(problem))
    error = value.get("error", value) if isinstance(value, dict) else None
    members = error if isinstance(error, dict) else {"message": problem.message}
    event = {
        "type": "error",
        "sequence_number": LAST_NUMBER,
        "code": members.get("code"),
        "message": members.get("message") or problem.message,
        "param": members.get("param"),
        "error": members,
    }
    return write_event(b"error", jsonio.dumps(event))


def read_error(error: Json) -> Problem:
    """Read an error object in place of an answer: in a 200, or in the middle of a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    if isinstance(code, str):
        status = 400 if "image" in code else _STATUS_BY_CODE.get(code, 500)
    if status == 500 and isinstance(error, dict) and error.get("type") == "invalid_request_error":
        status = 400
    return upstream_errors.read_error_answer(_ERROR_WORDS, status, jsonio.dumps({"error": error}))


def is_complete(response: Object) -> bool:
    """True if a response ended as its status says."""
    return response.get("status") in _COMPLETE_STATUSES


def is_working(response: Object) -> bool:
    """True if the status says that the provider still works on a response."""
    return response.get("status") in _WORKING_STATUSES


def is_pending(response: Object) -> bool:
    """True if the provider still works on a response, in the background."""
    return (
        response.get("background") is True and is_working(response) and find_error(response) is None
    )


def read_finish(response: Object) -> str | None:
    """Read how a response ended: why it is incomplete, else its status."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    status = response.get("status")
    if status == "incomplete" and isinstance(reason, str):
        return reason
    return status if isinstance(status, str) and status else None


def find_error(response: Json) -> Json:
    """Find the error of a response, or of an item which the model makes; None if there is none."""
    if not isinstance(response, dict):
        return None
    if response.get("error") or response.get("status") in _FAILED_STATUSES:
        return response.get("error") or {}
    output = response.get("output")
    item_errors = map(find_item_error, output) if isinstance(output, list) else ()
    return next((item_error for item_error in item_errors if item_error is not None), None)


def find_item_error(item: Json) -> Json:
    """Find the error of an item that the model makes; None if it has none."""
    if not isinstance(item, dict) or item.get("type") not in _MODEL_ITEMS:
        return None
    return item.get("error") or ({} if item.get("status") == "failed" else None)


def find_problem(response: Json) -> Problem | None:
    """Tell why a value is no response: an error, or neither content nor an end.

    None if it is one.
    """
    if not isinstance(response, dict):
        return make_broken_problem("an answer that is not a JSON object")
    error, output = find_error(response), response.get("output")
    if error is not None:
        return read_error(error)
    if not isinstance(output, list):
        return make_broken_problem("an answer without output")
    return None if output or is_complete(response) else make_empty_problem()
