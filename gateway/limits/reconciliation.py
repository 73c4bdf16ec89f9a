"""What the ledger knows of counters that are not there, and what is owed to those that are."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from gateway.core.errors import ProblemError
from gateway.limits.counters import (
    AdmissionRequest,
    CounterDemand,
    CounterStore,
    EndedCall,
    MissingCounter,
    Owner,
)
from gateway.limits.refusals import UNCOUNTED_PROBLEM
from gateway.limits.rules import MAX_COUNT
from gateway.telemetry.log import Log, locate_error

_GRACE_SECONDS = 60.0
"""Seconds in which a debt that is being paid is settled."""
_MAX_UNSETTLED = 10_000
"""Calls that are remembered, whose end whoever counts was not told."""


type Debts = dict[tuple[Owner, CounterDemand], int]
"""Micro-USD by owner and budget."""


class LedgerSpend(msgspec.Struct, frozen=True):
    """What the ledger has of a counter."""

    spent: int
    """Micro-USD."""
    debts: Debts
    """What of this was owed when it was asked: it is among that."""


class LedgerSpends:
    """What was spent by owner and counter, as the ledger has it: asked once for all who wait.

    `find_debts` tells what is owed to a counter.
    """

    def __init__(
        self,
        read_spent: Callable[[Owner, CounterDemand], Awaitable[int]],
        log: Log,
        find_debts: Callable[[Owner, str], Debts],
    ) -> None:
        self._read_spent = read_spent
        self._log = log
        self._find_debts = find_debts
        self._tasks: dict[tuple[Owner, str], asyncio.Task[LedgerSpend]] = {}

    async def find(self, owner: Owner, demand: CounterDemand) -> LedgerSpend:
        """Raises ProblemError where nobody can tell: what was spent is not taken for nothing."""
        counter = owner, demand.field
        task = self._tasks.get(counter)
        if task is None:
            task = self._tasks[counter] = asyncio.create_task(self._load(owner, demand))
            task.add_done_callback(lambda finished_task: self._finish(counter, finished_task))
        return await asyncio.shield(task)

    def _finish(self, counter: tuple[Owner, str], task: asyncio.Task[LedgerSpend]) -> None:
        del self._tasks[counter]
        if not task.cancelled():
            task.exception()  # nobody may wait for it any more

    async def _load(self, owner: Owner, demand: CounterDemand) -> LedgerSpend:
        debts = self._find_debts(owner, demand.field)
        try:
            return LedgerSpend(await self._read_spent(owner, demand), debts)
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            self._log("limits", text="the ledger cannot be read", error=locate_error(error))
            raise ProblemError(UNCOUNTED_PROBLEM) from None


class UnsettledCalls:
    """What whoever counts for all was not told while it was lost."""

    def __init__(
        self,
        counter_store: CounterStore,
        read_spent: Callable[[Owner, CounterDemand], Awaitable[int]],
        log: Log,
        wall: Callable[[], float],
    ) -> None:
        self._counter_store = counter_store
        self.ledger_spends = LedgerSpends(read_spent, log, self._find_debts)
        self._wall = wall
        self._debts: Debts = {}
        """What was counted elsewhere meanwhile."""
        self._unsettled: dict[str, tuple[str, EndedCall]] = {}
        """Calls to be settled, by id: their tenant and their end."""
        self._is_repaying = False

    @property
    def has_any(self) -> bool:
        """Whether something is left to be paid."""
        return bool(self._debts or self._unsettled)

    def add_unsettled(self, tenant: str, ended_call: EndedCall) -> None:
        """A call is to be settled."""
        if len(self._unsettled) < _MAX_UNSETTLED:
            self._unsettled[ended_call[0]] = tenant, ended_call

    def add_local_call(
        self, tenant: str, demands: Iterable[CounterDemand], used_micro_usd: int | None
    ) -> None:
        """A call that was counted elsewhere is over; None is all that it held."""
        for demand in demands:
            if demand.kind == "usd":
                debt_key = (
                    demand.owner(tenant),
                    msgspec.structs.replace(demand, amount=0, limit=MAX_COUNT),
                )
                self._debts[debt_key] = self._debts.get(debt_key, 0) + (
                    demand.amount if used_micro_usd is None else used_micro_usd
                )

    def mark_seeded(self, ledger_spend: LedgerSpend) -> None:
        """A counter was made from the ledger, which has what was owed when it was asked."""
        for debt_key, spent in ledger_spend.debts.items():
            self._reduce_debt(debt_key, spent)

    async def repay(self) -> None:
        """Pay all, once at a time. Raises StoreUnavailable; what is left is owed on."""
        if self._is_repaying:
            return
        self._is_repaying = True
        try:
            while self._unsettled:
                id, (tenant, ended_call) = next(iter(self._unsettled.items()))
                await self._counter_store.settle(tenant, *ended_call)
                self._unsettled.pop(id, None)
            while self._debts:
                await self._repay_debt(*next(iter(self._debts)))
        finally:
            self._is_repaying = False

    async def _repay_debt(self, owner: Owner, demand: CounterDemand) -> None:
        now, spent = self._wall(), self._debts[owner, demand]
        charge = msgspec.structs.replace(demand, amount=spent, soft=None)
        id, tenant = f"{demand.field} {now:.6f}", owner or ""
        request = AdmissionRequest(
            id=id, tenant=tenant, demands=(charge,), expires_at=now + _GRACE_SECONDS
        )
        if isinstance(
            await self._counter_store.admit(request, now), MissingCounter
        ):  # the ledger knows of it
            ledger_spend = await self.ledger_spends.find(owner, demand)
            await self._counter_store.seed(owner, demand.field, ledger_spend.spent)
            self.mark_seeded(ledger_spend)
            return
        self._reduce_debt((owner, demand), spent)
        await self._counter_store.settle_all(tenant, [(id, None, None)], (demand.all_tenants,))

    def _reduce_debt(self, debt_key: tuple[Owner, CounterDemand], spent: int) -> None:
        remaining = self._debts.pop(debt_key, 0) - spent
        if remaining > 0:  # more came meanwhile
            self._debts[debt_key] = remaining

    def _find_debts(self, owner: Owner, field: str) -> Debts:
        """What is owed to a counter."""
        return {
            debt_key: spent
            for debt_key, spent in self._debts.items()
            if debt_key[0] == owner and debt_key[1].field == field
        }
