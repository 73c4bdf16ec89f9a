"""Shared metrics: counts of all processes add up, also after one of them is killed."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.telemetry.shared_metrics import OTHER_LABEL, MetricArea, MetricCell, SharedMemory

ROOT = Path(__file__).parents[2]


def read(figures: MetricArea) -> set[tuple[str, tuple[str, ...], tuple[float, ...]]]:
    return {(name, labels, numbers) for name, labels, numbers, _ in figures.read()}


def test_a_place_is_that_of_its_name_and_labels() -> None:
    figures = MetricArea()
    one = figures.find_offset("money", ("a", "b"), 3)
    other = figures.find_offset("money", ("ab", ""), 3)
    figures.values[one + 1] += 2.5
    figures.values[other] += 1
    assert figures.find_offset("money", ("a", "b"), 3) == one
    assert read(figures) == {
        ("money", ("a", "b"), (0.0, 2.5, 0.0)),
        ("money", ("ab", ""), (1.0, 0.0, 0.0)),
    }


@pytest.mark.parametrize("label", ["", "ä€😀", 'a"b\\c\nd', "x" * 300])
def test_labels_are_any_text(label: str) -> None:
    figures = MetricArea()
    figures.find_offset("x", (label,), 1)
    assert read(figures) == {("x", (label,), (0.0,))}


def test_what_finds_no_room_is_counted_together() -> None:
    """A configuration with more labels than there is room for loses no call."""
    figures = MetricArea(size=65_536 + 128)
    for number in range(50):
        figures.values[figures.find_offset("calls", (f"lab-{number}",), 1)] += 1
        figures.values[figures.find_offset("calls", (f"lab-{number}",), 1)] += 1
    found = {labels[0]: numbers[0] for _, labels, numbers in read(figures)}
    assert found.pop(OTHER_LABEL) == 100 - sum(found.values())
    assert 1 <= len(found) < 5
    assert set(found.values()) == {2.0}


def test_one_who_finds_no_area_counts_for_itself() -> None:
    """The process still shows what the others have counted."""
    memory = SharedMemory(1, 131_072)
    held = [MetricArea(memory) for _ in range(memory.areas)]
    held[0].values[held[0].find_offset("x", (), 1)] += 1
    late = MetricArea(memory)
    late.values[late.find_offset("x", (), 1)] += 2
    assert sorted(late.read()) == [
        MetricCell("x", (), (1.0,), is_alive=True),
        MetricCell("x", (), (2.0,), is_alive=True),
    ]
    assert read(held[1]) == {("x", (), (1.0,))}


def forked(program: str) -> None:
    """Run a program that forks, in a process without threads; fail if it raises."""
    head = """
        import os, signal, sys
        from gateway.telemetry.shared_metrics import MetricArea, SharedMemory
        memory = SharedMemory(2, 131_072)
        mine = MetricArea(memory)

        def child(work, die):
            ready, told = os.pipe()
            pid = os.fork()
            if pid == 0:
                work()
                os.write(told, b"x")
                os.close(told)
                if die:
                    os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()
            os.close(told)
            assert os.read(ready, 1) == b"x"
            if die:
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
            return pid

        def add(number):
            figures = MetricArea(memory)
            figures.values[figures.find_offset("x", ("a",), 1)] += number

        def cells():
            return sorted((numbers[0], lives) for _, _, numbers, lives in mine.read())
    """
    code = textwrap.dedent(head) + textwrap.dedent(program)
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, timeout=60)


def test_processes_tell_what_all_of_them_have_counted() -> None:
    forked("""
        mine.values[mine.find_offset("x", ("a",), 1)] += 1
        pids = [child(lambda: add(10), False), child(lambda: add(100), False)]
        assert cells() == [(1.0, True), (10.0, True), (100.0, True)], cells()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert cells() == [(1.0, True), (10.0, False), (100.0, False)], cells()
    """)


def test_the_successor_of_a_killed_process_goes_on_from_there() -> None:
    """Areas are reused, so memory does not grow, however often processes die."""
    forked("""
        for number in range(20):
            child(lambda: add(1), True)
            assert cells() == [(number + 1, False)], cells()
    """)


def test_a_fork_sees_its_parents_end() -> None:
    """The fork has none of its parent's areas."""
    forked("""
        told, tell = os.pipe()

        def parent():
            alive, held = os.pipe()
            add(1)
            if os.fork() == 0:
                os.close(held)
                os.read(alive, 1)
                os.write(tell, repr(cells()).encode())
                os._exit(0)

        child(parent, True)
        found = os.read(told, 100)
        assert found == b"[(1.0, False)]", found
    """)


def test_a_look_at_a_neighbour_takes_nobodys_area() -> None:
    """A lock that is tried is released; a process never tries its own, which it would get."""
    forked("""
        mine.find_offset("x", (), 1)
        for _ in range(3):
            list(mine.read())
        def other():
            figures = MetricArea(memory)
            figures.values[figures.find_offset("x", ("b",), 1)] = 5
        child(other, True)
        found = sorted((labels, numbers[0]) for _, labels, numbers, _ in mine.read())
        assert found == [((), 0.0), (("b",), 5.0)], found
    """)


def test_where_there_is_no_memory_of_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unlinked file serves as well."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    memory = SharedMemory(1, 131_072)
    one, other = MetricArea(memory), MetricArea(memory)
    one.values[one.find_offset("x", (), 1)] += 1
    other.values[other.find_offset("x", (), 1)] += 2
    assert {numbers for _, _, numbers in read(one)} == {(1.0,), (2.0,)}
