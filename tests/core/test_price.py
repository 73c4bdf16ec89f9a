"""Price times usage, to the last digit."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.price import Price, Rates, Step, cost
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
USAGES = st.builds(
    Usage,
    input=st.none() | COUNTS,
    cache_read=st.none() | COUNTS,
    cache_write=st.dictionaries(st.sampled_from(["", "5m", "1h"]), COUNTS),
    output=st.none() | COUNTS,
    reasoning=st.none() | COUNTS,
)


def plain(usage: Usage, rates: Rates) -> Fraction | None:
    """The same sum in fractions, one line a class; None where a price that is needed is unknown."""
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


@given(USAGES, RATES)
def test_cost_is_price_times_usage_exactly(usage: Usage, rates: Rates) -> None:
    """No rounding, no float, never negative; unknown where anything that counts is unknown."""
    found = cost(usage, Price(rates=rates, version="v"))
    expected = plain(usage, rates)
    assert (None if found is None else Fraction(found)) == expected
    assert found is None or found >= 0


@given(USAGES, RATES, RATES, RATES, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_long_prompt_is_priced_whole_at_its_step(
    usage: Usage, base: Rates, low: Rates, high: Rates, one: int, two: int
) -> None:
    """The last step that the prompt is longer than holds for all of the request."""
    first, second = sorted((one, two))
    price = Price(rates=base, steps=(Step(first, low), Step(second, high)), version="v")
    prompt = usage.prompt or 0
    rates = high if prompt > second else low if prompt > first else base
    found = cost(usage, price)
    assert (None if found is None else Fraction(found)) == plain(usage, rates)


def test_a_step_begins_one_token_above() -> None:
    """At 272,000 tokens the old price still holds."""
    base, dear = Rates(input=Decimal(1)), Rates(input=Decimal(2))
    price = Price(rates=base, steps=(Step(272_000, dear),), version="v")
    assert price.at(272_000) is base
    assert price.at(272_001) is dear


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
    """Without usage, or without a price, there is no cost: not even zero."""
    assert cost(usage, price) is None


def test_a_class_that_was_not_used_needs_no_price() -> None:
    price = Price(rates=Rates(input=Decimal("0.5"), output=Decimal(2)), version="v")
    assert cost(Usage(input=1000, cache_read=0, output=10), price) == Decimal("0.00052")
    assert cost(Usage(input=1000, cache_read=1, output=10), price) is None


def test_written_tokens_are_input_where_writing_has_no_price() -> None:
    """OpenAI, DeepSeek: a cache miss is billed as input."""
    price = Price(rates=Rates(input=Decimal(3), output=Decimal(15)), version="v")
    assert cost(Usage(input=0, cache_write={"": 1_000_000}, output=0), price) == 3


def test_a_lifetime_has_its_own_price() -> None:
    """Anthropic: an hour costs more than five minutes."""
    by = {"5m": Decimal("3.75"), "1h": Decimal(6)}
    rates = Rates(
        input=Decimal(3), cache_write=Decimal("3.75"), cache_write_by=by, output=Decimal(15)
    )
    usage = Usage(input=0, cache_write={"5m": 1_000_000, "1h": 1_000_000}, output=0)
    assert cost(usage, Price(rates=rates, version="v")) == Decimal("9.75")
