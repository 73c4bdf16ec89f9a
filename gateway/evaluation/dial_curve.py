"""What positions of the quality dial give on some prompts: the mix of tiers, quality and cost."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import msgspec

from gateway.core.call import Key
from gateway.core.quality import DIAL_SHARES
from gateway.core.target import TIERS
from gateway.evaluation.golden import GoldenPrompt, GoldenResult, decide_prompts
from gateway.routing import quality_dial
from gateway.routing.router import Router


class DialPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one position of the dial gives."""

    position: int | None
    """0 to 10; None is the configuration as it stands."""
    prompts: int
    tiers: dict[str, int]
    """Prompts by the tier that they get."""
    quality: float | None
    """The expected quality, as a share of what reasoning would give; None if nothing was scored."""
    cost: float | None
    """USD that a thousand answers are expected to cost; None if a price is not known."""
    agreed: int
    """Prompts that get the tier that they should."""


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
    worths = [
        (result.worth, TIERS.index(result.tier))
        for result in results
        if result.worth is not None and result.tier in TIERS
    ]
    costs = [_find_cost(router, result, timestamp) for result in results]
    known_costs = [cost for cost in costs if cost is not None]
    return DialPoint(
        position=position,
        prompts=len(results),
        tiers={tier: tiers[tier] for tier in TIERS},
        quality=(
            fmean(worth[tier] for worth, tier in worths) / fmean(worth[-1] for worth, _ in worths)
            if worths
            else None
        ),
        cost=fmean(known_costs) * 1_000 if len(known_costs) == len(costs) else None,
        agreed=sum(result.passed for result in results),
    )


def _find_cost(router: Router, result: GoldenResult, timestamp: float) -> float | None:
    lab = router.catalogue.labs.get(result.lab)
    costs = None if lab is None else quality_dial.find_costs(lab, timestamp)
    if costs is None or result.tier not in TIERS:
        return None
    return costs[TIERS.index(result.tier)]
