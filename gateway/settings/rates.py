"""A price as it is written turned into the one that calls are priced by."""

from datetime import UTC, datetime

import msgspec

from gateway.core.price import Hours, Later, Price, Rates, Step
from gateway.settings.schema import (
    WEEKDAYS,
    DatedPart,
    HoursPart,
    PricePart,
    RatesPart,
    StepPart,
    span,
)


def price(part: PricePart) -> Price:
    """The price, with what takes its place later and when; each has a version of its own."""
    version = f"config {part.as_of}".strip()
    later = tuple(
        Later(_midnight(day), _dated(step, f"{version} from {day}"))
        for day, step in sorted(part.from_.items())
    )
    return msgspec.structs.replace(_dated(part, version), later=later)


def _dated(part: DatedPart, version: str) -> Price:
    hours = tuple(_hours(item, version) for item in part.hours)
    return Price(rates=_rates(part), steps=_steps(part.above), version=version, hours=hours)


def _hours(part: HoursPart, version: str) -> Hours:
    at = f"{version} at {' '.join(part.utc)}"
    return Hours(
        spans=tuple(span(text) for text in part.utc),
        days=frozenset(WEEKDAYS.index(day) for day in part.days),
        price=Price(rates=_rates(part), steps=_steps(part.above), version=at),
    )


def _steps(parts: list[StepPart]) -> tuple[Step, ...]:
    ordered = sorted(parts, key=lambda step: step.tokens)
    return tuple(Step(step.tokens, _rates(step)) for step in ordered)


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
