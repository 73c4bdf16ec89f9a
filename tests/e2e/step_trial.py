"""Step load: as many clients as the gateway takes, ten times as many, and as many again.

    python -m tests.e2e.step_trial [SECONDS]

Each client calls again as soon as it has its answer, or a moment after a refusal. Some counts must
hold however slow the machine is. Each answer is whole, or a refusal that says when to retry. No
refused call reaches the provider. No more calls run at a time than may. Health checks are answered
throughout. At the end no call is refused. The long form judges ratios too: accepted calls are as
fast as before, and as many are done.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core import jsonio
from tests.e2e.service import Service
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import chat

PLACES = 16
TIMES = 10
_THINKS = 0.1
"""Seconds that the provider takes for each answer."""
_BACK = 0.1
"""Seconds after which a refused client calls again: sooner than `retry-after` says."""
_HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"


@dataclass
class Phase:
    """The outcomes for clients while that many of them called."""

    clients: int
    seconds: float
    served: list[float] = field(default_factory=list)
    """Seconds of each whole answer."""
    refused: list[float] = field(default_factory=list)
    alive: list[float] = field(default_factory=list)
    """Seconds of each health check."""
    wrong: Counter[str] = field(default_factory=Counter)
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Whole answers a second."""
        return len(self.served) / self.took

    def summary(self) -> str:
        """Describe the phase in one line."""
        return (
            f"{self.clients:>4} clients: {self.rate:6.0f} answers/s, p50 {at(self.served, 0.5):4.0f} ms, "
            f"p99 {at(self.served, 0.99):4.0f} ms; {len(self.refused):>6} refused, p99 "
            f"{at(self.refused, 0.99):4.1f} ms; alive p95 {at(self.alive, 0.95):4.1f} ms"
        )


def at(seconds: list[float], part: float) -> float:
    """Return a quantile in milliseconds; 0 without figures."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 if ordered else 0.0


class ThinkingProvider(Upstream):
    """A provider that takes its time, and counts how many calls it has at a time."""

    now = most = count = 0

    async def _write(self, answer: object, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.count += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(_THINKS)
            await super()._write(whole(), writer)
        finally:
            self.now -= 1
        self.requests.clear()


class CrowdClient:
    """One connection, which is reopened after it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request, and return the status, headers and body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {name: value for name, _, value in (line.partition(": ") for line in lines[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            await self.close()
        return int(lines[0].split()[1]), headers, body

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def run(phase: Phase, port: int) -> Phase:
    """Call until the phase is over."""
    body = jsonio.dumps(chat(max_tokens=9))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    data, began = head.encode() + body, time.monotonic()

    async def calls() -> None:
        client = CrowdClient(port)
        while time.monotonic() < began + phase.seconds:
            since = time.monotonic()
            status, headers, answer = await client.ask(data)
            took = time.monotonic() - since
            if status == 200 and b"Hello you." in answer:
                phase.served.append(took)
            elif status in (429, 503) and headers.get("retry-after") in {*"12345"}:
                phase.refused.append(took)
                await asyncio.sleep(_BACK)
            else:
                phase.wrong[f"{status} {headers.get('retry-after')} {answer[:100]!r}"] += 1
        await client.close()

    async def lives() -> None:
        client = CrowdClient(port)
        # Check once at least: the machine may hang for all of a short phase.
        while not phase.alive or time.monotonic() < began + phase.seconds:
            since = time.monotonic()
            status, _, _ = await client.ask(_HEALTH)
            phase.alive.append(time.monotonic() - since)
            phase.wrong.update([f"health {status}"] if status != 200 else [])
            await asyncio.sleep(0.02)
        await client.close()

    await asyncio.gather(*(calls() for _ in range(phase.clients)), lives())
    phase.took = time.monotonic() - began
    return phase


@dataclass
class StepTrialResult:
    """The phases, and every broken promise."""

    phases: list[Phase]
    wrong: list[str]


async def trial(folder: Path, seconds: float) -> StepTrialResult:
    """Run the three phases, each for the given seconds."""
    provider = ThinkingProvider()
    await provider.start()
    service = await asyncio.to_thread(Service, folder / "step", provider, {"in_flight": PLACES})
    try:
        await run(Phase(PLACES, seconds / 4), service.port)  # warm up
        provider.count = provider.most = 0
        crowd = PLACES * TIMES
        phases = [
            await run(Phase(clients, seconds), service.port) for clients in (PLACES, crowd, PLACES)
        ]
        wrong = [
            f"{problem} ({count}x)" for phase in phases for problem, count in phase.wrong.items()
        ]
        served_count = sum(len(phase.served) for phase in phases)
        if provider.count != served_count:
            wrong.append(f"the provider had {provider.count} calls, {served_count} were served")
        if provider.most > PLACES:
            wrong.append(f"{provider.most} calls ran at a time")
        if phases[0].refused or phases[2].refused:
            wrong.append(f"{len(phases[0].refused)}, {len(phases[2].refused)} were refused alone")
        if not phases[1].refused or not phases[1].served:
            wrong.append("the crowd was not refused in part and served in part")
        if not all(phase.alive for phase in phases):
            wrong.append("nobody looked whether it is alive")
        return StepTrialResult(phases, wrong)
    finally:
        await asyncio.to_thread(service.kill)
        await provider.stop()


def slow(result: StepTrialResult) -> list[str]:
    """Return the promised ratios that do not hold."""
    before, crowd, after = result.phases
    bounds = [
        ("p99 of what is accepted in the crowd, of that before", at(crowd.served, 0.99) / at(before.served, 0.99), 2.0),
        ("answers in the crowd, missing of those before", 1 - crowd.rate / before.rate, 0.1),
        ("answers after the crowd, missing of those before", 1 - after.rate / before.rate, 0.1),
        ("p99 of refusals in ms", at(crowd.refused, 0.99), 50.0),
        ("p95 of keep-alives in ms", at(crowd.alive, 0.95), 100.0),
    ]  # fmt: skip
    return [f"{name}: {value:.2f}, at most {most}" for name, value, most in bounds if value > most]


def main() -> None:
    """Print the phases; the exit status is 0 if all holds."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(trial(Path(folder), seconds))
    for phase in result.phases:
        print(phase.summary())
    wrong = [*result.wrong, *slow(result)]
    for line in wrong:
        print("WRONG", line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
