"""Build the price that the gateway calculates costs with from the price as written."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from gateway.core.price import LaterPrice, Price, PriceHours, PriceStep, list_prompt_classes
from gateway.core.rates import EXACT_CONTEXT, Rates, scale_rates
from gateway.core.usage import MODALITIES
from gateway.settings.schema.root import (
    DatedPart,
    HoursPart,
    MediaRatesPart,
    PricePart,
    RatesPart,
    ServicePart,
    StepPart,
)
from gateway.settings.schema.schedule import WEEKDAYS, parse_hours


class _LastingPart(NamedTuple):
    """Prices that stay from day to day and from hour to hour, unless a day changes them."""

    services: Mapping[str, ServicePart]
    tools: Mapping[str, Decimal]
    units: Mapping[str, Decimal]
    as_text: frozenset[str]
    """The modalities that a prompt costs as text."""

    def merge(self, dated_part: DatedPart) -> "_LastingPart":
        """Return what holds from a later day on."""
        return self._replace(
            services={**self.services, **dated_part.services},
            tools={**self.tools, **dated_part.tools},
            units={**self.units, **dated_part.units},
        )


def build_price(price_part: PricePart) -> Price:
    """Return the price, with the prices that replace it later. Each has a version of its own.

    Each price includes its service tiers: a factor applies to the price that is in force.
    """
    version = f"config {price_part.as_of}".strip()
    lasting_part = _LastingPart(
        price_part.services, price_part.tools, price_part.units, frozenset(price_part.as_text)
    )
    built_price = _build_dated_price(price_part, version, lasting_part)
    later_prices = []
    for day, dated_part in sorted(price_part.from_.items()):
        lasting_part = lasting_part.merge(dated_part)
        later_price = _build_dated_price(dated_part, f"{version} from {day}", lasting_part)
        later_prices.append(LaterPrice(_midnight_timestamp(day), later_price))
    return msgspec.structs.replace(built_price, later=tuple(later_prices))


def _build_dated_price(dated_part: DatedPart, version: str, lasting_part: _LastingPart) -> Price:
    hours = tuple(
        msgspec.structs.replace(item, price=_add_lasting_part(item.price, lasting_part))
        for item in _build_hours(dated_part.hours, version)
    )
    built_price = Price(
        rates=_build_rates(dated_part),
        steps=_build_steps(dated_part.above),
        version=version,
        hours=hours,
    )
    return _add_lasting_part(built_price, lasting_part)


def _add_lasting_part(standard: Price, lasting_part: _LastingPart) -> Price:
    """Return a price with its service tiers, tools and units, and the media that it bills as text.

    Media with a rate of their own for prompts do not cost as text does.
    """
    text_modalities = lasting_part.as_text - list_priced_modalities(standard)
    standard = msgspec.structs.replace(standard, units=dict(lasting_part.units))
    service_prices = {
        name: _build_service_price(standard, name, service_part)
        for name, service_part in lasting_part.services.items()
    }
    return msgspec.structs.replace(
        standard,
        services=service_prices,
        tools=dict(lasting_part.tools),
        as_text=list_prompt_classes(text_modalities),
    )


def list_priced_modalities(price: Price) -> set[str]:
    """Return the modalities for which a price has a rate of its own in prompts."""
    return {
        modality
        for rates in (price.rates, *(step.rates for step in price.steps))
        for modality, own_rates in rates.media.items()
        if own_rates.input is not None or own_rates.cache_read is not None
    }


def _build_service_price(standard: Price, name: str, service_part: ServicePart) -> Price:
    version = f"{standard.version}, {name}"
    if service_part.factor is None:
        units = dict(service_part.units)
        hours = tuple(
            msgspec.structs.replace(item, price=msgspec.structs.replace(item.price, units=units))
            for item in _build_hours(service_part.hours, version)
        )
        return Price(
            rates=_build_rates(service_part),
            steps=_build_steps(service_part.above),
            version=version,
            hours=hours,
            units=units,
        )
    later = tuple(
        LaterPrice(
            _midnight_timestamp(day), _scale_price(standard, factor, f"{version} from {day}")
        )
        for day, factor in sorted(service_part.from_.items())
    )
    return msgspec.structs.replace(
        _scale_price(standard, service_part.factor, version), later=later
    )


def _scale_price(standard: Price, factor: Decimal, version: str) -> Price:
    steps = tuple(PriceStep(item.above, scale_rates(item.rates, factor)) for item in standard.steps)
    units = {name: EXACT_CONTEXT.multiply(usd, factor) for name, usd in standard.units.items()}
    return Price(
        rates=scale_rates(standard.rates, factor), steps=steps, version=version, units=units
    )


def _build_hours(parts: list[HoursPart], version: str) -> list[PriceHours]:
    return [
        PriceHours(
            spans=tuple(parse_hours(text) for text in hours_part.utc),
            days=frozenset(WEEKDAYS.index(day) for day in hours_part.days),
            price=Price(
                rates=_build_rates(hours_part),
                steps=_build_steps(hours_part.above),
                version=f"{version} at {' '.join(hours_part.utc)}",
            ),
        )
        for hours_part in parts
    ]


def _build_steps(parts: list[StepPart]) -> tuple[PriceStep, ...]:
    ordered = sorted(parts, key=lambda step: step.tokens)
    return tuple(PriceStep(step.tokens, _build_rates(step)) for step in ordered)


def _build_rates(rates_part: RatesPart) -> Rates:
    media_parts = {modality: getattr(rates_part, modality) for modality in MODALITIES}
    return msgspec.structs.replace(
        _build_media_rates(rates_part),
        reasoning=rates_part.reasoning,
        media={
            modality: _build_media_rates(part)
            for modality, part in media_parts.items()
            if part is not None
        },
    )


def _build_media_rates(rates_part: MediaRatesPart) -> Rates:
    return Rates(
        input=rates_part.input,
        cache_read=rates_part.cache_read,
        cache_write=rates_part.cache_write,
        cache_write_by=rates_part.cache_write_by,
        output=rates_part.output,
    )


def _midnight_timestamp(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
