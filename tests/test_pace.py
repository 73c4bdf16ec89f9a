"""A stall of the machine is no failure, and a fault of the program is one."""

import gc

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


def test_what_is_no_time_is_held_once() -> None:
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
