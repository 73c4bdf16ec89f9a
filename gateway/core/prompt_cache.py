"""The worth of a provider's prompt cache: the exact price of losing it."""

from decimal import Context, Decimal

import msgspec

from gateway.core.price import Price
from gateway.core.rates import Rates

_EXACT_CONTEXT = Context(prec=100)
"""Arithmetic with enough digits that no sum of prices is ever rounded."""
_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MIN_CACHED_TOKENS = 1_024
"""The shortest prompt, in tokens, that providers cache by themselves."""


class CachedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one request of a conversation."""

    cached_tokens: int
    """Tokens of the prompt that the provider has in its prompt cache."""
    fresh_tokens: int
    """Tokens of the prompt that the provider has not seen."""
    output_tokens: int


def compute_reread_cost(turn: CachedTurn, price: Price | None) -> Decimal | None:
    """Return the USD, once, to read `turn.cached_tokens` where no cache has them; None if unknown.

    That is their price as cache writes, minus their price as cache reads.
    """
    if not turn.cached_tokens:
        return _ZERO
    rates = _find_rates(turn, price)
    if rates is None or (write_rate := _find_write_rate(rates)) is None:
        return None
    read_rate = _ZERO if write_rate == 0 else rates.cache_read
    if read_rate is None:
        return None
    return _EXACT_CONTEXT.divide(
        _EXACT_CONTEXT.multiply(turn.cached_tokens, _EXACT_CONTEXT.subtract(write_rate, read_rate)),
        _MILLION,
    )


def compute_warm_cost(turn: CachedTurn, price: Price | None) -> Decimal | None:
    """Return the USD of a request whose `turn.cached_tokens` are cached; None if unknown."""
    rates = _find_rates(turn, price)
    if rates is None:
        return None
    total = _ZERO
    for tokens, rate in (
        (turn.cached_tokens, rates.cache_read),
        (turn.fresh_tokens, _find_write_rate(rates)),
        (turn.output_tokens, rates.output),
    ):
        if tokens:
            if rate is None:
                return None
            total = _EXACT_CONTEXT.fma(tokens, rate, total)
    return _EXACT_CONTEXT.divide(total, _MILLION)


def count_cached_tokens(
    price: Price | None, fresh_tokens: int | None, cache_read: int | None, cache_write: int | None
) -> int:
    """Return the prompt tokens that the provider has in its cache now, by its reported usage.

    A provider that caches on request has the tokens that it read and wrote. A provider that caches
    by itself, free of charge, has the whole prompt, unless the prompt is short.
    """
    cached_tokens = (cache_read or 0) + (cache_write or 0)
    if cache_write or fresh_tokens is None:
        return cached_tokens
    prompt_tokens = cached_tokens + fresh_tokens
    if prompt_tokens < MIN_CACHED_TOKENS or price is None:
        return cached_tokens
    return prompt_tokens if caches_automatically(price.rates) else cached_tokens


def parse_lifetime(lifetime: str) -> float | None:
    """Return the seconds of a provider's cache lifetime ("5m", "1h"); None if unreadable."""
    digits, unit = lifetime[:-1], _UNIT_SECONDS.get(lifetime[-1:])
    return float(digits) * unit if unit and digits.isdecimal() and digits.isascii() else None


def caches_automatically(rates: Rates) -> bool:
    """True if a provider caches prompts by itself: reads have a price, and writes have none."""
    has_write_price = rates.cache_write is not None or bool(rates.cache_write_by)
    return rates.cache_read is not None and not has_write_price


def _find_rates(turn: CachedTurn, price: Price | None) -> Rates | None:
    return None if price is None else price.find_rates(turn.cached_tokens + turn.fresh_tokens)


def _find_write_rate(rates: Rates) -> Decimal | None:
    """Return USD per million tokens written to the cache; without such a price, as input."""
    return rates.input if rates.cache_write is None else rates.cache_write
