"""A rolling restart in place: a supervisor becomes the next one, which replaces the workers.

1. Another process checks that the program could start as it is now. A program or a configuration
   with a mistake never replaces the one that runs.
2. The supervisor executes the same program with the same arguments, and so becomes the next
   supervisor, with the code and the configuration of now. It keeps its process id, so the process
   that started it notices nothing. A variable of the environment hands over sockets and workers.
3. The next supervisor starts its workers beside the inherited ones. Together they are at most one
   more than there were, or than there are to be. Whenever a new worker is ready, the supervisor
   tells an inherited one to leave. No worker leaves for one that cannot live.
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
    """State that a supervisor hands over to the next: file descriptors, process ids and seconds."""

    version: str
    """The version of the program that hands over."""
    sockets: tuple[int, ...]
    tie: tuple[int, int]
    """The pipe whose end tells workers that they have no supervisor."""
    figures: int
    """The file descriptor of the memory in which workers count."""
    workers: tuple[int, ...]
    drain: float
    """Seconds that these workers have to end."""

    def open_sockets(self) -> list[socket]:
        """Open the sockets, which listen already."""
        return [socket(fileno=descriptor) for descriptor in self.sockets]


_decode_handover = jsonio.make_reader(SupervisorHandover)


def read_handover(
    environ: MutableMapping[str, str],
) -> SupervisorHandover | Literal["rehearsal"] | None:
    """Read what a previous supervisor hands over to this process; None if there is none.

    Remove the variable, so that no child process sees it. `rehearsal`: this process only checks
    that it could start.
    """
    value = environ.pop(HANDOVER_VARIABLE, "")
    if value == _START_CHECK_VALUE:
        return "rehearsal"
    handover: SupervisorHandover | None = _decode_handover(value.encode()) if value else None
    return handover


def get_command_line() -> list[str]:
    """Return the command that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]


def spawn_start_check() -> subprocess.Popen[bytes]:
    """Start a process that ends with 0 if the next supervisor could start, or says why not."""
    return subprocess.Popen(  # noqa: S603 - the command that started this process
        get_command_line(),
        env={**os.environ, HANDOVER_VARIABLE: _START_CHECK_VALUE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def replace_process(handover: SupervisorHandover, signals: Iterable[signal.Signals]) -> None:
    """Become the next supervisor. Raises OSError if that fails; otherwise it never returns.

    The next supervisor unblocks the signals when it handles them: none is lost, and none kills it.
    """
    Path(sys.executable).stat()
    descriptors = (*handover.sockets, *handover.tie, handover.figures)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the signature of os
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        command = get_command_line()
        environ = {**os.environ, HANDOVER_VARIABLE: jsonio.dumps(handover).decode()}
        os.execve(command[0], command, environ)  # noqa: S606 - this process's own command
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - the signature of os


_GRACE_SECONDS = 5.0
"""Seconds beyond `drain` after which the supervisor kills a worker that was told to leave."""
_MAX_CHECK_SECONDS = 60.0
"""Maximum seconds of the check whether the next supervisor could start."""

_RESTART_SIGNALS = frozenset({signal.SIGUSR2})

type Lifeline = tuple[int, int]
"""The end of the pipe that workers read from, and the end that the supervisor holds."""


@dataclass(frozen=True)
class NextSupervisor:
    """The functions by which a supervisor becomes the next one."""

    spawn_start_check: Callable[[], subprocess.Popen[bytes]]
    """Starts a process that ends with 0 if the next supervisor could start."""
    replace_process: Callable[[Lifeline, Sequence[int]], object]
    """Becomes the next supervisor, and hands the workers over to it. Raises OSError."""


class StartCheck:
    """The check whether the next supervisor could start, from a request to its result."""

    def __init__(self, next_supervisor: NextSupervisor | None, log: Log) -> None:
        self._next_supervisor = next_supervisor
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def is_available(self) -> bool:
        """True if another supervisor can follow this one at all."""
        return self._next_supervisor is not None

    def request(self, *, is_busy: bool) -> None:
        """Start the check for a restart. `is_busy`: a restart is running already."""
        if self._next_supervisor is None:
            return
        if is_busy or self._process is not None:
            self._log("restart", text="a restart is running already")
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
        """Look whether the check has ended. If it passed, become the next supervisor here.

        The supervisor calls this often.
        """
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
            text = "refused: this configuration would not start; the lines above say why"
            self._log("restart", text=text, status=status)
            return
        try:
            next_supervisor.replace_process(lifeline, workers)
        except OSError as error:
            self._log("restart", text="refused", error=locate_error(error))

    def cancel(self) -> None:
        """Stop the check: nobody waits for its result any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RollingRestart:
    """The state of a rolling restart.

    Without `next_supervisor` and `inherited` workers it does nothing. `lifeline` is the pipe of the
    inherited workers. Nobody writes to it; it ends with the supervisor.
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
        """True if inherited workers are left."""
        return bool(self._inherited.pids)

    @property
    def can_restart(self) -> bool:
        """True if an operator can ask for a restart."""
        return self._start_check.is_available

    def has_room(self, new_count: int) -> bool:
        """Return True if one more worker may start beside `new_count` new ones."""
        return self._inherited.has_room(new_count)

    def advance(
        self,
        signals: Iterable[int],
        worker_pids: Sequence[int],
        ready_count: int,
        *,
        is_ending: bool,
    ) -> None:
        """Continue the restart.

        `signals` have come since the last time. `worker_pids` are the supervisor's own workers, and
        `ready_count` is the number of these that serve.
        """
        self._inherited.advance(ready_count)
        if is_ending:
            return
        if not _RESTART_SIGNALS.isdisjoint(signals):
            self._start_check.request(is_busy=self.has_inherited)
        self._start_check.poll(self.lifeline, worker_pids)

    def stop(self, signal_number: signal.Signals) -> None:
        """Stop the check, and send a signal to the inherited workers."""
        self._start_check.cancel()
        self._inherited.send_signal(signal_number)

    def close(self) -> None:
        """Close the lifeline: all workers have ended."""
        for descriptor in self.lifeline:
            os.close(descriptor)


class InheritedWorkers:
    """The workers of the previous supervisor, which leave one after the other."""

    def __init__(self, pids: Sequence[int], target_count: int, drain: float, log: Log) -> None:
        """`target_count` workers are to replace them. Each has `drain` seconds to end."""
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
        """Return True if one more worker may start beside `new_count` new ones."""
        return not self.pids or new_count + len(self.pids) < self._max_workers

    def advance(self, ready_count: int) -> None:
        """Note the workers that have ended. Tell the next one to leave if a new one is ready.

        `ready_count` is the number of new workers that serve.
        """
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
        """Send a signal to all inherited workers."""
        for pid in self.pids:
            os.kill(pid, signal_number)  # not reaped yet, so the id still belongs to it
