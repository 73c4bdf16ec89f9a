"""The kind of a provider's error in any dialect, by its status and by words in its body."""

from collections.abc import Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemKind

_AUTH_STATUSES = (401, 402, 403)
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_MIN_SERVER_STATUS = 500
_MAX_SEARCHED_BYTES = 2000
"""Bytes of a body that are searched for words."""
_KIND_BY_STATUS: Mapping[int, ProblemKind] = {
    404: "upstream_model",
    408: "upstream_timeout",
    409: "upstream_error",
    429: "upstream_rate_limited",
    498: "upstream_overloaded",
    503: "upstream_overloaded",
    504: "upstream_timeout",
    529: "upstream_overloaded",
}
_MESSAGE_BY_KIND: Mapping[ProblemKind, str] = {
    "upstream_auth": "The provider did not accept the gateway's credential (HTTP {status}). "
    "The operator must check the provider's key and account.",
    "upstream_rate_limited": "The provider is limiting the gateway's rate (HTTP {status}).",
    "upstream_overloaded": "The provider is overloaded (HTTP {status}).",
    "upstream_moved": "The provider redirects (HTTP {status}), which the gateway does not follow. "
    "The operator must check the provider's base_url.",
    "upstream_timeout": "The provider ran out of time (HTTP {status}).",
}


class ErrorWords(msgspec.Struct, frozen=True, kw_only=True):
    """Words of a dialect's errors, in lower case, that tell more than the status."""

    account_words: tuple[str, ...]
    """Words about the gateway's account, with any status."""
    context_words: tuple[str, ...]
    """Words that say that a prompt is too long for the model."""
    request_words: tuple[str, ...] = ()
    """Words that blame the request, with any status."""
    displayable_types: tuple[type, ...] = (dict,)
    """JSON of these types is an error body that a client's SDK can show."""


def read_problem(words: ErrorWords, status: int, body: bytes, retry_after: float | None) -> Problem:
    """A provider's error. Only a request's own fault goes to the client in the provider's words."""
    client_body, text = _read_body(words, body)
    kind = _find_kind(words, status, text)
    if kind in ("upstream_rejected", "upstream_context", "upstream_model"):
        return Problem(
            kind=kind,
            message=f"The provider refused the request with HTTP {status}.",
            status=status,
            body=client_body,
            upstream_status=status,
        )
    message = _MESSAGE_BY_KIND.get(kind, "The provider failed with HTTP {status}.")
    return Problem(
        kind=kind,
        message=message.format(status=status),
        retry_after=retry_after,
        upstream_status=status,
        spent="maybe" if kind == "upstream_timeout" else "no",
    )


def add_sentence(problem: Problem, sentence: str) -> Problem:
    """A provider's error with a sentence of the gateway after the provider's message.

    A body whose message stands in no usual place stays as it is.
    """
    message = f"{problem.message} {sentence}"
    body = problem.body
    if body is not None:
        value = jsonio.loads_bounded(body)
        holder = value.get("error", value) if isinstance(value, dict) else None
        if isinstance(holder, dict) and isinstance(text := holder.get("message"), str):
            holder["message"] = f"{text} {sentence}"
            body = jsonio.dumps(value)
    return msgspec.structs.replace(problem, message=message, body=body)


def read_error_answer(words: ErrorWords, status: int, body: bytes) -> Problem:
    """An error where an answer should be, in a 200 or a stream; `status` is what it stands for."""
    problem = read_problem(words, status, body, None)
    if problem.body is not None:
        return problem
    return Problem(
        kind=problem.kind,
        message="The provider sent an error in place of an answer.",
        upstream_status=status,
        spent="maybe",
    )


def _read_body(words: ErrorWords, body: bytes) -> tuple[bytes | None, str]:
    """An error body, where a client's SDK can show it, and its text to search in."""
    try:
        value = jsonio.loads_bounded(body)
    except jsonio.JsonError:
        return None, body[:_MAX_SEARCHED_BYTES].decode("utf-8", "replace").lower()
    client_body = body if isinstance(value, words.displayable_types) and value else None
    return client_body, jsonio.dumps(value)[:_MAX_SEARCHED_BYTES].decode("utf-8", "replace").lower()


def _find_kind(words: ErrorWords, status: int, text: str) -> ProblemKind:
    if status in _AUTH_STATUSES or any(word in text for word in words.account_words):
        return "upstream_auth"
    if any(word in text for word in words.request_words):
        return "upstream_rejected"
    if status in _KIND_BY_STATUS:
        return _KIND_BY_STATUS[status]
    if status in _REDIRECT_STATUSES:
        return "upstream_moved"
    if status >= _MIN_SERVER_STATUS or status < 400:
        return "upstream_error"
    if any(word in text for word in words.context_words):
        return "upstream_context"
    return "upstream_rejected"
