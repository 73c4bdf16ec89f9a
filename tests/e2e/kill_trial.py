"""The trial: a gateway with two workers is killed again and again under load, then audited.

`python -m tests.e2e.kill_trial KILLS [SEED]` is the long form; it prints its findings.
"""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.ledger import chain, journal
from tests.e2e.kill_audit import RATES, Books, audit, books, store
from tests.e2e.kill_load import PATIENCE, KillLoad
from tests.e2e.kill_provider import ProviderBill, bills

ROOT = Path(__file__).parents[2]
WORKERS = 2
KINDS = ("one", "both", "supervisor", "all")
"""The processes to kill: a worker, both workers, the supervisor alone, or all three."""


@dataclass
class KillTrialResult:
    """The records of a trial."""

    load: KillLoad
    bills: list[ProviderBill]
    """Every request that came to the provider."""
    books: Books
    kills: Counter[str]
    wrong: list[str]
    """Disagreements, one a line."""

    @property
    def states(self) -> Counter[str]:
        """Count final rows by their state."""
        return Counter(row.state for rows in self.books.finals.values() for row in rows)


class KilledGateway:
    """`tiergate serve --workers 2` on one port and one data folder, which a kill restarts."""

    def __init__(self, folder: Path, provider: str, **parts: object) -> None:
        self.folder = folder
        self.ledger = folder / "data" / "ledger"
        self.killed: set[int] = set()
        """Workers that were killed."""
        self.config = folder / "gateway.yaml"
        self.config.write_bytes(jsonio.dumps({**_config(provider), **parts}))
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
        }
        self.environ = {**inherited, "PYTHONPATH": str(ROOT), "TIERGATE_DATA": str(folder / "data")}
        self.environ["TIERGATE_SERVER__LB_DELAY"] = "0"
        self.command = ["--config", str(self.config)]
        self._log = (folder / "log").open("ab")
        self._process: subprocess.Popen[str] | None = None
        self._read = 0
        self.port = 0

    def start(self) -> str:
        """Start, and return the address; retry while old workers still listen on the port."""
        end = time.monotonic() + PATIENCE
        command = [
            sys.executable,
            "-m",
            "gateway",
            *self.command,
            "serve",
            "--workers",
            str(WORKERS),
        ]
        while time.monotonic() < end:
            self._read = (self.folder / "log").stat().st_size
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env=self.environ, cwd=self.folder, stdout=subprocess.PIPE, stderr=self._log, text=True,
            )  # fmt: skip
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if match := re.search(r" on http://127\.0\.0\.1:(\d+) ", line):
                    self.port = int(match[1])
                if line.startswith("  curl "):
                    return f"http://127.0.0.1:{self.port}"
            self._process.wait()
            self._process.stdout.close()
        raise TimeoutError(f"it does not start: {self.log()}")

    @property
    def supervisor(self) -> int:
        """The pid of the process that supervises the workers."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return the log of the running process."""
        return (self.folder / "log").read_text()[self._read :]

    def workers(self) -> list[int]:
        """Return the pids of live workers, by the log of the supervisor."""
        alive: dict[int, None] = {}
        for line in self.log().splitlines():
            row: Any = jsonio.loads(line.encode()) if line.startswith("{") else {}
            if row.get("event") == "worker" and row.get("text") == "started":
                alive[row["pid"]] = None
            elif row.get("event") == "worker":
                alive.pop(row["pid"], None)
        return list(alive)

    def kill(self, *pids: int) -> None:
        """Send SIGKILL to workers."""
        for pid in pids:
            self.killed.add(pid)
            os.kill(pid, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def stop(self, seconds: float = PATIENCE) -> int:
        """Send SIGTERM, and return the exit status. Raises TimeoutExpired after some seconds."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.terminate()
        status = self._process.wait(seconds)
        self._process.stdout.close()
        return status

    def close(self) -> None:
        """Kill the supervisor if it still runs, and close the log."""
        if self._process is not None and self._process.poll() is None:
            self.kill_supervisor()
        self._log.close()

    def segments(self, pid: int) -> list[Path]:
        """Return the journal segments of one worker."""
        return [path for path in journal.list_segments(self.ledger) if f"-{pid}-" in path.name]

    def writes(self, pid: int) -> bool:
        """True if a worker serves: its journal has rows."""
        return any(path.stat().st_size for path in self.segments(pid))

    def ended(self, pid: int) -> bool:
        """True if a worker shut down in good order: its journal is closed, or it has none."""
        data = [path.read_bytes() for path in self.segments(pid)]
        return all(journal_data.endswith(chain.CLOSED_LINE) for journal_data in data)


def trial(folder: Path, kinds: list[str], seed: str, clients: int = 16) -> KillTrialResult:
    """Kill a gateway under load, once for each of `kinds`, and compare all its records."""
    book = folder / "bill"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.kill_provider", str(book), seed],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as provider:  # fmt: skip
        assert provider.stdout is not None
        gateway = KilledGateway(folder, provider.stdout.readline().strip())
        try:
            load = KillLoad(gateway.start(), seed)
            kills = asyncio.run(_kills(gateway, load, kinds, random.Random(seed), clients))
            wrong = _last(gateway)
            read = books(gateway.ledger)
            bills_by_provider = bills(book)
            wrong += audit(bills_by_provider, load, read, gateway.killed)
            wrong += store(read, gateway.command, gateway.environ)
        finally:
            gateway.close()
            provider.kill()
    return KillTrialResult(load, bills_by_provider, read, kills, wrong)


async def _kills(
    gateway: KilledGateway, load: KillLoad, kinds: list[str], chance: random.Random, clients: int
) -> Counter[str]:
    clients_at_work = asyncio.create_task(load.run(clients))
    done: Counter[str] = Counter()
    try:
        for kind in kinds:
            workers = gateway.workers()
            await _until(partial(_all, gateway.writes, workers), f"{workers} serve")
            await _until(partial(_more, load, len(load.whole) + clients), "clients are at work")
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            await asyncio.to_thread(_kill, gateway, kind, chance)
            done[kind] += 1
            enough = len(load.whole) + clients
            await _until(partial(_more, load, enough), "clients go on")
            if kind == "supervisor":
                await _until(partial(_all, gateway.ended, workers), "no orphan serves")
            await _until(lambda: len(gateway.workers()) == WORKERS, "as many workers as before")
        await _until(partial(_all, gateway.writes, gateway.workers()), "the last ones serve")
    finally:
        load.stopped = True
        await clients_at_work
    return done


def _kill(gateway: KilledGateway, kind: str, chance: random.Random) -> None:
    workers = gateway.workers()
    if kind == "one":
        gateway.kill(chance.choice(workers))
    if kind in ("both", "all"):
        gateway.kill(*workers)
    if kind in ("supervisor", "all"):
        gateway.kill_supervisor()
        gateway.start()


def _last(gateway: KilledGateway) -> list[str]:
    """Stop and restart once more: a row that is still open after that stays open for ever."""
    wrong = [] if gateway.stop() == 0 else ["it did not stop in good order"]
    gateway.start()
    wrong += [] if gateway.stop() == 0 else ["it did not stop in good order"]
    log = (gateway.folder / "log").read_text()
    return wrong + [line for line in log.splitlines() if "Traceback" in line or '"bug"' in line]


def _all(true: Callable[[int], bool], pids: list[int]) -> bool:
    return all(map(true, pids))


def _more(load: KillLoad, count: int) -> bool:
    return len(load.whole) > count


async def _until(true: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: not within {PATIENCE:g} s")
        await asyncio.sleep(0.02)


def _config(provider: str) -> dict[str, Any]:
    def at(dialects: dict[str, str], path: str = "") -> dict[str, Any]:
        return {"base_url": f"{provider}{path}", "dialects": dialects, "auth": "none"}

    def lab(name: str) -> dict[str, Any]:
        targets = [{"model": "m"}, {"model": "m", "provider": f"{name}-spare"}]
        return dict.fromkeys(("fast", "smart", "reasoning"), targets)

    chat, messages = {"openai-chat": "/chat/completions"}, {"anthropic-messages": "/messages"}
    return {
        "version": 1,
        "default": {"lab": "acme"},
        "providers": {
            "acme": at(chat),
            "acme-spare": at(chat, "/spare"),
            "claude": at(messages),
            "claude-spare": at(messages, "/spare"),
        },
        "labs": {"acme": lab("acme"), "claude": lab("claude")},
        "models": {"m": {"price": {name: str(rate) for name, rate in RATES.items()}}},
    }


def table(result: KillTrialResult) -> list[tuple[str, int]]:
    """Return the counts of each side."""
    kinds = Counter(bill.kind for bill in result.bills)
    intents = sum(map(len, result.books.intents.values()))
    failed = [row for rows in result.books.failed.values() for row in rows]
    finals = [row for rows in result.books.finals.values() for row in rows]
    return [
        *((f"killed: {kind}", count) for kind, count in sorted(result.kills.items())),
        ("clients: answers that came whole", len(result.load.whole)),
        ("clients: calls that were cut, or found nobody", len(result.load.broken)),
        ("provider: answers billed", kinds["answer"]),
        ("provider: answers cut and billed", kinds["cut"]),
        ("provider: requests refused, not billed", kinds["refused"]),
        ("ledger: intents", intents),
        ("ledger: attempts that failed", len(failed)),
        ("ledger: final rows", len(finals)),
        *(
            (f"ledger: final rows, {state}", count)
            for state, count in sorted(result.states.items())
        ),
        (
            "ledger: final rows of unknown cost",
            sum(row.cost is None or row.wasted is None for row in finals),
        ),
        ("ledger: calls with more than one final row", len(finals) - len(result.books.finals)),
    ]


def main(kills: int, seed: str) -> int:
    """Kill the given number of times, and return the exit status."""
    kinds = [KINDS[at % len(KINDS)] for at in range(kills)]
    with tempfile.TemporaryDirectory(prefix="tiergate-kill-") as folder:
        began = time.monotonic()
        result = trial(Path(folder), kinds, seed)
    print(f"seed {seed}: {kills} kills in {time.monotonic() - began:.0f} s")
    print("\n".join(f"{name:<44}{count:>8,}" for name, count in table(result)))
    print("\n".join([f"{len(result.wrong)} disagreements", *result.wrong]))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
