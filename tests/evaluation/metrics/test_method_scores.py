"""Ways to rank prompts: the mean over runs, then over sources, beside the base and the control."""

from random import Random

import pytest

from gateway.evaluation.metrics.method_scores import JudgedRows, MethodRun, score_method

FAST = [0.0, 1.0] * 40
JUDGED = JudgedRows(fast=FAST, smart=[1.0] * 80, base_needs=[0.5] * 80)
"""Every other prompt needs smart. The base cannot tell which."""


def perfect(rows: range, source: str = "a") -> MethodRun:
    """Return a run that ranks all its rows right, with a control that ranks all wrong."""
    needs = [1 - FAST[row] for row in rows]
    return MethodRun(source=source, rows=rows, needs=needs, control_needs=[-need for need in needs])


def test_a_way_is_compared_with_the_base_and_its_control() -> None:
    scores = score_method([perfect(range(80))], JUDGED, Random(1), 100)
    assert scores.mean is not None
    assert scores.control is not None
    assert scores.gain is not None
    assert scores.control_gain is not None
    assert scores.mean.value == pytest.approx(0.75)
    assert scores.control.value == pytest.approx(0.25)
    assert scores.gain.value == pytest.approx(0.25)
    assert scores.control_gain.value == pytest.approx(-0.25)
    assert scores.gain.low > 0 > scores.control_gain.high
    assert scores.sources == {"a": scores.mean}


def test_runs_count_the_same_within_a_source_and_sources_in_the_mean() -> None:
    """A source with two runs counts as much as one with a single run."""
    wrong = MethodRun(source="a", rows=range(40), needs=FAST[:40], control_needs=FAST[:40])
    runs = [perfect(range(40)), wrong, perfect(range(40, 80), "b")]
    scores = score_method(runs, JUDGED, Random(1), 100)
    values = {name: value.value for name, value in scores.sources.items() if value is not None}
    assert values == {"a": pytest.approx(0.5), "b": pytest.approx(0.75)}
    assert scores.mean is not None
    assert scores.mean.value == pytest.approx(0.625)


def test_without_a_gap_between_the_tiers_there_are_no_figures() -> None:
    flat = JudgedRows(fast=[1.0] * 80, smart=[1.0] * 80, base_needs=[0.5] * 80)
    scores = score_method([perfect(range(80))], flat, Random(1), 100)
    assert scores.sources == {"a": None}
    assert (scores.mean, scores.gain, scores.control, scores.control_gain) == (None,) * 4
