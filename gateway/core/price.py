"""Prices and the one sum that everything about money comes from: price x usage, exactly."""

from decimal import Decimal

import msgspec

from gateway.core.usage import Usage

_MILLION = Decimal(1_000_000)
_DAY = 86_400
_EPOCH = 3
"""Weekday of 1970-01-01, where Monday is 0."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """USD per million tokens of each class. None is unknown."""

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_by: dict[str, Decimal] = {}
    """Prices of cache writes by lifetime, where they differ from `cache_write`."""
    output: Decimal | None = None


class Step(msgspec.Struct, frozen=True):
    """Rates of the whole request once its prompt is longer than `above` tokens."""

    above: int
    rates: Rates


class Hours(msgspec.Struct, frozen=True):
    """A price that holds at certain hours of certain days, both in UTC."""

    spans: tuple[tuple[int, int], ...]
    """First second of the day, and the second that it ends before."""
    days: frozenset[int]
    """Monday is 0."""
    price: "Price"


class Later(msgspec.Struct, frozen=True):
    """A price that holds from a moment on, with hours of its own."""

    start: float
    """Seconds since the epoch."""
    price: "Price"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one model at one provider, and where it comes from."""

    rates: Rates
    steps: tuple[Step, ...] = ()
    """Long-context steps, lowest first."""
    version: str
    """What stands on every row it priced, e.g. "catalogue 2026-11-24"."""
    hours: tuple[Hours, ...] = ()
    """Prices by time of day; the first that holds is in force."""
    later: tuple[Later, ...] = ()
    """Prices that take its place, earliest first."""

    def on(self, moment: float) -> "Price":
        """The price in force at a moment, in seconds since the epoch."""
        if not self.later and not self.hours:
            return self
        price = self
        for item in self.later:
            if moment >= item.start:
                price = item.price
        if price.hours:
            day, second = divmod(moment, _DAY)
            weekday = (int(day) + _EPOCH) % 7
            for hours in price.hours:
                if weekday in hours.days and any(a <= second < b for a, b in hours.spans):
                    return hours.price
        return price

    def at(self, prompt_tokens: int) -> Rates:
        """The rates in force for a prompt of this many tokens."""
        rates = self.rates
        for step in self.steps:
            if prompt_tokens > step.above:
                rates = step.rates
        return rates


def cost(usage: Usage | None, price: Price | None) -> Decimal | None:
    """USD of an answer, exact; None where usage or a price that it needs is unknown.

    `price` is the one in force when the call was received, see `Price.on`. Where a provider has no
    price for cache writes, it bills written tokens as input.
    """
    if usage is None or price is None or usage.input is None or usage.output is None:
        return None
    rates = price.at(usage.prompt or 0)
    parts = [
        (usage.input, rates.input),
        (usage.cache_read or 0, rates.cache_read),
        (usage.output + (usage.reasoning or 0), rates.output),
    ]
    for lifetime, tokens in usage.cache_write.items():
        write = rates.cache_write_by.get(lifetime, rates.cache_write)
        parts.append((tokens, rates.input if write is None else write))
    total = Decimal(0)
    for tokens, rate in parts:
        if tokens:
            if rate is None:
                return None
            total += tokens * rate
    return total / _MILLION
