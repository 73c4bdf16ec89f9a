"""The state of the rate limits that count a call, as its client may see it."""

import msgspec


class RateStatus(msgspec.Struct, frozen=True):
    """The rest of one rate limit, once the call has taken its part."""

    limit: int
    """Requests or tokens that the limit allows at once."""
    remaining: int
    reset_seconds: float | None
    """Seconds until all of the limit is back, if no other call comes; None if it never is."""


class RateLimits(msgspec.Struct, frozen=True):
    """The tightest limit on requests and the tightest on tokens that count a call."""

    requests: RateStatus | None
    tokens: RateStatus | None
    measured_at: float
    """Seconds since the epoch."""


class ExceededQuota(msgspec.Struct, frozen=True):
    """The limit or budget that refuses a call."""

    kind: str
    """requests, tokens, concurrency, usd or share."""
    name: str
    limit: int | None = None
    """The most that a limit allows; None for a budget."""
