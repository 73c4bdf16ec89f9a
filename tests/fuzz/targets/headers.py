"""Headers of clients and providers, and answers of pass-through endpoints."""

from typing import Any

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.core.passthrough import PassThroughEndpoint
from gateway.dialects.passthrough_usage import read_usage
from gateway.server.request_headers import RequestHeaders
from gateway.settings.passthrough import TABLES
from gateway.upstream import rate_limit_headers
from tests.fuzz.target import FuzzTarget

_LONGEST_LENGTH = 19
"""The most bytes of a Content-Length that the parser of requests accepts."""
_NOW = 1_793_000_000.0
_FORWARDED = frozenset({b"anthropic-beta", b"anthropic-version", b"traceparent"})


def _split(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the lines of a head as headers, as the parser of requests does."""
    headers = []
    for line in data.replace(b"\r", b"").split(b"\n"):
        name, separator, value = line.partition(b":")
        if separator and not (name.lower() == b"content-length" and len(value) > _LONGEST_LENGTH):
            headers.append((name.lower(), value.strip(b" \t")))
    return headers


def check_client_headers(data: bytes) -> None:
    """Headers are read or refused with a problem; forwarded ones can be sent on."""
    headers = _split(data)
    try:
        read = RequestHeaders(headers, _FORWARDED)
        read.add_query_key(data)
    except ProblemError:
        return
    assert read.retry_count >= 0
    assert read.client_timeout is None or read.client_timeout >= 0
    for name, value in read.forwarded.items():
        assert value.isascii(), name


def check_provider_headers(data: bytes) -> None:
    """Limits and times of a provider never raise, and no wait is below 0."""
    headers = _split(data)
    limits = rate_limit_headers.read(headers)
    assert isinstance(limits, rate_limit_headers.StatedLimits)
    for status in (200, 429, 503):
        wait = rate_limit_headers.read_retry_after(headers, status, _NOW)
        assert wait is None or wait >= 0
    for _, value in headers:
        rate_limit_headers.parse_seconds(value, _NOW)
        rate_limit_headers.read_provider_time(value, _NOW)
    delay = rate_limit_headers.read_retry_delay(data)
    assert delay is None or delay >= 0


_ENDPOINTS: dict[tuple[str, str | None], PassThroughEndpoint] = {
    (table.dialect, endpoint.unit): endpoint
    for table in TABLES.values()
    for endpoint in table.endpoints
}
"""An endpoint for each dialect and unit: nothing else of it changes what is read."""


def check_passthrough_answers(data: bytes) -> None:
    """The usage of any answer to any request is a number or unknown; nothing raises."""
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        return
    request, answer = (value, value) if isinstance(value, dict) else ({}, {})
    if isinstance(value, list) and len(value) == 2 and all(type(part) is dict for part in value):
        request, answer = value
    for (dialect, _), endpoint in _ENDPOINTS.items():
        usage: Any = read_usage(endpoint, dialect, request, answer)
        if usage is not None:
            counts = [usage.input, usage.output, usage.cache_read, *usage.units.values()]
            assert all(count is None or count >= 0 for count in counts)


TARGETS = (
    FuzzTarget(
        "client-headers", check_client_headers,
        (
            b"authorization: Bearer sk-1\nx-tiergate-tags: a,b\nx-tiergate-tier: smart\nx-stainless-retry-count: 2\nx-stainless-timeout: 600\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
            b"x-api-key: k\nanthropic-beta: a,b\nanthropic-beta: c\ncontent-length: 12\ncontent-encoding: identity\ncache-control: no-cache\nx-tiergate-cache: off\nuser-agent: x\n",
            b"key=a&x-goog-api-key: k\nx-tiergate-quality: 0.9\nx-tiergate-timeout: 5\nx-tiergate-user: u\n",
        ),
        (b"x-tiergate-", b"lab: ", b"tier: ", b"tags: ", b"quality: ", b"cache: ", b"conversation: ", b"complete: ", b"escalate: ", b"user: ",
         b"timeout: ", b"hop: ", b"\n", b"gzip", b"9" * 5000, b"1e999", b"nan", b"inf", b"-1", b"%41", b"\xff", b"\xd9\xa1"),
        max_bytes=6_000,
    ),
    FuzzTarget(
        "provider-headers", check_provider_headers,
        (
            b"retry-after: 5\nretry-after-ms: 100\nx-ratelimit-limit-requests: 10\nx-ratelimit-remaining-requests: 9\nx-ratelimit-reset-requests: 1m2.5s\nx-ratelimit-reset-tokens: 6ms\n",
            b"anthropic-ratelimit-requests-limit: 10\nanthropic-ratelimit-requests-remaining: 1\nanthropic-ratelimit-requests-reset: 2026-11-24T12:00:00Z\nretry-after: Tue, 24 Nov 2026 12:00:00 GMT\ndate: Tue, 24 Nov 2026 12:00:00 GMT\n",
            b'{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"13.5s"}]}}',
        ),
        (b"retry-after: ", b"x-ratelimit-", b"anthropic-ratelimit-", b"-reset: ", b"-limit: ", b"-remaining: ", b"1h", b"1e999", b"nan", b"inf", b"-1",
         b"9" * 5000, b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59-23:59", b"\n", b"\xd9\xa1", b"\xff", b"1_0"),
        max_bytes=6_000,
    ),
    FuzzTarget(
        "passthrough-answers", check_passthrough_answers,
        (
            b'[{"model":"m","size":"1024x1024","n":2,"seconds":"8","parameters":{"sampleCount":2,"durationSeconds":5}},{"data":[{"b64_json":"AA"}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}]',
            b'[{},{"meta":{"billed_units":{"search_units":1,"input_tokens":3}},"usage":{"prompt_tokens":3,"completion_tokens":1,"cost":0.5}}]',
            b'[{"input":"text","bbox_annotation_format":{}},{"usage_info":{"pages_processed":3},"duration":1.5,"usage":{"type":"duration","seconds":2},"predictions":[{}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}]',
        ),
        (b'"usage":{', b'"seconds":', b'"n":', b'"data":[', b'"duration":', b'"search_units":', b"null", b"true", b"-1", b"1e999", b"1e-400",
         b'"1"', b'"NaN"', b'"1e5"', b'"total_input_tokens":', b'"input_tokens_by_modality":[', b'"modality":', b'"tokens":', b'"cost":',
         b"99999999999999999999", b"NaN", b"Infinity"),
    ),
)  # fmt: skip
