"""The value of a prompt cache: exact, or unknown if a price is."""

from decimal import Decimal

import pytest

from gateway.core.price import Price, PriceStep
from gateway.core.prompt_cache import (
    CachedTurn,
    compute_reread_cost,
    compute_warm_cost,
    count_cached_tokens,
    parse_lifetime,
)
from gateway.core.rates import Rates

D = Decimal
RATES = Rates(input=D(2), cache_read=D("0.2"), cache_write=D("2.5"), output=D(10))
ALONE = Rates(input=D(2), cache_read=D("0.2"), output=D(10))
TURN = CachedTurn(cached_tokens=20_000, fresh_tokens=1_000, output_tokens=500)


def price(rates: Rates, *steps: PriceStep) -> Price:
    return Price(rates=rates, steps=steps, version="v")


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (RATES, D("0.046")),  # 20k * (2.5 - 0.2)
        (ALONE, D("0.036")),  # writes are billed as input
        (Rates(cache_read=D(1)), None),
        (Rates(input=D(2)), None),
        (Rates(input=D(0)), D(0)),  # a price of zero stays zero
    ],
)
def test_losing_a_cache_costs_the_difference_to_writing_it_again(
    rates: Rates, expected: Decimal | None
) -> None:
    assert compute_reread_cost(TURN, price(rates)) == expected


def test_losing_an_empty_cache_costs_nothing() -> None:
    assert (
        compute_reread_cost(CachedTurn(cached_tokens=0, fresh_tokens=9, output_tokens=9), None) == 0
    )
    assert compute_reread_cost(TURN, None) is None


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (RATES, D("0.0115")),  # 20k * 0.2 + 1k * 2.5 + 500 * 10
        (ALONE, D("0.011")),
        (Rates(input=D(2), output=D(10)), None),
        (Rates(cache_read=D(1), output=D(10)), None),
        (Rates(cache_read=D(1), input=D(2)), None),
    ],
)
def test_a_call_with_a_warm_cache_reads_cached_tokens_and_writes_fresh_ones(
    rates: Rates, expected: Decimal | None
) -> None:
    assert compute_warm_cost(TURN, price(rates)) == expected


def test_a_call_without_tokens_needs_no_price() -> None:
    assert (
        compute_warm_cost(
            CachedTurn(cached_tokens=0, fresh_tokens=0, output_tokens=0), price(Rates())
        )
        == 0
    )
    assert compute_warm_cost(TURN, None) is None


def test_the_whole_prompt_decides_the_price_step() -> None:
    """The whole prompt counts, its cached and its fresh part."""
    stepped = price(ALONE, PriceStep(20_999, Rates(input=D(4), cache_read=D("0.4"), output=D(10))))
    assert compute_reread_cost(TURN, stepped) == D("0.072")
    assert compute_warm_cost(TURN, stepped) == D("0.017")
    assert compute_reread_cost(
        CachedTurn(cached_tokens=20_000, fresh_tokens=999, output_tokens=0), stepped
    ) == D("0.036")


@pytest.mark.parametrize(
    ("rates", "fresh", "read", "written", "expected"),
    [
        (RATES, 100, None, None, 0),  # it keeps what a client marks: here nothing
        (RATES, 5_000, 300, 700, 1_000),
        (RATES, 5_000, 300, None, 300),
        (ALONE, 5_000, None, None, 5_000),  # it keeps all prompts by itself
        (ALONE, 500, 4_000, None, 4_500),
        (ALONE, 1_024, None, None, 1_024),
        (ALONE, 1_023, None, None, 0),  # but no short ones
        (ALONE, None, None, None, 0),
        (Rates(input=D(2), cache_read=D(1), cache_write_by={"1h": D(4)}), 5_000, None, None, 0),
        (Rates(input=D(2)), 5_000, None, None, 0),
    ],
)
def test_the_cached_tokens_depend_on_how_the_provider_caches(
    rates: Rates, fresh: int | None, read: int | None, written: int | None, expected: int
) -> None:
    assert count_cached_tokens(price(rates), fresh, read, written) == expected


def test_the_reported_cache_reads_count_if_the_price_is_unknown() -> None:
    assert count_cached_tokens(None, 5_000, 300, None) == 300


@pytest.mark.parametrize(
    ("word", "expected"),
    [("5m", 300), ("1h", 3_600), ("30s", 30), ("2d", 172_800), ("", None), ("m", None)],
)
def test_a_cache_lifetime_is_read_in_seconds(word: str, expected: float | None) -> None:
    assert parse_lifetime(word) == expected


@pytest.mark.parametrize("word", ["5", "x5m", "-1h", "1.5h", "٣m"])
def test_a_malformed_cache_lifetime_is_unknown(word: str) -> None:
    assert parse_lifetime(word) is None


def model(read: str, write: str, output: str, step: tuple[int, int] | None = None) -> Price:
    """Make a price in USD per million tokens; beyond a step each rate is so many times as high."""
    rates = Rates(cache_read=D(read), cache_write=D(write), output=D(output))
    if step is None:
        return price(rates)
    above, by = step
    more = Rates(cache_read=D(read) * by, cache_write=D(write) * by, output=D(output) * by)
    return price(rates, PriceStep(above, more))


OPUS, SONNET = model("0.2", "5", "20"), model("0.1", "2.5", "10")
HAIKU, FABLE = model("0.01", "0.125", "0.5", (100_000, 5)), model("0.2", "10", "40")
ASTRA, SOL, LUNA = model("0.4", "10", "40"), SONNET, model("0.01", "0.125", "0.5")
ARGON, HYDROGEN = model("0.1", "2", "10"), model("0.075", "1.5", "7.5")


@pytest.mark.parametrize(
    ("current", "candidate", "expected"),
    [
        (OPUS, HAIKU, ("0.1", "0.2", "1.9")),
        (SONNET, HAIKU, ("0.2", "0.4", "5.1")),
        (OPUS, SONNET, ("3.3", "7.8", "13.1")),
        (FABLE, OPUS, ("3.8", "11.5", "28.8")),
        (SONNET, OPUS, (None, None, None)),
        (ASTRA, SOL, ("1.1", "2.6", "4.4")),
        (SOL, LUNA, ("0.2", "0.4", "0.7")),
        (ARGON, HYDROGEN, ("8.1", "19.0", "31.7")),
    ],
)
def test_a_move_to_a_cheaper_model_pays_after_this_many_calls(
    current: Price, candidate: Price, expected: tuple[str | None, ...]
) -> None:
    """Prices of November 2026, for 20,000, 60,000 and 150,000 cached tokens, 1,000 in and out."""
    for tokens, calls in zip((20_000, 60_000, 150_000), expected, strict=True):
        turn = CachedTurn(cached_tokens=tokens, fresh_tokens=1_000, output_tokens=1_000)
        stays, goes, move_cost = (
            compute_warm_cost(turn, current),
            compute_warm_cost(turn, candidate),
            compute_reread_cost(turn, candidate),
        )
        assert stays is not None
        assert goes is not None
        assert move_cost is not None
        saving = stays - goes
        call_count = (move_cost / saving).quantize(D("0.1")) if saving > 0 else None
        assert call_count == (None if calls is None else D(calls))
