"""The headers in which the official SDKs of a dialect, and their users, look for rate limits.

Sources: "Rate limits in headers" of OpenAI's guide, and "Response headers" of Anthropic's page on
rate limits. Google's API has no such headers.
"""

import math
from datetime import UTC, datetime

from gateway.core.rate_limits import RateLimits, RateStatus


def write_openai(limits: RateLimits) -> str:
    """Return the lines of OpenAI's headers; a reset is the time until then, as 6m0s."""
    return "".join([_write_openai_lines(*pair) for pair in _list_limits(limits)])


def _write_openai_lines(unit: str, status: RateStatus) -> str:
    lines = (
        f"x-ratelimit-limit-{unit}: {status.limit}\r\n"
        f"x-ratelimit-remaining-{unit}: {status.remaining}\r\n"
    )
    if status.reset_seconds is None:
        return lines
    return f"{lines}x-ratelimit-reset-{unit}: {format_duration(status.reset_seconds)}\r\n"


def write_anthropic(limits: RateLimits) -> str:
    """Return the lines of Anthropic's headers; a reset is a moment, as 2026-11-30T12:00:00Z."""
    now = limits.measured_at
    return "".join([_write_anthropic_lines(*pair, now) for pair in _list_limits(limits)])


def _write_anthropic_lines(unit: str, status: RateStatus, now: float) -> str:
    lines = (
        f"anthropic-ratelimit-{unit}-limit: {status.limit}\r\n"
        f"anthropic-ratelimit-{unit}-remaining: {status.remaining}\r\n"
    )
    if status.reset_seconds is None:
        return lines
    moment = datetime.fromtimestamp(math.ceil(now + status.reset_seconds), UTC)
    return f"{lines}anthropic-ratelimit-{unit}-reset: {moment.isoformat()[:-6]}Z\r\n"


def format_duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it, rounded up to a millisecond: 120ms, 1.5s, 6m0s."""
    milliseconds = math.ceil(round(seconds * 1_000, 3))
    if 0 < milliseconds < 1_000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{milliseconds / 1_000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _list_limits(limits: RateLimits) -> list[tuple[str, RateStatus]]:
    pairs = (("requests", limits.requests), ("tokens", limits.tokens))
    return [(unit, status) for unit, status in pairs if status is not None]
