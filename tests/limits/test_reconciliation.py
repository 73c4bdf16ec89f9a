"""Missing counters start at what the ledger has, and a store gets what it missed once."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gateway.core.errors import ProblemError
from gateway.limits.counters import (
    ALL_SCOPES,
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    EndedCall,
    Owner,
    Scopes,
)
from gateway.limits.memory import MemoryCounters
from gateway.limits.reconciliation import Debts, LedgerSpend, LedgerSpends, UnsettledCalls
from gateway.state.errors import StoreUnavailable

NOW = 1e9
SHARED = CounterDemand(
    kind="usd", name="all", field="usd|all|all|total", limit=100, needs_seed=True, all_tenants=True
)
OWN = CounterDemand(kind="usd", name="own", field="usd|own|all|total", limit=100, needs_seed=True)


class ObservedStore(MemoryCounters):
    """A counter store that keeps its requests, and can be unavailable."""

    def __init__(self) -> None:
        super().__init__()
        self.admissions: list[AdmissionRequest] = []
        self.scopes: list[Scopes] = []
        self.fails = False

    async def admit(self, request: AdmissionRequest, now: float) -> Answer:
        self.admissions.append(request)
        return await super().admit(request, now)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro_usd: int | None) -> bool:
        if self.fails:
            raise StoreUnavailable
        return await super().settle(tenant, id, tokens, micro_usd)

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        self.scopes.append(scopes)
        await super().settle_all(tenant, ended_calls)


class ReconciliationStage:
    """A ledger, the calls that other gateways run, and what was asked of both."""

    def __init__(self) -> None:
        self.spent: dict[tuple[Owner, str], int] = {}
        self.debts: Debts = {}
        self.events: list[tuple[str, Owner, str]] = []
        self.log: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.store = ObservedStore()
        self.unsettled = UnsettledCalls(
            self.store, self.read_spent, self.restore, self.note, lambda: NOW
        )
        self.spends = LedgerSpends(self.read_spent, self.restore, self.note, self.find_debts)

    async def read_spent(self, owner: Owner, demand: CounterDemand) -> int:
        self.events.append(("read", owner, demand.field))
        await self.may_read.wait()
        if self.error is not None:
            raise self.error
        return self.spent.get((owner, demand.field), 0)

    async def restore(self, owner: Owner, demand: CounterDemand) -> None:
        self.events.append(("restore", owner, demand.field))

    def find_debts(self, owner: Owner, field: str) -> Debts:
        return {
            debt_key: spent
            for debt_key, spent in self.debts.items()
            if (debt_key[0], debt_key[1].field) == (owner, field)
        }

    def note(self, event: str, **fields: Any) -> None:
        self.log.append({"event": event, **fields})


async def test_a_counter_starts_at_its_owners_spending_after_open_calls_are_restored() -> None:
    stage = ReconciliationStage()
    stage.spent = {("acme", OWN.field): 7, (None, OWN.field): 40}
    stage.debts = {("acme", OWN): 3, (None, OWN): 5, ("acme", SHARED): 9}
    assert await stage.spends.find("acme", OWN) == LedgerSpend(7, {("acme", OWN): 3})
    assert stage.events == [("restore", "acme", OWN.field), ("read", "acme", OWN.field)]


async def test_a_read_that_restores_nothing_asks_the_ledger_alone() -> None:
    stage = ReconciliationStage()
    await stage.spends.find("acme", OWN, restores=False)
    assert stage.events == [("read", "acme", OWN.field)]


async def test_only_reads_of_the_same_counter_for_the_same_purpose_are_shared() -> None:
    stage = ReconciliationStage()
    stage.spent = {("acme", OWN.field): 7, ("other", OWN.field): 8, (None, SHARED.field): 40}
    found = await asyncio.gather(
        stage.spends.find("acme", OWN),
        stage.spends.find("acme", OWN),
        stage.spends.find("other", OWN),
        stage.spends.find(None, SHARED),
        stage.spends.find("acme", OWN, restores=False),
    )
    assert [ledger_spend.spent for ledger_spend in found] == [7, 7, 8, 40, 7]
    assert len([event for event in stage.events if event[0] == "read"]) == 4
    assert len([event for event in stage.events if event[0] == "restore"]) == 3


async def test_the_log_says_that_the_ledger_cannot_be_read_and_where_it_failed() -> None:
    stage = ReconciliationStage()
    stage.error = OSError("gone")
    with pytest.raises(ProblemError):
        await stage.spends.find("acme", OWN)
    (row,) = stage.log
    assert (row["event"], row["text"]) == ("limits", "the ledger cannot be read")
    assert "OSError" in row["error"]


async def test_a_read_that_fails_once_no_caller_waits_is_no_unhandled_error() -> None:
    stage, unhandled = ReconciliationStage(), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    stage.error = OSError("gone")
    stage.may_read.clear()
    caller = asyncio.create_task(stage.spends.find("acme", OWN))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    del caller  # its error would keep the read alive
    stage.may_read.set()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    assert stage.log
    assert unhandled == []


@pytest.mark.parametrize(
    ("used", "owed"), [(5, 5), (None, 60), (0, 0)], ids=["used", "unknown", "nothing"]
)
async def test_a_call_counted_elsewhere_owes_what_it_used_or_else_all_that_it_reserved(
    used: int | None, owed: int
) -> None:
    stage = ReconciliationStage()
    await stage.store.seed("acme", OWN.field, 0)
    stage.unsettled.add_local_call("acme", [msgspec.structs.replace(OWN, amount=60)], used)
    await stage.unsettled.repay()
    assert await stage.store.read_counters("acme") == {OWN.field: owed}
    assert not stage.unsettled.has_any


async def test_debts_to_one_budget_are_repaid_at_once_and_above_its_limit() -> None:
    """The money is spent already, so no limit refuses it."""
    stage = ReconciliationStage()
    await stage.store.seed("acme", OWN.field, 0)
    for amount in (60, 70):
        demand = msgspec.structs.replace(OWN, amount=amount)
        stage.unsettled.add_local_call("acme", [demand], None)
    await stage.unsettled.repay()
    assert len(stage.store.admissions) == 1
    assert await stage.store.read_counters("acme") == {OWN.field: 130}


@pytest.mark.parametrize(("owner", "tenant"), [("acme", "acme"), (None, "")])
async def test_a_repayment_is_charged_to_the_owner_of_its_budget(owner: Owner, tenant: str) -> None:
    """The gateway settles it at once; a minute later it stays charged if that is lost."""
    stage = ReconciliationStage()
    demand = SHARED if owner is None else OWN
    await stage.store.seed(owner, demand.field, 0)
    stage.unsettled.add_local_call("acme", [demand], 5)
    await stage.unsettled.repay()
    (request,) = stage.store.admissions
    assert (request.tenant, request.expires_at) == (tenant, NOW + 60)
    assert stage.store.scopes == [(owner is None,)]
    assert await stage.store.read_counters(owner) == {demand.field: 5}
    full = msgspec.structs.replace(demand, amount=95)
    request = AdmissionRequest(id="c", tenant="acme", demands=(full,), expires_at=NOW + 9)
    assert await stage.store.admit(request, NOW) == Admitted()


async def test_a_repayment_takes_no_warning_from_the_next_call() -> None:
    """The gateway reads no warning in the answer to a repayment."""
    stage = ReconciliationStage()
    soft = msgspec.structs.replace(OWN, soft=10)
    await stage.store.seed("acme", OWN.field, 0)
    stage.unsettled.add_local_call("acme", [soft], 20)
    await stage.unsettled.repay()
    request = AdmissionRequest(id="c", tenant="acme", demands=(soft,), expires_at=NOW + 9)
    assert await stage.store.admit(request, NOW) == Admitted((soft,))


async def test_a_missing_counter_starts_with_the_debt_that_the_ledger_has() -> None:
    stage = ReconciliationStage()
    stage.spent = {("acme", OWN.field): 45, (None, OWN.field): 1_000}
    stage.unsettled.add_local_call("acme", [OWN], 5)
    await stage.unsettled.repay()
    assert await stage.store.read_counters("acme") == {OWN.field: 45}
    assert await stage.store.read_counters(None) == {}
    assert not stage.unsettled.has_any


@pytest.mark.parametrize("included", [0, 4, 5])
async def test_a_seeded_counter_owes_only_what_came_after_the_read_of_the_ledger(
    included: int,
) -> None:
    stage = ReconciliationStage()
    await stage.store.seed("acme", OWN.field, 0)
    stage.unsettled.add_local_call("acme", [OWN], 5)
    (debt_key,) = stage.unsettled._find_debts("acme", OWN.field)
    stage.unsettled.mark_seeded(LedgerSpend(0, {debt_key: included}))
    await stage.unsettled.repay()
    assert await stage.store.read_counters("acme") == {OWN.field: 5 - included}
    stage.unsettled.mark_seeded(LedgerSpend(0, {debt_key: included}))  # it is repaid by now
    assert not stage.unsettled.has_any


async def test_a_read_knows_the_debts_of_its_own_counter_alone() -> None:
    stage = ReconciliationStage()
    second = msgspec.structs.replace(OWN, field="usd|second|all|total")
    stage.unsettled.add_local_call("acme", [OWN, second], 5)
    stage.unsettled.add_local_call("other", [OWN], 6)
    ledger_spend = await stage.unsettled.ledger_spends.find("acme", OWN)
    assert list(ledger_spend.debts.values()) == [5]


async def test_calls_that_the_store_does_not_settle_stay_unsettled_until_it_does() -> None:
    stage = ReconciliationStage()
    await stage.store.seed("acme", OWN.field, 0)
    for id in ("a", "b"):
        request = AdmissionRequest(id=id, tenant="acme", demands=(OWN,), expires_at=NOW + 9)
        await stage.store.admit(request, NOW)
        stage.unsettled.add_unsettled("acme", (id, None, 30))
    stage.store.fails = True
    with pytest.raises(StoreUnavailable):
        await stage.unsettled.repay()
    assert stage.unsettled.has_any
    stage.store.fails = False
    await stage.unsettled.repay()
    assert await stage.store.read_counters("acme") == {OWN.field: 60}
    assert not stage.unsettled.has_any
