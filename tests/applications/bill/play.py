"""Play days against `tiergate serve` with the shipped configuration, on a clock in a file."""

import struct
import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from tests.applications.bill.clients import DayContext, filler, play
from tests.applications.bill.day import NAMES, load
from tests.applications.process import CONFIG, running
from tests.applications.provider.prices import PriceList
from tests.applications.provider.provider import Charge, Provider
from tests.applications.provider.requests import ParsedRequest
from tests.clients import model_turns
from tests.e2e.world import Loop

type Json = Any

_THOUGHT = {
    "minimal": (40, 0.2), "low": (80, 0.4), "medium": (200, 1.0), "high": (800, 2.5), "xhigh": (1500, 4.0), "max": (2500, 6.0),
}  # fmt: skip
"""Tokens of reasoning by effort: a fixed number, and a number for each token of the answer."""
TIERS = ("fast", "smart", "reasoning")
QUALITIES: tuple[int | None, ...] = (None, 3, 5, 7, 9)
"""Positions of the quality dial at which the days are played; None stands for no dial."""


class ScriptedProvider(Provider):
    """The provider, with answers as long as a day's script says."""

    def __init__(self, prices: PriceList, clock: "Clock") -> None:
        super().__init__(prices, lambda: clock.now)
        self._plans: dict[str, tuple[int, int]] = {}
        self._turns = count(1)

    def begin_day(self) -> None:
        """Number turns from 1 again, so that prompts do not depend on what was played before."""
        self._plans.clear()
        self._turns = count(1)

    def plan(self, text: str, out: int, calls: int) -> str:
        """Note how long the answer to a text is; give the text with its reference."""
        ref = f"day1.{next(self._turns)}"
        self._plans[ref] = (out, calls)
        return f"{text} (ref {ref})"

    def turn(self, request: ParsedRequest, charge: Charge) -> tuple[model_turns.Turn, int]:
        out, calls = self._plans[charge.ref]
        if request.rounds < calls:
            (name, _), out = request.tools[request.rounds % len(request.tools)], 40
            answer = model_turns.Turn(calls=((name, {"path": f"src/{charge.token}.py"}),))
        else:
            answer = model_turns.Turn(text=filler(out, "answer"))
        fixed, share = _THOUGHT.get(request.effort, (0, 0.0))
        return answer, fixed + int(share * out)


class Clock:
    """A clock that the gateway reads from a file. Only `wait_until` moves it."""

    def __init__(self, file: Path, now: float) -> None:
        self._file = file
        self.now = now
        self._file.write_bytes(struct.pack("d", now))

    def wait_until(self, moment: float) -> None:
        """Move the clock forward."""
        assert moment >= self.now, "a script goes back in time"
        self.now = moment
        with self._file.open("r+b") as file:
            file.write(struct.pack("d", moment))


@dataclass(frozen=True)
class Sum:
    """The sums of one day."""

    calls: int
    usd: Decimal
    shares: dict[str, float]
    """Each tier's share of the calls that have a tier."""
    cached: float
    """Share of prompt tokens that came from the provider's prompt cache."""


def play_days(
    loop: Loop, folder: Path, quality: int | None = None, equals: Collection[str] = ()
) -> dict[str, Sum]:
    """Play all days in their order against one gateway; `quality` is a position of the dial.

    The provider's bill gives each day's sum. The ledger must agree to the last digit. The providers
    in `equals` have two replicas, each with a prompt cache of its own.
    """
    days = [load(name) for name in NAMES]
    clock = Clock(folder / "clock", days[0].conversations[0][0].at)
    provider = ScriptedProvider(PriceList(CONFIG), clock)
    command = [sys.executable, "-m", "tests.agents.clocked", str(folder / "clock")]
    position = "off" if quality is None else str(quality)
    sums: dict[str, Sum] = {}
    with running(
        loop, folder, provider=provider, command=command, equals=equals,
        TIERGATE_ROUTING__QUALITY=position,
    ) as gateway:  # fmt: skip
        stage = DayContext(gateway.address, clock.wait_until, provider.plan)
        charges_before, ids_before = 0, frozenset[str]()
        for day in days:
            provider.begin_day()
            play(day, stage)
            assert not provider.failures, provider.failures
            rows = gateway.rows(len(provider.charges))
            new_rows = [row for id_, row in rows.items() if id_ not in ids_before]
            sums[day.name] = _sum(provider.charges[charges_before:], new_rows)
            if equals:
                _check_replicas(provider.charges[charges_before:])
            charges_before, ids_before = len(provider.charges), frozenset(rows)
    return sums


def _check_replicas(charges: list[Charge]) -> None:
    """Check that both replicas served calls."""
    servers = {charge.request.header("host") for charge in charges}
    assert len(servers) == 2, servers


def _sum(charges: list[Charge], rows: list[Json]) -> Sum:
    billed = sum((charge.usd or Decimal(0) for charge in charges), Decimal(0))
    ledger_cost = sum((Decimal(row["cost"]) for row in rows), Decimal(0))
    assert ledger_cost == billed, f"the ledger has {ledger_cost}, the provider billed {billed}"
    tiers = Counter(row["tier"] for row in rows if row["tier"])
    prompts = [charge.tokens for charge in charges if charge.tokens and charge.operation == "generate"]  # fmt: skip
    return Sum(
        calls=len(charges),
        usd=billed,
        shares={tier: round(tiers[tier] / tiers.total(), 3) for tier in TIERS},
        cached=round(
            sum(prompt.read for prompt in prompts) / sum(prompt.prompt for prompt in prompts), 3
        ),
    )
