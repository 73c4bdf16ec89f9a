"""Errors of the Messages API, `{"type": "error", "error": {"type", "message"}}`: both ways.

The gateway forwards a provider's body of a rejected request unchanged: its wording shows Claude
Code how to recover. The id that the API has in `request_id` is in the header of that name.
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
    "keys_unavailable": "api_error",
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

_THREAD_DETAILS = {"error_code": "thread_not_found"}
"""Tells the official SDK that it must send the whole conversation."""
_OWN_STATUS = {"overloaded_error": 529, "billing_error": 402}
"""HTTP statuses by `error.type` that differ from those of other dialects."""
_STATUS_BY_TYPE: Mapping[str, int] = {
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
"""HTTP statuses by `error.type`, for errors that come in a 200 or in a stream."""
_ERROR_WORDS = ErrorWords(
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
    """Return the HTTP status of a problem: 529 if overloaded, 402 for a budget, else by its kind.

    A gateway that shuts down answers 503, which load balancers know, and not 529.
    """
    own = (
        None
        if problem.status or problem.kind == "draining"
        else _OWN_STATUS.get(_TYPES[problem.kind])
    )
    return problem.http_status if own is None else own


def write_problem(problem: Problem) -> bytes:
    """Return the error body; the provider's own body of a rejected request stays unchanged."""
    if problem.body is not None:
        return problem.body
    error: dict[str, Json] = {"type": _TYPES[problem.kind], "message": problem.message}
    if problem.kind == "not_found" and problem.param == "thread":
        error["details"] = _THREAD_DETAILS
    return jsonio.dumps({"type": "error", "error": error})


def read_problem(status: int, body: bytes, retry_after: float | None) -> Problem:
    """Return a provider's error as a problem; see upstream_errors.read_problem."""
    return upstream_errors.read_problem(_ERROR_WORDS, status, body, retry_after)


def read_error_answer(error: Json, body: bytes) -> Problem:
    """Return the problem for an error object in a 200, or in the middle of a stream."""
    kind = error.get("type") if isinstance(error, dict) else None
    status = _STATUS_BY_TYPE.get(kind, 500) if isinstance(kind, str) else 500
    return upstream_errors.read_error_answer(_ERROR_WORDS, status, body)
