"""CPU time, memory and process trees, as the kernel reports them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import machine

# Each program writes one line when it is done, then waits for the end of its standard input.
BURN = """
import sys, threading, time
def burn():
    end = time.thread_time() + 0.1
    while time.thread_time() < end: pass
other = threading.Thread(target=burn); other.start()
burn()
ended = threading.Event()
stays = threading.Thread(target=lambda: (burn(), print(time.process_time(), flush=True), ended.wait()))
other.join(); stays.start()
sys.stdin.read(); ended.set()
"""
FILL = "import sys; kept = b'x' * 50_000_000; print('full', flush=True); sys.stdin.read()"
PARENT = """
import subprocess, sys
child = subprocess.Popen(['cat'], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read(); child.communicate()
"""


@contextmanager
def child(program: str) -> Iterator[tuple[int, str]]:
    """Run a program; yield its pid and the line that it wrote."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().decode()


def test_cpu_seconds_add_up_all_living_threads() -> None:
    """The process's own clock also counts the thread that has ended: 0.1 s."""
    with child(BURN) as (pid, line):
        cpu = machine.cpu_seconds([pid])
    assert cpu.ran == pytest.approx(float(line) - 0.1, abs=0.04)
    assert cpu.ran > 0.2
    assert cpu.waited >= 0


def test_an_ended_process_has_no_cpu_seconds() -> None:
    with child("print()") as (pid, _):
        pass
    assert machine.cpu_seconds([pid]) == machine.Cpu(0, 0)
    assert machine.resident([pid]) == 0


def test_resident_memory_grows_with_the_memory_of_a_process() -> None:
    with (
        child(FILL) as (full, _),
        child("import sys; print(1, flush=True); sys.stdin.read()") as (
            empty,
            _,
        ),
    ):
        grown = machine.resident([full]) - machine.resident([empty])
        assert machine.resident([full, empty]) > machine.resident([full])
    assert grown == pytest.approx(50_000_000, rel=0.1)


def test_a_family_is_a_process_and_its_descendants() -> None:
    with child(PARENT) as (pid, line):
        assert machine.family(pid) == [pid, int(line)]
        assert {pid, int(line)} <= set(machine.family(os.getpid()))


def test_a_process_started_while_pinned_stays_on_its_cpu() -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    with (
        machine.pinned(cpu),
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert os.sched_getaffinity(process.pid) == {cpu}
        assert os.sched_getaffinity(0) == {cpu}
    assert os.sched_getaffinity(0) == before


def test_pinning_also_ends_after_an_error() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(RuntimeError), machine.pinned(min(before)):
        raise RuntimeError
    assert os.sched_getaffinity(0) == before


def test_the_bench_uses_the_first_two_cpus() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    description = machine.describe()
    assert (description.gateway_cpu, description.load_cpu, description.cpus) == (
        cpus[0],
        cpus[:2][-1],
        len(cpus),
    )


@pytest.mark.parametrize(
    ("manager", "command"),
    [("apt-get", "apt-get install nginx"), ("apk", "apk add nginx")],
)
def test_the_error_of_a_missing_tool_names_this_machines_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, manager: str, command: str
) -> None:
    (tmp_path / manager).write_text("")
    (tmp_path / manager).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "SBIN", "")
    with pytest.raises(machine.Missing, match=f"nginx is missing; install it with: {command}$"):
        machine.find("nginx")


def test_without_a_package_manager_the_error_names_all_install_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "SBIN", "")
    with pytest.raises(machine.Missing, match="apt-get install nginx or dnf install nginx or"):
        machine.find("nginx")
