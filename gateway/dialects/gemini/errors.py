"""Errors of Google's APIs, `{"error": {"code", "message", "status", "details"}}`: both ways.

Sources: the error model of Google's API design guide (statuses, RetryInfo, QuotaFailure,
BadRequest), and google-genai, which raises on a frame that holds an `error`.
"""

from collections.abc import Mapping

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemKind
from gateway.core.jsonio import Json
from gateway.core.rate_limits import ExceededQuota
from gateway.dialects import upstream_errors
from gateway.dialects.gemini.stream_encoder import write_chunk
from gateway.dialects.upstream_errors import ErrorWords

_STATUSES: Mapping[ProblemKind, str] = {
    "invalid_json": "INVALID_ARGUMENT",
    "invalid_request": "INVALID_ARGUMENT",
    "invalid_api_key": "UNAUTHENTICATED",
    "not_allowed": "PERMISSION_DENIED",
    "model_not_found": "NOT_FOUND",
    "not_found": "NOT_FOUND",
    "method_not_allowed": "INVALID_ARGUMENT",
    "request_timeout": "DEADLINE_EXCEEDED",
    "request_too_large": "INVALID_ARGUMENT",
    "media_type": "INVALID_ARGUMENT",
    "no_target": "FAILED_PRECONDITION",
    "loop": "FAILED_PRECONDITION",
    "rate_limited": "RESOURCE_EXHAUSTED",
    "budget": "RESOURCE_EXHAUSTED",
    "budget_busy": "RESOURCE_EXHAUSTED",
    "budget_unbounded": "INVALID_ARGUMENT",
    "overloaded": "UNAVAILABLE",
    "draining": "UNAVAILABLE",
    "ledger": "UNAVAILABLE",
    "keys_unavailable": "UNAVAILABLE",
    "internal": "INTERNAL",
    "upstream_rejected": "INVALID_ARGUMENT",
    "upstream_context": "INVALID_ARGUMENT",
    "upstream_model": "NOT_FOUND",
    "upstream_rate_limited": "RESOURCE_EXHAUSTED",
    "upstream_auth": "INTERNAL",
    "upstream_error": "INTERNAL",
    "upstream_moved": "INTERNAL",
    "upstream_overloaded": "UNAVAILABLE",
    "upstream_timeout": "DEADLINE_EXCEEDED",
    "upstream_unreachable": "UNAVAILABLE",
    "upstream_truncated": "INTERNAL",
}
_CODES: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""By `error.status`, for errors that come in a 200 or in a stream without a code."""
_TYPE_PREFIX = "type.googleapis.com/google.rpc."
_WORDS = ErrorWords(
    account_words=(
        "api_key_invalid",
        "api key not valid",
        "api key expired",
        "api_key_service_blocked",
        "service_disabled",
        "billing_disabled",
        "user location is not supported",
    ),
    context_words=(
        "exceeds the maximum number of tokens",
        "input token count",
        "context window",
        "context length",
    ),
    displayable_types=(dict, list),  # a JSON stream that begins with an error is a list of one
)


def find_status(problem: Problem) -> int:
    """Return the HTTP status of a problem."""
    return problem.http_status


def write(problem: Problem) -> bytes:
    """Write the error body; a provider's own body of a rejected request goes on as it came."""
    if problem.body is not None:
        return problem.body
    error: dict[str, Json] = {
        "code": problem.http_status,
        "message": problem.message,
        "status": _STATUSES[problem.kind],
    }
    details: list[Json] = []
    if problem.param is not None:
        broken = [{"field": problem.param, "description": problem.message}]
        details.append({"@type": f"{_TYPE_PREFIX}BadRequest", "fieldViolations": broken})
    if problem.exceeded_quota is not None:
        details.append(_write_quota_failure(problem.exceeded_quota))
    if problem.retry_after is not None:
        details.append(
            {"@type": f"{_TYPE_PREFIX}RetryInfo", "retryDelay": f"{problem.retry_after:g}s"}
        )
    if details:
        error["details"] = details
    return jsonio.dumps({"error": error})


def _write_quota_failure(quota: ExceededQuota) -> Json:
    """Write which limit or budget refuses a call."""
    violation: dict[str, Json] = {"quotaMetric": f"tiergate/{quota.kind}", "quotaId": quota.name}
    if quota.limit is not None:
        violation["quotaValue"] = f"{quota.limit}"
    return {"@type": f"{_TYPE_PREFIX}QuotaFailure", "violations": [violation]}


def write_frame(problem: Problem) -> bytes:
    """Write the error as the last frame of a stream: SDKs know it by its first member."""
    value = jsonio.loads(write(problem))
    first = value[0] if isinstance(value, list) else value
    error = first.get("error", first) if isinstance(first, dict) else first
    return write_chunk({"error": error})


def read(status: int, body: bytes, retry_after: float | None) -> Problem:
    """Read a provider's error. Google says in the body when to come back."""
    return upstream_errors.read_problem(
        _WORDS, status, body, _read_retry_delay(body) if retry_after is None else retry_after
    )


def read_error_object(error: Json, body: bytes) -> Problem:
    """Read an error in place of an answer: in a 200, or in the middle of a stream."""
    members = error if isinstance(error, dict) else {}
    code, word = members.get("code"), members.get("status")
    if not (isinstance(code, int) and 400 <= code < 600):
        code = _CODES.get(word, 500) if isinstance(word, str) else 500
    return upstream_errors.read_error_answer(_WORDS, code, body)


def _read_retry_delay(body: bytes) -> float | None:
    """Return the seconds of a RetryInfo, e.g. `"retryDelay": "48s"`."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return None
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.removesuffix("s").replace(".", "", 1).isdecimal():
            return float(delay.removesuffix("s"))
    return None
