"""What positions of the quality dial give: the mix of tiers, the quality and the cost.

On golden prompts, decided as calls would be; or on calls of the ledger that a classifier decided.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import msgspec

from gateway.core.call import Key
from gateway.core.ledger_rows import ReplayRow
from gateway.core.quality import DIAL_SHARES
from gateway.core.target import TIERS
from gateway.evaluation.golden import GoldenPrompt, GoldenResult, decide_prompts
from gateway.routing import quality_dial
from gateway.routing.classifier.text_signals import TextSignals
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
        points.append(_make_point(router, position, results, timestamp))
    return points


def _make_point(
    router: Router, position: int | None, results: Sequence[GoldenResult], timestamp: float
) -> DialPoint:
    tiers = Counter(result.tier for result in results)
    costs = [_find_cost(router, result, timestamp) for result in results]
    known_costs = [cost for cost in costs if cost is not None]
    return DialPoint(
        position=position,
        prompts=len(results),
        tiers={tier: tiers[tier] for tier in TIERS},
        quality=_compute_quality(
            [
                (result.worth, TIERS.index(result.tier))
                for result in results
                if result.worth is not None and result.tier in TIERS
            ]
        ),
        cost=fmean(known_costs) * 1_000 if len(known_costs) == len(costs) else None,
        agreed=sum(result.passed for result in results),
    )


def _compute_quality(chosen: Sequence[tuple[Worth, int]]) -> float | None:
    """Return the share of reasoning's quality that the chosen tiers keep; None of none."""
    if not chosen:
        return None
    return fmean(worth[tier] for worth, tier in chosen) / fmean(worth[-1] for worth, _ in chosen)


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
        numbers = int((record.signals or {}).get("numbers", 0))
        worth = quality_dial.estimate_worth(record.score, TextSignals(numbers=numbers))
        self._calls.append((worth, costs, TIERS.index(row.tier)))

    def compute(self) -> list[DialPoint]:
        """Return a point for the calls as they were decided, and one for each position."""
        if not self._calls:
            return []
        chosen = [
            [
                TIERS.index(quality_dial.choose_tier(worth, costs, share))
                for worth, costs, _ in self._calls
            ]
            for share in DIAL_SHARES
        ]
        points = [self._make_point(None, [tier for *_, tier in self._calls])]
        return points + [self._make_point(number, tiers) for number, tiers in enumerate(chosen)]

    def _make_point(self, position: int | None, tiers: Sequence[int]) -> DialPoint:
        counts = Counter(tiers)
        worths = [worth for worth, *_ in self._calls]
        costs = [costs[tier] for (_, costs, _), tier in zip(self._calls, tiers, strict=True)]
        known_costs = [cost for cost in costs if cost is not None]
        return DialPoint(
            position=position,
            prompts=len(tiers),
            tiers={tier: counts[number] for number, tier in enumerate(TIERS)},
            quality=_compute_quality([*zip(worths, tiers, strict=True)]),
            cost=fmean(known_costs) * 1_000 if len(known_costs) == len(costs) else None,
            agreed=None,
        )
