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
    known = samples.made(priced=priced, classifier=classifier)
    return [routed_labels.route_label(known, label) for label in labels]


def report(labels: list[Label], **more: bool) -> EvaluationReport:
    return evaluate.build_report(rows(labels, **more), Random(1), repeats=100)


def view(labels: list[Label], **more: bool) -> ScoredLabels:
    (found,) = report(labels, **more).views
    return found


def test_a_router_that_knows_beats_its_control_and_tells_what_it_saves() -> None:
    found = view(samples.outcomes(300))
    assert (found.tiers, found.rows, found.refused) == (("fast", "smart"), 300, "")
    assert found.gain is not None
    assert found.gain.is_above(0)
    saving = found.saving
    assert saving is not None
    assert saving.baseline == "smart"
    lines = {line.name: line for line in found.lines}
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
    assert found.apgr is not None
    assert found.apgr.is_above(0.6)
    assert found.auc is not None
    assert found.auc.is_above(0.7)
    assert found.calibration is not None
    assert found.calibration.error < 0.1
    assert found.frugal["oracle"] < found.frugal["classifier"] < found.frugal["chance"] < 1


def test_one_that_knows_nothing_is_refused_its_saving() -> None:
    """A lower cost does not count: any router with that mix of tiers costs less."""
    told = report(samples.outcomes(300, knows=0.0, seed=3))
    (found,) = told.views
    assert found.saving is None
    assert found.refused.startswith("it is not better than a shuffled router at the same mix")
    assert not told.beats_control
    assert found.apgr is not None
    assert found.apgr.low < 0.5 < found.apgr.high


def test_the_control_is_what_shuffling_gives() -> None:
    found = view(samples.outcomes(300))
    lines = {line.name: line for line in found.lines}
    mine, control = lines["this router"].quality, lines["shuffled"].quality
    assert mine is not None
    assert control is not None
    assert found.gain is not None
    assert found.gain.value == pytest.approx(mine.value - control.value)
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
    assert always.quality.value == pytest.approx(sum(one.scores["fast"] for one in labels) / 200)
    assert always.shares == {"fast": 1, "smart": 0, "reasoning": 0}
    assert oracle.quality is not None
    assert oracle.quality.value == 1
    assert sum(oracle.shares.values()) == pytest.approx(1)


def test_costs_are_exact_sums() -> None:
    """The costs are per 1,000 prompts, as the labels give them."""
    costs: dict[Tier, Decimal] = {"fast": Decimal("0.0000011"), "smart": Decimal("0.0000033")}
    labels = [msgspec.structs.replace(one, costs=costs) for one in samples.outcomes(50)]
    lines = {line.name: line.usd for line in view(labels).lines}
    assert (lines["always fast"], lines["always smart"]) == (
        Decimal("0.001100"), Decimal("0.003300"),
    )  # fmt: skip


def test_each_source_is_judged_apart() -> None:
    found = view(samples.outcomes(301))
    assert [(one.name, one.rows) for one in found.sources] == [("a", 151), ("b", 150)]
    for one in found.sources:
        assert one.apgr is not None
        assert one.gain is not None


def test_labels_with_more_tiers_are_judged_by_all_of_them_too() -> None:
    """Each set of tiers has its own view; a prompt with one score says nothing."""
    alone = Label(prompt="0.5", scores={"smart": 1.0})
    told = report([*samples.outcomes(40), *samples.outcomes(20, THREE), alone])
    assert [(one.tiers, one.rows) for one in told.views] == [(("fast", "smart"), 60), (THREE, 20)]
    assert told.alone == 1
    assert [bool(one.folded) for one in told.views] == [True, False]


@pytest.mark.parametrize(
    ("tier", "tiers", "nearest"),
    [
        ("fast", ("fast", "smart"), "fast"),
        ("reasoning", ("fast", "smart"), "smart"),
        ("smart", ("fast", "reasoning"), "reasoning"),
        ("fast", ("smart", "reasoning"), "smart"),
    ],
)
def test_the_nearest_tier_stands_in(tier: Tier, tiers: tuple[Tier, ...], nearest: Tier) -> None:
    assert evaluate._find_nearest_tier(tier, tiers) == nearest


def test_another_baseline() -> None:
    decisions = rows(samples.outcomes(300, THREE))
    (found,) = evaluate.build_report(decisions, Random(1), baseline="reasoning", repeats=100).views
    assert found.saving is not None
    assert found.saving.baseline == "reasoning"


def test_without_a_price_there_is_no_saving_but_there_is_quality() -> None:
    found = view(samples.outcomes(300, THREE), priced=False)
    assert (found.saving, found.refused) == (None, "the price of reasoning is unknown")
    assert (found.frugal, found.curves) == ({}, {})
    assert {line.usd for line in found.lines} == {None}
    assert found.gain is not None
    assert found.gain.is_above(0)


def test_what_costs_nothing_saves_nothing() -> None:
    free: dict[Tier, Decimal] = {"fast": Decimal(0), "smart": Decimal(0)}
    labels = [msgspec.structs.replace(one, costs=free) for one in samples.outcomes(300)]
    assert view(labels).refused == "always smart costs nothing"


def test_a_mix_that_chance_beats_is_refused_its_saving() -> None:
    """The router chooses smart well, but smart costs as much as reasoning and is worse."""
    costs: dict[Tier, Decimal] = {
        "fast": Decimal("0.001"), "smart": Decimal("0.05"), "reasoning": Decimal("0.05"),
    }  # fmt: skip
    labels = []
    for one in samples.outcomes(300, THREE):
        scores = {**one.scores, "smart": (one.scores["fast"] + 0.5) / 1.5}
        labels.append(msgspec.structs.replace(one, costs=costs, scores=scores))
    found = view(labels)
    assert found.gain is not None
    assert found.gain.is_above(0)
    assert found.saving is None
    assert found.refused.startswith("tiers mixed by chance may cost as little for this score")


def test_a_few_labels_tell_nothing() -> None:
    found = view(samples.outcomes(1))
    assert found.gain is None
    assert found.refused.endswith("too few labels tell")


def test_without_a_classifier_nothing_is_said_of_one() -> None:
    found = view(samples.outcomes(50), classifier=False)
    assert (found.apgr, found.auc, found.calibration) == (None, None, None)
    assert found.frugal.keys() == found.curves.keys() == {"chance", "oracle"}
    assert [one.apgr for one in found.sources] == [None, None]


def test_curves_climb_from_the_cheapest_to_the_dearest() -> None:
    curves = view(samples.outcomes(100, THREE)).curves
    assert curves.keys() == {"chance", "oracle", "classifier"}
    for points in curves.values():
        assert list(points) == sorted(points)
        assert [point.quality for point in points] == sorted(point.quality for point in points)


def test_opinions_are_counted_apart() -> None:
    given: list[tuple[str, Tier]] = [
        ("0.9", "fast"), ("0.9", "smart"), ("0.4", "fast"), ("0.1", "reasoning"),
    ]  # fmt: skip
    labels = [Label(prompt=prompt, tier=tier) for prompt, tier in given]
    told = report([*labels, Label(prompt="0.9", tier="fast", model="none/fast")])
    assert (told.views, told.beats_control, told.refused) == ((), True, 0)
    found = told.opinions
    assert found is not None
    assert (found.rows, found.refused, found.agreed, found.above, found.below) == (
        5, 1, 0.5, 0.25, 0.25,
    )  # fmt: skip
    assert found.table["fast"] == {"fast": 1, "smart": 1, "reasoning": 0}
    assert report(samples.outcomes(20)).opinions is None


def test_what_is_refused_is_counted_and_left_out() -> None:
    labels = samples.outcomes(20)
    labels[0] = msgspec.structs.replace(labels[0], model="none/fast")
    told = report(labels)
    assert (told.refused, told.views[0].rows) == (1, 19)
    only = evaluate.compare_opinions(rows([Label(prompt="0.9", tier="fast", model="none/fast")]))
    assert only is not None
    assert (only.rows, only.refused, only.agreed) == (1, 1, 0)


def test_sources_that_a_classifier_has_learnt_from_are_told() -> None:
    decisions = rows(samples.outcomes(20))
    found = evaluate.build_report(decisions, Random(1), repeats=100, trained_sources=("b", "x"))
    assert found.trained == ("b",)
    assert report(samples.outcomes(20)).trained == ()


def test_a_seed_gives_the_same_report_and_each_step_is_told() -> None:
    decisions = rows([*samples.outcomes(40), *samples.outcomes(20, THREE)])
    told: list[int] = []
    first = evaluate.build_report(decisions, Random(5), repeats=100, tick=lambda: told.append(1))
    assert first == evaluate.build_report(decisions, Random(5), repeats=100)
    assert len(told) == evaluate.count_ticks(decisions, 100) == 202


def test_chance_is_seldom_taken_for_knowledge() -> None:
    """Almost none of forty routers without knowledge gets a saving, each on its own labels."""
    told = [
        report(samples.outcomes(60, knows=0.0, seed=500 + seed)).beats_control for seed in range(40)
    ]
    assert sum(told) <= 3
