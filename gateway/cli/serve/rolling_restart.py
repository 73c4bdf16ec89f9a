"""A rolling restart, as the supervisor goes through it.

First another process finds out whether the program could start as it is now; then this one becomes
the next. That one starts its workers beside those that it was left, one more at a time than there
were, and tells one of these to leave whenever one of its own is ready. Nothing is told to leave for
a worker that cannot live.

A restart in place: one supervisor becomes the next, which takes its sockets and workers over.

The next one is the same program started anew with the same words, so it is of the code and of the
configuration that are there now; it keeps the process's id, so that whoever started it sees nothing
of this. What it takes over it is told of by a variable. Before that, another process has tried
whether it can start: what has a mistake never takes the place of what runs.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Literal

import msgspec

from gateway.core import jsonio
from gateway.telemetry.log import Log, locate_error

HANDOVER_VARIABLE = "_TIERGATE_HANDOVER"
_START_CHECK_VALUE = "rehearsal"


class SupervisorHandover(msgspec.Struct, frozen=True):
    """What one supervisor leaves to the next; numbers of files, ids of processes, seconds."""

    version: str
    """Of the program that leaves it."""
    sockets: tuple[int, ...]
    tie: tuple[int, int]
    """The pipe by whose end workers learn that they have no supervisor."""
    figures: int
    """The memory in which workers count."""
    workers: tuple[int, ...]
    drain: float
    """What these have to end."""

    def open_sockets(self) -> list[socket]:
        """The sockets, which listen."""
        return [socket(fileno=descriptor) for descriptor in self.sockets]


_decode_handover = jsonio.make_reader(SupervisorHandover)


def read_handover(
    environ: MutableMapping[str, str],
) -> SupervisorHandover | Literal["rehearsal"] | None:
    """What is left to this process, where it is such a next one; no child of it sees the variable.

    `rehearsal`: it is only to find out whether it could start.
    """
    value = environ.pop(HANDOVER_VARIABLE, "")
    if value == _START_CHECK_VALUE:
        return "rehearsal"
    handover: SupervisorHandover | None = _decode_handover(value.encode()) if value else None
    return handover


def get_command_line() -> list[str]:
    """The command that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]


def spawn_start_check() -> subprocess.Popen[bytes]:
    """A process that ends with 0 where the next one could start; else it says why not."""
    return subprocess.Popen(  # noqa: S603 - what this process is already
        get_command_line(),
        env={**os.environ, HANDOVER_VARIABLE: _START_CHECK_VALUE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def replace_process(handover: SupervisorHandover, signals: Iterable[signal.Signals]) -> None:
    """Become the next one. Raises OSError where that cannot be; else this is the end.

    The next one unblocks the signals when it heeds them: none is lost, and none kills it.
    """
    Path(sys.executable).stat()
    descriptors = (*handover.sockets, *handover.tie, handover.figures)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - theirs
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        command = get_command_line()
        environ = {**os.environ, HANDOVER_VARIABLE: jsonio.dumps(handover).decode()}
        os.execve(command[0], command, environ)  # noqa: S606 - what this process is already
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - theirs


_GRACE_SECONDS = 5.0
"""Seconds beyond `drain` in which a worker that was told to leave must have ended."""
_MAX_CHECK_SECONDS = 60.0
"""Seconds that finding out whether it could start may take."""

_RESTART_SIGNALS = frozenset({signal.SIGUSR2})

type Lifeline = tuple[int, int]
"""The end of the pipe that workers read from, and the one that the supervisor holds."""


@dataclass(frozen=True)
class NextSupervisor:
    """What a supervisor needs to become the next one."""

    spawn_start_check: Callable[[], subprocess.Popen[bytes]]
    """A process that ends with 0 where the next one could start."""
    replace_process: Callable[[Lifeline, Sequence[int]], object]
    """Become it, with workers to leave to it. Raises OSError."""


class StartCheck:
    """Whether the next one could start is being found out, or was asked for in vain."""

    def __init__(self, next_supervisor: NextSupervisor | None, log: Log) -> None:
        self._next_supervisor = next_supervisor
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def is_available(self) -> bool:
        """Whether this supervisor can be followed at all."""
        return self._next_supervisor is not None

    def request(self, *, is_busy: bool) -> None:
        """Somebody wants a restart; `is_busy`: one is going on."""
        if self._next_supervisor is None:
            return
        if is_busy or self._process is not None:
            self._log("restart", text="one is going on")
            return
        try:
            self._process, self._started_at = (
                self._next_supervisor.spawn_start_check(),
                time.monotonic(),
            )
        except OSError as error:
            self._log("restart", text="refused", error=locate_error(error))
        else:
            self._log("restart", text="asked for")

    def poll(self, lifeline: Lifeline, workers: Sequence[int]) -> None:
        """To be asked often: where it could start, this is where the supervisor becomes it."""
        process, next_supervisor = self._process, self._next_supervisor
        if process is None or next_supervisor is None:
            return
        status = process.poll()
        if status is None:
            if time.monotonic() - self._started_at > _MAX_CHECK_SECONDS:
                process.kill()
            return
        self._process = None
        if status:
            text = "refused: as it is now it would not start, and says why above"
            self._log("restart", text=text, status=status)
            return
        try:
            next_supervisor.replace_process(lifeline, workers)
        except OSError as error:
            self._log("restart", text="refused", error=locate_error(error))

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RollingRestart:
    """How far it is: nothing, unless `next_supervisor` can be asked for or there are `inherited`.

    `lifeline` is that of the elders: nobody writes to it, its end is that of the supervisor.
    """

    def __init__(
        self,
        log: Log,
        next_supervisor: NextSupervisor | None = None,
        inherited: "InheritedWorkers | None" = None,
        lifeline: Lifeline | None = None,
    ) -> None:
        self.lifeline = lifeline or os.pipe()
        self._inherited = inherited or InheritedWorkers((), 0, 0.0, log)
        self._start_check = StartCheck(next_supervisor, log)

    @property
    def has_inherited(self) -> bool:
        """Whether elders are left."""
        return bool(self._inherited.pids)

    @property
    def can_restart(self) -> bool:
        """Whether a restart can be asked for."""
        return self._start_check.is_available

    def has_room(self, new_count: int) -> bool:
        """Whether one more worker may be started beside so many."""
        return self._inherited.has_room(new_count)

    def advance(
        self,
        signals: Iterable[int],
        worker_pids: Sequence[int],
        ready_count: int,
        *,
        is_ending: bool,
    ) -> None:
        """Signals that have come, workers there are, and how many of these serve."""
        self._inherited.advance(ready_count)
        if is_ending:
            return
        if not _RESTART_SIGNALS.isdisjoint(signals):
            self._start_check.request(is_busy=self.has_inherited)
        self._start_check.poll(self.lifeline, worker_pids)

    def stop(self, signal_number: signal.Signals) -> None:
        """It all ends, the elders too."""
        self._start_check.cancel()
        self._inherited.send_signal(signal_number)

    def close(self) -> None:
        """All have ended."""
        for descriptor in self.lifeline:
            os.close(descriptor)


class InheritedWorkers:
    """The workers that a supervisor was left, who go one after the other."""

    def __init__(self, pids: Sequence[int], target_count: int, drain: float, log: Log) -> None:
        """`target_count` are to follow them; `drain` are the seconds that each has to end."""
        self.pids = list(pids)
        self._initial_count = len(pids)
        self._max_workers = max(target_count, len(pids)) + 1
        self._target_count = target_count
        self._drain = drain
        self._log = log
        self._leaving_pid = 0
        self._leave_deadline = 0.0
        if pids:
            log("restart", text="begun", workers=target_count)

    def has_room(self, new_count: int) -> bool:
        """Whether one more may be started beside so many."""
        return not self.pids or new_count + len(self.pids) < self._max_workers

    def advance(self, ready_count: int) -> None:
        """So many of those that follow are ready: who has ended is counted, the next one goes."""
        if not self.pids:
            return
        for pid in list(self.pids):
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if ended_pid:
                code = os.waitstatus_to_exitcode(status)
                self._log("worker", pid=pid, status=code, text="ended")
                self.pids.remove(pid)
                self._leaving_pid = 0 if pid == self._leaving_pid else self._leaving_pid
        if not self.pids:
            self._log("restart", text="done")
        elif self._leaving_pid:
            if time.monotonic() >= self._leave_deadline:
                os.kill(self._leaving_pid, signal.SIGKILL)
        elif ready_count == self._target_count or ready_count > self._initial_count - len(
            self.pids
        ):
            self._leaving_pid = self.pids[0]
            self._leave_deadline = time.monotonic() + self._drain + _GRACE_SECONDS
            os.kill(self._leaving_pid, signal.SIGUSR2)

    def send_signal(self, signal_number: signal.Signals) -> None:
        """All of them."""
        for pid in self.pids:
            os.kill(pid, signal_number)  # not reaped yet, so the id is its own
