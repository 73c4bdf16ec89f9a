"""What happens in a simulation, drawn from its seed: gateways, clients, limits and faults.

A seed with an `s`, as `s7`, draws a short scenario: one or two gateways and few calls.
"""

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from tests.e2e.budget_provider import Fate
from tests.simulation.client import ClientPlan
from tests.simulation.faults import FaultKind

SHORT_PREFIX = "s"
_FATES: dict[Fate, int] = {
    "answer": 48, "slow": 8, "mute": 8, "refused": 12, "empty": 6, "cut": 6, "broken": 6, "silent": 6,
}  # fmt: skip
_KEYS = ("ann", "bob", "cat", "dan")


@dataclass
class Scenario:
    """What happens in one simulation."""

    seed: str
    gateways: int
    uses_redis: bool
    keys: list[str]
    clients: int
    plan: ClientPlan
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
    faults: dict[FaultKind, int]
    """How many faults of each kind are played."""
    forgets: bool
    """True if an outage takes all data of Redis; then the gateways share one ledger."""
    cache_scope: Literal["", "key", "all"]
    """Who shares answers; empty is without a cache."""
    durability: str
    on_disk_full: str
    uses_sqlite: bool
    """True if the store is a SQLite file of the gateway, and not a shared server."""
    has_sink: bool

    @property
    def is_exact(self) -> bool:
        """True if nothing fails but providers and clients."""
        return not self.faults

    @property
    def is_short(self) -> bool:
        """True if waits are short, too."""
        return self.seed.startswith(SHORT_PREFIX)

    @property
    def kills(self) -> int:
        """The number of gateways that are killed, by a signal or a power cut."""
        return self.faults.get("kill", 0) + self.faults.get("power cut", 0)


def draw(seed: str) -> Scenario:
    """Draw a scenario from a seed."""
    chance = random.Random(f"{seed} scenario")
    is_short = seed.startswith(SHORT_PREFIX)
    uses_redis = chance.random() < 0.6
    clients, calls = chance.randint(1, 12), chance.randint(1, 8)
    if is_short:
        clients, calls = chance.randint(1, 4), chance.randint(1, 3)
    is_calm = chance.random() < 0.2
    drawn = chance.sample(list(_FATES), chance.randint(2, len(_FATES)))
    most = Decimal(clients * calls) * Decimal("0.005")
    cache_scope: Literal["", "key", "all"] = chance.choice(("", "", "key", "key", "all"))
    scenario = Scenario(
        seed=seed,
        gateways=chance.randint(1, 2 if is_short else 3),
        uses_redis=uses_redis,
        keys=list(_KEYS[: chance.randint(1, 2 if is_short else 4)]),
        clients=clients,
        plan=ClientPlan(
            calls=calls,
            streamed=chance.choice((0.0, 0.5, 1.0)),
            leaving=0.0 if is_calm else chance.choice((0.0, 0.3, 0.6)),
            shared=chance.choice((0.3, 0.8)) if cache_scope else 0.0,
            pause=chance.choice((0.05, 1.0) if is_short else (0.05, 1.0, 20.0)),
            patience=chance.choice((0.01, 0.3, 10.0)),
        ),
        slowest=chance.choice((0.01, 0.5) if is_short else (0.01, 0.5, 20.0)),
        fates={"answer": 1}
        if is_calm
        else {fate: _FATES[fate] for fate in _FATES if fate in {*drawn, "answer"}},
        budget=round(most * Decimal(str(chance.choice((0.1, 0.5, 2)))), 6),
        each=round(most * Decimal(str(chance.choice((0.05, 0.3, 2)))), 6),
        places=chance.choice((1, 3, 150)),
        on_redis_loss=chance.choice(("closed", "lease")),
        faults={},
        forgets=False,
        cache_scope=cache_scope,
        durability=chance.choice(("group", "group", "each")),
        on_disk_full="refuse",
        uses_sqlite=chance.random() < (0.02 if is_short else 0.3),
        has_sink=chance.random() < 0.5,
    )
    if not is_calm:
        _draw_faults(scenario, chance)
    if uses_redis and not is_short and chance.random() < 0.3:
        _make_busy(scenario)
    return scenario


def _draw_faults(scenario: Scenario, chance: random.Random) -> None:
    """Draw what fails beside providers and clients."""
    counts: dict[FaultKind, tuple[int, ...]] = {
        "kill": (0, 0, 1, 3),
        "power cut": (0, 0, 0, 1),
        "redis outage": (0, 0, 1, 2) if scenario.uses_redis else (0,),
        "store outage": (0, 0, 0, 1) if not scenario.uses_sqlite else (0,),
        "sink outage": (0, 1) if scenario.has_sink else (0,),
        "partition": (0, 0, 1, 2),
        "slow link": (0, 0, 1),
        "clock jump": (0, 0, 1, 2),
        "bad disk": (0, 0, 1),
    }
    most = 1 if scenario.is_short else 3
    drawn = {kind: min(most, chance.choice(options)) for kind, options in counts.items()}
    if scenario.is_short and chance.random() < 0.7:  # most short scenarios have one or two kinds
        kept = chance.sample(list(drawn), 4)
        drawn = {kind: count for kind, count in drawn.items() if kind in kept}
    scenario.faults = {kind: count for kind, count in drawn.items() if count}
    if not scenario.kills:
        scenario.forgets = "redis outage" in scenario.faults and chance.random() < 0.5
        scenario.on_disk_full = chance.choice(("refuse", "serve"))


def _make_busy(scenario: Scenario) -> None:
    """Let so many calls come at a time that gateways lease slices of the budgets."""
    chance = random.Random(f"{scenario.seed} busy")
    scenario.clients = chance.randint(6, 12)
    scenario.plan = scenario.plan._replace(calls=chance.randint(10, 20), pause=0.2)
    scenario.slowest, scenario.places = chance.choice((0.01, 0.5)), 0
    most = Decimal(scenario.clients * scenario.plan.calls) * Decimal("0.003")
    scenario.budget = round(most * Decimal(str(chance.choice((0.3, 1, 2)))), 6)
    scenario.each = round(scenario.budget * Decimal(str(chance.choice((0.5, 1)))), 6)
