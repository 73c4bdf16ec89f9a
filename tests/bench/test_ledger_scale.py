"""The bench of large ledgers asks its questions of a small one."""

from itertools import count

import pytest

from bench.ledger_scale import CALLS, main, measure


def test_each_question_has_groups_of_all_days() -> None:
    answers = list(measure(400, 3))
    assert len(answers) == 47
    assert all(answer.groups for answer in answers)
    assert {answer.bound for answer in answers} == {300, 600}
    groups = {answer.question: answer.groups for answer in answers}
    assert groups["3 days by day, by tier "] == 9
    assert groups["all by rule, source"] == 15
    assert CALLS == 100_000_000


@pytest.mark.parametrize(("seconds", "status"), [(0.001, 0), (1.0, 1)])
def test_the_bench_fails_above_its_bound(
    capsys: pytest.CaptureFixture[str], seconds: float, status: int
) -> None:
    ticks = count()
    assert main(["50", "2"], lambda: next(ticks) * seconds) == status
    assert "the slowest; the bound is 300 ms" in capsys.readouterr().out
