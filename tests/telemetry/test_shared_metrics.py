"""Shared metrics: counts of all processes add up, also after one of them is killed."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.telemetry.shared_metrics import OTHER_LABEL, MetricArea, MetricCell, SharedMemory

ROOT = Path(__file__).parents[2]


def read(area: MetricArea) -> set[tuple[str, tuple[str, ...], tuple[float, ...]]]:
    return {(name, labels, numbers) for name, labels, numbers, _ in area.read()}


def test_an_offset_belongs_to_a_name_and_its_labels() -> None:
    area = MetricArea()
    first = area.find_offset("money", ("a", "b"), 3)
    second = area.find_offset("money", ("ab", ""), 3)
    area.values[first + 1] += 2.5
    area.values[second] += 1
    assert area.find_offset("money", ("a", "b"), 3) == first
    assert read(area) == {
        ("money", ("a", "b"), (0.0, 2.5, 0.0)),
        ("money", ("ab", ""), (1.0, 0.0, 0.0)),
    }


@pytest.mark.parametrize("label", ["", "ä€😀", 'a"b\\c\nd', "x" * 300])
def test_a_label_may_be_any_text(label: str) -> None:
    area = MetricArea()
    area.find_offset("x", (label,), 1)
    assert read(area) == {("x", (label,), (0.0,))}


def test_labels_beyond_the_area_are_counted_together() -> None:
    """A configuration with more labels than there is room for loses no call."""
    area = MetricArea(size=65_536 + 128)
    for number in range(50):
        area.values[area.find_offset("calls", (f"lab-{number}",), 1)] += 1
        area.values[area.find_offset("calls", (f"lab-{number}",), 1)] += 1
    counts = {labels[0]: numbers[0] for _, labels, numbers in read(area)}
    assert counts.pop(OTHER_LABEL) == 100 - sum(counts.values())
    assert 1 <= len(counts) < 5
    assert set(counts.values()) == {2.0}


def test_a_process_without_a_free_area_counts_for_itself() -> None:
    """The process still shows what the others have counted."""
    memory = SharedMemory(1, 131_072)
    areas = [MetricArea(memory) for _ in range(memory.areas)]
    areas[0].values[areas[0].find_offset("x", (), 1)] += 1
    late_area = MetricArea(memory)
    late_area.values[late_area.find_offset("x", (), 1)] += 2
    assert sorted(late_area.read()) == [
        MetricCell("x", (), (1.0,), is_alive=True),
        MetricCell("x", (), (2.0,), is_alive=True),
    ]
    assert read(areas[1]) == {("x", (), (1.0,))}


def run_forking(program: str) -> None:
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


def test_a_process_reads_the_counts_of_all() -> None:
    run_forking("""
        mine.values[mine.find_offset("x", ("a",), 1)] += 1
        pids = [child(lambda: add(10), False), child(lambda: add(100), False)]
        assert cells() == [(1.0, True), (10.0, True), (100.0, True)], cells()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert cells() == [(1.0, True), (10.0, False), (100.0, False)], cells()
    """)


def test_the_successor_of_a_killed_process_goes_on_with_its_counts() -> None:
    """Areas are reused, so memory does not grow, however often processes die."""
    run_forking("""
        for number in range(20):
            child(lambda: add(1), True)
            assert cells() == [(number + 1, False)], cells()
    """)


def test_a_fork_notices_that_its_parent_ended() -> None:
    """The fork has none of its parent's areas."""
    run_forking("""
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


def test_reading_the_areas_of_others_takes_none_of_them() -> None:
    """A lock that is tried is released; a process never tries its own, which it would get."""
    run_forking("""
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


def test_without_memfd_an_unlinked_file_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unlinked file serves as well."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    memory = SharedMemory(1, 131_072)
    first, second = MetricArea(memory), MetricArea(memory)
    first.values[first.find_offset("x", (), 1)] += 1
    second.values[second.find_offset("x", (), 1)] += 2
    assert {numbers for _, _, numbers in read(first)} == {(1.0,), (2.0,)}
