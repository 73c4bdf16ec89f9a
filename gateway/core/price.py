"""Prices, and the one formula behind all money: price times usage, exactly."""

from collections.abc import Iterator
from decimal import Context, Decimal
from functools import cached_property

import msgspec

from gateway.core.usage import Usage

_EXACT_CONTEXT = Context(prec=100)
"""Arithmetic with enough digits that no sum of prices is ever rounded."""
_MILLION = Decimal(1_000_000)
_MILLION_PLACES = 6
"""The number of zeros in a million."""
_ZERO = Decimal(0)
_DAY_SECONDS = 86_400
_EPOCH_WEEKDAY = 3
"""The weekday of 1970-01-01; Monday is 0."""


class WholeRates(msgspec.Struct, frozen=True, gc=False):
    """Rates in whole numbers: the sums that every call needs take half the time.

    Tokens times these rates, divided by the matching divisor, are exact USD. The divisor has the
    exponent of the finest rate in the sum. So a quotient ends in the same digits as a sum of
    Decimal rates.
    """

    input: int
    cache_read: int | None
    output: int
    max_prompt_rate: int
    """The highest rate of a prompt, however the provider's cache takes it."""
    fresh_divisor: Decimal
    """The divisor for a sum of input and output."""
    cached_divisor: Decimal
    """The divisor for a sum of input, cache reads and output."""
    bound_divisor: Decimal
    """The divisor for a sum of a prompt at `max_prompt_rate` and output."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """USD per million tokens of each class. None means unknown."""

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_by: dict[str, Decimal] = {}
    """Rates of cache writes by lifetime, if they differ from `cache_write`."""
    output: Decimal | None = None

    @cached_property
    def whole_rates(self) -> WholeRates | None:
        """The rates in whole numbers; None without a rate of input or of output."""
        if self.input is None or self.output is None:
            return None
        cache_read, prompt_rate = self.cache_read, _find_max_prompt_rate(self)
        cache_read = _ZERO if cache_read is None else cache_read
        fresh_places = max(0, _count_places(self.input), _count_places(self.output))
        cached_places = max(fresh_places, _count_places(cache_read))
        bound_places = max(_count_places(prompt_rate), _count_places(self.output or _ZERO))
        max_places = max(cached_places, bound_places)

        def make_divisor(places: int) -> Decimal:
            return Decimal((0, (1, *[0] * (_MILLION_PLACES + max_places - places)), places))

        return WholeRates(
            input=int(_EXACT_CONTEXT.scaleb(self.input, max_places)),
            cache_read=None
            if self.cache_read is None
            else int(_EXACT_CONTEXT.scaleb(cache_read, max_places)),
            output=int(_EXACT_CONTEXT.scaleb(self.output, max_places)),
            max_prompt_rate=int(_EXACT_CONTEXT.scaleb(prompt_rate, max_places)),
            fresh_divisor=make_divisor(fresh_places),
            cached_divisor=make_divisor(cached_places),
            bound_divisor=make_divisor(bound_places),
        )


class PriceStep(msgspec.Struct, frozen=True):
    """The rates of a whole request whose prompt is longer than `above` tokens."""

    above: int
    rates: Rates


class PriceHours(msgspec.Struct, frozen=True):
    """A price for certain hours of certain days, both in UTC."""

    spans: tuple[tuple[int, int], ...]
    """Spans of the day: the first second, and the second before which the span ends."""
    days: frozenset[int]
    """Weekdays; Monday is 0."""
    price: "Price"


class LaterPrice(msgspec.Struct, frozen=True):
    """A price that holds from a time on, with hours of its own."""

    start: float
    """The time from which it holds, in seconds since the epoch."""
    price: "Price"


IMAGES_AS_TEXT = frozenset({"input_image"})
"""The usual value of `Price.as_text`.

Most price lists, such as OpenAI's and Anthropic's, price images in a prompt like its text.
"""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one model at one provider, with its source."""

    rates: Rates
    steps: tuple[PriceStep, ...] = ()
    """Steps for long prompts, lowest first."""
    version: str
    """The name of the price in ledger rows, e.g. "catalogue 2026-11-24"."""
    hours: tuple[PriceHours, ...] = ()
    """Prices by time of day; the first that matches is in force."""
    later: tuple[LaterPrice, ...] = ()
    """Prices that replace this one later, earliest first."""
    services: dict[str, "Price"] = {}
    """Prices by the provider's service tier, for all tiers but its standard one."""
    tools: dict[str, Decimal] = {}
    """USD of one request, by the name of the provider's own tool."""
    as_text: frozenset[str] = IMAGES_AS_TEXT
    """The classes of `Usage.media` that the provider bills like text."""

    def find_in_force(self, timestamp: float) -> "Price":
        """Return the price and services in force at a time, in seconds since the epoch."""
        if not (self.later or self.hours or self.services):  # most prices
            return self
        price = self._find_by_time(timestamp) if self.later or self.hours else self
        timed_services = {
            service: item.find_in_force(timestamp)
            for service, item in price.services.items()
            if item.later or item.hours
        }
        if not timed_services:
            return price
        return msgspec.structs.replace(price, services={**price.services, **timed_services})

    def _find_by_time(self, timestamp: float) -> "Price":
        price = self
        for item in self.later:
            if timestamp >= item.start:
                price = item.price
        if price.hours:
            day, second = divmod(timestamp, _DAY_SECONDS)
            weekday = (int(day) + _EPOCH_WEEKDAY) % 7
            for hours in price.hours:
                if weekday in hours.days and any(
                    start <= second < end for start, end in hours.spans
                ):
                    return hours.price
        return price

    def find_service(self, service: str | None) -> "Price | None":
        """Return the price of a service tier (None: the standard tier); None if unknown."""
        return self if service is None else self.services.get(service)

    def find_rates(self, prompt_tokens: int) -> Rates:
        """Return the rates for a prompt of this many tokens."""
        rates = self.rates
        for step in self.steps:
            if prompt_tokens > step.above:
                rates = step.rates
        return rates


def scale_rates(rates: Rates, factor: Decimal) -> Rates:
    """Return rates times a factor, exactly; an unknown rate stays unknown."""
    by_lifetime = {
        lifetime: _EXACT_CONTEXT.multiply(rate, factor)
        for lifetime, rate in rates.cache_write_by.items()
    }
    return Rates(
        input=_scale_rate(rates.input, factor),
        cache_read=_scale_rate(rates.cache_read, factor),
        cache_write=_scale_rate(rates.cache_write, factor),
        cache_write_by=by_lifetime,
        output=_scale_rate(rates.output, factor),
    )


def compute_cost(usage: Usage | None, price: Price | None) -> Decimal | None:
    """Return the exact USD of an answer; None if usage or a price that it needs is unknown.

    `price` is the one in force when the gateway received the call, see `Price.find_in_force`. A
    provider without a price for cache writes bills written tokens as input. It bills its own tools
    by request, at the same price in every service tier. Tokens that are not text have no rates of
    their own here: their cost is unknown unless `Price.as_text` has them.
    """
    if usage is None or price is None or usage.input is None or usage.output is None:
        return None
    service_price = price if usage.service is None else price.services.get(usage.service)
    if service_price is None or (usage.media and not price.as_text.issuperset(usage.media)):
        return None
    rates = (
        service_price.find_rates(usage.prompt or 0) if service_price.steps else service_price.rates
    )
    input_tokens = usage.input
    cache_read = usage.cache_read
    output_tokens = usage.output + (usage.reasoning or 0)
    whole_rates = rates.whole_rates
    if not (input_tokens and output_tokens) or whole_rates is None:
        total = _sum_token_costs(input_tokens, cache_read or 0, output_tokens, rates)
    elif not cache_read:
        total = _EXACT_CONTEXT.divide(
            input_tokens * whole_rates.input + output_tokens * whole_rates.output,
            whole_rates.fresh_divisor,
        )
    elif whole_rates.cache_read is not None:
        amount = (
            input_tokens * whole_rates.input
            + cache_read * whole_rates.cache_read
            + output_tokens * whole_rates.output
        )
        total = _EXACT_CONTEXT.divide(amount, whole_rates.cached_divisor)
    else:
        return None
    if total is None or not (usage.cache_write or usage.tools):
        return total
    extra_cost = _sum_extra_costs(usage, rates, price)
    return None if extra_cost is None else _EXACT_CONTEXT.add(total, extra_cost)


def _sum_token_costs(
    input_tokens: int, cache_read: int, output_tokens: int, rates: Rates
) -> Decimal | None:
    """Return the USD of tokens if a class has no tokens or no rate; None if unknown."""
    total = _ZERO
    for tokens, rate in (
        (input_tokens, rates.input),
        (cache_read, rates.cache_read),
        (output_tokens, rates.output),
    ):
        if tokens:
            if rate is None:
                return None
            total = _EXACT_CONTEXT.fma(tokens, rate, total)
    return _EXACT_CONTEXT.divide(total, _MILLION)


def _sum_extra_costs(usage: Usage, rates: Rates, price: Price) -> Decimal | None:
    """Return the USD of cache writes and hosted tools, which most answers lack."""
    total = _ZERO
    for lifetime, tokens in usage.cache_write.items():
        rate = _find_write_rate(rates, lifetime)
        if tokens:
            if rate is None:
                return None
            total = _EXACT_CONTEXT.fma(tokens, rate, total)
    tools_cost = _sum_tool_costs(usage, price)
    return (
        None
        if tools_cost is None
        else _EXACT_CONTEXT.add(_EXACT_CONTEXT.divide(total, _MILLION), tools_cost)
    )


def compute_baseline_cost(
    usage: Usage | None, price: Price | None, own_price: Price | None
) -> Decimal | None:
    """Return the USD of an answer at another price than its `own_price`; None if unknown.

    Tokens cost the standard tier's price there, as a service tier means something only at its own
    provider. Tools cost what they cost at `own_price`.
    """
    if usage is None or price is own_price or not (usage.service or usage.tools):
        return compute_cost(usage, price)
    if price == own_price:
        return compute_cost(usage, price)
    tokens_cost = compute_cost(msgspec.structs.replace(usage, service=None, tools={}), price)
    tools_cost = _sum_tool_costs(usage, own_price)
    return (
        None
        if tokens_cost is None or tools_cost is None
        else _EXACT_CONTEXT.add(tokens_cost, tools_cost)
    )


def compute_reservation(
    price: Price, prompt_tokens: int, max_output: int | None, service: str | None = None
) -> Decimal | None:
    """Return the most USD that a call costs, without the provider's tools; None if unknown.

    The bound holds for every prompt of up to `prompt_tokens` tokens, however the provider's cache
    takes it, and for every answer of up to `max_output` tokens. It holds in the requested service
    tier, and in the standard one, which serves if the requested one is full.
    """
    if service is None and max_output is not None and not price.steps:  # most calls
        return _compute_bound(price.rates, prompt_tokens, max_output)
    service_price = price.find_service(service)
    if service_price is None or max_output is None:
        return None
    rates_in_question = [service_price.rates]
    rates_in_question += [item.rates for item in service_price.steps if prompt_tokens > item.above]
    if service_price is not price:
        rates_in_question.append(price.rates)
        rates_in_question += [item.rates for item in price.steps if prompt_tokens > item.above]
    bounds = [_compute_bound(rates, prompt_tokens, max_output) for rates in rates_in_question]
    known_bounds = [bound for bound in bounds if bound is not None]
    return max(known_bounds) if len(known_bounds) == len(bounds) else None


def _compute_bound(rates: Rates, prompt_tokens: int, max_output: int) -> Decimal | None:
    """Return the most USD that a prompt and an answer cost by some rates; None if unknown."""
    whole_rates = rates.whole_rates
    if whole_rates is not None:
        return _EXACT_CONTEXT.divide(
            prompt_tokens * whole_rates.max_prompt_rate + max_output * whole_rates.output,
            whole_rates.bound_divisor,
        )
    if (prompt_tokens and rates.input is None) or (max_output and rates.output is None):
        return None
    prompt_cost = _EXACT_CONTEXT.multiply(prompt_tokens, _find_max_prompt_rate(rates))
    return _EXACT_CONTEXT.divide(
        _EXACT_CONTEXT.fma(max_output, rates.output or _ZERO, prompt_cost), _MILLION
    )


def compute_token_slopes(price: Price) -> tuple[int, int] | None:
    """Return what a prompt token and an output token add to a reservation, in the standard tier.

    The unit is a millionth of a micro-USD. None if a rate is unknown, depends on the prompt's
    length or the time, or is not a whole number of these units.
    """
    rates = price.rates
    if rates.input is None or rates.output is None or price.steps or price.hours or price.later:
        return None
    exact_slopes = [
        _EXACT_CONTEXT.multiply(rate, _MILLION)
        for rate in (_find_max_prompt_rate(rates), rates.output)
    ]
    prompt_slope, output_slope = [int(value) for value in exact_slopes]
    return (prompt_slope, output_slope) if [prompt_slope, output_slope] == exact_slopes else None


def _find_max_prompt_rate(rates: Rates) -> Decimal:
    """Return the highest rate of a prompt, however the provider's cache takes it."""
    maximum = rates.input or _ZERO
    if rates.cache_read is not None and rates.cache_read > maximum:
        maximum = rates.cache_read
    if rates.cache_write is not None and rates.cache_write > maximum:
        maximum = rates.cache_write
    for rate in rates.cache_write_by.values():
        maximum = max(maximum, rate)
    return maximum


def _count_places(rate: Decimal) -> int:
    """Return the decimal places of a rate as written; negative for an exponent, as in 1E+2."""
    return -int(rate.as_tuple().exponent)


def explain_unknown_cost(usage: Usage | None, price: Price | None) -> str | None:
    """Say which price an answer lacks, as "no price of output tokens"; None if it lacks none.

    It lacks no price for tokens that its provider did not count.
    """
    if usage is None or usage.input is None or usage.output is None:
        return None
    if price is None:
        return "no price"
    service_price = price if usage.service is None else price.services.get(usage.service)
    if service_price is None:
        return f"no price of service tier {usage.service}"
    if unpriced_media := sorted(usage.media.keys() - price.as_text):
        return f"no price of {unpriced_media[0].replace('_', ' ')} tokens"
    for name, tokens, rate in _list_token_classes(
        usage, service_price.find_rates(usage.prompt or 0)
    ):
        if tokens and rate is None:
            return f"no price of {name} tokens"
    unpriced_tools = [
        name for name, count in usage.tools.items() if count and name not in price.tools
    ]
    return f"no price of {unpriced_tools[0]} requests" if unpriced_tools else None


def _list_token_classes(usage: Usage, rates: Rates) -> Iterator[tuple[str, int, Decimal | None]]:
    """Yield each class of tokens: its name, its count, and USD per million of them."""
    yield "input", usage.input or 0, rates.input
    yield "cached", usage.cache_read or 0, rates.cache_read
    yield "output", usage.completion or 0, rates.output
    for lifetime, tokens in usage.cache_write.items():
        yield "cache write", tokens, _find_write_rate(rates, lifetime)


def _find_write_rate(rates: Rates, lifetime: str) -> Decimal | None:
    """Return USD per million tokens written to the cache; without such a price, as input."""
    rate = rates.cache_write_by.get(lifetime, rates.cache_write)
    return rates.input if rate is None else rate


def _sum_tool_costs(usage: Usage, price: Price | None) -> Decimal | None:
    """Return the USD for requests of the provider's own tools; None if unknown."""
    total = _ZERO
    for name, count in usage.tools.items():
        if count:
            rate = price.tools.get(name) if price is not None else None
            if rate is None:
                return None
            total = _EXACT_CONTEXT.fma(count, rate, total)
    return total


def _scale_rate(rate: Decimal | None, factor: Decimal) -> Decimal | None:
    return None if rate is None else _EXACT_CONTEXT.multiply(rate, factor)
