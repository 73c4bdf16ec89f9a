"""The reference set has as many prompts of each tier, scored by a classifier new to them."""

import pytest

from bench import quality_reference
from gateway.core.decision_context import Score
from gateway.routing import quality_dial
from tests.evaluation.training import lesson


def test_the_reference_set_has_as_many_prompts_of_each_tier() -> None:
    rows = lesson.placed_rows()
    scores = [Score(fast=0.25, smart=0.5)] * len(rows)
    reference = quality_reference.draw_reference(rows, scores)
    assert reference == [[0.125, 0.5, 0.875]] * 300
    assert quality_reference.draw_reference(rows, scores) == reference


def test_the_shipped_reference_set_has_as_many_prompts_of_each_tier() -> None:
    worths = quality_dial.load_shipped_reference().worths
    assert len(worths) == 3 * quality_reference.ROWS_A_TIER
    assert all(0 <= worth.fast <= worth.smart <= worth.reasoning <= 1 for worth in worths)


def test_the_tables_show_agreement_and_kept_quality(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*lesson.rows()[:30], *lesson.placed_rows()[:30]]
    scores = [Score(fast=0.1, smart=0.9)] * len(rows)
    quality_reference.print_agreement(rows, scores)
    quality_reference.print_kept_quality(rows, scores)
    printed = capsys.readouterr().out
    assert "placed openai dial 5: agree" in printed
    assert "scored mistral dial 9: kept" in printed
