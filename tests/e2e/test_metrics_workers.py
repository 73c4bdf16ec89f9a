"""Metrics of several workers: each worker reports all of them, and no sum falls when one dies."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from gateway.core import jsonio
from tests.e2e.child import Child, until

ROOT = str(Path(__file__).parents[2])
_CALLS = re.compile(r"^tiergate_calls_total\{.*\} (\S+)$", re.MULTILINE)
_COST = re.compile(r"^tiergate_cost_usd_total\{.*\} (\S+)$", re.MULTILINE)
_WORKERS = re.compile(r"^tiergate_workers (\S+)$", re.MULTILINE)


class Counter:
    """Two workers behind one port."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.e2e.counting_workers"]
        self.child = Child(command, folder / "counter", PYTHONPATH=ROOT, PYTHONUNBUFFERED="1")
        port = until(lambda: self.child.out.partition("\n")[0], f"a port: {self.child.err}")
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str) -> tuple[int, str]:
        """Return the process id of the worker that answered, and the text of its answer."""
        reply = httpx.get(self.url + path, timeout=20, trust_env=False)
        assert reply.status_code == 200
        return int(reply.headers["x-pid"]), reply.text

    @property
    def pids(self) -> list[int]:
        """Process ids of all workers, in the order in which they started."""
        rows = [jsonio.loads(line.encode()) for line in self.child.err.splitlines()]
        return [row["pid"] for row in rows if row.get("text") == "started"]

    def more(self, count: int) -> bool:
        """True if more than `known` workers have started."""
        return len(self.pids) > count

    def scraped(self, pid: int) -> tuple[float, float, float]:
        """Return the calls, USD and living workers that this worker reports."""

        def text_of_worker() -> str:
            worker, text = self.ask("/metrics")
            return text if worker == pid else ""

        text = until(text_of_worker, f"an answer of {pid}")
        values = [pattern.findall(text) for pattern in (_CALLS, _COST, _WORKERS)]
        assert [len(numbers) for numbers in values] == [1, 1, 1], text
        calls, cost, workers = (float(numbers[0]) for numbers in values)
        return calls, cost, workers


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    workers = Counter(tmp_path)
    yield workers
    workers.child.stop()


def test_each_worker_reports_the_sums_of_all_workers_even_after_a_kill(counter: Counter) -> None:
    """Sums include the calls that the killed worker has counted, up to the last answer."""
    first, second = until(lambda: counter.pids if len(counter.pids) == 2 else [], "two workers")
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        return counter.ask("/note")[0]

    def both(*pids: int) -> None:
        """Call until each of these workers has taken a call."""
        callers: set[int] = set()

        def more() -> bool:
            callers.add(call())
            return callers >= set(pids)

        until(more, f"calls taken by {pids}")

    def check(*pids: int) -> None:
        for pid in pids:
            reported, cost, workers = counter.scraped(pid)
            assert reported == calls
            assert cost == pytest.approx(calls * 0.0012)
            assert workers == 2

    both(first, second)
    check(first, second)
    for victim, other in ((first, second), (second, None)):
        worker_count = len(counter.pids)
        os.kill(victim, signal.SIGKILL)
        until(partial(counter.more, worker_count), "a successor")
        survivor = other or counter.pids[-2]
        both(survivor, counter.pids[-1])
        check(survivor, counter.pids[-1])
