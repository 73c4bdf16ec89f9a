"""The table of ways to learn: every way has its control, and what is planted is found."""

from pathlib import Path
from random import Random

import pytest

from bench import learning, simulated_judge
from gateway.evaluation import labels
from gateway.evaluation.metrics.calibration import compute_calibration
from gateway.evaluation.metrics.ranking import group_by_source
from tests.evaluation.training import lesson

SHORT = learning.LearningPlan(training=lesson.SMALL, draws=2, repeats=60)


def test_the_simulated_judge_is_as_right_and_as_sure_as_it_says() -> None:
    outcomes = [index % 2 == 0 for index in range(20_000)]
    answers = simulated_judge.draw_answers(outcomes, Random(1))
    right = sum(
        (answer > 0.5) == outcome for answer, outcome in zip(answers, outcomes, strict=True)
    )
    assert right / len(outcomes) == pytest.approx(simulated_judge.ACCURACY, abs=0.01)
    stated = compute_calibration(answers, outcomes)
    line = simulated_judge.fit_calibration(answers[:1_000], outcomes[:1_000])
    calibrated = compute_calibration(simulated_judge.apply_calibration(answers, line), outcomes)
    assert stated is not None
    assert calibrated is not None
    assert stated.error == pytest.approx(0.08, abs=0.01)
    assert calibrated.error < 0.03


def test_every_way_has_its_figures_and_its_control() -> None:
    """Labels whose hard words are the same in all sources: the base and the refit find them."""
    figures = learning.measure(lesson.labels(), lesson.placed_rows(), SHORT)
    assert list(figures.scores) == list(learning.METHODS)
    for scores in figures.scores.values():
        assert set(scores.sources) == {"chat", "code", "exam"}
        assert scores.control is not None
        assert scores.mean is not None
    local, judge = figures.scores["local"], figures.scores["judge"]
    assert local.mean is not None
    assert local.control is not None
    assert local.mean.low > local.control.high
    assert judge.mean is not None
    assert judge.mean.value > 0.6
    assert 0.7 < figures.judge.accuracy < 0.8
    table = learning.format_table(figures).splitlines()
    assert table[0].startswith("|  | `chat` | `code` | `exam` | mean | shuffled control |")
    assert [line.split(" | ")[0] for line in table[2:9]] == [
        f"| {name}" for name in learning.METHODS.values()
    ]
    assert "The simulated judge is right on 7" in table[-1]


def test_figures_that_are_not_there_are_unknown() -> None:
    assert learning._format_value(None) == "unknown"
    assert learning._format_interval(None) == "unknown"
    assert learning._format_gain(None) == "unknown"


def test_on_benchmark_prompts_no_control_is_better_than_chance(outcomes_file: Path) -> None:
    """A short form of `make learning`, on 300 prompts of each source."""
    outcomes = labels.read_labels(outcomes_file)
    by_source = group_by_source([label.source for label in outcomes])
    few = [outcomes[row] for rows in by_source.values() for row in Random(1).sample(rows, 300)]
    figures = learning.measure(few, lesson.placed_rows(), SHORT)
    for method, scores in figures.scores.items():
        assert scores.control is not None
        assert scores.control_gain is not None
        if method in ("local", "judge", "judge calibrated"):
            assert scores.control.low < 0.5 < scores.control.high, method
        assert scores.control_gain.low < 0, method
    for method in ("judge", "judge unsure"):
        scores = figures.scores[method]
        assert scores.gain is not None
        assert scores.control_gain is not None
        assert scores.gain.low > scores.control_gain.high, method
