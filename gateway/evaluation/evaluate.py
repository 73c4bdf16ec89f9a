"""A router compared on labels with a shuffled router, constant tiers and an oracle.

The shuffled router knows nothing of the prompts. The oracle has seen every answer.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import compress
from operator import mul
from random import Random

import msgspec

from gateway.core.decision_context import Score
from gateway.core.target import TIERS, Tier
from gateway.evaluation.metrics import calibration, cost_quality
from gateway.evaluation.metrics.bootstrap import Interval, Weights, compute_intervals
from gateway.evaluation.metrics.calibration import CalibrationCurve
from gateway.evaluation.metrics.cost_quality import CostQualityPoint, TierScores
from gateway.evaluation.metrics.ranking import (
    Sources,
    average_sources,
    compute_auc,
    group_by_source,
)
from gateway.evaluation.routed_labels import RoutedLabel

REPEATS = 500
SHUFFLE_REPEATS = 200
_COST_DECIMALS = 12
"""Decimals of USD in which costs are whole numbers, so 10^-12 USD is one.

A price per million tokens has six decimals at most.
"""
_COST_WEIGHTS = (0.0, *(10 ** (step / 4) for step in range(-20, 13)))
"""The units of score that an oracle gives up to save the mean cost of the dearest tier."""


class RouterResult(msgspec.Struct, frozen=True, kw_only=True):
    """The quality and the cost of one router."""

    name: str
    quality: Interval | None
    usd: Decimal | None
    """The cost of 1,000 prompts in USD; None if a price is unknown."""
    shares: dict[Tier, float]
    """The share of the prompts that get each tier, 0 to 1."""


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """The saving of this router against one tier for every prompt."""

    baseline: Tier
    part: Interval
    """The saving as a share of the baseline's cost."""
    usd: Decimal
    """The saving on 1,000 prompts, in USD."""
    quality: Interval
    """This router's quality minus the baseline's: what the saving costs in quality."""
    beyond: Interval | None
    """The saving against the cheapest random mix of tiers with the same quality.

    It is a share of that mix's cost. None if no interval can be computed.
    """


class LabelSource(msgspec.Struct, frozen=True, kw_only=True):
    """One source of the labels, with its figures."""

    name: str
    rows: int
    apgr: Interval | None
    gain: Interval | None


class ScoredLabels(msgspec.Struct, frozen=True, kw_only=True):
    """The evaluation on all labels that have scores for the same tiers."""

    tiers: tuple[Tier, ...]
    rows: int
    folded: int
    """The number of prompts whose tier has no score here.

    The nearest tier above it that has scores stands in, else the nearest below.
    """
    lines: tuple[RouterResult, ...]
    gain: Interval | None
    """This router's quality minus that of a shuffled router, so the control is 0."""
    saving: Saving | None
    refused: str
    """The reason why no saving is reported; empty if one is."""
    apgr: Interval | None
    """The classifier's APGR from the cheapest tier to the next, averaged over sources.

    Chance is 1/2.
    """
    auc: Interval | None
    """The classifier's AUC for the question if the cheapest tier does as well as the next."""
    calibration: CalibrationCurve | None
    frugal: dict[str, float]
    """The cost of 95% of the dearest tier's quality, as a share of that tier's cost.

    The keys are `chance`, `classifier` and `oracle`.
    """
    sources: tuple[LabelSource, ...]
    curves: dict[str, tuple[CostQualityPoint, ...]]
    """The USD per 1,000 prompts and the quality, by `chance`, `classifier` and `oracle`.

    `chance` mixes tiers at random, `classifier` uses all thresholds.
    """


class HandLabels(msgspec.Struct, frozen=True, kw_only=True):
    """Tiers that people gave prompts, compared with the decisions. They tell no outcomes."""

    rows: int
    refused: int
    """The number of prompts that the configuration refuses or gives no tier."""
    agreed: float
    """The share of the other prompts that get the tier of their opinion."""
    above: float
    """The share that gets a dearer tier than its opinion."""
    below: float
    """The share that gets a cheaper tier than its opinion."""
    table: dict[Tier, dict[Tier, int]]
    """The number of prompts by opinion, then by decision."""


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an evaluation."""

    views: tuple[ScoredLabels, ...]
    opinions: HandLabels | None
    refused: int
    """The number of prompts with outcomes that this configuration refuses or gives no tier."""
    alone: int
    """The number of prompts with a score for one tier only, which compare nothing."""
    trained: tuple[str, ...] = ()
    """The sources that the classifier was trained on, by name.

    It looks better on prompts that it has seen.
    """

    @property
    def beats_control(self) -> bool:
        """True if no view refuses its saving: this router beats its control in every view."""
        return all(not view.refused for view in self.views)


def build_report(
    rows: Sequence[RoutedLabel],
    rng: Random,
    *,
    baseline: Tier | None = None,
    repeats: int = REPEATS,
    trained_sources: Collection[str] = (),
    tick: Callable[[], None] = lambda: None,
) -> EvaluationReport:
    """Evaluate labels that were routed.

    `trained_sources` names the sources that the classifier was trained on. The function calls
    `tick` as often as `count_ticks(rows, repeats)` says.
    """
    routed_rows = [row for row in rows if row.tier is not None]
    views = [
        evaluate_view(view_rows, tiers, rng, baseline=baseline, repeats=repeats, tick=tick)
        for tiers, view_rows in _group_by_tiers(routed_rows)
    ]
    outcome_rows = [row for row in rows if row.label.has_outcome]
    return EvaluationReport(
        views=tuple(views),
        opinions=compare_opinions([row for row in rows if row.label.tier is not None]),
        refused=sum(row.tier is None for row in outcome_rows),
        alone=sum(len(row.label.scores) == 1 for row in outcome_rows if row.tier is not None),
        trained=tuple(sorted({row.label.source for row in outcome_rows} & {*trained_sources})),
    )


def count_ticks(rows: Sequence[RoutedLabel], repeats: int = REPEATS) -> int:
    """Return how often `build_report` calls `tick`."""
    return (repeats + 1) * sum(
        1 for _ in _group_by_tiers([row for row in rows if row.tier is not None])
    )


def _group_by_tiers(
    rows: Sequence[RoutedLabel],
) -> Iterator[tuple[tuple[Tier, ...], list[RoutedLabel]]]:
    """Yield each set of two or more tiers that a label has, and the labels that cover the set."""
    tier_sets = {frozenset(row.label.scores) for row in rows}
    for tier_set in sorted(
        tier_sets, key=lambda candidate: (len(candidate), sorted(map(TIERS.index, candidate)))
    ):
        if len(tier_set) > 1:
            covered_rows = [row for row in rows if tier_set <= row.label.scores.keys()]
            yield tuple(tier for tier in TIERS if tier in tier_set), covered_rows


def compare_opinions(rows: Sequence[RoutedLabel]) -> HandLabels | None:
    """Compare decisions with the tiers that people gave; return None if there are no rows."""
    if not rows:
        return None
    table: dict[Tier, dict[Tier, int]] = {opinion: dict.fromkeys(TIERS, 0) for opinion in TIERS}
    differences = []
    for row in rows:
        opinion, decided_tier = row.label.tier, row.tier
        if opinion is not None and decided_tier is not None:
            table[opinion][decided_tier] += 1
            differences.append(TIERS.index(decided_tier) - TIERS.index(opinion))
    count = len(differences) or 1
    return HandLabels(
        rows=len(rows),
        refused=len(rows) - len(differences),
        agreed=differences.count(0) / count,
        above=sum(difference > 0 for difference in differences) / count,
        below=sum(difference < 0 for difference in differences) / count,
        table=table,
    )


class _Sample:
    """The labels of a view as columns, source by source, to compute the sums of resamples."""

    def __init__(self, rows: Sequence[RoutedLabel], tiers: tuple[Tier, ...]) -> None:
        rows = sorted(rows, key=lambda row: row.label.source)
        self.rows, self.tiers = rows, tiers
        self.is_priced = all(tier in row.costs for row in rows for tier in tiers)
        self.picks = [_find_nearest_tier(row.tier, tiers) for row in rows if row.tier is not None]
        self.folded_count = sum(
            pick != row.tier for pick, row in zip(self.picks, rows, strict=True)
        )
        self.table = TierScores(
            {tier: [row.label.scores[tier] for row in rows] for tier in tiers},
            {
                tier: [
                    int(row.costs[tier].scaleb(_COST_DECIMALS)) if self.is_priced else 0
                    for row in rows
                ]
                for tier in tiers
            },
        )
        self.oracle_picks = cost_quality.pick_oracle_tiers(self.table)
        self.rows_by_source = group_by_source([row.label.source for row in rows])
        scores, costs = self.table.select_columns(self.picks)
        oracle_scores, oracle_costs = self.table.select_columns(self.oracle_picks)
        self.columns: dict[str, Sequence[float]] = {"router": scores, "oracle": oracle_scores}
        self.columns |= {f"always {tier}": self.table.scores[tier] for tier in tiers}
        if self.is_priced:
            self.columns |= {"router usd": costs, "oracle usd": oracle_costs}
            self.columns |= {f"always {tier} usd": self.table.costs[tier] for tier in tiers}
        self._columns_by_source = {
            name: (
                slice(row_indexes[0], row_indexes[-1] + 1),
                {
                    key: column[row_indexes[0] : row_indexes[-1] + 1]
                    for key, column in self.columns.items()
                },
                {tier: [self.picks[index] == tier for index in row_indexes] for tier in tiers},
            )
            for name, row_indexes in self.rows_by_source.items()
        }

    def compute_sums(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Return by source the sums of all columns, the picks of each tier, and the rows."""
        sums_by_source = {}
        for name, (row_slice, columns, marks_by_tier) in self._columns_by_source.items():
            row_weights = weights[row_slice]
            sums: dict[str, float] = {
                key: sum(map(mul, column, row_weights)) for key, column in columns.items()
            }
            sums |= {
                tier: sum(compress(row_weights, marks)) for tier, marks in marks_by_tier.items()
            }
            sums["rows"] = sum(row_weights)
            sums_by_source[name] = sums
        return sums_by_source


def _find_nearest_tier(tier: Tier, tiers: Sequence[Tier]) -> Tier:
    """Return the tier if it is in `tiers`, else the nearest of them above it, else below."""
    index = TIERS.index(tier)
    return next(
        (
            candidate
            for candidate in (*TIERS[index:], *reversed(TIERS[:index]))
            if candidate in tiers
        ),
        tier,
    )


def _compute_control(
    sums: Mapping[str, float], tiers: Sequence[Tier], suffix: str = ""
) -> float | None:
    """Return the mean that a shuffled router has in a resample; None if the resample is empty.

    The router picks each tier as often as this router does in the resample.
    """
    rows = sums["rows"]
    if not rows:
        return None
    return sum(sums[tier] * sums[f"always {tier}{suffix}"] for tier in tiers) / rows**2


def evaluate_view(
    rows: Sequence[RoutedLabel],
    tiers: tuple[Tier, ...],
    rng: Random,
    *,
    baseline: Tier | None = None,
    repeats: int = REPEATS,
    tick: Callable[[], None] = lambda: None,
) -> ScoredLabels:
    """Evaluate one view: all rows have scores for all `tiers`."""
    sample = _Sample(rows, tiers)
    baseline_tier = tiers[-1] if baseline is None else _find_nearest_tier(baseline, tiers)
    scores = [row.score for row in sample.rows]
    classifier_scores = (
        [score for score in scores if score is not None] if None not in scores else []
    )
    classifier_ranking = _ClassifierRanking(sample, classifier_scores)

    def compute_figures(weights: Weights) -> dict[str, float | None]:
        tick()
        sums_by_source = sample.compute_sums(weights)
        values: dict[str, float | None] = _compute_totals(sums_by_source, sample, baseline_tier)
        for name, sums in sums_by_source.items():
            control = _compute_control(sums, tiers)
            values[f"gain {name}"] = (
                None if control is None else sums["router"] / sums["rows"] - control
            )
        return {**values, **classifier_ranking.compute_figures(weights)}

    figure_intervals = compute_intervals(compute_figures, len(rows), rng, repeats)
    shuffled = cost_quality.score_shuffled(sample.table, sample.picks, rng, SHUFFLE_REPEATS)
    saving, refusal_reason = _compute_saving(sample, baseline_tier, figure_intervals, shuffled)
    return ScoredLabels(
        tiers=tiers,
        rows=len(rows),
        folded=sample.folded_count,
        lines=_build_lines(sample, figure_intervals, shuffled),
        gain=figure_intervals["gain"],
        saving=saving,
        refused=refusal_reason,
        apgr=figure_intervals["apgr"],
        auc=figure_intervals["auc"],
        calibration=calibration.compute_calibration(
            [score.fast for score in classifier_scores], classifier_ranking.is_sufficient
        ),
        frugal=_find_frugal_shares(sample, classifier_scores),
        sources=tuple(
            LabelSource(
                name=name,
                rows=len(row_indexes),
                apgr=figure_intervals[f"apgr {name}"],
                gain=figure_intervals[f"gain {name}"],
            )
            for name, row_indexes in sample.rows_by_source.items()
        ),
        curves=_build_curves(sample, classifier_scores),
    )


class _ClassifierRanking:
    """Figures of how well the classifier's scores rank prompts; all None without scores."""

    def __init__(self, sample: _Sample, classifier_scores: Sequence[Score]) -> None:
        low, high = sample.tiers[0], sample.tiers[1]
        weak, strong = sample.table.scores[low], sample.table.scores[high]
        names = [row.label.source for row in sample.rows]
        self._source_names = sample.rows_by_source
        self._fast_scores = [score.fast for score in classifier_scores]
        self.is_sufficient = (
            [
                weak_score >= strong_score
                for weak_score, strong_score in zip(weak, strong, strict=True)
            ]
            if classifier_scores
            else []
        )
        needs = [-score for score in self._fast_scores]
        self._rankings = Sources(needs, weak, strong, names) if classifier_scores else None

    def compute_figures(self, weights: Weights) -> dict[str, float | None]:
        if self._rankings is None:
            return dict.fromkeys(["apgr", "auc", *(f"apgr {name}" for name in self._source_names)])
        apgr_by_source = self._rankings.compute_apgr(weights)
        return {
            "apgr": average_sources(apgr_by_source),
            "auc": compute_auc(self._fast_scores, self.is_sufficient, weights),
            **{f"apgr {name}": value for name, value in apgr_by_source.items()},
        }


def _compute_totals(
    sums_by_source: Mapping[str, Mapping[str, float]], sample: _Sample, baseline_tier: Tier
) -> dict[str, float | None]:
    """Return the figures over all sources together; all None if the resample is empty."""
    names = [*sample.columns, *sample.tiers, "rows"]
    sums = {key: sum(source_sums[key] for source_sums in sums_by_source.values()) for key in names}
    rows, tiers = sums["rows"], sample.tiers
    keys = ["gain", "saving", "dearer", "beyond", *sample.columns]
    if not rows:
        return dict.fromkeys(keys)
    values: dict[str, float | None] = {key: sums[key] / rows for key in sample.columns}
    control = _compute_control(sums, tiers) or 0.0
    values["gain"] = sums["router"] / rows - control
    values["dearer"] = (sums["router"] - sums[f"always {baseline_tier}"]) / rows
    values["saving"] = values["beyond"] = None
    if sample.is_priced:
        cost = sums["router usd"]
        baseline_cost = sums[f"always {baseline_tier} usd"]
        values["saving"] = 1 - cost / baseline_cost if baseline_cost else None
        hull = cost_quality.find_upper_hull(
            [CostQualityPoint(sums[f"always {tier} usd"], sums[f"always {tier}"]) for tier in tiers]
        )
        mix_cost = cost_quality.interpolate_cost(hull, sums["router"])
        values["beyond"] = 1 - cost / mix_cost if mix_cost else None
    return values


def _compute_saving(
    sample: _Sample,
    baseline_tier: Tier,
    figure_intervals: Mapping[str, Interval | None],
    shuffled: Interval | None,
) -> tuple[Saving | None, str]:
    """Return the saving, or the reason why none may be reported.

    The gain must pass two checks. Its own interval must lie above 0, because other prompts of the
    same kind could take the gain away. The router must also beat most shuffles of these very
    prompts, because with few prompts the interval alone is too sure.
    """
    gain = figure_intervals["gain"]
    router_quality = figure_intervals["router"]
    saved_share = figure_intervals["saving"]
    quality = figure_intervals["dearer"]
    refusal = "it is not better than a shuffled router at the same mix of tiers"
    if gain is None or router_quality is None or shuffled is None:
        return None, f"{refusal}: too few labels tell"
    if not gain.is_above(0) or router_quality.value <= shuffled.high:
        shuffle_text = f"shuffles alone give up to {shuffled.high - shuffled.value:+.3f}"
        return None, f"{refusal}: the difference is {gain}, and {shuffle_text}"
    if not sample.is_priced:
        tier = next(
            candidate
            for candidate in sample.tiers
            if any(candidate not in row.costs for row in sample.rows)
        )
        return None, f"the price of {tier} is unknown"
    beyond = figure_intervals["beyond"]
    if beyond is not None and not beyond.is_above(0):
        return (
            None,
            f"tiers mixed by chance may cost as little for this score: {beyond} of it is saved",
        )
    if saved_share is None or quality is None:
        return None, f"always {baseline_tier} costs nothing"
    usd = _compute_usd(sample, f"always {baseline_tier} usd") - _compute_usd(sample, "router usd")
    return Saving(
        baseline=baseline_tier, part=saved_share, usd=usd, quality=quality, beyond=beyond
    ), ""


def _compute_usd(sample: _Sample, column: str) -> Decimal:
    """Return the USD of 1,000 prompts by a column of costs, exactly, to the micro-dollar."""
    total = Decimal(int(sum(sample.columns[column])))
    return (total * 1000 / len(sample.rows)).scaleb(-_COST_DECIMALS).quantize(Decimal("0.000001"))


def _build_lines(
    sample: _Sample, figure_intervals: Mapping[str, Interval | None], shuffled: Interval | None
) -> tuple[RouterResult, ...]:
    def compute_shares(picks: Sequence[Tier]) -> dict[Tier, float]:
        return {tier: picks.count(tier) / len(picks) for tier in sample.tiers}

    def find_usd(name: str) -> Decimal | None:
        return _compute_usd(sample, f"{name} usd") if sample.is_priced else None

    control = cost_quality.score_random_mix(sample.table, sample.picks)
    control_usd = None
    if sample.is_priced and control is not None:
        control_usd = (
            Decimal(control.cost * 1000).scaleb(-_COST_DECIMALS).quantize(Decimal("0.000001"))
        )
    router_shares = compute_shares(sample.picks)
    return (
        RouterResult(
            name="this router",
            quality=figure_intervals["router"],
            usd=find_usd("router"),
            shares=router_shares,
        ),
        RouterResult(name="shuffled", quality=shuffled, usd=control_usd, shares=router_shares),
        *(
            RouterResult(
                name=f"always {tier}",
                quality=figure_intervals[f"always {tier}"],
                usd=find_usd(f"always {tier}"),
                shares={other_tier: float(other_tier == tier) for other_tier in sample.tiers},
            )
            for tier in sample.tiers
        ),
        RouterResult(
            name="oracle",
            quality=figure_intervals["oracle"],
            usd=find_usd("oracle"),
            shares=compute_shares(sample.oracle_picks),
        ),
    )


def _score_oracles(sample: _Sample) -> list[CostQualityPoint]:
    """Return the cost and quality of oracles that weigh cost against score differently."""
    dearest_cost = cost_quality.score_constant_routers(sample.table)[sample.tiers[-1]].cost or 1.0
    points = (
        cost_quality.score_router(
            sample.table, cost_quality.pick_oracle_tiers(sample.table, cost_weight / dearest_cost)
        )
        for cost_weight in _COST_WEIGHTS
    )
    return [point for point in points if point is not None]


def _find_frugal_shares(sample: _Sample, classifier_scores: Sequence[Score]) -> dict[str, float]:
    if not sample.is_priced:
        return {}
    constant_points = cost_quality.score_constant_routers(sample.table)
    dearest_point = constant_points[sample.tiers[-1]]
    shares = {
        "chance": cost_quality.find_frugal_share(list(constant_points.values()), dearest_point),
        "classifier": cost_quality.find_frugal_share(
            cost_quality.sweep_thresholds(sample.table, classifier_scores), dearest_point
        )
        if classifier_scores
        else None,
        "oracle": cost_quality.find_frugal_share(_score_oracles(sample), dearest_point),
    }
    return {name: value for name, value in shares.items() if value is not None}


def _build_curves(
    sample: _Sample, classifier_scores: Sequence[Score]
) -> dict[str, tuple[CostQualityPoint, ...]]:
    if not sample.is_priced:
        return {}
    constant_points = list(cost_quality.score_constant_routers(sample.table).values())
    points_by_router = {"chance": constant_points, "oracle": _score_oracles(sample)}
    if classifier_scores:
        points_by_router["classifier"] = [
            *cost_quality.sweep_thresholds(sample.table, classifier_scores),
            *constant_points,
        ]
    return {
        name: tuple(
            CostQualityPoint(point.cost * 1000 / 10**_COST_DECIMALS, point.quality)
            for point in cost_quality.find_upper_hull(points)
        )
        for name, points in points_by_router.items()
    }
