"""What positions of the quality dial give: the mix of tiers, the quality and the cost.

On golden prompts, decided as calls would be; or on calls of the ledger that a classifier decided.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import msgspec

from gateway.core.call import Key
from gateway.core.ledger_rows import ReplayRow
from gateway.core.quality import DIAL_SHARES
from gateway.core.target import TIERS
from gateway.evaluation.golden import GoldenPrompt, GoldenResult, decide_prompts
from gateway.routing import quality_dial
from gateway.routing.quality_dial import TierCosts, Worth
from gateway.routing.router import Router


class DialPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one position of the dial gives."""

    position: int | None
    """0 to 10; None is the configuration as it stands."""
    prompts: int
    """Prompts, or calls."""
    tiers: dict[str, int]
    """The same by the tier that they get."""
    quality: float | None
    """The expected quality, as a share of what reasoning would give; None if nothing was scored."""
    cost: float | None
    """USD that a thousand answers are expected to cost; None if a price is not known."""
    agreed: int | None
    """Prompts that get the tier that they should; None of calls, which nobody has judged."""


def compute_curve(
    router: Router,
    prompts: Sequence[GoldenPrompt],
    keys: Mapping[str, Key],
    timestamp: float,
    tick: Callable[[], None] = lambda: None,
) -> list[DialPoint]:
    """Return a point for the configuration and one for each position, at prices of a time."""
    points: list[DialPoint] = []
    for position, share in ((None, None), *enumerate(DIAL_SHARES)):
        results = decide_prompts(router, prompts, keys, tick, quality=share)
        choices = [
            _Choice(result.tier, result.worth, _find_cost(router, result, timestamp))
            for result in results
        ]
        points.append(_make_point(position, choices, sum(result.passed for result in results)))
    return points


class _Choice(NamedTuple):
    """What one prompt or call gets."""

    tier: str
    """A tier; empty for a refusal."""
    worth: Worth | None
    cost: float | None
    """USD; None if it is not known."""


def _make_point(
    position: int | None, choices: Sequence[_Choice], agreed: int | None = None
) -> DialPoint:
    tiers = Counter(choice.tier for choice in choices)
    costs = [choice.cost for choice in choices if choice.cost is not None]
    kept = [
        (choice.worth[TIERS.index(choice.tier)], choice.worth.reasoning)
        for choice in choices
        if choice.worth is not None and choice.tier in TIERS
    ]
    return DialPoint(
        position=position,
        prompts=len(choices),
        tiers={tier: tiers[tier] for tier in TIERS},
        quality=fmean(own for own, _ in kept) / fmean(best for _, best in kept) if kept else None,
        cost=fmean(costs) * 1_000 if len(costs) == len(choices) else None,
        agreed=agreed,
    )


def _find_cost(router: Router, result: GoldenResult, timestamp: float) -> float | None:
    lab = router.catalogue.labs.get(result.lab)
    costs = None if lab is None else quality_dial.find_costs(lab, timestamp)
    if costs is None or result.tier not in TIERS:
        return None
    return costs[TIERS.index(result.tier)]


class LedgerCurve:
    """Calls that a classifier decided, as each position of the dial would decide them."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._calls: list[tuple[Worth, TierCosts, int]] = []
        """Worth, costs, and the tier that it got."""

    def add(self, row: ReplayRow) -> None:
        """Take a call; one without a score, or at a lab of unknown costs, tells nothing."""
        record, lab = row.basis, self._router.catalogue.labs.get(row.lab or "")
        if row.source != "classifier" or row.tier not in TIERS or record is None or lab is None:
            return
        costs = quality_dial.find_costs(lab, row.at)
        if record.score is None or costs is None:
            return
        worth = quality_dial.estimate_worth(record.score)
        self._calls.append((worth, costs, TIERS.index(row.tier)))

    def compute(self) -> list[DialPoint]:
        """Return a point for the calls as they were decided, and one for each position."""
        if not self._calls:
            return []
        decided = [_Choice(TIERS[tier], worth, costs[tier]) for worth, costs, tier in self._calls]
        points = [_make_point(None, decided)]
        for position, share in enumerate(DIAL_SHARES):
            choices: list[_Choice] = []
            for worth, costs, _ in self._calls:
                tier = quality_dial.choose_tier(worth, costs, share)
                choices.append(_Choice(tier, worth, costs[TIERS.index(tier)]))
            points.append(_make_point(position, choices))
        return points
