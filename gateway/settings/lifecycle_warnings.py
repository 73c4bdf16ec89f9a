"""What a day of the calendar changes: models that retire, prices that step."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from gateway.core.price import Rates
from gateway.core.target import TIERS, Catalogue, Target, Tier
from gateway.settings.catalogue import describe
from gateway.settings.errors import Mistake, Path
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.pricing import priced, services
from gateway.settings.schema.root import (
    DatedPart,
    LabPart,
    ModelPart,
    PricePart,
    RatesPart,
    TargetPart,
)

_SOON = timedelta(days=30)
_VECTORS = "embeddings"
_RATES = ("input", "cache_read", "cache_write", "output")
_BESIDE = {
    "cache_write_by": "lifetimes of the cache",
    "hours": "hours",
    "above": "long-context steps",
    "services": "service tiers",
    "tools": "tools",
}
"""What a price has beside its rates, as people call it."""


def dates(source: ConfigSource, today: date, off: Collection[str]) -> Iterator[Mistake]:
    """Warnings of what is due within 30 days or has passed, but of providers that are off."""
    yield from _retired(source, today, off)
    yield from _steps(source, today, off)


def targets(source: ConfigSource) -> Iterator[tuple[Path, str, Tier, str, TargetPart]]:
    """Every target: its path, lab, tier, provider and what is written of it."""
    for lab, part in source.config.labs.items():
        for tier in TIERS:
            for at, target in enumerate(_tier(part, tier)):
                yield ("labs", lab, tier, at), lab, tier, target.provider or lab, target


def _tier(part: LabPart, tier: Tier) -> list[TargetPart]:
    return {"fast": part.fast, "smart": part.smart, "reasoning": part.reasoning}[tier]


class _Use(NamedTuple):
    """A model at a provider, where a lab has it: in a tier, or for embeddings."""

    path: Path
    lab: str
    row: str
    provider: str
    model: str

    @property
    def peers(self) -> tuple[object, ...]:
        """What those have in common that can take its place: vectors have the same model."""
        return (*self.path[:-1], self.model if self.row == _VECTORS else "")


def _uses(source: ConfigSource) -> Iterator[_Use]:
    for path, lab, tier, provider, target in targets(source):
        yield _Use(path, lab, tier, provider, target.model)
    for lab, part in source.config.labs.items():
        for at, item in enumerate(part.embeddings):
            here: Path = ("labs", lab, _VECTORS, at)
            yield _Use(here, lab, _VECTORS, item.provider or lab, item.model)


def unpriced(source: ConfigSource, catalogue: Catalogue, *, there: bool) -> Iterator[Mistake]:
    """Warnings of targets that are on and have no price at all; `there`: a list could have had it.

    Where no list is installed, they are one.
    """
    found = [(use, _made(use, catalogue)) for use in _uses(source)]
    lacking = [(use, made) for use, made in found if made.provider.on and made.price is None]
    if lacking and not there:
        names = ", ".join(dict.fromkeys(made.name for _, made in lacking))
        message = f"no prices are known of {names}: their calls have no cost."
        hint = "Install the list: pip install 'tiergate[prices]'; or give each a `price`."
        yield source.mistake(("models",), message, hint, warn=True)
        return
    for use, made in lacking:
        message = f"the price of {made.name} is unknown: its calls have no cost."
        hint = "Give it one under `models`."
        yield source.mistake((*use.path, "model"), message, hint, warn=True)


def _made(use: _Use, catalogue: Catalogue) -> Target:
    lab, at = catalogue.labs[use.lab], int(use.path[-1])
    if use.row == _VECTORS:
        return lab.embeddings[at]
    return next(row[at] for tier, row in lab.tiers.items() if tier == use.row)


def _retired(source: ConfigSource, today: date, off: Collection[str]) -> Iterator[Mistake]:
    models = source.config.models
    known = [
        (use, describe(models, use.provider, use.model))
        for use in _uses(source)
        if use.provider not in off
    ]
    staying = {use.peers for use, part in known if _end(part) > today + _SOON}
    for use, part in known:
        end = _end(part)
        if part is None or end > today + _SOON:
            continue
        gone, last = end <= today, use.peers not in staying
        message = f"{use.model} {'has retired' if gone else 'retires'} on {end}"
        if last:
            one = "provider of it" if use.row == _VECTORS else "target of this tier"
            message += f", and no {one} stays"
        hint = "Take it out." if gone else "Put another in its place by then."
        if last and gone:
            hint = "Put another in its place."
        if part.successor is not None:
            hint = f"Its successor is {part.successor}."
        yield source.mistake((*use.path, "model"), f"{message}.", hint, warn=True)


def _end(part: ModelPart | None) -> date:
    text = part.retires if part is not None else None
    return date.max if text is None else date.fromisoformat(text)


def _steps(source: ConfigSource, today: date, off: Collection[str]) -> Iterator[Mistake]:
    places: dict[str, dict[str, None]] = {}
    prices: dict[str, PricePart] = {}
    for use in _uses(source):
        found = priced(source.config.models, use.provider, use.model)
        if found is not None and use.provider not in off:
            name, prices[name] = found
            places.setdefault(name, {})[f"{use.lab}/{use.row}"] = None
    for name, price in prices.items():
        at: Path = ("models", name, "price")
        hint = f"It serves {', '.join(places[name])}."
        before: DatedPart = price
        for day, after in sorted(price.from_.items()):
            if _due(day, today):
                message = f"the price changes on {day}: {_change(before, after)}."
                yield source.mistake((*at, "from", day), message, hint, warn=True)
            before = after
        for path, word, service in services(price, at):
            factor = service.factor
            for day, then in sorted(service.from_.items()):
                if _due(day, today):
                    message = f"the price of {word} changes on {day}: {factor} to {then} times."
                    yield source.mistake((*path, "from", day), message, hint, warn=True)
                factor = then


def _due(day: str, today: date) -> bool:
    return today < date.fromisoformat(day) <= today + _SOON


def listed(source: ConfigSource, catalogue: Catalogue, today: date) -> Iterator[Mistake]:
    """Warnings of steps within 30 days of prices that a list gave and no file has."""
    for use in _uses(source):
        made = _made(use, catalogue)
        own = priced(source.config.models, use.provider, use.model)
        if made.price is None or own is not None or not made.provider.on:
            continue
        before = made.price.rates
        for item in made.price.later:
            day = datetime.fromtimestamp(item.start, UTC).date()
            if day <= today + _SOON:
                change = _change(before, item.price.rates)
                message = f"the list price of {use.model} changes on {day}: {change}."
                yield source.mistake((*use.path, "model"), message, warn=True)
            before = item.price.rates


def _change(before: RatesPart | Rates, after: RatesPart | Rates) -> str:
    """Rates before and after, in USD per million tokens."""
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in _RATES]
    changes = [
        f"{name} {'unknown' if old is None else f'{old:f}'} to "
        f"{'unknown' if new is None else f'{new:f}'}"
        for name, old, new in pairs
        if old != new
    ]
    if changes:
        return ", ".join(changes)
    beside = [word for name, word in _BESIDE.items() if _differ(before, after, name)]
    return f"only its {' and its '.join(beside or ['hours or its long-context steps'])}"


def _differ(before: RatesPart | Rates, after: RatesPart | Rates, name: str) -> bool:
    old, new = getattr(before, name, None), getattr(after, name, None)
    if isinstance(before, DatedPart) and name in ("services", "tools"):
        return any((old or {}).get(word) != item for word, item in (new or {}).items())
    return old != new
