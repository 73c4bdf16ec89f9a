"""Rebuild missing budget counters from the ledger, and replay settlements that a store missed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from gateway.core.errors import ProblemError
from gateway.limits.counters import (
    MAX_COUNT,
    AdmissionRequest,
    CounterDemand,
    CounterStore,
    EndedCall,
    MissingCounter,
    Owner,
)
from gateway.limits.refusals import UNCOUNTED_PROBLEM
from gateway.state.errors import StoreUnavailable
from gateway.telemetry.log import Log, locate_error

_GRACE_SECONDS = 60.0
"""Seconds until the repayment of a debt expires, if the store does not settle it."""
_MAX_UNSETTLED = 10_000
"""The most ended calls that the gateway remembers while the counter store is unavailable."""


type Debts = dict[tuple[Owner, CounterDemand], int]
"""Micro-USD that the counter store has not counted, by owner and budget."""


class LedgerSpend(msgspec.Struct, frozen=True):
    """The amount that the ledger has for a counter."""

    spent: int
    """Micro-USD."""
    debts: Debts
    """Debts at the time of the read; `spent` includes them."""


async def restore_nothing(owner: Owner, demand: CounterDemand) -> None:
    """Leave a counter store as it is: it has forgotten no call, or no other gateway has calls."""


class LedgerSpends:
    """Amounts spent, by owner and counter, from the ledger; callers share one read.

    `restore_open_calls` reserves in the shared store what other gateways' calls have reserved of a
    counter. `find_debts` returns the debts of a counter.
    """

    def __init__(
        self,
        read_spent: Callable[[Owner, CounterDemand], Awaitable[int]],
        restore_open_calls: Callable[[Owner, CounterDemand], Awaitable[None]],
        log: Log,
        find_debts: Callable[[Owner, str], Debts],
    ) -> None:
        self._read_spent = read_spent
        self._restore_open_calls = restore_open_calls
        self._log = log
        self._find_debts = find_debts
        self._tasks: dict[tuple[Owner, str, bool], asyncio.Task[LedgerSpend]] = {}

    async def find(
        self, owner: Owner, demand: CounterDemand, *, restores: bool = True
    ) -> LedgerSpend:
        """Return what was spent on a counter; first restore open calls if it `restores`.

        Raises ProblemError if the ledger cannot be read: unknown spending does not count as 0.
        Raises StoreUnavailable.
        """
        counter = owner, demand.field, restores
        task = self._tasks.get(counter)
        if task is None:
            load = self._load(owner, demand, restores=restores)
            task = self._tasks[counter] = asyncio.create_task(load)
            task.add_done_callback(lambda finished_task: self._finish(counter, finished_task))
        return await asyncio.shield(task)

    def _finish(self, counter: tuple[Owner, str, bool], task: asyncio.Task[LedgerSpend]) -> None:
        del self._tasks[counter]
        if not task.cancelled():
            task.exception()  # fetch it, since all callers may have left

    async def _load(self, owner: Owner, demand: CounterDemand, *, restores: bool) -> LedgerSpend:
        debts = self._find_debts(owner, demand.field)
        try:
            if restores:
                await self._restore_open_calls(owner, demand)
            return LedgerSpend(await self._read_spent(owner, demand), debts)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            self._log("limits", text="the ledger cannot be read", error=locate_error(error))
            raise ProblemError(UNCOUNTED_PROBLEM) from None


class UnsettledCalls:
    """Settlements and amounts that the counter store missed while it was unavailable."""

    def __init__(
        self,
        counter_store: CounterStore,
        read_spent: Callable[[Owner, CounterDemand], Awaitable[int]],
        restore_open_calls: Callable[[Owner, CounterDemand], Awaitable[None]],
        log: Log,
        wall: Callable[[], float],
    ) -> None:
        self._counter_store = counter_store
        self.ledger_spends = LedgerSpends(read_spent, restore_open_calls, log, self._find_debts)
        self._wall = wall
        self._debts: Debts = {}
        """Micro-USD that another store has counted meanwhile."""
        self._unsettled: dict[str, tuple[str, EndedCall]] = {}
        """Ended calls that are not settled: their tenant and what they used, by call id."""
        self._is_repaying = False

    @property
    def has_any(self) -> bool:
        """Return True if the counter store still misses something."""
        return bool(self._debts or self._unsettled)

    def add_unsettled(self, tenant: str, ended_call: EndedCall) -> None:
        """Remember an ended call, to settle it later."""
        if len(self._unsettled) < _MAX_UNSETTLED:
            self._unsettled[ended_call[0]] = tenant, ended_call

    def add_local_call(
        self, tenant: str, demands: Iterable[CounterDemand], used_micro_usd: int | None
    ) -> None:
        """Add the debts of a call that another store has counted; None is all that it reserved."""
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
        """Remove the debts that a counter, seeded from the ledger, includes already."""
        for debt_key, spent in ledger_spend.debts.items():
            self._reduce_debt(debt_key, spent)

    async def repay(self) -> None:
        """Replay all settlements and debts; a second run returns at once while one runs.

        The rest stays owed after an error. Raises StoreUnavailable, ProblemError.
        """
        if self._is_repaying:
            return
        self._is_repaying = True
        try:
            while self._unsettled:
                id, (tenant, ended_call) = next(iter(self._unsettled.items()))
                await self._counter_store.settle(tenant, *ended_call)
                del self._unsettled[id]
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
        # The ledger has this debt already, so a counter that starts from it has it too.
        if isinstance(await self._counter_store.admit(request, now), MissingCounter):
            ledger_spend = await self.ledger_spends.find(owner, demand)
            await self._counter_store.seed(owner, demand.field, ledger_spend.spent)
            self.mark_seeded(ledger_spend)
            return
        self._reduce_debt((owner, demand), spent)
        await self._counter_store.settle_all(tenant, [(id, None, None)], (demand.all_tenants,))

    def _reduce_debt(self, debt_key: tuple[Owner, CounterDemand], spent: int) -> None:
        remaining = self._debts.pop(debt_key, 0) - spent
        if remaining > 0:  # new debts came meanwhile
            self._debts[debt_key] = remaining

    def _find_debts(self, owner: Owner, field: str) -> Debts:
        """Return the debts of a counter."""
        return {
            debt_key: spent
            for debt_key, spent in self._debts.items()
            if debt_key[0] == owner and debt_key[1].field == field
        }
