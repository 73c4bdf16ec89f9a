"""A price as the operator writes it, and the price that calls have."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.price import Price, PriceStep, list_prompt_classes
from gateway.core.rates import Rates
from gateway.core.target import ModelFacts
from tests.settings import world

PRICE_TEXT = """\
    price:
      input: 1
      output: 2
      as_of: 2026-11-24
      above: [{tokens: 200, input: 3, output: 4}]
      hours:
      - {utc: "22:00-24:00", input: 5, output: 6, above: [{tokens: 100, input: 7, output: 8}]}
      - {utc: ["01:00-04:00", "06:30-10:00"], days: [mon, fri], input: 9, output: 10}
      from:
        2027-01-01: {}
        2026-12-01: {input: 11, output: 12, hours: [{utc: "00:00-24:00", days: sun, input: 13}]}
"""


def price(folder: Path, written: str = PRICE_TEXT) -> Price:
    text = world.BASE.replace("  large: {price: {input: 3, output: 4}}", f"  large:\n{written}")
    configured = world.built(folder, text).catalogue.labs["acme"].tiers["smart"][0].price
    assert configured is not None
    return configured


@pytest.mark.parametrize(
    ("moment", "rates", "version"),
    [
        ("2026-11-24T12:00", (1, 2), "config 2026-11-24"),
        ("2026-11-24T22:00", (5, 6), "config 2026-11-24 at 22:00-24:00"),
        ("2026-11-24T23:59:59", (5, 6), "config 2026-11-24 at 22:00-24:00"),
        ("2026-11-24T02:00", (1, 2), "config 2026-11-24"),  # a Tuesday
        ("2026-11-23T02:00", (9, 10), "config 2026-11-24 at 01:00-04:00 06:30-10:00"),
        ("2026-11-27T06:30", (9, 10), "config 2026-11-24 at 01:00-04:00 06:30-10:00"),
        ("2026-11-27T06:29", (1, 2), "config 2026-11-24"),
        ("2026-12-01T00:00", (11, 12), "config 2026-11-24 from 2026-12-01"),
        ("2026-12-01T22:00", (11, 12), "config 2026-11-24 from 2026-12-01"),
        ("2026-12-06T00:00", (13, None), "config 2026-11-24 from 2026-12-01 at 00:00-24:00"),
        ("2026-12-31T23:59:59", (11, 12), "config 2026-11-24 from 2026-12-01"),
        ("2027-01-01T00:00", (None, None), "config 2026-11-24 from 2027-01-01"),
    ],
)
def test_the_price_at_a_time_has_its_own_rates_and_version(
    tmp_path: Path, moment: str, rates: tuple[int | None, ...], version: str
) -> None:
    in_force = price(tmp_path).find_in_force(
        datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    )
    assert in_force.version == version
    assert (in_force.rates.input, in_force.rates.output) == rates


def test_a_day_begins_at_midnight_in_utc_wherever_the_gateway_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = [item.start for item in price(tmp_path).later]
    assert starts == [datetime(2026, 12, 1, tzinfo=UTC).timestamp(), 1_798_761_600]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert [item.start for item in price(tmp_path).later] == starts
    finally:
        monkeypatch.undo()
        time.tzset()


def test_each_price_in_time_has_its_own_steps_for_long_prompts(tmp_path: Path) -> None:
    configured = price(tmp_path)
    assert configured.steps == (PriceStep(200, Rates(input=Decimal(3), output=Decimal(4))),)
    assert configured.hours[0].price.steps == (
        PriceStep(100, Rates(input=Decimal(7), output=Decimal(8))),
    )
    assert [step.price.steps for step in configured.later] == [(), ()]


def test_steps_are_in_order_however_they_are_written(tmp_path: Path) -> None:
    written = """\
    price:
      input: 1
      output: 2
      above: [{tokens: 200, input: 5, output: 6}, {tokens: 100, input: 3, output: 4}]
"""
    configured = price(tmp_path, written)
    assert [step.above for step in configured.steps] == [100, 200]
    assert [configured.find_rates(tokens).input for tokens in (100, 101, 201)] == [1, 3, 5]


def test_each_rate_of_text_and_of_a_modality_is_the_one_that_is_written(tmp_path: Path) -> None:
    written = """\
    price:
      input: 1
      cache_read: 2
      cache_write: 3
      output: 4
      reasoning: 5
      audio: {input: 6, cache_read: 7, cache_write: 8, output: 9}
"""
    audio = Rates(
        input=Decimal(6), cache_read=Decimal(7), cache_write=Decimal(8), output=Decimal(9)
    )
    assert price(tmp_path, written).rates == Rates(
        input=Decimal(1),
        cache_read=Decimal(2),
        cache_write=Decimal(3),
        output=Decimal(4),
        reasoning=Decimal(5),
        media={"audio": audio},
    )


def test_a_price_without_steps_applies_at_all_times(tmp_path: Path) -> None:
    configured = price(tmp_path, "    price: {input: 1, cache_read: 0.5, output: 2}\n")
    rates = Rates(input=Decimal(1), cache_read=Decimal("0.5"), output=Decimal(2))
    assert configured == Price(rates=rates, version="config")
    assert configured.find_in_force(0) is configured


@pytest.mark.parametrize(
    ("style", "facts"),
    [
        ("reasoning_effort", ModelFacts(effort_style="reasoning_effort")),
        ("{openai-chat: thinking}", ModelFacts(effort_styles={"openai-chat": "thinking"})),
        (
            "{openai-chat: thinking, anthropic-messages: anthropic}",
            ModelFacts(
                effort_styles={"openai-chat": "thinking", "anthropic-messages": "anthropic"}
            ),
        ),
    ],
)
def test_effort_has_one_style_or_one_for_each_dialect(
    tmp_path: Path, style: str, facts: ModelFacts
) -> None:
    """A model that is like another has the same style."""
    text = world.BASE.replace(
        "style: reasoning_effort, accepts: [none, low, high]", f"style: {style}"
    )
    text = text.replace("large: {", "large: {like: small, ")
    tiers = world.built(tmp_path, text).catalogue.labs["acme"].tiers
    assert [tiers[tier][0].facts for tier in ("fast", "smart")] == [facts, facts]


SERVICES = """\
    price:
      input: 1
      cache_write_by: {1h: 3}
      output: 2
      as_of: 2026-11-24
      above: [{tokens: 200, input: 3, output: 4}]
      hours: [{utc: "22:00-24:00", input: 5, output: 6}]
      tools: {web_search: 0.01, file_search: 0.0025}
      services:
        flex: {factor: 0.5}
        ultra: {factor: 3, from: {2026-12-15: 6}}
        own: {input: 7, output: 8, above: [{tokens: 100, input: 9, output: 10}],
              hours: [{utc: "01:00-04:00", input: 11, output: 12}]}
      from:
        2026-12-01: {input: 10, output: 20, tools: {web_search: 0.02}, services: {flex: {factor: 0.6}}}
        2027-01-01: {}
"""


@pytest.mark.parametrize(
    ("moment", "word", "rates", "version"),
    [
        ("2026-11-24T12:00", "flex", ("0.5", "1"), "config 2026-11-24, flex"),
        ("2026-11-24T22:30", "flex", ("2.5", "3"), "config 2026-11-24 at 22:00-24:00, flex"),
        ("2026-11-24T12:00", "ultra", ("3", "6"), "config 2026-11-24, ultra"),
        ("2026-12-01T00:00", "flex", ("6", "12"), "config 2026-11-24 from 2026-12-01, flex"),
        ("2026-12-14T23:59", "ultra", ("30", "60"), "config 2026-11-24 from 2026-12-01, ultra"),
        (
            "2026-12-15T00:00",
            "ultra",
            ("60", "120"),
            "config 2026-11-24 from 2026-12-01, ultra from 2026-12-15",
        ),
        # a service with rates of its own has hours and steps of its own, and no others
        ("2026-11-24T12:00", "own", ("7", "8"), "config 2026-11-24, own"),
        ("2026-11-24T22:30", "own", ("7", "8"), "config 2026-11-24 at 22:00-24:00, own"),
        ("2026-11-24T01:30", "own", ("11", "12"), "config 2026-11-24, own at 01:00-04:00"),
        ("2026-12-01T12:00", "own", ("7", "8"), "config 2026-11-24 from 2026-12-01, own"),
        # a factor of a price that is not known yet is not known either
        ("2027-01-01T00:00", "flex", (None, None), "config 2026-11-24 from 2027-01-01, flex"),
    ],
)
def test_a_service_tier_has_its_price_at_each_time(
    tmp_path: Path, moment: str, word: str, rates: tuple[str | None, ...], version: str
) -> None:
    """The price follows the standard price in force at that hour and on that day."""
    at = price(tmp_path, SERVICES).find_in_force(
        datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    )
    service = at.find_service(word)
    assert service is not None
    assert service.version == version
    assert (service.rates.input, service.rates.output) == tuple(
        None if text is None else Decimal(text) for text in rates
    )


def test_a_factor_applies_to_every_rate_and_step(tmp_path: Path) -> None:
    configured = price(tmp_path, SERVICES)
    assert configured.services["flex"].rates == Rates(
        input=Decimal("0.5"), cache_write_by={"1h": Decimal("1.5")}, output=Decimal(1)
    )
    assert configured.services["flex"].steps == (
        PriceStep(200, Rates(input=Decimal("1.5"), output=Decimal(2))),
    )
    assert configured.services["own"].steps == (
        PriceStep(100, Rates(input=Decimal(9), output=Decimal(10))),
    )


@pytest.mark.parametrize(
    ("moment", "web", "files"),
    [
        ("2026-11-24T12:00", "0.01", "0.0025"),
        ("2026-11-24T22:30", "0.01", "0.0025"),
        ("2026-12-01T00:00", "0.02", "0.0025"),
        ("2027-01-01T00:00", "0.02", "0.0025"),
    ],
)
def test_tool_prices_continue_through_hours_and_days(
    tmp_path: Path, moment: str, web: str, files: str
) -> None:
    at = price(tmp_path, SERVICES).find_in_force(
        datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    )
    assert at.tools == {"web_search": Decimal(web), "file_search": Decimal(files)}


UNITS = """\
    price:
      units: {image: 0.04, image 1024x1792 hd: 0.12}
      hours: [{utc: "22:00-24:00"}]
      services:
        flex: {factor: 0.5}
        own: {units: {image: 0.03}, hours: [{utc: "01:00-04:00"}]}
      from: {2026-12-01: {units: {image: 0.05}}}
"""


@pytest.mark.parametrize(
    ("moment", "service", "units"),
    [
        ("2026-11-24T12:00", None, {"image": "0.04", "image 1024x1792 hd": "0.12"}),
        ("2026-11-24T22:30", None, {"image": "0.04", "image 1024x1792 hd": "0.12"}),
        ("2026-12-01T00:00", None, {"image": "0.05", "image 1024x1792 hd": "0.12"}),
        ("2026-11-24T12:00", "flex", {"image": "0.02", "image 1024x1792 hd": "0.06"}),
        ("2026-12-01T00:00", "flex", {"image": "0.025", "image 1024x1792 hd": "0.06"}),
        ("2026-11-24T12:00", "own", {"image": "0.03"}),
        ("2026-11-24T01:30", "own", {"image": "0.03"}),
    ],
)
def test_units_have_a_price_at_each_time_and_in_each_service_tier(
    tmp_path: Path, moment: str, service: str | None, units: dict[str, str]
) -> None:
    at = price(tmp_path, UNITS).find_in_force(
        datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    )
    service_price = at.find_service(service)
    assert service_price is not None
    assert service_price.units == {name: Decimal(usd) for name, usd in units.items()}


def test_a_unit_that_no_call_can_have_is_an_error(tmp_path: Path) -> None:
    text = world.BASE.replace("input: 3, output: 4", "units: {Image: 0.04}")
    assert world.mistakes(tmp_path, text) == [
        (
            "c.yaml:15: error: models.large.price.units.Image: must be a unit, as image, second or "
            "image 1024x1792 hd."
        )
    ]


AS_TEXT = """\
    price:
      input: 1
      output: 2
      hours: [{utc: "22:00-24:00", input: 5, output: 6}]
      from: {2026-12-01: {input: 11, output: 12}}
"""


@pytest.mark.parametrize(
    ("line", "modalities"),
    [
        ("", {"image"}),
        ("      as_text: []\n", set()),
        ("      as_text: video\n", {"video"}),
        ("      as_text: [image, audio]\n", {"image", "audio"}),
    ],
)
def test_tokens_billed_as_text_are_so_at_all_times(
    tmp_path: Path, line: str, modalities: set[str]
) -> None:
    """Images of a prompt are billed as text if the operator writes nothing else."""
    configured = price(tmp_path, AS_TEXT + line)
    moments = ["2026-11-24T12:00", "2026-11-24T22:00", "2026-12-01T00:00"]
    for moment in moments:
        at = configured.find_in_force(
            datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
        )
        assert at.as_text == list_prompt_classes(modalities)


@pytest.mark.parametrize(
    ("rates", "is_text"), [("input: 9", False), ("cache_read: 9", False), ("output: 9", True)]
)
def test_a_modality_with_a_rate_of_its_own_for_prompts_is_not_billed_as_text(
    tmp_path: Path, rates: str, is_text: bool
) -> None:
    configured = price(tmp_path, AS_TEXT + f"      as_text: audio\n      audio: {{{rates}}}\n")
    assert configured.as_text == (list_prompt_classes({"audio"}) if is_text else frozenset())
