"""The classifier's part of a decision: a score, and the tier that it gives.

The quality dial turns a score into a tier. Without a dial, the classifier's thresholds do. Bounds
on shares only lower the tier.
"""

from functools import partial
from typing import Protocol

import msgspec

from gateway.core.decision import LazyReason
from gateway.core.decision_context import (
    DecisionContext,
    DialTerms,
    MeaningMatch,
    Score,
    Thresholds,
)
from gateway.core.target import TIERS, Tier
from gateway.routing import quality_dial, tier_share
from gateway.routing.classifier import heuristic
from gateway.routing.classifier.exemplars import score_match
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.quality_dial import CallQuality


class TraceWriter(Protocol):
    """Adds a line to a trace."""

    def __call__(
        self, step: str, reason: LazyReason, effect: str = "", *, matched: bool = True
    ) -> None:
        """Write one line: the step, the reason and the effect."""


class ScoredTier(msgspec.Struct, frozen=True):
    """The tier that a score gives, and why."""

    tier: Tier
    confidence: float | None
    score: Score
    thresholds: Thresholds
    dial_terms: DialTerms | None = None
    """The terms by which the quality dial chose; None if no dial chose."""


class ClassifierTier(msgspec.Struct, frozen=True):
    """The tier of a score, and how sure the classifier is of it."""

    tier: Tier
    unbounded_tier: Tier
    """The tier without bounds on shares."""
    confidence: float
    thresholds: Thresholds


class TurnAssessment(msgspec.Struct, frozen=True):
    """The values of a classifier's score that rules read, each 0 to 1."""

    need: float
    """The need for more than the fast tier: 1 minus the probability that the fast tier suffices."""
    confidence: float
    """The classifier's confidence in the tier that it would choose."""


_ROUNDED_DIGITS = 4
"""The number of decimal digits of a probability in rows and rules."""


def classify(
    classifier: heuristic.Classifier | None,
    call: Features,
    context: DecisionContext,
    add_step: TraceWriter,
    quality: CallQuality | None = None,
) -> ScoredTier | None:
    """Return the verdict on a call; None if there is no classifier, no text or no score.

    Return None too if `quality` is set and the lab's tiers have no costs to choose by.
    """
    if classifier is None or not call.has_text:
        return None
    if quality is not None and quality.costs is None:
        message = f"{quality.source}: the lab's tiers cost the same, or a price is unknown"
        add_step("dial", message, matched=False)
        return None
    score: Score | None = None
    reason: LazyReason = ""
    if context.uncompared is not None:
        add_step("meaning", context.uncompared, "degraded", matched=False)
    if context.nearest is not None:
        score, reason = _read_match(context.nearest, classifier, add_step)
    if score is None and context.unjudged is not None:
        add_step("judge", context.unjudged, "degraded", matched=False)
    judged = context.judged if score is None else None
    if judged is not None:
        is_decision = context.judge_kind == "decision"
        score = judged
        reason = partial(_describe_probabilities, judged) if is_decision else "judged by a model"
    if score is None:
        try:
            score = _compute_score(classifier, call)
        except ScoreError as error:
            add_step("classifier", str(error), matched=False)
            return None
        reason = partial(classifier.explain, call.signals, score)
    dialled_tier: Tier | None = None
    dial_reason: LazyReason = ""
    dial_terms: DialTerms | None = None
    if quality is not None and quality.costs is not None:
        worth = quality_dial.estimate_worth(score)
        dial_terms = quality.terms
        dialled_tier = quality_dial.choose_tier(
            worth, quality.costs, quality.share, dial_terms.price
        )
        dial_reason = partial(quality_dial.explain, worth, quality)
    chosen = _choose_tier(classifier, score, context, dialled_tier)
    add_step("classifier", reason, "" if dialled_tier else chosen.unbounded_tier)
    if dialled_tier is not None:
        add_step("dial", dial_reason, dialled_tier)
    if chosen.tier != chosen.unbounded_tier:
        kept_tier, source = chosen.unbounded_tier, chosen.thresholds.id
        reason = f"max_share keeps {kept_tier} for turns that need it more ({source})"
        add_step("share", reason, chosen.tier)
    is_word = judged is not None and context.judge_kind == "chat"  # a word is no probability
    confidence = None if is_word else chosen.confidence
    return ScoredTier(chosen.tier, confidence, score, chosen.thresholds, dial_terms)


def _describe_probabilities(score: Score) -> str:
    return f"judged by a decision model: fast suffices {score.fast:.2f}, smart {score.smart:.2f}"


def _read_match(
    match: MeaningMatch, classifier: heuristic.Classifier, add_step: TraceWriter
) -> tuple[Score | None, LazyReason]:
    """Return the score of the nearest exemplar or route by meaning, and the reason.

    If it is not near enough, add a trace line that names it.
    """
    if match.is_near:
        score = score_match(match, classifier.thresholds)
        return score, f"near {match.kind} {match.name} ({match.near:.2f}) by meaning"
    reason = f"nearest is {match.kind} {match.name} ({match.near:.2f}), below {match.least:g}"
    add_step("meaning", reason, matched=False)
    return None, ""


def restate_confidence(verdict: ScoredTier | None, tier: Tier) -> ScoredTier | None:
    """Return a verdict with its confidence in another tier than it chose."""
    if verdict is None or verdict.confidence is None:
        return verdict
    score = verdict.score
    confidence = {"fast": score.fast, "smart": score.smart, "reasoning": 1.0 - score.smart}[tier]
    return msgspec.structs.replace(verdict, confidence=round(confidence, 4))


def assess_turn(
    classifier: heuristic.Classifier | None, call: Features, context: DecisionContext
) -> TurnAssessment:
    """Return the values of a classifier's score that rules read. Raises ScoreError without a score.

    A judge's verdict does not count here: the gateway asks the judge only after rules have left the
    tier open.
    """
    if classifier is None:
        raise ScoreError("there is no classifier")
    if not call.has_text:
        raise ScoreError("the turn has no text")
    score = _compute_score(classifier, call)
    confidence = _choose_tier(classifier, score, context).confidence
    return TurnAssessment(round(1.0 - score.fast, _ROUNDED_DIGITS), confidence)


def _compute_score(classifier: heuristic.Classifier, call: Features) -> Score:
    """Return the score of a turn, computed once per call. Raises ScoreError without a score."""
    try:
        score = call.score(classifier)
    except ScoreError as error:
        raise ScoreError(f"it failed: {error}") from None
    if not 0 <= score.fast <= score.smart <= 1:  # also refuses NaN
        raise ScoreError("its score is not between 0 and 1")
    return score


def _choose_tier(
    classifier: heuristic.Classifier,
    score: Score,
    context: DecisionContext,
    dialled_tier: Tier | None = None,
) -> ClassifierTier:
    """Choose the tier of a score by the classifier's thresholds and by bounds on shares.

    A `dialled_tier`, by the quality dial, replaces the tier of the thresholds.
    """
    classifier_thresholds = classifier.thresholds
    thresholds = context.thresholds or classifier_thresholds
    unbounded_tier = tier = dialled_tier or heuristic.choose_tier(score, classifier_thresholds)
    if thresholds is not classifier_thresholds:
        bounded_tier = (
            heuristic.choose_tier(score, thresholds)
            if thresholds.cut is None
            else tier_share.choose_tier(score, classifier_thresholds, thresholds.cut, context.at)
        )
        tier = min(unbounded_tier, bounded_tier, key=TIERS.index)  # bounds only lower the tier
    confidence = score.fast if tier == "fast" else score.smart
    confidence = 1.0 - confidence if tier == "reasoning" else confidence
    return ClassifierTier(tier, unbounded_tier, round(confidence, _ROUNDED_DIGITS), thresholds)
