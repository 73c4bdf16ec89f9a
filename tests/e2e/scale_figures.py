"""The load of a call on Redis, disk and PostgreSQL: docs/scale.md calculates with these figures.

`python -m tests.e2e.scale_figures [CALLS]` prints them. Calls are whole answers, each with a prompt
of its own. Their keys have three limits and a budget. Rules and the classifier decide them.
"""

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg

from gateway.core import jsonio
from gateway.core.target import TIERS
from gateway.ledger import journal
from gateway.ledger.store import open_store
from tests.conftest import redis_program
from tests.e2e.budget_audit import RATES
from tests.e2e.child import Child, until
from tests.e2e.kill_trial import ROOT, KilledGateway
from tests.e2e.redis_port import Place
from tests.ledger import postgres

_CLIENTS = 16
_ROWS = 40_000
"""Rows that the store is fed with."""
_PROMPT = "Please sum up for me what was said about costs and plans in this report. " * 12

_SIZE = """
    SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
    WHERE inhparent = 'entries'::regclass
"""
"""A query for the bytes of all calls in PostgreSQL, with their indices."""


def figures(folder: Path, calls: int) -> list[tuple[str, str]]:
    """Make the given number of calls, and return what each cost."""
    with ExitStack() as stack:
        place = Place(redis_program() or "redis-server", folder)
        stack.callback(place.kill)
        place.start()
        (folder / "book").touch()
        command = [sys.executable, "-m", "tests.e2e.budget_provider", str(folder / "book"), "1"]
        provider = Child([*command, "answer"], folder / "provider", PYTHONPATH=str(ROOT))
        stack.callback(provider.stop)
        address = until(lambda: provider.out.strip(), "its address")  # noqa: PLW0108 - read anew
        gateway = KilledGateway(folder, address, **_parts(folder, address))
        stack.callback(gateway.close)
        gateway.environ["REDIS_URL"] = f"redis://127.0.0.1:{place.port}/0"
        url = gateway.start()
        asyncio.run(_calls(url, 0, _CLIENTS * 2))  # connections, scripts, counters
        with place.admin() as admin:
            before = admin.info("all")
            asyncio.run(_calls(url, 1, calls))
            after = admin.info("all")
            key_count = admin.dbsize()
        table_rows = [
            (name, f"{(after[field] - before[field]) / calls:.2f}")
            for name, field in (
                ("commands of Redis a call, those of scripts among them", "total_commands_processed"),
                ("bytes to Redis a call", "total_net_input_bytes"),
                ("bytes from Redis a call", "total_net_output_bytes"),
                ("bytes of Redis that a call keeps", "used_memory"),
            )
        ]  # fmt: skip
        cpu = sum(after[name] - before[name] for name in ("used_cpu_sys", "used_cpu_user"))
        table_rows.append(("microseconds of CPU of Redis a call", f"{cpu / calls * 1e6:.0f}"))
        for name in ("evalsha", "get", "set", "getex"):
            last, other = after.get(f"cmdstat_{name}", {}), before.get(f"cmdstat_{name}", {})
            times = last.get("calls", 0) - other.get("calls", 0)
            used = last.get("usec", 0) - other.get("usec", 0)
            table_rows.append(
                (f"  of it {name}", f"{times / calls:.2f} times, {used / calls:.0f} us")
            )
        table_rows.append(("keys of Redis after it", f"{key_count}"))
        workers = gateway.workers()
        table_rows.append(("MB of a worker", f"{max(map(_resident, workers)) / 1e6:.0f}"))
        idle = [len(os.listdir(f"/proc/{pid}/fd")) for pid in workers]  # noqa: PTH208
        table_rows.append(("files that an idle worker has open", f"{max(idle)}"))
        status = gateway.stop()
        table_rows.append(("exit status", f"{status}"))
    rows = [line for path in journal.list_segments(gateway.ledger) for line in path.read_bytes().splitlines(keepends=True)]  # fmt: skip
    size = sum(map(len, rows))
    table_rows.append(("bytes of the journal a call", f"{size / (calls + 2 * _CLIENTS):.0f}"))
    return table_rows + _fed(folder / "more", rows)


def _fed(folder: Path, lines: list[bytes]) -> list[tuple[str, str]]:
    """Measure how fast PostgreSQL takes rows, from one feeder and from two."""
    finals = [
        line for line in lines if b'"tg-' in line and not line.startswith(b'{"kind":"intent"')
    ]
    rows = []
    for feeders in (1, 2):
        folders = [folder / f"{feeders}-{number}" for number in range(feeders)]
        for number, ledger in enumerate(folders):
            _written(ledger, number, finals)
        with postgres.server() as server, ProcessPoolExecutor(feeders) as pool:
            open_store(server.url()).feed(folder / "none")  # its tables
            began = time.monotonic()
            used = list(pool.map(_feed, [server.url()] * feeders, folders))
            took, count = time.monotonic() - began, server.count("entries")
            server.ask("VACUUM entries")
            with psycopg.connect(server.url()) as base:
                size = base.execute(_SIZE).fetchone()
        rows += [
            (f"rows that PostgreSQL took a second, {feeders} feeders, fsync off", f"{count / took:.0f}"),
            ("microseconds of CPU of the feeders a row", f"{sum(used) / max(1, count) * 1e6:.0f}"),
            ("bytes of a row in PostgreSQL, with indices", f"{int(size[0] if size else 0) / max(1, count):.0f}"),
        ]  # fmt: skip
    return rows


def _written(folder: Path, number: int, finals: list[bytes]) -> None:
    """Write a journal of many calls."""
    folder.mkdir(parents=True)
    rows = (jsonio.loads(finals[at % len(finals)]) for at in range(_ROWS))
    lines = [jsonio.dumps({**row, "id": f"tg-{number}{at:022x}"}) for at, row in enumerate(rows)]
    (folder / "20261126-1-abc.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def _feed(url: str, folder: Path) -> float:
    """Return the seconds of CPU that feeding a folder takes."""
    began = time.process_time()
    open_store(url).feed(folder)
    return time.process_time() - began


async def _calls(url: str, run: int, calls: int) -> None:
    numbers = iter(range(calls))

    async def call() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            for number in numbers:
                message = {"role": "user", "content": f"{run}-{number} {_PROMPT}"}
                body = {"model": "auto", "max_tokens": 40, "messages": [message]}
                key = f"tg-{hashlib.sha256(b'%d' % (number % 10)).hexdigest()}"
                answer = await client.post(
                    "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
                )
                assert answer.status_code == 200, answer.text

    await asyncio.gather(*(call() for _ in range(_CLIENTS)))


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


def _parts(folder: Path, provider: str) -> dict[str, Any]:
    keys = {}
    for number in range(10):
        secret = f"tg-{hashlib.sha256(b'%d' % number).hexdigest()}"
        keys[f"key{number}"] = {"sha256": hashlib.sha256(secret.encode()).hexdigest()}
    (folder / "keys.yaml").write_bytes(jsonio.dumps(keys))
    dialects = {"openai-chat": "/chat/completions"}
    price = {name: str(rate) for name, rate in RATES.items()}
    return {
        "keys": str(folder / "keys.yaml"),
        "providers": {"acme": {"base_url": provider, "dialects": dialects, "auth": "none"}},
        "labs": {"acme": {tier: [{"model": "m"}] for tier in TIERS}},
        "models": {"m": {"price": price, "max_output": 120}},
        "limits": [
            {"name": "each", "per": "key", "requests": "1M/m", "tokens": "1000M/m", "concurrency": 100}
        ],
        "budgets": [{"name": "all", "usd": 1000, "every": "month"}],
    }  # fmt: skip


def main(calls: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="tiergate-figures-") as folder:
        for name, value in figures(Path(folder), calls):
            print(f"{name:<58}{value}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 2_000)
