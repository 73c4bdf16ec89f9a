"""Prices as they are written: where, what one lacks, and what it says in two ways at once."""

from collections.abc import Iterator, Mapping

from gateway.settings.errors import Mistake, Path
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import (
    DatedPart,
    HoursPart,
    ModelPart,
    PricePart,
    RatesPart,
    ServicePart,
)


def priced(
    models: Mapping[str, ModelPart], provider: str, model: str
) -> tuple[str, PricePart] | None:
    """Where the price of a model is written, its own or that of the one it is like."""
    name: str | None = f"{provider}/{model}" if f"{provider}/{model}" in models else model
    seen: set[str] = set()
    while name is not None and name in models and name not in seen:
        price = models[name].price
        if price is not None:
            return name, price
        seen.add(name)
        name = models[name].like
    return None


def twice(source: ConfigSource) -> Iterator[Mistake]:
    """Service tiers that are written in two ways at once."""
    for name, model in source.config.models.items():
        if model.price is None:
            continue
        for path, word, part in services(model.price, ("models", name, "price")):
            own = [key for key in part.model_fields_set if key not in ("factor", "from_")]
            if part.factor is not None and own:
                message = (
                    f"{word} has a `factor` and {', '.join(f'`{key}`' for key in sorted(own))}."
                )
                yield source.mistake(path, message, "Write one of the two.")
            elif part.factor is None and part.from_:
                yield source.mistake((*path, "from"), "is of a `factor`, and there is none.")


def lacking(source: ConfigSource) -> Iterator[Mistake]:
    """Warnings of prices that lack a rate that every call needs."""
    for name, part in source.config.models.items():
        if part.price is None:
            continue
        at: Path = ("models", name, "price")
        for path, rates in _rates(part.price, at):
            if rates.input is None or rates.output is None:
                message = "lacks `input` or `output`: calls have no cost where it is needed."
                yield source.mistake(path, message, warn=True)
                break


def services(price: PricePart, at: Path) -> Iterator[tuple[Path, str, ServicePart]]:
    """All that is written of service tiers: of a price, and of those that take its place."""
    for path, part in [(at, price), *(((*at, "from", day), x) for day, x in price.from_.items())]:
        for word, service in part.services.items():
            yield (*path, "services", word), word, service


def _rates(part: PricePart, at: Path) -> Iterator[tuple[Path, RatesPart]]:
    """All rates of a price; a dated one with none says that they are not known yet, and is left."""
    yield from _terms(part, at)
    for day, item in part.from_.items():
        if item.model_fields_set:
            yield from _terms(item, (*at, "from", day))
    for path, _, service in services(part, at):
        if service.factor is None:
            yield from _terms(service, path)


def _terms(part: DatedPart | ServicePart, at: Path) -> Iterator[tuple[Path, RatesPart]]:
    yield at, part
    rows: list[tuple[Path, DatedPart | ServicePart | HoursPart]] = [(at, part)]
    rows += [((*at, "hours", number), hours) for number, hours in enumerate(part.hours)]
    yield from rows[1:]
    for path, row in rows:
        for number, step in enumerate(row.above):
            yield (*path, "above", number), step
