"""Rate limits as the headers that the SDKs of each dialect know."""

import pytest

from gateway.core.rate_limits import RateLimits, RateStatus
from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    GEMINI,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    OPERATIONS,
    Dialect,
)
from gateway.dialects.rate_limits import format_duration
from gateway.upstream import rate_limit_headers

NOW = 1_796_040_000.0
"""2026-11-30T12:00:00Z."""


def read_lines(text: str) -> dict[str, str]:
    """Read header lines, which end as on the wire."""
    assert not text or text.endswith("\r\n")
    return dict(line.split(": ") for line in text.split("\r\n")[:-1])


BOTH = RateLimits(RateStatus(60, 59, 1.0), RateStatus(40_000, 39_100, 0.4005), NOW)


@pytest.mark.parametrize("dialect", [OPENAI_CHAT, OPENAI_RESPONSES])
def test_openai_clients_get_durations(dialect: Dialect) -> None:
    assert read_lines(dialect.write_rate_limits(BOTH)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "40000",
        "x-ratelimit-remaining-tokens": "39100",
        "x-ratelimit-reset-tokens": "401ms",
    }


def test_anthropic_clients_get_moments_rounded_up() -> None:
    assert read_lines(ANTHROPIC_MESSAGES.write_rate_limits(BOTH)) == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-requests-reset": "2026-11-30T12:00:01Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "39100",
        "anthropic-ratelimit-tokens-reset": "2026-11-30T12:00:01Z",
    }


def test_gemini_clients_know_no_such_headers() -> None:
    assert GEMINI.write_rate_limits(BOTH) == ""


def test_all_operations_of_a_dialect_have_the_same_headers() -> None:
    for (name, _), dialect in OPERATIONS.items():
        expected = OPERATIONS[name, "generate"].write_rate_limits(BOTH)
        assert dialect.write_rate_limits(BOTH) == expected


def test_a_limit_that_nothing_refills_has_no_reset() -> None:
    """There is no limit on requests, and a limit of 0 tokens lets nothing pass."""
    limits = RateLimits(None, RateStatus(0, 0, None), NOW)
    assert read_lines(OPENAI_CHAT.write_rate_limits(limits)) == {
        "x-ratelimit-limit-tokens": "0",
        "x-ratelimit-remaining-tokens": "0",
    }
    assert read_lines(ANTHROPIC_MESSAGES.write_rate_limits(limits)) == {
        "anthropic-ratelimit-tokens-limit": "0",
        "anthropic-ratelimit-tokens-remaining": "0",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.000001, "1ms"),
        (0.12, "120ms"),
        (0.9991, "1s"),
        (1.0, "1s"),
        (8.64, "8.64s"),
        (59.999, "59.999s"),
        (59.9999, "1m0s"),
        (360.0, "6m0s"),
        (3_600.0, "1h0m0s"),
        (86_399.5, "23h59m59.5s"),
        (86_400.0, "24h0m0s"),
    ],
)
def test_durations_are_as_openai_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("dialect", [OPENAI_CHAT, ANTHROPIC_MESSAGES], ids=["openai", "anthropic"])
def test_a_gateway_reads_what_another_one_writes(dialect: Dialect) -> None:
    """The reader of providers' headers finds the same numbers; its seconds are rounded up."""
    lines = read_lines(dialect.write_rate_limits(BOTH))
    headers = [(name.encode(), value.encode()) for name, value in lines.items()]
    stated = rate_limit_headers.read(headers).limits
    assert [(one.limit, one.remaining) for one in stated] == [(60, 59), (40_000, 39_100)]
    resets = [rate_limit_headers.parse_seconds(one.raw_reset, NOW) for one in stated]
    assert resets in ([1.0, 0.401], [1.0, 1.0])
