"""Units that providers bill beside tokens: images, seconds, pages, requests, characters.

A unit is a word, `image`, or a word with its variant, `image 1024x1792 hd`. A price of the word
alone holds for every variant, unless the price list has prices of variants too. Then it holds only
where no variant is named: a variant without a price has an unknown cost.
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from gateway.core.rates import EXACT_CONTEXT
from gateway.core.usage import is_standard_word

type Units = Mapping[str, Decimal]
"""Quantities, or USD for one, by unit."""
type UnitBounds = Mapping[str, Decimal | None]
"""The most that a call may use of each unit; None if there is no bound."""

_MAX_QUANTITY = 10**12
"""The largest credible quantity. More is a provider's fault."""
_MAX_DECIMALS = 18
_MAX_NAME_CHARS = 80
_OTHER_CHARS = re.compile(r"[^a-z0-9.:_-]")
"""Characters that no variant has. A client may have written any."""
_ZERO = Decimal(0)


def format_unit(word: str, *variants: object) -> str:
    """Return the name of a unit: its word, then the variants that are not the standard one.

    A variant is a text in a request or in an answer. What is no text is left out.
    """
    texts = [text.strip().lower() for text in variants if isinstance(text, str)]
    names = [_OTHER_CHARS.sub("_", text) for text in texts if not is_standard_word(text)]
    return " ".join([word, *names])[:_MAX_NAME_CHARS]


def parse_quantity(value: object) -> Decimal | None:
    """Return a quantity with the digits of its number; None if it is not credible.

    It has at most 18 decimals, as many as each store and sink holds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not math.isfinite(value) or not 0 <= value <= _MAX_QUANTITY:
        return None
    quantity = Decimal(str(value))
    if -int(quantity.as_tuple().exponent) > _MAX_DECIMALS:
        return quantity.quantize(Decimal((0, (1,), -_MAX_DECIMALS)), context=EXACT_CONTEXT)
    return quantity


def find_unit_price(prices: Units, unit: str) -> Decimal | None:
    """Return the USD of one unit; None if unknown."""
    price = prices.get(unit)
    if price is not None:
        return price
    word = unit.partition(" ")[0]
    if any(name.startswith(f"{word} ") for name in prices):
        return None
    return prices.get(word)


def find_unpriced_unit(quantities: Units, prices: Units) -> str | None:
    """Return the first unit without a price; None if there is none."""
    for unit, quantity in quantities.items():
        if quantity and find_unit_price(prices, unit) is None:
            return unit
    return None


def find_greatest_unit_price(prices: Units, unit: str) -> Decimal | None:
    """Return the USD that one unit costs at most; None if unknown.

    A provider chooses what a request leaves open: the answer may name further variants.
    """
    words = {*unit.split()}
    found = [
        price
        for name, price in prices.items()
        if name.partition(" ")[0] == unit.partition(" ")[0] and words <= {*name.split()}
    ]
    price = find_unit_price(prices, unit)
    return max(found, default=None) if price is None else max(price, *found, price)


def sum_unit_costs(
    quantities: UnitBounds,
    prices: Units,
    find_price: Callable[[Units, str], Decimal | None] = find_unit_price,
) -> Decimal | None:
    """Return the exact USD of some units; None if unknown.

    A unit that is free needs no known quantity.
    """
    total = _ZERO
    for unit, quantity in quantities.items():
        if quantity == 0:
            continue
        price = find_price(prices, unit)
        if price is None or (quantity is None and price):
            return None
        total = EXACT_CONTEXT.fma(quantity or _ZERO, price, total)
    return total
