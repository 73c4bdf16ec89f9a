"""What a day of the calendar changes: models that retire, prices that step."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from gateway.core.price import Rates
from gateway.core.target import TIERS, Catalogue, Tier
from gateway.settings.build import describe
from gateway.settings.load import Source
from gateway.settings.mistake import Mistake, Path
from gateway.settings.schema import (
    DatedPart,
    HoursPart,
    LabPart,
    ModelPart,
    PricePart,
    RatesPart,
    TargetPart,
)

_SOON = timedelta(days=30)
_RATES = ("input", "cache_read", "cache_write", "output")


def dates(source: Source, today: date, off: Collection[str]) -> Iterator[Mistake]:
    """Warnings of what is due within 30 days or has passed, but of providers that are off."""
    yield from _retired(source, today, off)
    yield from _steps(source, today, off)
    yield from _lacking(source)


def targets(source: Source) -> Iterator[tuple[Path, str, Tier, str, TargetPart]]:
    """Every target: its path, lab, tier, provider and what is written of it."""
    for lab, part in source.config.labs.items():
        for tier in TIERS:
            for at, target in enumerate(_tier(part, tier)):
                yield ("labs", lab, tier, at), lab, tier, target.provider or lab, target


def _tier(part: LabPart, tier: Tier) -> list[TargetPart]:
    return {"fast": part.fast, "smart": part.smart, "reasoning": part.reasoning}[tier]


def _retired(source: Source, today: date, off: Collection[str]) -> Iterator[Mistake]:
    models = source.config.models
    known = [
        (path, provider, target.model, describe(models, provider, target.model))
        for path, _, _, provider, target in targets(source)
        if provider not in off
    ]
    staying = {path[:-1] for path, _, _, part in known if _end(part) > today + _SOON}
    for path, _, name, part in known:
        end = _end(part)
        if part is None or end > today + _SOON:
            continue
        gone = end <= today
        message = f"{name} {'has retired' if gone else 'retires'} on {end}"
        if path[:-1] not in staying:
            message += ", and no target of this tier stays"
        hint = "Take it out." if gone else "Put another in its place by then."
        if path[:-1] not in staying and gone:
            hint = "Put another in its place."
        if part.successor is not None:
            hint = f"Its successor is {part.successor}."
        yield source.mistake((*path, "model"), f"{message}.", hint, warn=True)


def _end(part: ModelPart | None) -> date:
    text = part.retires if part is not None else None
    return date.max if text is None else date.fromisoformat(text)


def _steps(source: Source, today: date, off: Collection[str]) -> Iterator[Mistake]:
    places: dict[str, dict[str, None]] = {}
    prices: dict[str, PricePart] = {}
    for _, lab, tier, provider, target in targets(source):
        found = _priced(source.config.models, provider, target.model)
        if found is not None and provider not in off:
            name, prices[name] = found
            places.setdefault(name, {})[f"{lab}/{tier}"] = None
    for name, price in prices.items():
        before: RatesPart = price
        for day, after in sorted(price.from_.items()):
            if today < date.fromisoformat(day) <= today + _SOON:
                message = f"the price changes on {day}: {_change(before, after)}."
                yield source.mistake(
                    ("models", name, "price", "from", day),
                    message,
                    f"It serves {', '.join(places[name])}.",
                    warn=True,
                )
            before = after


def listed(source: Source, catalogue: Catalogue, today: date) -> Iterator[Mistake]:
    """Warnings of steps within 30 days of prices that a list gave and no file has."""
    for path, lab, tier, provider, target in targets(source):
        made = catalogue.labs[lab].tiers[tier][int(path[-1])]
        own = _priced(source.config.models, provider, target.model)
        if made.price is None or own is not None or not made.provider.on:
            continue
        before = made.price.rates
        for item in made.price.later:
            day = datetime.fromtimestamp(item.start, UTC).date()
            if day <= today + _SOON:
                change = _change(before, item.price.rates)
                message = f"the list price of {target.model} changes on {day}: {change}."
                yield source.mistake((*path, "model"), message, warn=True)
            before = item.price.rates


def _priced(
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


def _change(before: RatesPart | Rates, after: RatesPart | Rates) -> str:
    """Rates before and after, in USD per million tokens."""
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in _RATES]
    changes = [
        f"{name} {'unknown' if old is None else f'{old:f}'} to "
        f"{'unknown' if new is None else f'{new:f}'}"
        for name, old, new in pairs
        if old != new
    ]
    return ", ".join(changes) or "only its hours or its long-context steps"


def _lacking(source: Source) -> Iterator[Mistake]:
    for name, part in source.config.models.items():
        if part.price is None:
            continue
        at: Path = ("models", name, "price")
        for path, rates in _rates(part.price, at):
            if rates.input is None or rates.output is None:
                message = "lacks `input` or `output`: calls have no cost where it is needed."
                yield source.mistake(path, message, warn=True)
                break


def _rates(part: PricePart, at: Path) -> Iterator[tuple[Path, RatesPart]]:
    """All rates of a price; a dated one with none says that they are not known yet, and is left."""
    yield from _terms(part, at)
    for day, item in part.from_.items():
        if item.model_fields_set:
            yield from _terms(item, (*at, "from", day))


def _terms(part: DatedPart, at: Path) -> Iterator[tuple[Path, RatesPart]]:
    yield at, part
    rows: list[tuple[Path, DatedPart | HoursPart]] = [(at, part)]
    rows += [((*at, "hours", number), hours) for number, hours in enumerate(part.hours)]
    yield from rows[1:]
    for path, row in rows:
        for number, step in enumerate(row.above):
            yield (*path, "above", number), step
