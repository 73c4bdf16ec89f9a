"""A price as it is written turned into the one that calls are priced by."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from gateway.core.price import LaterPrice, Price, PriceHours, PriceStep, Rates, scaled
from gateway.settings.schema.root import (
    DatedPart,
    HoursPart,
    PricePart,
    RatesPart,
    ServicePart,
    StepPart,
)
from gateway.settings.schema.schedule import WEEKDAYS, span

type Services = Mapping[str, ServicePart]
type Tools = Mapping[str, Decimal]


def price(part: PricePart) -> Price:
    """The price, with what takes its place later and when; each has a version of its own.

    Each has its service tiers with it: a factor is of the price that is in force.
    """
    version = f"config {part.as_of}".strip()
    services, tools, later = part.services, part.tools, []
    as_text = frozenset(f"input_{modality}" for modality in part.as_text)
    for day, item in sorted(part.from_.items()):
        services, tools = {**services, **item.services}, {**tools, **item.tools}
        made = _dated(item, f"{version} from {day}", services, tools, as_text)
        later.append(LaterPrice(_midnight(day), made))
    made = _dated(part, version, part.services, part.tools, as_text)
    return msgspec.structs.replace(made, later=tuple(later))


def _dated(
    part: DatedPart, version: str, services: Services, tools: Tools, as_text: frozenset[str]
) -> Price:
    hours = tuple(
        msgspec.structs.replace(item, price=_full(item.price, services, tools, as_text))
        for item in _hours(part.hours, version)
    )
    made = Price(rates=_rates(part), steps=_steps(part.above), version=version, hours=hours)
    return _full(made, services, tools, as_text)


def _full(standard: Price, services: Services, tools: Tools, as_text: frozenset[str]) -> Price:
    """Return a price with its service tiers, its tools, and what it bills as text."""
    found = {word: _service(standard, word, part) for word, part in services.items()}
    return msgspec.structs.replace(standard, services=found, tools=dict(tools), as_text=as_text)


def _service(standard: Price, word: str, part: ServicePart) -> Price:
    version = f"{standard.version}, {word}"
    if part.factor is None:
        hours = tuple(_hours(part.hours, version))
        return Price(rates=_rates(part), steps=_steps(part.above), version=version, hours=hours)
    later = tuple(
        LaterPrice(_midnight(day), _times(standard, factor, f"{version} from {day}"))
        for day, factor in sorted(part.from_.items())
    )
    return msgspec.structs.replace(_times(standard, part.factor, version), later=later)


def _times(standard: Price, factor: Decimal, version: str) -> Price:
    steps = tuple(PriceStep(item.above, scaled(item.rates, factor)) for item in standard.steps)
    return Price(rates=scaled(standard.rates, factor), steps=steps, version=version)


def _hours(parts: list[HoursPart], version: str) -> list[PriceHours]:
    return [
        PriceHours(
            spans=tuple(span(text) for text in part.utc),
            days=frozenset(WEEKDAYS.index(day) for day in part.days),
            price=Price(
                rates=_rates(part),
                steps=_steps(part.above),
                version=f"{version} at {' '.join(part.utc)}",
            ),
        )
        for part in parts
    ]


def _steps(parts: list[StepPart]) -> tuple[PriceStep, ...]:
    ordered = sorted(parts, key=lambda step: step.tokens)
    return tuple(PriceStep(step.tokens, _rates(step)) for step in ordered)


def _rates(part: RatesPart) -> Rates:
    return Rates(
        input=part.input,
        cache_read=part.cache_read,
        cache_write=part.cache_write,
        cache_write_by=part.cache_write_by,
        output=part.output,
    )


def _midnight(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
