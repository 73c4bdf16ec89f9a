"""The trial: the ledger's PostgreSQL stops under load and returns; no memory grows, no row is lost.

`python -m tests.e2e.outage_trial SECONDS` is the long form; it prints its findings.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.kill_audit import Books, audit, books, store
from tests.e2e.kill_load import PATIENCE, KillLoad
from tests.e2e.kill_provider import bills
from tests.e2e.kill_trial import ROOT, KilledGateway
from tests.ledger.postgres import PostgresServer, server

GROWTH = 8_000_000
"""Bytes by which all workers together may grow while the store is away."""
_WARM = 0.2
"""The part of the outage after which a worker has all the memory that it works with."""
_CLIENTS = 16
_FAILED = '"work":"feed"'
"""Part of the log line about a failed feed."""


@dataclass
class OutageTrialResult:
    """The records of a trial."""

    books: Books
    """The rows of the journals."""
    away: int
    """Calls that were answered while the store was away."""
    memory: list[int]
    """Bytes of memory of all workers together, in each second of the outage."""
    failures: int
    """Log lines about a store that cannot be fed."""
    seconds: float
    """Seconds from the return of the store until it had every row."""
    wrong: list[str]
    """Disagreements, one a line."""

    @property
    def growth(self) -> int:
        """Bytes by which memory grew after the workers were warm."""
        warm = max(1, int(len(self.memory) * _WARM))
        return max(self.memory[warm:], default=0) - max(self.memory[:warm], default=0)


def trial(folder: Path, seconds: float, seed: str) -> OutageTrialResult:
    """Serve calls for some seconds while the store is away, then compare all records."""
    book = folder / "bill"
    with (
        server() as postgres,
        subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.kill_provider", str(book), seed],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        ) as provider,
    ):  # fmt: skip
        assert provider.stdout is not None
        address = provider.stdout.readline().strip()
        # Cached answers would grow, up to their own bound.
        parts = {"ledger": {"store": postgres.url()}, "cache": {"ttl": "0s"}}
        gateway = KilledGateway(folder, address, **parts)
        try:
            load = KillLoad(gateway.start(), seed)
            result = asyncio.run(_outage(gateway, postgres, load, seconds))
            result.wrong += [] if gateway.stop() == 0 else ["it did not stop in good order"]
            result.books = books(gateway.ledger)
            result.wrong += audit(bills(book), load, result.books, set())
            result.wrong += store(result.books, gateway.command, gateway.environ)
            result.failures = gateway.log().count(_FAILED)
        finally:
            gateway.close()
            provider.kill()
    return result


async def _outage(
    gateway: KilledGateway, postgres: PostgresServer, load: KillLoad, seconds: float
) -> OutageTrialResult:
    clients = asyncio.create_task(load.run(_CLIENTS))
    try:
        await _until(lambda: len(load.whole) >= _CLIENTS and _rows(postgres) > 0, "it is fed")
        await asyncio.to_thread(postgres.stop)
        before, memory, end = len(load.whole), list[int](), time.monotonic() + seconds
        while time.monotonic() < end:
            memory.append(sum(map(_resident, gateway.workers())))
            await asyncio.sleep(min(1.0, seconds / 10))
        await _until(lambda: len(load.whole) >= before + 50, "calls are answered without it")
        await _until(lambda: _FAILED in gateway.log(), "a feed has failed")
        away = len(load.whole) - before
    finally:
        load.stopped = True
        await clients
    await asyncio.to_thread(postgres.start)
    began, calls = time.monotonic(), len(books(gateway.ledger).finals)
    await _until(lambda: _rows(postgres) == calls, f"all {calls} rows are in the store")
    took = time.monotonic() - began
    return OutageTrialResult(Books(), away, memory, 0, took, list(load.wrong))


def _rows(postgres: PostgresServer) -> int:
    """Count the calls that the store has."""
    return postgres.count("entries")


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


async def _until(true: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + 4 * PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {4 * PATIENCE:g} s: {name}")
        await asyncio.sleep(0.1)


def main(seconds: float, seed: str) -> int:
    """Take the store away for some seconds, and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="tiergate-outage-") as folder:
        result = trial(Path(folder), seconds, seed)
    states = Counter(row.state for rows in result.books.finals.values() for row in rows)
    megabytes = [f"{size / 1e6:.1f}" for size in result.memory[:: max(1, len(result.memory) // 10)]]
    table_rows = [
        ("answered while the store was away", f"{result.away:,}"),
        *((f"final rows, {state}", f"{count:,}") for state, count in states.items()),
        ("feeds that failed", f"{result.failures:,}"),
        ("MB of all workers meanwhile", " ".join(megabytes)),
        ("growth, MB", f"{result.growth / 1e6:.1f} (at most {GROWTH / 1e6:g})"),
        ("seconds until the store had all", f"{result.seconds:.1f}"),
    ]
    print(f"seed {seed}: the store away for {seconds:g} s")
    print("\n".join(f"{name:<44}{value}" for name, value in table_rows))
    print("\n".join([f"{len(result.wrong)} disagreements", *result.wrong]))
    return 1 if result.wrong or result.growth > GROWTH else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
