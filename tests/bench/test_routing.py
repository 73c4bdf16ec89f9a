"""The cost of routing per call: the measured calls, the table, and the bounds in this very run."""

import subprocess
import sys
from itertools import count

import msgspec
import pytest

from bench import routing
from bench.routing import Case, Cost
from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return routing.cases()


def test_each_case_is_decided_by_its_stated_source(cases: list[Case]) -> None:
    assert {case.what: routing.one(case) for case in cases} == {
        case.what: case.source for case in cases
    }
    assert {case.source for case in cases} == {"pin", "rule", "classifier", "nothing"}


def test_the_case_with_rules_has_fifty_rules(cases: list[Case]) -> None:
    """The last rule decides, after no other has matched."""
    decided = [case for case in cases if not isinstance(case, routing.Alone)]
    few, many = (sorted({len(one.router.rules.choices) for one in decided})[at] for at in (0, -1))
    assert many - few == 50
    guards, choices = routing.mixed()
    assert (len(guards), len(choices)) == (10, 40)


def test_a_case_with_another_source_than_stated_is_not_measured(cases: list[Case]) -> None:
    wrong = msgspec.structs.replace(cases[0], source="rule")
    with pytest.raises(RuntimeError, match="pinned by its model name: decided by pin"):
        routing.measure(1, 1, made=[wrong])


def test_the_best_rounds_count_relative_to_fixed_work(cases: list[Case]) -> None:
    """Fixed work takes 4, 1 and 2 seconds, the calls 3, 6 and 5: the best are 3 to 1."""
    ticks = iter([0, 4, 4, 7, 7, 8, 8, 14, 14, 16, 16, 21])
    (cost,) = routing.measure(3, 2, lambda: float(next(ticks)), cases[:1])
    assert (cost.micros, cost.ratio, cost.bound) == (1.5e6, 3.0, cases[0].bound)


def test_the_table_marks_a_missed_bound() -> None:
    table = routing.render([Cost("one", 5.0, 2.0, 2.0), Cost("other", 12.5, 3.0, 2.5)])
    assert table.splitlines()[:2] == [
        "one         5.0 us     2.0 of at most 2",
        "other      12.5 us     3.0 of at most 2.5  !",
    ]


def test_a_missed_bound_sets_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """Every round takes a second on this clock: one call costs as much as one piece of fixed work."""
    assert routing.main(["--rounds", "1", "--calls", "1"], map(float, count()).__next__) == 0
    assert "1.0 of at most 10" in capsys.readouterr().out
    ticks = iter(at if at % 4 < 3 else at + 500.0 for at in count())
    assert routing.main(["--rounds", "1", "--calls", "1"], lambda: float(next(ticks))) == 1
    assert "!" in capsys.readouterr().out


def test_the_bounds_hold_in_a_run_of_the_bench() -> None:
    """The bench runs in a process of its own, which no coverage slows.

    It compares the CPU of calls with that of fixed work, the best of eight rounds each, side by
    side. Bounds are several times the measured ratios.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.routing", "--rounds", "8", "--calls", "100"],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
