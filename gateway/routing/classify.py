"""The classifier's part of a decision: a score, against thresholds, within bounds on shares."""

from functools import partial
from typing import NamedTuple, Protocol

from gateway.core.decision import Why
from gateway.core.decision_context import DecisionContext, Score, Thresholds
from gateway.core.target import TIERS, Tier
from gateway.routing import tier_share
from gateway.routing.classifier import heuristic
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features


class TraceWriter(Protocol):
    """Adds a line to a trace."""

    def __call__(self, step: str, why: Why, effect: str = "", *, matched: bool = True) -> None:
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
    evidence: DecisionContext,
    add: TraceWriter,
) -> ScoredTier | None:
    """The verdict on a call; None where there is no classifier, no text or no score."""
    if classifier is None or not call.has_text:
        return None
    if evidence.unjudged is not None:
        add("judge", evidence.unjudged, "degraded", matched=False)
    score: Score | None
    why: Why
    score, why = evidence.judged, "judged by a model"
    if score is None:
        score = _scored(classifier, call, add)
        if score is None:
            return None
        why = partial(classifier.why, call.signals, score)
    own = classifier.thresholds
    used = evidence.thresholds or own
    first = tier = heuristic.tier(score, own)
    if used is not own:
        asked = (
            heuristic.tier(score, used)
            if used.cut is None
            else tier_share.under(score, own, used.cut, evidence.at)
        )
        tier = min(first, asked, key=TIERS.index)  # bounds only take away
    sure = score.fast if tier == "fast" else score.smart
    sure = 1.0 - sure if tier == "reasoning" else sure
    add("classifier", why, first)
    if tier != first:
        why = f"by max_share {first} has its share of turns that need it more ({used.id})"
        add("share", why, tier)
    return ScoredTier(tier, None if evidence.judged else round(sure, 4), score, used)


def _scored(classifier: heuristic.Classifier, call: Features, add: TraceWriter) -> Score | None:
    try:
        score = call.score(classifier)
    except ScoreError as error:
        add("classifier", f"it failed: {error}", matched=False)
        return None
    if not 0 <= score.fast <= score.smart <= 1:  # nor where one is no number
        add("classifier", "its score is none", matched=False)
        return None
    return score
