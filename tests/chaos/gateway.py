"""`tiergate serve` as a process of its own: its open resources, its rows and its log."""

import contextlib
import hashlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow, Row
from gateway.ledger import journal
from tests.chaos.client import PATIENCE, PROMPT, Reply, endpoint_path, exchange, make_body
from tests.e2e.child import Child, until
from tests.e2e.world import Config

CLIENT_KEY = "client-key-of-chaos-never-shown"
PROVIDER_KEY = "sk-provider-of-chaos-never-shown"
CANARIES = (CLIENT_KEY, PROVIDER_KEY, PROMPT)
RESOURCES_SIGNAL = signal.SIGRTMIN + 3
_ROOT = str(Path(__file__).parents[2])
_ON = re.compile(r"on http://127\.0\.0\.1:(\d+) ")
_PROGRAM = """
import asyncio, json, os, signal
from types import SimpleNamespace

from gateway.cli import main
from gateway.limits.limiter import Limiter
from gateway.runtime import composition
from gateway.upstream.http1.pool import ConnectionPool

made = {Limiter: [], ConnectionPool: []}


def watched(kind):
    begin = kind.__init__

    def noted(self, *some, **more):
        begin(self, *some, **more)
        made[kind].append(self)

    kind.__init__ = noted


def write_resources(*_):
    resources = {
        "tasks": len(asyncio.all_tasks()),
        "reservations": sum(len(limiter._reservations) for limiter in made[Limiter]),
        "busy_connections": sum(pool.in_use_count for pool in made[ConnectionPool]),
        "idle_connections": sum(pool.idle_count for pool in made[ConnectionPool]),
    }
    path = os.environ["CHAOS_RESOURCES"]
    with open(path + ".new", "w") as file:
        json.dump(resources, file)
    os.replace(path + ".new", path)


for kind in made:
    watched(kind)
if "CHAOS_JITTER" in os.environ:  # the fraction of each random wait
    fraction = float(os.environ["CHAOS_JITTER"])
    composition.Gateway.__init__.__kwdefaults__["jitter"] = lambda: fraction
    composition.random = SimpleNamespace(Random=lambda: SimpleNamespace(random=lambda: fraction))
signal.signal(signal.SIGRTMIN + 3, write_resources)
main()
"""
"""The command itself; at a signal it writes down its tasks, reservations and connections."""


class ChaosGateway:
    """A running gateway that remembers every call made to it, so that an audit can check them."""

    def __init__(
        self, folder: Path, value: Config, *options: str, before: Sequence[str] = (), **environ: str
    ) -> None:
        """Start it; `before` are the words of a program that runs the command."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        self.resources_file = folder / "resources.json"
        command = [sys.executable, "-c", _PROGRAM, "--config", str(file), "serve", "--port", "0"]
        key = hashlib.sha256(CLIENT_KEY.encode()).hexdigest()
        given = {
            "PYTHONPATH": _ROOT, "PYTHONUNBUFFERED": "1", "TIERGATE_DATA": str(folder / "data"),
            "TIERGATE_SERVER__LB_DELAY": "0",
            "TIERGATE_KEYS": f"chaos={key}", "CHAOS_RESOURCES": str(self.resources_file), **environ,
        }  # fmt: skip
        self.child = Child([*before, *command, *options], folder / "gateway", **given)
        self.port = until(self._listens, f"listening; {folder}/gateway.err says why", PATIENCE)
        self.replies: list[Reply] = []
        """The replies to all its calls."""
        self.unreported_calls: set[str] = set()
        """Calls whose clients never got their id."""
        self._lock = threading.Lock()
        self._data = folder / "data"
        self._reader = Journal(self._data / "ledger")

    def _listens(self) -> int:
        if match := _ON.search(self.child.out):
            return int(match[1])
        if self.gone():
            raise AssertionError(f"it does not start: {self.child.err[-2000:]}")
        return 0

    def ask(
        self,
        dialect: str,
        model: str,
        *,
        stream: bool = False,
        within: float = PATIENCE,
        **more: Any,
    ) -> Reply:
        """Make one call; `headers` in `more` are added to its own."""
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {CLIENT_KEY}",
            **more.pop("headers", {}),
        }
        body = make_body(dialect, model, stream=stream, **more)
        path = endpoint_path(dialect, model, stream=stream)
        reply = exchange(self.port, path, body, headers, within=within)
        with self._lock:
            self.replies.append(reply)
        return reply

    def get(self, path: str, within: float = PATIENCE) -> Reply:
        """Get a path that is no call: /health, /metrics, /admin."""
        return exchange(self.port, path, None, {}, within=within)

    @property
    def data(self) -> Path:
        """Return the data folder of the gateway."""
        return self._data

    def set_data_folder(self, data: Path) -> None:
        """Set the path by which this process reads the gateway's data folder."""
        self._data, self._reader = data, Journal(data / "ledger")

    def forget(self, ids: Iterable[str]) -> None:
        """Forget calls whose rows something outside the gateway has removed."""
        gone = set(ids)
        self.replies = [reply for reply in self.replies if reply.id not in gone]

    def metric(self, name: str) -> float:
        """Return the sum of a metric."""
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(it.rpartition(" ")[2]) for it in lines if re.split("[{ ]", it)[0] == name)

    def stored(self) -> set[str]:
        """Return the ids of the calls in the ledger store."""
        ids: set[str] = set()
        path = "/admin/entries?limit=1000"
        for line in self.get(path).body.splitlines():
            ids.add(jsonio.loads(line)["id"])
        return ids

    def entry(self, id: str) -> FinalRow:
        """Wait for the final row of a call, and return it."""
        entry = until(lambda: self.rows(id)[0], f"the final row of {id}", PATIENCE)
        assert entry is not None
        return entry

    def tagged(self, tag: str) -> FinalRow:
        """Wait for the final row of the one call with a tag, and return it."""

        def look() -> FinalRow | None:
            rows = [row for call_rows in list(self.all().values()) for row in call_rows]
            return next((it for it in rows if isinstance(it, FinalRow) and tag in it.tags), None)

        entry = until(look, f"the final row of {tag}", PATIENCE)
        assert entry is not None
        self.unreported_calls.add(entry.id)
        return entry

    def rows(self, id: str) -> tuple[FinalRow | None, list[IntentRow], list[AttemptRow]]:
        """Return the rows of a call that the journal has so far."""
        with self._lock:
            return self._reader.rows(id)

    def all(self) -> dict[str, list[Row]]:
        """Return all rows so far, by call."""
        with self._lock:
            return {id: list(rows) for id, rows in self._reader.all().items()}

    def log(self) -> list[dict[str, Any]]:
        """Return the log so far."""
        lines = self.child.err.splitlines()
        return [jsonio.loads(line.encode()) for line in lines if line.startswith("{")]

    def open_resources(self) -> dict[str, int]:
        """Return how many tasks, reservations, and busy and idle provider connections it has."""
        self.resources_file.unlink(missing_ok=True)
        os.kill(self.child.pid, RESOURCES_SIGNAL)
        until(self.resources_file.exists, "what it has in resources")
        counts: dict[str, int] = jsonio.loads(self.resources_file.read_bytes())
        return counts

    def terminate(self, within: float = 40.0) -> None:
        """Send SIGTERM, and wait until the process is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.child.signal(signal.SIGTERM)
        until(self.gone, "the end of the gateway", within)

    def gone(self) -> bool:
        """True if the process no longer runs."""
        try:
            status = Path(f"/proc/{self.child.pid}/status").read_text()
        except FileNotFoundError:
            return True
        return "\nState:\tZ" in status

    def stop(self) -> None:
        """Kill the process if it still runs."""
        self.child.stop()


class Journal:
    """The rows of a folder of journal segments, each read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, list[Row]] = {}
        self._seen: dict[Path, int] = {}

    def all(self) -> dict[str, list[Row]]:
        for path in journal.list_segments(self._folder):
            seen, position = self._seen.get(path, 0), 0
            size = path.stat().st_size
            if size == seen:
                continue
            if size < seen:  # the file was truncated
                seen = 0
            for row, end in journal.read_rows(path, seen):
                position = end
                if row is not None:
                    self._found.setdefault(row.id, []).append(row)
            self._seen[path] = position or seen
        return self._found

    def rows(self, id: str) -> tuple[FinalRow | None, list[IntentRow], list[AttemptRow]]:
        rows = self.all().get(id, [])
        final = next((row for row in rows if isinstance(row, FinalRow)), None)
        intents = [row for row in rows if isinstance(row, IntentRow)]
        return final, intents, [row for row in rows if isinstance(row, AttemptRow)]


_PULSE = """
import http.client, sys, time

while True:
    began, status = time.monotonic(), 0
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), 60)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError:
        pass
    connection.close()
    print(status, time.monotonic() - began, flush=True)
    time.sleep(0.05)
"""
"""A program of its own: in this process the load of the tests would be measured too."""


class Pulse:
    """Asks a gateway for /health again and again while a row is played."""

    def __init__(self, gateway: ChaosGateway) -> None:
        command = [sys.executable, "-S", "-c", _PULSE, str(gateway.port)]
        self._child: Child | None = Child(command, gateway.folder / "pulse")
        self.wrong: list[str] = []
        self._seconds: list[float] = []

    def stop(self) -> float:
        """Return the 95th percentile of the seconds that /health took."""
        if self._child is not None:
            self._child.stop()
            for line in self._child.out.splitlines():
                status, _, seconds = line.partition(" ")
                if status != "200":
                    self.wrong.append(f"/health: {status or 'nothing'}")
                with contextlib.suppress(ValueError):  # the last line may be cut
                    self._seconds.append(float(seconds))
            self._child = None
        ordered = sorted(self._seconds)
        return ordered[int(len(ordered) * 0.95)] if ordered else 0.0
