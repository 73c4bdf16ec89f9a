"""Differences of two figures, and figures as JSON."""

import math

import pytest

from gateway.evaluation.metrics.figure import Figure, describe_money, describe_number, subtract


def test_the_difference_of_two_wilson_intervals_is_that_of_newcombe() -> None:
    """The first example of Newcombe (1998), method 10: 56 of 70 and 48 of 80."""
    left, right = Figure(56 / 70, 0.69183, 0.87696), Figure(48 / 80, 0.49046, 0.70038)
    difference = subtract(left, right)
    assert difference.value == pytest.approx(0.2)
    assert difference.low == pytest.approx(0.0524, abs=1e-4)
    assert difference.high == pytest.approx(0.3339, abs=1e-4)


def test_the_difference_of_two_symmetric_intervals_adds_their_squares() -> None:
    difference = subtract(Figure(5.0, 2.0, 8.0), Figure(4.0, 0.0, 8.0))
    assert difference == Figure(1.0, 1.0 - math.hypot(3, 4), 1.0 + math.hypot(3, 4))


@pytest.mark.parametrize(
    ("difference", "finding"),
    [
        (Figure(0.3, 0.1, 0.5), "higher"),
        (Figure(-0.3, -0.5, -0.1), "lower"),
        (Figure(0.3, 0.0, 0.6), "no difference can be claimed"),
        (Figure(-0.3, -0.6, 0.0), "no difference can be claimed"),
        (Figure(0.3), None),
    ],
)
def test_a_difference_whose_interval_contains_zero_is_no_finding(
    difference: Figure, finding: str | None
) -> None:
    assert difference.finding == finding


@pytest.mark.parametrize("without", [0, 1])
def test_a_difference_with_a_figure_without_an_interval_has_none(without: int) -> None:
    figures = [Figure(3.0, 2.0, 4.0), Figure(1.0, 0.0, 2.0)]
    figures[without] = Figure(figures[without].value)
    assert subtract(*figures) == Figure(2.0)


def test_money_is_text_and_numbers_are_rounded() -> None:
    assert describe_money(Figure(0.0000123456789, 1e-9, 1234.5678)) == {
        "value": "0.0000123457", "low": "0.000000001", "high": "1234.57",
    }  # fmt: skip
    assert describe_number(Figure(0.123456), digits=3) == {
        "value": 0.123, "low": None, "high": None,
    }  # fmt: skip
    assert describe_money(Figure(0.5)) == {"value": "0.5", "low": None, "high": None}
    assert describe_money(None) is describe_number(None, digits=3) is None
