"""What a provider's error means, whatever its dialect: by its status, and by words in its body."""

from collections.abc import Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.errors import Kind, Problem

_AUTH, _MOVED, _SERVER = (401, 402, 403), (301, 302, 303, 307, 308), 500
_SEARCHED = 2000
"""Bytes of a body that are searched for words."""
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
_MESSAGES: Mapping[Kind, str] = {
    "upstream_auth": "The provider did not accept the gateway's credential (HTTP {status}). "
    "Whoever runs the gateway must check the provider's key and account.",
    "upstream_rate_limited": "The provider is limiting the gateway's rate (HTTP {status}).",
    "upstream_overloaded": "The provider is overloaded (HTTP {status}).",
    "upstream_moved": "The provider redirects (HTTP {status}), and the gateway does not follow. "
    "Whoever runs the gateway must check the provider's base_url.",
    "upstream_timeout": "The provider gave up on the request (HTTP {status}).",
}


class ErrorWords(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect's errors say, in lower case, beside their status."""

    ours: tuple[str, ...]
    """They speak of the gateway's account, whatever status they come with."""
    context: tuple[str, ...]
    """They say that a prompt is too long for the model."""
    request: tuple[str, ...] = ()
    """They say that the request is at fault, whatever its status."""
    shown: tuple[type, ...] = (dict,)
    """JSON of these types is an error body that a client's SDK can show."""


def read(words: ErrorWords, status: int, body: bytes, retry_after: float | None) -> Problem:
    """A provider's error. Only a request's own fault goes to the client in the provider's words."""
    own, text = _text(words, body)
    kind = _kind(words, status, text)
    if kind in ("upstream_rejected", "upstream_context", "upstream_model"):
        return Problem(
            kind=kind,
            message=f"The provider refused the request with HTTP {status}.",
            status=status,
            body=own,
            upstream_status=status,
        )
    message = _MESSAGES.get(kind, "The provider failed with HTTP {status}.")
    return Problem(
        kind=kind,
        message=message.format(status=status),
        retry_after=retry_after,
        upstream_status=status,
        spent="maybe" if kind == "upstream_timeout" else "no",
    )


def found(words: ErrorWords, status: int, body: bytes) -> Problem:
    """An error where an answer should be, in a 200 or a stream; `status` is what it stands for."""
    problem = read(words, status, body, None)
    if problem.body is not None:
        return problem
    return Problem(
        kind=problem.kind,
        message="The provider sent an error in place of an answer.",
        upstream_status=status,
        spent="maybe",
    )


def _text(words: ErrorWords, body: bytes) -> tuple[bytes | None, str]:
    """An error body, where a client's SDK can show it, and its text to search in."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return None, body[:_SEARCHED].decode("utf-8", "replace").lower()
    own = body if isinstance(value, words.shown) and value else None
    return own, jsonio.dumps(value)[:_SEARCHED].decode("utf-8", "replace").lower()


def _kind(words: ErrorWords, status: int, text: str) -> Kind:
    if status in _AUTH or any(word in text for word in words.ours):
        return "upstream_auth"
    if any(word in text for word in words.request):
        return "upstream_rejected"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in _MOVED:
        return "upstream_moved"
    if status >= _SERVER or status < 400:
        return "upstream_error"
    if any(word in text for word in words.context):
        return "upstream_context"
    return "upstream_rejected"
