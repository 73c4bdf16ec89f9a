"""A stall of the machine is no failure, and a fault of the program is one."""

import ast
import gc
from pathlib import Path

import pytest

from tests.pace import Late, tried, within


def test_a_stall_hits_one_trial_and_a_fault_hits_all() -> None:
    took = iter([9.0, 9.0, 0.5, 9.0])
    tried(lambda: within(next(took), 1))
    assert list(took) == [9.0]
    took = iter([1.0, 1.0, 1.0, 1.0, 1.5, 0.0])
    with pytest.raises(Late, match=r"the answer 1\.5000 s, not less than 1\.0000 s"):
        tried(lambda: within(next(took), 1, "the answer"))
    assert list(took) == [0.0]


def test_a_failure_that_is_not_about_time_is_not_retried() -> None:
    made = []

    def trial() -> None:
        made.append(1)
        assert len(made) > 1, "wrong"

    with pytest.raises(AssertionError, match="wrong"):
        tried(trial)
    assert len(made) == 1


def test_no_cycles_are_searched_in_a_trial() -> None:
    assert not tried(gc.isenabled)
    assert gc.isenabled()


TESTS = Path(__file__).parent


def sleeps(text: str) -> list[int]:
    """Return the lines of a program that call time.sleep and do not say why."""
    lines = text.splitlines()
    calls = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
    ]
    return [call.lineno for call in calls if "  # " not in lines[call.lineno - 1]]


def test_a_test_that_sleeps_says_why() -> None:
    """A sleep makes each run longer, and breaks on a busy machine: only real processes need one."""
    silent = {
        str(file.relative_to(TESTS)): lines
        for file in TESTS.rglob("*.py")
        if "time.sleep(" in (text := file.read_text("utf-8")) and (lines := sleeps(text))
    }
    assert silent == {}
    assert sleeps("import time\ntime.sleep(1)\ntime.sleep(2)  # a server starts\n") == [2]
