"""Targets that the gateway passes over, since a hard budget cannot reserve what they may cost."""

from collections.abc import Collection, Iterable, Iterator

from gateway.core.call import Key, KeyBudget
from gateway.core.prompt import Prompt
from gateway.core.target import TIERS, Catalogue, Target
from gateway.limits.cost_bounds import dearest
from gateway.settings.errors import Mistake, Path
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.limits import BudgetPart

_CAPPED, _FREE = Prompt(model="", max_output=1), Prompt(model="")
_VECTORS = "embeddings"


def unbounded(
    source: ConfigSource, catalogue: Catalogue, keys: Iterable[Key], at: float
) -> list[Mistake]:
    """Warn of targets without a price or a bound, where a hard budget counts calls to them.

    `keys` may have budgets of their own; prices are those of the moment `at`.
    """
    every: Collection[str] = (*TIERS, _VECTORS)
    priced, capped = set[str](), set[str]()
    own = [budget for key in keys for budget in key.budgets]
    parts: list[BudgetPart | KeyBudget] = [*source.config.budgets, *own]
    for part in parts:
        if part.hard and part.usd is not None:
            counted = every if part.tier is None else part.tier
            priced.update(counted)
            capped.update(counted if part.reserve == "cap" else ())
    return [
        source.mistake((*path, "model"), message, hint, warn=True)
        for path, row, target in _targets(catalogue)
        if row in priced and target.provider.on
        for message, hint in _lacks(target, at, capped=row in capped, answers=row != _VECTORS)
    ]


def _targets(catalogue: Catalogue) -> Iterator[tuple[Path, str, Target]]:
    """Every target: its path, its tier or "embeddings", and itself."""
    for lab in catalogue.labs.values():
        for row, targets in (*lab.tiers.items(), (_VECTORS, lab.embeddings)):
            for place, target in enumerate(targets):
                yield ("labs", lab.name, row, place), row, target


def _lacks(target: Target, at: float, *, capped: bool, answers: bool) -> Iterator[tuple[str, str]]:
    """What keeps a hard budget from reserving the most that a call costs, and what helps."""
    if dearest((target,), 1, _CAPPED, at, answers=answers) is None:
        message = f"{target.model} has no price, so calls that a hard budget counts pass it over."
        yield message, "Give the model a `price`, or make the budget `hard: false`."
    elif capped and dearest((target,), 1, _FREE, at, answers=answers) is None:
        message = (
            f"{target.model} has neither `max_output` nor `context`: calls that a hard budget "
            "counts pass it over where their client sets no max_tokens."
        )
        yield message, "Give the model one of them, or set `unknown_output`."
