"""Rates: USD per million tokens of each class, and their forms for fast sums."""

from decimal import Context, Decimal
from functools import cached_property

import msgspec

EXACT_CONTEXT = Context(prec=100)
"""Arithmetic with enough digits that no sum of prices is ever rounded."""
_MILLION_PLACES = 6
"""The number of zeros in a million."""
_ZERO = Decimal(0)


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
    """The highest rate of a prompt of text, however the provider's cache takes it."""
    max_output_rate: int
    """The highest rate among all classes of tokens of an answer."""
    fresh_divisor: Decimal
    """The divisor for a sum of input and output."""
    cached_divisor: Decimal
    """The divisor for a sum of input, cache reads and output."""
    bound_divisor: Decimal
    """The divisor for a sum of a prompt at `max_prompt_rate` and `max_output_rate`."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """USD per million tokens of each class. None means unknown."""

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_by: dict[str, Decimal] = {}
    """Rates of cache writes by lifetime, if they differ from `cache_write`."""
    output: Decimal | None = None
    reasoning: Decimal | None = None
    """The rate of reasoning, if it differs from `output`."""
    media: dict[str, "Rates"] = {}
    """The rates of tokens that are not text, by modality ("audio")."""

    @cached_property
    def output_float(self) -> float | None:
        """The rate of output as a float, for comparisons that are no money; None if unknown."""
        return None if self.output is None else float(self.output)

    @cached_property
    def whole_rates(self) -> WholeRates | None:
        """The rates in whole numbers; None without a rate of input or of output.

        None too if reasoning has a rate of its own, which few models have.
        """
        if self.input is None or self.output is None or self.reasoning is not None:
            return None
        cache_read, prompt_rate = self.cache_read, find_max_prompt_rate(self)
        output_rate = find_max_output_rate(self)
        cache_read = _ZERO if cache_read is None else cache_read
        fresh_places = max(0, _count_places(self.input), _count_places(self.output))
        cached_places = max(fresh_places, _count_places(cache_read))
        bound_places = max(_count_places(prompt_rate), _count_places(output_rate))
        max_places = max(cached_places, bound_places)

        def make_divisor(places: int) -> Decimal:
            return Decimal((0, (1, *[0] * (_MILLION_PLACES + max_places - places)), places))

        return WholeRates(
            input=int(EXACT_CONTEXT.scaleb(self.input, max_places)),
            cache_read=None
            if self.cache_read is None
            else int(EXACT_CONTEXT.scaleb(cache_read, max_places)),
            output=int(EXACT_CONTEXT.scaleb(self.output, max_places)),
            max_prompt_rate=int(EXACT_CONTEXT.scaleb(prompt_rate, max_places)),
            max_output_rate=int(EXACT_CONTEXT.scaleb(output_rate, max_places)),
            fresh_divisor=make_divisor(fresh_places),
            cached_divisor=make_divisor(cached_places),
            bound_divisor=make_divisor(bound_places),
        )


NO_RATES = Rates()
"""The rates of a modality that a price does not have."""


def scale_rates(rates: Rates, factor: Decimal) -> Rates:
    """Return rates times a factor, exactly; an unknown rate stays unknown."""
    by_lifetime = {
        lifetime: EXACT_CONTEXT.multiply(rate, factor)
        for lifetime, rate in rates.cache_write_by.items()
    }
    return Rates(
        input=_scale_rate(rates.input, factor),
        cache_read=_scale_rate(rates.cache_read, factor),
        cache_write=_scale_rate(rates.cache_write, factor),
        cache_write_by=by_lifetime,
        output=_scale_rate(rates.output, factor),
        reasoning=_scale_rate(rates.reasoning, factor),
        media={name: scale_rates(item, factor) for name, item in rates.media.items()},
    )


def find_write_rate(rates: Rates, lifetime: str) -> Decimal | None:
    """Return USD per million tokens written to the cache; without such a price, as input."""
    rate = rates.cache_write_by.get(lifetime, rates.cache_write)
    return rates.input if rate is None else rate


def find_max_prompt_rate(rates: Rates) -> Decimal:
    """Return the highest rate of a prompt of text, however the provider's cache takes it."""
    maximum = rates.input or _ZERO
    if rates.cache_read is not None and rates.cache_read > maximum:
        maximum = rates.cache_read
    if rates.cache_write is not None and rates.cache_write > maximum:
        maximum = rates.cache_write
    for rate in rates.cache_write_by.values():
        maximum = max(maximum, rate)
    return maximum


def find_max_output_rate(rates: Rates) -> Decimal:
    """Return the highest rate of an answer: of text, of reasoning, or of media in it."""
    maximum = rates.output or _ZERO
    if rates.reasoning is not None and rates.reasoning > maximum:
        maximum = rates.reasoning
    for item in rates.media.values():
        if item.output is not None and item.output > maximum:
            maximum = item.output
    return maximum


def _count_places(rate: Decimal) -> int:
    """Return the decimal places of a rate as written; negative for an exponent, as in 1E+2."""
    return -int(rate.as_tuple().exponent)


def _scale_rate(rate: Decimal | None, factor: Decimal) -> Decimal | None:
    return None if rate is None else EXACT_CONTEXT.multiply(rate, factor)
