"""The one door to genai-prices: list prices of models that the configuration does not price itself.

Importing it takes about 0.3 s, so it is imported only where such a model is configured. It is never
asked to update itself: the gateway makes no request that the configuration does not name.
"""

import functools
from datetime import datetime
from decimal import Decimal
from importlib import metadata
from typing import Any

from gateway.core.price import Price, Rates, Step


def find(provider: str, model: str, now: datetime) -> Price | None:
    """The price in force at a time, by provider and model as named there; None if unknown."""
    try:
        _, info = _snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    prices = info.get_prices(now)
    above = sorted({tier.start for name in _NAMES for tier in _tiers(getattr(prices, name, None))})
    return Price(
        rates=_rates(prices, 0),
        steps=tuple(Step(start, _rates(prices, start + 1)) for start in above),
        version=f"genai-prices {metadata.version('genai-prices')}",
    )


_NAMES = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")


@functools.cache
def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - slow to import

    return get_snapshot()


def _tiers(price: Any) -> list[Any]:
    return list(getattr(price, "tiers", ()))


def _rates(prices: Any, tokens: int) -> Rates:
    return Rates(
        input=_at(prices, "input_mtok", tokens),
        cache_read=_at(prices, "cache_read_mtok", tokens),
        cache_write=_at(prices, "cache_write_mtok", tokens),
        output=_at(prices, "output_mtok", tokens),
    )


def _at(prices: Any, name: str, tokens: int) -> Decimal | None:
    price = getattr(prices, name, None)
    if price is None or isinstance(price, Decimal):
        return price
    value = price.base
    for tier in _tiers(price):
        if tokens > tier.start:
            value = tier.price
    return Decimal(value)
