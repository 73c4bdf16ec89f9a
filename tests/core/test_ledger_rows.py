"""Rows tell if their call failed, and if feedback calls its answer good."""

import pytest

from gateway.core.ledger_rows import CallState, Verdict, has_failed, is_rated_good


@pytest.mark.parametrize(
    ("verdict", "score", "expected"),
    [
        (None, None, None), ("good", None, True), ("bad", None, False), (None, 0.5, True),
        (None, 0.49, False), ("good", 0.9, True), ("good", 0.1, False), ("bad", 1.0, False),
    ],
)  # fmt: skip
def test_feedback_is_good_unless_its_verdict_or_score_is_bad(
    verdict: Verdict | None, score: float | None, expected: bool | None
) -> None:
    assert is_rated_good(verdict, score) is expected


@pytest.mark.parametrize(
    ("state", "aborted_by", "expected"),
    [
        ("settled", None, False), ("cache_hit", None, False), ("failed", None, True),
        ("refused", None, True), ("unknown_crash", None, True), ("aborted", "upstream", True),
        ("aborted", "client", False), ("aborted", "client_slow", False),
    ],
)  # fmt: skip
def test_a_broken_answer_has_failed_unless_its_client_left(
    state: CallState, aborted_by: str | None, expected: bool
) -> None:
    assert has_failed(state, aborted_by) is expected
