"""Prices and the one sum that everything about money comes from: price x usage, exactly."""

from collections.abc import Iterator
from decimal import Context, Decimal
from functools import cached_property

import msgspec

from gateway.core.usage import Usage

_EXACT = Context(prec=100)
"""Digits enough that no sum of prices is ever rounded."""
_MILLION = Decimal(1_000_000)
_SIX = 6
"""Places of a million."""
_NOTHING = Decimal(0)
_DAY = 86_400
_EPOCH = 3
"""Weekday of 1970-01-01, where Monday is 0."""


class WholeRates(msgspec.Struct, frozen=True, gc=False):
    """Rates in whole numbers: sums that every call needs take half the time.

    Tokens times these, divided by what they are `per`, are exact USD. The exponent of that is the
    finest place of the rates that were used, so that a quotient ends in the same digits as theirs.
    """

    input: int
    cache_read: int | None
    output: int
    dearest: int
    """Of a prompt, however it is taken."""
    per_fresh: Decimal
    """Of a sum of input and output."""
    per_cached: Decimal
    """Of a sum of these and of what was read from the cache."""
    per_bound: Decimal
    """Of a sum of the dearest and output."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """USD per million tokens of each class. None is unknown."""

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_by: dict[str, Decimal] = {}
    """Prices of cache writes by lifetime, where they differ from `cache_write`."""
    output: Decimal | None = None

    @cached_property
    def whole(self) -> WholeRates | None:
        """The same in whole numbers; None where it has no price of input or of output."""
        if self.input is None or self.output is None:
            return None
        read, dearest = self.cache_read, _dearest(self)
        read = _NOTHING if read is None else read
        fresh = max(0, _places(self.input), _places(self.output))
        cached = max(fresh, _places(read))
        bound = max(_places(dearest), _places(self.output or _NOTHING))
        most = max(cached, bound)

        def per(places: int) -> Decimal:
            return Decimal((0, (1, *[0] * (_SIX + most - places)), places))

        return WholeRates(
            input=int(_EXACT.scaleb(self.input, most)),
            cache_read=None if self.cache_read is None else int(_EXACT.scaleb(read, most)),
            output=int(_EXACT.scaleb(self.output, most)),
            dearest=int(_EXACT.scaleb(dearest, most)),
            per_fresh=per(fresh),
            per_cached=per(cached),
            per_bound=per(bound),
        )


class PriceStep(msgspec.Struct, frozen=True):
    """Rates of the whole request once its prompt is longer than `above` tokens."""

    above: int
    rates: Rates


class PriceHours(msgspec.Struct, frozen=True):
    """A price that holds at certain hours of certain days, both in UTC."""

    spans: tuple[tuple[int, int], ...]
    """First second of the day, and the second that it ends before."""
    days: frozenset[int]
    """Monday is 0."""
    price: "Price"


class LaterPrice(msgspec.Struct, frozen=True):
    """A price that holds from a moment on, with hours of its own."""

    start: float
    """Seconds since the epoch."""
    price: "Price"


IMAGES_AS_TEXT = frozenset({"input_image"})
"""Most price lists, as OpenAI's and Anthropic's, price images in a prompt as its text."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one model at one provider, and where it comes from."""

    rates: Rates
    steps: tuple[PriceStep, ...] = ()
    """Long-context steps, lowest first."""
    version: str
    """What stands on every row it priced, e.g. "catalogue 2026-11-24"."""
    hours: tuple[PriceHours, ...] = ()
    """Prices by time of day; the first that holds is in force."""
    later: tuple[LaterPrice, ...] = ()
    """Prices that take its place, earliest first."""
    services: dict[str, "Price"] = {}
    """Prices by service tier of the provider, where one other than its standard served."""
    tools: dict[str, Decimal] = {}
    """USD of one request of a tool of the provider's own."""
    as_text: frozenset[str] = IMAGES_AS_TEXT
    """Classes of `Usage.media` that the provider bills as it bills text."""

    def on(self, moment: float) -> "Price":
        """The price in force at a moment, in seconds since the epoch; its services too."""
        if not (self.later or self.hours or self.services):  # as most are
            return self
        price = self._then(moment) if self.later or self.hours else self
        timed = {
            word: item.on(moment)
            for word, item in price.services.items()
            if item.later or item.hours
        }
        if not timed:
            return price
        return msgspec.structs.replace(price, services={**price.services, **timed})

    def _then(self, moment: float) -> "Price":
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

    def serving(self, service: str | None) -> "Price | None":
        """The price of a service tier, `None` being the standard one; None where it is unknown."""
        return self if service is None else self.services.get(service)

    def at(self, prompt_tokens: int) -> Rates:
        """The rates in force for a prompt of this many tokens."""
        rates = self.rates
        for step in self.steps:
            if prompt_tokens > step.above:
                rates = step.rates
        return rates


def scaled(rates: Rates, factor: Decimal) -> Rates:
    """Rates times a factor, exactly; what is unknown stays unknown."""
    by = {life: _EXACT.multiply(rate, factor) for life, rate in rates.cache_write_by.items()}
    return Rates(
        input=_times(rates.input, factor),
        cache_read=_times(rates.cache_read, factor),
        cache_write=_times(rates.cache_write, factor),
        cache_write_by=by,
        output=_times(rates.output, factor),
    )


def cost(usage: Usage | None, price: Price | None) -> Decimal | None:
    """USD of an answer, exact; None where usage or a price that it needs is unknown.

    `price` is the one in force when the call was received, see `Price.on`. Where a provider has no
    price for cache writes, it bills written tokens as input. Its own tools are billed by request,
    at the same price in every service tier. Tokens that are not text have no rates of their own
    here: their cost is unknown unless `Price.as_text` has them.
    """
    if usage is None or price is None or usage.input is None or usage.output is None:
        return None
    served = price if usage.service is None else price.services.get(usage.service)
    if served is None or (usage.media and not price.as_text.issuperset(usage.media)):
        return None
    rates = served.at(usage.prompt or 0) if served.steps else served.rates
    into, read, out = usage.input, usage.cache_read, usage.output + (usage.reasoning or 0)
    whole = rates.whole
    if not (into and out) or whole is None:
        total = _each(into, read or 0, out, rates)
    elif not read:
        total = _EXACT.divide(into * whole.input + out * whole.output, whole.per_fresh)
    elif whole.cache_read is not None:
        spent = into * whole.input + read * whole.cache_read + out * whole.output
        total = _EXACT.divide(spent, whole.per_cached)
    else:
        return None
    if total is None or not (usage.cache_write or usage.tools):
        return total
    more = _seldom(usage, rates, price)
    return None if more is None else _EXACT.add(total, more)


def _each(into: int, read: int, out: int, rates: Rates) -> Decimal | None:
    """USD of tokens where not all classes are used, or priced."""
    total = _NOTHING
    for tokens, rate in ((into, rates.input), (read, rates.cache_read), (out, rates.output)):
        if tokens:
            if rate is None:
                return None
            total = _EXACT.fma(tokens, rate, total)
    return _EXACT.divide(total, _MILLION)


def _seldom(usage: Usage, rates: Rates, price: Price) -> Decimal | None:
    """USD of what most answers have nothing of: tokens written to the cache, hosted tools."""
    total = _NOTHING
    for lifetime, tokens in usage.cache_write.items():
        write = _write(rates, lifetime)
        if tokens:
            if write is None:
                return None
            total = _EXACT.fma(tokens, write, total)
    tools = _tools(usage, price)
    return None if tools is None else _EXACT.add(_EXACT.divide(total, _MILLION), tools)


def compared(usage: Usage | None, price: Price | None, own: Price | None) -> Decimal | None:
    """USD that an answer would have cost at another price than its `own`.

    Its tokens are priced at the standard tier there, for a service tier is its own provider's word;
    tools are billed as they were.
    """
    if usage is None or price is own or not (usage.service or usage.tools):
        return cost(usage, price)
    if price == own:
        return cost(usage, price)
    tokens = cost(msgspec.structs.replace(usage, service=None, tools={}), price)
    tools = _tools(usage, own)
    return None if tokens is None or tools is None else _EXACT.add(tokens, tools)


def reserve(
    price: Price, prompt: int, most: int | None, service: str | None = None
) -> Decimal | None:
    """USD that a call costs at most, but for tools of the provider's own; None where unknown.

    It is a bound for every prompt of up to `prompt` tokens, however the provider's cache takes it,
    and every answer of up to `most`, in the service tier that is asked for, and in the standard
    one, which serves where that is full.
    """
    if service is None and most is not None and not price.steps:  # as most are
        return _bound(price.rates, prompt, most)
    served = price.serving(service)
    if served is None or most is None:
        return None
    every = [served.rates]
    every += [item.rates for item in served.steps if prompt > item.above]
    if served is not price:
        every.append(price.rates)
        every += [item.rates for item in price.steps if prompt > item.above]
    bounds = [_bound(rates, prompt, most) for rates in every]
    known = [bound for bound in bounds if bound is not None]
    return max(known) if len(known) == len(bounds) else None


def _bound(rates: Rates, prompt: int, most: int) -> Decimal | None:
    """USD that a prompt and an answer cost at most by some rates; None where unknown."""
    whole = rates.whole
    if whole is not None:
        return _EXACT.divide(prompt * whole.dearest + most * whole.output, whole.per_bound)
    if (prompt and rates.input is None) or (most and rates.output is None):
        return None
    read = _EXACT.multiply(prompt, _dearest(rates))
    return _EXACT.divide(_EXACT.fma(most, rates.output or _NOTHING, read), _MILLION)


def slope(price: Price) -> tuple[int, int] | None:
    """What each token of a prompt and of an answer adds to `reserve`, in millionths of a micro-USD.

    Of the standard tier; None where that is not known, depends on anything, or is no whole number.
    """
    rates = price.rates
    if rates.input is None or rates.output is None or price.steps or price.hours or price.later:
        return None
    exact = [_EXACT.multiply(rate, _MILLION) for rate in (_dearest(rates), rates.output)]
    read, write = [int(one) for one in exact]
    return (read, write) if [read, write] == exact else None


def _dearest(rates: Rates) -> Decimal:
    """USD per million tokens of a prompt at most, however the provider's cache takes it."""
    dearest = rates.input or _NOTHING
    if rates.cache_read is not None and rates.cache_read > dearest:
        dearest = rates.cache_read
    if rates.cache_write is not None and rates.cache_write > dearest:
        dearest = rates.cache_write
    for rate in rates.cache_write_by.values():
        dearest = max(dearest, rate)
    return dearest


def _places(rate: Decimal) -> int:
    """Digits behind the point, as it is written; fewer than none of one that ends in zeros."""
    return -int(rate.as_tuple().exponent)


def why_unknown(usage: Usage | None, price: Price | None) -> str | None:
    """What price an answer lacks, as "no price of output tokens"; None where it lacks none.

    What its provider has not counted lacks no price.
    """
    if usage is None or usage.input is None or usage.output is None:
        return None
    if price is None:
        return "no price"
    served = price if usage.service is None else price.services.get(usage.service)
    if served is None:
        return f"no price of service tier {usage.service}"
    if unpriced := sorted(usage.media.keys() - price.as_text):
        return f"no price of {unpriced[0].replace('_', ' ')} tokens"
    for name, tokens, rate in _tokens(usage, served.at(usage.prompt or 0)):
        if tokens and rate is None:
            return f"no price of {name} tokens"
    lacking = [name for name, count in usage.tools.items() if count and name not in price.tools]
    return f"no price of {lacking[0]} requests" if lacking else None


def _tokens(usage: Usage, rates: Rates) -> Iterator[tuple[str, int, Decimal | None]]:
    """Each class of tokens: what it is called, how many, and USD per million of them."""
    yield "input", usage.input or 0, rates.input
    yield "cached", usage.cache_read or 0, rates.cache_read
    yield "output", usage.completion or 0, rates.output
    for lifetime, tokens in usage.cache_write.items():
        yield "cache write", tokens, _write(rates, lifetime)


def _write(rates: Rates, lifetime: str) -> Decimal | None:
    """USD per million tokens written to the cache; as input where that has no price."""
    write = rates.cache_write_by.get(lifetime, rates.cache_write)
    return rates.input if write is None else write


def _tools(usage: Usage, price: Price | None) -> Decimal | None:
    """USD of the requests of the provider's own tools."""
    total = _NOTHING
    for name, count in usage.tools.items():
        if count:
            rate = price.tools.get(name) if price is not None else None
            if rate is None:
                return None
            total = _EXACT.fma(count, rate, total)
    return total


def _times(rate: Decimal | None, factor: Decimal) -> Decimal | None:
    return None if rate is None else _EXACT.multiply(rate, factor)
