"""Intervals of a replay: what they cover, and what they leave out."""

from random import Random

import msgspec
import pytest

from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ReplayRow
from gateway.evaluation.metrics.figure import Figure
from gateway.evaluation.replay import report
from gateway.evaluation.replay.intervals import ReplaySample, _find_block
from gateway.evaluation.replay.totals import ReplayTotals
from gateway.routing.quality_dial import estimate_worth
from tests.evaluation.replay.test_replay import row

_SCORES = [Score(fast=share / 10, smart=(share + 10) / 20) for share in range(10)]


def scored(number: int, *, talk: str = "") -> ReplayRow:
    """Return a call with one of ten scores."""
    turn = ConversationTurn(conversation=talk) if talk else None
    record = DecisionRecord(score=_SCORES[number % 10], turn=turn)
    return msgspec.structs.replace(row(number), basis=record)


def width(figure: Figure) -> float:
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.value <= figure.high
    return figure.high - figure.low


def test_quality_is_the_mean_worth_of_both_tiers_as_a_share_of_reasonings() -> None:
    sample = ReplaySample()
    for number in range(2):
        sample.add_quality(scored(number), "smart", "fast")
    worths = [estimate_worth(score) for score in _SCORES[:2]]
    best = sum(worth.reasoning for worth in worths)
    figures = sample.compute_figures()
    assert figures["quality before"].value == pytest.approx(sum(w.smart for w in worths) / best)
    assert figures["quality after"].value == pytest.approx(sum(w.fast for w in worths) / best)
    assert figures["quality change"].low is None  # two calls are too few for an interval
    assert set(figures) == {"quality before", "quality after", "quality change"}


def test_money_is_the_sum_of_all_calls_before_and_after_the_replay() -> None:
    """A part of it may rest on expected tokens; some rows do not say what they were decided by."""
    sample = ReplaySample()
    sample.add_money(row(1), 1.0, 2.0, 0.5, "reasoning")
    sample.add_money(scored(2, talk="t"), 4.0, 8.0, 1.0, "reasoning")
    sample.add_money(scored(3, talk="t"), 16.0, 32.0, 2.0, "fast")
    sample.add_money(msgspec.structs.replace(row(4), basis=None), 64.0, 128.0, 0.0, "smart")
    figures = sample.compute_figures()
    assert figures == {
        "usd before": Figure(85.0), "usd after": Figure(170.0), "usd change": Figure(85.0),
    }  # fmt: skip


def test_the_calls_of_one_conversation_add_up() -> None:
    sample = ReplaySample()
    for number in range(3):
        sample.add_quality(scored(number, talk="t"), "smart", "fast")
    worths = [estimate_worth(score) for score in _SCORES[:3]]
    best = sum(worth.reasoning for worth in worths)
    figures = sample.compute_figures()
    assert sample.scored_calls == 3
    assert figures["quality before"].value == pytest.approx(sum(w.smart for w in worths) / best)
    assert figures["quality after"].value == pytest.approx(sum(w.fast for w in worths) / best)


def find_numbers(count: int) -> list[int]:
    """Return numbers of calls that are all in different blocks."""
    number_by_block = {_find_block(row(number)): number for number in range(400)}
    return list(number_by_block.values())[:count]


@pytest.mark.parametrize(("blocks", "has_interval"), [(19, False), (20, True)])
def test_calls_in_fewer_than_twenty_blocks_have_no_interval(
    blocks: int, has_interval: bool
) -> None:
    money, quality = ReplaySample(), ReplaySample()
    for number in find_numbers(blocks):
        money.add_money(row(number), 1.0, 1.0, 0.0, "smart")
        quality.add_quality(scored(number), "smart", "fast")
    assert (money.compute_figures()["usd after"].low is not None) is has_interval
    assert (quality.compute_figures()["quality after"].low is not None) is has_interval


def test_a_resample_whose_answers_are_longer_on_the_other_tier_costs_more() -> None:
    """Half of the calls: answers of smart have half of the mean length, of reasoning 3/2 of it."""
    sample = ReplaySample()
    kept, left = find_numbers(2)
    for number, smart, reasoning in ((kept, 100, 600), (left, 300, 200)):
        for tier, tokens, count in (("smart", smart, 50), ("reasoning", reasoning, 80)):
            for _ in range(count):
                sample.add_answer(msgspec.structs.replace(row(number), tier=tier, output=tokens))
    sample.add_money(row(kept), 1.0, 3.0, 1.0, "reasoning")
    sample.add_money(row(left), 1.0, 1.0, 0.0, "smart")
    lengths = sample._measure_lengths()
    assert lengths == {"smart": 200.0, "reasoning": 400.0}
    weights = bytearray(256)
    weights[_find_block(row(kept))] = 1
    figures = sample._compute(lengths, weights)
    assert figures["usd after"] == 2 * (2.0 + 1.0 * 1.5 / 0.5)  # two calls, as in the log


@pytest.mark.parametrize(("count", "lengths"), [(49, {}), (50, {"smart": 20.0})])
def test_the_mean_length_of_answers_counts_from_fifty_answers_on(
    count: int, lengths: dict[str, float]
) -> None:
    sample = ReplaySample()
    for number in range(count):
        answer = scored(number, talk="t")
        sample.add_answer(msgspec.structs.replace(answer, output=10 + 20 * (number % 2)))
    assert sample._measure_lengths() == pytest.approx(lengths, abs=0.5)


def test_calls_without_a_score_or_tier_are_counted_and_left_out() -> None:
    sample = ReplaySample()
    sample.add_quality(row(), "smart", "fast")
    sample.add_quality(msgspec.structs.replace(row(), basis=None), "smart", "fast")
    sample.add_quality(scored(1), None, "fast")
    sample.add_quality(scored(1), "smart", None)
    assert (sample.scored_calls, sample.unscored_calls) == (0, 4)
    assert sample.compute_figures() == {}


def test_an_interval_is_as_wide_as_theory_says_and_always_the_same() -> None:
    """The mean of 400 costs of 1 and 3 USD has a standard error of 0.05."""
    sample = ReplaySample()
    for number in range(400):
        sample.add_money(row(number), 1.0 + number % 2 * 2, 2.0, 0.0, "smart")
    figures = sample.compute_figures()
    assert width(figures["usd before"]) / 400 == pytest.approx(2 * 1.96 * 0.05, rel=0.25)
    assert width(figures["usd after"]) == pytest.approx(0, abs=1e-9)
    assert figures == sample.compute_figures()


def test_calls_of_one_conversation_are_one_observation() -> None:
    """Ten calls of a conversation with equal cost say as little as one of them."""
    apart, together = ReplaySample(), ReplaySample()
    for number in range(1_000):
        usd = 1.0 + number // 10 % 2 * 2
        apart.add_money(scored(number), usd, usd, 0.0, "smart")
        together.add_money(scored(number, talk=f"{number // 10}"), usd, usd, 0.0, "smart")
    wide, narrow = (width(sample.compute_figures()["usd before"]) for sample in (together, apart))
    assert wide > 2 * narrow


def test_the_lengths_of_answers_are_resampled_too() -> None:
    """Each call is expected to cost 1 USD, so only the lengths of answers vary."""
    measured, usual = ReplaySample(), ReplaySample()
    dice = Random(3)
    for number in range(400):
        tier = ("smart", "reasoning")[number % 2]
        answer = msgspec.structs.replace(
            row(number), tier=tier, output=round(dice.lognormvariate(6, 1))
        )
        measured.add_answer(answer)
        for sample in (measured, usual):
            sample.add_money(row(number), 1.0, 1.0, 1.0, "reasoning")
    assert width(measured.compute_figures()["usd after"]) > 50
    assert width(usual.compute_figures()["usd after"]) < 1e-9
    assert (measured.count_usual_lengths(), usual.count_usual_lengths()) == (0, 400)


def test_a_resample_without_an_answer_of_a_tier_uses_the_usual_lengths() -> None:
    """All 60 answers on reasoning are of one conversation."""
    sample = ReplaySample()
    for number in range(100):
        sample.add_answer(row(number))
        sample.add_money(row(number), 1.0, 1.0, 1.0, "reasoning")
    for number in range(60):
        sample.add_answer(msgspec.structs.replace(scored(number, talk="one"), tier="reasoning"))
    assert sample.compute_figures()["usd after"].low is not None


def test_a_report_has_money_as_text_and_shares_of_four_digits() -> None:
    totals = ReplayTotals(0)
    totals.sample.add_money(row(), 1 / 3, 2 / 3, 0.0, "smart")
    totals.sample.add_quality(scored(1), "smart", "fast")
    described = report.describe_totals(totals, "c")
    assert described["money"] == {
        "before": {"value": "0.333333", "low": None, "high": None},
        "after": {"value": "0.666667", "low": None, "high": None},
        "change": {"value": "0.333333", "low": None, "high": None},
        "usual_lengths": 0,
    }
    quality = described["quality"]
    assert isinstance(quality, dict)
    assert (quality["calls"], quality["unscored"]) == (1, 0)
    empty = report.describe_totals(ReplayTotals(0), "c")
    assert empty["quality"] == {
        "before": None, "after": None, "change": None, "calls": 0, "unscored": 0,
    }  # fmt: skip
    assert empty["money"] == {"before": None, "after": None, "change": None, "usual_lengths": 0}
