"""Measure how near a score is to another tier, where a second opinion may change the tier."""

import math

from gateway.core.decision import Decision
from gateway.core.decision_context import DialTerms, Score, Thresholds
from gateway.core.target import Lab
from gateway.routing import quality_dial
from gateway.routing.router import Router


def find_margin(router: Router, decision: Decision, timestamp: float) -> float:
    """Return how far the score of a decision is from another tier; infinite without a score.

    With the quality dial it is the worth of the best tier minus that of the second, both after the
    price of their costs. Without it, it is the distance to the nearest threshold that matters.
    """
    score, terms = decision.score, decision.dial_terms
    if score is None:
        return math.inf
    if terms is not None:
        return _compare_worths(score, terms, router.catalogue.labs[terms.lab], timestamp)
    if decision.thresholds is None:
        return math.inf
    return _measure_distance(score, decision.thresholds)


def _compare_worths(score: Score, terms: DialTerms, lab: Lab, timestamp: float) -> float:
    """Return the difference between the two best tiers; infinite at the ends of the dial."""
    costs = quality_dial.find_costs(lab, timestamp, terms.tokens)
    if not terms.price or costs is None:
        return math.inf
    worth = quality_dial.estimate_worth(score)
    worths = [
        worth[tier] - terms.price * weight for weight, tier in quality_dial.weigh_costs(costs)
    ]
    best, second = sorted(worths, reverse=True)[:2]  # costs that differ are of several tiers
    return best - second


def _measure_distance(score: Score, thresholds: Thresholds) -> float:
    """Return the distance to the nearest threshold; that of smart matters only above fast."""
    from_fast = score.fast - thresholds.fast
    if from_fast >= 0:
        return from_fast
    return min(-from_fast, abs(score.smart - thresholds.smart))
