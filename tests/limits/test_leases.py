"""Leases: which calls they serve, when they are taken and returned, and what Redis hears of them."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.errors import ProblemError
from gateway.limits.counters import (
    ALL_SCOPES,
    CounterDemand,
    DrawnCall,
    EndedCall,
    LeaseGrant,
    Owner,
    Scopes,
    is_user_counter,
)
from gateway.limits.leases import Leases
from gateway.limits.limiter import Limiter
from gateway.state.errors import StoreUnavailable
from tests.limits.observed_limiter import (
    HELD,
    ObservedLimiter,
    Shaky,
    budget,
    decision,
    entry,
    limit,
    target,
)

DEMAND = CounterDemand(
    kind="usd", name="b", field="usd|b|all|total", limit=10_000, amount=100, needs_seed=True
)


class LeasingStore(Shaky):
    """A counter store that grants what a test says, and notes what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.grants: list[int] = []
        self.crosses_soft, self.has_begun = False, True
        self.heard: list[str] = []
        self.lifetimes: list[float] = []
        self.leased: list[tuple[Owner, CounterDemand, str, float]] = []
        """Owner, demand, id and time of each lease that the gateway asked for."""
        self.drawn: list[tuple[Owner, str, str, int, str, float]] = []
        """Owner, lease, counter, number of calls, epoch and time of each batch that it told."""
        self.expiries: set[float] = set()
        self.returned: list[tuple[str, Sequence[EndedCall], Scopes]] = []
        self.on_return: Callable[[], object] = lambda: None
        """Called before the gateway returns leases."""

    @property
    def lease_store(self) -> Any:
        return self

    async def lease(
        self, owner: Owner, demand: CounterDemand, id: str, amount: int, least: int, now: float
    ) -> LeaseGrant:
        self._ask()
        self.heard.append(f"lease {amount} {least}")
        self.leased.append((owner, demand, id, now))
        return LeaseGrant(self.grants.pop(0) if self.grants else 0, self.crosses_soft, "e@1")

    async def draw(
        self,
        owner: Owner,
        lease_id: str,
        field: str,
        calls: Sequence[DrawnCall],
        epoch: str,
        now: float,
    ) -> None:
        self._ask()
        self.heard += [f"draw {call.id} {call.amount}" for call in calls]
        self.lifetimes += [call.expires_at - now for call in calls]
        self.drawn.append((owner, lease_id, field, len(calls), epoch, now))
        self.expiries |= {call.expires_at for call in calls}

    async def reclaim(self, owner: Owner, lease_id: str, drawn: int) -> bool:
        self._ask()
        self.heard.append(f"reclaim {owner} {lease_id} {drawn}")
        return self.has_begun

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        self._ask()
        self.heard += [f"end {id.partition(' ')[0]} {cost}" for id, _, cost in ended_calls]
        self.returned.append((tenant, ended_calls, scopes))
        self.on_return()

    async def settle(self, tenant: str, id: str, tokens: int | None, micro: int | None) -> bool:
        self._ask()
        self.heard.append(f"end {id} {micro}")
        return True


class LeasedLimiter:
    """Leases on a clock of the test."""

    def __init__(self, *grants: int, folder: Path | None = None) -> None:
        self.store, self.now, self.soft = LeasingStore(), 0.0, list[tuple[Owner, str]]()
        self.jumped = 0.0
        self.store.grants = list(grants)
        self.leases = Leases(
            self.store, "g", lambda owner, demand: self.soft.append((owner, demand.name)),
            wall=lambda: 1e9 + self.jumped, clock=lambda: self.now, folder=folder,
        )  # fmt: skip

    def die(self) -> None:
        """Close the lease book as the kernel does it."""
        book = self.leases._book
        assert book is not None
        os.close(book._descriptor)

    async def recover(self, folder: Path) -> list[str]:
        """Return what the store hears from the next process."""
        successor = LeasedLimiter(folder=folder)
        await successor.leases.reclaim_dead()
        return successor.store.heard

    def be_busy(self, calls: int = 10) -> None:
        for _ in range(calls):
            self.leases.record("t", [DEMAND])

    def draw(self, id: str, amount: int = 100) -> bool:
        demand = msgspec.structs.replace(DEMAND, amount=amount)
        return self.leases.draw(id, "t", [demand], 60.0)


async def test_a_busy_counter_gets_a_lease_that_serves_calls() -> None:
    stage = LeasedLimiter(250)
    stage.be_busy()
    assert not stage.draw("c1")
    await stage.leases.renew()
    assert [stage.draw(f"c{number}") for number in range(3)] == [True, True, False]
    assert stage.leases.has_drawn_calls
    await stage.leases.flush()
    await stage.leases.flush()
    assert stage.store.heard == ["lease 1000 400", "draw c0 100", "draw c1 100"]


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
async def test_a_jump_of_the_wall_clock_changes_no_lifetime(seconds: float) -> None:
    stage = LeasedLimiter(250)
    stage.be_busy()
    await stage.leases.renew()
    assert stage.draw("c1")
    stage.now, stage.jumped = 1.0, seconds
    await stage.leases.flush()
    assert stage.store.lifetimes == [59.0]


async def test_eight_calls_within_two_seconds_make_a_counter_busy() -> None:
    stage = LeasedLimiter(800, 800)
    stage.be_busy(8)
    await stage.leases.renew()
    assert stage.store.heard == ["lease 800 400"]
    stage = LeasedLimiter(800)
    stage.be_busy(7)
    for _ in range(7):
        await stage.leases.renew()
    stage.be_busy(1)
    await stage.leases.renew()  # the eighth look still sees the first seven calls
    stage.be_busy(1)
    await stage.leases.renew()  # the ninth does not
    assert stage.store.heard == ["lease 800 400", "end lease 0"]


async def test_a_slice_has_room_for_four_average_calls_rounded_down() -> None:
    stage = LeasedLimiter()
    stage.be_busy(9)
    stage.leases.record("t", [msgspec.structs.replace(DEMAND, amount=55)])
    await stage.leases.renew()
    assert stage.store.heard == ["lease 955 382"]


async def test_a_lease_serves_calls_to_the_last_micro_usd() -> None:
    stage = LeasedLimiter(200)
    stage.be_busy()
    await stage.leases.renew()
    assert [stage.draw("c1", 150), stage.draw("c2", 51), stage.draw("c3", 50)] == [
        True,
        False,
        True,
    ]
    assert not stage.draw("c4", 1)


@pytest.mark.parametrize(
    ("grant", "drawn", "is_replaced"),
    [(1_600, 1_080, False), (1_600, 1_081, True), (1_601, 1_081, False)],
)
async def test_a_lease_is_replaced_once_less_is_left_than_a_quarter_of_the_next(
    grant: int, drawn: int, is_replaced: bool
) -> None:
    """Recent calls have reserved 1,000 and the drawn amount: a quarter of that is 520."""
    stage = LeasedLimiter(grant, grant)
    stage.be_busy()
    await stage.leases.renew()
    assert stage.draw("c1", drawn)
    await stage.leases.renew()
    assert ("end lease 0" in stage.store.heard) is is_replaced


async def test_a_busy_lease_is_replaced_in_its_last_three_quarters_of_a_second() -> None:
    stage = LeasedLimiter(9_000, 9_000)
    stage.be_busy()
    await stage.leases.renew()
    stage.now = 1.24
    await stage.leases.renew()
    assert stage.store.heard == ["lease 1000 400"]
    stage.now = 1.25
    await stage.leases.renew()
    assert stage.store.heard[1:] == ["end lease 0", "lease 1000 400"]


async def test_only_money_of_keys_and_tenants_is_leased() -> None:
    stage = LeasedLimiter(9_000)
    demands = [
        msgspec.structs.replace(DEMAND, kind="tokens", field="tokens|a"),
        msgspec.structs.replace(DEMAND, field="usd|b|user=u1/key=k|total"),
    ]
    assert is_user_counter(demands[1].field)
    for _ in range(10):
        stage.leases.record("t", demands)
    await stage.leases.renew()
    assert stage.store.heard == []


async def test_a_call_needs_a_lease_of_each_of_its_counters() -> None:
    stage = LeasedLimiter(1_000, 1_000)
    other = msgspec.structs.replace(DEMAND, field="usd|other|all|total", amount=30)
    stage.be_busy()
    await stage.leases.renew()
    assert not stage.leases.draw("c1", "t", [DEMAND, other], 2e9)
    assert not stage.leases.has_drawn_calls
    for _ in range(10):
        stage.leases.record("t", [other])
    await stage.leases.renew()
    assert stage.leases.draw("c2", "t", [DEMAND, other], 2e9)
    await stage.leases.flush()
    assert stage.store.heard[2:] == ["draw c2 100", "draw c2 30"]


async def test_a_gateway_without_leases_serves_none() -> None:
    stage = LeasedLimiter(1_000, 1_000)
    stage.be_busy()
    had_lease = [stage.leases.has_lease]
    await stage.leases.renew()
    had_lease.append(stage.leases.has_lease)
    stage.leases.is_enabled = False
    assert not stage.draw("c1")
    stage.be_busy()
    await stage.leases.renew()
    had_lease.append(stage.leases.has_lease)
    assert had_lease == [False, True, False]
    assert stage.store.heard == ["lease 1000 400", "end lease 0"]


@pytest.mark.parametrize(
    ("all_tenants", "owner", "tenant", "scopes"),
    [(False, "t", "t", (False,)), (True, None, "", (True,))],
)
async def test_redis_hears_whose_counter_each_lease_is_of(
    all_tenants: bool, owner: Owner, tenant: str, scopes: Scopes
) -> None:
    """It hears of 256 calls at once, at most."""
    stage = LeasedLimiter(90_000, 90_000)
    demand = msgspec.structs.replace(DEMAND, all_tenants=all_tenants)
    for _ in range(10):
        stage.leases.record("t", [demand])
    await stage.leases.renew()
    assert all(stage.leases.draw(f"c{number}", "t", [demand], 60.0) for number in range(300))
    stage.now = 1.5
    await stage.leases.renew()
    store = stage.store
    assert store.leased == [(owner, demand, "lease g 1", 1e9), (owner, demand, "lease g 2", 1e9)]
    assert store.drawn == [
        (owner, "lease g 1", demand.field, calls, "e@1", 1e9) for calls in (256, 44)
    ]
    assert [text for text in store.heard if text.startswith("draw")] == [
        f"draw c{number} 100" for number in range(300)
    ]
    assert store.expiries == {1e9 + 58.5}
    assert store.returned == [(tenant, [("lease g 1", None, 0)], scopes)]


@pytest.mark.parametrize("stops", [True, False])
async def test_redis_hears_of_a_call_that_a_lease_serves_while_another_is_returned(
    stops: bool,
) -> None:
    stage = LeasedLimiter(1_000, 1_000)
    other = msgspec.structs.replace(DEMAND, field="usd|other|all|total")
    for demand in [DEMAND, other] * 10:
        stage.leases.record("t", [demand])
    await stage.leases.renew()
    late: list[bool] = []

    def draw_late() -> None:
        if not late:
            late.append(stage.leases.draw("late", "t", [other], 2e9))

    stage.store.on_return = draw_late
    if stops:
        await stage.leases.close()
    else:
        for _ in range(8):
            await stage.leases.renew()
    assert late == [True]
    assert stage.store.drawn == [("t", "lease g 2", other.field, 1, "e@1", 1e9)]
    assert stage.store.heard[2:] == ["end lease 0", "draw late 100", "end lease 0"]


async def test_an_idle_lease_is_returned_once_the_store_is_back() -> None:
    stage = LeasedLimiter(1_000)
    stage.be_busy()
    await stage.leases.renew()
    stage.store.lost = True
    for _ in range(20):
        await stage.leases.renew()
    stage.store.lost = False
    await stage.leases.renew()
    assert stage.store.heard == ["lease 1000 400", "end lease 0"]
    assert stage.leases._counters == {}


async def test_an_idle_counter_gets_no_lease_and_is_forgotten() -> None:
    stage = LeasedLimiter(250)
    stage.be_busy(7)
    for _ in range(9):
        await stage.leases.renew()
    assert (stage.store.heard, stage.leases._counters) == ([], {})


async def test_a_lease_is_returned_once_its_counter_is_idle() -> None:
    stage = LeasedLimiter(2_000)
    stage.be_busy()
    await stage.leases.renew()
    assert stage.draw("c1")
    for _ in range(9):
        await stage.leases.renew()
    assert stage.store.heard == ["lease 1000 400", "draw c1 100", "end lease 0"]
    assert not stage.draw("c2")


async def test_a_lease_ends_earlier_here_than_in_redis_and_is_replaced_before() -> None:
    stage = LeasedLimiter(5_000, 5_000)
    stage.be_busy()
    await stage.leases.renew()
    stage.now = 1.99
    assert stage.draw("c1")
    stage.now = 2.0
    assert not stage.draw("c2")
    await stage.leases.renew()
    assert stage.draw("c3")
    assert stage.store.heard == [
        "lease 1000 400", "draw c1 100", "end lease 0", "lease 1100 400",
    ]  # fmt: skip


async def test_a_lease_that_is_nearly_used_up_is_replaced() -> None:
    stage = LeasedLimiter(1_000, 1_000)
    stage.be_busy()
    await stage.leases.renew()
    assert stage.draw("c1", 900)
    await stage.leases.renew()
    assert stage.draw("c2", 900)


async def test_what_redis_does_not_hear_is_told_later_and_leases_stay_charged_until_then() -> None:
    stage = LeasedLimiter(1_000)
    stage.be_busy()
    await stage.leases.renew()
    assert stage.draw("c1")
    stage.store.lost = True
    with pytest.raises(StoreUnavailable):
        await stage.leases.flush()
    stage.now = 5.0
    await stage.leases.renew()
    assert stage.store.heard == ["lease 1000 400"]
    stage.store.lost = False
    await stage.leases.renew()
    assert stage.store.heard[1:3] == ["draw c1 100", "end lease 0"]


async def test_a_lease_whose_answer_is_lost_is_returned() -> None:
    stage = LeasedLimiter()
    stage.be_busy()
    stage.store.lost = True
    await stage.leases.renew()
    stage.store.lost = False
    await stage.leases.close()
    assert stage.store.heard == ["end lease 0"]


async def test_leases_of_an_owner_end_when_redis_has_forgotten_them() -> None:
    stage = LeasedLimiter(1_000)
    stage.be_busy()
    await stage.leases.renew()
    assert stage.draw("c1")
    stage.leases.forget("another")
    assert stage.draw("c2")
    stage.leases.forget("t")
    assert not stage.draw("c3")
    assert not stage.leases.has_drawn_calls
    await stage.leases.close()
    assert stage.store.heard == ["lease 1000 400", "end lease 0"]


async def test_a_lease_that_crosses_a_soft_limit_is_reported() -> None:
    stage = LeasedLimiter(1_000)
    stage.store.crosses_soft = True
    stage.be_busy()
    await stage.leases.renew()
    assert stage.soft == [("t", "b")]


async def test_the_next_process_returns_what_a_dead_one_has_left(tmp_path: Path) -> None:
    """A lease claims a sixteenth of its slice ahead, so up to that much stays charged."""
    stage = LeasedLimiter(1_600, folder=tmp_path)
    stage.be_busy()
    await stage.leases.renew()
    assert all([stage.draw("c1", 10), stage.draw("c2", 80), stage.draw("c3", 20)])
    assert await stage.recover(tmp_path) == []  # it lives
    stage.die()
    assert await stage.recover(tmp_path) == ["reclaim t lease g 1 200"]
    assert await stage.recover(tmp_path) == []


@pytest.mark.parametrize(
    ("drawn", "claimed"), [((10, 90), 100), ((10, 90, 1), 200), ((1_550, 30), 1_600), ((101,), 101)]
)
async def test_a_claim_ends_at_a_sixteenth_or_at_what_calls_have_drawn(
    tmp_path: Path, drawn: tuple[int, ...], claimed: int
) -> None:
    """It never exceeds the slice."""
    stage = LeasedLimiter(1_600, folder=tmp_path)
    stage.be_busy()
    await stage.leases.renew()
    assert all(stage.draw(f"c{number}", amount) for number, amount in enumerate(drawn))
    stage.die()
    assert await stage.recover(tmp_path) == [f"reclaim t lease g 1 {claimed}"]


async def test_each_gateway_has_a_book_of_its_own_name(tmp_path: Path) -> None:
    stage = LeasedLimiter(1_600, folder=tmp_path)
    stage.be_busy()
    await stage.leases.renew()
    assert os.listdir(tmp_path) == ["g.leases"]  # noqa: PTH208 - names are enough


async def test_without_a_folder_there_is_no_book_and_nothing_to_reclaim() -> None:
    stage = LeasedLimiter()
    await stage.leases.reclaim_dead()
    assert stage.store.heard == []


async def test_a_lease_that_the_disk_does_not_note_is_returned_as_well(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    stage = LeasedLimiter(0, 1_000, folder=file)
    stage.be_busy()
    await stage.leases.renew()
    await stage.leases.renew()
    assert stage.draw("c1")
    await stage.leases.close()
    assert stage.store.heard[-2:] == ["draw c1 100", "end lease 0"]


async def test_a_lease_whose_answer_never_came_is_reclaimed_whole(tmp_path: Path) -> None:
    stage = LeasedLimiter(folder=tmp_path)
    stage.be_busy()
    stage.store.lost = True
    await stage.leases.renew()
    stage.die()
    assert await stage.recover(tmp_path) == ["reclaim t lease g 1 0"]


async def test_leases_that_were_returned_or_not_granted_are_not_reclaimed(tmp_path: Path) -> None:
    stage = LeasedLimiter(2_000, 0, folder=tmp_path)
    stage.be_busy()
    await stage.leases.renew()
    stage.now = 2.0
    await stage.leases.renew()
    assert stage.store.heard[1:] == ["end lease 0", "lease 1000 400"]
    stage.die()
    assert await stage.recover(tmp_path) == []


async def test_without_the_store_a_dead_lease_is_reclaimed_later(tmp_path: Path) -> None:
    stage, successor = LeasedLimiter(1_600, folder=tmp_path), LeasedLimiter(folder=tmp_path)
    stage.be_busy()
    await stage.leases.renew()
    stage.die()
    successor.store.lost = True
    with pytest.raises(StoreUnavailable):
        await successor.leases.reclaim_dead()
    successor.store.lost = successor.store.has_begun = False
    await successor.leases.reclaim_dead()
    assert await successor.recover(tmp_path) == ["reclaim t lease g 1 0"]


async def test_a_lease_whose_draws_the_disk_does_not_take_serves_no_call(tmp_path: Path) -> None:
    stage = LeasedLimiter(1_600, folder=tmp_path)
    stage.be_busy()
    await stage.leases.renew()
    stage.die()  # writes fail from now on
    assert not stage.draw("c1")


async def test_a_stop_returns_a_lease_whose_request_it_interrupts(tmp_path: Path) -> None:
    stage = LeasedLimiter(1_600, folder=tmp_path)

    async def lease(*_: object) -> LeaseGrant:
        await asyncio.Event().wait()
        raise AssertionError("never")

    stage.store.lease = lease  # type: ignore[assignment, method-assign]  # an answer that does not come
    stage.be_busy()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stage.leases.renew(), 0.01)
    await stage.leases.close()
    assert stage.store.heard == ["end lease 0"]
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are enough


class LeasingLimiter(ObservedLimiter):
    """A limiter whose store grants leases."""

    def __init__(self, *parts: Any, grant: int = 9_000, closed: bool = False) -> None:
        super().__init__(*parts, closed=closed)
        self.meter = self.store = LeasingStore()
        self.store.grants = [grant] * 9
        old = self.gate
        self.gate = Limiter(
            old._limits, self.store, old._settlement._log, read_spent=self.seed, alert=lambda _, __: None,
            make_local_store=lambda: self.spare, fails_closed=closed,
            wall=lambda: self.now, clock=lambda: self.now,
        )  # fmt: skip

    async def warm_up(self, **more: Any) -> None:
        for number in range(10):
            await self.ask(f"warm{number}", **more)
        await self.renew()

    async def renew(self) -> None:
        async def once(_: float) -> None:
            if waits:
                raise asyncio.CancelledError
            waits.append(1)

        waits: list[int] = []
        await asyncio.gather(self.gate.renew_leases(once), return_exceptions=True)


async def test_a_lease_serves_calls_that_only_money_counts_without_asking_the_store() -> None:
    stage = LeasingLimiter(budget("1"))
    await stage.warm_up()
    before = stage.store.asked
    await stage.ask("c1")
    assert stage.store.asked == before
    await stage.gate.extend(stage.want("c1"), decision(), target())
    await stage.end("c1")
    assert stage.store.heard[1:] == [f"draw c1 {HELD}", "end c1 19"]


async def test_calls_that_leases_serve_are_settled_together_before_the_next_other_call() -> None:
    stage = LeasingLimiter(budget("1"), grant=3 * HELD)
    await stage.warm_up()
    del stage.store.heard[:]
    for id in ("c1", "c2"):
        await stage.ask(id)
        stage.gate.settle(entry(id))
    await asyncio.sleep(0)
    assert stage.store.heard == []
    await asyncio.sleep(0.1)
    assert stage.store.heard == [f"draw c1 {HELD}", f"draw c2 {HELD}", "end c1 19", "end c2 19"]
    await stage.ask("c3")
    stage.gate.settle(entry("c3"))
    await stage.ask("c4")  # the lease has no room for it
    assert stage.store.heard[4:] == [f"draw c3 {HELD}", "end c3 19"]


async def test_calls_with_other_limits_ask_the_store() -> None:
    stage = LeasingLimiter(budget("1"), limit(requests="99/m"))
    await stage.warm_up()
    before = stage.store.asked
    await stage.ask("c1")
    assert stage.store.asked == before + 1


async def test_without_the_store_a_lease_is_spent_and_then_calls_are_refused() -> None:
    stage = LeasingLimiter(budget("1"), limit(requests="99/m"), grant=HELD * 2)
    await stage.warm_up()
    stage.store.lost = True
    await stage.ask("c1")
    await stage.ask("c2")
    assert (await stage.refused("c3")).kind == "overloaded"
    with pytest.raises(ProblemError):
        await stage.gate.extend(stage.want("c1"), decision(), target())
    assert [call.id for call in stage.gate._find_running(None)][-2:] == ["c1", "c2"]
    await stage.end("c1")
    stage.store.lost = False
    await stage.gate.extend(stage.want("c2"), decision(), target())
    await stage.end("c2", cost=None)
    await stage.renew()
    heard = stage.store.heard
    assert heard.index("end c1 19") > 0
    assert "end c2 None" in heard


async def test_a_call_served_without_the_store_stays_reserved_for_as_long_as_it_can_run() -> None:
    """If the process dies, its reservation expires."""
    stage = LeasingLimiter(budget("1"), limit(requests="99/m"))
    await stage.warm_up()
    stage.store.lost = True
    await stage.ask("c1")
    stage.store.lost = False
    await stage.renew()
    assert f"draw c1 {HELD}" in stage.store.heard
    assert stage.store.lifetimes == [target().provider.timers["smart"].total + 60.0]


async def test_the_store_hears_of_a_leased_call_before_it_hears_of_its_end() -> None:
    stage = LeasingLimiter(budget("1"))
    await stage.warm_up()
    await stage.ask("c1")
    stage.store.lost = True
    await stage.end("c1")
    assert stage.gate._unsettled.has_any
    stage.store.lost = False
    stage.gate._settlement.is_store_lost = False
    stage.gate._settlement._repay()
    await stage.gate.wait_settled()
    assert stage.store.heard[1:] == [f"draw c1 {HELD}", "end c1 19"]
    stage.store.lost = True
    await stage.ask("c2")
    stage.gate._settlement._repay()
    await stage.gate.wait_settled()
    assert stage.gate._settlement.is_store_lost


async def test_a_leased_call_that_a_limit_refuses_gives_its_money_back() -> None:
    stage = LeasingLimiter(budget("1"), limit(concurrency=10))
    await stage.warm_up()
    stage.store.lost = True
    stage.gate._limits = ObservedLimiter(budget("1"), limit(concurrency=0)).gate._limits
    assert (await stage.refused("c9")).kind == "rate_limited"
    assert stage.gate._unsettled._unsettled["c9"][1] == ("c9", 0, 0)


async def test_closed_budgets_have_no_leases() -> None:
    stage = LeasingLimiter(budget("1"), closed=True)
    await stage.warm_up()
    assert stage.store.heard == []
    stage.gate.adopt(stage.gate._limits, fails_closed=False)
    await stage.renew()
    await stage.ask("c1")
    await stage.gate.close()
    assert [text.partition(" ")[0] for text in stage.store.heard] == ["lease", "draw", "end"]


async def test_a_stop_without_the_store_leaves_leases_charged() -> None:
    stage = LeasingLimiter(budget("1"))
    await stage.warm_up()
    stage.store.lost = True
    await stage.gate.close()
    assert stage.store.heard[1:] == []


async def test_a_store_without_leases_is_closed_and_renewed_as_well() -> None:
    stage = ObservedLimiter(budget())
    looks: list[float] = []

    async def twice(seconds: float) -> None:
        if len(looks) == 2:
            raise asyncio.CancelledError
        looks.append(seconds)

    await asyncio.gather(stage.gate.renew_leases(twice), return_exceptions=True)
    await stage.ask()
    await stage.gate.close()
    assert len(looks) == 2
