"""What the ledger knows of counters that are not there, and what is owed to those that are."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from gateway.core.errors import ProblemError
from gateway.limits.counters import (
    AdmissionRequest,
    CounterDemand,
    CounterStore,
    End,
    MissingCounter,
    Owner,
)
from gateway.limits.refusals import UNCOUNTED
from gateway.limits.rules import MOST
from gateway.telemetry.log import Log, where

_GRACE = 60.0
"""Seconds in which a debt that is being paid is settled."""
_DUE = 10_000
"""Calls that are remembered, whose end whoever counts was not told."""


type Owed = dict[tuple[Owner, CounterDemand], int]
"""Micro-USD by owner and budget."""


class LedgerSpend(msgspec.Struct, frozen=True):
    """What the ledger has of a counter."""

    spent: int
    """Micro-USD."""
    owed: Owed
    """What of this was owed when it was asked: it is among that."""


class LedgerSpends:
    """What was spent by owner and counter, as the ledger has it: asked once for all who wait.

    `owed` tells what is owed to a counter.
    """

    def __init__(
        self,
        ask: Callable[[Owner, CounterDemand], Awaitable[int]],
        log: Log,
        owed: Callable[[Owner, str], Owed],
    ) -> None:
        self._ask = ask
        self._log = log
        self._owed = owed
        self._asking: dict[tuple[Owner, str], asyncio.Task[LedgerSpend]] = {}

    async def find(self, owner: Owner, need: CounterDemand) -> LedgerSpend:
        """Raises ProblemError where nobody can tell: what was spent is not taken for nothing."""
        named = owner, need.field
        task = self._asking.get(named)
        if task is None:
            task = self._asking[named] = asyncio.create_task(self._spent(owner, need))
            task.add_done_callback(lambda done: self._told(named, done))
        return await asyncio.shield(task)

    def _told(self, named: tuple[Owner, str], done: asyncio.Task[LedgerSpend]) -> None:
        del self._asking[named]
        if not done.cancelled():
            done.exception()  # nobody may wait for it any more

    async def _spent(self, owner: Owner, need: CounterDemand) -> LedgerSpend:
        owed = self._owed(owner, need.field)
        try:
            return LedgerSpend(await self._ask(owner, need), owed)
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            self._log("limits", text="the ledger cannot be read", error=where(error))
            raise ProblemError(UNCOUNTED) from None


class UnsettledCalls:
    """What whoever counts for all was not told while it was lost."""

    def __init__(
        self,
        meter: CounterStore,
        ask: Callable[[Owner, CounterDemand], Awaitable[int]],
        log: Log,
        wall: Callable[[], float],
    ) -> None:
        self._meter = meter
        self.seeds = LedgerSpends(ask, log, self._of)
        self._wall = wall
        self._owed: Owed = {}
        """What was counted elsewhere meanwhile."""
        self._due: dict[str, tuple[str, End]] = {}
        """Calls to be settled, by id: their tenant and their end."""
        self._repaying = False

    @property
    def any(self) -> bool:
        """Whether something is left to be paid."""
        return bool(self._owed or self._due)

    def owe(self, tenant: str, end: End) -> None:
        """A call is to be settled."""
        if len(self._due) < _DUE:
            self._due[end[0]] = tenant, end

    def add(self, tenant: str, needs: Iterable[CounterDemand], used: int | None) -> None:
        """A call that was counted elsewhere is over; None is all that it held."""
        for need in needs:
            if need.kind == "usd":
                one = need.owner(tenant), msgspec.structs.replace(need, amount=0, limit=MOST)
                self._owed[one] = self._owed.get(one, 0) + (need.amount if used is None else used)

    def known(self, seed: LedgerSpend) -> None:
        """A counter was made from the ledger, which has what was owed when it was asked."""
        for one, spent in seed.owed.items():
            self._paid(one, spent)

    async def repay(self) -> None:
        """Pay all, once at a time. Raises Lost; what is left is owed on."""
        if self._repaying:
            return
        self._repaying = True
        try:
            while self._due:
                id, (tenant, end) = next(iter(self._due.items()))
                await self._meter.settle(tenant, *end)
                self._due.pop(id, None)
            while self._owed:
                await self._pay(*next(iter(self._owed)))
        finally:
            self._repaying = False

    async def _pay(self, owner: Owner, need: CounterDemand) -> None:
        now, spent = self._wall(), self._owed[owner, need]
        taken = msgspec.structs.replace(need, amount=spent, soft=None)
        id, tenant = f"{need.field} {now:.6f}", owner or ""
        ask = AdmissionRequest(id=id, tenant=tenant, needs=(taken,), expires=now + _GRACE)
        if isinstance(await self._meter.admit(ask, now), MissingCounter):  # the ledger knows of it
            seed = await self.seeds.find(owner, need)
            await self._meter.seed(owner, need.field, seed.spent)
            self.known(seed)
            return
        self._paid((owner, need), spent)
        await self._meter.end(tenant, [(id, None, None)], (need.all_tenants,))

    def _paid(self, one: tuple[Owner, CounterDemand], spent: int) -> None:
        left = self._owed.pop(one, 0) - spent
        if left > 0:  # more came meanwhile
            self._owed[one] = left

    def _of(self, owner: Owner, field: str) -> Owed:
        """What is owed to a counter."""
        return {
            one: spent
            for one, spent in self._owed.items()
            if one[0] == owner and one[1].field == field
        }
