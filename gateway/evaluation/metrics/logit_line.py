"""The line from numbers to the logit of a probability, fitted to outcomes (Platt's method)."""

from collections.abc import Sequence
from math import exp
from typing import NamedTuple

_NEWTON_STEPS = 25
_SMALL = 1e-3
"""A small curvature that the fit adds: outcomes which are all the same have a line then."""
_LEAST_STEP = 1e-12
"""The step below which the line is found: no artefact keeps as many digits."""
_MAX_LOGIT = 30.0


class FittedLine(NamedTuple):
    """The slope and the level of a fitted line."""

    slope: float
    level: float


def fit_line(
    numbers: Sequence[float],
    outcomes: Sequence[float],
    weights: Sequence[float],
    *,
    first_slope: float = 1.0,
) -> FittedLine:
    """Return the line from `numbers` to the logit of `outcomes`, fitted by Newton's method.

    Outcomes are from 0 to 1. The fit begins with `first_slope`. From a slope that is far too steep
    it finds no line; from 0 it always does.
    """
    slope, level = first_slope, 0.0
    for _ in range(_NEWTON_STEPS):
        slope_gradient, level_gradient = -_SMALL * slope, 0.0
        slope_curvature = level_curvature = _SMALL
        mixed_curvature = 0.0
        for number, outcome, weight in zip(numbers, outcomes, weights, strict=True):
            logit = max(min(slope * number + level, _MAX_LOGIT), -_MAX_LOGIT)
            estimate = 1 / (1 + exp(-logit))
            miss, bend = weight * (outcome - estimate), weight * estimate * (1 - estimate)
            slope_gradient += miss * number
            level_gradient += miss
            slope_curvature += bend * number * number
            mixed_curvature += bend * number
            level_curvature += bend
        part = mixed_curvature / slope_curvature  # Gaussian elimination
        level_step = (level_gradient - part * slope_gradient) / (
            level_curvature - part * mixed_curvature
        )
        slope_step = (slope_gradient - mixed_curvature * level_step) / slope_curvature
        slope, level = slope + slope_step, level + level_step
        if max(abs(slope_step), abs(level_step)) < _LEAST_STEP:
            break
    return FittedLine(slope, level)
