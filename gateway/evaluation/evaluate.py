"""A router held against what knows nothing and what knows all, on labels."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import compress
from operator import mul
from random import Random

import msgspec

from gateway.core.decision_context import Score
from gateway.core.target import TIERS, Tier
from gateway.evaluation.metrics import calibration, cost_quality
from gateway.evaluation.metrics.bootstrap import Interval, Weights, intervals
from gateway.evaluation.metrics.calibration import CalibrationCurve
from gateway.evaluation.metrics.cost_quality import CostQualityPoint, TierScores
from gateway.evaluation.metrics.ranking import Sources, auc, average, by_source
from gateway.evaluation.routed_labels import RoutedLabel

REPEATS = 500
SHUFFLES = 200
_PICO = 12
"""Costs are counted in 10^-12 USD: a price a million tokens has six digits at most."""
_WORTHS = (0.0, *(10 ** (step / 4) for step in range(-20, 13)))
"""What an oracle may be told that a unit of score is worth, in costs of the dearest tier."""


class RouterResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one router gives and costs."""

    name: str
    quality: Interval | None
    usd: Decimal | None
    """Of 1,000 prompts; None where a price is unknown."""
    shares: dict[Tier, float]
    """How often it takes each tier."""


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """What this router costs less than always one tier."""

    baseline: Tier
    part: Interval
    """Of the baseline's cost."""
    usd: Decimal
    """Of 1,000 prompts."""
    quality: Interval
    """This router's less the baseline's: what the saving costs in quality."""
    beyond: Interval | None
    """What it costs less than the best mix by chance of the same quality, as a part of that."""


class LabelSource(msgspec.Struct, frozen=True, kw_only=True):
    """One set of the labels."""

    name: str
    rows: int
    apgr: Interval | None
    gain: Interval | None


class ScoredLabels(msgspec.Struct, frozen=True, kw_only=True):
    """All labels that have scores of the same tiers."""

    tiers: tuple[Tier, ...]
    rows: int
    folded: int
    """Prompts whose tier has no score here: the nearest above that has, else below, stands in."""
    lines: tuple[RouterResult, ...]
    gain: Interval | None
    """This router's quality less that of a shuffled one: the control is 0."""
    saving: Saving | None
    refused: str
    """Why no saving is told; empty where one is."""
    apgr: Interval | None
    """The classifier's, mean over sources, from the cheapest tier to the next; chance is 1/2."""
    auc: Interval | None
    """The classifier's, for whether the cheapest tier does as well as the next."""
    calibration: CalibrationCurve | None
    frugal: dict[str, float]
    """Of 95% of the dearest tier's quality: the cost, as a part of its own, by what routes."""
    sources: tuple[LabelSource, ...]
    curves: dict[str, tuple[CostQualityPoint, ...]]
    """USD of 1,000 prompts and quality: of mixes by chance, classifier (all thresholds), oracle."""


class HandLabels(msgspec.Struct, frozen=True, kw_only=True):
    """Tiers given by hand, against those that were decided. They say nothing of outcomes."""

    rows: int
    refused: int
    agreed: float
    above: float
    """Share that gets a dearer tier than its opinion."""
    below: float
    table: dict[Tier, dict[Tier, int]]
    """By opinion, then by decision."""


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation says."""

    views: tuple[ScoredLabels, ...]
    opinions: HandLabels | None
    refused: int
    """Prompts with outcomes that this configuration refuses."""
    alone: int
    """Prompts with a score of one tier only, which say nothing."""
    trained: tuple[str, ...] = ()
    """Sources whose names the classifier was trained on: on what it has seen it looks better."""

    @property
    def better(self) -> bool:
        """Whether every saving can be told: this router beats its control everywhere."""
        return all(not view.refused for view in self.views)


def report(
    rows: Sequence[RoutedLabel],
    chance: Random,
    *,
    baseline: Tier | None = None,
    repeats: int = REPEATS,
    trained: Collection[str] = (),
    tick: Callable[[], None] = lambda: None,
) -> EvaluationReport:
    """The whole evaluation. `trained` names what the classifier has learnt from.

    `tick` is called `ticks(rows, repeats)` times on the way.
    """
    known = [row for row in rows if row.tier is not None]
    found = [
        view(some, tiers, chance, baseline=baseline, repeats=repeats, tick=tick)
        for tiers, some in _views(known)
    ]
    outcomes = [row for row in rows if row.label.outcome]
    return EvaluationReport(
        views=tuple(found),
        opinions=opinions([row for row in rows if row.label.tier is not None]),
        refused=sum(row.tier is None for row in outcomes),
        alone=sum(len(row.label.scores) == 1 for row in outcomes if row.tier is not None),
        trained=tuple(sorted({row.label.source for row in outcomes} & {*trained})),
    )


def ticks(rows: Sequence[RoutedLabel], repeats: int = REPEATS) -> int:
    """How often `report` ticks."""
    return (repeats + 1) * sum(1 for _ in _views([row for row in rows if row.tier is not None]))


def _views(rows: Sequence[RoutedLabel]) -> Iterator[tuple[tuple[Tier, ...], list[RoutedLabel]]]:
    """The sets of tiers that labels have, and the labels that have at least these."""
    sets = {frozenset(row.label.scores) for row in rows}
    for some in sorted(sets, key=lambda one: (len(one), sorted(map(TIERS.index, one)))):
        if len(some) > 1:
            held = [row for row in rows if some <= row.label.scores.keys()]
            yield tuple(tier for tier in TIERS if tier in some), held


def opinions(rows: Sequence[RoutedLabel]) -> HandLabels | None:
    """How decisions agree with tiers given by hand; None of no opinions."""
    if not rows:
        return None
    table: dict[Tier, dict[Tier, int]] = {want: dict.fromkeys(TIERS, 0) for want in TIERS}
    moved = []
    for row in rows:
        want, got = row.label.tier, row.tier
        if want is not None and got is not None:
            table[want][got] += 1
            moved.append(TIERS.index(got) - TIERS.index(want))
    count = len(moved) or 1
    return HandLabels(
        rows=len(rows),
        refused=len(rows) - len(moved),
        agreed=moved.count(0) / count,
        above=sum(step > 0 for step in moved) / count,
        below=sum(step < 0 for step in moved) / count,
        table=table,
    )


class _Sample:
    """The labels of a view as columns, source by source; sums of a resample come from these."""

    def __init__(self, rows: Sequence[RoutedLabel], tiers: tuple[Tier, ...]) -> None:
        rows = sorted(rows, key=lambda row: row.label.source)
        self.rows, self.tiers = rows, tiers
        self.priced = all(tier in row.costs for row in rows for tier in tiers)
        self.picks = [_nearest(row.tier, tiers) for row in rows if row.tier is not None]
        self.folded = sum(pick != row.tier for pick, row in zip(self.picks, rows, strict=True))
        self.table = TierScores(
            {tier: [row.label.scores[tier] for row in rows] for tier in tiers},
            {
                tier: [int(row.costs[tier].scaleb(_PICO)) if self.priced else 0 for row in rows]
                for tier in tiers
            },
        )
        self.best = cost_quality.oracle(self.table)
        self.sources = by_source([row.label.source for row in rows])
        scores, costs = self.table.picked(self.picks)
        best, best_costs = self.table.picked(self.best)
        self.columns: dict[str, Sequence[float]] = {"router": scores, "oracle": best}
        self.columns |= {f"always {tier}": self.table.scores[tier] for tier in tiers}
        if self.priced:
            self.columns |= {"router usd": costs, "oracle usd": best_costs}
            self.columns |= {f"always {tier} usd": self.table.costs[tier] for tier in tiers}
        self._parts = {
            name: (
                slice(places[0], places[-1] + 1),
                {key: column[places[0] : places[-1] + 1] for key, column in self.columns.items()},
                {tier: [self.picks[at] == tier for at in places] for tier in tiers},
            )
            for name, places in self.sources.items()
        }

    def sums(self, weights: Weights) -> dict[str, dict[str, float]]:
        """By source: the sums of all columns, how often each tier is picked, and the rows."""
        found = {}
        for name, (place, columns, picked) in self._parts.items():
            drawn = weights[place]
            sums: dict[str, float] = {
                key: sum(map(mul, column, drawn)) for key, column in columns.items()
            }
            sums |= {tier: sum(compress(drawn, marks)) for tier, marks in picked.items()}
            sums["rows"] = sum(drawn)
            found[name] = sums
        return found


def _nearest(tier: Tier, tiers: Sequence[Tier]) -> Tier:
    """The tier, or the nearest above it of some, else below."""
    at = TIERS.index(tier)
    return next((one for one in (*TIERS[at:], *reversed(TIERS[:at])) if one in tiers), tier)


def _control(sums: Mapping[str, float], tiers: Sequence[Tier], what: str = "") -> float | None:
    """The mean of a shuffled router, by the shares in a resample."""
    rows = sums["rows"]
    if not rows:
        return None
    return sum(sums[tier] * sums[f"always {tier}{what}"] for tier in tiers) / rows**2


def view(
    rows: Sequence[RoutedLabel],
    tiers: tuple[Tier, ...],
    chance: Random,
    *,
    baseline: Tier | None = None,
    repeats: int = REPEATS,
    tick: Callable[[], None] = lambda: None,
) -> ScoredLabels:
    """One evaluation: all rows have scores of all tiers."""
    sample = _Sample(rows, tiers)
    against = tiers[-1] if baseline is None else _nearest(baseline, tiers)
    scored = [row.score for row in sample.rows]
    known = [one for one in scored if one is not None] if None not in scored else []
    rank = _Rank(sample, known)

    def figures(weights: Weights) -> dict[str, float | None]:
        tick()
        by_source = sample.sums(weights)
        found: dict[str, float | None] = _total(by_source, sample, against)
        for name, sums in by_source.items():
            control = _control(sums, tiers)
            found[f"gain {name}"] = (
                None if control is None else sums["router"] / sums["rows"] - control
            )
        return {**found, **rank.figures(weights)}

    told = intervals(figures, len(rows), chance, repeats)
    shuffled = cost_quality.shuffled(sample.table, sample.picks, chance, SHUFFLES)
    saving, refused = _saving(sample, against, told, shuffled)
    return ScoredLabels(
        tiers=tiers,
        rows=len(rows),
        folded=sample.folded,
        lines=_lines(sample, told, shuffled),
        gain=told["gain"],
        saving=saving,
        refused=refused,
        apgr=told["apgr"],
        auc=told["auc"],
        calibration=calibration.calibration([one.fast for one in known], rank.suffices),
        frugal=_frugal(sample, known),
        sources=tuple(
            LabelSource(
                name=name,
                rows=len(places),
                apgr=told[f"apgr {name}"],
                gain=told[f"gain {name}"],
            )
            for name, places in sample.sources.items()
        ),
        curves=_curves(sample, known),
    )


class _Rank:
    """What the classifier's scores know; nothing where there are none."""

    def __init__(self, sample: _Sample, scored: Sequence[Score]) -> None:
        low, high = sample.tiers[0], sample.tiers[1]
        weak, strong = sample.table.scores[low], sample.table.scores[high]
        names = [row.label.source for row in sample.rows]
        self._names = sample.sources
        self._fast = [one.fast for one in scored]
        self.suffices = [a >= b for a, b in zip(weak, strong, strict=True)] if scored else []
        need = [-one for one in self._fast]
        self._ranked = Sources(need, weak, strong, names) if scored else None

    def figures(self, weights: Weights) -> dict[str, float | None]:
        if self._ranked is None:
            return dict.fromkeys(["apgr", "auc", *(f"apgr {name}" for name in self._names)])
        by_source = self._ranked.apgr(weights)
        return {
            "apgr": average(by_source),
            "auc": auc(self._fast, self.suffices, weights),
            **{f"apgr {name}": value for name, value in by_source.items()},
        }


def _total(
    by_source: Mapping[str, Mapping[str, float]], sample: _Sample, against: Tier
) -> dict[str, float | None]:
    """Figures over all sources together."""
    names = [*sample.columns, *sample.tiers, "rows"]
    sums = {key: sum(one[key] for one in by_source.values()) for key in names}
    rows, tiers = sums["rows"], sample.tiers
    keys = ["gain", "saving", "dearer", "beyond", *sample.columns]
    if not rows:
        return dict.fromkeys(keys)
    found: dict[str, float | None] = {key: sums[key] / rows for key in sample.columns}
    control = _control(sums, tiers) or 0.0
    found["gain"] = sums["router"] / rows - control
    found["dearer"] = (sums["router"] - sums[f"always {against}"]) / rows
    found["saving"] = found["beyond"] = None
    if sample.priced:
        cost = sums["router usd"]
        base = sums[f"always {against} usd"]
        found["saving"] = 1 - cost / base if base else None
        hull = cost_quality.edge(
            [CostQualityPoint(sums[f"always {t} usd"], sums[f"always {t}"]) for t in tiers]
        )
        fair = cost_quality.cost_at(hull, sums["router"])
        found["beyond"] = 1 - cost / fair if fair else None
    return found


def _saving(
    sample: _Sample,
    against: Tier,
    told: Mapping[str, Interval | None],
    shuffled: Interval | None,
) -> tuple[Saving | None, str]:
    """What may be told of money, or why nothing may.

    The gain must be more than other prompts of the kind may take away (its own interval), and more
    than a shuffle of these very prompts may give: of few prompts the first alone is too sure.
    """
    gain, mine, part, quality = told["gain"], told["router"], told["saving"], told["dearer"]
    control = "it is not better than a shuffled router at the same mix of tiers"
    if gain is None or mine is None or shuffled is None:
        return None, f"{control}: too few labels tell"
    if not gain.above(0) or mine.value <= shuffled.high:
        shuffles = f"shuffles alone give up to {shuffled.high - shuffled.value:+.3f}"
        return None, f"{control}: the difference is {gain}, and {shuffles}"
    if not sample.priced:
        tier = next(t for t in sample.tiers if any(t not in row.costs for row in sample.rows))
        return None, f"the price of {tier} is unknown"
    beyond = told["beyond"]
    if beyond is not None and not beyond.above(0):
        return (
            None,
            f"tiers mixed by chance may cost as little for this score: {beyond} of it is saved",
        )
    if part is None or quality is None:
        return None, f"always {against} costs nothing"
    usd = _usd(sample, f"always {against} usd") - _usd(sample, "router usd")
    return Saving(baseline=against, part=part, usd=usd, quality=quality, beyond=beyond), ""


def _usd(sample: _Sample, column: str) -> Decimal:
    """Of 1,000 prompts, exactly what the column holds, to the micro-dollar."""
    total = Decimal(int(sum(sample.columns[column])))
    return (total * 1000 / len(sample.rows)).scaleb(-_PICO).quantize(Decimal("0.000001"))


def _lines(
    sample: _Sample, told: Mapping[str, Interval | None], shuffled: Interval | None
) -> tuple[RouterResult, ...]:
    def shares(picks: Sequence[Tier]) -> dict[Tier, float]:
        return {tier: picks.count(tier) / len(picks) for tier in sample.tiers}

    def usd(name: str) -> Decimal | None:
        return _usd(sample, f"{name} usd") if sample.priced else None

    control = cost_quality.by_chance(sample.table, sample.picks)
    spent = None
    if sample.priced and control is not None:
        spent = Decimal(control.cost * 1000).scaleb(-_PICO).quantize(Decimal("0.000001"))
    mine = shares(sample.picks)
    return (
        RouterResult(name="this router", quality=told["router"], usd=usd("router"), shares=mine),
        RouterResult(name="shuffled", quality=shuffled, usd=spent, shares=mine),
        *(
            RouterResult(
                name=f"always {tier}",
                quality=told[f"always {tier}"],
                usd=usd(f"always {tier}"),
                shares={one: float(one == tier) for one in sample.tiers},
            )
            for tier in sample.tiers
        ),
        RouterResult(
            name="oracle", quality=told["oracle"], usd=usd("oracle"), shares=shares(sample.best)
        ),
    )


def _oracles(sample: _Sample) -> list[CostQualityPoint]:
    """What oracles give that are told different worths of a score."""
    dearest = cost_quality.constant(sample.table)[sample.tiers[-1]].cost or 1.0
    every = (
        cost_quality.quality(sample.table, cost_quality.oracle(sample.table, w / dearest))
        for w in _WORTHS
    )
    return [point for point in every if point is not None]


def _frugal(sample: _Sample, scored: Sequence[Score]) -> dict[str, float]:
    if not sample.priced:
        return {}
    fixed = cost_quality.constant(sample.table)
    dearest = fixed[sample.tiers[-1]]
    found = {
        "chance": cost_quality.frugal(list(fixed.values()), dearest),
        "classifier": cost_quality.frugal(cost_quality.thresholds(sample.table, scored), dearest)
        if scored
        else None,
        "oracle": cost_quality.frugal(_oracles(sample), dearest),
    }
    return {name: value for name, value in found.items() if value is not None}


def _curves(sample: _Sample, scored: Sequence[Score]) -> dict[str, tuple[CostQualityPoint, ...]]:
    if not sample.priced:
        return {}
    fixed = list(cost_quality.constant(sample.table).values())
    found = {"chance": fixed, "oracle": _oracles(sample)}
    if scored:
        found["classifier"] = [*cost_quality.thresholds(sample.table, scored), *fixed]
    return {
        name: tuple(
            CostQualityPoint(point.cost * 1000 / 10**_PICO, point.quality)
            for point in cost_quality.edge(points)
        )
        for name, points in found.items()
    }
