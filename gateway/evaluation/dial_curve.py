"""Positions of the quality dial compared: the mix of tiers, the quality and the cost of each.

The comparison uses golden prompts, decided as calls would be, or calls of the ledger that a
classifier decided.
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
from gateway.routing.replay_decision import estimate_recorded_worth
from gateway.routing.router import Router


class DialPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The tiers, the quality and the cost at one position of the dial."""

    position: int | None
    """The position, 0 to 10. None is the configuration as it stands, or own calls as the gateway
    decided them or as the positions set now would."""
    is_set: bool = False
    """True for own calls at the positions that are set now."""
    prompts: int
    """The number of prompts, or of calls."""
    tiers: dict[str, int]
    """The number of prompts or calls by the tier that they get."""
    quality: float | None
    """The expected quality, as a share of that of reasoning; None if nothing was scored."""
    cost: float | None
    """The expected cost of a thousand answers, in USD; None if a price is not known."""
    agreed: int | None
    """The number of prompts that get the tier they should; None for calls, which nobody judged."""


def compute_curve(
    router: Router,
    prompts: Sequence[GoldenPrompt],
    keys: Mapping[str, Key],
    timestamp: float,
    tick: Callable[[], None] = lambda: None,
) -> list[DialPoint]:
    """Return a point for the configuration, then one for each position, at a moment's prices."""
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
    """The tier that one prompt or call gets, with its worth and cost."""

    tier: str
    """The tier; empty for a refusal, or a decision without a tier."""
    worth: Worth | None
    cost: float | None
    """The expected cost of the answer, in USD; None if it is not known."""


def _make_point(
    position: int | None,
    choices: Sequence[_Choice],
    agreed: int | None = None,
    *,
    is_set: bool = False,
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
        is_set=is_set,
        prompts=len(choices),
        tiers={tier: tiers[tier] for tier in TIERS},
        quality=fmean(own for own, _ in kept) / fmean(best for _, best in kept) if kept else None,
        cost=fmean(costs) * 1_000 if len(costs) == len(choices) else None,
        agreed=agreed,
    )


def _find_cost(router: Router, result: GoldenResult, timestamp: float) -> float | None:
    lab = router.catalogue.labs.get(result.lab)
    if lab is None:
        return None
    tokens = router.own_traffic.find_tokens(lab.name)
    costs = quality_dial.find_costs(lab, timestamp, tokens)
    if costs is None or result.tier not in TIERS:
        return None
    return costs[TIERS.index(result.tier)]


class _ClassifiedCall(NamedTuple):
    """A call that a classifier decided."""

    worth: Worth
    costs: TierCosts
    tier: int
    """The tier that it got, as an index of `TIERS`."""
    set_share: float | None
    """The share of quality that calls of its lab keep now; None if no dial is set."""


def _choose(call: _ClassifiedCall, tier: int) -> _Choice:
    return _Choice(TIERS[tier], call.worth, call.costs[tier])


class LedgerCurve:
    """Calls that a classifier decided, decided again at each position of the dial."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._calls: list[_ClassifiedCall] = []

    def add(self, row: ReplayRow) -> None:
        """Add a call. Ignore it if no classifier decided it, or if its score or costs are unknown.

        Costs are unknown for a lab that the configuration does not have, or has no prices for.
        """
        router = self._router
        record, lab = row.basis, router.catalogue.labs.get(row.lab or "")
        if row.source != "classifier" or row.tier not in TIERS or record is None or lab is None:
            return
        costs = quality_dial.find_costs(lab, row.at, router.own_traffic.find_tokens(lab.name))
        worth = estimate_recorded_worth(record)
        if worth is None or costs is None:
            return
        set_share, _ = router.find_lab_quality(lab)
        self._calls.append(_ClassifiedCall(worth, costs, TIERS.index(row.tier), set_share))

    def compute(self) -> list[DialPoint]:
        """Return a point for the calls as the gateway decided them, and one for each position.

        If the labs of all calls have a dial, the second point is for the positions set now.
        """
        if not self._calls:
            return []
        points = [_make_point(None, [_choose(call, call.tier) for call in self._calls])]
        set_choices = [
            self._dial(call, call.set_share) for call in self._calls if call.set_share is not None
        ]
        if len(set_choices) == len(self._calls):
            points.append(_make_point(None, set_choices, is_set=True))
        for position, share in enumerate(DIAL_SHARES):
            points.append(_make_point(position, [self._dial(call, share) for call in self._calls]))
        return points

    def _dial(self, call: _ClassifiedCall, share: float) -> _Choice:
        reference = self._router.own_traffic.reference
        price = quality_dial.find_quality_price(call.costs, share, reference)
        tier = quality_dial.choose_tier(call.worth, call.costs, share, price)
        return _choose(call, TIERS.index(tier))
