"""Errors of Converse: `{"message": ...}`, and the error's type in a header or in the stream.

AWS's REST protocol names the type in `x-amzn-errortype`, its other protocols in `__type`. Sources:
the errors of Converse and ConverseStream in AWS's API reference, with their statuses.
"""

import re
from collections.abc import Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.dialects import upstream_errors
from gateway.dialects.base import HeaderReader
from gateway.dialects.json_values import read_text
from gateway.dialects.upstream_errors import ErrorWords

TYPE_HEADER = b"x-amzn-errortype"
_TYPE_MEMBER = "__type"
_TYPE = re.compile(r"(?:.*#)?(\w+)")
"""The type in `com.amazon.coral.service#ThrottlingException` and in
`ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/`."""
_STATUS_BY_TYPE: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "AccessDeniedException", "ExpiredTokenException", "IncompleteSignatureException",
            "InvalidSignatureException", "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ),
        403,
    ),
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408,
    "ServiceQuotaExceededException": 429,  # it comes with 400
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "ModelErrorException": 500,
    "ModelStreamErrorException": 500,
    "ModelNotReadyException": 503,  # it comes with 429, and says nothing of the account's rate
    "ServiceUnavailableException": 503,
    "ValidationException": 400,
}  # fmt: skip
"""The statuses that say what an error means, by its type."""
_MODEL_FAILED = 424
"""The status of errors of a model, which are no fault of the request."""
_STATUS_BY_WORDS: tuple[tuple[str, int], ...] = (
    ("model identifier is invalid", 404),
    ("on-demand throughput isn", 404),  # the model has inference profiles alone
    ("access to the model", 404),  # the account lacks this model, not the gateway its credential
    ("did not allow prompt caching", 400),
)
"""Statuses by words of messages that AWS sends with 400 and 403, where the type says too little."""
_WORDS = ErrorWords(
    account_words=(),
    context_words=(
        "input is too long",
        "too many input tokens",
        "input tokens exceeded",
        "number of input tokens exceeds",
        "prompt is too long",
        "maximum context length",
        "context window",
    ),
)


def complete(body: bytes, get_header: HeaderReader) -> bytes:
    """Add the type that stands in a header to an error body."""
    header = get_header(TYPE_HEADER)
    value = _read_object(body)
    if not header or value is None:
        return body
    return jsonio.dumps({**value, _TYPE_MEMBER: header})


def read_problem(status: int, body: bytes, retry_after: float | None) -> Problem:
    """Return a provider's error as a problem; see upstream_errors.read_problem."""
    value = _read_object(body) or {}
    meant = _find_status(value.get(_TYPE_MEMBER), value, status)
    problem = upstream_errors.read_problem(_WORDS, meant, body, retry_after)
    return msgspec.structs.replace(problem, upstream_status=status)


def read_exception(type: str, body: bytes) -> Problem:
    """Return the problem of an exception in the middle of a stream."""
    value = _read_object(body) or {}
    status = _find_status(type[:1].upper() + type[1:], value, 500)
    return upstream_errors.read_error_answer(_WORDS, status, body)


def _find_status(type: Json, value: dict[str, Json], status: int) -> int:
    """Return the status that says what an error means."""
    text = read_text(value.get("message")).lower()
    for words, meant in _STATUS_BY_WORDS:
        if words in text:
            return meant
    match = _TYPE.match(read_text(type))
    usual = 500 if status == _MODEL_FAILED else status
    return usual if match is None else _STATUS_BY_TYPE.get(match[1], usual)


def _read_object(body: bytes) -> dict[str, Json] | None:
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return None
    return value if isinstance(value, dict) else None
