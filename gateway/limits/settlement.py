"""Settles ended calls in the background: the used amount replaces the reserved one.

While the counter store is unavailable, this process counts alone. Settlements that the store misses
meanwhile are repeated when it is back.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from gateway.core.errors import ProblemError
from gateway.limits.admission_options import HeldDemands
from gateway.limits.counters import ALL_SCOPES, CounterStore, EndedCall, Scopes
from gateway.limits.leases import SETTLE_SECONDS, Leases
from gateway.limits.reconciliation import UnsettledCalls
from gateway.state.errors import StoreUnavailable
from gateway.telemetry.log import Log


class Settlement:
    """Settles ended calls together, and knows whether the counter store is available.

    `make_local_store` returns a store that counts in this process while `counter_store` is
    unavailable. `leases` is None if the store grants none.
    """

    def __init__(
        self,
        counter_store: CounterStore,
        unsettled: UnsettledCalls,
        leases: Leases | None,
        make_local_store: Callable[[], CounterStore],
        log: Log,
        *,
        fails_closed: bool,
    ) -> None:
        self._counter_store = counter_store
        self._unsettled = unsettled
        self._leases = leases
        self._make_local_store = make_local_store
        self._log = log
        self.local_store = make_local_store()
        """The store of this process. Each loss begins with an empty one."""
        self.is_store_lost = False
        """True if the counter store did not answer the last request."""
        self.fails_closed = fails_closed
        """True if the limiter refuses calls of every budget while the counter store is away."""
        self._ended_calls: dict[tuple[str, Scopes], list[EndedCall]] = {}
        """Ended calls that `counter_store` has counted and not settled, by tenant and owners. Each
        group is settled at once."""
        self._local_ended_calls: list[tuple[HeldDemands, EndedCall]] = []
        """Ended calls that another store has counted."""
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, reservation: HeldDemands, ended_call: EndedCall) -> None:
        """Settle an ended call soon, together with others that end meanwhile."""
        if not (self._ended_calls or self._local_ended_calls):
            loop = asyncio.get_running_loop()
            if self._leases is not None and self._leases.has_lease:
                loop.call_later(SETTLE_SECONDS, self.begin)
            else:
                loop.call_soon(self.begin)
        group_key = reservation.tenant, reservation.scopes
        if reservation.counter_store is not self._counter_store:
            self._local_ended_calls.append((reservation, ended_call))
        elif (ended_calls := self._ended_calls.get(group_key)) is not None:
            ended_calls.append(ended_call)
        else:
            self._ended_calls[group_key] = [ended_call]

    def begin(self) -> None:
        """Settle now what has ended: the first step runs before anything else does."""
        if self._ended_calls or self._local_ended_calls:
            self._run_in_background(self._settle_ended(), at_once=True)

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        """Settle calls of a tenant, or remember them if the counter store is unavailable."""
        try:
            await self._counter_store.settle_all(tenant, ended_calls, scopes)
        except StoreUnavailable:
            self.report_loss()
            for ended_call in ended_calls:
                self._unsettled.add_unsettled(tenant, ended_call)

    async def wait(self) -> None:
        """Wait until all ended calls are settled."""
        self.begin()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def report_loss(self) -> None:
        """Count in this process alone from now on: the counter store is unavailable."""
        if self.is_store_lost:
            return
        self.is_store_lost = True
        budgets = "budgets" if self.fails_closed else "hard budgets"
        text = f"counted in this process alone, calls under {budgets} refused"
        self._log("limits", text=text)
        self.local_store = self._make_local_store()

    def report_return(self) -> None:
        """Count for all gateways again: the counter store has answered."""
        if not self.is_store_lost:
            return
        self.is_store_lost = False
        self._log("limits", text="counted for all again")
        if self._unsettled.has_any:
            self._repay()

    async def _settle_ended(self) -> None:
        """Settle all calls that have ended and are not settled yet."""
        ended_calls, self._ended_calls = self._ended_calls, {}
        local_calls, self._local_ended_calls = self._local_ended_calls, []
        if not await self._flush_leases():
            # The store must hear first that a call was served from a lease, then that it ended.
            for (tenant, _), calls in ended_calls.items():
                for ended_call in calls:
                    self._unsettled.add_unsettled(tenant, ended_call)
            ended_calls = {}
        for (tenant, owner_scopes), calls in ended_calls.items():
            await self.settle_all(tenant, calls, owner_scopes)
        for reservation, ended_call in local_calls:
            await reservation.counter_store.settle_all(reservation.tenant, (ended_call,))
            if reservation.shared_demands:
                self._unsettled.add_unsettled(reservation.tenant, ended_call)
            self._unsettled.add_local_call(reservation.tenant, reservation.demands, ended_call[2])
        if self._unsettled.has_any and not self.is_store_lost:  # left from a loss that is over
            self._repay()

    async def _flush_leases(self) -> bool:
        """Tell the store of calls served from leases. Return False if it is unavailable."""
        if self._leases is None:
            return True
        try:
            await self._leases.flush()
        except StoreUnavailable:
            self.report_loss()
            return False
        return True

    def _repay(self) -> None:
        async def repay() -> None:
            if not await self._flush_leases():
                return
            try:
                await self._unsettled.repay()
            except StoreUnavailable:
                self.report_loss()  # the rest is tried again later
            except ProblemError:
                return  # the ledger cannot be read: try again later

        self._run_in_background(repay())

    def _run_in_background(
        self, coroutine: Coroutine[object, object, None], *, at_once: bool = False
    ) -> None:
        """Run a coroutine in the background; `at_once` starts it before anything else runs."""
        task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=at_once)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
