"""Ways to rank prompts, compared with a base and with a shuffled control on the same prompts.

A way has several runs: another draw of labels, or of a judge's answers. A run judges rows of one
source that it has not learnt from. Figures are means over the runs of a source, then over sources.
"""

from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from gateway.evaluation.metrics.bootstrap import REPEATS, Interval, Weights, compute_intervals
from gateway.evaluation.metrics.ranking import Ranking, average_sources


class MethodRun(msgspec.Struct, frozen=True, kw_only=True):
    """The needs of some rows of one source, by a way to rank them and by its control."""

    source: str
    rows: Sequence[int]
    """The indexes of the judged rows."""
    needs: Sequence[float]
    control_needs: Sequence[float]
    """The needs by the same way, taught or told by shuffled labels."""


class JudgedRows(msgspec.Struct, frozen=True, kw_only=True):
    """All rows: their scores, and their needs by the base."""

    fast: Sequence[float]
    smart: Sequence[float]
    base_needs: Sequence[float]


class MethodScores(msgspec.Struct, frozen=True, kw_only=True):
    """The APGR of a way to rank prompts, with its gain and its control; the mean over sources."""

    sources: Mapping[str, Interval | None]
    mean: Interval | None
    gain: Interval | None
    """The gain over the base, on the rows that the runs judge."""
    control: Interval | None
    """The APGR of the control."""
    control_gain: Interval | None


class _RunRankings:
    """The rankings of the rows of one run: by the way, by its control and by the base."""

    def __init__(self, run: MethodRun, judged: JudgedRows) -> None:
        fast = [judged.fast[row] for row in run.rows]
        smart = [judged.smart[row] for row in run.rows]
        base_needs = [judged.base_needs[row] for row in run.rows]
        self.run = run
        self._rankings = [
            Ranking(needs, fast, smart) for needs in (run.needs, run.control_needs, base_needs)
        ]

    def compute_apgr(self, weights: Weights) -> list[float | None]:
        """Return the APGR by the way, by its control and by the base."""
        row_weights = [weights[row] for row in self.run.rows]
        return [ranking.compute_apgr(row_weights) for ranking in self._rankings]


def score_method(
    runs: Sequence[MethodRun], judged: JudgedRows, random: Random, repeats: int = REPEATS
) -> MethodScores:
    """Return the figures of a way to rank prompts, with 95% intervals by resampling the rows."""
    rankings = [_RunRankings(run, judged) for run in runs]
    names = sorted({run.source for run in runs})

    def compute_figures(weights: Weights) -> dict[tuple[str, str], float | None]:
        values: dict[tuple[str, str], list[float]] = {}
        for ranking in rankings:
            apgr = ranking.compute_apgr(weights)
            for kind, value in zip(("own", "control", "base"), apgr, strict=True):
                if value is not None:
                    values.setdefault((kind, ranking.run.source), []).append(value)
        by_kind = {
            kind: {name: _average(values.get((kind, name), [])) for name in names}
            for kind in ("own", "control", "base")
        }
        means = {kind: average_sources(by_source) for kind, by_source in by_kind.items()}
        return {
            **{("source", name): value for name, value in by_kind["own"].items()},
            ("mean", "own"): means["own"],
            ("mean", "control"): means["control"],
            ("gain", "own"): _subtract(means["own"], means["base"]),
            ("gain", "control"): _subtract(means["control"], means["base"]),
        }

    intervals = compute_intervals(compute_figures, len(judged.fast), random, repeats)
    return MethodScores(
        sources={name: intervals["source", name] for name in names},
        mean=intervals["mean", "own"],
        gain=intervals["gain", "own"],
        control=intervals["mean", "control"],
        control_gain=intervals["gain", "control"],
    )


def _average(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _subtract(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base
