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
def made() -> list[Case]:
    return routing.cases()


def test_each_case_is_decided_by_what_it_says(made: list[Case]) -> None:
    assert {case.what: routing.one(case) for case in made} == {
        case.what: case.source for case in made
    }
    assert {case.source for case in made} == {"pin", "rule", "classifier", "nothing"}


def test_the_user_has_fifty_rules(made: list[Case]) -> None:
    """The last rule decides, after no other has matched."""
    decided = [case for case in made if not isinstance(case, routing.Alone)]
    few, many = (sorted({len(one.router.rules.choices) for one in decided})[at] for at in (0, -1))
    assert many - few == 50
    guards, choices = routing.mixed()
    assert (len(guards), len(choices)) == (10, 40)


def test_a_case_that_something_else_decides_is_not_measured(made: list[Case]) -> None:
    wrong = msgspec.structs.replace(made[0], source="rule")
    with pytest.raises(RuntimeError, match="pinned by its model name: decided by pin"):
        routing.measure(1, 1, made=[wrong])


def test_the_best_rounds_count_and_stand_beside_fixed_work(made: list[Case]) -> None:
    """Fixed work takes 4, 1 and 2 seconds, the calls 3, 6 and 5: the best are 3 to 1."""
    ticks = iter([0, 4, 4, 7, 7, 8, 8, 14, 14, 16, 16, 21])
    (found,) = routing.measure(3, 2, lambda: float(next(ticks)), made[:1])
    assert (found.micros, found.ratio, found.bound) == (1.5e6, 3.0, made[0].bound)


def test_the_table_has_a_mark_where_a_bound_is_missed() -> None:
    table = routing.render([Cost("one", 5.0, 2.0, 2.0), Cost("other", 12.5, 3.0, 2.5)])
    assert table.splitlines()[:2] == [
        "one         5.0 us     2.0 of at most 2",
        "other      12.5 us     3.0 of at most 2.5  !",
    ]


def test_a_missed_bound_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Every round takes a second on this clock: one call costs as much as one piece of fixed work."""
    assert routing.main(["--rounds", "1", "--calls", "1"], map(float, count()).__next__) == 0
    assert "1.0 of at most 10" in capsys.readouterr().out
    ticks = iter(at if at % 4 < 3 else at + 500.0 for at in count())
    assert routing.main(["--rounds", "1", "--calls", "1"], lambda: float(next(ticks))) == 1
    assert "!" in capsys.readouterr().out


def test_the_bounds_hold_in_one_run() -> None:
    """The bench runs in a process of its own, which no coverage slows.

    It compares the CPU of calls with that of fixed work, the best of eight rounds each, side by
    side. Bounds are several times the measured ratios.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.routing", "--rounds", "8", "--calls", "100"],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
