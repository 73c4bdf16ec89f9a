"""Checks of prices as written: where a price stands, and what is missing or contradictory."""

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
    """Return the price of a model, and the key under `models` that has it.

    A model without a price takes the price of the model it is `like`. None if no price is written.
    """
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
    """Yield an error for each service tier with a factor and rates, or `from` without a factor."""
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
    """Yield a warning for each model whose price lacks a rate that every call needs.

    A price of units alone, as of a model of images, needs no rates of tokens.
    """
    for name, model_part in source.config.models.items():
        if model_part.price is None:
            continue
        price_path: Path = ("models", name, "price")
        for path, rates in _list_rates(model_part.price, price_path):
            if _bills_units_alone(model_part.price, rates):
                continue
            if rates.input is None or rates.output is None:
                message = "lacks `input` or `output`: calls have no cost where it is needed."
                yield source.make_mistake(path, message, warn=True)
                break


def _bills_units_alone(price_part: PricePart, rates: RatesPart) -> bool:
    """True if a price has USD of units, and these rates of it have none of input and output."""
    has_units = any(part.units for part in (price_part, *price_part.from_.values()))
    return has_units and rates.input is None and rates.output is None


def list_services(price: PricePart, price_path: Path) -> Iterator[tuple[Path, str, ServicePart]]:
    """Yield the path, name and part of each service tier, those of dated prices included."""
    for path, dated_price in [
        (price_path, price),
        *(((*price_path, "from", day), dated_part) for day, dated_part in price.from_.items()),
    ]:
        for name, service in dated_price.services.items():
            yield (*path, "services", name), name, service


def _list_rates(price_part: PricePart, price_path: Path) -> Iterator[tuple[Path, RatesPart]]:
    """Yield the path and part of all rates of a price.

    A dated price without keys says that its rates are not known yet, so this leaves it out.
    """
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
