"""What limits and budgets cost a call: CPU in this process, counted in memory.

    python -m bench.limits

A call is admitted by five counters at once, runs while others do, and is settled with what it used:
requests, tokens and calls at once of its key, USD of its key and of all. Exit status: 0 the bound
holds, 1 it was missed.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC

from bench import cost
from bench.cost import CALLS, Cost
from gateway.limits.memory import Memory
from gateway.limits.meter import Ask, Need, Passed
from gateway.limits.rule import Limits
from gateway.settings.limits import BudgetPart, LimitPart

BOUND = 20.0
"""Microseconds of CPU that admission and settlement may cost a call together."""
FLIGHT = 32
_NOW = 1_795_000_000.0

_LIMITS = Limits(
    [
        LimitPart.model_validate(
            {"name": "team", "per": "key", "requests": "1M/m", "tokens": "1000000M/m", "concurrency": 512}
        )
    ],
    [
        BudgetPart.model_validate({"name": "key", "per": "key", "usd": 100_000, "every": "day"}),
        BudgetPart.model_validate({"name": "all", "usd": 1_000_000, "every": "month", "soft": 0.8}),
    ],
    UTC,
)  # fmt: skip


def needs(number: int) -> tuple[Need, ...]:
    """The five needs of a call; every tenth call is another key's."""
    key = f"key-{number % 10}"
    return _LIMITS.needs(
        key=key, tenant="default", tags=(), tier="smart", now=_NOW, tokens=900, micro=9_000
    )


def measure(
    rounds: int, calls: int = CALLS, clock: Callable[[], float] = time.process_time
) -> list[Cost]:
    """Working out the needs, and admission and settlement. `clock` counts seconds."""
    made = min(_make(calls, clock) for _ in range(rounds))
    passed = min(asyncio.run(_pass(calls, clock)) for _ in range(rounds))
    return [Cost("needs", made), Cost("admit and settle", passed, BOUND)]


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.process_time) -> int:
    """Measures and prints; returns the exit status."""
    return cost.main("bench.limits", __doc__, measure, BOUND, arguments, clock)


def _make(calls: int, clock: Callable[[], float]) -> float:
    before = clock()
    for number in range(calls):
        needs(number)
    return (clock() - before) / calls * 1e6


async def _pass(calls: int, clock: Callable[[], float]) -> float:
    meter = Memory()
    asks = [
        Ask(id=f"tg-{number:023x}", tenant="default", needs=needs(number), expires=_NOW + 660)
        for number in range(calls)
    ]
    flight = deque[str]()
    before = clock()
    for number, ask in enumerate(asks):
        if not isinstance(await meter.admit(ask, _NOW + number / 1000), Passed):
            # The counters of money are not there yet.
            for need in ask.needs[3:]:
                await meter.seed("default", need.field, 0)
            await meter.admit(ask, _NOW + number / 1000)
        flight.append(ask.id)
        if len(flight) == FLIGHT:
            await meter.settle("default", flight.popleft(), 300, 2_000)
    for id in flight:
        await meter.settle("default", id, 300, 2_000)
    return (clock() - before) / calls * 1e6


if __name__ == "__main__":
    sys.exit(main())
