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
from gateway.telemetry.log import Log, where

NAME = "_TIERGATE_HANDOVER"
_REHEARSAL = "rehearsal"


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

    def listening(self) -> list[socket]:
        """The sockets, which listen."""
        return [socket(fileno=one) for one in self.sockets]


_read = jsonio.reader(SupervisorHandover)


def left(environ: MutableMapping[str, str]) -> SupervisorHandover | Literal["rehearsal"] | None:
    """What is left to this process, where it is such a next one; no child of it sees the variable.

    `rehearsal`: it is only to find out whether it could start.
    """
    told = environ.pop(NAME, "")
    if told == _REHEARSAL:
        return "rehearsal"
    found: SupervisorHandover | None = _read(told.encode()) if told else None
    return found


def words() -> list[str]:
    """The command that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]


def rehearse() -> subprocess.Popen[bytes]:
    """A process that ends with 0 where the next one could start; else it says why not."""
    return subprocess.Popen(  # noqa: S603 - what this process is already
        words(),
        env={**os.environ, NAME: _REHEARSAL},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def become(leaves: SupervisorHandover, blocked: Iterable[signal.Signals]) -> None:
    """Become the next one. Raises OSError where that cannot be; else this is the end.

    The next one unblocks the signals when it heeds them: none is lost, and none kills it.
    """
    Path(sys.executable).stat()
    kept = (*leaves.sockets, *leaves.tie, leaves.figures)
    for one in kept:
        os.set_inheritable(one, True)  # noqa: FBT003 - theirs
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        command = words()
        environ = {**os.environ, NAME: jsonio.dumps(leaves).decode()}
        os.execve(command[0], command, environ)  # noqa: S606 - what this process is already
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        for one in kept:
            os.set_inheritable(one, False)  # noqa: FBT003 - theirs


_OVER = 5.0
"""Seconds beyond `drain` in which a worker that was told to leave must have ended."""
_LONGEST = 60.0
"""Seconds that finding out whether it could start may take."""

_AGAIN = frozenset({signal.SIGUSR2})

type Tie = tuple[int, int]
"""The end of the pipe that workers read from, and the one that the supervisor holds."""


@dataclass(frozen=True)
class NextSupervisor:
    """What a supervisor needs to become the next one."""

    rehearse: Callable[[], subprocess.Popen[bytes]]
    """A process that ends with 0 where the next one could start."""
    become: Callable[[Tie, Sequence[int]], object]
    """Become it, with workers to leave to it. Raises OSError."""


class StartCheck:
    """Whether the next one could start is being found out, or was asked for in vain."""

    def __init__(self, following: NextSupervisor | None, log: Log) -> None:
        self._following = following
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0.0

    @property
    def known(self) -> bool:
        """Whether this supervisor can be followed at all."""
        return self._following is not None

    def ask(self, *, busy: bool) -> None:
        """Somebody wants a restart; `busy`: one is going on."""
        if self._following is None:
            return
        if busy or self._process is not None:
            self._log("restart", text="one is going on")
            return
        try:
            self._process, self._since = self._following.rehearse(), time.monotonic()
        except OSError as error:
            self._log("restart", text="refused", error=where(error))
        else:
            self._log("restart", text="asked for")

    def look(self, tie: Tie, workers: Sequence[int]) -> None:
        """To be asked often: where it could start, this is where the supervisor becomes it."""
        process, following = self._process, self._following
        if process is None or following is None:
            return
        status = process.poll()
        if status is None:
            if time.monotonic() - self._since > _LONGEST:
                process.kill()
            return
        self._process = None
        if status:
            text = "refused: as it is now it would not start, and says why above"
            self._log("restart", text=text, status=status)
            return
        try:
            following.become(tie, workers)
        except OSError as error:
            self._log("restart", text="refused", error=where(error))

    def end(self) -> None:
        """Nobody waits for it any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RollingRestart:
    """How far it is: nothing, but where `following` can be asked for or there are `elders`.

    `tie` is that of the elders: nobody writes to it, its end is that of the supervisor.
    """

    def __init__(
        self,
        log: Log,
        following: NextSupervisor | None = None,
        elders: "InheritedWorkers | None" = None,
        tie: Tie | None = None,
    ) -> None:
        self.tie = tie or os.pipe()
        self._elders = elders or InheritedWorkers((), 0, 0.0, log)
        self._rehearsal = StartCheck(following, log)

    @property
    def waits(self) -> bool:
        """Whether elders are left."""
        return bool(self._elders.pids)

    @property
    def known(self) -> bool:
        """Whether a restart can be asked for."""
        return self._rehearsal.known

    def room(self, young: int) -> bool:
        """Whether one more worker may be started beside so many."""
        return self._elders.room(young)

    def turn(self, told: Iterable[int], young: Sequence[int], ready: int, *, ending: bool) -> None:
        """Signals that have come, workers there are, and how many of these serve."""
        self._elders.turn(ready)
        if ending:
            return
        if not _AGAIN.isdisjoint(told):
            self._rehearsal.ask(busy=self.waits)
        self._rehearsal.look(self.tie, young)

    def stop(self, what: signal.Signals) -> None:
        """It all ends, the elders too."""
        self._rehearsal.end()
        self._elders.tell(what)

    def close(self) -> None:
        """All have ended."""
        for one in self.tie:
            os.close(one)


class InheritedWorkers:
    """The workers that a supervisor was left, who go one after the other."""

    def __init__(self, pids: Sequence[int], count: int, drain: float, log: Log) -> None:
        """`count` are to follow them; `drain` are the seconds that each has to end."""
        self.pids = list(pids)
        self._first = len(pids)
        self._most = max(count, len(pids)) + 1
        self._count = count
        self._drain = drain
        self._log = log
        self._leaving = 0
        self._until = 0.0
        if pids:
            log("restart", text="begun", workers=count)

    def room(self, young: int) -> bool:
        """Whether one more may be started beside so many."""
        return not self.pids or young + len(self.pids) < self._most

    def turn(self, ready: int) -> None:
        """So many of those that follow are ready: who has ended is counted, the next one goes."""
        if not self.pids:
            return
        for pid in list(self.pids):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                self._log("worker", pid=pid, status=code, text="ended")
                self.pids.remove(pid)
                self._leaving = 0 if pid == self._leaving else self._leaving
        if not self.pids:
            self._log("restart", text="done")
        elif self._leaving:
            if time.monotonic() >= self._until:
                os.kill(self._leaving, signal.SIGKILL)
        elif ready == self._count or ready > self._first - len(self.pids):
            self._leaving = self.pids[0]
            self._until = time.monotonic() + self._drain + _OVER
            os.kill(self._leaving, signal.SIGUSR2)

    def tell(self, what: signal.Signals) -> None:
        """All of them."""
        for pid in self.pids:
            os.kill(pid, what)  # not reaped yet, so the id is its own
