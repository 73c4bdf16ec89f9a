"""Images, seconds, pages and other units beside tokens: their names, prices and bounds."""

from decimal import Decimal

import msgspec
import pytest

from gateway.core.price import (
    Price,
    PriceStep,
    compute_cost,
    compute_reservation,
    explain_unknown_cost,
)
from gateway.core.rates import Rates
from gateway.core.units import (
    find_greatest_unit_price,
    find_unit_price,
    find_unpriced_unit,
    format_unit,
    parse_quantity,
    sum_unit_costs,
)
from gateway.core.usage import Usage

IMAGES = {
    "image": Decimal("0.04"),
    "image 1024x1792": Decimal("0.08"),
    "image 1024x1792 hd": Decimal("0.12"),
    "page": Decimal("0.001"),
}
SPEECH = Price(rates=Rates(), version="v", units={"character": Decimal("0.000015")})
PICTURES = Price(
    rates=Rates(input=Decimal(5), output=Decimal(40)),
    version="v",
    units={"image": Decimal("0.01")},
    tools={"web_search": Decimal("0.5")},
    services={
        "batch": Price(
            rates=Rates(input=Decimal(2), output=Decimal(20)),
            version="v, batch",
            units={"image": Decimal("0.005")},
        ),
        "flex": Price(rates=Rates(), version="v, flex", units={"image": Decimal("0.02")}),
    },
)


@pytest.mark.parametrize(
    ("variants", "name"),
    [
        ((), "image"),
        (("1024x1792", "hd"), "image 1024x1792 hd"),
        (("1024x1024", "standard"), "image 1024x1024"),
        (("auto", ""), "image"),
        ((None, 7, " HD "), "image hd"),
        (("a b\n", "é"), "image a_b _"),
        (("x" * 100,), f"image {'x' * 74}"),
    ],
)
def test_a_unit_is_named_by_its_word_and_the_variants_that_are_not_standard(
    variants: tuple[object, ...], name: str
) -> None:
    assert format_unit("image", *variants) == name


@pytest.mark.parametrize(
    ("value", "quantity"),
    [
        (0, "0"), (7, "7"), (8.47, "8.47"), (1.5e-18, "2E-18"), (1e-300, "0E-18"), (Decimal("1.50"), "1.50"), (-1, None), (10**13, None), (True, None),
        ("7", None), (None, None), (float("inf"), None), (float("nan"), None), (10**12, "1000000000000"), (10**12 + 1, None),
        (Decimal("123456789012.12345678901234567849"), "123456789012.123456789012345678"),
    ],
)  # fmt: skip
def test_only_a_credible_number_is_a_quantity(value: object, quantity: str | None) -> None:
    parsed = parse_quantity(value)
    assert (None if parsed is None else str(parsed)) == quantity


@pytest.mark.parametrize(
    ("unit", "usd"),
    [
        ("image", "0.04"),
        ("image 1024x1792", "0.08"),
        ("image 1024x1792 hd", "0.12"),
        ("image 512x512", None),
        ("page", "0.001"),
        ("page large", "0.001"),
        ("page large colour", "0.001"),
        ("pages", None),
    ],
)
def test_a_variant_without_a_price_has_the_price_of_its_word_only_if_no_variant_has_one(
    unit: str, usd: str | None
) -> None:
    price = find_unit_price(IMAGES, unit)
    assert price == (None if usd is None else Decimal(usd))
    assert find_unpriced_unit({"page": Decimal(1), unit: Decimal(1)}, IMAGES) == (
        unit if usd is None else None
    )


def test_the_greatest_price_of_a_unit_is_that_of_the_dearest_that_an_answer_may_name() -> None:
    prices = {name: Decimal(usd) for name, usd in {"image": 4, "image hd": 8, "image 1k hd": 12, "page": 99}.items()}  # fmt: skip
    assert find_greatest_unit_price(prices, "image") == 12
    assert find_greatest_unit_price(prices, "image 1k") == 12
    assert find_greatest_unit_price(prices, "image 2k") is None
    assert find_greatest_unit_price({"image": Decimal(4)}, "image 2k") == 4
    assert find_greatest_unit_price({"image hd": Decimal(8)}, "image") == 8
    assert find_greatest_unit_price({"image hd 1k": Decimal(12)}, "image 1k hd") == 12
    assert find_greatest_unit_price({}, "image") is None


def test_units_cost_nothing_if_they_are_none_or_free() -> None:
    """A quantity of zero needs no price, and a price of zero no quantity."""
    prices = {"request": Decimal(0), "page": Decimal(2)}
    assert sum_unit_costs({"image": Decimal(0), "page": Decimal("1.5")}, prices) == 3
    assert find_unpriced_unit({"image": Decimal(0)}, prices) is None
    assert sum_unit_costs({"request": None}, prices) == 0
    assert sum_unit_costs({"page": None}, prices) is None
    assert sum_unit_costs({"image": Decimal(1)}, prices) is None


@pytest.mark.parametrize(
    ("usage", "price", "cost", "gap"),
    [
        # Units alone: nobody counted tokens, and the price has no rate of any.
        (Usage(units={"character": Decimal(1000)}), SPEECH, "0.015", None),
        (Usage(units={"character": Decimal(1000)}, service="flex"), SPEECH, None, "no price of service tier flex"),
        (Usage(units={"second": Decimal(9)}), SPEECH, None, "no price of second"),
        (Usage(units={"second": Decimal(9)}), None, None, "no price"),
        (Usage(), SPEECH, None, None),
        # Nobody counted tokens that cost something.
        (Usage(units={"image": Decimal(2)}), PICTURES, None, "no count of tokens"),
        (Usage(units={"image": Decimal(2)}, service="flex"), PICTURES, "0.04", None),
        (
            Usage(units={"image": Decimal(2)}, service="flex", tools={"web_search": 1}),
            PICTURES, "0.54", None,
        ),
        (Usage(units={"image": Decimal(2)}, service="flex", tools={"maps": 1}), PICTURES, None, "no price of maps requests"),
        # Tokens and units.
        (Usage(input=1000, output=100, units={"image": Decimal(2)}), PICTURES, "0.029", None),
        (Usage(input=0, output=0, units={"image": Decimal(2)}), PICTURES, "0.02", None),
        (Usage(input=1000, output=100, units={"image": Decimal(2)}, service="batch"), PICTURES, "0.014", None),
        (Usage(input=1000, output=100, units={"page": Decimal(2)}), PICTURES, None, "no price of page"),
        (
            Usage(input=1000, output=100, units={"image": Decimal(2)}, tools={"web_search": 1}),
            PICTURES, "0.529", None,
        ),
        (
            Usage(input=1000, output=100, units={"image": Decimal(2)}, tools={"maps": 1}),
            PICTURES, None, "no price of maps requests",
        ),
        (
            Usage(input=1000, output=100, units={"image": Decimal(2)}, media={"input_audio": 10}),
            PICTURES, None, "no price of input audio tokens",
        ),
        (Usage(input=9, output=0, units={"character": Decimal(1)}), SPEECH, None, "no price of input tokens"),
    ],
)  # fmt: skip
def test_an_answer_costs_its_tokens_and_its_units(
    usage: Usage, price: Price | None, cost: str | None, gap: str | None
) -> None:
    assert compute_cost(usage, price) == (None if cost is None else Decimal(cost))
    assert explain_unknown_cost(usage, price) == gap


def test_tokens_cost_something_if_only_long_prompts_have_a_rate() -> None:
    """So an answer whose tokens nobody counted has an unknown cost."""
    price = Price(
        rates=Rates(),
        steps=(PriceStep(1000, Rates(input=Decimal(1), output=Decimal(1))),),
        version="v",
        units={"image": Decimal(2)},
    )
    usage = Usage(units={"image": Decimal(3)})
    assert compute_cost(usage, price) is None
    assert compute_cost(usage, msgspec.structs.replace(price, steps=())) == 6


def test_media_and_units_of_one_answer_add_up() -> None:
    price = Price(
        rates=Rates(input=Decimal(1), output=Decimal(1), media={"audio": Rates(input=Decimal(9))}),
        version="v",
        units={"image": Decimal(2)},
    )
    usage = Usage(
        input=1_000_000, output=0, media={"input_audio": 1_000_000}, units={"image": Decimal(3)}
    )
    assert compute_cost(usage, price) == 15


def test_a_reservation_of_units_counts_media_and_the_dearest_variant() -> None:
    price = Price(
        rates=Rates(input=Decimal(1), output=Decimal(1), media={"audio": Rates(input=Decimal(9))}),
        version="v",
        units={"image": Decimal(2), "image hd": Decimal(4)},
    )
    units = {"image": Decimal(3)}
    assert compute_reservation(price, 1_000_000, 0, None, ("audio",), units) == 21
    assert compute_reservation(price, 1_000_000, 0, None, (), units) == 13


@pytest.mark.parametrize(
    ("price", "service", "tokens", "units", "bound"),
    [
        (SPEECH, None, None, {"character": Decimal(1000)}, "0.015"),
        (SPEECH, None, None, {"character": None}, None),
        (SPEECH, None, None, {"second": Decimal(9)}, None),
        (SPEECH, None, None, {}, None),
        (SPEECH, "flex", None, {"character": Decimal(1000)}, None),
        (PICTURES, None, 1000, {"image": Decimal(2)}, "0.065"),
        (PICTURES, None, None, {"image": Decimal(2)}, None),
        # The standard tier serves if the requested one is full, so the dearer counts.
        (PICTURES, "batch", 1000, {"image": Decimal(2)}, "0.065"),
        (PICTURES, "flex", 1000, {"image": Decimal(2)}, None),
    ],
)
def test_a_reservation_covers_the_units_that_a_call_may_use(
    price: Price,
    service: str | None,
    tokens: int | None,
    units: dict[str, Decimal | None],
    bound: str | None,
) -> None:
    reservation = compute_reservation(price, tokens, tokens, service, units=units)
    assert reservation == (None if bound is None else Decimal(bound))
