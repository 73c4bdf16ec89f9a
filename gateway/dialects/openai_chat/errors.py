"""Errors of Chat Completions, `{"error": {"message", "type", "param", "code"}}`: both ways.

An answer with status 200 can hold an error too: at the top, in a choice, or as its finish reason.
"""

from collections.abc import Mapping

from gateway.core import jsonio, sse
from gateway.core.errors import Problem, ProblemKind
from gateway.core.jsonio import Json
from gateway.dialects import upstream_errors
from gateway.dialects.openai_chat.content import has_content, list_choices, read_finish_reason
from gateway.dialects.stream_frames import make_broken_problem, make_empty_problem
from gateway.dialects.upstream_errors import ErrorWords

type Object = dict[str, Json]

_CODES: Mapping[ProblemKind, tuple[str, str]] = {
    "invalid_json": ("invalid_request_error", "invalid_json"),
    "invalid_request": ("invalid_request_error", "invalid_request"),
    "invalid_api_key": ("invalid_request_error", "invalid_api_key"),
    "not_allowed": ("permission_error", "not_allowed"),
    "model_not_found": ("invalid_request_error", "model_not_found"),
    "not_found": ("invalid_request_error", "not_found"),
    "method_not_allowed": ("invalid_request_error", "method_not_allowed"),
    "request_timeout": ("timeout", "request_timeout"),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "media_type": ("invalid_request_error", "unsupported_media_type"),
    "no_target": ("invalid_request_error", "no_target"),
    "loop": ("invalid_request_error", "loop_detected"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
    "budget": ("insufficient_quota", "insufficient_quota"),
    "budget_busy": ("rate_limit_error", "budget_busy"),
    "budget_unbounded": ("invalid_request_error", "budget_unbounded"),
    "overloaded": ("server_error", "overloaded"),
    "draining": ("server_error", "draining"),
    "ledger": ("server_error", "ledger_unavailable"),
    "keys_unavailable": ("server_error", "keys_unavailable"),
    "internal": ("server_error", "internal"),
    "upstream_rejected": ("invalid_request_error", "upstream_rejected"),
    "upstream_context": ("invalid_request_error", "context_length_exceeded"),
    "upstream_model": ("invalid_request_error", "model_not_found"),
    "upstream_rate_limited": ("rate_limit_error", "upstream_rate_limited"),
    "upstream_auth": ("api_error", "upstream_auth"),
    "upstream_error": ("server_error", "upstream_error"),
    "upstream_moved": ("server_error", "upstream_moved"),
    "upstream_overloaded": ("server_error", "overloaded"),
    "upstream_timeout": ("server_error", "upstream_timeout"),
    "upstream_unreachable": ("server_error", "upstream_error"),
    "upstream_truncated": ("server_error", "upstream_truncated"),
}

_CODES_BY_PARAM: Mapping[tuple[ProblemKind, str | None], str] = {
    ("not_allowed", "model"): "model_not_allowed",
    ("not_found", "previous_response_id"): "previous_response_not_found",
    ("not_found", "response_id"): "response_not_found",
}
"""Codes that OpenAI's API has for a problem with one member, in place of those of its kind."""

_WORDS = ErrorWords(
    account_words=(
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "invalid_api_key",
        "api_key_invalid",
    ),
    context_words=(
        "context_length_exceeded",
        "maximum context length",
        "context window",
        "context size",
        "prompt is too long",
        "input token count exceeds",
        "too many tokens",
        "reduce the length",
    ),
    displayable_types=(dict, list),  # Google's endpoint wraps errors in a list
)

_FAILED_REASONS = frozenset({"error", "network_error", "insufficient_system_resource", "abort"})
"""Finish reasons of an answer that the provider broke off (OpenRouter, Z.ai, DeepSeek, vLLM)."""


def find_status(problem: Problem) -> int:
    """Return the HTTP status of a problem: the one of its kind."""
    return problem.http_status


def write_problem(problem: Problem) -> bytes:
    """Write the error body; a provider's own body of a rejected request stays as it came."""
    if problem.body is not None:
        return problem.body
    kind, code = _CODES[problem.kind]
    code = _CODES_BY_PARAM.get((problem.kind, problem.param), code)
    error = {"message": problem.message, "type": kind, "param": problem.param, "code": code}
    return jsonio.dumps({"error": error})


def write_problem_frame(problem: Problem) -> bytes:
    """Write the error as the last frame of a stream; no `[DONE]` follows it."""
    return sse.write_frame(write_problem(problem).translate(None, b"\r\n"))


def read_problem(status: int, body: bytes, retry_after: float | None) -> Problem:
    """Read a provider's error; see upstream_errors.read_problem."""
    return upstream_errors.read_problem(_WORDS, status, body, retry_after)


def read_answer_error(error: Json, body: bytes) -> Problem:
    """Read an error object that stands in a 200 answer, or in the middle of a stream."""
    return upstream_errors.read_error_answer(_WORDS, _find_error_status(error), body)


def _find_error_status(error: Json) -> int:
    """Return the HTTP status that an error object stands for."""
    if not isinstance(error, dict):
        return 500
    for name in ("code", "status_code"):
        status = error.get(name)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return 400 if error.get("type") == "invalid_request_error" else 500


def find_problem(value: Object, choices: list[Object], data: bytes) -> Problem | None:
    """Find the error in a whole answer or a chunk: at the top, or in one of its choices."""
    error = value.get("error")
    if error or value.get("object") == "error":
        return read_answer_error(error or value, data)
    for choice in choices:
        if error := choice.get("error"):
            return read_answer_error(error, data)
        word = choice.get("finish_reason")
        if isinstance(word, str) and word.lower() in _FAILED_REASONS:
            return make_broken_problem(f"an answer that broke off ({word})")
    return None


def check_answer(value: Json, data: bytes) -> tuple[Problem | None, list[str | None]]:
    """Return the problem of a whole answer, None if it has none, and why each choice ended.

    An answer with neither content nor a finish reason is a problem too.
    """
    if not isinstance(value, dict):
        return make_broken_problem("an answer that is not a JSON object"), []
    choices = list_choices(value)
    reasons = [read_finish_reason(choice) for choice in choices]
    problem = find_problem(value, choices, data)
    if (
        problem is None
        and not any(reasons)
        and not any(has_content(it.get("message")) for it in choices)
    ):
        problem = (
            make_empty_problem() if choices else make_broken_problem("an answer without choices")
        )
    return problem, reasons
