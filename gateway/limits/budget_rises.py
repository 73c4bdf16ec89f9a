"""Budgets that are raised for a time: which are now, and whose rise has ended."""

from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from gateway.core.call import BudgetRise, Key, KeyBudget
from gateway.limits.rules import find_rise_end, make_key_limit_name
from gateway.settings.errors import Mistake, Path
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.limits import BudgetPart, RisePart


def list_rises(source: ConfigSource, keys: Iterable[Key], timestamp: float) -> list[str]:
    """Say in words which budgets are raised at a moment."""
    return [
        f"{name!r}: {(part.usd or 0) + rise.usd:f} USD in place of {part.usd:f}, until {rise.until}"
        for name, _, part, rise, end in _iter_rises(source, keys)
        if timestamp < end
    ]


def find_ended_rises(source: ConfigSource, keys: Iterable[Key], timestamp: float) -> list[Mistake]:
    """Warn of rises that have ended, and so do nothing."""
    return [
        source.make_mistake(
            path,
            f"the rise of {name!r} has ended: {rise.until}.",
            "Remove it, or give it a later end.",
            warn=True,
        )
        for name, path, _, rise, end in _iter_rises(source, keys)
        if end <= timestamp
    ]


def _iter_rises(
    source: ConfigSource, keys: Iterable[Key]
) -> Iterator[tuple[str, Path, BudgetPart | KeyBudget, RisePart | BudgetRise, float]]:
    """Yield each rise: the name of its budget, its path, the budget, itself, and its end."""
    zone = ZoneInfo(source.config.ledger.time_zone)
    for index, part in enumerate(source.config.budgets):
        if part.rise is not None:
            path = ("budgets", index, "rise", "until")
            yield part.name, path, part, part.rise, find_rise_end(part, zone)
    for key in keys:
        for index, budget in enumerate(key.budgets):
            if budget.rise is not None:
                name = make_key_limit_name(key.name, index)
                yield name, ("keys",), budget, budget.rise, find_rise_end(budget, zone)
