"""The trial: Kubernetes ends a pod without a disk under load; its rows are in a database then.

The pod ends as the chart has it in `mode: deployment`: SIGTERM, the delay for load balancers, the
drain, the last delivery, and SIGKILL after the grace period. Then its folder is gone.
"""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.kill_audit import Books, audit, books, store
from tests.e2e.kill_load import PATIENCE, KillLoad
from tests.e2e.kill_provider import bills
from tests.e2e.kill_trial import ROOT, KilledGateway

_CLIENTS = 16
_SHUTDOWN = {
    "TIERGATE_SERVER__LB_DELAY": "1s",
    "TIERGATE_SERVER__DRAIN": "8s",
    "TIERGATE_LEDGER__DELIVER_ON_STOP": "30s",
}
"""The variables of the chart, with a shorter delay and drain."""
_GRACE_SECONDS = 8 + 30 + 15
"""The grace period, as the chart adds it up."""


@dataclass
class ScaleInResult:
    """The records of a pod that has ended."""

    books: Books
    """The rows of its journal, read before its folder was deleted."""
    status: int
    """Its exit status; -9 if the grace period was over."""
    during: int
    """Calls that were answered after SIGTERM."""
    wrong: list[str] = field(default_factory=list)
    """Disagreements, one a line."""


def trial(
    folder: Path, ledger: dict[str, Any], seed: str, after_signal: Callable[[], object] = int
) -> ScaleInResult:
    """End a gateway under load as Kubernetes does, and delete its folder.

    The trial calls `after_signal` while the gateway stops.
    """
    book = folder / "bill"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.kill_provider", str(book), seed],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as provider:  # fmt: skip
        assert provider.stdout is not None
        gateway = KilledGateway(folder, provider.stdout.readline().strip(), ledger=ledger)
        gateway.environ |= _SHUTDOWN
        try:
            load = KillLoad(gateway.start(), seed)
            result = asyncio.run(_scale_in(gateway, load, after_signal))
            result.books = books(gateway.ledger)
            result.wrong += audit(bills(book), load, result.books, set())
            shutil.rmtree(folder / "data")
            if "store" in ledger:
                result.wrong += store(result.books, gateway.command, gateway.environ)
        finally:
            gateway.close()
            provider.kill()
    return result


async def _scale_in(
    gateway: KilledGateway, load: KillLoad, after_signal: Callable[[], object]
) -> ScaleInResult:
    clients = asyncio.create_task(load.run(_CLIENTS))
    try:
        end = time.monotonic() + PATIENCE
        while len(load.whole) < 4 * _CLIENTS:
            assert time.monotonic() < end, "clients are at work"
            await asyncio.sleep(0.02)
        before = len(load.whole)
        ending = asyncio.create_task(asyncio.to_thread(_end, gateway))
        await asyncio.to_thread(after_signal)
        status = await ending
        return ScaleInResult(Books(), status, len(load.whole) - before)
    finally:
        load.stopped = True
        await clients


def _end(gateway: KilledGateway) -> int:
    """Send SIGTERM, and SIGKILL after the grace period, as the kubelet does."""
    try:
        return gateway.stop(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        gateway.kill_supervisor()
        return -9
