"""The trial: people look at the dashboard of a long ledger while applications call.

`python -m tests.e2e.query_trial --rows ROWS --seconds SECONDS` is the long form; it prints its
figures. Calls come without and with ledger queries beside them, by turns. Then the query process is
killed, and then the gateway. The figures depend on the machine and its load; what is wrong does not.
"""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx

from bench import load
from bench.free_port import find_free_port
from bench.load import Ask, Instruments, Load, Setting
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.ingest import RowBatch
from gateway.ledger.sqlite import SqliteStore
from tests.e2e.child import until
from tests.e2e.service import Service
from tests.e2e.upstream import PATIENCE, Upstream
from tests.ledger.rows import entry

QUERIES = (
    "/admin/costs?by=model&since=7d",
    "/admin/series?by=tier&since=7d",
    "/admin/costs?by=user&since=7d",
    "/admin/latency?by=model&since=7d",
    "/admin/entries?order=newest&limit=100&format=json",
    "/admin/rules?since=7d",
)
"""What pages of the dashboard ask."""
_ASK = Ask(model="acme/smart")
_CONNECTIONS = 8
_PROVIDER = Setting(lat_us=20_000)
"""A provider that takes 20 ms: eight clients make some 350 calls a second, and leave CPU idle."""
_VIEWERS = 2
"""Browsers that ask one query after another."""
_BATCH_ROWS = 5_000
_WEEK_SECONDS = 7 * 86_400
_PROGRAM = "query_program"
_TOO_LONG = "did not answer this within"
"""What the gateway says of a query for which the ledger takes too long, with status 400."""
_MORE_TRIES = 2


@dataclass
class QueryTrialResult:
    """The records of a trial."""

    calm: list[Load] = field(default_factory=list)
    """The calls of each round without queries."""
    busy: list[Load] = field(default_factory=list)
    """The calls of each round with queries."""
    seconds: list[float] = field(default_factory=list)
    """Seconds of each query."""
    late: int = 0
    """Queries that took longer than a query may."""
    pids: set[int] = field(default_factory=set)
    """The query processes that were seen."""
    wrong: list[str] = field(default_factory=list)
    """Broken promises, one a line."""


def trial(folder: Path, *, rows: int, seconds: float, rounds: int) -> QueryTrialResult:
    """Call for some seconds in each round, without and with queries; then kill."""
    result, store = QueryTrialResult(), folder / "ledger.db"
    fill(store, rows)
    instruments = load.build(folder)
    with mock(instruments) as port:
        load.control(port, _PROVIDER)
        provider = cast("Upstream", SimpleNamespace(url=f"http://127.0.0.1:{port}"))
        service = Service(folder / "gateway", provider, {}, ledger={"store": f"sqlite:///{store}"})
        try:
            for _ in range(rounds):
                result.calm.append(call(instruments, service, seconds))
                with viewers(service, result):
                    result.busy.append(call(instruments, service, seconds))
            _kill_query_process(service, result)
            _kill_gateway(service)
        finally:
            service.kill()
    return result


def fill(path: Path, rows: int) -> None:
    """Make a store with rows of the last seven days."""
    chance, now = random.Random(7), time.time()
    store = SqliteStore(f"sqlite:///{path}")
    for batch in itertools.batched(range(rows), _BATCH_ROWS):
        entries = [_row(number, now - chance.random() * _WEEK_SECONDS, chance) for number in batch]
        with store.open_writer() as connection, store.transaction(connection):
            store.put(connection, RowBatch(entries=entries, end=0))
    store.close()


def _row(number: int, at: float, chance: random.Random) -> FinalRow:
    tier = chance.choice(("fast", "smart", "reasoning"))
    return entry(
        f"tg-{number:08}",
        at=at,
        tier=tier,
        model=f"{tier}-{chance.randrange(4)}",
        key=f"key-{chance.randrange(50)}",
        end_user=f"user-{chance.randrange(5_000)}",
        cost=Decimal(chance.randrange(1, 100_000)).scaleb(-7),
        baseline=Decimal(chance.randrange(1, 200_000)).scaleb(-7),
        input=chance.randrange(2_000),
        output=chance.randrange(500),
        duration=chance.expovariate(0.5),
        first_content=chance.expovariate(2),
    )


@contextmanager
def mock(instruments: Instruments) -> Iterator[int]:
    """Start the provider, and yield its port."""
    port = find_free_port()
    with subprocess.Popen([str(instruments.mock), str(port)]) as process:
        try:
            until(lambda: _answers(port), "the provider listens")
            yield port
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with suppress(OSError):
        load.control(port)
        return True
    return False


def call(instruments: Instruments, service: Service, seconds: float) -> Load:
    """Call for some seconds. Raises `load.Broken` if a call fails."""
    return load.run(
        instruments,
        service.port,
        ask=_ASK,
        connections=_CONNECTIONS,
        seconds=seconds,
        warm=seconds / 10,
        pids=[service.process.pid],
    )


@contextmanager
def viewers(service: Service, result: QueryTrialResult) -> Iterator[None]:
    """Ask queries during a block, one after another each."""
    has_ended = threading.Event()

    def view(number: int) -> None:
        with _client(service) as client:
            for path in itertools.cycle(QUERIES[number:] + QUERIES[:number]):
                if has_ended.is_set():
                    return
                reply = _ask(client, path, result)
                if reply.status_code != 200 and not _is_late(reply):
                    result.wrong.append(f"{path}: status {reply.status_code}: {reply.text[:200]}")
                    return

    with ThreadPoolExecutor(_VIEWERS) as pool:
        running = [pool.submit(view, number * len(QUERIES) // 2) for number in range(_VIEWERS)]
        try:
            yield
            result.pids |= query_pids(service)
        finally:
            has_ended.set()
    for viewer in running:
        viewer.result()


def _client(service: Service) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{service.port}",
        timeout=4 * PATIENCE,
        trust_env=False,
        verify=False,  # noqa: S501 - plain HTTP, and certificates take long to read
    )


def query_pids(service: Service) -> set[int]:
    """Return the query processes of a gateway."""
    pids = set[int]()
    for task in Path(f"/proc/{service.process.pid}/task").iterdir():
        with suppress(OSError):  # a thread, or a child, has ended since it was listed
            pids |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in pids if is_query_process(pid)}


def is_query_process(pid: int) -> bool:
    """True if a process runs, and is a query process."""
    with suppress(OSError):
        return _PROGRAM in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def has_ended(pid: int) -> bool:
    """True if a process has ended, though its parent may not know it yet."""
    with suppress(OSError):
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return len(threads) == 1 and ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


def _kill_query_process(service: Service, result: QueryTrialResult) -> None:
    """Kill all query processes: the next query gets another one."""
    with _client(service) as client:
        reply = _ask_again(client, result)
        if reply.status_code != 200:
            result.wrong.append(f"before a kill: {reply.status_code}: {reply.text[:200]}")
        before = query_pids(service)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: all(map(has_ended, before)), "the query process has ended")
        reply = _ask_again(client, result)
        after = query_pids(service)
        if not before or not after or before & after or service.process.pid in before | after:
            result.wrong.append(f"query processes: {before}, then {after}")
        if reply.status_code != 200:
            result.wrong.append(f"after a kill: {reply.status_code}: {reply.text[:200]}")


def _ask(client: httpx.Client, path: str, result: QueryTrialResult) -> httpx.Response:
    """Ask a query, and record how long it takes."""
    started_at = time.monotonic()
    reply = client.get(path)
    result.seconds.append(time.monotonic() - started_at)
    result.late += _is_late(reply)
    return reply


def _is_late(reply: httpx.Response) -> bool:
    """True if a query took too long, as on a machine that is too busy."""
    return reply.status_code == 504 or (reply.status_code == 400 and _TOO_LONG in reply.text)


def _ask_again(client: httpx.Client, result: QueryTrialResult) -> httpx.Response:
    """Ask a query, and again where the machine is too busy for it."""
    reply = _ask(client, QUERIES[0], result)
    for _ in range(_MORE_TRIES):
        if not _is_late(reply):
            break
        reply = _ask(client, QUERIES[0], result)
    return reply


def _kill_gateway(service: Service) -> None:
    """Kill the gateway while queries run: no query process is left."""
    with _client(service) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_ask_in_vain, client)
        until(lambda: query_pids(service), "a query runs")
        pids = query_pids(service)
        service.kill()
        answer.result()
    until(lambda: not any(map(is_query_process, pids)), "no query process is left")


def _ask_in_vain(client: httpx.Client) -> None:
    with suppress(httpx.TransportError):
        client.get("/admin/latency?by=user&since=7d")


def _format(loads: list[Load], name: str) -> str:
    values: list[Any] = [getattr(item, name) for item in loads]
    return "  ".join(f"{value:.2f}" for value in values)


def main(arguments: list[str] | None = None) -> int:
    """Run the trial, print its figures, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.query_trial", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tiergate-queries-") as folder:
        result = trial(
            Path(folder), rows=options.rows, seconds=options.seconds, rounds=options.rounds
        )
    seconds = sorted(result.seconds)
    print(f"{options.rows:,} rows, {options.rounds} rounds of {options.seconds:g} s each way")
    for name, text in (
        ("p50", "p50 of calls, ms"),
        ("p99", "p99 of calls, ms"),
        ("cpu", "CPU of the serving process, s"),
        ("waited", "its wait for a CPU, s"),
    ):
        print(f"{text:<30}  without queries  {_format(result.calm, name)}")
        print(f"{text:<30}  with queries     {_format(result.busy, name)}")
    calls = [sum(item.answered for item in loads) for loads in (result.calm, result.busy)]
    print(f"calls answered, without and with queries: {calls[0]:,} and {calls[1]:,}; none failed")
    print(
        f"{len(seconds)} queries: median {seconds[len(seconds) // 2]:.2f} s,"
        f" longest {seconds[-1]:.2f} s; {result.late} took too long"
    )
    print("\n".join([f"{len(result.wrong)} promises broken", *result.wrong]))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
