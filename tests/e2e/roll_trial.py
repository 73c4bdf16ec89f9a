"""The trial: the gateway replaces its workers again and again under load; no call fails, the ledger is right.

`python -m tests.e2e.roll_trial RESTARTS [SEED]` is the long form; it prints its findings.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.e2e.kill_audit import Books, audit, books, store
from tests.e2e.kill_load import PATIENCE, KillLoad
from tests.e2e.kill_provider import bills
from tests.e2e.kill_trial import ROOT, WORKERS, KilledGateway

_CLIENTS = 8
_DONE = '"event":"restart","text":"done"'


@dataclass
class RollTrialResult:
    """The records of a trial."""

    load: KillLoad
    books: Books
    took: list[float] = field(default_factory=list)
    """Seconds of each restart."""
    workers: int = 0
    """Processes that served."""
    wrong: list[str] = field(default_factory=list)
    """Disagreements, one a line."""


def trial(folder: Path, restarts: int, seed: str) -> RollTrialResult:
    """Replace the workers of a gateway under load that often, and compare all its records."""
    book = folder / "bill"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.kill_provider", str(book), seed],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as provider:  # fmt: skip
        assert provider.stdout is not None
        gateway = KilledGateway(folder, provider.stdout.readline().strip())
        try:
            load = KillLoad(gateway.start(), seed)
            result = RollTrialResult(load, Books())
            asyncio.run(_restarts(gateway, result, restarts))
            result.wrong += [] if gateway.stop() == 0 else ["it did not stop in good order"]
            result.books = books(gateway.ledger)
            result.wrong += audit(bills(book), load, result.books, set())
            result.wrong += store(result.books, gateway.command, gateway.environ)
        finally:
            gateway.close()
            provider.kill()
    result.wrong += [f"{marker}: lost its connection, or was refused" for marker in load.gone]
    log = gateway.log().splitlines()
    result.wrong += [line for line in log if "Traceback" in line or '"bug"' in line]
    result.wrong += [
        line
        for line in log
        if '"ended"' in line and '"worker"' in line and '"status":0' not in line
    ]
    result.workers = sum('"worker"' in line and '"started"' in line for line in log)
    return result


async def _restarts(gateway: KilledGateway, result: RollTrialResult, restarts: int) -> None:
    load = result.load
    clients = asyncio.create_task(load.run(_CLIENTS))
    try:
        for number in range(1, restarts + 1):
            await _until(_more(load), "clients are at work")
            before, began = set(gateway.workers()), time.monotonic()
            os.kill(gateway.supervisor, signal.SIGUSR2)
            await _until(partial(_done, gateway, number), "the gateway replaces its workers")
            result.took.append(time.monotonic() - began)
            after = set(gateway.workers())
            if before & after or len(after) != WORKERS:
                result.wrong.append(f"restart {number}: from {before} to {after}")
        await _until(_more(load), "the last ones serve")
    finally:
        load.stopped = True
        await clients


def _more(load: KillLoad) -> Callable[[], bool]:
    enough = len(load.whole) + 2 * _CLIENTS
    return lambda: len(load.whole) > enough


def _done(gateway: KilledGateway, times: int) -> bool:
    return gateway.log().count(_DONE) == times


async def _until(true: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + 4 * PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: not within {4 * PATIENCE:g} s")
        await asyncio.sleep(0.05)


def main(restarts: int, seed: str) -> int:
    """Restart the given number of times, and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="tiergate-roll-") as folder:
        result = trial(Path(folder), restarts, seed)
    states = Counter(row.state for rows in result.books.finals.values() for row in rows)
    table_rows = [
        ("workers that served", f"{result.workers}"),
        ("seconds of a restart, most", f"{max(result.took):.1f}"),
        ("answers that came whole", f"{len(result.load.whole):,}"),
        ("calls that lost their connection", f"{len(result.load.gone):,}"),
        *((f"final rows, {state}", f"{count:,}") for state, count in sorted(states.items())),
    ]
    print(f"seed {seed}: {restarts} restarts under load")
    print("\n".join(f"{name:<44}{value}" for name, value in table_rows))
    print("\n".join([f"{len(result.wrong)} disagreements", *result.wrong]))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
