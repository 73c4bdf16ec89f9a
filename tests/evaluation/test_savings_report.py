"""Test the savings report: its intervals on simulated traffic, and when it claims nothing."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from gateway.core.ledger_rows import SavingRow
from gateway.core.target import Tier
from gateway.evaluation import savings_report
from gateway.evaluation.labelling.sampled_label import SampledLabel, SampleDraw
from gateway.evaluation.labels import Label
from gateway.evaluation.savings_report import (
    RoutedSample,
    SavingSample,
    SavingsReport,
    build_savings_report,
    describe_report,
    find_resample_level,
)
from tests.evaluation.labelled_traffic import (
    BLIND,
    EQUAL,
    PAIR,
    TRIPLE,
    Scenario,
    find_truth,
    observe,
)

RUNS = 200
CONVERSATIONS, LABELS = 300, 200
"""What a ledger has, and how many of its prompts are labelled."""
REPEATS = 100
"""Resamples: enough for the mean of many runs."""


def call(conversation: str | None = "c", **changes: Any) -> SavingRow:
    plain: dict[str, Any] = {
        "tenant": "default", "key": "app", "tags": (), "source": "classifier", "state": "settled",
        "cost": Decimal("0.25"), "baseline": Decimal(1), "has_unknown_cost": False,
    }  # fmt: skip
    return SavingRow(conversation=conversation, **{**plain, **changes})


def saving(*rows: SavingRow, conversations: int = 40) -> SavingSample:
    """Return a sample with a call in each of some conversations, and other calls."""
    sample = SavingSample()
    for row in (*(call(f"c{number}") for number in range(conversations)), *rows):
        sample.add(row)
    return sample


def label(number: int, pick: Tier, scores: Mapping[Tier, float], **draw: Any) -> RoutedSample:
    plain: dict[str, Any] = {
        "stratum": "a", "stratum_prompts": 60, "calls": 1, "probability": 1.0, "seed": 1,
    }  # fmt: skip
    sampled = SampledLabel(
        label=Label(prompt="p", scores=scores, source="own:default"),
        digest=f"{number}",
        conversation=None,
        draw=SampleDraw(**{**plain, **draw}),
    )
    return RoutedSample(sampled, pick)


def good_labels(count: int = 60) -> list[RoutedSample]:
    """Return labels whose fast answers fail exactly where smart is picked."""
    return [
        label(number, "smart", {"fast": 0, "smart": 1})
        if number % 2
        else label(number, "fast", {"fast": 1, "smart": 1})
        for number in range(count)
    ]


def report(sample: SavingSample, samples: Sequence[RoutedSample], **more: Any) -> SavingsReport:
    return build_savings_report(sample, samples, Random(1), repeats=REPEATS, **more)


@pytest.mark.parametrize(("scenario", "least_claims"), [(PAIR, 0.95), (TRIPLE, 0.95)])
def test_intervals_cover_the_truth_in_nine_of_ten_runs(
    scenario: Scenario, least_claims: float
) -> None:
    truth = find_truth(scenario)
    covered = {"saved": 0, "lost": 0, "claimed": 0}
    for seed in range(RUNS):
        sample, samples = observe(scenario, seed, conversations=CONVERSATIONS, labels=LABELS)
        found = build_savings_report(
            sample, samples, Random(seed), baseline=scenario.tiers[-1], repeats=REPEATS
        )
        assert found.saved is not None
        assert found.quality is not None
        assert found.quality.cost is not None
        covered["saved"] += found.saved.low <= truth.saved <= found.saved.high
        covered["lost"] += found.quality.cost.low <= truth.lost <= found.quality.cost.high
        covered["claimed"] += found.is_claimed
    assert covered["saved"] >= 0.9 * RUNS, covered
    assert covered["lost"] >= 0.9 * RUNS, covered
    assert covered["claimed"] >= least_claims * RUNS, covered


@pytest.mark.parametrize("scenario", [BLIND, EQUAL])
def test_where_nothing_is_to_be_gained_nothing_is_claimed(scenario: Scenario) -> None:
    silent = 0
    for seed in range(RUNS):
        sample, samples = observe(scenario, seed, conversations=CONVERSATIONS, labels=LABELS)
        found = build_savings_report(sample, samples, Random(seed), repeats=REPEATS)
        silent += not found.is_claimed
    assert silent >= 0.9 * RUNS, silent


def test_a_saving_and_its_quality_are_claimed() -> None:
    found = report(saving(), good_labels())
    assert found.is_claimed
    assert found.saved is not None
    assert found.saved.value == pytest.approx(0.75)
    assert found.quality is not None
    assert found.quality.gain is not None
    assert found.quality.gain.value == pytest.approx(0.25)
    assert found.quality.cost is not None
    assert found.quality.cost.value == 0
    # No loss in 60 labels does not prove that there is none.
    assert found.quality.cost.high == pytest.approx(3 / 60)


def test_calls_that_the_router_did_not_decide_are_no_saving() -> None:
    others = [
        call(source="pin", cost=Decimal(9)), call(source=None, state="refused", cost=None),
        call(state="failed", cost=None), call(tags=("label", "x"), cost=Decimal("0.5")),
        call(tags=("label",), cost=None), call(tags=("judge",), cost=None),
    ]  # fmt: skip
    sample = saving(*others)
    assert (sample.calls, sample.unknown) == (40, 0)
    assert (sample.cost, sample.baseline, sample.label_cost) == (
        Decimal(10),
        Decimal(40),
        Decimal("0.5"),
    )
    saved = report(sample, []).saved
    assert saved == report(saving(), []).saved


def test_models_that_help_to_decide_cost_money() -> None:
    sample = saving(call(tags=("judge",), source="pin", cost=Decimal(2)))
    assert (sample.calls, sample.cost, sample.judge_cost) == (40, Decimal(12), Decimal(2))
    saved = report(sample, []).saved
    assert saved is not None
    assert saved.value == pytest.approx(1 - 12 / 40)


def test_calls_of_no_conversation_count_as_one_by_their_key() -> None:
    rows = [call(None, key=f"k{number % 3}") for number in range(90)]
    assert report(saving(*rows, conversations=0), []).saved is None


@pytest.mark.parametrize(
    ("rows", "conversations", "reason"),
    [
        ([], 0, "the router has decided no call in this time"),
        ([call(baseline=None)], 0, "set `ledger.baseline`, then run `tiergate costs reprice`"),
        ([call(cost=None)], 0, "no call has a known cost"),
        ([call(has_unknown_cost=True)], 0, "no call has a known cost"),
        ([], 19, "fewer than 20 conversations"),
        ([call(f"x{n}", cost=Decimal(3)) for n in range(40)], 0, "the saving may be chance"),
        ([call(f"x{n}", cost=Decimal(1), baseline=Decimal(0)) for n in range(40)], 0, "fewer than"),
    ],
)
def test_a_saving_that_may_be_none_is_not_claimed(
    rows: list[SavingRow], conversations: int, reason: str
) -> None:
    found = report(saving(*rows, conversations=conversations), good_labels())
    assert reason in found.reason
    assert not found.is_claimed


def fast_alone(number: int) -> RoutedSample:
    return label(number, "fast", {"fast": 1, "smart": 1})


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([], "no label has scores of smart and a lower tier"),
        ([label(1, "fast", {"fast": 1})], "no label has scores of smart and a lower tier"),
        (good_labels(49), "49 labels are too few to tell quality; it takes 50"),
        ([fast_alone(number) for number in range(60)], "all labelled prompts get fast"),
        (
            [
                label(number, "smart" if number % 2 else "fast", {"fast": number % 4 // 2, "smart": 1})
                for number in range(60)
            ],
            "the interval contains the control",
        ),
    ],
)  # fmt: skip
def test_quality_that_may_be_chance_is_not_claimed(
    samples: list[RoutedSample], reason: str
) -> None:
    assert reason in report(saving(), samples).reason


def test_labels_of_few_conversations_tell_nothing() -> None:
    samples = [
        RoutedSample(
            SampledLabel(
                label=item.sampled.label, digest=item.sampled.digest,
                conversation=f"c{number % 9}", draw=item.sampled.draw,
            ),
            item.pick,
        )
        for number, item in enumerate(good_labels())
    ]  # fmt: skip
    found = report(saving(), samples)
    assert found.reason == "the labels are of too few conversations"


def test_a_label_stands_for_the_calls_of_its_stratum() -> None:
    rare = [
        label(n, "fast", {"fast": 0, "smart": 1}, stratum="rare", stratum_prompts=30)
        for n in range(30)
    ]
    usual = [
        label(n + 30, "smart", {"fast": 1, "smart": 1}, stratum="usual", stratum_prompts=270, calls=2)
        for n in range(30)
    ]  # fmt: skip
    quality = report(saving(), rare + usual).quality
    assert quality is not None
    assert quality.shares["fast"] == pytest.approx(30 / (30 + 540))
    assert quality.cost is not None
    assert quality.cost.value == pytest.approx(30 / 570)
    undrawn = [
        RoutedSample(
            SampledLabel(
                label=item.sampled.label, digest=item.sampled.digest, conversation=None,
                draw=SampleDraw(stratum="", stratum_prompts=0, calls=1, probability=1, seed=0),
            ),
            item.pick,
        )
        for item in rare + usual
    ]  # fmt: skip
    quality = report(saving(), undrawn).quality
    assert quality is not None
    assert quality.shares["fast"] == pytest.approx(0.5)


def test_a_pick_without_a_score_takes_the_nearest_tier() -> None:
    samples = [*good_labels(), label(99, "reasoning", {"fast": 0, "smart": 1})]
    quality = report(saving(), samples).quality
    assert quality is not None
    assert (quality.stand_ins, quality.labels, quality.tiers) == (1, 61, ("fast", "smart"))
    middle = [label(n, "smart", {"fast": 0, "reasoning": 1}) for n in range(60)]
    quality = report(saving(), middle, baseline="reasoning").quality
    assert quality is not None
    assert quality.shares == {"fast": 0, "reasoning": 1}


def test_labels_with_scores_of_the_same_tiers_go_together() -> None:
    triples = [label(n + 100, "smart", {"fast": 0, "smart": 1, "reasoning": 1}) for n in range(20)]
    quality = report(saving(), [*good_labels(), *triples]).quality
    assert quality is not None
    assert quality.labels == 60


def test_a_resample_without_any_label_has_no_figures() -> None:
    table = savings_report._build_table(good_labels(), ("fast", "smart"), "smart")
    assert {*table.compute(bytes(60)).values()} == {None}


def test_json_has_money_as_text_and_null_for_what_is_unknown() -> None:
    value = describe_report(report(saving(), good_labels(), unrouted=2))
    assert value["claimed"] is True
    assert value["reason"] is None
    assert value["money"]["saved"] == "30.00"
    assert value["money"]["share"]["value"] == 0.75
    assert value["quality"]["picks"] == {"fast": 0.5, "smart": 0.5}
    assert value["unrouted"] == 2
    empty = describe_report(report(SavingSample(), []))
    assert empty["quality"] is None
    assert empty["money"]["share"] is None
    assert empty["claimed"] is False


def test_few_and_unequal_units_widen_the_interval() -> None:
    assert find_resample_level([1.0] * 10_000) == pytest.approx(0.95, abs=0.001)
    assert find_resample_level([1.0] * 20) > 0.955
    assert find_resample_level([1.0] * 20 + [100.0]) > find_resample_level([1.0] * 21)
    assert find_resample_level([0.0, 0.0]) > 0.95
