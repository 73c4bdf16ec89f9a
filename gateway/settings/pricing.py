"""Build the price that the gateway calculates costs with from the price as written."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from gateway.core.price import LaterPrice, Price, PriceHours, PriceStep, list_prompt_classes
from gateway.core.rates import Rates, scale_rates
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

type Services = Mapping[str, ServicePart]
type Tools = Mapping[str, Decimal]


def build_price(price_part: PricePart) -> Price:
    """Return the price, with the prices that replace it later. Each has a version of its own.

    Each price includes its service tiers: a factor applies to the price that is in force.
    """
    version = f"config {price_part.as_of}".strip()
    services, tools, later_prices = price_part.services, price_part.tools, []
    as_text = frozenset[str](price_part.as_text)
    for day, dated_part in sorted(price_part.from_.items()):
        services, tools = {**services, **dated_part.services}, {**tools, **dated_part.tools}
        built_price = _build_dated_price(
            dated_part, f"{version} from {day}", services, tools, as_text
        )
        later_prices.append(LaterPrice(_midnight_timestamp(day), built_price))
    built_price = _build_dated_price(
        price_part, version, price_part.services, price_part.tools, as_text
    )
    return msgspec.structs.replace(built_price, later=tuple(later_prices))


def _build_dated_price(
    dated_part: DatedPart, version: str, services: Services, tools: Tools, as_text: frozenset[str]
) -> Price:
    hours = tuple(
        msgspec.structs.replace(item, price=_add_services(item.price, services, tools, as_text))
        for item in _build_hours(dated_part.hours, version)
    )
    built_price = Price(
        rates=_build_rates(dated_part),
        steps=_build_steps(dated_part.above),
        version=version,
        hours=hours,
    )
    return _add_services(built_price, services, tools, as_text)


def _add_services(
    standard: Price, services: Services, tools: Tools, as_text: frozenset[str]
) -> Price:
    """Return a price with its service tiers, its tools, and the media that it bills as text.

    Media with a rate of their own for prompts do not cost as text does.
    """
    text_modalities = as_text - list_priced_modalities(standard)
    service_prices = {
        name: _build_service_price(standard, name, service_part)
        for name, service_part in services.items()
    }
    return msgspec.structs.replace(
        standard,
        services=service_prices,
        tools=dict(tools),
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
        hours = tuple(_build_hours(service_part.hours, version))
        return Price(
            rates=_build_rates(service_part),
            steps=_build_steps(service_part.above),
            version=version,
            hours=hours,
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
    return Price(rates=scale_rates(standard.rates, factor), steps=steps, version=version)


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
