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
"""Costs are counted in 10^-12 USD: a price a million tokens has six digits at most."""
_COST_WEIGHTS = (0.0, *(10 ** (step / 4) for step in range(-20, 13)))
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
    def beats_control(self) -> bool:
        """Whether every saving can be told: this router beats its control everywhere."""
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
    """The whole evaluation. `trained_sources` names what the classifier has learnt from.

    `tick` is called `ticks(rows, repeats)` times on the way.
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
    """How often `build_report` ticks."""
    return (repeats + 1) * sum(
        1 for _ in _group_by_tiers([row for row in rows if row.tier is not None])
    )


def _group_by_tiers(
    rows: Sequence[RoutedLabel],
) -> Iterator[tuple[tuple[Tier, ...], list[RoutedLabel]]]:
    """The sets of tiers that labels have, and the labels that have at least these."""
    tier_sets = {frozenset(row.label.scores) for row in rows}
    for tier_set in sorted(
        tier_sets, key=lambda candidate: (len(candidate), sorted(map(TIERS.index, candidate)))
    ):
        if len(tier_set) > 1:
            covered_rows = [row for row in rows if tier_set <= row.label.scores.keys()]
            yield tuple(tier for tier in TIERS if tier in tier_set), covered_rows


def compare_opinions(rows: Sequence[RoutedLabel]) -> HandLabels | None:
    """How decisions agree with tiers given by hand; None of no opinions."""
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
    """The labels of a view as columns, source by source; sums of a resample come from these."""

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
        """By source: the sums of all columns, how often each tier is picked, and the rows."""
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
    """The tier, or the nearest above it of some, else below."""
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
    """The mean of a shuffled router, by the shares in a resample."""
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
    """One evaluation: all rows have scores of all tiers."""
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
    """What the classifier's scores know; nothing where there are none."""

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
    """Figures over all sources together."""
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
    """What may be told of money, or why nothing may.

    The gain must be more than other prompts of the kind may take away (its own interval), and more
    than a shuffle of these very prompts may give: of few prompts the first alone is too sure.
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
    """Of 1,000 prompts, exactly what the column holds, to the micro-dollar."""
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
    """What oracles give that are told different worths of a score."""
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
