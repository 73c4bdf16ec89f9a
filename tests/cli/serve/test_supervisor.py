"""Workers: kept at their number, restarted slowly if they cannot live, and never orphans."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli.serve.supervisor import describe_unshared

PROGRAM = """
import os, signal, time
from gateway.cli.serve.supervisor import supervise

def say(event, **fields):
    os.write(1, f"{event} {fields.get('text')} {fields.get('status')} {fields.get('error')}\\n".encode())

def work(beat):
    signal.alarm(25)  # whatever fails here, it does not stay
    WORK

supervise(1, work, [], say, lambda: None, drain=20, hang=HANG)
"""


@contextmanager
def supervisor(work: str, hang: float = 0) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor that prints its log, with a worker that runs this code."""
    command = [sys.executable, "-c", PROGRAM.replace("WORK", work).replace("HANG", str(hang))]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        yield process
        watchdog.cancel()
        process.kill()


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip() for _ in range(count)]


def test_serve_says_that_workers_share_no_cache_without_redis() -> None:
    assert (
        describe_unshared({})
        == describe_unshared({"REDIS_URL": ""})
        == "each with a response cache of its own"
    )
    assert describe_unshared({"REDIS_URL": "redis://x"}) == ""


def test_a_worker_that_keeps_dying_restarts_after_pauses_and_its_error_is_logged() -> None:
    """Six lines are three lives, with pauses of 0.5 and 1 s.

    Without pauses 2,000 a second would come.
    """
    with supervisor("os.write(1, b'%.1f\\n' % time.monotonic()); raise ValueError('x')") as process:
        output = read_lines(process, 12)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert sum(line == "worker ended 1 None" for line in output) == 3
    assert sum(line.startswith("worker None None ValueError at <string>:") for line in output) == 3
    times = [float(line) for line in output if line[0].isdigit()]
    assert times[1] - times[0] >= 0.4
    assert times[2] - times[1] >= 0.9


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGALRM])
def test_no_worker_outlives_its_supervisor(kill: signal.Signals) -> None:
    """The worker gets SIGTERM, so that it can stop in good order."""
    work = (
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'told\\n'), os._exit(0))); "
        "os.write(1, b'at work\\n'); "
        "[signal.pause() for _ in iter(int, 1)]"
    )
    with supervisor(work) as process:
        assert sorted(read_lines(process, 2)) == ["at work", "worker started None None"]
        process.send_signal(kill)
        assert process.wait(20) == -kill
        assert read_lines(process, 2) == ["told", ""]  # and nothing holds its output open any more


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_is_passed_on_to_a_worker_that_does_not_stop(
    second: signal.Signals,
) -> None:
    """A second Ctrl-C or SIGTERM repeats the order; other signals do not stop a worker."""
    work = (
        "told = []; "
        "signal.signal(signal.SIGTERM, lambda *_: (told.append(1), os.write(1, b'told\\n'), len(told) > 1 and os._exit(3))); "
        "os.write(1, b'at work\\n'); "
        "[signal.pause() for _ in iter(int, 1)]"
    )
    with supervisor(work) as process:
        assert sorted(read_lines(process, 2)) == ["at work", "worker started None None"]
        for other in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(other)
            again = other == signal.SIGHUP
            what = (
                "the gateway reads the configuration again" if again else "the gateway ignores it"
            )
            assert read_lines(process, 1) == [f"signal {what} None None"]
        process.send_signal(signal.SIGINT)
        assert read_lines(process, 1) == ["told"]
        process.send_signal(second)
        assert read_lines(process, 2) == ["told", "worker ended 3 None"]
        assert process.wait(20) == 0


def test_a_hanging_worker_is_aborted_and_replaced() -> None:
    """A worker without a heartbeat is replaced; one that is still starting gets its time."""
    work = "os.write(1, b'at work\\n'); beat(); [time.sleep(1) for _ in iter(int, 1)]"
    with supervisor(work, hang=0.2) as process:
        assert sorted(read_lines(process, 2)) == ["at work", "worker started None None"]
        assert read_lines(process, 2) == ["worker hangs None None", "worker ended -6 None"]
        assert sorted(read_lines(process, 2)) == ["at work", "worker started None None"]
        process.send_signal(signal.SIGTERM)


def test_a_hanging_worker_that_ignores_abort_is_killed() -> None:
    work = (
        "signal.signal(signal.SIGABRT, signal.SIG_IGN); os.write(1, b'at work\\n'); beat(); "
        "[time.sleep(1) for _ in iter(int, 1)]"
    )
    with supervisor(work, hang=0.2) as process:
        assert sorted(read_lines(process, 2)) == ["at work", "worker started None None"]
        assert read_lines(process, 2) == ["worker hangs None None", "worker ended -9 None"]


def test_a_busy_worker_and_one_that_starts_slowly_do_not_count_as_hanging() -> None:
    """Ten heartbeats come in time; a worker without a first heartbeat is not counted as hanging."""
    work = "[(beat(), time.sleep(0.1)) for _ in range(12)]; os.write(1, b'done\\n')"
    with supervisor(work, hang=5) as process:
        assert sorted(read_lines(process, 2)) == ["done", "worker started None None"]
    with supervisor("time.sleep(1.5); os.write(1, b'done\\n')", hang=0.1) as process:
        assert sorted(read_lines(process, 2)) == ["done", "worker started None None"]
