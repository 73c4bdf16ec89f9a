"""Read a provider's answer to a pass-through call, and select the headers for the client."""

from collections.abc import Iterable

from gateway.core import jsonio, log_probs, sse
from gateway.core.jsonio import Json
from gateway.upstream import credential_masking

JSON_TYPE = "application/json"
_PASSED_HEADERS = frozenset(
    {
        b"content-type", b"content-disposition", b"content-range", b"accept-ranges",
        b"retry-after", b"retry-after-ms", b"openai-processing-ms",
        b"x-goog-upload-status", b"x-goog-upload-chunk-granularity",
        b"x-goog-upload-size-received",
    }
)  # fmt: skip
"""Headers of answers that clients need. No cookie and no redirect of a provider passes."""
_SAFETY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cache-control", b"no-store"),
)
"""A provider's file may be a web page: no browser runs it in the gateway's origin."""

type Fields = Iterable[tuple[bytes, bytes]]


def select_headers(fields: Fields, secret: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that go on to the client, without the credential."""
    passed = [
        (name, credential_masking.mask_text(secret, value.decode("latin-1")).encode("latin-1"))
        for name, value in fields
        if name in _PASSED_HEADERS
    ]
    return [*passed, *_SAFETY_HEADERS]


def is_json(content_type: str) -> bool:
    """Return True if an answer is one JSON value."""
    return content_type.partition(";")[0].strip().lower() == JSON_TYPE


def is_event_stream(content_type: str) -> bool:
    """Return True if an answer is a stream of server-sent events."""
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"


def read_object(body: bytes) -> dict[str, Json]:
    """Return the JSON object of an answer; an empty one if it is something else."""
    try:
        value = log_probs.loads_answer(body)
    except jsonio.JsonError:
        return {}
    return value if isinstance(value, dict) else {}


def read_event(frame: bytes) -> dict[str, Json]:
    """Return the JSON object in a frame of a stream; an empty one if there is none."""
    return read_object(sse.read_data(frame))
