"""A gateway under load whose configuration changes ten times a second.

Run it as `python -m tests.e2e.reload_trial`.

Each configuration has its own model and price, so that a row tells which of them served its call.
Now and then the written file is broken. No call may fail, and no call may be served by a mixture.
Everything that was started for a configuration must be gone when its calls have ended.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from tests.e2e.service import Service
from tests.e2e.upstream import DONE, Upstream, answering
from tests.e2e.world import Config, Loop, chat, config

PERIOD = 0.1
"""Seconds from one change to the next."""
KINDS = 5
"""The number of valid configurations, each unlike the others."""
_CLIENTS = 12
_PATIENCE = 30.0
_BROKEN = (
    b"version: 1\nno_such_key: 3\n",
    b"version: 2\n",
    b"labs: [\n",
    b"",
    b"version: 1\nversion: 1\n",
    b"version: 1\nlabs: {acme: {smart: [{model: x}]}}\nproviders: {}\n",
)


@dataclass
class ReloadTrialResult:
    """The records of a trial."""

    calls: int = 0
    streams: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Seconds of each call."""
    reloads: int = 0
    refused: int = 0
    held: list[float] = field(default_factory=list)
    """Seconds from each request for a reload to its answer."""
    versions: dict[str, int] = field(default_factory=dict)
    """The kind of each configuration that was in force, by its version."""
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    """Both after each tenth of the trial."""
    rows: list[FinalRow] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    """The gateway's report on its configuration at the end."""

    def at(self, share: float) -> float:
        """Return the seconds within which that share of the calls ended."""
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))]

    def wrong(self) -> list[str]:
        """Return every broken promise, one a line."""
        problems = list(dict.fromkeys(self.failures))[:10]
        for row in self.rows:
            kind = self.versions.get(row.config)
            if kind is None:
                problems.append(f"{row.id} has the version {row.config} that never was in force")
            elif row.model != f"able-{kind}":
                problems.append(f"{row.id} of kind {kind} was served by {row.model}")
            elif row.cost != _cost(row, kind):
                problems.append(f"{row.id} of kind {kind} cost {row.cost}")
        if len(self.rows) != self.calls:
            problems.append(f"{self.calls} calls have {len(self.rows)} rows")
        if self.state["ending"] or self.state["version"] not in self.versions:
            problems.append(f"at the end: {self.state}")
        return problems[:20]


def kind(value: Config, number: int) -> Config:
    """Return a configuration of one kind, with its own model, price, rule and providers."""
    name, price = f"able-{number}", {"input": number + 1, "output": number + 2}
    value = jsonio.loads(jsonio.dumps(value))
    value["labs"]["acme"]["smart"] = [{"model": name}, {"model": name, "provider": "spare"}]
    value["models"][name] = {"price": {**price, "as_of": "2026-11-26"}}
    value["choices"] = [
        {"name": f"rule {number}", "when": {"keywords": ["hello"]}, "tier": "smart"}
    ]
    value["routing"]["complete"] = "hold" if number == 1 else "off"
    if number % 2:
        del value["providers"]["other"], value["labs"]["other"], value["models"]["else-1"]
    if number == 4:
        value["providers"]["spare"]["headers"] = {"x-more": "1"}
        value["limits"] = [{"name": "many", "requests": "1M/m"}]
    return value


def _cost(row: FinalRow, number: int) -> Decimal:
    used = Decimal(row.input or 0) * (number + 1) + Decimal(row.output or 0) * (number + 2)
    return used / 1_000_000


class ReloadTrial:
    """One gateway, its provider and the clients."""

    def __init__(self, folder: Path, *, workers: int = 1) -> None:
        self.loop, self.upstream = Loop(), Upstream()
        self.loop.run(self.upstream.start())
        self.upstream.on("/", answering)
        self.seen = ReloadTrialResult()
        self._over = False
        self._chance = random.Random(7)
        self.folder = folder / "gateway"
        self.base = config(self.upstream.url)
        first = kind(self.base, 0)
        parts = {name: first[name] for name in ("labs", "models", "choices", "routing")}
        server = {"workers": workers} if workers > 1 else {}
        self.service = Service(self.folder, self.upstream, server, **parts)
        self.file = self.folder / "gateway.yaml"
        self.server = jsonio.loads(self.file.read_bytes())["server"]

    def close(self) -> None:
        self.service.kill()
        self.loop.run(self.upstream.stop())
        self.loop.close()

    async def run(self, reloads: int) -> ReloadTrialResult:
        """Change the configuration the given number of times under load, and return the records."""
        result, service = self.seen, self.service
        result.versions[(await self._ask("GET", "/admin/config"))["version"]] = 0
        clients = [asyncio.create_task(self._client(number)) for number in range(_CLIENTS)]
        for number in range(1, reloads + 1):
            due = time.monotonic() + PERIOD
            await self._change(number)
            if number % max(1, reloads // 10) == 0:
                result.memory.append(service.figure("VmRSS"))
                result.files.append(service.files)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        self._over = True
        await asyncio.gather(*clients)
        result.state = await self._ask("GET", "/admin/config")
        service.send_signal(signal.SIGTERM)
        if (status := await asyncio.to_thread(service.ended)) != 0:
            result.failures.append(f"it ended with {status}")
        result.rows = service.entries()
        if bugs := service.rows("bug"):
            result.failures.append(f"{bugs[0]}")
        return result

    async def _change(self, number: int) -> None:
        """Write another configuration, and reload it; every tenth one is broken or half."""
        which = number % KINDS
        value = kind(self.base, which)
        value["server"] = self.server
        data = jsonio.dumps(value)
        broken = number % 10 == 0
        if broken:
            data = self._chance.choice((*_BROKEN, data[: self._chance.randrange(20, len(data))]))
        scratch = self.file.with_suffix(".new")
        scratch.write_bytes(data)
        scratch.replace(self.file)
        began = time.monotonic()
        reply = await self._ask("POST", "/admin/reload")
        self.seen.held.append(time.monotonic() - began)
        if broken:
            self.seen.refused += 1
            if "error" not in reply:
                self.seen.failures.append(f"a broken one is taken: {data[:60]!r} {reply}")
        elif reply.get("result") != "taken":
            self.seen.failures.append(f"not taken: {reply}")
        else:
            self.seen.reloads += 1
            self.seen.versions[reply["version"]] = which

    async def _ask(self, method: str, path: str) -> dict[str, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode()
        )
        data = await asyncio.wait_for(reader.read(), _PATIENCE)
        writer.close()
        reply: dict[str, Any] = jsonio.loads(data.partition(b"\r\n\r\n")[2])
        return reply

    async def _client(self, number: int) -> None:
        """Call again and again on one connection, whole and streamed by turns."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        turn = number
        while not self._over:
            turn += 1
            streams = turn % 2 == 0
            more = {"stream": True} if streams else {}
            words = " ".join(["hello"] * (1 + turn % 40))
            data = jsonio.dumps(chat(f"{words} {number} {turn}", **more))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
            began = time.monotonic()
            writer.write(head.encode() + data)
            try:
                status, body = await asyncio.wait_for(_answer(reader), _PATIENCE)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
                self.seen.failures.append(f"{type(error).__name__} after {self.seen.calls} calls")
                return
            self.seen.seconds.append(time.monotonic() - began)
            self.seen.calls += 1
            self.seen.streams += streams
            whole = body.endswith(DONE) if streams else b'"finish_reason":"stop"' in body
            if status != 200 or not whole:
                self.seen.failures.append(f"{status} {body[:300]!r}")
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status, fields = int(head.split(b" ", 2)[1]), head.lower()
    if b"\r\ncontent-length: " in fields:
        length = int(fields.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        return status, await reader.readexactly(length)
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return status, b"".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reload-") as folder:
        trial = ReloadTrial(Path(folder))
        try:
            result = asyncio.run(trial.run(options.reloads))
        finally:
            trial.close()
    wrong, write = result.wrong(), sys.stdout.write
    write(
        f"{result.calls} calls ({result.streams} streamed), {result.reloads} reloads, {result.refused} broken\n"
    )
    write(
        f"a call took {result.at(0.5) * 1e3:.1f} ms, p99 {result.at(0.99) * 1e3:.1f}, most {result.at(1) * 1e3:.1f}\n"
    )
    held = sorted(result.held)
    write(f"a reload took {held[len(held) // 2] * 1e3:.0f} ms, most {held[-1] * 1e3:.0f}\n")
    write(
        f"the loop was held {result.state['slowest_swap'] * 1e3:.1f} ms at most to put one in force\n"
    )
    write(f"memory {[item // 1_000_000 for item in result.memory]} MB, files {result.files}\n")
    write("".join(f"WRONG: {item}\n" for item in wrong) or "nothing is wrong\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
