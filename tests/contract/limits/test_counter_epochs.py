"""A Redis that may have forgotten reservations grants nothing until its counters are rebuilt."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from gateway.limits.counter_epochs import claim_first_epoch
from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    DrawnCall,
    MissingCounter,
    RunningCall,
)
from gateway.limits.redis import QUIET_SECONDS, RedisCounters
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.scripts import ScriptRunner, make_keys

DAY = "2026-11-24"
BUDGET = CounterDemand(
    kind="usd", name="b", field=f"usd|b|all|{DAY}", limit=1000, amount=100, needs_seed=True
)
PLACE = CounterDemand(kind="concurrency", name="p", field="concurrency|p|all", limit=9)
QUIET = 0.2
"""Seconds in which no counter begins, in these tests."""


class Server:
    """Two gateways on one Redis, and what is in it."""

    def __init__(self, url: str, tenant: str) -> None:
        self.tenant = tenant
        self.admin = redis.Redis.from_url(url)
        self.spent, _, self.running, self.holds, _, self.told, _ = make_keys(tenant)
        self.stores = [
            RedisCounters.from_url(
                url, note=print, clock=time.monotonic, deadline=10.0, quiet_seconds=QUIET
            )
            for _ in range(2)
        ]

    async def ask(
        self, id: str, *demands: CounterDemand, seed: int | None = None, store: int = 0
    ) -> Answer:
        now = time.time()
        request = AdmissionRequest(
            id=id, tenant=self.tenant, demands=demands or (BUDGET,), expires_at=now + 60,
            seeds=() if seed is None else ((self.tenant, BUDGET.field, seed),),
        )  # fmt: skip
        return await self.stores[store].admit(request, now)

    async def begin(self, spent: int = 0) -> None:
        """Begin the counter with what the ledger has."""
        assert isinstance(await self.ask("first"), MissingCounter)
        await asyncio.sleep(QUIET)
        assert isinstance(await self.ask("first", seed=spent), Admitted)

    def count(self) -> int:
        value: Any = self.admin.hget(self.spent, BUDGET.field)
        return int(value or -1)

    def forget(self) -> None:
        self.admin.delete(*make_keys(self.tenant))

    def become_another(self) -> None:
        """Let the counters be those of another server, as after a failover."""
        self.admin.hset(self.told, "!epoch", "another@1")


@pytest.fixture
async def server(redis_url: str, tenant: str) -> AsyncIterator[Server]:
    made = Server(redis_url, tenant)
    yield made
    for store in made.stores:
        await store.close()
    made.admin.close()


async def test_no_counter_begins_while_running_calls_may_be_missing(server: Server) -> None:
    await server.begin()
    server.forget()
    answer = await server.ask("c1")
    assert isinstance(answer, MissingCounter)
    assert 0 < answer.wait <= QUIET
    assert isinstance(await server.ask("c1", seed=5), MissingCounter)
    await asyncio.sleep(QUIET)
    assert await server.ask("c1") == MissingCounter(BUDGET, may_lack_calls=True)
    assert isinstance(await server.ask("c1", seed=5), Admitted)
    assert server.count() == 105


async def test_a_new_tenant_need_not_wait_on_a_server_that_has_forgotten_nothing(
    server: Server,
) -> None:
    """The epoch of all tenants is the witness: a server that forgets a tenant forgets it, too."""
    await server.begin()
    server.tenant += " new"
    first_answer = await server.ask("c1")
    assert isinstance(first_answer, MissingCounter)
    assert first_answer.wait == 0
    assert isinstance(await server.ask("c1", seed=5), Admitted)
    server.admin.delete(*make_keys(server.tenant))  # by hand: the witness knows the tenant
    answer = await server.ask("c2")
    assert isinstance(answer, MissingCounter)
    assert answer.wait > 0


class NewServer:
    """Gateways on a Redis of their own; the clock is the test's."""

    def __init__(self, url: str) -> None:
        self.url, self.now = url, 1_900_000_000.0
        self.admin = redis.Redis.from_url(url)
        self.admin.flushdb()

    def start(self, *, is_first: bool) -> RedisCounters:
        claims = iter([is_first])
        scripts = ScriptRunner(self.url, note=print, clock=time.monotonic, deadline=10.0)
        return RedisCounters(scripts, time="caller", claim_first=lambda: next(claims))

    async def find_wait(self, store: RedisCounters, tenant: str = "t") -> float:
        """Return the seconds until a tenant's counters may begin."""
        request = AdmissionRequest(
            id="c", tenant=tenant, demands=(BUDGET,), expires_at=self.now + 60
        )
        answer = await store.admit(request, self.now)
        assert isinstance(answer, MissingCounter)
        return answer.wait


@pytest.fixture
def new_server(redis_url: str) -> Iterator[NewServer]:
    made = NewServer(redis_url.removesuffix("0") + "6")
    yield made
    made.admin.flushdb()
    made.admin.close()


async def test_the_first_gateway_of_all_begins_counters_at_once(new_server: NewServer) -> None:
    first, second = new_server.start(is_first=True), new_server.start(is_first=False)
    assert await new_server.find_wait(first) == 0
    assert await new_server.find_wait(second) == 0
    assert await new_server.find_wait(second, "another") == 0
    new_server.admin.flushdb()  # others may have reserved something meanwhile
    new_server.now += 0.5  # no two epochs begin in one microsecond
    assert await new_server.find_wait(first) == QUIET_SECONDS
    new_server.now += 1
    assert await new_server.find_wait(second, "another") == QUIET_SECONDS - 1
    for store in (first, second):
        await store.close()


async def test_a_gateway_that_is_not_the_first_waits_for_others(new_server: NewServer) -> None:
    store = new_server.start(is_first=False)
    assert await new_server.find_wait(store) == QUIET_SECONDS
    await store.close()


async def test_the_first_gateway_waits_if_another_one_was_in_this_redis(
    new_server: NewServer,
) -> None:
    """For example one whose data folder was lost."""
    other, first = new_server.start(is_first=False), new_server.start(is_first=True)
    await other.confirm(None, new_server.now)
    assert await new_server.find_wait(first) == QUIET_SECONDS
    for store in (first, other):
        await store.close()


async def test_a_first_gateway_that_comes_late_waits(new_server: NewServer) -> None:
    """It was paused after its look: others may have reserved something since, and lost it."""
    first = new_server.start(is_first=True)
    await first.confirm(None, new_server.now)
    new_server.now += QUIET_SECONDS
    new_server.admin.flushdb()
    assert await new_server.find_wait(first) == QUIET_SECONDS
    await first.close()


def test_one_process_of_a_data_folder_is_the_first(tmp_path: Path) -> None:
    assert [claim_first_epoch(tmp_path / "leases") for _ in range(2)] == [True, False]
    (tmp_path / "file").touch()
    assert not claim_first_epoch(tmp_path / "file")


async def test_each_gateway_restores_its_calls_in_a_redis_that_forgot_them(server: Server) -> None:
    """The counter begins with the ledger's sum and with what running calls have reserved."""
    await server.begin()
    assert isinstance(await server.ask("mine", BUDGET, PLACE), Admitted)
    assert isinstance(await server.ask("other", store=1), Admitted)
    for store, id in zip(server.stores, ("mine", "other"), strict=True):
        call = RunningCall(id, time.time() + 60, (BUDGET, PLACE))
        store.follow(lambda _, call=call: [call])  # type: ignore[misc]  # bound to this call
    server.forget()
    assert isinstance(await server.ask("c1"), MissingCounter)
    await server.stores[1].confirm(server.tenant, time.time())
    await server.stores[1].confirm(server.tenant, time.time())  # changes nothing
    assert server.count() == -1
    await asyncio.sleep(QUIET)
    assert isinstance(await server.ask("c1", seed=40), Admitted)
    assert server.count() == 40 + 3 * 100
    assert await server.stores[0].settle(server.tenant, "mine", None, 7)
    assert server.count() == 40 + 2 * 100 + 7
    assert server.admin.hget(server.running, PLACE.field) == b"1"


async def test_another_gateway_restores_calls_of_one_that_is_paused(server: Server) -> None:
    """It knows them from the journals. Each is reserved once, and settled by its own gateway."""
    await server.begin()
    assert isinstance(await server.ask("paused", store=1), Admitted)
    call = RunningCall("paused", time.time() + 60, (BUDGET,))
    server.stores[1].follow(lambda _: [call])
    server.forget()
    assert isinstance(await server.ask("c1"), MissingCounter)
    early = await server.stores[0].find_loss_age(server.tenant, time.time())
    assert early is not None
    assert -QUIET <= early < 0
    await asyncio.sleep(QUIET)
    late = await server.stores[0].find_loss_age(server.tenant, time.time())
    assert late is not None
    assert late >= 0
    await server.stores[0].restore(server.tenant, [call], time.time())
    assert isinstance(await server.ask("c1", seed=40), Admitted)
    assert server.count() == 40 + 2 * 100
    await server.stores[1].confirm(server.tenant, time.time())
    assert server.count() == 40 + 2 * 100
    assert await server.stores[1].settle(server.tenant, "paused", None, 7)
    assert server.count() == 40 + 100 + 7


async def test_a_call_that_is_restored_late_is_added_to_the_counter(server: Server) -> None:
    await server.begin()
    assert isinstance(await server.ask("late", store=1), Admitted)
    call = RunningCall("late", time.time() + 60, (BUDGET,))
    server.stores[1].follow(lambda _: [call])
    server.forget()
    await server.begin()
    assert server.count() == 100
    assert isinstance(await server.ask("c1", store=1), Admitted)
    assert server.count() == 300


async def test_counters_of_another_server_begin_anew_with_no_less_than_before(
    server: Server,
) -> None:
    """After a failover the replica may lack reservations; the ledger may lack old rows."""
    await server.begin(spent=300)
    server.become_another()
    answer = await server.ask("c1", store=1)
    assert isinstance(answer, MissingCounter)
    assert server.count() == -1
    await asyncio.sleep(answer.wait)
    assert isinstance(await server.ask("c1", seed=0, store=1), Admitted)
    assert server.count() == 300 + 2 * 100
    assert not any(b"usd" in field for field in server.admin.hkeys(server.told))


async def test_what_ends_before_a_counter_begins_is_counted(server: Server) -> None:
    """The ledger may be read without calls that end while counters are about to begin."""
    await server.begin(spent=300)
    for id in ("known", "unknown"):
        assert isinstance(await server.ask(id), Admitted)
    server.become_another()
    await server.stores[0].confirm(server.tenant, time.time())
    assert await server.stores[0].settle(server.tenant, "known", None, 30)
    assert await server.stores[0].settle(server.tenant, "unknown", None, None)
    await asyncio.sleep(QUIET)
    assert isinstance(await server.ask("c1", seed=400), Admitted)
    assert server.count() == 400 + 100 + 30 + 100 + 100


async def test_expired_reservations_stay_charged_in_the_next_epoch(server: Server) -> None:
    """Nobody restores them, and the ledger may not have them."""
    await server.begin()
    server.admin.zadd(make_keys(server.tenant)[4], {"first": 1})
    assert isinstance(await server.ask("c1", PLACE), Admitted)  # lets "first" expire
    assert isinstance(await server.ask("c2"), Admitted)
    server.become_another()
    await server.stores[0].confirm(server.tenant, time.time())
    server.admin.zadd(make_keys(server.tenant)[4], {"c2": 1})
    assert isinstance(await server.ask("c3", PLACE), Admitted)  # lets "c2" expire
    await asyncio.sleep(QUIET)
    assert await server.stores[0].settle(server.tenant, "first", None, 10)
    assert isinstance(await server.ask("c4", seed=500), Admitted)
    assert server.count() == 500 + 10 + 100 + 100


async def test_a_call_drawn_from_a_lease_has_a_reservation_of_its_own(server: Server) -> None:
    """Also if the lease or the call has expired, and only once."""
    await server.begin()
    store, now = server.stores[0], time.time()
    soft = msgspec.structs.replace(BUDGET, soft=200)
    grant = await store.lease(server.tenant, soft, "lease g 1", 400, 1, now)
    assert (grant.amount, grant.crosses_soft) == (400, True)
    assert (await store.lease(server.tenant, soft, "lease g 1", 400, 1, now)).amount == 0
    assert (await store.lease(server.tenant, soft, "lease g 2", 900, 300, now)).amount == 0
    assert isinstance(await server.ask("c1", PLACE), Admitted)

    async def draw(id: str, amount: int, lease: str = "lease g 1", epoch: str = "") -> None:
        calls = [DrawnCall(id, now + 60, amount)]
        await store.draw(server.tenant, lease, BUDGET.field, calls, epoch or grant.epoch, now)

    ends = make_keys(server.tenant)[4]
    await draw("c1", 100)
    await draw("c1", 100)
    await draw("c2", 50)
    server.admin.zadd(ends, {"lease g 1": 1, "c2": 1})
    assert isinstance(await server.ask("c3", PLACE), Admitted)  # lets both expire
    assert int(server.admin.hget(server.running, BUDGET.field)) == 100 + 100  # type: ignore[arg-type]
    await draw("c4", 30)
    await draw("c5", 1, lease="unknown")
    with pytest.raises(StoreUnavailable):
        await draw("c5", 1, epoch="another@1")
    second = await store.lease(server.tenant, soft, "lease g 3", 100, 1, now)
    calls = [DrawnCall("c2", now + 60, 20)]
    await store.draw(server.tenant, "lease g 3", BUDGET.field, calls, second.epoch, now)
    assert server.count() == 100 + 400 + 100
    for id, cost in (("c1", 10), ("c2", 5), ("c4", 3), ("lease g 1", 0), ("lease g 3", 0)):
        await store.settle_all(server.tenant, [(id, None, cost)], (False,))
    assert server.count() == 100 + 10 + 5 + 3
    assert int(server.admin.hget(server.running, BUDGET.field)) == 100  # type: ignore[arg-type]


async def test_a_lease_is_a_part_of_what_is_left_for_each_gateway_that_was_active(
    server: Server,
) -> None:
    now, grants = time.time(), list[int]()
    early = await server.stores[0].lease(server.tenant, BUDGET, "lease a 0", 900, 1, now)
    assert early.amount == 0  # the counter has not begun
    await server.begin(spent=99)
    for gateway in ("a", "b", "b"):
        id = f"lease {gateway} {len(grants)}"
        grants.append((await server.stores[0].lease(server.tenant, BUDGET, id, 900, 1, now)).amount)
    assert grants == [801 // 2, 401 // 4, 301 // 4]


@pytest.mark.parametrize("has_expired", [False, True])
async def test_a_dead_gateways_lease_is_returned_once_without_what_was_drawn(
    server: Server, *, has_expired: bool
) -> None:
    """Of 400 it has drawn 150, and told Redis of 100."""
    await server.begin()
    store, now = server.stores[0], time.time()
    grant = await store.lease(server.tenant, BUDGET, "lease g 1", 400, 1, now)
    calls = [DrawnCall("c1", now + 60, 100)]
    await store.draw(server.tenant, "lease g 1", BUDGET.field, calls, grant.epoch, now)
    if has_expired:
        server.admin.zadd(make_keys(server.tenant)[4], {"lease g 1": 1})
        assert isinstance(await server.ask("c2", PLACE), Admitted)  # lets it expire
    for _ in range(2):
        await store.reclaim(server.tenant, "lease g 1", 150)
        assert server.count() == 100 + 100 + 50
    assert await store.settle(server.tenant, "c1", None, 7)
    assert server.count() == 100 + 7 + 50
    assert server.admin.hgetall(server.running) == {
        BUDGET.field.encode(): b"100", **({PLACE.field.encode(): b"1"} if has_expired else {}),
    }  # fmt: skip
    await store.draw(server.tenant, "lease g 1", BUDGET.field, calls, grant.epoch, now)  # too late
    assert server.count() == 100 + 7 + 50


async def test_a_dead_gateways_lease_alone_leaves_nothing_reserved(server: Server) -> None:
    await server.begin()
    store = server.stores[0]
    assert await store.settle(server.tenant, "first", None, 7)
    await store.lease(server.tenant, BUDGET, "lease g 1", 400, 1, time.time())
    assert await store.reclaim(server.tenant, "lease g 1", 0)
    assert server.count() == 7
    assert server.admin.hgetall(server.running) == {}


async def test_a_dead_gateways_lease_stays_charged_until_the_counter_has_begun(
    server: Server,
) -> None:
    await server.begin()
    store = server.stores[0]
    await store.lease(server.tenant, BUDGET, "lease g 1", 400, 1, time.time())
    server.become_another()
    await server.stores[1].confirm(server.tenant, time.time())
    assert not await store.reclaim(server.tenant, "lease g 1", 0)
    await asyncio.sleep(QUIET)
    assert isinstance(await server.ask("c1", seed=0, store=1), Admitted)
    assert server.count() == 100 + 400 + 100
    assert await store.reclaim(server.tenant, "lease g 1", 0)
    assert server.count() == 100 + 100
    assert await store.reclaim(server.tenant, "first", 0)  # a call is no lease
    assert server.count() == 100 + 100


async def test_a_call_whose_reservation_is_known_in_part_is_restored_in_full(
    server: Server,
) -> None:
    """A replica may lack what a further attempt has reserved."""
    await server.begin()
    store = server.stores[1]
    assert isinstance(await server.ask("c1", store=1), Admitted)
    rate = msgspec.structs.replace(PLACE, kind="requests", field="requests|r|all")
    call = RunningCall("c1", time.time() + 60, (BUDGET, BUDGET, rate))
    store.follow(lambda _: [call])
    server.become_another()
    server.admin.zadd(make_keys(server.tenant)[4], {"c1": 1})
    assert isinstance(await server.ask("c2", PLACE), Admitted)  # lets "c1" expire
    await store.confirm(server.tenant, time.time())
    await asyncio.sleep(QUIET)
    assert isinstance(await server.ask("c3", seed=0, store=1), Admitted)
    assert server.count() == 100 + 200 + 100


async def test_counters_from_before_there_were_epochs_go_on(server: Server) -> None:
    server.admin.hset(server.spent, BUDGET.field, 700)
    assert isinstance(await server.ask("c1"), Admitted)
    assert server.count() == 800


async def test_callers_share_one_opening(server: Server) -> None:
    await server.begin()
    server.forget()
    answers = await asyncio.gather(*[server.ask(f"c{number}") for number in range(20)])
    assert all(isinstance(answer, MissingCounter) for answer in answers)
