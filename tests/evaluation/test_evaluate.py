"""An evaluation: a router that knows something beats its control; any other shows no saving."""

from decimal import Decimal
from random import Random

import msgspec
import pytest

from gateway.core.target import Tier
from gateway.evaluation import evaluate, routed_labels
from gateway.evaluation.evaluate import EvaluationReport, ScoredLabels
from gateway.evaluation.labels import Label
from gateway.evaluation.routed_labels import RoutedLabel
from tests.evaluation import samples

THREE: tuple[Tier, ...] = ("fast", "smart", "reasoning")


def rows(labels: list[Label], *, priced: bool = True, classifier: bool = True) -> list[RoutedLabel]:
    label_router = samples.make_label_router(priced=priced, classifier=classifier)
    return [routed_labels.route_label(label_router, label) for label in labels]


def report(labels: list[Label], **more: bool) -> EvaluationReport:
    return evaluate.build_report(rows(labels, **more), Random(1), repeats=100)


def view(labels: list[Label], **more: bool) -> ScoredLabels:
    (scored,) = report(labels, **more).views
    return scored


def test_a_good_router_beats_its_control_and_shows_a_saving() -> None:
    scored = view(samples.outcomes(300))
    assert (scored.tiers, scored.rows, scored.refused) == (("fast", "smart"), 300, "")
    assert scored.gain is not None
    assert scored.gain.is_above(0)
    saving = scored.saving
    assert saving is not None
    assert saving.baseline == "smart"
    lines = {line.name: line for line in scored.lines}
    mine, smart = lines["this router"], lines["always smart"]
    assert mine.usd is not None
    assert smart.usd is not None
    assert saving.usd == smart.usd - mine.usd
    assert saving.part.value == pytest.approx(float(saving.usd / smart.usd), abs=1e-6)
    assert saving.beyond is not None
    assert saving.beyond.is_above(0)
    assert mine.quality is not None
    assert smart.quality is not None
    assert saving.quality.value == pytest.approx(mine.quality.value - smart.quality.value)
    assert scored.apgr is not None
    assert scored.apgr.is_above(0.6)
    assert scored.auc is not None
    assert scored.auc.is_above(0.7)
    assert scored.calibration is not None
    assert scored.calibration.error < 0.1
    assert scored.frugal["oracle"] < scored.frugal["classifier"] < scored.frugal["chance"] < 1


def test_a_random_router_shows_no_saving() -> None:
    """A lower cost does not count: any router with that mix of tiers costs less."""
    result = report(samples.outcomes(300, knows=0.0, seed=3))
    (scored,) = result.views
    assert scored.saving is None
    assert scored.refused.startswith("it is not better than a shuffled router at the same mix")
    assert not result.beats_control
    assert scored.apgr is not None
    assert scored.apgr.low < 0.5 < scored.apgr.high


def test_the_control_is_the_shuffled_router() -> None:
    scored = view(samples.outcomes(300))
    lines = {line.name: line for line in scored.lines}
    mine, control = lines["this router"].quality, lines["shuffled"].quality
    assert mine is not None
    assert control is not None
    assert scored.gain is not None
    assert scored.gain.value == pytest.approx(mine.value - control.value)
    assert lines["shuffled"].shares == lines["this router"].shares
    assert control.low < control.value < control.high


def test_an_oracle_is_the_best_and_constant_tiers_are_plain_means() -> None:
    labels = samples.outcomes(200, THREE)
    lines = {line.name: line for line in view(labels).lines}
    assert lines.keys() == {
        "this router", "shuffled", "always fast", "always smart", "always reasoning", "oracle",
    }  # fmt: skip
    always, oracle = lines["always fast"], lines["oracle"]
    assert always.quality is not None
    assert always.quality.value == pytest.approx(sum(item.scores["fast"] for item in labels) / 200)
    assert always.shares == {"fast": 1, "smart": 0, "reasoning": 0}
    assert oracle.quality is not None
    assert oracle.quality.value == 1
    assert sum(oracle.shares.values()) == pytest.approx(1)


def test_costs_are_exact_sums() -> None:
    """The costs are per 1,000 prompts, as the labels give them."""
    costs: dict[Tier, Decimal] = {"fast": Decimal("0.0000011"), "smart": Decimal("0.0000033")}
    labels = [msgspec.structs.replace(item, costs=costs) for item in samples.outcomes(50)]
    lines = {line.name: line.usd for line in view(labels).lines}
    assert (lines["always fast"], lines["always smart"]) == (
        Decimal("0.001100"), Decimal("0.003300"),
    )  # fmt: skip


def test_each_source_is_judged_on_its_own() -> None:
    scored = view(samples.outcomes(301))
    assert [(item.name, item.rows) for item in scored.sources] == [("a", 151), ("b", 150)]
    for source in scored.sources:
        assert source.apgr is not None
        assert source.gain is not None


def test_labels_with_more_tiers_are_also_judged_by_all_their_tiers() -> None:
    """Each set of tiers has its own view; a prompt with one score says nothing."""
    alone = Label(prompt="0.5", scores={"smart": 1.0})
    result = report([*samples.outcomes(40), *samples.outcomes(20, THREE), alone])
    assert [(item.tiers, item.rows) for item in result.views] == [
        (("fast", "smart"), 60),
        (THREE, 20),
    ]
    assert result.alone == 1
    assert [bool(item.folded) for item in result.views] == [True, False]


@pytest.mark.parametrize(
    ("tier", "tiers", "nearest"),
    [
        ("fast", ("fast", "smart"), "fast"),
        ("reasoning", ("fast", "smart"), "smart"),
        ("smart", ("fast", "reasoning"), "reasoning"),
        ("fast", ("smart", "reasoning"), "smart"),
    ],
)
def test_the_nearest_tier_replaces_one_without_a_score(
    tier: Tier, tiers: tuple[Tier, ...], nearest: Tier
) -> None:
    assert evaluate._find_nearest_tier(tier, tiers) == nearest


def test_the_saving_can_be_measured_against_another_baseline() -> None:
    decisions = rows(samples.outcomes(300, THREE))
    (scored,) = evaluate.build_report(decisions, Random(1), baseline="reasoning", repeats=100).views
    assert scored.saving is not None
    assert scored.saving.baseline == "reasoning"


def test_without_a_price_the_report_has_quality_but_no_saving() -> None:
    scored = view(samples.outcomes(300, THREE), priced=False)
    assert (scored.saving, scored.refused) == (None, "the price of reasoning is unknown")
    assert (scored.frugal, scored.curves) == ({}, {})
    assert {line.usd for line in scored.lines} == {None}
    assert scored.gain is not None
    assert scored.gain.is_above(0)


def test_a_free_baseline_shows_no_saving() -> None:
    free: dict[Tier, Decimal] = {"fast": Decimal(0), "smart": Decimal(0)}
    labels = [msgspec.structs.replace(item, costs=free) for item in samples.outcomes(300)]
    assert view(labels).refused == "always smart costs nothing"


def test_a_router_that_a_random_mix_beats_shows_no_saving() -> None:
    """The router chooses smart well, but smart costs as much as reasoning and is worse."""
    costs: dict[Tier, Decimal] = {
        "fast": Decimal("0.001"), "smart": Decimal("0.05"), "reasoning": Decimal("0.05"),
    }  # fmt: skip
    labels = []
    for label in samples.outcomes(300, THREE):
        scores = {**label.scores, "smart": (label.scores["fast"] + 0.5) / 1.5}
        labels.append(msgspec.structs.replace(label, costs=costs, scores=scores))
    scored = view(labels)
    assert scored.gain is not None
    assert scored.gain.is_above(0)
    assert scored.saving is None
    assert scored.refused.startswith("tiers mixed by chance may cost as little for this score")


def test_too_few_labels_show_no_gain() -> None:
    scored = view(samples.outcomes(1))
    assert scored.gain is None
    assert scored.refused.endswith("too few labels tell")


def test_without_a_classifier_the_report_has_no_figures_of_one() -> None:
    scored = view(samples.outcomes(50), classifier=False)
    assert (scored.apgr, scored.auc, scored.calibration) == (None, None, None)
    assert scored.frugal.keys() == scored.curves.keys() == {"chance", "oracle"}
    assert [item.apgr for item in scored.sources] == [None, None]


def test_curves_rise_from_the_cheapest_to_the_most_expensive() -> None:
    curves = view(samples.outcomes(100, THREE)).curves
    assert curves.keys() == {"chance", "oracle", "classifier"}
    for points in curves.values():
        assert list(points) == sorted(points)
        assert [point.quality for point in points] == sorted(point.quality for point in points)


def test_opinions_are_counted_on_their_own() -> None:
    opinions: list[tuple[str, Tier]] = [
        ("0.9", "fast"), ("0.9", "smart"), ("0.4", "fast"), ("0.1", "reasoning"),
    ]  # fmt: skip
    labels = [Label(prompt=prompt, tier=tier) for prompt, tier in opinions]
    result = report([*labels, Label(prompt="0.9", tier="fast", model="none/fast")])
    assert (result.views, result.beats_control, result.refused) == ((), True, 0)
    scored = result.opinions
    assert scored is not None
    assert (scored.rows, scored.refused, scored.agreed, scored.above, scored.below) == (
        5, 1, 0.5, 0.25, 0.25,
    )  # fmt: skip
    assert scored.table["fast"] == {"fast": 1, "smart": 1, "reasoning": 0}
    assert report(samples.outcomes(20)).opinions is None


def test_a_refused_label_is_counted_and_left_out() -> None:
    labels = samples.outcomes(20)
    labels[0] = msgspec.structs.replace(labels[0], model="none/fast")
    result = report(labels)
    assert (result.refused, result.views[0].rows) == (1, 19)
    only = evaluate.compare_opinions(rows([Label(prompt="0.9", tier="fast", model="none/fast")]))
    assert only is not None
    assert (only.rows, only.refused, only.agreed) == (1, 1, 0)


def test_the_report_lists_sources_that_the_classifier_was_trained_on() -> None:
    decisions = rows(samples.outcomes(20))
    scored = evaluate.build_report(decisions, Random(1), repeats=100, trained_sources=("b", "x"))
    assert scored.trained == ("b",)
    assert report(samples.outcomes(20)).trained == ()


def test_a_seed_gives_the_same_report_and_each_step_is_counted() -> None:
    decisions = rows([*samples.outcomes(40), *samples.outcomes(20, THREE)])
    ticks: list[int] = []
    first = evaluate.build_report(decisions, Random(5), repeats=100, tick=lambda: ticks.append(1))
    assert first == evaluate.build_report(decisions, Random(5), repeats=100)
    assert len(ticks) == evaluate.count_ticks(decisions, 100) == 202


def test_a_random_router_rarely_beats_its_control() -> None:
    """Almost none of forty routers without knowledge gets a saving, each on its own labels."""
    beats_control = [
        report(samples.outcomes(60, knows=0.0, seed=500 + seed)).beats_control for seed in range(40)
    ]
    assert sum(beats_control) <= 3
