"""One simulation by seed: its gateways, clients and faults, and what must hold at its end."""

import asyncio
import hashlib
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    CounterStore,
    Owner,
    Refusal,
)
from tests.e2e.budget_audit import RATES, BudgetTrialResult, peak
from tests.e2e.budget_provider import MOST, Fate
from tests.e2e.kill_audit import books
from tests.simulation.client import Client
from tests.simulation.event_loop import SimulatedLoop
from tests.simulation.invariants import check
from tests.simulation.machine import EPOCH, GatewayMachine
from tests.simulation.network import Outage
from tests.simulation.provider import SimulatedProvider
from tests.simulation.redis_server import RedisServer

_PROVIDER_PORT, _REDIS_PORT, _GATEWAY_PORT = 1001, 6379, 8000
_EXPIRY_SECONDS = 100
"""Seconds after which every reservation has expired."""
_FATES: dict[Fate, int] = {
    "answer": 48, "slow": 8, "mute": 8, "refused": 12, "empty": 6, "cut": 6, "broken": 6, "silent": 6,
}  # fmt: skip


@dataclass
class Scenario:
    """What happens in one simulation."""

    seed: str
    gateways: int
    uses_redis: bool
    keys: list[str]
    clients: int
    calls: int
    """Calls of each client."""
    streamed: float
    """The part of calls that stream."""
    leaving: float
    """The part of calls whose client leaves early."""
    pause: float
    """The longest pause of a client, in seconds."""
    patience: float
    """The longest that a client waits that leaves early, in seconds."""
    slowest: float
    """The latest that a provider begins an answer, in seconds."""
    fates: dict[Fate, int]
    budget: Decimal
    """USD of all keys."""
    each: Decimal
    """USD of each key."""
    places: int
    """Calls at a time; 0 is no limit."""
    on_redis_loss: str
    kills: int
    outages: int
    forgets: bool
    """True if an outage takes all data of Redis; then the gateways share one ledger."""


def draw(seed: str) -> Scenario:
    """Draw a scenario from a seed."""
    chance = random.Random(f"{seed} scenario")
    uses_redis = chance.random() < 0.6
    clients, calls = chance.randint(1, 12), chance.randint(1, 8)
    most = Decimal(clients * calls) * Decimal("0.005")
    is_calm = chance.random() < 0.2
    drawn = chance.sample(list(_FATES), chance.randint(2, len(_FATES)))
    scenario = Scenario(
        seed=seed,
        gateways=chance.randint(1, 3),
        uses_redis=uses_redis,
        keys=["ann", "bob", "cat", "dan"][: chance.randint(1, 4)],
        clients=clients,
        calls=calls,
        streamed=chance.choice((0.0, 0.5, 1.0)),
        leaving=0.0 if is_calm else chance.choice((0.0, 0.3, 0.6)),
        pause=chance.choice((0.05, 1.0, 20.0)),
        patience=chance.choice((0.01, 0.3, 10.0)),
        slowest=chance.choice((0.01, 0.5, 20.0)),
        fates={"answer": 1}
        if is_calm
        else {fate: _FATES[fate] for fate in _FATES if fate in {*drawn, "answer"}},
        budget=round(most * Decimal(str(chance.choice((0.1, 0.5, 2)))), 6),
        each=round(most * Decimal(str(chance.choice((0.05, 0.3, 2)))), 6),
        places=chance.choice((1, 3, 150)),
        on_redis_loss=chance.choice(("closed", "lease")),
        kills=0 if is_calm else chance.choice((0, 0, 1, 3)),
        outages=0 if is_calm or not uses_redis else chance.choice((0, 0, 1, 2)),
        forgets=False,
    )
    scenario.forgets = scenario.outages > 0 and not scenario.kills and chance.random() < 0.5
    return _make_busy(scenario) if uses_redis and chance.random() < 0.3 else scenario


def _make_busy(scenario: Scenario) -> Scenario:
    """Let so many calls come at a time that gateways lease slices of the budgets."""
    chance = random.Random(f"{scenario.seed} busy")
    scenario.clients, scenario.calls = chance.randint(6, 12), chance.randint(10, 20)
    scenario.pause, scenario.slowest, scenario.places = 0.2, chance.choice((0.01, 0.5)), 0
    most = Decimal(scenario.clients * scenario.calls) * Decimal("0.003")
    scenario.budget = round(most * Decimal(str(chance.choice((0.3, 1, 2)))), 6)
    scenario.each = round(scenario.budget * Decimal(str(chance.choice((0.5, 1)))), 6)
    return scenario


@dataclass
class Report:
    """The outcome of one simulation."""

    scenario: Scenario
    wrong: list[str] = field(default_factory=list)
    """Broken invariants, one a line."""
    seconds: float = 0.0
    """Virtual seconds."""
    steps: int = 0
    """Callbacks that ran."""
    answers: Counter[str] = field(default_factory=Counter)
    """What the clients got, in words."""

    def describe(self) -> str:
        """Say what is broken, and how to see it again."""
        seed = self.scenario.seed
        lines = [f"seed {seed} breaks what must hold; `make simulate SEED={seed}` replays it"]
        return "\n  ".join([*lines, repr(self.scenario), *self.wrong[:20]])


class Simulation:
    """A scenario that runs in a folder."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.report = Report(scenario)
        self.loop = SimulatedLoop(scenario.seed)
        self._folder = folder
        self._secrets = {
            name: f"tg-{hashlib.sha256(name.encode()).hexdigest()}" for name in scenario.keys
        }
        self._provider = SimulatedProvider(scenario.seed, scenario.fates, scenario.slowest)
        self._redis = RedisServer(lambda: EPOCH + self.loop.time(), scenario.seed)
        environ = {"REDIS_URL": f"redis://127.0.0.1:{_REDIS_PORT}/0"} if scenario.uses_redis else {}
        self._write_config()
        self.gateways = [
            GatewayMachine(
                self.loop,
                f"gateway{number}",
                _GATEWAY_PORT + number,
                folder / ("shared" if scenario.forgets else f"data{number}"),
                folder / "gateway.yaml",
                environ,
                scenario.seed,
            )
            for number in range(scenario.gateways)
        ]

    def run(self) -> Report:
        """Run to the end, and check everything."""
        report = self.report
        try:
            self.loop.run(self._run())
        except Exception as error:  # noqa: BLE001 - the seed must be in the report
            report.wrong.append(f"the simulation ended with {error!r}")
        report.seconds, report.steps = self.loop.time(), self.loop.steps
        report.wrong += self.loop.errors
        return report

    async def _run(self) -> None:
        scenario, loop = self.scenario, self.loop
        with loop.on("provider"):
            await self._provider.listen(_PROVIDER_PORT)
        with loop.on("redis"):
            await self._redis.listen(_REDIS_PORT)
        for gateway in self.gateways:
            await gateway.start()
        ports = [gateway.port for gateway in self.gateways]
        clients = [
            Client(f"c{number}", scenario.seed, self._secrets, ports)
            for number in range(scenario.clients)
        ]
        load = asyncio.gather(
            *(
                client.run(
                    scenario.calls,
                    streamed=scenario.streamed,
                    leaving=scenario.leaving,
                    pause=scenario.pause,
                    patience=scenario.patience,
                )
                for client in clients
            )
        )
        faults = [asyncio.ensure_future(self._kill()), asyncio.ensure_future(self._take_redis())]
        await asyncio.gather(load, *faults)
        while any(  # noqa: ASYNC110 - a look costs nothing here
            gateway.count_calls() for gateway in self.gateways
        ):
            await asyncio.sleep(1)
        # Rows and settlements that Redis missed are written; then reservations expire.
        await asyncio.sleep(_EXPIRY_SECONDS if scenario.kills or scenario.outages else 10)
        result = BudgetTrialResult(scenario.budget)
        for client in clients:
            result.outcomes |= client.outcomes
        self.report.answers.update(
            f"{one.status} {one.code}".strip() if one.status else "none"
            for one in result.outcomes.values()
        )
        await self._audit(result)

    async def _kill(self) -> None:
        """Kill gateways now and then, and start them again."""
        chance = random.Random(f"{self.scenario.seed} kills")
        for _ in range(self.scenario.kills):
            await asyncio.sleep(chance.uniform(0, self.scenario.pause * self.scenario.calls))
            gateway = chance.choice(self.gateways)
            gateway.kill()
            await asyncio.sleep(chance.choice((0.0, 1.0, 30.0)) * chance.random())
            await asyncio.shield(asyncio.ensure_future(gateway.start()))

    async def _take_redis(self) -> None:
        """Take Redis away now and then."""
        chance = random.Random(f"{self.scenario.seed} redis")
        for _ in range(self.scenario.outages):
            await asyncio.sleep(chance.uniform(0, self.scenario.pause * self.scenario.calls))
            outage: Outage = chance.choice(("refuses", "hangs"))
            self.loop.network.cut(_REDIS_PORT, outage)
            if self.scenario.forgets and outage == "refuses":
                self._redis.forget()
            await asyncio.sleep(chance.choice((0.1, 5.0, 60.0)) * chance.random())
            self.loop.network.restore(_REDIS_PORT)

    # the end

    async def _audit(self, result: BudgetTrialResult) -> None:
        """Stop the gateways, and compare what they recorded with the provider's bills."""
        scenario = self.scenario
        parts = [self.gateways] if scenario.uses_redis else [[one] for one in self.gateways]
        counted = [await self._read_counters(part[0]) for part in parts]
        for gateway in self.gateways:
            await gateway.stop()
        budgets = {
            "all": scenario.budget,
            **{f"key={name}": scenario.each for name in scenario.keys},
        }
        for part, used in zip(parts, counted, strict=True):
            own = BudgetTrialResult(scenario.budget, used=used)
            numbers = {self.gateways.index(one) for one in part}
            own.outcomes = {
                marker: outcome
                for marker, outcome in result.outcomes.items()
                if outcome.gateway in numbers
            }
            own.bills = [bill for bill in self._provider.bills if bill.marker in own.outcomes]
            own.ended = self._provider.ends
            for gateway in part:
                more = books(gateway.folder / "ledger")
                own.books.intents.update(more.intents)
                own.books.finals.update(more.finals)
            forgets = scenario.forgets or (not scenario.uses_redis and scenario.kills > 0)
            is_exact = not scenario.kills and not scenario.outages
            self.report.wrong += check(own, budgets, forgets=forgets, is_exact=is_exact)
            if scenario.places and (most := peak(own)) > scenario.places:
                self.report.wrong.append(f"{most} calls at a time, of {scenario.places}")

    async def _read_counters(self, gateway: GatewayMachine) -> dict[str, int]:
        """Return micro-USD by counter, after all reservations must have ended."""
        store, used = gateway.counter_store, dict[str, int]()
        owners: tuple[Owner, ...] = (None, *(f"of {name}" for name in self.scenario.keys))
        for owner in owners:
            counters = await store.read_counters(owner)
            used |= counters
            place = CounterDemand(
                kind="concurrency", name="x", field="concurrency|places|all", limit=1,
                all_tenants=owner is None,
            )  # fmt: skip
            answer = await self._ask(store, owner, place)
            if not isinstance(answer, Admitted):
                self.report.wrong.append(f"a place of {owner} is still reserved")
            for name, spent in counters.items():
                money = CounterDemand(
                    kind="usd", name="x", field=name, limit=spent, all_tenants=owner is None
                )
                answer = await self._ask(store, owner, money)
                if not isinstance(answer, Refusal) or answer.busy:
                    self.report.wrong.append(f"money of {name} is still reserved")
        return used

    async def _ask(self, store: CounterStore, owner: Owner, demand: CounterDemand) -> Answer:
        now = EPOCH + self.loop.time()
        request = AdmissionRequest(
            id="last", tenant=owner or "", demands=(demand,), expires_at=now + 1
        )
        answer = await store.admit(request, now)
        await store.settle(owner or "", request.id, None, None)
        return answer

    def _write_config(self) -> None:
        scenario, url = self.scenario, f"http://127.0.0.1:{_PROVIDER_PORT}"

        def at(path: str) -> dict[str, Any]:
            return {
                "base_url": f"{url}/{path}",
                "dialects": {"openai-chat": "/chat/completions"},
                "auth": "none",
                "timeouts": {"headers": 10, "first_content": 15, "idle": 10, "total": 30},
            }

        targets = [{"model": "m"}, {"model": "m", "provider": "spare"}]
        price = {name: str(rate) for name, rate in RATES.items()}
        value = {
            "version": 1,
            "keys": "keys.yaml",
            "on_redis_loss": scenario.on_redis_loss,
            "default": {"lab": "acme"},
            "cache": {"ttl": "0s"},
            "routing": {"classifier": "prior"},
            "providers": {"acme": at("acme"), "spare": at("spare")},
            "labs": {"acme": dict.fromkeys(("fast", "smart", "reasoning"), targets)},
            "models": {"m": {"price": price, "max_output": MOST}},
            "limits": [{"name": "places", "concurrency": scenario.places}] * bool(scenario.places),
            "budgets": [
                {"name": "all", "usd": str(scenario.budget), "every": "total"},
                {"name": "each", "usd": str(scenario.each), "every": "month", "per": "key"},
            ],
        }
        keys = {
            name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": f"of {name}"}
            for name, key in self._secrets.items()
        }
        (self._folder / "keys.yaml").write_bytes(jsonio.dumps(keys))
        (self._folder / "gateway.yaml").write_bytes(jsonio.dumps(value))


def simulate(seed: str) -> Report:
    """Run the scenario of a seed."""
    with tempfile.TemporaryDirectory(prefix="tiergate-simulation-") as folder:
        return Simulation(draw(seed), Path(folder)).run()
