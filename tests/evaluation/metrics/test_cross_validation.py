"""Folds: each row is judged by a scorer that has not seen it."""

from collections.abc import Callable, Sequence
from random import Random

import pytest

from gateway.evaluation.metrics import cross_validation

SOURCES = ["a"] * 3 + ["b"] * 5 + ["c"] * 2


def test_each_source_is_left_out_once() -> None:
    folds = list(cross_validation.leave_one_out(SOURCES))
    assert [(fold.name, fold.held_out_rows) for fold in folds] == [
        ("a", [0, 1, 2]), ("b", [3, 4, 5, 6, 7]), ("c", [8, 9]),
    ]  # fmt: skip
    assert all(sorted([*fold.train_rows, *fold.held_out_rows]) == list(range(10)) for fold in folds)
    assert list(cross_validation.leave_one_out(["a", "a"])) == []


def test_random_parts_hold_each_row_once_and_each_source_by_its_share() -> None:
    folds = list(cross_validation.split_randomly(["a"] * 10 + ["b"] * 20, Random(1), 5))
    assert sorted(row for fold in folds for row in fold.held_out_rows) == list(range(30))
    for fold in folds:
        assert sorted([*fold.train_rows, *fold.held_out_rows]) == list(range(30))
        assert [row < 10 for row in fold.held_out_rows].count(True) == 2
    assert folds == list(cross_validation.split_randomly(["a"] * 10 + ["b"] * 20, Random(1), 5))


def test_a_scorer_never_sees_the_rows_that_it_is_judged_on() -> None:
    def fit(rows: Sequence[int]) -> Callable[[int], float]:
        return lambda row: float(row in rows)

    rows = list(range(10))
    assert (
        cross_validation.score_held_out(rows, cross_validation.leave_one_out(SOURCES), fit)
        == [0.0] * 10
    )
    assert (
        cross_validation.score_held_out(
            rows, list(cross_validation.split_randomly(SOURCES, Random(2), 3)), fit
        )
        == [0.0] * 10
    )


def test_the_held_out_score_is_the_mean_of_the_sources() -> None:
    draw = Random(3)
    need = [draw.random() for _ in range(300)]
    strong = [1.0 if fold > draw.random() else 0.0 for fold in need]
    scores = cross_validation.compute_held_out_scores(
        need, [0.0] * 300, strong, ["a", "b", "b"] * 100, Random(4), 200
    )
    assert list(scores.sources) == ["a", "b"]
    a, b, mean = scores.sources["a"], scores.sources["b"], scores.mean
    assert a is not None
    assert b is not None
    assert mean is not None
    assert mean.value == pytest.approx((a.value + b.value) / 2)
    assert mean.is_above(0.5)
    assert mean.high - mean.low < a.high - a.low
