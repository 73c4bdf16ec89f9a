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


class Said:
    """A log."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, object]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.rows.append((event, fields.get("text")))


def elder(program: str = _LEAVES) -> int:
    """Start a child that waits for its signal to leave; a signal that comes early is not lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        return os.posix_spawn(sys.executable, [sys.executable, "-c", program], os.environ)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])


def gone(elders: InheritedWorkers, ready: int, count: int) -> None:
    """Advance until only so many workers are left."""
    while len(elders.pids) > count:
        elders.advance(ready)


def test_one_more_worker_than_before_at_a_time_and_none_leaves_for_one_that_is_not_ready() -> None:
    said = Said()
    elders = InheritedWorkers([elder(), elder()], 2, 20.0, said)
    assert elders.has_room(0)
    assert not elders.has_room(1)
    elders.advance(0)
    first, second = elders.pids
    assert os.waitpid(first, os.WNOHANG) == (0, 0)  # it has no signal yet
    gone(elders, 1, 1)
    assert elders.pids == [second]
    assert elders.has_room(1)
    elders.advance(1)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)
    gone(elders, 2, 0)
    assert said.rows[0] == ("restart", "begun")
    assert said.rows[-1] == ("restart", "done")
    assert elders.has_room(99)


def test_fewer_or_more_workers_than_before() -> None:
    """One worker replaces two: the second old one leaves once the new one serves.

    Two replace one: the old one leaves once both serve.
    """
    elders = InheritedWorkers([elder(), elder()], 1, 20.0, Said())
    gone(elders, 1, 0)
    elders = InheritedWorkers([elder()], 2, 20.0, Said())
    assert elders.has_room(1)
    assert not elders.has_room(2)
    gone(elders, 1, 0)


def test_one_that_does_not_leave_is_killed() -> None:
    elders = InheritedWorkers([elder("import time; time.sleep(60)")], 1, -5.0, Said())
    gone(elders, 1, 0)


class Following:
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

    def roll(self, said: Said) -> RollingRestart:
        return RollingRestart(said, NextSupervisor(self.rehearse, self.become))


def turn(one: RollingRestart, *told: int, ending: bool = False) -> None:
    one.advance(told, [7, 8], 2, is_ending=ending)


def test_it_becomes_the_next_one_where_that_could_start_and_else_stays() -> None:
    said, following = Said(), Following(0)
    one = following.roll(said)
    assert one.can_restart
    turn(one, signal.SIGHUP)
    turn(one, signal.SIGUSR2)
    turn(one, signal.SIGUSR2)
    following.process.wait()
    turn(one)
    assert following.became == [[7, 8]]
    assert [text for _, text in said.rows] == [
        "asked for",
        "a restart is running already",
        "refused",
    ]
    said, following = Said(), Following(1)
    one.close()
    one = following.roll(said)
    turn(one, signal.SIGUSR2)
    following.process.wait()
    turn(one)
    assert following.became == []
    assert [text for _, text in said.rows] == [
        "asked for",
        "refused: this configuration would not start; the lines above say why",
    ]
    turn(one, signal.SIGUSR2, ending=True)
    assert len(said.rows) == 2
    one.close()


def test_what_takes_too_long_to_find_out_and_what_ends_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said, following = Said(), Following(None)
    one = following.roll(said)
    turn(one, signal.SIGUSR2)
    one.stop(signal.SIGTERM)
    assert following.process.returncode == -signal.SIGKILL
    monkeypatch.setattr(rolling_restart, "_MAX_CHECK_SECONDS", -1.0)
    turn(one, signal.SIGUSR2)
    turn(one)
    following.process.wait()
    turn(one)
    assert (
        said.rows[-1][1] == "refused: this configuration would not start; the lines above say why"
    )
    following.command = ["/no/such/program"]
    turn(one, signal.SIGUSR2)
    assert said.rows[-1] == ("restart", "refused")
    one.close()


def test_without_a_next_one_nothing_is_asked() -> None:
    one = RollingRestart(Said())
    assert not one.can_restart
    turn(one, signal.SIGUSR2)
    one.close()


def test_what_is_left_is_told_once_and_not_to_children() -> None:
    leaves = SupervisorHandover("1", (3, 4), (5, 6), 7, (8, 9), 25.0)
    environ = {rolling_restart.HANDOVER_VARIABLE: jsonio.dumps(leaves).decode(), "A": "1"}
    assert rolling_restart.read_handover(environ) == leaves
    assert environ == {"A": "1"}
    assert rolling_restart.read_handover(environ) is None
    assert (
        rolling_restart.read_handover({rolling_restart.HANDOVER_VARIABLE: "rehearsal"})
        == "rehearsal"
    )
