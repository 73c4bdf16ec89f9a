"""The trial: a Cluster's primary dies under calls against a budget, again and again.

`python -m tests.e2e.cluster_trial ROUNDS [SEED]` prints three figures for each round: the admitted
calls, the counter after the failover, and the reservations of the unreplicated window. The dead
primary took those, and the replica that replaced it never heard of them. Only they may overspend
the budget.
"""

import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand, Refusal
from gateway.limits.redis import RedisCounters
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.scripts import make_key, make_tag
from tests.conftest import redis_program
from tests.e2e.redis_port import Place
from tests.state.redis_groups import Nodes

WORKERS = 32
HOLD = 1000
"""Micro-USD that a call reserves."""
_LIFE = 3600
"""Seconds that a reservation lives: none expires during the trial."""


@dataclass
class ClusterTrialResult:
    """The counts of one round."""

    passed: int
    """Calls that the counter stores admitted: before, during and after the failover."""
    lost: int
    """Calls whose answer was lost: each may have a reservation, or none."""
    over: int
    counted: int
    """Calls that the counter shows at the end."""
    away: float
    """Seconds in which nothing could be counted."""
    window: int
    """Calls that the dead primary admitted and its replica never heard of."""


async def trial(
    nodes: Nodes, tenant: str, limit: int, chance: random.Random, *, cut: bool
) -> ClusterTrialResult:
    """Spend a budget of `limit` calls while the primary that counts them dies.

    `cut` disconnects the primary from its replica for a moment before that.
    """
    notes: list[str] = []
    meters = [
        RedisCounters.from_url(nodes.url, note=notes.append, clock=time.monotonic) for _ in range(3)
    ]
    need = CounterDemand(
        kind="usd", name="trial", field="usd|total", limit=limit * HOLD, amount=HOLD
    )
    result = ClusterTrialResult(0, 0, 0, 0, 0.0, 0)
    times: list[float] = []
    admitted: set[bytes] = set()
    spent, holds = (make_key(make_tag(tenant), name).decode() for name in (b"spent", b"holds"))
    primary, replica = nodes.pair(spent)
    ended = asyncio.Event()

    async def work(number: int) -> None:
        at = 0
        while not ended.is_set():
            at += 1
            now = time.time()
            call = f"{number}-{at}"
            request = AdmissionRequest(
                id=call, tenant=tenant, demands=(need,), expires_at=now + _LIFE
            )
            try:
                decision = await meters[number % 3].admit(request, now)
            except StoreUnavailable:
                result.lost += 1
                times.append(time.monotonic())
                await asyncio.sleep(0.02)
                continue
            if isinstance(decision, Admitted):
                result.passed += 1
                admitted.add(call.encode())
            elif isinstance(decision, Refusal):
                result.over += 1
                if times:
                    ended.set()
            await asyncio.sleep(0.002)

    workers = [asyncio.create_task(work(number)) for number in range(WORKERS)]
    part = limit * chance.uniform(0.2, 0.5)
    async with asyncio.timeout(60):
        while result.passed < part:  # noqa: ASYNC110 - others count it
            await asyncio.sleep(0.001)
    times.clear()
    await _kill(primary, replica, cut=cut)
    async with asyncio.timeout(60):
        await asyncio.gather(*workers)
    # Each counted call has a reservation. An admitted call without one was in the window.
    with replica.admin() as admin:
        result.window = len(admitted.difference(admin.hkeys(holds)))
    used = await meters[0].read_counters(tenant)
    result.counted = used["usd|total"] // HOLD
    result.away = times[-1] - times[0] if times else 0.0
    for meter in meters:
        await meter.close()
    return result


async def _kill(primary: Place, replica: Place, *, cut: bool) -> None:
    """Kill a primary. `cut` first disconnects its replica while the primary still admits calls."""
    if cut:
        with replica.stopped():
            with primary.admin() as admin:
                admin.client_kill_filter(_type="replica")
            await asyncio.sleep(0.03)
            primary.kill()
    primary.kill()


def main(rounds: int, seed: int) -> int:
    """Run the trial; return 1 if a budget was overspent by more than the window."""
    program, chance = redis_program(), random.Random(seed)
    assert program is not None, "no server of the Redis protocol"
    wrong = 0
    for number in range(rounds):
        limit = chance.choice([5_000, 10_000])
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            Nodes(program, Path(folder)) as nodes,
        ):
            result = asyncio.run(trial(nodes, f"trial{number}", limit, chance, cut=number % 2 == 1))
        holds = result.passed <= limit + result.window and result.counted <= limit
        wrong += not holds
        print(
            f"round {number}: budget {limit} calls, admitted {result.passed}, counted "
            f"{result.counted}, refused {result.over}, answers lost {result.lost}, away "
            f"{result.away:.1f} s, unreplicated holds {result.window} "
            f"({result.window * HOLD} micro-USD): {'holds' if holds else 'OVERSPENT'}",
            flush=True,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sys.exit(main(words[0] if words else 3, words[1] if words[1:] else 1))
