"""Repricing a row: the gateway repairs a missing price, and otherwise keeps the row."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ledger_rows import FinalRow, RepriceRow
from gateway.core.price import (
    LaterPrice,
    Price,
    PriceHours,
    PriceStep,
    compute_baseline_cost,
    compute_cost,
)
from gateway.core.rates import Rates
from gateway.core.usage import Usage
from gateway.ledger.reprice import price_again, read_usage
from tests.core.test_price import FULL, PRICES, USAGES
from tests.ledger import rows
from tests.ledger.rows import attempt

PRICE = Price(
    rates=Rates(
        input=Decimal(2),
        cache_read=Decimal("0.2"),
        cache_write_by={"1h": Decimal(4)},
        output=Decimal(10),
    ),
    steps=(PriceStep(1_000_000, Rates(input=Decimal(4), output=Decimal(15))),),
    version="new",
    services={"flex": Price(rates=Rates(input=Decimal(1), output=Decimal(5)), version="new, flex")},
    tools={"web_search": Decimal("0.01")},
)
SPEECH = Price(rates=Rates(), version="new", units={"character": Decimal("0.00002")})
OTHER = Price(rates=Rates(input=Decimal(20), output=Decimal(100)), version="other")
NOW = 1_793_900_000.0


def unpriced(**changes: Any) -> FinalRow:
    """Make a row of 100,000 tokens in and 10,000 out, without a price."""
    plain = {"input": 100_000, "output": 10_000, "cost": None, "wasted": Decimal(0), "price": None}
    return rows.entry(**{"usage": "provider", **plain, **changes})


def test_a_row_without_a_price_gets_one() -> None:
    assert price_again(unpriced(), PRICE, OTHER, NOW) == RepriceRow(
        id="call-1",
        at=NOW,
        cost=Decimal("0.3"),
        estimate=Decimal(0),
        baseline=Decimal(3),
        price="new",
    )


REPAIRED: list[tuple[dict[str, Any], str, str | None, str]] = [
    ({"cache_read": 1_000_000, "input": 0, "output": 0}, "0.2", "0", "new"),
    ({"cache_write": 100_000, "cache_write_by": {"1h": 100_000}}, "0.7", "0", "new"),
    # a row of version 1 has no lifetimes: this price bills such tokens as input
    ({"cache_write": 100_000}, "0.5", "0", "new"),
    ({"reasoning": 10_000}, "0.4", "0", "new"),
    ({"input": 2_000_000}, "8.15", "0", "new"),
    ({"service": "flex"}, "0.15", "0", "new, flex"),
    ({"tools": {"web_search": 2}}, "0.32", "0", "new"),
    # failed attempts keep their cost, and the part of it that was estimated
    ({"wasted": Decimal("0.05")}, "0.35", "0", "new"),
    ({"wasted": None}, "0.3", "0", "new"),
    ({"usage": "estimate", "state": "estimated"}, "0.3", "0.3", "new"),
    ({"usage": "partial", "state": "aborted", "status": 499}, "0.3", "0.1", "new"),
    # a wrong price is mended; the estimate of a failed attempt stays
    (
        {"cost": Decimal("30.05"), "wasted": Decimal("0.05"), "estimate": Decimal("0.05")},
        "0.35", "0.05", "new",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "usd", "estimate", "version"), REPAIRED)
def test_every_class_of_tokens_and_tools_is_priced(
    changes: dict[str, Any], usd: str, estimate: str | None, version: str
) -> None:
    repriced = price_again(unpriced(**changes), PRICE, None, NOW)
    assert repriced is not None
    assert (repriced.cost, repriced.price) == (Decimal(usd), version)
    assert repriced.estimate == (None if estimate is None else Decimal(estimate))


UNCHANGED: list[tuple[dict[str, Any], Price | None]] = [
    ({}, None),
    ({"input": None}, PRICE),
    ({"output": None, "state": "aborted"}, PRICE),
    ({"service": "priority"}, PRICE),
    ({"tools": {"x_search": 1}}, PRICE),
    # a known cost never becomes unknown
    ({"cost": Decimal(1)}, None),
    ({"cost": Decimal(1), "service": "priority"}, PRICE),
    # the row does not say which part of its cost a failed attempt has
    ({"cost": Decimal(1), "wasted": None, "attempts": 2}, PRICE),
    ({"state": "failed"}, PRICE),
    ({"state": "refused"}, PRICE),
    ({"state": "unknown_crash", "status": None}, PRICE),
    ({"state": "cache_hit", "cache": "hit", "cost": Decimal(0)}, PRICE),
]


@pytest.mark.parametrize(("changes", "price"), UNCHANGED)
def test_a_row_that_stays_unknown_or_free_is_not_repriced(
    changes: dict[str, Any], price: Price | None
) -> None:
    assert price_again(unpriced(**changes), price, None, NOW) is None


EARLIER: list[tuple[dict[str, Any], list[Any], str, str]] = [
    # an attempt of unknown cost adds nothing; the known costs of the others count
    ({"wasted": None}, ["0.05", None], "0.35", "0"),
    ({"wasted": None, "cost": Decimal(7)}, ["0.05", None], "0.35", "0"),
    ({"wasted": Decimal("0.07")}, ["0.05", "0.02"], "0.37", "0"),
    ({"usage": "estimate", "wasted": Decimal("0.07")}, ["0.05", "0.02"], "0.37", "0.3"),
    # if the attempts do not add up to the row, the row is right
    ({"wasted": Decimal("0.09")}, ["0.05", "0.02"], "0.39", "0"),
    # some attempts are lost
    ({"wasted": Decimal("0.07")}, ["0.05"], "0.37", "0"),
    ({"wasted": None}, ["0.05"], "0.3", "0"),
]


@pytest.mark.parametrize(("changes", "costs", "usd", "estimate"), EARLIER)
def test_the_cost_of_earlier_attempts_is_part_of_the_cost(
    changes: dict[str, Any], costs: list[Any], usd: str, estimate: str
) -> None:
    """The row itself cannot tell the cost if another attempt's cost is unknown."""
    earlier = [attempt(cost=None if cost is None else Decimal(cost)) for cost in costs]
    entry = unpriced(attempts=3, **changes)
    repriced = price_again(entry, PRICE, None, NOW, attempts=earlier)
    assert repriced is not None
    assert (repriced.cost, repriced.estimate) == (Decimal(usd), Decimal(estimate))


def test_estimates_of_earlier_attempts_stay_estimates() -> None:
    """A row without a cost has no estimate, so the attempts' own count."""
    earlier = [attempt(cost=Decimal("0.05"), estimate=Decimal("0.01"))]
    for usage, estimate in (("provider", "0.01"), ("estimate", "0.31")):
        entry = unpriced(attempts=2, wasted=Decimal("0.05"), usage=usage)
        repriced = price_again(entry, PRICE, None, NOW, attempts=earlier)
        assert repriced is not None
        assert (repriced.cost, repriced.estimate) == (Decimal("0.35"), Decimal(estimate))


def test_a_failed_call_gets_a_baseline_of_zero() -> None:
    """Once a baseline is declared, the cost of the failed call reduces the savings."""
    failed = unpriced(state="failed", cost=Decimal("0.05"), wasted=Decimal("0.05"), price="old")
    repriced = price_again(failed, PRICE, OTHER, NOW)
    assert repriced == RepriceRow(
        id="call-1", at=NOW, cost=Decimal("0.05"), baseline=Decimal(0), price="old"
    )
    for stays in ({"cost": None}, {"baseline": Decimal(0)}):
        assert price_again(msgspec.structs.replace(failed, **stays), PRICE, OTHER, NOW) is None


def test_a_cache_hit_gets_its_missing_baseline_and_stays_free() -> None:
    hit = unpriced(state="cache_hit", cache="hit", cost=Decimal(0), usage="recording")
    repriced = price_again(hit, PRICE, OTHER, NOW)
    assert repriced is not None
    assert (repriced.cost, repriced.baseline, repriced.price) == (Decimal(0), Decimal(3), None)


def test_a_row_of_unknown_cost_may_get_a_baseline() -> None:
    repriced = price_again(unpriced(), None, OTHER, NOW)
    assert repriced is not None
    assert (repriced.cost, repriced.estimate, repriced.baseline) == (None, None, Decimal(3))


@pytest.mark.parametrize(("source", "estimate"), [("provider", "0"), ("partial", "0.01")])
def test_units_of_a_row_without_tokens_get_a_price(source: str, estimate: str) -> None:
    row = unpriced(input=None, output=None, usage=source, units={"character": Decimal(500)})
    assert price_again(row, SPEECH, None, NOW) == RepriceRow(
        id="call-1", at=NOW, cost=Decimal("0.01"), estimate=Decimal(estimate), price="new"
    )
    assert price_again(row, PRICE, None, NOW) is None


def test_the_price_at_the_time_of_the_call_counts() -> None:
    """Neither today's price nor that of another hour counts."""
    dear = Price(rates=Rates(input=Decimal(200), output=Decimal(0)), version="dear")
    night = Price(rates=Rates(input=Decimal(5), output=Decimal(0)), version="night")
    at = rows.entry().at
    later = msgspec.structs.replace(PRICE, later=(LaterPrice(at + 1, dear),))
    hours = msgspec.structs.replace(
        PRICE, hours=(PriceHours(((0, 86_400),), frozenset(range(7)), night),)
    )
    for price, usd in ((later, "0.3"), (hours, "0.5")):
        repriced = price_again(unpriced(), price, price, NOW)
        assert repriced is not None
        assert repriced.cost == repriced.baseline == Decimal(usd)
    past = msgspec.structs.replace(PRICE, later=(LaterPrice(at, dear),))
    repriced = price_again(unpriced(), past, None, NOW)
    assert repriced is not None
    assert (repriced.cost, repriced.price) == (Decimal(20), "dear")


def priced(usage: Usage, price: Price, other: Price, wasted: Decimal | None) -> FinalRow:
    """Make the row of an answer, as the gateway writes it when the call ends."""
    answer = compute_cost(usage, price)
    served = price.find_service(usage.service)
    return rows.entry(
        state="settled",
        usage="provider",
        input=usage.input,
        cache_read=usage.cache_read,
        cache_write=sum(usage.cache_write.values()) if usage.cache_write else None,
        cache_write_by=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
        tools=usage.tools,
        media=usage.media,
        service=usage.service,
        cost=None if answer is None else answer + (wasted or 0),
        wasted=wasted,
        baseline=compute_baseline_cost(usage, other, price),
        price=served.version if served is not None else None,
    )


@given(USAGES, PRICES, PRICES, st.none() | st.decimals(0, 10, places=6))
def test_repricing_with_the_same_price_changes_nothing(
    usage: Usage, price: Price, other: Price, wasted: Decimal | None
) -> None:
    assert price_again(priced(usage, price, other, wasted), price, other, NOW) is None


@given(USAGES, PRICES, FULL, FULL, st.decimals(0, 10, places=6))
def test_a_repriced_row_equals_one_priced_so_at_first(
    usage: Usage, price: Price, new: Price, other: Price, wasted: Decimal
) -> None:
    """Earlier prices do not matter; a value that the new price cannot give stays."""
    before = priced(usage, price, other, wasted)
    after = priced(usage, new, other, wasted)
    repriced = price_again(before, new, other, NOW)
    cost_now = repriced.cost if repriced is not None else before.cost
    baseline = repriced.baseline if repriced is not None else before.baseline
    assert cost_now == (before.cost if after.cost is None else after.cost)
    assert baseline == (before.baseline if after.baseline is None else after.baseline)


def test_a_stated_bill_stays_the_cost_and_only_the_sum_beside_it_changes() -> None:
    billed = unpriced(cost=Decimal("0.9"), billed=Decimal("0.9"), price="provider")
    repriced = price_again(billed, PRICE, OTHER, NOW)
    assert repriced is not None
    assert (repriced.cost, repriced.price) == (Decimal("0.9"), "provider")
    assert repriced.computed_cost == Decimal("0.3")
    assert repriced.baseline == compute_cost(read_usage(billed), OTHER)
    assert price_again(billed, None, None, NOW) is None


def test_a_bill_counts_as_the_baseline_of_its_own_target() -> None:
    billed = unpriced(cost=Decimal("0.9"), billed=Decimal("0.9"), price="provider")
    repriced = price_again(billed, PRICE, PRICE, NOW)
    assert repriced is not None
    assert repriced.baseline == repriced.cost == Decimal("0.9")


def test_tokens_that_are_not_text_stay_without_a_cost() -> None:
    """Text rates never apply to them; images in a prompt are billed as text."""
    assert price_again(unpriced(media={"input_audio": 7}), PRICE, OTHER, NOW) is None
    repriced = price_again(unpriced(media={"input_image": 7}), PRICE, OTHER, NOW)
    assert repriced is not None
    assert repriced.cost == Decimal("0.3")
