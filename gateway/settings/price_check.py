"""A second opinion of prices: a slip of the decimal point is a hundred times the cost.

It asks genai-prices, whose import takes about 0.3 s: it is for `check`, and not for serving.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from gateway.core.price import Price, Rates
from gateway.core.target import Target
from gateway.settings import list_prices
from gateway.settings.catalogue import BuiltCatalogue
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.pricing import priced

_FAR = 3
"""Times: lists lag and hosts differ, but not by so much."""
_ROUNDED = Decimal("1e-9")
"""USD per million tokens: as exact as a price can be written."""
_RATES = ("input", "cache_read", "cache_write", "output")

type Apart = tuple[str, Decimal, Decimal]
"""What differs, and USD of it here and there."""


def doubtful(source: ConfigSource, built: BuiltCatalogue, now: datetime) -> Iterator[Mistake]:
    """Warnings of prices that are more than three times those of the list, or less than a third."""
    told: set[tuple[str, str]] = set()
    for target, ours, theirs in both(source, built, now):
        place = priced(source.config.models, target.provider.name, target.model)
        for what, here, there in apart(ours, theirs):
            far = here > _FAR * there or there > _FAR * here
            if place is None or not far or (place[0], what) in told:
                continue
            told.add((place[0], what))
            message = f"{what} of {target.name} is {here:f}, and {there:f} in {theirs.version}."
            path = ("models", place[0], "price")
            yield source.mistake(path, message, "Is it USD per million tokens?", warn=True)


def both(
    source: ConfigSource, built: BuiltCatalogue, now: datetime
) -> Iterator[tuple[Target, Price, Price]]:
    """Targets that are on and that both have a price of: a file, and the list."""
    seen: set[str] = set()
    for lab in built.catalogue.labs.values():
        for target in [*(item for row in lab.tiers.values() for item in row), *lab.embeddings]:
            name = target.provider.name
            own = priced(source.config.models, name, target.model)
            if target.name in seen or not target.provider.on or own is None or not target.price:
                continue
            seen.add(target.name)
            listed = source.config.providers[name].prices or name
            found = list_prices.find(listed, target.model, now)
            if found is not None:
                yield target, target.price.on(now.timestamp()), found.on(now.timestamp())


def apart(ours: Price, theirs: Price) -> list[Apart]:
    """Every rate that both know and that is not the same, at each length of prompt.

    Where one of them is nothing it is not compared: vectors have no output to pay for.
    """
    found: list[Apart] = []
    for length in sorted({0, *(step.above + 1 for step in (*ours.steps, *theirs.steps))}):
        long = f" above {length - 1} tokens" if length else ""
        for name, here, there in _pairs(ours.at(length), theirs.at(length)):
            if here and there and abs(here - there) > _ROUNDED:
                found.append((f"{name}{long}", here, there))
    tools = sorted(ours.tools.keys() & theirs.tools.keys())
    pairs = [(tool, ours.tools[tool], theirs.tools[tool]) for tool in tools]
    return [*found, *(pair for pair in pairs if pair[1] != pair[2])]


def _pairs(ours: Rates, theirs: Rates) -> Iterator[tuple[str, Decimal | None, Decimal | None]]:
    for name in _RATES:
        yield name, getattr(ours, name), getattr(theirs, name)
    for life in sorted(ours.cache_write_by.keys() & theirs.cache_write_by.keys()):
        yield f"cache_write {life}", ours.cache_write_by[life], theirs.cache_write_by[life]
