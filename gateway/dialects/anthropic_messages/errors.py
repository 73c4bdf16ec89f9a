"""Errors of the Messages API, `{"type": "error", "error": {"type", "message"}}`: both ways.

A provider's body of a rejected request goes on unchanged: Claude Code tells by its wording how to
recover. The id that the API has in `request_id` stands in the header of that name.
"""

from collections.abc import Mapping

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemKind
from gateway.core.jsonio import Json
from gateway.dialects import upstream_errors
from gateway.dialects.upstream_errors import ErrorWords

_TYPES: Mapping[ProblemKind, str] = {
    "invalid_json": "invalid_request_error",
    "invalid_request": "invalid_request_error",
    "invalid_api_key": "authentication_error",
    "not_allowed": "permission_error",
    "model_not_found": "not_found_error",
    "not_found": "not_found_error",
    "method_not_allowed": "invalid_request_error",
    "request_timeout": "api_error",
    "request_too_large": "request_too_large",
    "media_type": "invalid_request_error",
    "no_target": "invalid_request_error",
    "loop": "invalid_request_error",
    "rate_limited": "rate_limit_error",
    "budget": "billing_error",
    "budget_busy": "rate_limit_error",
    "budget_unbounded": "invalid_request_error",
    "overloaded": "overloaded_error",
    "draining": "overloaded_error",
    "ledger": "api_error",
    "internal": "api_error",
    "upstream_rejected": "invalid_request_error",
    "upstream_context": "invalid_request_error",
    "upstream_model": "not_found_error",
    "upstream_rate_limited": "rate_limit_error",
    "upstream_auth": "api_error",
    "upstream_error": "api_error",
    "upstream_moved": "api_error",
    "upstream_overloaded": "overloaded_error",
    "upstream_timeout": "timeout_error",
    "upstream_unreachable": "api_error",
    "upstream_truncated": "api_error",
}

_NO_THREAD = {"error_code": "thread_not_found"}
"""By this the official SDK knows that it must send the whole conversation."""
_STATUS = {"overloaded_error": 529, "billing_error": 402}
"""Where it is not the one that other dialects have."""
"""The status of `overloaded_error`, which no other dialect has."""
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""By `error.type`, for errors that come in a 200 or in a stream."""
_WORDS = ErrorWords(
    account_words=(
        '"authentication_error"',
        '"permission_error"',
        '"billing_error"',
        "credit balance is too low",
        "specified api usage limits",
    ),
    context_words=(
        "prompt is too long",
        "context window",
        "context limit",
        "context_length_exceeded",
        "maximum context length",
        "too many tokens",
    ),
    request_words=(
        "thread_not_found",
        "thread_already_continued",
        "thread_continue_in_flight",
        "thread_fingerprint_mismatch",
    ),
)


def find_status(problem: Problem) -> int:
    """The HTTP status: that of its kind, but 529 for what is overloaded and 402 for a budget.

    One that stops is not overloaded: whoever balances load knows what a 503 is.
    """
    own = (
        None if problem.status or problem.kind == "draining" else _STATUS.get(_TYPES[problem.kind])
    )
    return problem.http_status if own is None else own


def write_problem(problem: Problem) -> bytes:
    """The error body; a provider's own body of a rejected request goes on as it came."""
    if problem.body is not None:
        return problem.body
    error: dict[str, Json] = {"type": _TYPES[problem.kind], "message": problem.message}
    if problem.kind == "not_found" and problem.param == "thread":
        error["details"] = _NO_THREAD
    return jsonio.dumps({"type": "error", "error": error})


def write_problem_frame(problem: Problem) -> bytes:
    """The error as the last frame of a stream; no `message_stop` follows it."""
    return b"event: error\ndata: " + write_problem(problem).translate(None, b"\r\n") + b"\n\n"


def read_problem(status: int, body: bytes, retry_after: float | None) -> Problem:
    """A provider's error; see failure.read."""
    return upstream_errors.read_problem(_WORDS, status, body, retry_after)


def read_error_answer(error: Json, body: bytes) -> Problem:
    """An error object where an answer should be: in a 200, or in the middle of a stream."""
    kind = error.get("type") if isinstance(error, dict) else None
    meant = _STATUSES.get(kind, 500) if isinstance(kind, str) else 500
    return upstream_errors.read_error_answer(_WORDS, meant, body)
