"""Prices, and the one formula behind all money: price times usage, exactly."""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

import msgspec

from gateway.core.rates import (
    EXACT_CONTEXT,
    NO_RATES,
    Rates,
    find_max_output_rate,
    find_max_prompt_rate,
    find_write_rate,
)
from gateway.core.token_charges import list_charges
from gateway.core.units import (
    UnitBounds,
    find_greatest_unit_price,
    find_unpriced_unit,
    sum_unit_costs,
)
from gateway.core.usage import UNKNOWN_MODALITY, Usage

_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)
_NO_UNITS: Mapping[str, Decimal | None] = {}
_BILL_TOLERANCE = Decimal("0.01")
_BILL_ROUNDING = Decimal("0.000001")
_MAX_BILL_ROUNDING = Decimal("0.0005")
_DAY_SECONDS = 86_400
_EPOCH_WEEKDAY = 3
"""The weekday of 1970-01-01; Monday is 0."""


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


def list_prompt_classes(modalities: Iterable[str]) -> frozenset[str]:
    """Return the classes of `Usage.media` that are parts of a prompt, of some modalities."""
    return frozenset(
        f"{part}_{modality}" for modality in modalities for part in ("input", "cache_read")
    )


IMAGES_AS_TEXT = list_prompt_classes(("image",))
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
    """USD of one unit, by its name in `Usage.tools`."""
    units: dict[str, Decimal] = {}
    """USD of one unit, by its name in `Usage.units` or by the word that the name begins with."""
    as_text: frozenset[str] = IMAGES_AS_TEXT
    """The classes of `Usage.media` that the provider bills like text."""

    @property
    def bills_tokens(self) -> bool:
        """True if the price has a rate of any token."""
        return bool(self.steps) or self.rates != NO_RATES

    def find_in_force(self, timestamp: float) -> "Price":
        """Return the price and services in force at a time, in seconds since the epoch."""
        if not (self.later or self.hours or self.services):  # most prices
            return self
        price = self.find_standard(timestamp) if self.later or self.hours else self
        timed_services = {
            service: item.find_in_force(timestamp)
            for service, item in price.services.items()
            if item.later or item.hours
        }
        if not timed_services:
            return price
        return msgspec.structs.replace(price, services={**price.services, **timed_services})

    def find_standard(self, timestamp: float) -> "Price":
        """Return what `find_in_force` does for the standard service tier."""
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


def compute_cost(usage: Usage | None, price: Price | None) -> Decimal | None:
    """Return the exact USD of an answer; None if usage or a price that it needs is unknown.

    `price` is the one in force when the gateway received the call, see `Price.find_in_force`. A
    provider without a price for cache writes bills written tokens as input. It bills its own tools
    by request, at the same price in every service tier. Tokens that are not text have rates of
    their own (`Rates.media`), unless the provider bills them as text (`Price.as_text`). Tokens that
    nobody counted cost nothing if the provider bills units and no tokens.
    """
    if usage is None or price is None:
        return None
    if usage.input is None or usage.output is None:
        return _compute_uncounted_cost(usage, price)
    service_price = price if usage.service is None else price.services.get(usage.service)
    if service_price is None:
        return None
    rates = (
        service_price.find_rates(usage.prompt or 0) if service_price.steps else service_price.rates
    )
    if usage.media and not price.as_text.issuperset(usage.media):
        return _add_unit_costs(_sum_charges(usage, rates, price), usage, service_price)
    input_tokens = usage.input
    cache_read = usage.cache_read
    output_tokens = usage.output + (usage.reasoning or 0)
    whole_rates = rates.whole_rates
    if not (input_tokens and output_tokens) or whole_rates is None:
        total = _sum_token_costs(usage, rates)
    elif not cache_read:
        total = EXACT_CONTEXT.divide(
            input_tokens * whole_rates.input + output_tokens * whole_rates.output,
            whole_rates.fresh_divisor,
        )
    elif whole_rates.cache_read is not None:
        amount = (
            input_tokens * whole_rates.input
            + cache_read * whole_rates.cache_read
            + output_tokens * whole_rates.output
        )
        total = EXACT_CONTEXT.divide(amount, whole_rates.cached_divisor)
    else:
        return None
    if total is None or not (usage.cache_write or usage.tools or usage.units):
        return total
    extra_cost = _sum_extra_costs(usage, rates, price)
    total = None if extra_cost is None else EXACT_CONTEXT.add(total, extra_cost)
    return _add_unit_costs(total, usage, service_price)


def _compute_uncounted_cost(usage: Usage, price: Price) -> Decimal | None:
    """Return the USD of an answer whose tokens nobody counted; None if they may cost something."""
    service_price = price.find_service(usage.service)
    if not usage.units or service_price is None or service_price.bills_tokens:
        return None
    return _add_unit_costs(_sum_tool_costs(usage, price), usage, service_price)


def _add_unit_costs(total: Decimal | None, usage: Usage, service_price: Price) -> Decimal | None:
    """Return USD with the units of an answer added; None if a part is unknown."""
    if total is None or not usage.units:
        return total
    units_cost = sum_unit_costs(usage.units, service_price.units)
    return None if units_cost is None else EXACT_CONTEXT.add(total, units_cost)


def _sum_token_costs(usage: Usage, rates: Rates) -> Decimal | None:
    """Return the USD of tokens if a class has no tokens or no rate; None if unknown."""
    total = _ZERO
    for tokens, rate in (
        (usage.input, rates.input),
        (usage.cache_read, rates.cache_read),
        (usage.output, rates.output),
        (usage.reasoning, rates.output if rates.reasoning is None else rates.reasoning),
    ):
        if tokens:
            if rate is None:
                return None
            total = EXACT_CONTEXT.fma(tokens, rate, total)
    return EXACT_CONTEXT.divide(total, _MILLION)


def _sum_charges(usage: Usage, rates: Rates, price: Price) -> Decimal | None:
    """Return the USD of an answer with tokens that are not text; None if unknown."""
    total, tools_cost = _ZERO, _sum_tool_costs(usage, price)
    for charge in list_charges(usage, rates, price.as_text):
        if charge.tokens:
            if charge.rate is None:
                return None
            total = EXACT_CONTEXT.fma(charge.tokens, charge.rate, total)
    if tools_cost is None:
        return None
    return EXACT_CONTEXT.add(EXACT_CONTEXT.divide(total, _MILLION), tools_cost)


def _sum_extra_costs(usage: Usage, rates: Rates, price: Price) -> Decimal | None:
    """Return the USD of cache writes and hosted tools, which most answers lack."""
    total = _ZERO
    for lifetime, tokens in usage.cache_write.items():
        rate = find_write_rate(rates, lifetime)
        if tokens:
            if rate is None:
                return None
            total = EXACT_CONTEXT.fma(tokens, rate, total)
    tools_cost = _sum_tool_costs(usage, price)
    return (
        None
        if tools_cost is None
        else EXACT_CONTEXT.add(EXACT_CONTEXT.divide(total, _MILLION), tools_cost)
    )


def compute_bill_difference(billed: Decimal, computed_cost: Decimal) -> Decimal:
    """Return the USD by which a provider's bill exceeds the gateway's sum; 0 if they agree.

    They agree within 1%, within a millionth of a USD, and within half of the bill's last digit:
    providers round their bills, Perplexity to a thousandth.
    """
    difference = EXACT_CONTEXT.subtract(billed, computed_cost)
    tolerance = max(_BILL_ROUNDING, EXACT_CONTEXT.multiply(computed_cost, _BILL_TOLERANCE))
    if billed:
        half_digit = Decimal((0, (5,), int(billed.as_tuple().exponent) - 1))
        tolerance = max(tolerance, min(half_digit, _MAX_BILL_ROUNDING))
    return _ZERO if abs(difference) <= tolerance else difference


def compute_baseline_cost(
    usage: Usage | None, price: Price | None, own_price: Price | None
) -> Decimal | None:
    """Return the USD of an answer at another price than its `own_price`; None if unknown.

    Tokens cost the standard tier's price there, as a service tier means something only at its own
    provider. Tools cost what they cost at `own_price`. At `own_price` a bill that the provider
    states is the cost.
    """
    if usage is not None and usage.billed is not None and price is not None and price == own_price:
        return usage.billed
    if usage is None or price is own_price or not (usage.service or usage.tools):
        return compute_cost(usage, price)
    if price == own_price:
        return compute_cost(usage, price)
    tokens_cost = compute_cost(msgspec.structs.replace(usage, service=None, tools={}), price)
    tools_cost = _sum_tool_costs(usage, own_price)
    return (
        None
        if tokens_cost is None or tools_cost is None
        else EXACT_CONTEXT.add(tokens_cost, tools_cost)
    )


def compute_reservation(
    price: Price,
    prompt_tokens: int | None,
    max_output: int | None,
    service: str | None = None,
    media: Collection[str] = (),
    units: UnitBounds = _NO_UNITS,
) -> Decimal | None:
    """Return the most USD that a call costs, without the provider's tools; None if unknown.

    The bound holds for every prompt of up to `prompt_tokens` tokens, however the provider's cache
    takes it, and for every answer of up to `max_output` tokens. It holds in the requested service
    tier, and in the standard one, which serves if the requested one is full. `media` are the
    modalities that the prompt may have beside text, see `Prompt.media`. `units` are the most of
    each unit that the call may use. Tokens need no bound if the provider bills units and no tokens.
    """
    if units:
        return _compute_unit_reservation(price, prompt_tokens, max_output, service, media, units)
    if prompt_tokens is None or max_output is None:
        return None
    if service is None and not price.steps and not media:  # most calls
        return _compute_bound(price.rates, prompt_tokens, max_output)
    service_price = price.find_service(service)
    if service_price is None:
        return None
    rates_in_question = [service_price.rates]
    rates_in_question += [item.rates for item in service_price.steps if prompt_tokens > item.above]
    if service_price is not price:
        rates_in_question.append(price.rates)
        rates_in_question += [item.rates for item in price.steps if prompt_tokens > item.above]
    bounds = [
        _compute_media_bound(price, rates, prompt_tokens, max_output, media)
        if media
        else _compute_bound(rates, prompt_tokens, max_output)
        for rates in rates_in_question
    ]
    known_bounds = [bound for bound in bounds if bound is not None]
    return max(known_bounds) if len(known_bounds) == len(bounds) else None


def _compute_unit_reservation(
    price: Price,
    prompt_tokens: int | None,
    max_output: int | None,
    service: str | None,
    media: Collection[str],
    units: UnitBounds,
) -> Decimal | None:
    """Return the most USD that a call with units costs; None if unknown."""
    service_price = price.find_service(service)
    if service_price is None:
        return None
    bound: Decimal | None = _ZERO
    if service_price.bills_tokens or price.bills_tokens:
        bound = compute_reservation(price, prompt_tokens, max_output, service, media)
    unit_costs = [
        sum_unit_costs(units, item.units, find_greatest_unit_price)
        for item in (service_price, price)
    ]
    known_costs = [cost for cost in unit_costs if cost is not None]
    if bound is None or len(known_costs) < len(unit_costs):
        return None
    return EXACT_CONTEXT.add(bound, max(known_costs))


def _compute_bound(rates: Rates, prompt_tokens: int, max_output: int) -> Decimal | None:
    """Return the most USD that a prompt of text and an answer cost; None if unknown."""
    whole_rates = rates.whole_rates
    if whole_rates is not None:
        return EXACT_CONTEXT.divide(
            prompt_tokens * whole_rates.max_prompt_rate + max_output * whole_rates.max_output_rate,
            whole_rates.bound_divisor,
        )
    return _bound_by_dearest([rates], rates, prompt_tokens, max_output)


def _compute_media_bound(
    price: Price, rates: Rates, prompt_tokens: int, max_output: int, media: Collection[str]
) -> Decimal | None:
    """Return the most USD that a prompt with media and an answer cost; None if unknown.

    Any number of the prompt's tokens may be of the dearest modality.
    """
    prompt_rates = [rates]
    for modality in media:
        if modality == UNKNOWN_MODALITY:  # documents cost as text; some files are media
            prompt_rates += [item for item in rates.media.values() if item.input is not None]
        elif f"input_{modality}" not in price.as_text:
            prompt_rates.append(rates.media.get(modality, NO_RATES))
    return _bound_by_dearest(prompt_rates, rates, prompt_tokens, max_output)


def _bound_by_dearest(
    prompt_rates: list[Rates], rates: Rates, prompt_tokens: int, max_output: int
) -> Decimal | None:
    """Return the most USD of a prompt at the dearest of some rates, and of an answer at `rates`."""
    if prompt_tokens and any(item.input is None for item in prompt_rates):
        return None
    if max_output and rates.output is None:
        return None
    prompt_cost = EXACT_CONTEXT.multiply(
        prompt_tokens, max(find_max_prompt_rate(item) for item in prompt_rates)
    )
    return EXACT_CONTEXT.divide(
        EXACT_CONTEXT.fma(max_output, find_max_output_rate(rates), prompt_cost), _MILLION
    )


def compute_token_slopes(price: Price) -> tuple[int, int] | None:
    """Return what a prompt token and an output token add to a reservation, in the standard tier.

    The prompt is text. The unit is a millionth of a micro-USD. None if a rate is unknown, depends
    on the prompt's length or the time, or is not a whole number of these units.
    """
    rates = price.rates
    if rates.input is None or rates.output is None or price.steps or price.hours or price.later:
        return None
    exact_slopes = [
        EXACT_CONTEXT.multiply(rate, _MILLION)
        for rate in (find_max_prompt_rate(rates), find_max_output_rate(rates))
    ]
    prompt_slope, output_slope = [int(value) for value in exact_slopes]
    return (prompt_slope, output_slope) if [prompt_slope, output_slope] == exact_slopes else None


def explain_unknown_cost(usage: Usage | None, price: Price | None) -> str | None:
    """Say which price an answer lacks, as "no price of output tokens"; None if it lacks none.

    It lacks no price for tokens that its provider did not count.
    """
    if usage is None or not (usage.has_input_and_output or usage.units):
        return None
    if price is None:
        return "no price"
    service_price = price if usage.service is None else price.services.get(usage.service)
    if service_price is None:
        return f"no price of service tier {usage.service}"
    if (unpriced_unit := find_unpriced_unit(usage.units, service_price.units)) is not None:
        return f"no price of {unpriced_unit}"
    if not usage.has_input_and_output and service_price.bills_tokens:
        return "no count of tokens"
    rates = service_price.find_rates(usage.prompt or 0)
    for charge in list_charges(usage, rates, price.as_text):
        if charge.tokens and charge.rate is None:
            return charge.gap
    unpriced_tools = [
        name for name, count in usage.tools.items() if count and name not in price.tools
    ]
    if not unpriced_tools:
        return None
    unit = "tokens" if ":" in unpriced_tools[0] else "requests"
    return f"no price of {unpriced_tools[0]} {unit}"


def _sum_tool_costs(usage: Usage, price: Price | None) -> Decimal | None:
    """Return the USD for requests of the provider's own tools; None if unknown."""
    total = _ZERO
    for name, count in usage.tools.items():
        if count:
            rate = price.tools.get(name) if price is not None else None
            if rate is None:
                return None
            total = EXACT_CONTEXT.fma(count, rate, total)
    return total
