"""Cost is price times usage, exact to the last digit."""

from collections.abc import Iterable
from decimal import Context, Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.price import (
    LaterPrice,
    Price,
    PriceStep,
    compute_baseline_cost,
    compute_cost,
    compute_reservation,
    compute_token_slopes,
    explain_unknown_cost,
)
from gateway.core.rates import Rates, scale_rates
from gateway.core.usage import Usage

USD = st.decimals(0, 1_000_000, places=9, allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 100_000_000)
RATES = st.builds(
    Rates,
    input=st.none() | USD,
    cache_read=st.none() | USD,
    cache_write=st.none() | USD,
    cache_write_by=st.dictionaries(st.sampled_from(["5m", "1h"]), USD),
    output=st.none() | USD,
)
COMPLETE_RATES = st.builds(
    Rates,
    input=USD,
    cache_read=USD,
    cache_write=st.none() | USD,
    cache_write_by=st.dictionaries(st.sampled_from(["5m", "1h"]), USD),
    output=USD,
)
"""Complete rates, with no class missing."""
FINE = st.decimals(0, 1_000_000, places=6, allow_nan=False, allow_infinity=False)
FLAT = st.builds(
    Rates, input=FINE, cache_read=st.none() | FINE, cache_write=st.none() | FINE, output=FINE
)
"""Rates in whole millionths."""
SERVICES = st.none() | st.sampled_from(["flex", "priority"])
TOOLS = st.sampled_from(["web_search", "file_search"])
MEDIA = st.dictionaries(
    st.sampled_from(["input_image", "input_audio"]), st.integers(1, 1000), max_size=1
)
USAGES = st.builds(
    Usage,
    input=st.none() | COUNTS,
    cache_read=st.none() | COUNTS,
    cache_write=st.dictionaries(st.sampled_from(["", "5m", "1h"]), COUNTS),
    output=st.none() | COUNTS,
    reasoning=st.none() | COUNTS,
    tools=st.dictionaries(TOOLS, st.integers(0, 1000)),
    media=MEDIA,
    service=SERVICES,
)
COUNTED = st.builds(
    Usage,
    input=COUNTS,
    cache_read=st.none() | COUNTS,
    cache_write=st.dictionaries(st.sampled_from(["", "5m", "1h"]), COUNTS),
    output=COUNTS,
    reasoning=st.none() | COUNTS,
    tools=st.dictionaries(TOOLS, st.integers(0, 1000)),
    service=SERVICES,
)


def build_prices(rates: st.SearchStrategy[Rates]) -> st.SearchStrategy[Price]:
    """Draw prices with up to two steps, and with service tiers that have their own steps."""
    steps = st.lists(st.builds(PriceStep, COUNTS, rates), max_size=2).map(
        lambda drawn: tuple(sorted(drawn, key=lambda step: step.above))
    )
    plain = st.builds(Price, rates=rates, steps=steps, version=st.just("v"))
    return st.builds(
        Price,
        rates=rates,
        steps=steps,
        version=st.just("v"),
        services=st.dictionaries(st.sampled_from(["flex", "priority"]), plain),
        tools=st.dictionaries(TOOLS, USD),
    )


PRICES = build_prices(RATES)
FULL = build_prices(COMPLETE_RATES)


def compute_in_fractions(usage: Usage, rates: Rates) -> Fraction | None:
    """Compute the same sum in fractions, one line a class; None if a needed price is unknown."""
    if usage.input is None or usage.output is None:
        return None
    billed: list[tuple[int, Decimal | None]] = [
        (usage.input, rates.input),
        (usage.cache_read or 0, rates.cache_read),
        (usage.output, rates.output),
        (usage.reasoning or 0, rates.output),
    ]
    for life, tokens in usage.cache_write.items():
        write = rates.cache_write_by.get(life, rates.cache_write)
        billed.append((tokens, rates.input if write is None else write))
    if any(tokens and rate is None for tokens, rate in billed):
        return None
    return sum((tokens * Fraction(rate or 0) for tokens, rate in billed), Fraction(0)) / 1_000_000


def compute_bill(usage: Usage, price: Price) -> Fraction | None:
    """Compute a provider's bill: tokens at the rates of their tier and length, and tools."""
    if usage.service is not None:
        if usage.service not in price.services:
            return None
        tier = price.services[usage.service]
    else:
        tier = price
    if any(name not in price.as_text for name in usage.media):
        return None
    prompt = (usage.input or 0) + (usage.cache_read or 0) + sum(usage.cache_write.values())
    reached = [step.rates for step in tier.steps if step.above < prompt]
    tokens = compute_in_fractions(usage, reached[-1] if reached else tier.rates)
    if tokens is None or any(n and name not in price.tools for name, n in usage.tools.items()):
        return None
    tools = sum(n * Fraction(price.tools.get(name, 0)) for name, n in usage.tools.items())
    return tokens + tools


def to_fraction(value: Decimal | None) -> Fraction | None:
    return None if value is None else Fraction(value)


@given(USAGES, PRICES)
def test_cost_is_price_times_usage_exactly(usage: Usage, price: Price) -> None:
    """No rounding, no float, never negative; unknown if anything that counts is unknown."""
    cost = compute_cost(usage, price)
    assert to_fraction(cost) == compute_bill(usage, price)
    assert cost is None or cost >= 0


WIDE = Context(prec=100)
WRITTEN = st.builds(
    lambda digits, exponent: Decimal((0, digits, exponent)),
    st.lists(st.integers(0, 9), min_size=1, max_size=7).map(tuple),
    st.integers(-9, 2),
)
"""Rates with trailing zeros and with exponents."""


def add_in_turn(*parts: tuple[int, Decimal]) -> str:
    """Add products one by one, per million; return the sum as text."""
    total = Decimal(0)
    for tokens, rate in parts:
        total = WIDE.fma(tokens, rate, total) if tokens else total
    return str(WIDE.divide(total, 1_000_000))


@given(st.builds(Rates, input=WRITTEN, cache_read=WRITTEN, output=WRITTEN), COUNTS, COUNTS, COUNTS)
def test_a_cost_has_the_digits_of_the_decimal_sum(
    rates: Rates, into: int, read: int, out: int
) -> None:
    """Digits and trailing zeros are the same for all forms of rates."""
    assert rates.input is not None
    assert rates.cache_read is not None
    assert rates.output is not None
    price = Price(rates=rates, version="v")
    used = [(into, rates.input), (read, rates.cache_read), (out, rates.output)]
    assert str(compute_cost(Usage(input=into, cache_read=read, output=out), price)) == add_in_turn(
        *used
    )
    # Decimal places of a rate of zero do not count in a bound.
    dearest = max(rates.input or Decimal(0), rates.cache_read or Decimal(0))
    bound = WIDE.fma(out, rates.output or Decimal(0), WIDE.multiply(into, dearest))
    assert str(compute_reservation(price, into, out)) == str(WIDE.divide(bound, 1_000_000))


def test_a_class_without_tokens_adds_no_digits_to_a_cost() -> None:
    """A rate of nine decimals shows in a cost only if something was bought at it."""
    fine = Decimal("0.123456789")
    price = Price(rates=Rates(input=Decimal(4), cache_read=fine, output=fine), version="v")
    assert str(compute_cost(Usage(input=500_000, output=0), price)) == "2"
    price = Price(rates=Rates(input=fine, output=Decimal(4)), version="v")
    assert str(compute_cost(Usage(input=0, output=500_000), price)) == "2"


@pytest.mark.parametrize(("rate", "cost"), [("1E+2", "200"), ("100", "200"), ("100.0", "200.0")])
def test_a_cost_has_the_decimals_of_its_rates_and_no_exponent(rate: str, cost: str) -> None:
    price = Price(rates=Rates(input=Decimal(rate), output=Decimal(rate)), version="v")
    assert str(compute_cost(Usage(input=1_000_000, output=1_000_000), price)) == cost


def test_the_longest_numbers_lose_no_digit() -> None:
    """A rate of 18 digits, times a factor of 9 digits, times the highest token count."""
    rate, factor, tokens = Decimal("123456789.123456789"), Decimal("987.654321"), 2**40 - 1
    flat = Price(rates=scale_rates(Rates(input=rate, output=rate), factor), version="v")
    usage = Usage(input=tokens, output=tokens)
    spent = 2 * tokens * Fraction(rate) * Fraction(factor) / 1_000_000
    assert (
        to_fraction(compute_cost(usage, flat))
        == to_fraction(compute_reservation(flat, tokens, tokens))
        == spent
    )


@given(USAGES, RATES, RATES, RATES, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_long_prompt_costs_the_rates_of_its_step_as_a_whole(
    usage: Usage, base: Rates, low: Rates, high: Rates, limit: int, other_limit: int
) -> None:
    """The last step below the prompt's length prices the whole request."""
    usage = msgspec.structs.replace(usage, service=None, tools={}, media={})
    first, second = sorted((limit, other_limit))
    price = Price(rates=base, steps=(PriceStep(first, low), PriceStep(second, high)), version="v")
    prompt = usage.prompt or 0
    rates = high if prompt > second else low if prompt > first else base
    assert to_fraction(compute_cost(usage, price)) == compute_in_fractions(usage, rates)


LONG = Price(
    rates=Rates(
        input=Decimal(3), cache_read=Decimal("0.3"), cache_write=Decimal("3.75"), output=Decimal(15)
    ),
    steps=(
        PriceStep(
            200_000,
            Rates(
                input=Decimal(6),
                cache_read=Decimal("0.6"),
                cache_write=Decimal("7.5"),
                output=Decimal("22.5"),
            ),
        ),
    ),
    version="v",
)
"""Anthropic's prices for Sonnet 4.5: above 200,000 prompt tokens, all tokens cost more, output too."""

AT_THE_STEP = [
    (Usage(input=199_999, output=1000), "0.614997"),
    (Usage(input=200_000, output=1000), "0.615"),
    (Usage(input=200_001, output=1000), "1.222506"),
    # cache reads and writes belong to the prompt
    (Usage(input=1, cache_read=199_999, output=0), "0.0600027"),
    (Usage(input=1, cache_read=200_000, output=0), "0.120006"),
    (Usage(input=0, cache_write={"5m": 100_000, "1h": 100_000}, output=0), "0.75"),
    (Usage(input=0, cache_write={"5m": 100_001, "1h": 100_000}, output=0), "1.5000075"),
    # the answer does not
    (Usage(input=200_000, output=1, reasoning=50_000), "1.350015"),
]


@pytest.mark.parametrize(("usage", "usd"), AT_THE_STEP)
def test_a_price_step_starts_one_token_above_its_limit(usage: Usage, usd: str) -> None:
    """At 200,000 tokens the old price still holds; at 200,001 every token has the new one."""
    assert compute_cost(usage, LONG) == Decimal(usd)


def test_an_empty_prompt_is_below_every_step() -> None:
    """Its answer costs the base rate, and a step that lacks this rate makes nothing unknown."""
    price = Price(
        rates=Rates(output=Decimal(1)), steps=(PriceStep(0, Rates(input=Decimal(2))),), version="v"
    )
    answer = Usage(input=0, output=1_000_000)
    assert compute_cost(answer, price) == 1
    assert explain_unknown_cost(answer, price) is None
    prompt = Usage(input=1, output=1_000_000)
    assert compute_cost(prompt, price) is None
    assert explain_unknown_cost(prompt, price) == "no price of output tokens"


@given(COUNTED, COUNTED, COMPLETE_RATES)
def test_the_costs_of_parts_add_up_to_the_cost_of_the_whole(
    left: Usage, right: Usage, rates: Rates
) -> None:
    """If no step lies between them, parts of an answer may be counted separately."""
    price = Price(rates=rates, version="v", tools={"web_search": Decimal("0.01")})
    left, right = (
        msgspec.structs.replace(
            item, service=None, tools={"web_search": item.tools.get("web_search", 0)}
        )
        for item in (left, right)
    )
    lives = {*left.cache_write, *right.cache_write}
    both = Usage(
        input=(left.input or 0) + (right.input or 0),
        cache_read=(left.cache_read or 0) + (right.cache_read or 0),
        cache_write={
            life: left.cache_write.get(life, 0) + right.cache_write.get(life, 0) for life in lives
        },
        output=(left.output or 0) + (right.output or 0),
        reasoning=(left.reasoning or 0) + (right.reasoning or 0),
        tools={"web_search": left.tools["web_search"] + right.tools["web_search"]},
    )
    parts = [compute_cost(item, price) for item in (left, right)]
    assert to_fraction(compute_cost(both, price)) == sum(
        Fraction(part) for part in require_all(parts)
    )


def require_all(values: Iterable[Decimal | None]) -> list[Decimal]:
    listed = list(values)
    assert all(value is not None for value in listed)
    return [value for value in listed if value is not None]


@given(COUNTED, FULL, st.sampled_from(["input", "cache_read", "output", "reasoning"]), COUNTS)
def test_more_tokens_never_cost_less_within_a_step(
    usage: Usage, price: Price, name: str, more: int
) -> None:
    larger = msgspec.structs.replace(usage, **{name: (getattr(usage, name) or 0) + more})
    tier = price.find_service(usage.service)
    assume(
        tier is not None
        and tier.find_rates(usage.prompt or 0) == tier.find_rates(larger.prompt or 0)
    )
    before, after = compute_cost(usage, price), compute_cost(larger, price)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after >= before


@given(COUNTED, FULL, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_reservation_is_never_less_than_the_cost(
    usage: Usage, price: Price, longer: int, more: int
) -> None:
    """The bound holds for any prompt and answer within it, whatever the prompt cache did."""
    usage = msgspec.structs.replace(usage, tools={})
    prompt, most = (usage.prompt or 0) + longer, (usage.completion or 0) + more
    bound, spent = (
        compute_reservation(price, prompt, most, usage.service),
        compute_cost(usage, price),
    )
    assert (bound is None) == (usage.service not in (None, *price.services))
    if spent is not None:
        assert bound is not None
        assert bound >= spent


@pytest.mark.parametrize(
    ("price", "prompt", "most", "bound"),
    [
        (LONG, 200_000, 1000, "0.765"),  # all written to the cache
        (LONG, 200_001, 1000, "1.5225075"),
        (LONG, 0, 0, "0"),
        (LONG, 10, None, None),
        (Price(rates=Rates(input=Decimal(1)), version="v"), 10, 1, None),
        (Price(rates=Rates(input=Decimal(1)), version="v"), 10, 0, "0.00001"),
        (Price(rates=Rates(output=Decimal(1)), version="v"), 10, 1, None),
        (Price(rates=Rates(output=Decimal(1)), version="v"), 0, 1, "0.000001"),
    ],
)
def test_a_reservation_covers_the_dearest_outcome(
    price: Price, prompt: int, most: int | None, bound: str | None
) -> None:
    """The bound is unknown if a price it needs, or the length of the answer, is unknown."""
    assert compute_reservation(price, prompt, most) == (None if bound is None else Decimal(bound))


def test_a_reservation_reaches_a_step_of_the_standard_tier_one_token_above_its_limit() -> None:
    """The standard tier serves if the requested one is full."""
    flex = Price(rates=Rates(input=Decimal(1), output=Decimal(1)), version="v, flex")
    price = msgspec.structs.replace(LONG, services={"flex": flex})
    assert compute_reservation(price, 200_000, 0, "flex") == Decimal("0.75")
    assert compute_reservation(price, 200_001, 0, "flex") == Decimal("1.5000075")
    price = msgspec.structs.replace(flex, services={"priority": LONG})
    assert compute_reservation(price, 200_000, 0, "priority") == Decimal("0.75")
    assert compute_reservation(price, 200_001, 0, "priority") == Decimal("1.5000075")


@pytest.mark.parametrize(
    ("usage", "price"),
    [
        (None, Price(rates=Rates(), version="v")),
        (Usage(input=1, output=1), None),
        (Usage(input=1), Price(rates=Rates(input=Decimal(1), output=Decimal(1)), version="v")),
        (Usage(output=1), Price(rates=Rates(input=Decimal(1), output=Decimal(1)), version="v")),
    ],
)
def test_a_cost_without_usage_or_price_is_unknown_and_not_zero(
    usage: Usage | None, price: Price | None
) -> None:
    """Without usage or without a price, the cost is unknown, and not zero."""
    assert compute_cost(usage, price) is None


def test_a_token_class_without_tokens_needs_no_price() -> None:
    price = Price(rates=Rates(input=Decimal("0.5"), output=Decimal(2)), version="v")
    assert compute_cost(Usage(input=1000, cache_read=0, output=10), price) == Decimal("0.00052")
    assert compute_cost(Usage(input=1000, cache_read=1, output=10), price) is None


def test_a_cache_lifetime_without_tokens_needs_no_price() -> None:
    usage = Usage(input=0, cache_write={"5m": 0, "1h": 1_000_000}, output=0)
    price = Price(rates=Rates(input=Decimal(3), output=Decimal(15)), version="v")
    assert compute_cost(usage, price) == 3


def test_cache_writes_cost_as_input_if_writing_has_no_price() -> None:
    """OpenAI and DeepSeek bill a cache miss as input."""
    price = Price(rates=Rates(input=Decimal(3), output=Decimal(15)), version="v")
    assert compute_cost(Usage(input=0, cache_write={"": 1_000_000}, output=0), price) == 3


def test_each_cache_lifetime_has_its_own_price() -> None:
    """Anthropic's cache for one hour costs more than that for five minutes."""
    by = {"5m": Decimal("3.75"), "1h": Decimal(6)}
    rates = Rates(
        input=Decimal(3), cache_write=Decimal("3.75"), cache_write_by=by, output=Decimal(15)
    )
    usage = Usage(input=0, cache_write={"5m": 1_000_000, "1h": 1_000_000}, output=0)
    assert compute_cost(usage, Price(rates=rates, version="v")) == Decimal("9.75")


PLAIN = Price(
    rates=Rates(input=Decimal(2), output=Decimal(10)),
    version="v",
    services={"flex": Price(rates=Rates(input=Decimal(1), output=Decimal(5)), version="v, flex")},
    tools={"web_search": Decimal("0.01")},
)


def test_a_service_tier_has_its_own_price_and_tools_cost_the_same_in_each() -> None:
    """A tool costs the same in every service tier."""
    usage = Usage(input=1_000_000, output=100_000, tools={"web_search": 3})
    assert compute_cost(usage, PLAIN) == Decimal("3.03")
    assert compute_cost(msgspec.structs.replace(usage, service="flex"), PLAIN) == Decimal("1.53")
    assert PLAIN.find_service(None) is PLAIN
    flex = PLAIN.find_service("flex")
    assert flex is not None
    assert flex.version == "v, flex"


MISSING_PRICES = [
    (Usage(input=1, output=1, service="priority"), PLAIN, "no price of service tier priority"),
    (Usage(input=1, output=1, tools={"x_search": 1}), PLAIN, "no price of x_search requests"),
    (Usage(input=1, output=1, tools={"x_search": 0}), PLAIN, None),
    (Usage(input=1, output=1, tools={"m-1:input": 7}), PLAIN, "no price of m-1:input tokens"),
    (Usage(input=1, cache_read=1, output=1), PLAIN, "no price of cached tokens"),
    (Usage(input=1, output=1), None, "no price"),
    (Usage(input=1, output=0, reasoning=1), Price(rates=Rates(input=Decimal(1)), version="v"),
     "no price of output tokens"),
    (Usage(input=1, output=0), Price(rates=Rates(), version="v"), "no price of input tokens"),
    (Usage(input=0, output=0, cache_write={"1h": 1}), Price(rates=Rates(), version="v"),
     "no price of cache write tokens"),
    (Usage(input=1, output=1, service="flex"), PLAIN, None),
    (None, None, None),
    (Usage(input=1), None, None),
    (Usage(input=9, output=1, media={"input_audio": 7}), PLAIN, "no price of input audio tokens"),
    (Usage(input=9, output=1, media={"input_image": 7}), PLAIN, None),
    (Usage(input=9, output=1, media={"input_image": 7}),
     msgspec.structs.replace(PLAIN, as_text=frozenset()), "no price of input image tokens"),
    (Usage(input=9, output=1, media={"input_image": 7, "output_image": 1}), PLAIN,
     "no price of output image tokens"),
    (Usage(input=9, output=1, media={"input_video": 7}, service="flex"),
     msgspec.structs.replace(PLAIN, as_text=frozenset({"input_video"})), None),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "price", "why"), MISSING_PRICES)
def test_the_gateway_names_the_price_that_is_missing(
    usage: Usage | None, price: Price | None, why: str | None
) -> None:
    assert explain_unknown_cost(usage, price) == why


@given(COUNTED, MEDIA, st.none() | PRICES)
def test_a_cost_is_unknown_exactly_if_a_price_is_missing(
    counted: Usage, media: dict[str, int], price: Price | None
) -> None:
    usage = msgspec.structs.replace(counted, media=media)
    assert (compute_cost(usage, price) is None) == (explain_unknown_cost(usage, price) is not None)


def test_a_baseline_reprices_tokens_and_keeps_the_cost_of_tools() -> None:
    """A service tier of one provider means nothing at another."""
    other = Price(rates=Rates(input=Decimal(4), output=Decimal(20)), version="o")
    usage = Usage(input=1_000_000, output=100_000, service="flex", tools={"web_search": 3})
    assert compute_baseline_cost(usage, other, PLAIN) == Decimal("6.03")
    assert (
        compute_baseline_cost(usage, PLAIN, PLAIN) == compute_cost(usage, PLAIN) == Decimal("1.53")
    )
    assert compute_baseline_cost(usage, other, None) is None
    assert compute_baseline_cost(usage, None, PLAIN) is None
    assert compute_baseline_cost(None, other, PLAIN) is None
    bare = Usage(input=1_000_000, output=0)
    assert compute_baseline_cost(bare, other, None) == 4
    tiered = Usage(input=1_000_000, output=0, cache_write={"": 500_000}, service="flex")
    assert compute_baseline_cost(tiered, other, PLAIN) == 6


def test_cache_writes_without_any_price_have_an_unknown_cost() -> None:
    """Cache writes have no price of their own here, nor one as input."""
    usage = Usage(input=0, output=1, cache_write={"5m": 5})
    assert compute_cost(usage, Price(rates=Rates(output=Decimal(1)), version="v")) is None


@given(FLAT, st.integers(0, 10**9), st.integers(0, 10**9))
def test_token_slopes_equal_the_reservation_in_whole_numbers(
    rates: Rates, prompt: int, most: int
) -> None:
    """The two agree for every prompt and answer, to the millionth of a micro-dollar."""
    price = Price(rates=rates, version="v")
    slopes, bound = compute_token_slopes(price), compute_reservation(price, prompt, most)
    assert slopes is not None
    assert bound is not None
    assert Fraction(prompt * slopes[0] + most * slopes[1], 10**12) == Fraction(bound)


@pytest.mark.parametrize(
    "price",
    [
        Price(rates=Rates(input=Decimal(1)), version="v"),
        Price(rates=Rates(output=Decimal(1)), version="v"),
        Price(rates=Rates(input=Decimal("0.0000001"), output=Decimal(1)), version="v"),
        LONG,
        Price(
            rates=Rates(input=Decimal(1), output=Decimal(1)),
            later=(LaterPrice(9.0, Price(rates=Rates(), version="w")),),
            version="v",
        ),
    ],
)
def test_a_price_that_is_unknown_too_fine_or_variable_has_no_token_slopes(price: Price) -> None:
    """The price is unknown, too fine for a whole number, or depends on length or time."""
    assert compute_token_slopes(price) is None


def test_images_in_a_prompt_cost_as_text_and_audio_has_an_unknown_cost() -> None:
    """OpenAI, Anthropic and Google bill images at the text rate, and audio at 2 to 16 times it."""
    used = Usage(input=1_000_000, output=0, media={"input_image": 900_000})
    assert compute_cost(used, PLAIN) == Decimal(2)
    assert compute_cost(msgspec.structs.replace(used, media={"input_audio": 1}), PLAIN) is None


def test_the_rate_of_output_for_comparisons_is_a_float_or_unknown() -> None:
    assert Rates(output=Decimal("3.5")).output_float == 3.5
    assert Rates(input=Decimal(1)).output_float is None
