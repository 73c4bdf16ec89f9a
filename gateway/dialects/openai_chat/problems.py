"""Errors of Chat Completions, `{"error": {"message", "type", "param", "code"}}`: both ways."""

from collections.abc import Mapping

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.core.problem import Kind, Problem

_CODES: Mapping[Kind, tuple[str, str]] = {
    "invalid_json": ("invalid_request_error", "invalid_json"),
    "invalid_request": ("invalid_request_error", "invalid_request"),
    "invalid_api_key": ("invalid_request_error", "invalid_api_key"),
    "not_allowed": ("permission_error", "model_not_allowed"),
    "model_not_found": ("invalid_request_error", "model_not_found"),
    "not_found": ("invalid_request_error", "not_found"),
    "method_not_allowed": ("invalid_request_error", "method_not_allowed"),
    "request_timeout": ("timeout", "request_timeout"),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "media_type": ("invalid_request_error", "unsupported_media_type"),
    "no_target": ("invalid_request_error", "no_target"),
    "loop": ("invalid_request_error", "loop_detected"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded": ("server_error", "overloaded"),
    "draining": ("server_error", "draining"),
    "ledger": ("server_error", "ledger_unavailable"),
    "internal": ("server_error", "internal"),
    "upstream_rejected": ("invalid_request_error", "upstream_rejected"),
    "upstream_context": ("invalid_request_error", "context_length_exceeded"),
    "upstream_model": ("invalid_request_error", "model_not_found"),
    "upstream_rate_limited": ("rate_limit_error", "upstream_rate_limited"),
    "upstream_auth": ("api_error", "upstream_auth"),
    "upstream_error": ("server_error", "upstream_error"),
    "upstream_overloaded": ("server_error", "overloaded"),
    "upstream_timeout": ("server_error", "upstream_timeout"),
    "upstream_unreachable": ("server_error", "upstream_error"),
    "upstream_truncated": ("server_error", "upstream_truncated"),
}

_AUTH, _REJECTED_MOST = (401, 402, 403), 500
_OURS = (
    "insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached",
    "invalid_api_key", "api_key_invalid",
)  # fmt: skip
"""Codes that speak of the gateway's account, whatever status they come with."""
_CONTEXT = (
    "context_length_exceeded", "maximum context length", "context window", "context size",
    "prompt is too long", "input token count exceeds", "too many tokens", "reduce the length",
)  # fmt: skip
_BY_STATUS: Mapping[int, Kind] = {
    404: "upstream_model",
    408: "upstream_timeout",
    409: "upstream_error",
    429: "upstream_rate_limited",
    498: "upstream_overloaded",
    503: "upstream_overloaded",
    504: "upstream_timeout",
    529: "upstream_overloaded",
}


def status(problem: Problem) -> int:
    """The HTTP status: that of its kind."""
    return problem.http_status


def write(problem: Problem) -> bytes:
    """The error body; a provider's own body of a rejected request goes on as it came."""
    if problem.body is not None:
        return problem.body
    kind, code = _CODES[problem.kind]
    error = {"message": problem.message, "type": kind, "param": problem.param, "code": code}
    return jsonio.dumps({"error": error})


def frame(problem: Problem) -> bytes:
    """The error as the last frame of a stream; no `[DONE]` follows it."""
    return sse.frame(write(problem).translate(None, b"\r\n"))


def read(status: int, body: bytes, retry_after: float | None) -> Problem:
    """A provider's error. Only a request's own fault goes to the client in the provider's words."""
    own, text = _read(body)
    kind = _kind(status, text)
    if kind in ("upstream_rejected", "upstream_context", "upstream_model"):
        return Problem(
            kind=kind,
            message=f"The provider refused the request with HTTP {status}.",
            status=status,
            body=own,
            upstream_status=status,
        )
    return Problem(
        kind=kind,
        message=_MESSAGES.get(kind, "The provider failed with HTTP {status}.").format(
            status=status
        ),
        retry_after=retry_after,
        upstream_status=status,
        spent="maybe" if kind == "upstream_timeout" else "no",
    )


_MESSAGES: Mapping[Kind, str] = {
    "upstream_auth": "The provider did not accept the gateway's credential (HTTP {status}). "
    "Whoever runs the gateway must check the provider's key and account.",
    "upstream_rate_limited": "The provider is limiting the gateway's rate (HTTP {status}).",
    "upstream_overloaded": "The provider is overloaded (HTTP {status}).",
    "upstream_timeout": "The provider gave up on the request (HTTP {status}).",
}


def found(error: Json, body: bytes) -> Problem:
    """An error object where an answer should be: in a 200, or in the middle of a stream."""
    status = _status(error)
    problem = read(status, body, None)
    if problem.body is not None:
        return problem
    return Problem(
        kind=problem.kind,
        message="The provider sent an error in place of an answer.",
        upstream_status=status,
        spent="maybe",
    )


def _status(error: Json) -> int:
    """The HTTP status that an error object stands for."""
    if not isinstance(error, dict):
        return 500
    for name in ("code", "status_code"):
        status = error.get(name)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return 400 if error.get("type") == "invalid_request_error" else 500


def _read(body: bytes) -> tuple[bytes | None, str]:
    """An error body, where it is JSON that a client's SDK can show, and its text to search in."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return None, body[:2000].decode("utf-8", "replace").lower()
    own = body if isinstance(value, dict | list) and value else None
    return own, jsonio.dumps(value)[:2000].decode("utf-8", "replace").lower()


def _kind(status: int, text: str) -> Kind:
    if status in _AUTH or any(word in text for word in _OURS):
        return "upstream_auth"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= _REJECTED_MOST or status < 400:
        return "upstream_error"
    if any(word in text for word in _CONTEXT):
        return "upstream_context"
    return "upstream_rejected"
