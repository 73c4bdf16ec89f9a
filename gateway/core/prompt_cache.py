"""What a provider's prompt cache is worth: the price of losing it, exactly."""

from decimal import Context, Decimal

import msgspec

from gateway.core.price import Price, Rates

_EXACT = Context(prec=100)
"""Digits enough that no sum of prices is ever rounded."""
_MILLION = Decimal(1_000_000)
_NOTHING = Decimal(0)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LEAST = 1_024
"""Tokens of the shortest prompt that providers keep without being asked to."""


class CachedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request of a conversation."""

    cached: int
    """That the provider has in its prompt cache."""
    fresh: int
    """That it has not seen."""
    output: int


def lost(turn: CachedTurn, price: Price | None) -> Decimal | None:
    """USD, once, of having `turn.cached` tokens read anew where they are not cached.

    That is their price as written to the cache less their price as read from it. None: unknown.
    """
    if not turn.cached:
        return _NOTHING
    rates = _rates(turn, price)
    if rates is None or (write := _write(rates)) is None:
        return None
    read = _NOTHING if write == 0 else rates.cache_read
    if read is None:
        return None
    return _EXACT.divide(_EXACT.multiply(turn.cached, _EXACT.subtract(write, read)), _MILLION)


def warm(turn: CachedTurn, price: Price | None) -> Decimal | None:
    """USD of a request whose `turn.cached` tokens are in the cache. None: unknown."""
    rates = _rates(turn, price)
    if rates is None:
        return None
    total = _NOTHING
    for tokens, rate in (
        (turn.cached, rates.cache_read),
        (turn.fresh, _write(rates)),
        (turn.output, rates.output),
    ):
        if tokens:
            if rate is None:
                return None
            total = _EXACT.fma(tokens, rate, total)
    return _EXACT.divide(total, _MILLION)


def kept(price: Price | None, fresh: int | None, read: int | None, written: int | None) -> int:
    """Tokens of a prompt that its provider has in its cache now, by the usage that it told.

    Where it keeps what it is asked to keep, that is what was read and written. Where it keeps all
    by itself, which it does for nothing, that is the prompt, unless it is short.
    """
    cached = (read or 0) + (written or 0)
    if written or fresh is None:
        return cached
    whole = cached + fresh
    itself = price is not None and alone(price.rates)
    return whole if whole >= LEAST and itself else cached


def seconds(lifetime: str) -> float | None:
    """What a provider's word for how long its cache keeps something says: "5m", "1h"."""
    number, unit = lifetime[:-1], _UNITS.get(lifetime[-1:])
    return float(number) * unit if unit and number.isdecimal() and number.isascii() else None


def alone(rates: Rates) -> bool:
    """Whether a cache keeps prompts by itself: reading is cheaper, and writing costs nothing."""
    writes = rates.cache_write is not None or bool(rates.cache_write_by)
    return rates.cache_read is not None and not writes


def _rates(turn: CachedTurn, price: Price | None) -> Rates | None:
    return None if price is None else price.at(turn.cached + turn.fresh)


def _write(rates: Rates) -> Decimal | None:
    """USD per million tokens that are written to the cache; as input where that has no price."""
    return rates.input if rates.cache_write is None else rates.cache_write
