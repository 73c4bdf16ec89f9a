"""A restart in place: one supervisor becomes the next, which takes its sockets and workers over.

The next one is the same program started anew with the same words, so it is of the code and of the
configuration that are there now; it keeps the process's id, so that whoever started it sees nothing
of this. What it takes over it is told of by a variable. Before that, another process has tried
whether it can start: what has a mistake never takes the place of what runs.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from socket import socket
from typing import Literal

import msgspec

from gateway.core import jsonio

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
