"""One simulation by seed: its machines run on one loop, faults are played, and all is audited."""

import asyncio
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, IntentRow
from tests.e2e.budget_audit import RATES, BudgetTrialResult
from tests.e2e.budget_provider import MOST
from tests.e2e.kill_audit import books
from tests.simulation.client import LONGEST_CALL, Client, SimulatedOutcome
from tests.simulation.disk import SimulatedDisk
from tests.simulation.durability import check_databases, check_safe_lines
from tests.simulation.event_loop import SimulatedLoop
from tests.simulation.faults import PROVIDER_PORT, REDIS_PORT, Faults
from tests.simulation.invariants import AuditTerms, check, check_answers, find_left
from tests.simulation.ledger_engine import Engines
from tests.simulation.liveness import find_kept_parts, find_unended, probe, read_counters
from tests.simulation.machine import GatewayMachine
from tests.simulation.provider import SimulatedProvider
from tests.simulation.redis_server import RedisServer
from tests.simulation.scenario import Scenario, draw
from tests.simulation.surroundings import EPOCH, WallClocks, replace_surroundings

_GATEWAY_PORT = 8000
_EXPIRY_SECONDS = {True: 75, False: 100}
"""Seconds after which every reservation has expired, in a short scenario and in another."""
_QUIET_SECONDS = {True: 2.5, False: 10}
"""Seconds in which settlements and feeds end."""
_TIMEOUTS = {
    True: {"headers": 3, "first_content": 4, "idle": 3, "total": 8},
    False: {"headers": 10, "first_content": 15, "idle": 10, "total": 30},
}
_MEMORY_FOLDER = "/dev/shm"  # noqa: S108 - `tempfile` names the files in it
_FAULT_SCALE = {True: 0.15, False: 1.0}


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
    trace: str = ""
    """A hash of all that happened, in its order."""
    answers: Counter[str] = field(default_factory=Counter)
    """What the clients got, in words."""
    faults: Counter[str] = field(default_factory=Counter)
    """What was played."""

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
        self._wall_clocks = WallClocks(self.loop)
        self._disk = SimulatedDisk(self.loop, scenario.seed)
        self._engines = Engines(
            self.loop.network,
            self._wall_clocks.read,
            uses_sqlite=scenario.uses_sqlite,
            shares_store=scenario.uses_redis,
        )
        self._provider = SimulatedProvider(scenario.seed, scenario.fates, scenario.slowest)
        self._redis = RedisServer(lambda: EPOCH + self.loop.time(), scenario.seed)
        environ = {"REDIS_URL": f"redis://127.0.0.1:{REDIS_PORT}/0"} if scenario.uses_redis else {}
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
                disk=self._disk,
                wall_clocks=self._wall_clocks,
            )
            for number in range(scenario.gateways)
        ]

    def run(self) -> Report:
        """Run to the end, and check everything."""
        report = self.report
        surroundings = replace_surroundings(
            self.loop, self._wall_clocks, self._engines, self.scenario.seed
        )
        try:
            with surroundings, self._disk.install():
                self.loop.run(self._run())
        except Exception as error:  # noqa: BLE001 - the seed must be in the report
            report.wrong.append(f"the simulation ended with {error!r}")
        self._redis.close()
        report.seconds, report.steps = self.loop.time(), self.loop.steps
        report.trace = self.loop.trace
        report.wrong += self.loop.errors
        return report

    async def _run(self) -> None:
        scenario, loop = self.scenario, self.loop
        with loop.on("provider"):
            await self._provider.listen(PROVIDER_PORT)
        with loop.on("redis"):
            await self._redis.listen(REDIS_PORT)
        for gateway in self.gateways:
            await gateway.start()
        ports = [gateway.port for gateway in self.gateways]
        clients = [
            Client(f"c{number}", scenario.seed, self._secrets, ports)
            for number in range(scenario.clients)
        ]
        faults = Faults(
            scenario.seed,
            loop,
            self.gateways,
            self._redis,
            self._disk,
            self._wall_clocks,
            span=scenario.plan.pause * scenario.plan.calls,
            scale=_FAULT_SCALE[scenario.is_short],
            forgets=scenario.forgets,
        )
        await asyncio.gather(
            faults.play(scenario.faults), *(client.run(scenario.plan) for client in clients)
        )
        self.report.faults = faults.played
        outcomes: dict[str, SimulatedOutcome] = {}
        for client in clients:
            outcomes |= client.outcomes
        self.report.wrong += await find_unended(self.gateways, outcomes, LONGEST_CALL)
        # Rows and settlements that a server missed are written; then reservations expire.
        await asyncio.sleep(_QUIET_SECONDS[scenario.is_short])
        if scenario.faults:
            loop.skip(_EXPIRY_SECONDS[scenario.is_short])
            await asyncio.sleep(_QUIET_SECONDS[scenario.is_short])
        self.report.wrong += find_kept_parts(self.gateways, self._provider)
        self.report.answers.update(
            f"{one.status} {one.code}".strip() if one.status else "none"
            for one in outcomes.values()
        )
        await self._audit(outcomes, ports)

    # the end

    async def _audit(self, outcomes: dict[str, SimulatedOutcome], ports: list[int]) -> None:
        """Stop the gateways, and compare what they recorded with the provider's bills."""
        scenario, wrong = self.scenario, self.report.wrong
        parts = [self.gateways] if scenario.uses_redis else [[one] for one in self.gateways]
        owners = (None, *(f"of {name}" for name in scenario.keys))
        counted = []
        for part in parts:
            used, stuck = await read_counters(part[0].counter_store, owners, self._wall_clocks)
            counted += [used] * len(part)
            wrong += stuck
        budgets = {
            "all": scenario.budget,
            **{f"key={name}": scenario.each for name in scenario.keys},
        }
        bills = list(self._provider.bills)
        self._provider.calm_down()
        prober, key = Client("probe", scenario.seed, self._secrets, ports), scenario.keys[0]
        left = [
            min(
                find_left(used, "all", scenario.budget),
                find_left(used, f"key={key}", scenario.each),
            )
            for used in counted
        ]
        wrong += await probe(prober, key, len(ports), left)
        for gateway in self.gateways:
            await gateway.stop()
        audit = AuditTerms(
            budgets=budgets,
            places=scenario.places,
            is_exact=scenario.is_exact,
            lost_rows=self._disk.lost_rows,
            lost_intents=self._disk.lost_intents,
            kills=scenario.kills,
            waits_for_disk=scenario.durability == "each",
        )
        for part in parts:
            numbers = {self.gateways.index(one) for one in part}
            own = BudgetTrialResult(scenario.budget, used=counted[min(numbers)])
            own.outcomes = {
                marker: outcome
                for marker, outcome in outcomes.items()
                if outcome.gateway in numbers
            }
            own.bills = [bill for bill in bills if bill.marker in own.outcomes]
            own.ended = self._provider.ends
            for folder in {gateway.folder for gateway in part}:
                more = books(folder / "ledger")
                own.books.intents.update(select_known(more.intents, own.outcomes))
                own.books.finals.update(select_known(more.finals, own.outcomes))
            forgets = scenario.forgets or (not scenario.uses_redis and scenario.kills > 0)
            wrong += check(own, audit, forgets=forgets)
        wrong += check_answers(outcomes, scenario.cache_scope)
        folders = {gateway.folder / "ledger" for gateway in self.gateways}
        wrong += check_safe_lines(self._disk.safe_lines)
        databases = {}
        if not scenario.uses_sqlite:
            databases["store"] = self._engines.list_stored_rows()
        if scenario.has_sink:
            databases["sink"] = self._engines.sink.rows
        wrong += check_databases(databases, folders, self._disk.lost_finals)

    def _write_config(self) -> None:
        scenario, url = self.scenario, f"http://127.0.0.1:{PROVIDER_PORT}"

        def at(path: str) -> dict[str, Any]:
            return {
                "base_url": f"{url}/{path}",
                "dialects": {"openai-chat": "/chat/completions"},
                "auth": "none",
                "timeouts": _TIMEOUTS[scenario.is_short],
            }

        targets = [{"model": "m"}, {"model": "m", "provider": "spare"}]
        price = {name: str(rate) for name, rate in RATES.items()}
        cache = {"scope": scenario.cache_scope} if scenario.cache_scope else {"ttl": "0s"}
        value = {
            "version": 1,
            "keys": "keys.yaml",
            "on_redis_loss": scenario.on_redis_loss,
            "default": {"lab": "acme"},
            "cache": cache,
            "routing": {"classifier": "prior"},
            "providers": {"acme": at("acme"), "spare": at("spare")},
            "labs": {"acme": dict.fromkeys(("fast", "smart", "reasoning"), targets)},
            "models": {"m": {"price": price, "max_output": MOST}},
            "ledger": {
                "durability": scenario.durability,
                "on_disk_full": scenario.on_disk_full,
                "sinks": {"audit": "clickhouse://127.0.0.1/ledger"} if scenario.has_sink else {},
            },
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


def select_known[Row: (IntentRow, FinalRow)](
    rows: Mapping[str, list[Row]], outcomes: Container[str]
) -> dict[str, list[Row]]:
    """Return the rows of calls with an outcome: those of probes are no part of the audit."""
    return {id: found for id, found in rows.items() if found[0].tags[0] in outcomes}


def _find_memory() -> str | None:
    """Return a folder of files in memory; None if this system has none."""
    return _MEMORY_FOLDER if os.access(_MEMORY_FOLDER, os.W_OK) else None


def simulate(seed: str) -> Report:
    """Run the scenario of a seed."""
    with tempfile.TemporaryDirectory(prefix="tiergate-simulation-", dir=_find_memory()) as folder:
        return Simulation(draw(seed), Path(folder)).run()
