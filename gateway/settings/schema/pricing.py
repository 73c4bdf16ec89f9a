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


def find_written_price(
    models: Mapping[str, ModelPart], provider: str, model: str
) -> tuple[str, PricePart] | None:
    """Where the price of a model is written, its own or that of the one it is like."""
    name: str | None = f"{provider}/{model}" if f"{provider}/{model}" in models else model
    visited: set[str] = set()
    while name is not None and name in models and name not in visited:
        price = models[name].price
        if price is not None:
            return name, price
        visited.add(name)
        name = models[name].like
    return None


def find_mixed_services(source: ConfigSource) -> Iterator[Mistake]:
    """Service tiers that are written in two ways at once."""
    for name, model in source.config.models.items():
        if model.price is None:
            continue
        for path, service_name, service_part in list_services(
            model.price, ("models", name, "price")
        ):
            own_keys = [
                key for key in service_part.model_fields_set if key not in ("factor", "from_")
            ]
            if service_part.factor is not None and own_keys:
                key_list = ", ".join(f"`{key}`" for key in sorted(own_keys))
                message = f"{service_name} has a `factor` and {key_list}."
                yield source.make_mistake(path, message, "Write one of the two.")
            elif service_part.factor is None and service_part.from_:
                yield source.make_mistake((*path, "from"), "is of a `factor`, and there is none.")


def find_missing_rates(source: ConfigSource) -> Iterator[Mistake]:
    """Warnings of prices that lack a rate that every call needs."""
    for name, model_part in source.config.models.items():
        if model_part.price is None:
            continue
        price_path: Path = ("models", name, "price")
        for path, rates in _list_rates(model_part.price, price_path):
            if rates.input is None or rates.output is None:
                message = "lacks `input` or `output`: calls have no cost where it is needed."
                yield source.make_mistake(path, message, warn=True)
                break


def list_services(price: PricePart, price_path: Path) -> Iterator[tuple[Path, str, ServicePart]]:
    """All that is written of service tiers: of a price, and of those that take its place."""
    for path, dated_price in [
        (price_path, price),
        *(((*price_path, "from", day), dated_part) for day, dated_part in price.from_.items()),
    ]:
        for name, service in dated_price.services.items():
            yield (*path, "services", name), name, service


def _list_rates(price_part: PricePart, price_path: Path) -> Iterator[tuple[Path, RatesPart]]:
    """All rates of a price; a dated one with none says that they are not known yet, and is left."""
    yield from _list_rate_parts(price_part, price_path)
    for day, dated_part in price_part.from_.items():
        if dated_part.model_fields_set:
            yield from _list_rate_parts(dated_part, (*price_path, "from", day))
    for path, _, service in list_services(price_part, price_path):
        if service.factor is None:
            yield from _list_rate_parts(service, path)


def _list_rate_parts(
    price_part: DatedPart | ServicePart, price_path: Path
) -> Iterator[tuple[Path, RatesPart]]:
    yield price_path, price_part
    rows: list[tuple[Path, DatedPart | ServicePart | HoursPart]] = [(price_path, price_part)]
    rows += [((*price_path, "hours", index), hours) for index, hours in enumerate(price_part.hours)]
    yield from rows[1:]
    for path, row in rows:
        for index, step in enumerate(row.above):
            yield (*path, "above", index), step
