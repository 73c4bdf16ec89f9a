"""The trial of budgets: three gateways on one Redis, three tenants, and an audit of every bill.

`python -m tests.e2e.budget_trial ROUNDS [SEED]` is the long form; it prints its findings.
"""

import asyncio
import hashlib
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import redis

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand, Owner
from gateway.limits.redis import RedisCounters
from gateway.state.redis.scripts import KEY_NAMES, make_keys
from tests.conftest import redis_program
from tests.e2e.budget_audit import (
    RATES,
    BudgetTrialResult,
    ClientOutcome,
    audit,
    count_redis_losses,
    table,
)
from tests.e2e.budget_provider import MOST, read
from tests.e2e.child import Child, until
from tests.e2e.kill_audit import books
from tests.e2e.redis_port import Place
from tests.e2e.upstream import PATIENCE

ROOT = Path(__file__).parents[2]
GATEWAYS = 3


class Bounds(NamedTuple):
    """Limits of a round: what it may spend, in USD, and how many calls may run at a time."""

    all: str
    each: str = "0.06"
    """The budget of each key."""
    own: str = "0.02"
    """The budget of `ann` alone, set in the key file."""
    places: int = 150


ROUNDS = (
    Bounds("0.6", "0.4", "0.2", 500),
    Bounds("0.03"),
    Bounds("1.2", "0.6", "0.3", 500),
    Bounds("0.2", "0.1", "0.04", 400),
    Bounds("0"),
    Bounds("0.08"),
)
"""Bounds of the rounds, in turn.

Without a budget, the calls of a round cost about 0.6 and reserve twice as much at once.
"""
_KEYS = {name: f"tg-{hashlib.sha256(name.encode()).hexdigest()}" for name in ("ann", "bob", "cat")}
OWNERS: tuple[Owner, ...] = (None, *(f"of {name}" for name in _KEYS))
"""All tenants together, and the tenant of each key."""
_LATER = 5_000.0
"""Seconds after which every reservation has expired."""


class TrialGateway:
    """`tiergate serve` on one port and one data folder, which a kill restarts."""

    def __init__(
        self, folder: Path, config: Path, redis_url: str, data: Path | None = None
    ) -> None:
        """Take its `data` folder if it shares one with others."""
        self.folder, self.port, self.starts = folder, 0, 0
        self._config, self._redis = config, redis_url
        folder.mkdir()
        self._data = data or folder / "data"
        self.ledger = self._data / "ledger"
        self.logs: list[Path] = []
        self._child: Child | None = None

    def start(self) -> None:
        """Start a process; the one before it on this port has ended."""
        self.starts += 1
        stem = self.folder / f"run{self.starts}"
        self.logs.append(stem.with_suffix(".err"))
        command = [sys.executable, "-m", "gateway", "--config", str(self._config)]
        self._child = child = Child(
            [*command, "serve", "--port", str(self.port)], stem,
            PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1", REDIS_URL=self._redis,
            TIERGATE_DATA=str(self._data),
            TIERGATE_SERVER__LB_DELAY="0",
        )  # fmt: skip
        pattern = re.compile(r" on http://127\.0\.0\.1:(\d+) ")
        match = until(lambda: pattern.search(child.out), f"listening: {child.err}", PATIENCE)
        assert match is not None
        self.port = int(match[1])

    def kill(self) -> None:
        """Send SIGKILL, and start again."""
        self.close()
        self.start()

    def stop(self) -> bool:
        """Send SIGTERM. True if the gateway shut down in good order."""
        assert self._child is not None
        pid = self._child.pid
        self._child.signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and Path(f"/proc/{pid}/cmdline").exists():
            if not Path(f"/proc/{pid}/cmdline").read_bytes():  # ended, and not yet reaped
                break
            time.sleep(0.01)  # a pause between two looks at a real process
        else:
            return False
        self.close()
        return True

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the process: its kernel takes connections and data, the gateway answers nothing."""
        assert self._child is not None
        self._child.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._child.signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the process if it runs."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def log(self) -> list[dict[str, Any]]:
        """Return every log row of all its runs."""
        lines = [line for path in self.logs for line in path.read_text().splitlines()]
        return [
            jsonio.loads(line.encode()) if line.startswith("{") else {"event": line}
            for line in lines
        ]


class Load:
    """Clients that each make a few calls one after another; some close their connection early."""

    def __init__(
        self,
        gateways: list[TrialGateway],
        result: BudgetTrialResult,
        seed: str,
        *,
        streamed: float,
        pause: float = 0.3,
        leaving: float = 0.3,
    ) -> None:
        self._gateways, self._result, self._seed = gateways, result, seed
        self._leaving = leaving
        """The fraction of calls whose client leaves early."""
        self._pause = pause
        """The longest time of a client between two calls, in seconds."""
        self._streamed = streamed
        """The fraction of calls that stream."""
        self._open = 0

    async def run(self, clients: int, calls: int) -> None:
        await asyncio.gather(*(self._client(number, calls) for number in range(clients)))

    async def _client(self, number: int, calls: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        for at in range(calls):
            marker = f"k{number}-{at}"
            outcome = ClientOutcome(chance.choice(list(_KEYS)), chance.randrange(GATEWAYS))
            self._result.outcomes[marker] = outcome
            with suppress(OSError, asyncio.IncompleteReadError):  # the gateway was killed
                await asyncio.wait_for(self._call(marker, outcome, chance), PATIENCE)
            await asyncio.sleep(chance.uniform(0, self._pause))

    async def _call(self, marker: str, outcome: ClientOutcome, chance: random.Random) -> None:
        data = _request(marker, outcome.key, chance, self._streamed)
        leaves, rude = chance.random() < self._leaving, chance.random() < 0.5
        patience = chance.choice((0.0, chance.uniform(0, 0.03), chance.uniform(0, 0.5)))
        port = self._gateways[outcome.gateway].port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self._open += 1
        self._result.peak = max(self._result.peak, self._open)
        try:
            writer.write(data)
            if not leaves:
                await _answer(reader, outcome)
                return
            outcome.left = True
            try:
                await asyncio.wait_for(_answer(reader, outcome), patience)
            except TimeoutError:
                return
            outcome.left = False
        finally:
            self._open -= 1
            if outcome.left and rude:
                writer.transport.abort()
            writer.close()


def _request(marker: str, key: str, chance: random.Random, streamed: float) -> bytes:
    letters = chance.choice(("a", "word ", "ж", "🙂"))
    body: dict[str, Any] = {
        "model": chance.choice(("smart", "fast")),
        "stream": chance.random() < streamed,
        "messages": [{"role": "user", "content": f"{marker} " + letters * chance.randint(0, 300)}],
    }
    if chance.random() < 0.7:
        body["max_tokens"] = chance.choice((1, 20, 60, MOST, 10 * MOST))
    if chance.random() < 0.1:
        body["n"] = 2
    data = jsonio.dumps(body)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {_KEYS[key]}\r\nx-tiergate-tags: {marker}\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def _answer(reader: asyncio.StreamReader, outcome: ClientOutcome) -> None:
    """Read an answer to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    outcome.id = fields.get("x-request-id", "")
    outcome.attempts = int(fields.get("x-tiergate-attempts", "0"))
    status = int(head.split(" ", 2)[1])
    if "content-length" in fields:
        data = await reader.readexactly(int(fields["content-length"]))
        if status != 200:
            error = jsonio.loads(data)["error"]
            outcome.code = str(error.get("code") or error.get("type"))
    else:
        while not (await reader.readuntil(b"\n")).startswith(b"0\r"):
            pass
    outcome.status = status


def trial(
    folder: Path,
    bounds: Bounds,
    seed: str,
    *,
    loss: str = "closed",
    streamed: float = 0.6,
    clients: int,
    calls: int,
    kills: int,
    fates: tuple[str, ...] = (),
) -> BudgetTrialResult:
    """Run one round against a budget, and compare all its records."""
    result = BudgetTrialResult(Decimal(bounds.all))
    program = redis_program()
    assert program is not None, "no server of the Redis protocol"
    place = Place(program, folder)
    book = folder / "book"
    book.touch()
    command = [sys.executable, "-m", "tests.e2e.budget_provider", str(book), seed, *fates]
    provider = Child(command, folder / "provider", PYTHONPATH=str(ROOT))
    gateways: list[TrialGateway] = []
    try:
        place.start()
        url = until(lambda: provider.out.strip(), "its address")  # noqa: PLW0108 - read anew each time
        config = write_config(folder, url, bounds, loss)
        for at in range(GATEWAYS):
            name = folder / f"gateway{at}"
            gateways.append(TrialGateway(name, config, f"redis://127.0.0.1:{place.port}/0"))
        for gateway in gateways:
            gateway.start()
        load = Load(gateways, result, seed, streamed=streamed)
        asyncio.run(_run(load, gateways, result, seed, clients, calls, kills))
        # Running calls end by themselves: their client has left, or their provider is silent.
        result.wrong += [] if all(gateway.stop() for gateway in gateways) else ["it did not stop"]
        result.bills, result.ended = read(book)
        with place.admin() as admin:
            _counted(admin, gateways, result)
        asyncio.run(_expired(f"redis://127.0.0.1:{place.port}/0", place, result))
        limits = {"all": result.budget, "own=ann": Decimal(bounds.own)}
        limits.update({f"key={name}": Decimal(bounds.each) for name in _KEYS})
        result.wrong += audit(result, limits, bounds.places)
        _logged(gateways, result)
    finally:
        for gateway in gateways:
            gateway.close()
        provider.stop()
        place.kill()
    return result


async def _run(
    calling: Load,
    gateways: list[TrialGateway],
    result: BudgetTrialResult,
    seed: str,
    clients: int,
    calls: int,
    kills: int,
) -> None:
    load = asyncio.create_task(calling.run(clients, calls))
    chance = random.Random(f"{seed} kills")
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.3, 1.2))
        if load.done():
            break
        await asyncio.to_thread(chance.choice(gateways).kill)
        result.kills += 1
    await load


def _counted(admin: redis.Redis, gateways: list[TrialGateway], result: BudgetTrialResult) -> None:
    """Read the counters of Redis after all gateways stopped, and match reservations to calls."""
    held: set[bytes] = set()
    for owner in OWNERS:
        names = {name.decode(): key for name, key in zip(KEY_NAMES, make_keys(owner), strict=True)}
        spent: Any = admin.hgetall(names["spent"])
        result.used |= {name.decode(): int(value) for name, value in spent.items()}
        mine: Any = admin.hkeys(names["holds"])
        held |= set(mine)
        running: Any = admin.hgetall(names["running"])
        if not mine and running:
            result.wrong.append(f"nothing is held of {owner}, and {running} is running")
        if owner is None:
            places = [int(count) for name, count in running.items() if b"usd|" not in name]
            result.places, result.holds = sum(places), len(mine)
    result.wrong += [f"{name} is {value}" for name, value in result.used.items() if value < 0]
    if result.places != result.holds:
        result.wrong.append(f"{result.holds} holds keep {result.places} places")
    finals: dict[str, FinalRow] = {}
    for gateway in gateways:
        more = books(gateway.ledger)
        result.books.intents.update(more.intents)
        result.books.failed.update(more.failed)
        result.books.finals.update(more.finals)
    for id, rows in result.books.finals.items():
        finals[id] = rows[0]
        if len(rows) > 1:
            result.wrong.append(f"{id}: {len(rows)} final rows")
    for id in map(bytes.decode, held):
        # A call whose gateway was killed before its first request has no row at all.
        if id in finals and finals[id].state != "unknown_crash":
            row = finals[id]
            result.wrong.append(f"{id}: {row.state} {row.status} {row.problem}, and still held")
        elif not result.kills:
            result.wrong.append(f"{id}: held, and nothing was killed")


async def _expired(url: str, place: Place, result: BudgetTrialResult) -> None:
    """Check that expired reservations free their places and stay charged."""
    meter = RedisCounters.from_url(
        url, note=result.wrong.append, clock=time.monotonic, deadline=20.0, time="caller"
    )
    now, used = time.time() + _LATER, dict[str, int]()
    try:
        for owner in OWNERS:
            need = CounterDemand(
                kind="concurrency", name="x", field="concurrency|x|all", limit=1,
                all_tenants=owner is None,
            )  # fmt: skip
            tenant = owner or ""
            for at in range(result.holds // 64 + 1):
                request = AdmissionRequest(
                    id=f"later {at}", tenant=tenant, demands=(need,), expires_at=now + 1
                )
                if not isinstance(await meter.admit(request, now), Admitted):
                    result.wrong.append("a place is not free")
                await meter.settle(tenant, request.id, None, None)
            used |= await meter.read_counters(owner)
        if used != result.used:
            result.wrong.append("what was held is not charged once it has expired")
    finally:
        await meter.close()
    with place.admin() as admin:
        for owner in OWNERS:
            if leftover := admin.hgetall(make_keys(owner)[2]):
                result.wrong.append(f"running for ever: {leftover}")


def _logged(gateways: list[TrialGateway], result: BudgetTrialResult) -> None:
    rows = [row for gateway in gateways for row in gateway.log()]
    expected = ("budget", "call", "health", "limits", "pressure", "redis")
    unexpected = [row for row in rows if row["event"] not in expected]
    result.wrong += [f"the log has {row}" for row in unexpected]
    result.lost = count_redis_losses(rows)


def write_config(
    folder: Path, provider: str, bounds: Bounds, loss: str, *, patience: float = 1.0
) -> Path:
    """Write the configuration of a trial; gateways wait for the provider `patience` times 1 s."""

    def at(path: str) -> dict[str, Any]:
        return {
            "base_url": f"{provider}/{path}",
            "dialects": {"openai-chat": "/chat/completions"},
            "auth": "none",
            "timeouts": {"headers": patience, "first_content": 1.5 * patience, "idle": patience},
        }

    targets = [{"model": "m"}, {"model": "m", "provider": "spare"}]
    price = {name: str(rate) for name, rate in RATES.items()}
    value = {
        "version": 1,
        "keys": "keys.yaml",
        "on_redis_loss": loss,
        "default": {"lab": "acme"},
        "cache": {"ttl": "0s"},
        "providers": {"acme": at("acme"), "spare": at("spare")},
        "labs": {"acme": dict.fromkeys(("fast", "smart", "reasoning"), targets)},
        "models": {"m": {"price": price, "max_output": MOST}},
        "limits": [{"name": "places", "concurrency": bounds.places}] if bounds.places else [],
        "budgets": [
            {"name": "all", "usd": bounds.all, "every": "total"},
            {"name": "each", "usd": bounds.each, "every": "month", "per": "key"},
        ],
    }
    hashed = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": f"of {name}"}
        for name, key in _KEYS.items()
    }
    own = {"budgets": [{"usd": bounds.own, "every": "total"}]}
    (folder / "keys.yaml").write_bytes(jsonio.dumps({**hashed, "ann": {**hashed["ann"], **own}}))
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    return file


def main(rounds: int, seed: str) -> int:
    """Run the given number of rounds, and return the exit status."""
    wrong = 0
    for at in range(rounds):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tiergate-budget-") as folder:
            bounds = ROUNDS[at % len(ROUNDS)]
            result = trial(
                Path(folder), bounds, f"{seed} {at}", streamed=1.0, clients=500, calls=3, kills=2
            )
        print(f"round {at + 1}, seed {seed}: {time.monotonic() - began:.0f} s")
        print("\n".join(f"  {name:<40}{count}" for name, count in table(result)))
        print("\n".join([f"  {len(result.wrong)} disagreements", *result.wrong[:40]]), flush=True)
        wrong += len(result.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
