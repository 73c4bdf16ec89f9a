"""Estimate the saving of routing and its cost in quality, with 95% intervals and a control.

Money is of the calls of the ledger, against their baseline. Quality is of labels of own traffic:
the score of the tier that routing picks for a prompt, against the score of the baseline's tier. A
label stands for the calls of its stratum. The control is the same picks shuffled: a router of the
same mix of tiers that knows nothing. Nothing is claimed that may be chance.

The calls and labels of a conversation are alike, so conversations are resampled as one.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from random import Random
from statistics import NormalDist
from typing import NamedTuple
from zlib import crc32

import msgspec

from gateway.core.jsonio import Json
from gateway.core.ledger_rows import SavingRow
from gateway.core.target import TIERS, Tier
from gateway.evaluation.labelling.sampled_label import SampledLabel
from gateway.evaluation.metrics.bootstrap import (
    CONFIDENCE_LEVEL,
    Interval,
    Weights,
    compute_intervals,
    make_unit_weights,
)
from gateway.evaluation.metrics.clustered import MIN_CLUSTERS, find_student_quantile

MIN_LABELS = 50
"""The least number of labels from which anything is claimed of quality."""
REPEATS = 500
_BLOCK_COUNT = 512
"""The number of blocks of conversations that are resampled: many calls take no more memory."""
_MIN_BLOCKS = MIN_CLUSTERS
_RULE_OF_THREE = 3.0
"""With no loss in n labels the share of losses is at most 3/n, at 95%."""
_EXACT_CONTEXT = Context(prec=100)
_ZERO = Decimal(0)
LABEL_TAG, JUDGE_TAG = "label", "judge"
"""The tags of calls that the gateway makes itself: to label, and to decide."""
_DEFAULT_BASELINE: Tier = "smart"


class SavingSample:
    """The sums of calls that the router decided, by block of conversations."""

    def __init__(self) -> None:
        self.calls = 0
        """Calls whose cost and baseline are known."""
        self.unknown = 0
        """Calls that the router decided, and whose cost or baseline is unknown."""
        self.cost = self.baseline = self.judge_cost = self.label_cost = _ZERO
        """Exact USD: of these calls, of the same on the baseline, of the models that help to
        decide, and of labelling."""
        self._blocks: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, row: SavingRow) -> None:
        """Add a call. Calls whose client chose the model are no work of the router."""
        if LABEL_TAG in row.tags:
            self.label_cost = _EXACT_CONTEXT.add(self.label_cost, row.cost or _ZERO)
        elif JUDGE_TAG in row.tags:
            if row.cost is not None:
                self.judge_cost = _EXACT_CONTEXT.add(self.judge_cost, row.cost)
                self._add(row, row.cost, _ZERO)
        elif row.source not in (None, "pin") and row.state != "failed":
            if row.cost is None or row.baseline is None or row.has_unknown_cost:
                self.unknown += 1
                return
            self.calls += 1
            self._add(row, row.cost, row.baseline)

    def _add(self, row: SavingRow, cost: Decimal, baseline: Decimal) -> None:
        self.cost = _EXACT_CONTEXT.add(self.cost, cost)
        self.baseline = _EXACT_CONTEXT.add(self.baseline, baseline)
        owner = row.conversation or f"{row.tenant} {row.key}"
        block = self._blocks[crc32(owner.encode("utf-8", "surrogatepass")) % _BLOCK_COUNT]
        block[0] += float(cost)
        block[1] += float(baseline)

    def estimate_saved_share(self, rng: Random, repeats: int = REPEATS) -> Interval | None:
        """Return the share of the baseline that was saved; None if the calls are too few."""
        if len(self._blocks) < _MIN_BLOCKS:
            return None
        blocks = [*self._blocks.values()]
        costs, baselines = [block[0] for block in blocks], [block[1] for block in blocks]

        def compute(weights: Weights) -> Mapping[str, float | None]:
            baseline = _add_weighted(baselines, weights)
            share = 1 - _add_weighted(costs, weights) / baseline if baseline else None
            return {"saved": share}

        level = find_resample_level(baselines)
        return compute_intervals(compute, len(blocks), rng, repeats, level)["saved"]


class RoutedSample(NamedTuple):
    """A label with the tier that routing picks for its prompt now."""

    sampled: SampledLabel
    pick: Tier


class QualityEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The quality of routing, by the labels."""

    labels: int
    tiers: tuple[Tier, ...]
    """The tiers that all of these labels have scores of."""
    shares: Mapping[Tier, float]
    """The weighted share of each tier among the picks."""
    quality: Interval | None = None
    """The mean score of the picked tiers."""
    control: Interval | None = None
    """The mean score of the same picks shuffled."""
    baseline: Interval | None = None
    """The mean score of the baseline's tier."""
    cost: Interval | None = None
    """The quality that routing costs: `baseline` less `quality`."""
    gain: Interval | None = None
    """`quality` less `control`; 0 is the control."""
    stand_ins: int = 0
    """Labels whose picked tier has no score: the nearest tier that has one stands in."""


class SavingsReport(msgspec.Struct, frozen=True, kw_only=True):
    """The report: what was saved, what it cost in quality, and whether that may be claimed."""

    baseline_tier: Tier
    sample: SavingSample
    saved: Interval | None
    """The share of the baseline's cost that was saved."""
    quality: QualityEstimate | None
    """None without a label that has scores of the baseline's tier and another one."""
    unrouted: int
    """Labels whose prompt the router refuses now."""
    reason: str
    """Why nothing can be claimed; empty if something can."""

    @property
    def is_claimed(self) -> bool:
        """True if neither the saving nor the quality may be chance."""
        return not self.reason


def build_savings_report(
    sample: SavingSample,
    samples: Sequence[RoutedSample],
    rng: Random,
    *,
    baseline: Tier | None = None,
    unrouted: int = 0,
    repeats: int = REPEATS,
) -> SavingsReport:
    """Return the report. Without a `baseline` the tier is smart."""
    tier = baseline or _DEFAULT_BASELINE
    saved = sample.estimate_saved_share(rng, repeats)
    quality = _estimate_quality(samples, tier, rng, repeats)
    return SavingsReport(
        baseline_tier=tier,
        sample=sample,
        saved=saved,
        quality=quality,
        unrouted=unrouted,
        reason=_find_saving_doubt(sample, saved) or _find_quality_doubt(quality, tier),
    )


def _find_saving_doubt(sample: SavingSample, saved: Interval | None) -> str:
    if not sample.calls:
        if sample.unknown:
            return (
                "no call has a known cost and a baseline: set `ledger.baseline`, then run"
                " `tiergate costs reprice`"
            )
        return "the router has decided no call in this time"
    if saved is None:
        return f"fewer than {_MIN_BLOCKS} conversations do not show how much is chance"
    if not saved.is_above(0):
        return "the saving may be chance: its interval contains 0 or less"
    return ""


def _find_quality_doubt(quality: QualityEstimate | None, tier: Tier) -> str:
    if quality is None:
        return f"no label has scores of {tier} and a lower tier: make some with `tiergate label`"
    if quality.labels < MIN_LABELS:
        return f"{quality.labels} labels are too few to tell quality; it takes {MIN_LABELS}"
    if quality.gain is None or quality.cost is None:
        return "the labels are of too few conversations"
    picked = [name for name, share in quality.shares.items() if share]
    if len(picked) < 2:
        return f"all labelled prompts get {picked[0]}: one tier for all needs no router"
    if not quality.gain.is_above(0):
        return "the same tiers shuffled may keep as much quality: the interval contains the control"
    return ""


class _QualityTable(NamedTuple):
    """Labels as columns, in the order of their conversations."""

    clusters: list[int]
    """The number of the conversation of each label."""
    weights: list[float]
    """The number of calls that each label stands for: the calls of its prompt, times the prompts of
    its stratum for each one that has a label."""
    picks: list[Tier]
    scores: list[Mapping[Tier, float]]
    tiers: tuple[Tier, ...]
    baseline_tier: Tier

    def weigh(self, resample: Weights) -> list[float]:
        """Return how many calls each label stands for in a resample of conversations."""
        return [
            weight * resample[cluster]
            for weight, cluster in zip(self.weights, self.clusters, strict=True)
        ]

    def compute(self, resample: Weights) -> Mapping[str, float | None]:
        """Return the figures of a resample."""
        weights = self.weigh(resample)
        total = sum(weights)
        if not total:
            return dict.fromkeys(("quality", "control", "baseline", "cost", "gain"))
        means = {
            tier: _add_weighted([score[tier] for score in self.scores], weights) / total
            for tier in self.tiers
        }
        shares = self.compute_shares(weights)
        picked = [score[pick] for score, pick in zip(self.scores, self.picks, strict=True)]
        quality = _add_weighted(picked, weights) / total
        control = sum(shares[tier] * means[tier] for tier in self.tiers)
        baseline = means[self.baseline_tier]
        return {
            "quality": quality,
            "control": control,
            "baseline": baseline,
            "cost": baseline - quality,
            "gain": quality - control,
        }

    def sum_clusters(self, count: int) -> list[float]:
        """Return the weight of each conversation."""
        sums = [0.0] * count
        for cluster, weight in zip(self.clusters, self.weights, strict=True):
            sums[cluster] += weight
        return sums

    def compute_shares(self, weights: Sequence[float]) -> dict[Tier, float]:
        """Return the weighted share of each tier among the picks."""
        total, sums = sum(weights), dict.fromkeys(self.tiers, 0.0)
        for pick, weight in zip(self.picks, weights, strict=True):
            sums[pick] += weight
        return {tier: value / total for tier, value in sums.items()}


def _estimate_quality(
    samples: Sequence[RoutedSample], tier: Tier, rng: Random, repeats: int
) -> QualityEstimate | None:
    groups: defaultdict[tuple[Tier, ...], list[RoutedSample]] = defaultdict(list)
    for sample in samples:
        scored = tuple(name for name in TIERS if name in sample.sampled.label.scores)
        if tier in scored and len(scored) > 1:
            groups[scored].append(sample)
    if not groups:
        return None
    tiers, members = max(groups.items(), key=lambda item: (len(item[1]), len(item[0])))
    table = _build_table(members, tiers, tier)
    cluster_count = max(table.clusters) + 1
    ones = table.weigh(make_unit_weights(cluster_count))
    intervals: Mapping[str, Interval | None] = dict.fromkeys(
        ("quality", "control", "baseline", "cost", "gain")
    )
    if cluster_count >= MIN_CLUSTERS:
        level = find_resample_level(table.sum_clusters(cluster_count))
        intervals = compute_intervals(table.compute, cluster_count, rng, repeats, level)
    return QualityEstimate(
        labels=len(members),
        tiers=tiers,
        shares=table.compute_shares(ones),
        quality=intervals["quality"],
        control=intervals["control"],
        baseline=intervals["baseline"],
        cost=_widen_certainty(intervals["cost"], len(members)),
        gain=intervals["gain"],
        stand_ins=sum(sample.pick not in tiers for sample in members),
    )


def _widen_certainty(cost: Interval | None, labels: int) -> Interval | None:
    """Return the interval of a cost; no loss among few labels does not prove that there is none."""
    if cost is None or cost.low != cost.high:
        return cost
    return Interval(cost.value, cost.low, max(cost.high, _RULE_OF_THREE / labels))


def _build_table(
    members: Sequence[RoutedSample], tiers: tuple[Tier, ...], baseline_tier: Tier
) -> _QualityTable:
    clusters: dict[str, int] = {}
    sizes: defaultdict[tuple[str, str], int] = defaultdict(int)
    for sample in members:
        name = _find_stratum(sample)
        sizes[name] = max(sizes[name], sample.sampled.draw.stratum_prompts)
    labelled = Counter(map(_find_stratum, members))
    weights = []
    for sample in members:
        name = _find_stratum(sample)
        # Labels that nobody drew stand for themselves: their stratum is as large as their number.
        prompts = sizes[name] or labelled[name]
        weights.append(sample.sampled.draw.calls * prompts / labelled[name])
    return _QualityTable(
        clusters=[
            clusters.setdefault(_name_cluster(sample.sampled), len(clusters)) for sample in members
        ],
        weights=weights,
        picks=[_stand_in(sample.pick, tiers) for sample in members],
        scores=[sample.sampled.label.scores for sample in members],
        tiers=tiers,
        baseline_tier=baseline_tier,
    )


def _name_cluster(sampled: SampledLabel) -> str:
    """Return the conversation of a label; a label of none is one by itself."""
    return sampled.conversation or f"label {sampled.digest}"


def find_resample_level(weights: Sequence[float]) -> float:
    """Return the level of resampling that gives 95% intervals for units of unequal weights.

    Percentiles of resamples are too narrow for few units (Hesterberg 2015, *What teachers should
    know about the bootstrap*): by Student's t, and as a resample varies around the sample and not
    around the truth. Units of unequal weights count as fewer (Kish 1965).
    """
    squares = sum(weight * weight for weight in weights)
    size = max(2.0, sum(weights) ** 2 / squares) if squares else 2.0
    widening = math.sqrt(size / (size - 1)) * find_student_quantile(size - 1)
    return 2 * NormalDist().cdf(widening) - 1


def _find_stratum(sample: RoutedSample) -> tuple[str, str]:
    return sample.sampled.label.source, sample.sampled.draw.stratum


def _stand_in(pick: Tier, tiers: Sequence[Tier]) -> Tier:
    """Return the picked tier, or the nearest that has scores; the higher one of two."""
    place = TIERS.index(pick)
    return min(tiers, key=lambda tier: (abs(TIERS.index(tier) - place), -TIERS.index(tier)))


def _add_weighted(values: Iterable[float], weights: Iterable[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True))


def describe_report(report: SavingsReport) -> dict[str, Json]:
    """Return the report as JSON. Money is exact text, shares are numbers, and null is unknown."""
    sample, quality = report.sample, report.quality
    return {
        "claimed": report.is_claimed,
        "reason": report.reason or None,
        "confidence": CONFIDENCE_LEVEL,
        "baseline": report.baseline_tier,
        "money": {
            "calls": sample.calls,
            "unknown": sample.unknown,
            "cost": f"{sample.cost:f}",
            "baseline": f"{sample.baseline:f}",
            "saved": f"{_EXACT_CONTEXT.subtract(sample.baseline, sample.cost):f}",
            "share": _describe(report.saved),
            "judge_cost": f"{sample.judge_cost:f}",
            "label_cost": f"{sample.label_cost:f}",
        },
        "quality": None
        if quality is None
        else {
            "labels": quality.labels,
            "tiers": [*quality.tiers],
            "picks": {tier: round(share, 6) for tier, share in quality.shares.items()},
            "stand_ins": quality.stand_ins,
            **{
                name: _describe(getattr(quality, name))
                for name in ("quality", "baseline", "control", "cost", "gain")
            },
        },
        "unrouted": report.unrouted,
    }


def _describe(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {name: round(getattr(interval, name), 6) for name in ("value", "low", "high")}
