"""Which price holds at a moment: dates, hours of the day and days of the week, all in UTC."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.price import LaterPrice, Price, PriceHours, PriceStep, compute_cost
from gateway.core.rates import Rates
from gateway.core.usage import Usage

WEEKDAYS = frozenset(range(5))
USAGE = Usage(input=1_000_000, output=1_000_000)


def flat(usd: int, version: str) -> Price:
    return Price(rates=Rates(input=Decimal(usd), output=Decimal(usd)), version=version)


def timestamp(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


PEAK = PriceHours(((3600, 4 * 3600), (6 * 3600, 10 * 3600)), WEEKDAYS, flat(2, "peak"))
CLOCK = Price(rates=Rates(input=Decimal(1), output=Decimal(1)), version="base", hours=(PEAK,))


@pytest.mark.parametrize(
    ("moment", "version"),
    [
        ("2026-11-24T00:59:59.999", "base"),  # a Tuesday
        ("2026-11-24T01:00", "peak"),
        ("2026-11-24T03:59:59.999", "peak"),
        ("2026-11-24T04:00", "base"),
        ("2026-11-24T06:00", "peak"),
        ("2026-11-24T10:00", "base"),
        ("2026-11-27T01:00", "peak"),  # Friday
        ("2026-11-28T01:00", "base"),  # Saturday
        ("2026-11-29T09:00", "base"),  # Sunday
        ("2026-11-30T09:00", "peak"),  # Monday
    ],
)
def test_price_hours_start_at_their_first_second_and_stop_before_their_last(
    moment: str, version: str
) -> None:
    """Two windows on weekdays, as DeepSeek bills them."""
    assert CLOCK.find_in_force(timestamp(moment)).version == version


@given(st.integers(0, 4_000_000_000))
def test_price_hours_follow_the_utc_calendar(second: int) -> None:
    moment = datetime.fromtimestamp(second, UTC)
    peak = moment.weekday() < 5 and (1 <= moment.hour < 4 or 6 <= moment.hour < 10)
    assert CLOCK.find_in_force(second).version == ("peak" if peak else "base")


def test_the_first_matching_price_hours_are_in_force() -> None:
    early = PriceHours(((0, 7200),), frozenset(range(7)), flat(3, "early"))
    price = Price(rates=Rates(), version="base", hours=(early, PEAK))
    assert price.find_in_force(timestamp("2026-11-24T01:30")).version == "early"
    assert price.find_in_force(timestamp("2026-11-24T02:30")).version == "peak"


def test_a_later_price_starts_at_its_first_second_and_the_last_one_holds() -> None:
    """Each price has its own version, hours and long-context steps."""
    first, second = timestamp("2026-12-01"), timestamp("2027-01-01")
    long = Price(
        rates=Rates(input=Decimal(4), output=Decimal(4)),
        steps=(PriceStep(10, Rates(input=Decimal(8), output=Decimal(8))),),
        version="december",
    )
    price = Price(
        rates=Rates(input=Decimal(1), output=Decimal(1)),
        version="base",
        hours=(PEAK,),
        later=(LaterPrice(first, long), LaterPrice(second, CLOCK)),
    )
    peak = timedelta(hours=2).total_seconds()  # 1 December is a Tuesday
    assert price.find_in_force(first - 1).version == "base"
    assert (
        price.find_in_force(first).version
        == price.find_in_force(first + peak).version
        == "december"
    )
    assert price.find_in_force(second - 0.001).version == "december"
    assert price.find_in_force(second).version == "base"
    assert price.find_in_force(second + peak).version == "peak"
    assert compute_cost(USAGE, price.find_in_force(first - 1)) == 2
    assert compute_cost(USAGE, price.find_in_force(first)) == 16


@given(st.floats(0, 4e9))
def test_a_price_without_later_prices_stays_in_force(moment: float) -> None:
    price = flat(1, "v")
    assert price.find_in_force(moment) is price


def test_a_service_tier_has_times_of_its_own() -> None:
    """One tier has hours, one a later price, one neither; the standard tier keeps its price."""
    start = timestamp("2026-12-01")
    price = Price(
        rates=Rates(input=Decimal(1), output=Decimal(1)),
        version="base",
        services={
            "hours": CLOCK,
            "later": Price(
                rates=Rates(), version="now", later=(LaterPrice(start, flat(5, "then")),)
            ),
            "neither": flat(7, "always"),
        },
    )
    before, after = price.find_in_force(start - 86_400), price.find_in_force(start + 3600)
    assert before.version == after.version == "base"
    assert {name: item.version for name, item in before.services.items()} == {
        "hours": "base", "later": "now", "neither": "always",
    }  # fmt: skip
    assert {name: item.version for name, item in after.services.items()} == {
        "hours": "peak", "later": "then", "neither": "always",
    }  # fmt: skip


def test_service_tiers_without_times_leave_a_price_as_it_is() -> None:
    price = msgspec.structs.replace(flat(1, "v"), services={"flex": flat(2, "flex")})
    assert price.find_in_force(0) is price
