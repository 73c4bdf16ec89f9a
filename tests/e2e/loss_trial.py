"""The trial of a lost Redis: three gateways under load, and what they spend beyond their budgets.

`python -m tests.e2e.loss_trial ROUNDS [SEED]` is the long form: each round plays each fault, and
prints the overshoot of each budget. The gateways are of one machine: they share a ledger. Each has
a connection to Redis of its own, which the trial can cut.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from gateway.limits.redis import QUIET_SECONDS
from gateway.state.redis.scripts import make_keys
from tests.conftest import redis_program
from tests.e2e.budget_audit import MICRO, BudgetTrialResult, check_budget, cost
from tests.e2e.budget_provider import read
from tests.e2e.budget_trial import GATEWAYS, OWNERS, Bounds, Load, TrialGateway, write_config
from tests.e2e.child import Child, until
from tests.e2e.redis_path import RedisPath
from tests.e2e.redis_port import Place

_PAUSES = (0.05, 3.0)
"""The shortest and the longest pause or partition, in seconds."""
_LONG_PAUSES = (0.5, 6.0)
"""The shortest and the longest of two faults at once: others wait 3 s."""
_PATIENCE = 20.0
_PAUSE = 1.5
"""The longest time of a client between two calls, in seconds."""
BOUNDS = Bounds("0.2", "0.1", "0.05", 0)
"""Each budget is used up in a round. No limit counts, so that leases can serve calls."""
_FATES = ("answer", "slow")
"""The provider bills all of an answer that the gateway gets, so few reservations stay charged."""
_ROOT = Path(__file__).parents[2]


class LossTrial:
    """Three gateways, their Redis with its replica, and the paths between them."""

    def __init__(self, folder: Path, program: str, chance: random.Random) -> None:
        self.chance = chance
        self.primary, self.replica = Place(program, folder), Place(program, folder)
        self.paths: list[RedisPath] = []
        self.gateways: list[TrialGateway] = []

    async def kill_gateway(self) -> None:
        await asyncio.to_thread(self.chance.choice(self.gateways).kill)

    async def pause_gateway(self) -> None:
        with self.chance.choice(self.gateways).stopped():
            await asyncio.sleep(self.chance.uniform(*_PAUSES))

    async def pause_redis(self) -> None:
        with self.primary.stopped():
            await asyncio.sleep(self.chance.uniform(*_PAUSES))

    async def cut_path(self) -> None:
        path = self.chance.choice(self.paths)
        path.cut()
        await asyncio.sleep(self.chance.uniform(*_PAUSES))
        path.heal()

    async def lose_redis(self) -> None:
        """Kill Redis for the rest of the round."""
        await asyncio.to_thread(self.primary.kill)

    async def forget_all(self) -> None:
        def flush() -> None:
            with self.primary.admin() as admin:
                admin.flushall()

        await asyncio.to_thread(flush)

    async def fail_over(self) -> None:
        """Disconnect the replica, kill the primary soon after, and promote the replica."""

        def promote() -> None:
            with self.replica.stopped():
                with self.primary.admin() as primary:
                    primary.client_kill_filter(_type="replica")
                time.sleep(0.05)  # the primary admits calls that its replica never hears of
                self.primary.kill()
            with self.replica.admin() as replica:
                replica.replicaof("NO", "ONE")

        await asyncio.to_thread(promote)
        self.primary, self.replica = self.replica, self.primary
        for path in self.paths:
            path.lead_to(self.primary.port)

    async def flush_beside_a_pause(self) -> None:
        """Flush Redis while a gateway is paused, perhaps for longer than others wait."""
        with self.chance.choice(self.gateways).stopped():
            await self.forget_all()
            await asyncio.sleep(self.chance.uniform(*_LONG_PAUSES))

    async def flush_beside_a_kill(self) -> None:
        """Flush Redis while a gateway is dead, perhaps for longer than others wait."""
        gateway = self.chance.choice(self.gateways)
        await asyncio.to_thread(gateway.close)
        await self.forget_all()
        await asyncio.sleep(self.chance.uniform(*_LONG_PAUSES))
        await asyncio.to_thread(gateway.start)

    async def flush_beside_a_partition(self) -> None:
        """Flush Redis while a gateway loses all that it sends to Redis, and all answers."""
        with self.chance.choice(self.paths).partitioned():
            await self.forget_all()
            await asyncio.sleep(self.chance.uniform(*_LONG_PAUSES))

    async def fail_over_beside_a_kill(self) -> None:
        """Fail over while a gateway is dead, perhaps for longer than others wait."""
        gateway = self.chance.choice(self.gateways)
        await asyncio.to_thread(gateway.close)
        await self.fail_over()
        await asyncio.sleep(self.chance.uniform(*_LONG_PAUSES))
        await asyncio.to_thread(gateway.start)


FAULTS: dict[str, tuple[Callable[[LossTrial], Coroutine[Any, Any, None]], int]] = {
    "none": (LossTrial.kill_gateway, 0),
    "kill -9 of a gateway": (LossTrial.kill_gateway, 2),
    "a gateway paused": (LossTrial.pause_gateway, 2),
    "Redis paused": (LossTrial.pause_redis, 2),
    "a gateway cut from Redis": (LossTrial.cut_path, 2),
    "Redis killed for good": (LossTrial.lose_redis, 1),
    "FLUSHALL": (LossTrial.forget_all, 2),
    "failover to a replica": (LossTrial.fail_over, 1),
    "FLUSHALL while a gateway is paused": (LossTrial.flush_beside_a_pause, 1),
    "FLUSHALL while a gateway is dead": (LossTrial.flush_beside_a_kill, 1),
    "FLUSHALL while a gateway is partitioned": (LossTrial.flush_beside_a_partition, 1),
    "failover while a gateway is dead": (LossTrial.fail_over_beside_a_kill, 1),
}
"""Each fault, and how often it occurs in a round."""


_PATH_FAULTS = ("cut from Redis", "failover", "partitioned")
"""The faults that need a path between each gateway and Redis."""


def _loses_counters(fault: str) -> bool:
    """Return True if counters begin anew from the ledger.

    The ledger has an estimate of what a client did not wait for, or a gateway: both wait longer.
    """
    return "FLUSHALL" in fault or "failover" in fault


class Overshoot(NamedTuple):
    """The outcome of a round."""

    budget: str
    billed: Decimal
    """Micro-USD that the provider billed."""
    limit: Decimal
    counted: int
    """Micro-USD that Redis counts at the end; 0 if it is gone."""

    @property
    def over(self) -> Decimal:
        return max(Decimal(0), self.billed - self.limit)


class LossTrialResult(NamedTuple):
    """The records of a round."""

    overshoots: list[Overshoot]
    statuses: Counter[str]
    peak: int
    wrong: list[str]


def trial(
    folder: Path, fault: str, seed: str, *, clients: int, calls: int = 5, loss: str = "lease"
) -> LossTrialResult:
    """Run one round against the budgets, with one kind of fault."""
    program = redis_program()
    assert program is not None, "no server of the Redis protocol"
    result = BudgetTrialResult(Decimal(BOUNDS.all))
    stage = LossTrial(folder, program, random.Random(f"{seed} {fault}"))
    book = folder / "book"
    book.touch()
    provider = Child(
        [sys.executable, "-m", "tests.e2e.budget_provider", str(book), seed, *_FATES],
        folder / "provider", PYTHONPATH=str(_ROOT),
    )  # fmt: skip
    try:
        stage.primary.start("--repl-diskless-sync-delay", "0")
        if "failover" in fault:
            stage.replica.start("--replicaof", "127.0.0.1", str(stage.primary.port))
            until(lambda: _is_synced(stage.replica), "a replica that has copied all")
        url = until(lambda: provider.out.strip(), "its address")  # noqa: PLW0108 - read anew each time
        config = write_config(
            folder, url, BOUNDS, loss, patience=_PATIENCE if _loses_counters(fault) else 1.0
        )
        asyncio.run(_run(stage, folder, config, result, fault, seed, clients, calls))
        result.bills, result.ended = read(book)
        if fault != "Redis killed for good":
            with stage.primary.admin() as admin:
                for owner in OWNERS:
                    spent: Any = admin.hgetall(make_keys(owner)[0])
                    result.used |= {name.decode(): int(value) for name, value in spent.items()}
    finally:
        for gateway in stage.gateways:
            gateway.close()
        for path in stage.paths:
            path.close()
        provider.stop()
        stage.primary.kill()
        stage.replica.kill()
    return _judge(result, is_counted=fault != "Redis killed for good")


def _is_synced(replica: Place) -> bool:
    with suppress(OSError), replica.admin() as admin:
        return bool(admin.info("replication")["master_link_status"] == "up")
    return False


async def _run(
    stage: LossTrial,
    folder: Path,
    config: Path,
    result: BudgetTrialResult,
    fault: str,
    seed: str,
    clients: int,
    calls: int,
) -> None:
    for number in range(GATEWAYS):
        port = stage.primary.port
        if any(part in fault for part in _PATH_FAULTS):
            stage.paths.append(RedisPath(folder, f"path{number}", port))
            port = stage.paths[-1].port
        stage.gateways.append(
            TrialGateway(
                folder / f"gateway{number}", config, f"redis://127.0.0.1:{port}/0", folder / "data"
            )
        )
    for gateway in stage.gateways:
        await asyncio.to_thread(gateway.start)
    await asyncio.sleep(QUIET_SECONDS)  # counters begin then, so faults meet running calls
    leaving = 0.0 if _loses_counters(fault) else 0.05
    load = asyncio.create_task(
        Load(stage.gateways, result, seed, streamed=1.0, pause=_PAUSE, leaving=leaving).run(
            clients, calls
        )
    )
    play, times = FAULTS[fault]
    for _ in range(times):
        await asyncio.sleep(stage.chance.uniform(0.3, 1.5))
        if load.done():
            break
        await play(stage)
    await load
    for gateway in stage.gateways:
        if not await asyncio.to_thread(gateway.stop):
            result.wrong.append("a gateway did not stop")


def _judge(result: BudgetTrialResult, *, is_counted: bool) -> LossTrialResult:
    limits = {"all": result.budget, "own=ann": Decimal(BOUNDS.own)}
    limits |= {f"key={name}": Decimal(BOUNDS.each) for name in ("ann", "bob", "cat")}
    overshoots: list[Overshoot] = []
    wrong = list(result.wrong)
    for subject, usd in limits.items():
        key = subject.partition("=")[2]
        bills = [
            bill for bill in result.bills if not key or result.outcomes[bill.marker].key == key
        ]
        counted = sum(
            micros for name, micros in result.used.items() if name.split("|")[2] == subject
        )
        overshoots.append(
            Overshoot(subject, sum(map(cost, bills), Decimal(0)), usd * MICRO, counted)
        )
        wrong += [
            line
            for line in check_budget(result, subject, usd)
            if is_counted or "are counted" not in line
        ]
    statuses = Counter(
        f"{outcome.status} {outcome.code}".strip() for outcome in result.outcomes.values()
    )
    return LossTrialResult(overshoots, statuses, result.peak, wrong)


def main(rounds: int, seed: str) -> int:
    """Play each fault in each round, print the overshoot, and return the exit status."""
    wrong = 0
    for number in range(rounds):
        for fault in FAULTS:
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="tiergate-loss-") as folder:
                result = trial(Path(folder), fault, f"{seed} {number}", clients=300)
            over = max(item.over for item in result.overshoots)
            spent = result.overshoots[0]
            print(
                f"{fault}: overshoot {over:,} micro-USD; billed {spent.billed:,} of "
                f"{spent.limit:,}, counted {spent.counted:,}; {result.peak} streams at a time; "
                f"{time.monotonic() - began:.0f} s"
            )
            print(f"  answers: {dict(sorted(result.statuses.items()))}")
            print("\n".join(f"  {line}" for line in result.wrong[:10]), flush=True)
            wrong += len(result.wrong)
    print(f"{rounds} rounds, seed {seed}: {wrong} disagreements")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
