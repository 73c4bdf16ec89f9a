"""Whatever gateways and Redis do, in any order, no budget is overspent: a state machine.

Real scripts run in a real Redis, on a clock of the test. Three gateways serve calls from leases and
by reservations. They lose Redis, answers of Redis, and their lives; leases expire; Redis is flushed,
or replaced by a replica that is behind. At each step the calls that ended have cost no more, with
what running ones may cost, than the budget. Nor is the counter in Redis above it, except by what a
replica had reserved for calls that have ended: docs/design/leases.md, "Counted twice".
"""

import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    MissingCounter,
    Owner,
    RunningCall,
)
from gateway.limits.leases import Leases
from gateway.limits.redis import QUIET_SECONDS, RedisCounters
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import Reply
from gateway.state.redis.scripts import Script, ScriptRunner, make_keys
from tests.contract.limits.replica_state import COUNTER, ReplicaState

LIMIT = 100_000
GATEWAYS = 3
DRAWN: list[str] = []
"""Calls that leases have served, in all runs."""
RECLAIMED: list[str] = []
"""Leases of killed gateways that were returned, in all runs."""
_TENANTS = itertools.count()
_STEP = 0.25
"""Seconds between two looks of a gateway at its leases, and at whether Redis has forgotten."""


class Scripts(ScriptRunner):
    """Scripts whose requests or answers a test can lose."""

    cut_ticks = 0
    """Looks until requests arrive again."""
    lossy_ticks = 0
    """Looks until answers arrive again."""

    async def run_on_keys(self, script: Script, keys: tuple[bytes, ...], argument: bytes) -> Reply:
        if self.cut_ticks:
            raise StoreUnavailable
        reply = await super().run_on_keys(script, keys, argument)
        if self.lossy_ticks:
            raise StoreUnavailable
        return reply


class Counters(RedisCounters):
    async def reclaim(self, owner: Owner, lease_id: str, drawn: int) -> bool:
        RECLAIMED.append(lease_id)
        return await super().reclaim(owner, lease_id, drawn)


@dataclass
class LeasingGateway:
    """One gateway: what the limiter does, without its options and prices."""

    scripts: Scripts
    store: RedisCounters
    leases: Leases
    running: dict[str, tuple[int, float]] = field(default_factory=dict)
    """What running calls have reserved, and when they have ended at the latest, by id."""
    unsettled: dict[str, int | None] = field(default_factory=dict)


class LeaseStates(RuleBasedStateMachine):
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.admin = redis.Redis.from_url(self.url)
        self.admin.flushdb()
        self.claims = iter([True])
        """The answers to gateways that ask if they are the first of all."""
        self.now, self.tenant = 1_900_000_000.0, f"states {time.time_ns()} {next(_TENANTS)}"
        self.ids = itertools.count()
        self.folder = tempfile.TemporaryDirectory(prefix="tiergate-leases-")
        """The lease books of all gateways."""
        self.ledger = 0
        """Micro-USD of calls that have ended, the most that they may have cost if unknown."""
        self.snapshot: dict[bytes, bytes] = {}
        self.quiet_until = 0.0
        self.replica: ReplicaState | None = None
        """The replica in the place of Redis, until the counter has begun in it."""
        self.most = LIMIT
        """The most that the counter in Redis may have."""
        self.gateways = [self.runner.run(self.start()) for _ in range(GATEWAYS)]
        assert self.runner.run(self.serve(self.gateways[0], "first", 1))  # without a wait
        self.gateways[0].running["first"] = 1, self.now + 60

    def teardown(self) -> None:
        try:
            self.use_up()
        finally:
            self.close()

    def use_up(self) -> None:
        """Ask for all of the budget, which shows whether any of it was granted twice."""
        for gateway in self.gateways:
            gateway.scripts.cut_ticks = gateway.scripts.lossy_ticks = 0
        self.wait(14)
        for gateway in self.gateways:
            self.spend_all(gateway)
        self.is_within_the_budget()

    def spend_all(self, gateway: LeasingGateway) -> None:
        id = f"c{next(self.ids)}"
        while self.runner.run(self.serve(gateway, id, 1_500)):
            gateway.running[id] = 1_500, self.now + 60
            id = f"c{next(self.ids)}"

    def close(self) -> None:
        for gateway in self.gateways:
            self.runner.run(gateway.store.close())
        self.runner.close()
        self.admin.flushdb()
        self.admin.close()
        self.folder.cleanup()

    async def start(self) -> LeasingGateway:
        scripts = Scripts(self.url, note=lambda _: None, clock=time.monotonic, deadline=10.0)
        store = Counters(
            scripts, time="caller", quiet_seconds=QUIET_SECONDS,
            claim_first=lambda: next(self.claims, False),
        )  # fmt: skip
        leases = Leases(
            store, f"{next(self.ids)}", lambda _, __: None,
            wall=lambda: self.now, clock=lambda: self.now, folder=Path(self.folder.name),
        )  # fmt: skip
        gateway = LeasingGateway(scripts, store, leases)

        def find_running(owner: Owner) -> list[RunningCall]:
            leases.forget(owner)
            return [
                RunningCall(id, ends_at, (self.need(amount),))
                for id, (amount, ends_at) in gateway.running.items()
            ]

        store.follow(find_running)
        return gateway

    def need(self, amount: int) -> CounterDemand:
        return CounterDemand(
            kind="usd", name="b", field=COUNTER, limit=LIMIT, amount=amount,
            needs_seed=True, soft=LIMIT // 2,
        )  # fmt: skip

    async def serve(self, gateway: LeasingGateway, id: str, amount: int) -> bool:
        """Serve a call as the limiter does; return True if it passes."""
        demand = self.need(amount)
        if gateway.leases.draw(id, self.tenant, [demand], self.now + 60):
            DRAWN.append(id)
            return True
        seeds: tuple[tuple[Owner, str, int], ...] = ()
        for _ in range(2):
            request = AdmissionRequest(
                id=id, tenant=self.tenant, demands=(demand,), expires_at=self.now + 60, seeds=seeds
            )
            try:
                answer = await gateway.store.admit(request, self.now)
            except StoreUnavailable:
                gateway.unsettled[id] = 0
                return False
            if isinstance(answer, Admitted):
                gateway.leases.record(self.tenant, [demand])
                return True
            if not isinstance(answer, MissingCounter) or answer.wait:
                return False
            await self.restore_open_calls(gateway)
            seeds = ((self.tenant, demand.field, self.ledger),)
        return False

    async def restore_open_calls(self, gateway: LeasingGateway) -> None:
        """Reserve what the journals of all gateways have, as the seed of a counter does."""
        with suppress(StoreUnavailable):
            age = await gateway.store.find_loss_age(self.tenant, self.now)
            if age is not None:
                calls = [
                    RunningCall(id, ends_at, (self.need(amount),))
                    for other in self.gateways
                    for id, (amount, ends_at) in other.running.items()
                    if ends_at - 60 <= self.now - age
                ]
                await gateway.store.restore(self.tenant, calls, self.now)

    async def settle(self, gateway: LeasingGateway) -> None:
        try:
            await gateway.leases.flush()
            while gateway.unsettled:
                id, cost = next(iter(gateway.unsettled.items()))
                await gateway.store.settle_all(self.tenant, [(id, None, cost)], (False,))
                del gateway.unsettled[id]
        except StoreUnavailable:
            pass

    async def tick(self) -> None:
        for gateway in self.gateways:
            gateway.scripts.cut_ticks = max(0, gateway.scripts.cut_ticks - 1)
            gateway.scripts.lossy_ticks = max(0, gateway.scripts.lossy_ticks - 1)
            try:
                await gateway.store.confirm(self.tenant, self.now)
            except StoreUnavailable:
                continue
            await gateway.leases.renew()
            await self.settle(gateway)
            with suppress(StoreUnavailable):
                await gateway.leases.reclaim_dead()

    @rule(
        number=st.integers(0, GATEWAYS - 1),
        amounts=st.lists(st.integers(1, 1_500), min_size=8, max_size=12),
        bursts=st.integers(2, 4),
        ends=st.booleans(),
    )
    def call(self, number: int, amounts: list[int], bursts: int, *, ends: bool) -> None:
        """Make calls in bursts: after the first one the counter is busy, and has a lease."""
        gateway = self.gateways[number]
        for _ in range(bursts):
            for amount in amounts:
                id = f"c{next(self.ids)}"
                if self.runner.run(self.serve(gateway, id, amount)):
                    gateway.running[id] = amount, self.now + 60
            self.wait(1)
        if ends:
            self.end(number, 0.3, is_known=True)

    @rule(number=st.integers(0, GATEWAYS - 1), part=st.floats(0, 1), is_known=st.booleans())
    def end(self, number: int, part: float, is_known: bool) -> None:
        """End some calls, oldest first; a cost that nobody knows stays reserved."""
        gateway = self.gateways[number]
        for id in list(gateway.running)[: 1 + len(gateway.running) // 2]:
            amount, _ = gateway.running.pop(id)
            cost = int(amount * part)
            self.ledger += cost if is_known else amount
            gateway.unsettled[id] = cost if is_known else None
        self.runner.run(self.settle(gateway))

    @rule(ticks=st.integers(1, 12))
    def wait(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += _STEP
            self.runner.run(self.tick())

    @rule(number=st.integers(0, GATEWAYS - 1), seconds=st.sampled_from([1.0, 2.2, 3.0, 70.0]))
    def pause(self, number: int, seconds: float) -> None:
        """Stop a gateway, or all of the machine for `seconds`: nobody looks at leases."""
        if self.now >= self.quiet_until:
            self.now += seconds

    @rule(number=st.integers(0, GATEWAYS - 1), ticks=st.integers(1, 20))
    def cut(self, number: int, ticks: int) -> None:
        if self.now >= self.quiet_until:
            self.gateways[number].scripts.cut_ticks = ticks

    @rule(number=st.integers(0, GATEWAYS - 1), ticks=st.integers(1, 8))
    def lose_answers(self, number: int, ticks: int) -> None:
        if self.now >= self.quiet_until:
            self.gateways[number].scripts.lossy_ticks = ticks

    @rule(number=st.integers(0, GATEWAYS - 1), is_busy=st.booleans())
    def kill(self, number: int, *, is_busy: bool) -> None:
        """Kill a gateway; its journal has its calls at the most that they may cost.

        The next process settles them; what is unknown about them stays charged. Another gateway
        returns what is left of the leases.
        """
        if is_busy:
            self.call(number, [150] * 10, 3, ends=False)
        gateway = self.gateways[number]
        if (book := gateway.leases._book) is not None and book._descriptor >= 0:
            os.close(book._descriptor)
        self.ledger += sum(amount for amount, _ in gateway.running.values())
        self.runner.run(gateway.store.close())
        self.gateways[number] = self.runner.run(self.start())
        self.gateways[number].unsettled |= dict.fromkeys(gateway.running)

    @rule()
    def replicate(self) -> None:
        """Remember the state of Redis, as its replica has it from now on."""
        keys = make_keys(self.tenant)
        dumps = {key: self.admin.dump(key) for key in keys}
        self.snapshot = {key: dump for key, dump in dumps.items() if dump}

    @rule(
        is_replica=st.booleans(),
        number=st.integers(0, GATEWAYS - 1),
        ticks=st.sampled_from([0, 0, 0, 4, 16, 30]),
    )
    def forget(self, is_replica: bool, number: int, ticks: int) -> None:
        """Flush Redis, or put its replica in its place. One gateway may not reach the new one.

        If it is away for long, another one spends all that it gets meanwhile.
        """
        if ticks == 30:
            self.call(number, [150] * 10, 3, ends=False)
        self.now += 0.001  # two epochs never begin in the same microsecond
        for gateway in self.gateways:
            gateway.scripts.cut_ticks = gateway.scripts.lossy_ticks = 0
        self.admin.delete(*make_keys(self.tenant), *make_keys(None))
        self.replica, self.most = None, LIMIT
        if is_replica:
            for key, dump in self.snapshot.items():
                self.admin.restore(key, 0, dump)
            self.admin.hset(make_keys(self.tenant)[5], "!epoch", f"replica {next(self.ids)}@1")
            self.replica = ReplicaState.read(self.admin, self.tenant)
        self.gateways[number].scripts.cut_ticks = ticks
        self.runner.run(self.tick())
        if ticks == 30:
            self.wait(14)
            self.spend_all(self.gateways[(number + 1) % GATEWAYS])
        self.quiet_until = self.now + QUIET_SECONDS

    @invariant()
    def is_within_the_budget(self) -> None:
        assert self.sum_costs() <= LIMIT
        counted = self.count()
        if counted is not None:
            if self.replica is not None:
                self.most, self.replica = self.find_most(self.replica), None
            assert counted <= self.most

    def sum_costs(self) -> int:
        """Return what calls have cost, and what running ones may cost."""
        return self.ledger + sum(
            amount for gateway in self.gateways for amount, _ in gateway.running.values()
        )

    def count(self) -> int | None:
        """Return the counter in Redis; None if it has not begun."""
        value: Any = self.admin.hget(make_keys(self.tenant)[0], COUNTER)
        return None if value is None else int(value)

    def find_most(self, replica: ReplicaState) -> int:
        """Return the most with which the counter begins in a replica.

        The ledger has calls that have ended. The replica may still have their reservations.
        """
        running = {id for gateway in self.gateways for id in gateway.running}
        stale = sum(amount for id, amount in replica.reserved.items() if id not in running)
        return max(LIMIT + stale + replica.charged, replica.counted)


def test_no_order_of_faults_overspends_a_budget(redis_url: str) -> None:
    LeaseStates.url = redis_url.removesuffix("0") + "5"  # a database of its own, on its own clock
    run_state_machine_as_test(
        LeaseStates,
        settings=settings(
            max_examples=25, stateful_step_count=15, phases=(Phase.generate,), deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    assert len(DRAWN) > 50


@pytest.fixture
def states(redis_url: str) -> Iterator[LeaseStates]:
    LeaseStates.url = redis_url.removesuffix("0") + "5"
    made = LeaseStates()
    yield made
    made.close()


def test_a_killed_gateway_has_served_from_a_lease_that_another_returns(states: LeaseStates) -> None:
    """The random orders do so too, but not at each change of this file."""
    DRAWN.clear()
    RECLAIMED.clear()
    states.kill(number=0, is_busy=True)
    states.wait(ticks=1)
    assert DRAWN
    assert RECLAIMED
    states.use_up()


def test_a_replica_counts_calls_that_have_ended_and_a_flush_ends_that(states: LeaseStates) -> None:
    """It has their reservations, and the ledger has their cost. Some of them have expired."""
    states.forget(is_replica=False, number=1, ticks=30)
    states.pause(number=0, seconds=70.0)
    states.end(number=1, part=0.34, is_known=False)
    states.replicate()
    states.wait(ticks=10)
    states.kill(number=2, is_busy=False)
    states.wait(ticks=1)  # the next process settles its calls, and the replica does not hear of it
    states.is_within_the_budget()
    states.forget(is_replica=True, number=2, ticks=4)
    states.use_up()
    counted = states.count()
    assert counted is not None
    assert LIMIT < counted <= states.most
    states.forget(is_replica=False, number=0, ticks=0)
    states.use_up()
    assert states.count() == states.sum_costs()


def test_a_call_that_outlasts_its_reservation_is_counted_once_after_a_flush(
    states: LeaseStates,
) -> None:
    """Its own gateway restores it, it expires at once, and another gateway restores it again."""
    states.forget(is_replica=False, number=0, ticks=30)
    states.wait(ticks=12)
    states.pause(number=0, seconds=70.0)
    states.forget(is_replica=False, number=0, ticks=0)
    states.use_up()
    assert states.count() == states.sum_costs()
