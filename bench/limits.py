"""Measure what limits and budgets cost a call: CPU of this process, counted here and in Redis.

    python -m bench.limits

Calls pass the limiter as they do in the gateway. Each needs five counters: requests, tokens and
concurrent calls of its key, and USD of its key and of all keys. `money alone` needs only the last
two, and `leased` serves these from leases. The limiter admits a call, others run meanwhile, and it
settles the usage. 32 calls are in flight; their Redis commands of one
event-loop iteration share one write. The CPU of the Redis server is not counted. Exit status: 0 the
bound holds, 1 it was missed.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC
from decimal import Decimal
from itertools import count
from typing import NoReturn

import uvloop

from bench import cost, redis_process
from bench.cost import CALLS, Cost
from gateway.core.call import Call, Key
from gateway.core.decision import Decision, Plan
from gateway.core.ledger_rows import FinalRow
from gateway.core.price import Price
from gateway.core.prompt import Prompt
from gateway.core.rates import Rates
from gateway.core.target import Provider, Target
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.counters import CounterDemand, CounterStore, Owner
from gateway.limits.limiter import Limiter
from gateway.limits.memory import MemoryCounters
from gateway.limits.redis import RedisCounters
from gateway.limits.rules import LimitRules
from gateway.settings.schema.limits import BudgetPart, LimitPart

BOUND = 75.0
"""Microseconds of CPU that admission and settlement may cost a call together.

One budget is of all tenants and the other counters are of one, so that a call needs both in Redis.
"""
FLIGHT = 32
_DEADLINE = 10.0
_RUN = count()

_LIMIT_PARTS = [
    LimitPart.model_validate(
        {"name": "team", "per": "key", "requests": "1000M/m", "tokens": "1000000M/m", "concurrency": 512}
    )
]  # fmt: skip
_BUDGET_PARTS = [
    BudgetPart.model_validate({"name": "key", "per": "key", "usd": 100_000, "every": "day"}),
    BudgetPart.model_validate({"name": "all", "usd": 1_000_000, "every": "month", "soft": 0.8}),
]
_LIMITS = LimitRules(_LIMIT_PARTS, _BUDGET_PARTS, UTC)
_MONEY_ALONE = LimitRules([], _BUDGET_PARTS, UTC)
_KEYS = [Key(name=f"key-{number}") for number in range(10)]
_PRICE = Price(rates=Rates(input=Decimal(1), output=Decimal(4)), version="v1")
_TARGET = Target(provider=Provider(name="p", urls={}), model="m", price=_PRICE)
_PLAN = Plan(targets=(_TARGET,), dialects=("openai-chat",))
_DECISION = Decision(lab="acme", tier="smart", source="classifier")
_PROMPT = Prompt(model="auto", chars=3_600, max_output=400)


def wants(calls: int) -> Iterator[UsageBound]:
    """Yield calls; every tenth has the same key."""
    run = f"tg-{time.time_ns():x}-{next(_RUN)}"
    for number in range(calls):
        call = Call(
            id=f"{run}-{number:x}", dialect="openai-chat", operation="generate", body=b"{}",
            key=_KEYS[number % 10], received_at=time.time(), started_at=0.0,
        )  # fmt: skip
        yield UsageBound(call=call, prompt=_PROMPT, prompt_tokens=900, prompt_bound=5_600)


def measure(
    rounds: int,
    calls: int = CALLS,
    clock: Callable[[], float] = time.process_time,
    program: str | None = None,
) -> list[Cost]:
    """Measure admission and settlement. `clock` counts seconds; `program` is a Redis server."""

    def run(url: str | None, limits: LimitRules = _LIMITS, *, leases: bool = False) -> float:
        passes = (
            uvloop.run(_pass(url, calls, clock, limits, leases=leases)) for _ in range(rounds)
        )
        return min(passes)

    with ExitStack() as stack:
        costs = [Cost("in memory", run(None), BOUND)]
        program = program or redis_process.program()
        if program is not None:
            url = stack.enter_context(redis_process.serving(program))
            costs.append(Cost("in Redis", run(url), BOUND))
            costs.append(Cost("in Redis, money alone", run(url, _MONEY_ALONE), BOUND))
            costs.append(Cost("in Redis, leased", run(url, _MONEY_ALONE, leases=True), BOUND))
        return costs


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.process_time) -> int:
    """Measures and prints; returns the exit status."""
    return cost.main("bench.limits", __doc__, measure, BOUND, arguments, clock)


async def _pass(
    url: str | None, calls: int, clock: Callable[[], float], limits: LimitRules, *, leases: bool
) -> float:
    """Return the microseconds of CPU per call."""
    meter = _meter(url)
    gate = Limiter(
        limits, meter, _silent, read_spent=_nothing, alert=_silent, make_local_store=MemoryCounters
    )
    await _run_calls(gate, 10)  # creates the counters of money
    if leases:
        await _take_leases(gate, calls)
    made = [(want, _entry(want)) for want in wants(calls)]
    before = clock()
    await _run_all(gate, made)
    microseconds = (clock() - before) / calls * 1e6
    await gate.close()
    await meter.close()
    return microseconds


async def _run_calls(gate: Limiter, calls: int) -> None:
    await _run_all(gate, [(want, _entry(want)) for want in wants(calls)])


async def _run_all(gate: Limiter, made: Iterable[tuple[UsageBound, FinalRow]]) -> None:
    queue = iter(made)

    async def client() -> None:
        for want, entry in queue:
            await gate.reserve(want, _DECISION, _PLAN, _never)
            await asyncio.sleep(0)  # let the call run
            gate.settle(entry)

    await asyncio.gather(*(client() for _ in range(FLIGHT)))
    await gate.wait_settled()


async def _take_leases(gate: Limiter, calls: int) -> None:
    """Make the counters busy, so that the gateway leases what twice as many calls reserve."""
    looks = iter([0.0])

    async def look_once(_: float) -> None:
        if next(looks, None) is None:
            raise asyncio.CancelledError

    await _run_calls(gate, 2 * calls)
    await asyncio.gather(gate.renew_leases(look_once), return_exceptions=True)


def _meter(url: str | None) -> CounterStore:
    if url is None:
        return MemoryCounters()
    return RedisCounters.from_url(url, note=_silent, clock=time.monotonic, deadline=_DEADLINE)


def _entry(want: UsageBound) -> FinalRow:
    return FinalRow(
        id=want.call.id, at=want.call.received_at, key=want.call.key.name, dialect="openai-chat",
        config="c", state="settled", tier="smart", attempts=1, input=700, output=300,
        cost=Decimal("0.001900"), wasted=Decimal(0),
    )  # fmt: skip


async def _nothing(_: Owner, __: CounterDemand) -> int:
    return 0


def _silent(*_: object, **__: object) -> None: ...


def _never(_: object) -> NoReturn:
    raise AssertionError("nothing is sent to a cheaper tier")


if __name__ == "__main__":
    sys.exit(main())
