"""A rolling restart, step by step: which workers the supervisor starts and stops, and when."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from gateway.cli.serve import rolling_restart
from gateway.cli.serve.rolling_restart import (
    InheritedWorkers,
    Lifeline,
    NextSupervisor,
    RollingRestart,
    SupervisorHandover,
)
from gateway.core import jsonio

_LEAVES = "import signal, sys; signal.sigwait([signal.SIGUSR2])"


class LogRecorder:
    """A log."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, object]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.rows.append((event, fields.get("text")))


def start_old_worker(program: str = _LEAVES) -> int:
    """Start a child that waits for its signal to leave; a signal that comes early is not lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        return os.posix_spawn(sys.executable, [sys.executable, "-c", program], os.environ)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])


def advance_until_left(old_workers: InheritedWorkers, ready: int, count: int) -> None:
    """Advance until only so many workers are left."""
    while len(old_workers.pids) > count:
        old_workers.advance(ready)


def test_a_rolling_restart_runs_one_extra_worker_and_waits_for_new_ones_to_be_ready() -> None:
    log = LogRecorder()
    old_workers = InheritedWorkers([start_old_worker(), start_old_worker()], 2, 20.0, log)
    assert old_workers.has_room(0)
    assert not old_workers.has_room(1)
    old_workers.advance(0)
    first, second = old_workers.pids
    assert os.waitpid(first, os.WNOHANG) == (0, 0)  # it has no signal yet
    advance_until_left(old_workers, 1, 1)
    assert old_workers.pids == [second]
    assert old_workers.has_room(1)
    old_workers.advance(1)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)
    advance_until_left(old_workers, 2, 0)
    assert log.rows[0] == ("restart", "begun")
    assert log.rows[-1] == ("restart", "done")
    assert old_workers.has_room(99)


def test_the_number_of_workers_may_change_in_a_restart() -> None:
    """One worker replaces two: the second old one leaves once the new one serves.

    Two replace one: the old one leaves once both serve.
    """
    old_workers = InheritedWorkers([start_old_worker(), start_old_worker()], 1, 20.0, LogRecorder())
    advance_until_left(old_workers, 1, 0)
    old_workers = InheritedWorkers([start_old_worker()], 2, 20.0, LogRecorder())
    assert old_workers.has_room(1)
    assert not old_workers.has_room(2)
    advance_until_left(old_workers, 1, 0)


def test_a_worker_that_does_not_leave_in_time_is_killed() -> None:
    old_workers = InheritedWorkers(
        [start_old_worker("import time; time.sleep(60)")], 1, -5.0, LogRecorder()
    )
    advance_until_left(old_workers, 1, 0)


class FakeNextSupervisor:
    """A stand-in for the program that a supervisor would become."""

    def __init__(self, status: int | None) -> None:
        self.became: list[list[int]] = []
        program = "import time; time.sleep(60)" if status is None else f"exit({status})"
        self.command = [sys.executable, "-c", program]

    def rehearse(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(self.command)
        return self.process

    def become(self, _: Lifeline, workers: Sequence[int]) -> None:
        self.became.append(list(workers))
        raise OSError("no such program")

    def roll(self, log: LogRecorder) -> RollingRestart:
        return RollingRestart(log, NextSupervisor(self.rehearse, self.become))


def advance(restart: RollingRestart, *signals: int, ending: bool = False) -> None:
    restart.advance(signals, [7, 8], 2, is_ending=ending)


def test_the_supervisor_restarts_only_if_its_successor_could_start() -> None:
    log, successor = LogRecorder(), FakeNextSupervisor(0)
    restart = successor.roll(log)
    assert restart.can_restart
    advance(restart, signal.SIGHUP)
    advance(restart, signal.SIGUSR2)
    advance(restart, signal.SIGUSR2)
    successor.process.wait()
    advance(restart)
    assert successor.became == [[7, 8]]
    assert [text for _, text in log.rows] == [
        "asked for",
        "a restart is running already",
        "refused",
    ]
    log, successor = LogRecorder(), FakeNextSupervisor(1)
    restart.close()
    restart = successor.roll(log)
    advance(restart, signal.SIGUSR2)
    successor.process.wait()
    advance(restart)
    assert successor.became == []
    assert [text for _, text in log.rows] == [
        "asked for",
        "refused: this configuration would not start; the lines above say why",
    ]
    advance(restart, signal.SIGUSR2, ending=True)
    assert len(log.rows) == 2
    restart.close()


def test_a_successor_that_checks_too_long_or_cannot_run_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, successor = LogRecorder(), FakeNextSupervisor(None)
    restart = successor.roll(log)
    advance(restart, signal.SIGUSR2)
    restart.stop(signal.SIGTERM)
    assert successor.process.returncode == -signal.SIGKILL
    monkeypatch.setattr(rolling_restart, "_MAX_CHECK_SECONDS", -1.0)
    advance(restart, signal.SIGUSR2)
    advance(restart)
    successor.process.wait()
    advance(restart)
    assert log.rows[-1][1] == "refused: this configuration would not start; the lines above say why"
    successor.command = ["/no/such/program"]
    advance(restart, signal.SIGUSR2)
    assert log.rows[-1] == ("restart", "refused")
    restart.close()


def test_without_a_successor_a_restart_signal_does_nothing() -> None:
    restart = RollingRestart(LogRecorder())
    assert not restart.can_restart
    advance(restart, signal.SIGUSR2)
    restart.close()


def test_the_handover_is_read_once_and_children_do_not_inherit_it() -> None:
    handover = SupervisorHandover("1", (3, 4), (5, 6), 7, (8, 9), 25.0)
    environ = {rolling_restart.HANDOVER_VARIABLE: jsonio.dumps(handover).decode(), "A": "1"}
    assert rolling_restart.read_handover(environ) == handover
    assert environ == {"A": "1"}
    assert rolling_restart.read_handover(environ) is None
    assert (
        rolling_restart.read_handover({rolling_restart.HANDOVER_VARIABLE: "rehearsal"})
        == "rehearsal"
    )
