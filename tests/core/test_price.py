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
    Rates,
    compute_baseline_cost,
    compute_cost,
    compute_reservation,
    compute_token_slopes,
    explain_unknown_cost,
    scale_rates,
)  # fmt: skip
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
KNOWN = st.builds(
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


def made(rates: st.SearchStrategy[Rates]) -> st.SearchStrategy[Price]:
    """Draw prices with up to two steps, and with service tiers that have their own steps."""
    steps = st.lists(st.builds(PriceStep, COUNTS, rates), max_size=2).map(
        lambda found: tuple(sorted(found, key=lambda step: step.above))
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


PRICES = made(RATES)
FULL = made(KNOWN)


def plain(usage: Usage, rates: Rates) -> Fraction | None:
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


def whole(usage: Usage, price: Price) -> Fraction | None:
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
    tokens = plain(usage, reached[-1] if reached else tier.rates)
    if tokens is None or any(n and name not in price.tools for name, n in usage.tools.items()):
        return None
    tools = sum(n * Fraction(price.tools.get(name, 0)) for name, n in usage.tools.items())
    return tokens + tools


def exact(value: Decimal | None) -> Fraction | None:
    return None if value is None else Fraction(value)


@given(USAGES, PRICES)
def test_cost_is_price_times_usage_exactly(usage: Usage, price: Price) -> None:
    """No rounding, no float, never negative; unknown if anything that counts is unknown."""
    found = compute_cost(usage, price)
    assert exact(found) == whole(usage, price)
    assert found is None or found >= 0


WIDE = Context(prec=100)
WRITTEN = st.builds(
    lambda digits, exponent: Decimal((0, digits, exponent)),
    st.lists(st.integers(0, 9), min_size=1, max_size=7).map(tuple),
    st.integers(-9, 2),
)
"""Rates with trailing zeros and with exponents."""


def in_turn(*parts: tuple[int, Decimal]) -> str:
    """Add products one by one, per million; return the sum as text."""
    total = Decimal(0)
    for tokens, rate in parts:
        total = WIDE.fma(tokens, rate, total) if tokens else total
    return str(WIDE.divide(total, 1_000_000))


@given(st.builds(Rates, input=WRITTEN, cache_read=WRITTEN, output=WRITTEN), COUNTS, COUNTS, COUNTS)
def test_a_sum_in_whole_numbers_is_written_as_one_of_decimals(
    rates: Rates, into: int, read: int, out: int
) -> None:
    """Digits and trailing zeros are the same for all forms of rates."""
    assert rates.input is not None
    assert rates.cache_read is not None
    assert rates.output is not None
    price = Price(rates=rates, version="v")
    used = [(into, rates.input), (read, rates.cache_read), (out, rates.output)]
    assert str(compute_cost(Usage(input=into, cache_read=read, output=out), price)) == in_turn(
        *used
    )
    # Decimal places of a rate of zero do not count in a bound.
    dearest = max(rates.input or Decimal(0), rates.cache_read or Decimal(0))
    bound = WIDE.fma(out, rates.output or Decimal(0), WIDE.multiply(into, dearest))
    assert str(compute_reservation(price, into, out)) == str(WIDE.divide(bound, 1_000_000))


def test_no_digit_is_lost_of_the_longest_numbers() -> None:
    """A rate of 18 digits, times a factor of 9 digits, times the highest token count."""
    rate, factor, tokens = Decimal("123456789.123456789"), Decimal("987.654321"), 2**40 - 1
    flat = Price(rates=scale_rates(Rates(input=rate, output=rate), factor), version="v")
    usage = Usage(input=tokens, output=tokens)
    spent = 2 * tokens * Fraction(rate) * Fraction(factor) / 1_000_000
    assert (
        exact(compute_cost(usage, flat))
        == exact(compute_reservation(flat, tokens, tokens))
        == spent
    )


@given(USAGES, RATES, RATES, RATES, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_long_prompt_is_priced_whole_at_its_step(
    usage: Usage, base: Rates, low: Rates, high: Rates, one: int, two: int
) -> None:
    """The last step below the prompt's length prices the whole request."""
    usage = msgspec.structs.replace(usage, service=None, tools={}, media={})
    first, second = sorted((one, two))
    price = Price(rates=base, steps=(PriceStep(first, low), PriceStep(second, high)), version="v")
    prompt = usage.prompt or 0
    rates = high if prompt > second else low if prompt > first else base
    assert exact(compute_cost(usage, price)) == plain(usage, rates)


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
def test_a_step_begins_one_token_above(usage: Usage, usd: str) -> None:
    """At 200,000 tokens the old price still holds; at 200,001 every token has the new one."""
    assert compute_cost(usage, LONG) == Decimal(usd)


@given(COUNTED, COUNTED, KNOWN)
def test_the_cost_of_parts_adds_up_to_the_cost_of_the_whole(
    one: Usage, other: Usage, rates: Rates
) -> None:
    """If no step lies between them, parts of an answer may be counted separately."""
    price = Price(rates=rates, version="v", tools={"web_search": Decimal("0.01")})
    one, other = (
        msgspec.structs.replace(
            item, service=None, tools={"web_search": item.tools.get("web_search", 0)}
        )
        for item in (one, other)
    )
    lives = {*one.cache_write, *other.cache_write}
    both = Usage(
        input=(one.input or 0) + (other.input or 0),
        cache_read=(one.cache_read or 0) + (other.cache_read or 0),
        cache_write={
            life: one.cache_write.get(life, 0) + other.cache_write.get(life, 0) for life in lives
        },
        output=(one.output or 0) + (other.output or 0),
        reasoning=(one.reasoning or 0) + (other.reasoning or 0),
        tools={"web_search": one.tools["web_search"] + other.tools["web_search"]},
    )
    parts = [compute_cost(item, price) for item in (one, other)]
    assert exact(compute_cost(both, price)) == sum(Fraction(part) for part in known(parts))


def known(values: Iterable[Decimal | None]) -> list[Decimal]:
    found = list(values)
    assert all(value is not None for value in found)
    return [value for value in found if value is not None]


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
def test_a_reserve_is_never_less_than_the_cost(
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
def test_a_reserve_is_for_the_dearest_way(
    price: Price, prompt: int, most: int | None, bound: str | None
) -> None:
    """The bound is unknown if a price it needs, or the length of the answer, is unknown."""
    assert compute_reservation(price, prompt, most) == (None if bound is None else Decimal(bound))


@pytest.mark.parametrize(
    ("usage", "price"),
    [
        (None, Price(rates=Rates(), version="v")),
        (Usage(input=1, output=1), None),
        (Usage(input=1), Price(rates=Rates(input=Decimal(1), output=Decimal(1)), version="v")),
        (Usage(output=1), Price(rates=Rates(input=Decimal(1), output=Decimal(1)), version="v")),
    ],
)
def test_unknown_is_never_free(usage: Usage | None, price: Price | None) -> None:
    """Without usage or without a price, the cost is unknown, and not zero."""
    assert compute_cost(usage, price) is None


def test_a_class_that_was_not_used_needs_no_price() -> None:
    price = Price(rates=Rates(input=Decimal("0.5"), output=Decimal(2)), version="v")
    assert compute_cost(Usage(input=1000, cache_read=0, output=10), price) == Decimal("0.00052")
    assert compute_cost(Usage(input=1000, cache_read=1, output=10), price) is None


def test_a_lifetime_without_tokens_needs_no_price() -> None:
    usage = Usage(input=0, cache_write={"5m": 0, "1h": 1_000_000}, output=0)
    price = Price(rates=Rates(input=Decimal(3), output=Decimal(15)), version="v")
    assert compute_cost(usage, price) == 3


def test_written_tokens_are_input_where_writing_has_no_price() -> None:
    """OpenAI and DeepSeek bill a cache miss as input."""
    price = Price(rates=Rates(input=Decimal(3), output=Decimal(15)), version="v")
    assert compute_cost(Usage(input=0, cache_write={"": 1_000_000}, output=0), price) == 3


def test_a_lifetime_has_its_own_price() -> None:
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


def test_a_service_tier_has_its_own_price_and_tools_are_billed_beside_it() -> None:
    """A tool costs the same in every service tier."""
    usage = Usage(input=1_000_000, output=100_000, tools={"web_search": 3})
    assert compute_cost(usage, PLAIN) == Decimal("3.03")
    assert compute_cost(msgspec.structs.replace(usage, service="flex"), PLAIN) == Decimal("1.53")
    assert PLAIN.find_service(None) is PLAIN
    flex = PLAIN.find_service("flex")
    assert flex is not None
    assert flex.version == "v, flex"


LACKING = [
    (Usage(input=1, output=1, service="priority"), PLAIN, "no price of service tier priority"),
    (Usage(input=1, output=1, tools={"x_search": 1}), PLAIN, "no price of x_search requests"),
    (Usage(input=1, output=1, tools={"x_search": 0}), PLAIN, None),
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


@pytest.mark.parametrize(("usage", "price", "why"), LACKING)
def test_what_price_is_lacking_is_said(
    usage: Usage | None, price: Price | None, why: str | None
) -> None:
    assert explain_unknown_cost(usage, price) == why


@given(COUNTED, MEDIA, st.none() | PRICES)
def test_a_cost_is_unknown_where_a_price_is_lacking_and_nowhere_else(
    counted: Usage, media: dict[str, int], price: Price | None
) -> None:
    usage = msgspec.structs.replace(counted, media=media)
    assert (compute_cost(usage, price) is None) == (explain_unknown_cost(usage, price) is not None)


def test_a_comparison_prices_tokens_elsewhere_and_leaves_tools_as_they_were() -> None:
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


def test_tokens_written_without_any_price_have_no_cost() -> None:
    """Cache writes have no price of their own here, nor one as input."""
    usage = Usage(input=0, output=1, cache_write={"5m": 5})
    assert compute_cost(usage, Price(rates=Rates(output=Decimal(1)), version="v")) is None


@given(FLAT, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_slope_is_the_reserve_in_whole_numbers(rates: Rates, prompt: int, most: int) -> None:
    """The two agree for every prompt and answer, to the millionth of a micro-dollar."""
    price = Price(rates=rates, version="v")
    found, bound = compute_token_slopes(price), compute_reservation(price, prompt, most)
    assert found is not None
    assert bound is not None
    assert Fraction(prompt * found[0] + most * found[1], 10**12) == Fraction(bound)


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
def test_what_is_no_slope_is_none(price: Price) -> None:
    """The price is unknown, too fine for a whole number, or depends on length or time."""
    assert compute_token_slopes(price) is None


def test_images_of_a_prompt_cost_as_its_text_and_audio_has_no_rate() -> None:
    """OpenAI, Anthropic and Google bill images at the text rate, and audio at 2 to 16 times it."""
    used = Usage(input=1_000_000, output=0, media={"input_image": 900_000})
    assert compute_cost(used, PLAIN) == Decimal(2)
    assert compute_cost(msgspec.structs.replace(used, media={"input_audio": 1}), PLAIN) is None
