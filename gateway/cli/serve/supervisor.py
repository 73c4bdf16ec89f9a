"""Workers: processes that share the gateway's port, kept at their number until it is told to stop.

Each is a fork of the one program, so all serve the same configuration. The supervisor reads it
again as they do when its files change: one that replaces another begins with what the others have.
The sockets stay open in the supervisor: while a worker is replaced, connections wait, and none is
refused. It has no thread and no event loop, and none but these workers may be its children.
"""

import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from socket import socket
from types import FrameType
from typing import NoReturn

from gateway.cli.serve.rolling_restart import RollingRestart, Tie
from gateway.cli.serve.server import STOP, heard, terminal
from gateway.telemetry.log import Log, where

_OVER = 5.0
"""Seconds beyond `drain` in which a worker that was told to stop must have ended."""
_LAST = 2.0
"""Seconds for one that hangs to say where, before it is killed."""
_LOOK = 1.0
"""Seconds between looks whether one hangs."""
_TURN = 0.1
"""Seconds until it wakes by itself."""
_OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = (*STOP, signal.SIGCHLD, *_OTHERS)
"""What a supervisor heeds."""
_LIVED = 2.0
"""Seconds of life after which the next one follows at once."""
_PAUSES = (0.5, 30.0)
"""Seconds before the next one where workers die sooner: the first, doubled up to the last."""


@dataclass(slots=True)
class _Seat:
    """The place of one worker."""

    beat: Callable[[float | None], None]
    silent: Callable[[float], float]
    pid: int | None = None
    born: float = 0.0
    due: float = 0.0
    """When it may be filled again, on the monotonic clock."""
    pause: float = 0.0
    since: float = 0.0
    """From when on it must say that it works."""
    hung: float = 0.0
    """When it was found to hang; 0 where it does not."""


class WorkerHeartbeat:
    """When each worker has last said that it works, in memory that they share."""

    def __init__(self, count: int) -> None:
        self._times = memoryview(mmap.mmap(-1, count * 8)).cast("d")

    def beat(self, number: int, at: float | None = None) -> None:
        """It works; at 0 it is new, and has not begun."""
        self._times[number] = time.monotonic() if at is None else at

    def begun(self, number: int) -> bool:
        """Whether it serves."""
        return self._times[number] != 0

    def silent(self, number: int, since: float) -> float:
        """Seconds that one has been silent, counted from `since` at the earliest.

        One that has not begun is not: it may have much to read.
        """
        last = self._times[number]
        return time.monotonic() - max(last, since) if last else 0.0


def unshared(environ: Mapping[str, str]) -> str:
    """What several workers do not share, for the greeting; empty where they share everything.

    A cache of its own costs a worker only hits; limits and budgets do not start so.
    """
    return "" if environ.get("REDIS_URL") else "each with a response cache of its own"


def supervise(  # noqa: PLR0913 - what it keeps, for how long, and who is told
    count: int,
    work: Callable[[Callable[[], object]], None],
    sockets: Sequence[socket],
    log: Log,
    begun: Callable[[], object],
    *,
    drain: float = 25.0,
    hang: float = 0.0,
    renew: Callable[[bool], object] = bool,
    roll: RollingRestart | None = None,
) -> None:
    """Run `work` in `count` processes until SIGTERM or SIGINT, then stop them in good order.

    `begun` is called once signals are heeded. A worker is told to stop by SIGTERM, also by the end
    of the supervisor, whatever that was. The sockets are closed here at the first signal, and there
    when each worker takes no more; the next signal is passed on, for those in a hurry. A worker is
    given what it calls while it works: after `hang` seconds without, it is made to say where it is
    and replaced. It has `drain` seconds to stop. `renew` is called ten times a second at least, and
    told whether SIGHUP has come. `roll` is what SIGUSR2 does.
    """
    roll = roll or RollingRestart(log)
    pulse = WorkerHeartbeat(count)
    seats = [_Seat(partial(pulse.beat, at), partial(pulse.silent, at)) for at in range(count)]
    person, ending, looked = terminal(), 0.0, time.monotonic()
    with _signals() as wait:
        begun()
        while ending == 0 or roll.waits or any(seat.pid for seat in seats):
            now = time.monotonic()
            if ending == 0:
                for seat in seats:
                    if seat.pid is None and seat.due <= now and roll.room(len(_alive(seats))):
                        _fill(seat, work, roll.tie, drain, log)
                soon = [seat.due - now for seat in seats if seat.pid is None]
                soon += [_TURN]
            else:
                soon = [ending - now]
            told = wait(max(0.0, min(soon)) if soon else None)
            if any(one in STOP or (person and one == signal.SIGHUP) for one in told):
                if ending == 0:
                    ending = time.monotonic() + drain + _OVER
                    for one in sockets:
                        one.close()
                _tell(seats, signal.SIGTERM)
                roll.stop(signal.SIGTERM)
            else:
                for number in [one for one in told if one in _OTHERS]:
                    log("signal", **heard(number, restarts=roll.known))
            _reap(seats, log)
            ready = sum(seat.pid is not None and pulse.begun(at) for at, seat in enumerate(seats))
            roll.turn(told, _alive(seats), ready, ending=ending > 0)
            if ending == 0:
                renew(signal.SIGHUP in told)
            if ending == 0 and hang:
                looked = _look(seats, hang, looked, log)
            elif 0 < ending <= time.monotonic():
                _tell(seats, signal.SIGKILL)
                roll.stop(signal.SIGKILL)
    roll.close()


def _alive(seats: Sequence[_Seat]) -> list[int]:
    return [seat.pid for seat in seats if seat.pid is not None]


def _look(seats: Sequence[_Seat], hang: float, looked: float, log: Log) -> float:
    """End workers that hang. `looked` is when that was looked at last; returns when it was now."""
    now = time.monotonic()
    for seat in seats:
        if seat.pid is None:
            continue
        if now - looked > _LOOK * 4:  # this process was stopped itself, and they were with it
            seat.since = now
        if seat.hung and now - seat.hung >= _LAST:
            os.kill(seat.pid, signal.SIGKILL)
        elif not seat.hung and seat.silent(seat.since) >= hang:
            seat.hung = now
            log("worker", pid=seat.pid, text="hangs")
            os.kill(seat.pid, signal.SIGABRT)
    return now


def _fill(
    seat: _Seat,
    work: Callable[[Callable[[], object]], None],
    tie: Tie,
    drain: float,
    log: Log,
) -> None:
    seat.born = seat.since = time.monotonic()
    seat.hung = 0.0
    seat.beat(0.0)
    # No signal between the fork and the worker's own handlers: it would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        seat.pid = os.fork()
        if seat.pid == 0:
            _become(lambda: work(lambda: seat.beat(None)), tie, drain, log)
    except OSError as error:
        _rest(seat)
        log("worker", error=where(error))
        return
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    log("worker", pid=seat.pid, text="started")


def _become(work: Callable[[], None], tie: Tie, drain: float, log: Log) -> NoReturn:
    """A fresh fork made into a worker; it ends here and never returns into its parent's code."""
    status = 1
    try:
        os.setsid()  # Ctrl-C is for the supervisor, which stops all
        signal.set_wakeup_fd(-1)
        for one in SIGNALS:
            # One that does not serve yet has nothing to leave: it ends.
            ignored = one in _OTHERS and one != signal.SIGUSR2
            signal.signal(one, signal.SIG_IGN if ignored else signal.SIG_DFL)
        ours, theirs = tie
        os.close(theirs)
        threading.Thread(target=_follow, args=(ours, drain), name="supervisor", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001 - the end of a process
        log("worker", pid=os.getpid(), error=where(error))
    finally:
        os._exit(status)


def _follow(tie: int, drain: float) -> None:
    """Stop this process when its supervisor is no more, however that ended."""
    os.read(tie, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(drain + _OVER)
    os._exit(1)


def _tell(seats: Sequence[_Seat], what: signal.Signals) -> None:
    for seat in seats:
        if seat.pid is not None:
            os.kill(seat.pid, what)  # not reaped yet, so the id is its own


def _reap(seats: Sequence[_Seat], log: Log) -> None:
    for seat in seats:
        if seat.pid is None:
            continue
        pid, status = os.waitpid(seat.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            log("worker", pid=pid, status=code, text="ended")
            seat.pid = None
            _rest(seat)


def _rest(seat: _Seat) -> None:
    now = time.monotonic()
    first, last = _PAUSES
    lived = now - seat.born >= _LIVED
    seat.pause = 0.0 if lived else min(max(first, seat.pause * 2), last)
    seat.due = now + seat.pause


@contextmanager
def _signals() -> Iterator[Callable[[float | None], Sequence[int]]]:
    """Gives `wait(seconds)`, which returns the signals that have come, none where time is up."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {one: signal.signal(one, _pass) for one in SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def wait(seconds: float | None) -> Sequence[int]:
        select.select([reading], [], [], seconds)
        with suppress(BlockingIOError):
            return os.read(reading, 4096)
        return b""

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(woken)
        for one, handler in before.items():
            signal.signal(one, handler)
        os.close(reading)
        os.close(writing)


def _pass(_number: int, _frame: FrameType | None) -> None:
    """A handler, so that the signal is not the default's; the wakeup tells of it."""
