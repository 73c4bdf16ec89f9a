"""The supervisor of workers, the processes that share the gateway's port.

It keeps their number until a signal stops it. Each worker is a fork of the supervisor, so all serve
the same configuration. When the files of the configuration change, the supervisor reads them again,
as the workers do. So a worker that replaces another begins with the configuration of the others.
The sockets stay open in the supervisor: while it replaces a worker, connections wait, and none is
refused. It has no thread and no event loop, and must have no other children than these workers.
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

from gateway.cli.serve.rolling_restart import Lifeline, RollingRestart
from gateway.cli.serve.server import STOP_SIGNALS, describe_signal, is_interactive
from gateway.telemetry.log import Log, locate_error

_GRACE_SECONDS = 5.0
"""Seconds beyond `drain` after which the supervisor kills a worker that was told to stop."""
_DUMP_SECONDS = 2.0
"""Seconds that a hanging worker has to print where it is, before the supervisor kills it."""
_HANG_CHECK_SECONDS = 1.0
"""Seconds. If more than four times this passes between two checks for hanging workers, the
supervisor was stopped itself, and its workers with it."""
_WAKE_SECONDS = 0.1
"""Maximum seconds that the supervisor sleeps."""
_OTHER_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
HANDLED_SIGNALS = (*STOP_SIGNALS, signal.SIGCHLD, *_OTHER_SIGNALS)
"""The signals that a supervisor handles."""
_MIN_LIFE_SECONDS = 2.0
"""Seconds of life after which a worker that ends is replaced at once."""
_RESTART_DELAYS = (0.5, 30.0)
"""Seconds before a worker that died sooner is replaced: the first, doubled up to the last."""


@dataclass(slots=True)
class _WorkerSlot:
    """The place of one worker."""

    record_heartbeat: Callable[[float | None], None]
    measure_silence: Callable[[float], float]
    pid: int | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    """When the next worker may start here, on the monotonic clock."""
    restart_delay: float = 0.0
    watched_since: float = 0.0
    """When the supervisor began to expect heartbeats, on the monotonic clock."""
    hung_at: float = 0.0
    """When the worker was found to hang, on the monotonic clock; 0 if it does not hang."""


class WorkerHeartbeat:
    """The time of each worker's last heartbeat, in memory that all workers share."""

    def __init__(self, count: int) -> None:
        self._times = memoryview(mmap.mmap(-1, count * 8)).cast("d")

    def record(self, index: int, timestamp: float | None = None) -> None:
        """Record a heartbeat of a worker. A timestamp of 0 marks a new one that has not begun."""
        self._times[index] = time.monotonic() if timestamp is None else timestamp

    def has_started(self, index: int) -> bool:
        """Return True if a worker serves."""
        return self._times[index] != 0

    def measure_silence(self, index: int, since: float) -> float:
        """Return the seconds since a worker's last heartbeat, counted from `since` at the earliest.

        A worker that has not begun counts as 0: it may have much to read.
        """
        last_heartbeat = self._times[index]
        return time.monotonic() - max(last_heartbeat, since) if last_heartbeat else 0.0


def describe_unshared(environ: Mapping[str, str]) -> str:
    """Say what several workers do not share, for the greeting; empty if they share everything.

    A worker with a cache of its own only has fewer hits. With limits or budgets that workers would
    not share, the gateway does not start.
    """
    return "" if environ.get("REDIS_URL") else "each with a response cache of its own"


def supervise(  # noqa: PLR0913 - the workers' work, timeouts and callbacks
    count: int,
    run_worker: Callable[[Callable[[], object]], None],
    sockets: Sequence[socket],
    log: Log,
    on_started: Callable[[], object],
    *,
    drain: float = 25.0,
    hang: float = 0.0,
    poll_config: Callable[[bool], object] = bool,
    restart: RollingRestart | None = None,
) -> None:
    """Run `run_worker` in `count` processes until SIGTERM or SIGINT, then stop them in good order.

    The supervisor calls `on_started` once it handles signals. It stops workers with SIGTERM; they
    also stop if the supervisor ends in any way. At the first signal, it closes its sockets, and
    each worker closes its own when it accepts no more. It passes the next signal on to the workers,
    for operators in a hurry. A worker has `drain` seconds to stop.

    Each worker gets a function to call while it works, its heartbeat. After `hang` seconds without
    one, the supervisor makes it print where it is, and replaces it; 0 turns this off. The
    supervisor calls `poll_config` at least ten times a second, with True if SIGHUP has come.
    `restart` handles SIGUSR2.
    """
    restart = restart or RollingRestart(log)
    heartbeat = WorkerHeartbeat(count)
    slots = [
        _WorkerSlot(partial(heartbeat.record, index), partial(heartbeat.measure_silence, index))
        for index in range(count)
    ]
    by_person, deadline, checked_at = is_interactive(), 0.0, time.monotonic()
    with _capture_signals() as wait:
        on_started()
        while deadline == 0 or restart.has_inherited or any(slot.pid for slot in slots):
            now = time.monotonic()
            if deadline == 0:
                for slot in slots:
                    if (
                        slot.pid is None
                        and slot.restart_at <= now
                        and restart.has_room(len(_list_pids(slots)))
                    ):
                        _start_worker(slot, run_worker, restart.lifeline, drain, log)
                delays = [slot.restart_at - now for slot in slots if slot.pid is None]
                delays += [_WAKE_SECONDS]
            else:
                delays = [deadline - now]
            signals = wait(max(0.0, min(delays)) if delays else None)
            if any(
                item in STOP_SIGNALS or (by_person and item == signal.SIGHUP) for item in signals
            ):
                if deadline == 0:
                    deadline = time.monotonic() + drain + _GRACE_SECONDS
                    for item in sockets:
                        item.close()
                _signal_workers(slots, signal.SIGTERM)
                restart.stop(signal.SIGTERM)
            else:
                for signal_number in [item for item in signals if item in _OTHER_SIGNALS]:
                    log("signal", **describe_signal(signal_number, can_restart=restart.can_restart))
            _reap(slots, log)
            ready_count = sum(
                slot.pid is not None and heartbeat.has_started(index)
                for index, slot in enumerate(slots)
            )
            restart.advance(signals, _list_pids(slots), ready_count, is_ending=deadline > 0)
            if deadline == 0:
                poll_config(signal.SIGHUP in signals)
            if deadline == 0 and hang:
                checked_at = _check_hangs(slots, hang, checked_at, log)
            elif 0 < deadline <= time.monotonic():
                _signal_workers(slots, signal.SIGKILL)
                restart.stop(signal.SIGKILL)
    restart.close()


def _list_pids(slots: Sequence[_WorkerSlot]) -> list[int]:
    return [slot.pid for slot in slots if slot.pid is not None]


def _check_hangs(slots: Sequence[_WorkerSlot], hang: float, checked_at: float, log: Log) -> float:
    """End workers that hang. Return the time of this check; `checked_at` is that of the last."""
    now = time.monotonic()
    for slot in slots:
        if slot.pid is None:
            continue
        if (
            now - checked_at > _HANG_CHECK_SECONDS * 4
        ):  # this process was stopped itself, and its workers with it
            slot.watched_since = now
        if slot.hung_at and now - slot.hung_at >= _DUMP_SECONDS:
            os.kill(slot.pid, signal.SIGKILL)
        elif not slot.hung_at and slot.measure_silence(slot.watched_since) >= hang:
            slot.hung_at = now
            log("worker", pid=slot.pid, text="hangs")
            os.kill(slot.pid, signal.SIGABRT)
    return now


def _start_worker(
    slot: _WorkerSlot,
    run_worker: Callable[[Callable[[], object]], None],
    lifeline: Lifeline,
    drain: float,
    log: Log,
) -> None:
    slot.started_at = slot.watched_since = time.monotonic()
    slot.hung_at = 0.0
    slot.record_heartbeat(0.0)
    # Block signals between the fork and the worker's own handlers: they would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        slot.pid = os.fork()
        if slot.pid == 0:
            _run_as_worker(
                lambda: run_worker(lambda: slot.record_heartbeat(None)), lifeline, drain, log
            )
    except OSError as error:
        _schedule_restart(slot)
        log("worker", error=locate_error(error))
        return
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
    log("worker", pid=slot.pid, text="started")


def _run_as_worker(
    run_worker: Callable[[], None], lifeline: Lifeline, drain: float, log: Log
) -> NoReturn:
    """Turn a fresh fork into a worker. It ends here, and never returns into its parent's code."""
    status = 1
    try:
        os.setsid()  # Ctrl-C is for the supervisor, which stops all workers
        signal.set_wakeup_fd(-1)
        for signal_number in HANDLED_SIGNALS:
            # A worker that does not serve yet has no connections to leave: SIGUSR2 ends it.
            is_ignored = signal_number in _OTHER_SIGNALS and signal_number != signal.SIGUSR2
            signal.signal(signal_number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
        read_end, write_end = lifeline
        os.close(write_end)
        threading.Thread(
            target=_stop_with_supervisor, args=(read_end, drain), name="supervisor", daemon=True
        ).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        run_worker()
        status = 0
    except BaseException as error:  # noqa: BLE001 - the end of a process
        log("worker", pid=os.getpid(), error=locate_error(error))
    finally:
        os._exit(status)


def _stop_with_supervisor(read_end: int, drain: float) -> None:
    """Stop this process when its supervisor has ended, in whatever way."""
    os.read(read_end, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(drain + _GRACE_SECONDS)
    os._exit(1)


def _signal_workers(slots: Sequence[_WorkerSlot], signal_number: signal.Signals) -> None:
    for slot in slots:
        if slot.pid is not None:
            os.kill(slot.pid, signal_number)  # not reaped yet, so the id still belongs to it


def _reap(slots: Sequence[_WorkerSlot], log: Log) -> None:
    for slot in slots:
        if slot.pid is None:
            continue
        pid, status = os.waitpid(slot.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            log("worker", pid=pid, status=code, text="ended")
            slot.pid = None
            _schedule_restart(slot)


def _schedule_restart(slot: _WorkerSlot) -> None:
    now = time.monotonic()
    first_delay, max_delay = _RESTART_DELAYS
    is_stable = now - slot.started_at >= _MIN_LIFE_SECONDS
    slot.restart_delay = (
        0.0 if is_stable else min(max(first_delay, slot.restart_delay * 2), max_delay)
    )
    slot.restart_at = now + slot.restart_delay


@contextmanager
def _capture_signals() -> Iterator[Callable[[float | None], Sequence[int]]]:
    """Yield `wait(seconds)`, which returns the signals that have come, or none after that time."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    old_wakeup_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    old_handlers = {
        signal_number: signal.signal(signal_number, _do_nothing)
        for signal_number in HANDLED_SIGNALS
    }
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)

    def wait(seconds: float | None) -> Sequence[int]:
        select.select([read_end], [], [], seconds)
        with suppress(BlockingIOError):
            return os.read(read_end, 4096)
        return b""

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(old_wakeup_fd)
        for signal_number, handler in old_handlers.items():
            signal.signal(signal_number, handler)
        os.close(read_end)
        os.close(write_end)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Replace the default action of a signal. The wakeup descriptor reports the signal."""
