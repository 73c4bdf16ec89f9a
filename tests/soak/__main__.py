"""`python -m tests.soak MINUTES [SEED]`, which `make soak` runs: mixed faults under steady load.

One gateway is never killed. Its providers refuse, cut and stall; its Redis flaps; its clients leave
and are slow. Its memory must not grow. Beside it, two workers of a second gateway are killed again
and again. The soak compares both ledgers with the bills of a provider in a process of its own.
"""

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.gateway import ChaosGateway
from tests.conftest import redis_program
from tests.e2e import kill_audit, kill_load, kill_trial
from tests.e2e.child import until
from tests.e2e.kill_provider import bills
from tests.e2e.redis_port import Place
from tests.soak.audit import audit
from tests.soak.judge import Sample, judge
from tests.soak.load import SoakLoad

_CLIENTS, _RATE = 16, 25.0
"""Clients, and their calls a second: a load for two cores that run all processes."""
_KILLED_CLIENTS = 3
_EVERY = 5.0
"""Seconds between two samples of memory."""
_STALLS = 0.02
"""Share of calls that a provider never answers."""
_WARM = 0.2
"""Share of the time before memory is judged."""


@dataclass
class SoakReport:
    """The results of a soak."""

    figures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def _provider(folder: Path, name: str, seed: str, stalls: float) -> Iterator[tuple[str, Path]]:
    """Run a provider that keeps its own bills; yield its address and its book."""
    book = folder / f"bill-{name}"
    book.touch()
    command = [sys.executable, "-m", "tests.e2e.kill_provider", str(book), seed, str(stalls)]
    with subprocess.Popen(
        command, cwd=kill_trial.ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), book
        finally:
            process.kill()


def soak(
    folder: Path, seconds: float, seed: str, *, stalls: float = _STALLS, grown: bool = True
) -> SoakReport:
    """Run the soak; return its figures and mistakes. `grown`: it is long enough to judge growth."""
    findings, program = SoakReport(), redis_program()
    assert program is not None, "no server of the Redis protocol: make dev"
    place = Place(program, folder)
    (folder / "killed").mkdir()
    with (
        _provider(folder, "steady", seed, stalls) as (steady, book),
        _provider(folder, "killed", seed, 0.0) as (other, other_book),
    ):
        place.start()
        gateway = ChaosGateway(
            folder / "steady",
            _config(steady, hasty=stalls > 0),
            TIERGATE_KEYS="",
            REDIS_URL=f"redis://127.0.0.1:{place.port}/0",
        )
        workers = kill_trial.KilledGateway(folder / "killed", other)
        try:
            asyncio.run(
                _run(
                    findings,
                    gateway,
                    workers,
                    place,
                    seconds,
                    seed,
                    (book, other_book),
                    grown=grown,
                )
            )
        finally:
            gateway.stop()
            workers.close()
            place.kill()
    return findings


async def _run(
    findings: SoakReport,
    gateway: ChaosGateway,
    workers: kill_trial.KilledGateway,
    place: Place,
    seconds: float,
    seed: str,
    books: tuple[Path, Path],
    *,
    grown: bool,
) -> None:
    load = SoakLoad(gateway.port, seed, _RATE)
    other = kill_load.KillLoad(await asyncio.to_thread(workers.start), seed)
    samples: list[Sample] = []
    done: Counter[str] = Counter()
    end = time.monotonic() + seconds
    clients = asyncio.gather(load.run(_CLIENTS), other.run(_KILLED_CLIENTS))
    try:
        await asyncio.gather(
            _look(gateway, samples, end),
            _flap(place, done, end, random.Random(f"{seed} redis")),
            _kill(workers, other, done, end, random.Random(f"{seed} kill"), findings),
        )
    finally:
        load.stopped = other.stopped = True
        await clients
    findings.figures += [
        f"faults of ours: {_counts(done)}",
        f"clients: {_counts(load.kinds)}",
        f"told: {_counts(load.outcomes)}",
    ]
    findings.wrong += load.wrong
    _steady(findings, gateway, samples, seconds if grown else 0.0, bills(books[0]), load)
    _killed(findings, workers, other, bills(books[1]))


async def _look(gateway: ChaosGateway, samples: list[Sample], end: float) -> None:
    began = time.monotonic()
    while time.monotonic() < end:
        tasks = (await asyncio.to_thread(gateway.open_resources))["tasks"]
        child = gateway.child
        samples.append(Sample(time.monotonic() - began, child.resident, child.open_files, tasks))
        await asyncio.sleep(min(_EVERY, max(0.0, end - time.monotonic())))


async def _flap(place: Place, done: Counter[str], end: float, chance: random.Random) -> None:
    """Kill, stop and flush Redis in turn; each time Redis is well again for a while."""
    while time.monotonic() < end:
        await asyncio.sleep(min(chance.uniform(4, 12), max(0.0, end - time.monotonic())))
        kind = chance.choice(("killed", "stopped", "flushed"))
        pause = min(chance.uniform(0.2, 3), max(0.0, end - time.monotonic()))
        done[f"Redis {kind}"] += 1
        if kind == "killed":
            await asyncio.to_thread(place.kill)
            await asyncio.sleep(pause)
            await asyncio.to_thread(place.start)
        elif kind == "stopped":
            with place.stopped():
                await asyncio.sleep(pause)
        else:
            await asyncio.to_thread(_flush, place)


def _flush(place: Place) -> None:
    with place.admin() as admin:
        admin.flushall()


async def _kill(
    workers: kill_trial.KilledGateway,
    load: kill_load.KillLoad,
    done: Counter[str],
    end: float,
    chance: random.Random,
    findings: SoakReport,
) -> None:
    """Kill one of two workers, both, their supervisor, or all three."""
    while time.monotonic() < end:
        await asyncio.sleep(min(chance.uniform(8, 25), max(0.0, end - time.monotonic())))
        kind = chance.choice(kill_trial.KINDS)
        before = workers.workers()
        await asyncio.to_thread(kill_trial._kill, workers, kind, chance)
        done[f"killed {kind}"] += 1
        enough = len(load.whole) + _KILLED_CLIENTS
        try:
            await kill_trial._until(lambda enough=enough: len(load.whole) > enough, "clients go on")  # type: ignore[misc]
            if kind == "supervisor":
                ended = lambda before=before: all(map(workers.ended, before))  # noqa: E731
                await kill_trial._until(ended, "no orphan serves")
            await kill_trial._until(
                lambda: len(workers.workers()) == kill_trial.WORKERS, "as many as before"
            )
        except TimeoutError as error:
            findings.wrong.append(f"after {kind}: {error}")


def _steady(
    findings: SoakReport,
    gateway: ChaosGateway,
    samples: list[Sample],
    seconds: float,
    requests: list[Any],
    load: SoakLoad,
) -> None:
    """Check the gateway that was never killed: what it holds, how it grew, what it wrote."""

    def idle() -> bool:
        resources = gateway.open_resources()
        return not resources["reservations"] and not resources["busy_connections"]

    try:
        until(idle, "no open resources", 20)
    except AssertionError:
        findings.wrong.append(f"still open: {gateway.open_resources()}")
    figures, wrong = judge(samples, _WARM * seconds)
    if seconds:
        findings.figures += figures
        findings.wrong += wrong
    lines = Counter(row["event"] for row in gateway.log())
    findings.wrong += [
        f"the log has {row}" for row in gateway.log() if row["event"] in ("bug", "library")
    ]
    gateway.terminate()
    read = kill_audit.books(gateway.data / "ledger")
    audited = audit(requests, read, load.left)
    findings.figures += [
        f"log: {_counts(lines)}",
        f"calls: {len(read.finals):,}, final rows: {sum(map(len, read.finals.values())):,} ({_counts(audited.states)})",
        f"provider: {len(requests):,} requests ({_counts(Counter(request.kind for request in requests))})",
        f"settled answers: billed {audited.billed} USD by the provider, {audited.settled} on the ledger",
        f"clients' answers took {sorted(load.seconds)[len(load.seconds) // 2] * 1000:.0f} ms (median of the last)",
    ]
    findings.wrong += audited.wrong


def _killed(
    findings: SoakReport,
    workers: kill_trial.KilledGateway,
    load: kill_load.KillLoad,
    requests: list[Any],
) -> None:
    """Check the gateway whose workers were killed: its ledger has every billed call once."""
    wrong = kill_trial._last(workers)
    read = kill_audit.books(workers.ledger)
    wrong += kill_audit.audit(requests, load, read, workers.killed)
    wrong += kill_audit.store(read, workers.command, workers.environ)
    states = Counter(row.state for rows in read.finals.values() for row in rows)
    findings.figures.append(
        f"beside it: {len(requests):,} requests billed or refused, {_counts(states)}"
    )
    findings.wrong += [f"beside it: {fault}" for fault in wrong]


def _config(provider: str, *, hasty: bool) -> dict[str, Any]:
    """Return the configuration of the kill trial, with a cache and a budget.

    `hasty`: its timeouts are short.
    """
    value = kill_trial._config(provider)
    for part in value["providers"].values() if hasty else ():
        part["timeouts"] = {"headers": "3s", "first_content": "3s", "idle": "3s"}
    value["cache"] = {"default": "on", "ttl": "1m"}
    value["budgets"] = [{"name": "all", "usd": 1_000_000, "every": "day"}]
    return value


def _counts(counted: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counted.items()))


def main(minutes: float, seed: str) -> int:
    """Soak for some minutes; return the exit status."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tiergate-soak-") as folder:
        findings = soak(Path(folder), minutes * 60, seed)
    print(f"seed {seed}: {minutes:g} minutes, {time.monotonic() - began:.0f} s in all")
    print("\n".join(findings.figures))
    print("\n".join([f"{len(findings.wrong)} wrong", *findings.wrong[:100]]))
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
