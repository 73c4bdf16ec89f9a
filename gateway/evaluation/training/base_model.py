"""The heuristic classifier (the prior), fitted again without the source that it is judged on.

Only the weights that came from data are fitted; the others are judgement and stay.
"""

from collections.abc import Sequence
from math import exp

from gateway.core.decision_context import Score, Thresholds
from gateway.evaluation.training.dataset import TrainingRow, balance_sources
from gateway.routing.classifier import heuristic
from gateway.routing.classifier.text_signals import TextSignals

FITTED = ("length", "asks to write", "asks for a program", "word problem")
"""The terms of the prior whose fast weights come from data; the other weights are judgement."""
_STEPS = 25
_SMALL = 1e-4


class RefittedHeuristic:
    """The prior with other weights."""

    name = "prior"
    version = "prior-refitted"
    reads = "signals"
    thresholds: Thresholds = heuristic.THRESHOLDS

    def __init__(self, weights: Sequence[float]) -> None:
        """Take a fast weight for each term of the prior, in the order of the terms."""
        self._weights = tuple(weights)

    def score(self, text: str, signals: TextSignals) -> Score:
        """Return the prior's score, with `fast` by the new weights, and `smart` at least `fast`."""
        own = heuristic.HeuristicClassifier().score(text, signals)
        logit = heuristic.FAST_LOGIT + sum(
            weight * term.value(signals)
            for weight, term in zip(self._weights, heuristic.TERMS, strict=True)
        )
        fast = 1 / (1 + exp(-logit))
        return Score(fast=fast, smart=max(fast, own.smart))

    def explain(self, signals: TextSignals, score: Score) -> str:
        """Return the prior's explanation of a score."""
        return heuristic.explain(signals, score)


def refit(rows: Sequence[TrainingRow]) -> RefittedHeuristic:
    """Return the prior with the weights of `FITTED` fitted to rows by Newton's method.

    Each source has an intercept of its own, and every source counts the same.
    """
    sources = sorted({row.source for row in rows})
    names = [term.name for term in heuristic.TERMS]
    places = [names.index(name) for name in FITTED]
    values = [[float(term.value(row.signals)) for term in heuristic.TERMS] for row in rows]
    fixed = [
        sum(
            term.fast_weight * value
            for at, (term, value) in enumerate(zip(heuristic.TERMS, own, strict=True))
            if at not in places
        )
        for own in values
    ]
    design = [
        [*(own[at] for at in places), *(float(row.source == source) for source in sources)]
        for own, row in zip(values, rows, strict=True)
    ]
    weights = balance_sources([row.source for row in rows])
    theta = [0.0] * (len(places) + len(sources))
    for _ in range(_STEPS):
        theta = _newton(theta, design, fixed, rows, weights)
    fast_weights = [term.fast_weight for term in heuristic.TERMS]
    for place, weight in zip(places, theta, strict=False):
        fast_weights[place] = weight
    return RefittedHeuristic(fast_weights)


def _newton(
    theta: list[float],
    design: Sequence[Sequence[float]],
    fixed: Sequence[float],
    rows: Sequence[TrainingRow],
    weights: Sequence[float],
) -> list[float]:
    size, count = len(theta), len(rows)
    slope = [-_SMALL * value for value in theta]
    curve = [[_SMALL * (at == other) for other in range(size)] for at in range(size)]
    for own, offset, row, weight in zip(design, fixed, rows, weights, strict=True):
        live = [at for at in range(size) if own[at]]
        predicted = 1 / (1 + exp(-(offset + sum(theta[at] * own[at] for at in live))))
        miss, bend = (
            weight * ((row.gain <= 0) - predicted) / count,
            weight * predicted * (1 - predicted) / count,
        )
        for at in live:
            slope[at] += miss * own[at]
            line, part = curve[at], bend * own[at]
            for other in live:
                line[other] += part * own[other]
    return [value + step for value, step in zip(theta, solve(curve, slope), strict=True)]


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve a small positive definite system by Gaussian elimination."""
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for at in range(size):
        for below in range(at + 1, size):
            part = rows[below][at] / rows[at][at]
            rows[below] = [
                low - part * high for low, high in zip(rows[below], rows[at], strict=True)
            ]
    solution = [0.0] * size
    for at in reversed(range(size)):
        solved_part = sum(rows[at][other] * solution[other] for other in range(at + 1, size))
        solution[at] = (rows[at][size] - solved_part) / rows[at][at]
    return solution
