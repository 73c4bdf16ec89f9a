"""Test rate-limit headers as providers send them, and how the gateway reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.upstream import rate_limit_headers
from gateway.upstream.rate_limit_headers import (
    DAY_SECONDS,
    HEADER_PARTS,
    HEADER_ROWS,
    parse_seconds,
    read,
    read_retry_after,
    read_retry_delay,
)

NOW = 1_795_500_000.0
"""2026-11-24T06:00:00Z."""

type Head = list[tuple[bytes, bytes]]


def head(text: str) -> Head:
    """Return header pairs as an answer has them on the wire."""
    lines = (line.strip().partition(": ") for line in text.strip().splitlines())
    return [(name.lower().encode(), value.encode()) for name, _, value in lines]


def read_limits(headers: Head) -> dict[str, tuple[int, int | None, float | None]]:
    return {limit.limit_headers.name: (limit.remaining, limit.limit, parse_seconds(limit.raw_reset, NOW)) for limit in read(headers).limits}  # fmt: skip


FAMILIES = {
    "openai": (
        """
        x-ratelimit-limit-requests: 5000
        x-ratelimit-limit-tokens: 800000
        x-ratelimit-remaining-requests: 4999
        x-ratelimit-remaining-tokens: 799976
        x-ratelimit-reset-requests: 12ms
        x-ratelimit-reset-tokens: 6m0s
        """,
        {"requests": (4999, 5000, 0.012), "tokens": (799_976, 800_000, 360.0)},
    ),
    "azure, nothing known": (
        """
        x-ratelimit-limit-requests: -1
        x-ratelimit-remaining-requests: -1
        x-ratelimit-limit-tokens: 0
        x-ratelimit-remaining-tokens: 0
        """,
        {},
    ),
    "azure, one known": (
        """
        X-RateLimit-Remaining-Requests: -1
        X-RateLimit-Remaining-Tokens: 9000.0
        """,
        {"tokens": (9000, None, None)},
    ),
    "anthropic": (
        """
        anthropic-ratelimit-requests-limit: 4000
        anthropic-ratelimit-requests-remaining: 3999
        anthropic-ratelimit-requests-reset: 2026-11-24T06:00:01Z
        anthropic-ratelimit-tokens-limit: 480000
        anthropic-ratelimit-tokens-remaining: 470000
        anthropic-ratelimit-tokens-reset: 2026-11-24T06:00:02Z
        anthropic-ratelimit-input-tokens-limit: 400000
        anthropic-ratelimit-input-tokens-remaining: 390000
        anthropic-ratelimit-input-tokens-reset: 2026-11-24T07:00:03+01:00
        anthropic-ratelimit-output-tokens-limit: 80000
        anthropic-ratelimit-output-tokens-remaining: 80000
        anthropic-ratelimit-output-tokens-reset: 2026-11-24T05:59:00Z
        """,
        {
            "requests": (3999, 4000, 1.0),
            "tokens": (470_000, 480_000, 2.0),
            "input": (390_000, 400_000, 3.0),
            "output": (80_000, 80_000, 0.0),
        },
    ),
    "groq": (
        """
        x-ratelimit-limit-requests: 14400
        x-ratelimit-limit-tokens: 18000
        x-ratelimit-remaining-requests: 14370
        x-ratelimit-remaining-tokens: 17997
        x-ratelimit-reset-requests: 2m59.56s
        x-ratelimit-reset-tokens: 7.66s
        """,
        {"requests": (14370, 14400, 179.56), "tokens": (17997, 18000, 7.66)},
    ),
    "cerebras": (
        """
        x-ratelimit-limit-requests-day: 1000000000
        x-ratelimit-limit-tokens-minute: 1000000000
        x-ratelimit-remaining-requests-day: 999997455
        x-ratelimit-remaining-tokens-minute: 999998298
        x-ratelimit-reset-requests-day: 33011.382867097855
        x-ratelimit-reset-tokens-minute: 11.382867097854614
        """,
        {
            "requests a day": (999_997_455, 10**9, 33011.382867097855),
            "tokens a minute": (999_998_298, 10**9, 11.382867097854614),
        },
    ),
    "mistral": (
        """
        x-ratelimit-limit-req-minute: 360
        x-ratelimit-remaining-req-minute: 359
        x-ratelimit-limit-tokens-minute: 2000000
        x-ratelimit-remaining-tokens-minute: 1999988
        x-ratelimit-tokens-query-cost: 12
        """,
        {
            "requests a minute": (359, 360, None),
            "tokens a minute": (1_999_988, 2_000_000, None),
        },
    ),
    "mistral, older": (
        """
        ratelimitbysize-limit: 500000
        ratelimitbysize-remaining: 499988
        ratelimitbysize-reset: 36
        ratelimitbysize-query-cost: 12
        x-ratelimitbysize-limit-minute: 500000
        x-ratelimitbysize-remaining-minute: 499977
        x-ratelimitbysize-limit-month: 1000000000
        x-ratelimitbysize-remaining-month: 999000000
        """,
        {
            "size": (499_988, 500_000, 36.0),
            "size a minute": (499_977, 500_000, None),
            "size a month": (999_000_000, 10**9, None),
        },
    ),
    "together": (
        """
        x-ratelimit-limit: 10
        x-ratelimit-remaining: 9
        x-ratelimit-reset: 1
        x-tokenlimit-limit: 3000
        x-tokenlimit-remaining: 2993
        """,
        {"requests a second": (9, 10, 1.0), "tokens a second": (2993, 3000, None)},
    ),
    "fireworks": (
        """
        x-ratelimit-limit-requests: 600
        x-ratelimit-remaining-requests: 599
        x-ratelimit-limit-tokens-prompt: 60000
        x-ratelimit-remaining-tokens-prompt: 59900
        x-ratelimit-limit-tokens-cache-adjusted-prompt: 60000
        x-ratelimit-remaining-tokens-cache-adjusted-prompt: 59990
        x-ratelimit-limit-tokens-generated: 6000
        x-ratelimit-remaining-tokens-generated: 5990
        """,
        {
            "requests": (599, 600, None),
            "prompt": (59_900, 60_000, None),
            "uncached": (59_990, 60_000, None),
            "generated": (5990, 6000, None),
        },
    ),
    "none": ("content-type: application/json\nx-request-id: 1", {}),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FAMILIES.values(), ids=FAMILIES)
def test_the_gateway_reads_every_providers_headers(
    text: str, expected: dict[str, tuple[int, int | None, float | None]]
) -> None:
    """Each provider's wire format is read; -1 and a limit of 0 are unknown."""
    assert read_limits(head(text)) == expected


def test_each_header_row_has_its_own_name_and_source() -> None:
    assert len(HEADER_PARTS) == 3 * len(HEADER_ROWS)
    assert all(row.source for row in HEADER_ROWS)


@pytest.mark.parametrize(
    ("value", "over"), [("yes", True), ("Yes ", True), ("no", False), ("", False)]
)
def test_a_header_says_that_the_call_was_over_the_limit(value: str, over: bool) -> None:
    """Fireworks serves calls over its limit while it can."""
    result = read([(b"x-ratelimit-over-limit", value.encode())])
    assert (result.is_over_limit, result.limits) == (over, ())


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1s", 1.0),
        ("1h2m3.5s", 3723.5),
        ("1m30s", 90.0),
        ("1d", DAY_SECONDS),
        ("9d4h", DAY_SECONDS),
        ("2m59.56s", 179.56),
        ("0s", 0.0),
        ("12.5", 12.5),
        ("0", 0.0),
        ("1e9999", None),
        ("99999999", DAY_SECONDS),
        ("1795500030", 30.0),
        ("1795500030000", 30.0),
        ("1795499000", 0.0),
        ("2026-11-24T06:00:30Z", 30.0),
        ("2026-11-24T06:00:30.5+00:00", 30.5),
        ("2026-11-24T06:00:30", 30.0),
        ("2020-01-01T00:00:00Z", 0.0),
        ("9999-12-31T23:59:59Z", DAY_SECONDS),
        ("Tue, 24 Nov 2026 06:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 06:00:30 -0000", 30.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (" ", None),
        ("soon", None),
        ("s", None),
        ("\u00b2s", None),
        ("1" * 65, None),
        ("Tue, 99 Nov 2026 99:00:30 GMT", None),
    ],
)
def test_a_reset_may_be_a_duration_a_time_or_a_number(value: str, wait: float | None) -> None:
    assert parse_seconds(value.encode("latin-1"), NOW) == pytest.approx(wait)


EMPTY = ("x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 6m0s")
FULL = ("x-ratelimit-remaining-tokens: 5", "x-ratelimit-reset-tokens: 20ms")


@pytest.mark.parametrize(
    ("status", "lines", "wait"),
    [
        (429, ("retry-after: 3",), 3.0),
        (429, ("Retry-After: 3.5",), 3.5),
        (429, ("retry-after-ms: 1500",), 1.5),
        (429, ("retry-after: 9", "retry-after-ms: 1500"), 1.5),
        (429, ("retry-after: 9", "retry-after-ms: soon"), 9.0),
        (429, ("retry-after: 9", "retry-after-ms: -1"), 9.0),
        (429, ("retry-after: 0",), 0.0),
        (429, ("retry-after: Tue, 24 Nov 2026 06:00:30 GMT",), 30.0),
        (429, ("retry-after: Tue, 24 Nov 2026 05:00:00 GMT",), 0.0),
        (429, ("retry-after: 1e300",), DAY_SECONDS),
        (429, ("retry-after: soon",), None),
        (429, ("retry-after: -1",), None),
        (429, ("retry-after: inf",), None),
        # The provider's own clock counts; it is an hour behind.
        (429, ("date: Tue, 24 Nov 2026 05:00:00 GMT", "retry-after: Tue, 24 Nov 2026 05:00:30 GMT"), 30.0),
        # A clock that is a year behind does not count.
        (429, ("date: Mon, 24 Nov 2025 05:00:00 GMT", "retry-after: Tue, 24 Nov 2026 06:00:30 GMT"), 30.0),
        (429, (f"date: {'1' * 65}", "retry-after: Tue, 24 Nov 2026 06:00:30 GMT"), 30.0),
        # The exhausted limit decides; if none is known, the first to reset.
        (429, (*EMPTY, *FULL), 360.0),
        (503, (*EMPTY, *FULL), 360.0),
        (429, (*EMPTY, "x-ratelimit-remaining-tokens: 0", FULL[1]), 360.0),
        (429, FULL, None),
        (429, (EMPTY[1], FULL[1]), 0.02),
        (429, (EMPTY[0], "x-ratelimit-reset-requests: soon"), None),
        (429, ("retry-after: 5", *EMPTY), 5.0),
        (500, EMPTY, None),
        (500, ("retry-after: 5",), 5.0),
        (429, (), None),
    ],
)  # fmt: skip
def test_read_retry_after_returns_when_a_refused_call_may_be_repeated(
    status: int, lines: tuple[str, ...], wait: float | None
) -> None:
    assert read_retry_after(head("\n".join(lines)), status, NOW) == pytest.approx(wait)


def google(*details: object) -> bytes:
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "No.", "details": [*details]}
    return jsonio.dumps({"error": error})


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}


def spent(quota: object) -> dict[str, object]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [
            {"quotaMetric": "generate_content_free_tier_requests", "quotaId": quota},
            None,
        ],
    }


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        (google(RETRY), 34.07),
        (b"[" + google(RETRY) + b"]", 34.07),
        (google(spent("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), RETRY), 34.07),
        (google(spent("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), RETRY), DAY_SECONDS),
        (google(RETRY, spent("GenerateRequestsPerDayPerProjectPerModel-FreeTier")), DAY_SECONDS),
        (google(spent(7)), None),
        (google({"retryDelay": 34}), None),
        (google({"retryDelay": "\u00b2s"}), None),
        (google({"violations": 7}, None, []), None),
        (google(), None),
        (b'{"error":{"details":{}}}', None),
        (b'{"error":[]}', None),
        (b"[]", None),
        (b"7", None),
        (b"<html>", None),
    ],
)
def test_read_retry_delay_reads_googles_error_body(body: bytes, wait: float | None) -> None:
    """A daily quota does not return within the seconds given beside it."""
    assert read_retry_delay(body) == pytest.approx(wait)


NAME = st.sampled_from(
    [
        *HEADER_PARTS,
        rate_limit_headers.OVER_LIMIT_HEADER,
        b"retry-after",
        b"retry-after-ms",
        b"date",
    ]
)
PIECE = st.sampled_from(
    [b"1", b"0", b"-", b"+", b".", b"e9", b"m", b"s", b"h", b"d", b"ms", b":", b"T", b"Z", b" ", b"2026-11-24",
     b"06:00:00", b"Tue, 24 Nov 2026", b"GMT", b"nan", b"inf", b"_", b"9999999999", b"\xff", b"\xb2"]
)  # fmt: skip
VALUE = st.binary(max_size=80) | st.lists(PIECE, max_size=8).map(b"".join)
HEAD = st.lists(st.tuples(NAME, VALUE), max_size=12)


@given(headers=HEAD, status=st.sampled_from([200, 429, 500, 503]))
def test_invalid_headers_raise_nothing_and_give_a_bounded_wait(headers: Head, status: int) -> None:
    """Every value that is read stays within a sensible wait."""
    result = read(headers)
    assert all(0 <= limit.remaining <= 10**12 for limit in result.limits)
    waits = [parse_seconds(limit.raw_reset, NOW) for limit in result.limits]
    waits += [parse_seconds(value, NOW) for _, value in headers]
    waits.append(read_retry_after(headers, status, NOW))
    assert all(wait is None or 0 <= wait <= DAY_SECONDS for wait in waits)
    assert abs(rate_limit_headers.read_provider_time(result.date, NOW) - NOW) <= DAY_SECONDS


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "details", "violations", "retryDelay", "quotaId"]), inner
        )
    ),
)


@given(body=st.binary(max_size=60) | JSON.map(jsonio.dumps))
def test_an_invalid_body_gives_a_bounded_delay_or_none(body: bytes) -> None:
    result = read_retry_delay(body)
    assert result is None or 0 <= result <= DAY_SECONDS
