"""The headers in which the official SDKs of a dialect, and their users, look for rate limits.

Sources: "Rate limits in headers" of OpenAI's guide, and "Response headers" of Anthropic's page on
rate limits. Google's API has no such headers.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.core.rate_limits import RateLimits, RateStatus


def write_openai(limits: RateLimits) -> Iterator[tuple[str, str]]:
    """Yield OpenAI's headers; a reset is the time until then, as 6m0s."""
    for unit, status in _list_limits(limits):
        yield f"x-ratelimit-limit-{unit}", f"{status.limit}"
        yield f"x-ratelimit-remaining-{unit}", f"{status.remaining}"
        if status.reset_seconds is not None:
            yield f"x-ratelimit-reset-{unit}", format_duration(status.reset_seconds)


def write_anthropic(limits: RateLimits) -> Iterator[tuple[str, str]]:
    """Yield Anthropic's headers; a reset is a moment, as 2026-11-30T12:00:00Z."""
    for unit, status in _list_limits(limits):
        yield f"anthropic-ratelimit-{unit}-limit", f"{status.limit}"
        yield f"anthropic-ratelimit-{unit}-remaining", f"{status.remaining}"
        if status.reset_seconds is not None:
            reset_at = math.ceil(limits.measured_at + status.reset_seconds)
            moment = datetime.fromtimestamp(reset_at, UTC).replace(tzinfo=None)
            yield f"anthropic-ratelimit-{unit}-reset", f"{moment.isoformat()}Z"


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
