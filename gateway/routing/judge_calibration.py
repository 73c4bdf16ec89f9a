"""The calibration of a judge: what its probabilities mean, by the owner's own labels.

A decision model gives probabilities, and they are often too sure. Each of the two that routing
reads gets a line: the logit of the calibrated probability is the slope times the logit of the
judge's, plus the level.
"""

import math

import msgspec

from gateway.core.decision_context import Score

_LEAST_PROBABILITY = 0.001
"""The probability below which a judge counts as equally sure; 1 minus it at the other end."""

_MAX_LOGIT = 30.0
"""The logit from which on a probability is 1 to all digits that count."""


class ProbabilityLine(msgspec.Struct, frozen=True):
    """The line from the logit of a judge's probability to the logit of the calibrated one."""

    slope: float = 1.0
    level: float = 0.0

    def apply(self, probability: float) -> float:
        """Return the calibrated probability."""
        logit = self.slope * compute_logit(probability) + self.level
        return 1 / (1 + math.exp(-max(min(logit, _MAX_LOGIT), -_MAX_LOGIT)))


class JudgeCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """The lines for both probabilities of a score."""

    fast: ProbabilityLine = ProbabilityLine()
    smart: ProbabilityLine = ProbabilityLine()

    def apply(self, score: Score) -> Score:
        """Return the calibrated score. If fast suffices, so does smart."""
        smart = self.smart.apply(score.smart)
        return Score(min(self.fast.apply(score.fast), smart), smart)


def compute_logit(probability: float) -> float:
    """Return the logit of a probability, which stays finite at 0 and 1."""
    bounded = min(max(probability, _LEAST_PROBABILITY), 1 - _LEAST_PROBABILITY)
    return math.log(bounded / (1 - bounded))
