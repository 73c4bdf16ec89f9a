"""A scripted decision model: it reads the true outcome through noise, and is too sure of itself.

Published tests give decision models an accuracy of about .75 and a calibration error of .06 to .10.
The judge here has an accuracy of .75 and an error of .08 on prompts of which half need more than
fast. What it gains is a property of this simulation, and no measurement of any model.
"""

from collections.abc import Sequence
from random import Random
from statistics import NormalDist

from gateway.evaluation.metrics.logit_line import FittedLine, fit_line
from gateway.routing.classifier.learned import compute_logit, logistic

ACCURACY = 0.75
OVERCONFIDENCE = 1.7
"""The factor by which its logits are too large: it gives a calibration error of .08."""
_SEPARATION = 2 * NormalDist().inv_cdf(ACCURACY)
"""The distance of the two outcomes, in standard deviations of its noise."""


def draw_answers(outcomes: Sequence[bool], random: Random) -> list[float]:
    """Return the judge's probability that each prompt needs more than fast; True if it does."""
    answers = []
    for outcome in outcomes:
        seen = random.gauss(_SEPARATION / 2 if outcome else -_SEPARATION / 2)
        answers.append(logistic(OVERCONFIDENCE * _SEPARATION * seen))
    return answers


def fit_calibration(answers: Sequence[float], outcomes: Sequence[bool]) -> FittedLine:
    """Return the line from the judge's logits to those of the outcomes."""
    logits = [compute_logit(answer) for answer in answers]
    return fit_line(logits, [float(outcome) for outcome in outcomes], [1.0] * len(answers))


def apply_calibration(answers: Sequence[float], line: FittedLine) -> list[float]:
    """Return the judge's probabilities after calibration."""
    return [logistic(line.slope * compute_logit(answer) + line.level) for answer in answers]
