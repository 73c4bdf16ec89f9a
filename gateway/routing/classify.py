"""The classifier's part of a decision: a score, and the tier that it comes to.

The quality dial turns a score into a tier, or the classifier's thresholds where no dial is set.
Bounds on shares only take away.
"""

from functools import partial
from typing import NamedTuple, Protocol

from gateway.core.decision import LazyReason
from gateway.core.decision_context import DecisionContext, Score, Thresholds
from gateway.core.target import TIERS, Tier
from gateway.routing import quality_dial, tier_share
from gateway.routing.classifier import heuristic
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.quality_dial import CallQuality


class TraceWriter(Protocol):
    """Adds a line to a trace."""

    def __call__(
        self, step: str, reason: LazyReason, effect: str = "", *, matched: bool = True
    ) -> None:
        """One line: what was looked at, why, and what came of it."""


class ScoredTier(NamedTuple):
    """What a score comes to."""

    tier: Tier
    confidence: float | None
    score: Score
    thresholds: Thresholds


def classify(
    classifier: heuristic.Classifier | None,
    call: Features,
    context: DecisionContext,
    add_step: TraceWriter,
    quality: CallQuality | None = None,
) -> ScoredTier | None:
    """The verdict on a call; None where there is no classifier, no text or no score.

    None too where `quality` is asked for and the lab's tiers have no costs to choose by.
    """
    if classifier is None or not call.has_text:
        return None
    if quality is not None and quality.costs is None:
        message = f"{quality.source}: the lab's tiers cost the same, or a price is not known"
        add_step("dial", message, matched=False)
        return None
    if context.unjudged is not None:
        add_step("judge", context.unjudged, "degraded", matched=False)
    score: Score | None
    reason: LazyReason
    score, reason = context.judged, "judged by a model"
    if score is None:
        score = _compute_score(classifier, call, add_step)
        if score is None:
            return None
        reason = partial(classifier.explain, call.signals, score)
    classifier_thresholds = classifier.thresholds
    thresholds = context.thresholds or classifier_thresholds
    if quality is None or quality.costs is None:
        unbounded_tier = tier = heuristic.choose_tier(score, classifier_thresholds)
        add_step("classifier", reason, unbounded_tier)
    else:
        worth = quality_dial.estimate_worth(score, call.signals)
        unbounded_tier = tier = quality_dial.choose_tier(worth, quality.costs, quality.share)
        add_step("classifier", reason)
        add_step("dial", partial(quality_dial.explain, worth, quality), unbounded_tier)
    if thresholds is not classifier_thresholds:
        bounded_tier = (
            heuristic.choose_tier(score, thresholds)
            if thresholds.cut is None
            else tier_share.choose_tier(score, classifier_thresholds, thresholds.cut, context.at)
        )
        tier = min(unbounded_tier, bounded_tier, key=TIERS.index)  # bounds only take away
    confidence = score.fast if tier == "fast" else score.smart
    confidence = 1.0 - confidence if tier == "reasoning" else confidence
    if tier != unbounded_tier:
        reason = (
            f"by max_share {unbounded_tier} has its share of turns that need it more"
            f" ({thresholds.id})"
        )
        add_step("share", reason, tier)
    return ScoredTier(tier, None if context.judged else round(confidence, 4), score, thresholds)


def _compute_score(
    classifier: heuristic.Classifier, call: Features, add_step: TraceWriter
) -> Score | None:
    try:
        score = call.score(classifier)
    except ScoreError as error:
        add_step("classifier", f"it failed: {error}", matched=False)
        return None
    if not 0 <= score.fast <= score.smart <= 1:  # nor where one is no number
        add_step("classifier", "its score is none", matched=False)
        return None
    return score
