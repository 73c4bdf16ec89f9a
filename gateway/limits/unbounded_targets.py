"""Targets that the gateway passes over, since a hard budget cannot reserve what they may cost."""

from collections.abc import Collection, Iterable, Iterator

from gateway.core.call import Key, KeyBudget
from gateway.core.prompt import Prompt
from gateway.core.target import TIERS, Catalogue, Target
from gateway.limits.cost_bounds import compute_max_cost
from gateway.settings.errors import Mistake, Path
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.limits import BudgetPart

_CAPPED_PROMPT, _UNCAPPED_PROMPT = Prompt(model="", max_output=1), Prompt(model="")
_EMBEDDINGS = "embeddings"


def find_unbounded_targets(
    source: ConfigSource, catalogue: Catalogue, keys: Iterable[Key], timestamp: float
) -> list[Mistake]:
    """Warn of targets without a price or a bound, if a hard budget counts calls to them.

    `keys` may have budgets of their own; prices are those of the moment `timestamp`.
    """
    all_rows: Collection[str] = (*TIERS, _EMBEDDINGS)
    priced_rows, capped_rows = set[str](), set[str]()
    key_budgets = [budget for key in keys for budget in key.budgets]
    parts: list[BudgetPart | KeyBudget] = [*source.config.budgets, *key_budgets]
    for part in parts:
        if part.hard and part.usd is not None:
            counted_rows = all_rows if part.tier is None else part.tier
            priced_rows.update(counted_rows)
            capped_rows.update(counted_rows if part.reserve != "expected" else ())
    return [
        source.make_mistake((*path, "model"), message, hint, warn=True)
        for path, row, target in _iter_targets(catalogue)
        if row in priced_rows and target.provider.enabled
        for message, hint in _explain_gaps(
            target, timestamp, is_capped=row in capped_rows, has_answer=row != _EMBEDDINGS
        )
    ]


def _iter_targets(catalogue: Catalogue) -> Iterator[tuple[Path, str, Target]]:
    """Yield each target: its path, its tier or "embeddings", and itself."""
    for lab in catalogue.labs.values():
        for row, targets in (*lab.tiers.items(), (_EMBEDDINGS, lab.embeddings)):
            for index, target in enumerate(targets):
                yield ("labs", lab.name, row, index), row, target


def _explain_gaps(
    target: Target, timestamp: float, *, is_capped: bool, has_answer: bool
) -> Iterator[tuple[str, str]]:
    """Yield why a hard budget cannot reserve the most that a call costs, and what helps."""
    if compute_max_cost((target,), 1, _CAPPED_PROMPT, timestamp, has_answer=has_answer) is None:
        message = f"{target.model} has no price, so calls under a hard budget skip it."
        hint = "Give the model a `price`, set `unknown_price`, or make the budget `hard: false`."
        yield message, hint
    elif (
        is_capped
        and compute_max_cost((target,), 1, _UNCAPPED_PROMPT, timestamp, has_answer=has_answer)
        is None
    ):
        message = (
            f"{target.model} has neither `max_output` nor `context`: calls under a hard "
            "budget skip it if their client sets no max_tokens."
        )
        yield message, "Give the model one of them, or set `unknown_output`."
