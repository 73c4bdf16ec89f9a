"""What counts a call against limits and budgets: the values, and the protocol of who counts.

A call must pass all of its needs at once, or none is taken. What it takes is held until it is
settled: requests stay taken, tokens and money become what was used, a place among calls that run at
once is given back. A hold that is never settled stays taken: an amount that nobody has corrected
counts as spent.

A counter has one owner: a tenant, or all tenants together. Where a call needs counters of both,
each takes what it is asked for or nothing, and where one refuses, what the other has taken is given
back. If the process dies in between, what it took expires and stays charged.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from gateway.core.target import Tier

type Kind = Literal["requests", "tokens", "concurrency", "usd", "share"]
type Owner = str | None
"""Whose a counter is: a tenant's, by its name, or None for all tenants'."""
type Scopes = tuple[bool, ...]
"""Which owners a call has needs of, in the order in which they are asked: True is all tenants."""
ALL_SCOPES: Scopes = (True, False)


class CounterDemand(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One counter that a call must pass. Scripts in Redis know its fields by their order."""

    kind: Kind
    name: str
    """Of the limit or budget, for messages and metrics."""
    field: str
    """The counter, without its tenant: "usd|team|key=ann|2026-11-24"."""
    limit: int
    """Requests or tokens in `period`; calls at once; micro-USD; thousandths of all calls."""
    amount: int = 1
    """What the call takes of it."""
    period: float = 0.0
    """Seconds in which `limit` requests or tokens are given back, a little at a time."""
    total_field: str = ""
    """For a share: the counter of all calls."""
    needs_seed: bool = False
    """A counter that is not there must be given what was spent, not 0."""
    soft: int | None = None
    """Where a warning is due."""
    then: Tier | None = None
    """Where the call goes in place of a refusal."""
    all_tenants: bool = False
    """True if the counter has the calls of all tenants."""

    def owner(self, tenant: str) -> Owner:
        """Return whose the counter is, for a call of a tenant."""
        return None if self.all_tenants else tenant


class DemandTemplate:
    """What calls of one kind need, but for how much of it, where that is each call's own."""

    __slots__ = ("demands", "scopes", "variable_indexes")

    def __init__(
        self, demands: tuple[CounterDemand, ...], variable_indexes: tuple[int, ...] = ()
    ) -> None:
        """Needs of all tenants stand first.

        `variable_indexes` are the places in `demands` of those whose amount is a call's own.
        """
        self.demands = demands
        self.variable_indexes = variable_indexes
        self.scopes = collect_scopes(demands)

    def fill(self, amounts: Sequence[int]) -> tuple[CounterDemand, ...]:
        """The needs of a call that takes such amounts of those that vary."""
        if not amounts:
            return self.demands
        demands = list(self.demands)
        for index, amount in zip(self.variable_indexes, amounts, strict=True):
            demands[index] = msgspec.structs.replace(demands[index], amount=amount)
        return tuple(demands)


def collect_scopes(demands: Sequence[CounterDemand]) -> Scopes:
    """Return which owners some needs are of, in the order in which they are asked."""
    flags = {demand.all_tenants for demand in demands}
    return tuple([scope for scope in ALL_SCOPES if scope in flags])


class AdmissionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A call that wants to pass."""

    id: str
    tenant: str
    demands: tuple[CounterDemand, ...]
    """Those of all tenants first; so it is of `fallbacks`."""
    expires_at: float
    """Seconds since the epoch until which it runs at most."""
    fallbacks: tuple[tuple[Tier, tuple[CounterDemand, ...]], ...] = ()
    """What it needs at cheaper tiers, dearest first: where a need that does not fit has `then`,
    those of that tier are tried in place of all."""
    seeds: tuple[tuple[Owner, str, int], ...] = ()
    """What was spent, by owner and counter, for those that are not there."""
    held_scopes: Scopes = ()
    """Whose counters it holds something of already: that lives on with what it takes more."""

    @property
    def options(self) -> tuple[tuple[CounterDemand, ...], ...]:
        """What it needs, first of its own and then of each of its `fallbacks`."""
        return (self.demands, *[demands for _, demands in self.fallbacks])

    def next_choice(self, choice: int, demand: CounterDemand) -> int | None:
        """Return which of its ways comes after one that a need has refused; None if none does."""
        if demand.then is None:
            return None
        tiers = enumerate([tier for tier, _ in self.fallbacks], 1)
        return next(
            (index for index, tier in tiers if index > choice and tier == demand.then), None
        )


BUSY_RETRY_SECONDS = 1.0
"""Seconds after which a call asks a busy budget again."""


class Refusal(msgspec.Struct, frozen=True):
    """The need that a call does not pass; nothing was taken."""

    demand: CounterDemand
    retry_after: float | None = None
    """Seconds; None where nobody knows, or only a new window helps."""
    choice: int = 0
    """Whose it is: 0 the call's own, else so many of its `fallbacks`."""
    exhausted: tuple[CounterDemand, ...] = ()
    """Used-up needs that sent the call there."""
    busy: bool = False
    """True if the need would fit if the other running calls cost nothing."""


class MissingCounter(msgspec.Struct, frozen=True):
    """A counter that must be given what was spent first; nothing was taken."""

    demand: CounterDemand
    other_demands: tuple[CounterDemand, ...] = ()
    """Others of the same call."""


class Admitted(msgspec.Struct, frozen=True):
    """All needs are taken."""

    warnings: tuple[CounterDemand, ...] = ()
    """Those whose soft limit this call has crossed: each is told by one call alone."""
    choice: int = 0
    """Which were taken: 0 the call's own, else so many of its `fallbacks`."""
    exhausted: tuple[CounterDemand, ...] = ()
    """Used-up needs that sent the call there."""


PASSED = Admitted()
"""All are taken, and there is nothing to tell."""

type Answer = Admitted | Refusal | MissingCounter


def merge_answers(shared_answer: Answer, tenant_answer: Answer) -> Answer:
    """Join all tenants' answer and a tenant's own, where they do not both let a call pass."""
    if isinstance(shared_answer, MissingCounter) and isinstance(tenant_answer, MissingCounter):
        return MissingCounter(
            shared_answer.demand,
            (*shared_answer.other_demands, tenant_answer.demand, *tenant_answer.other_demands),
        )
    return tenant_answer if isinstance(shared_answer, Admitted) else shared_answer


type EndedCall = tuple[str, int | None, int | None]
"""A call that is over: its id, tokens and micro-USD that it used; None leaves what was held."""


class CounterStore(Protocol):
    """Counts. Asking again with the same id takes nothing twice. Raises StoreUnavailable."""

    async def admit(self, request: AdmissionRequest, now: float) -> Answer:
        """Take all needs or none; `now` in seconds since the epoch."""
        ...

    async def admit_single(
        self,
        template: DemandTemplate,
        amounts: tuple[int, ...],
        id: str,
        tenant: str,
        lifetime: float,
        now: float,
    ) -> Answer:
        """The same for a call that has no other way to go, and runs `lifetime` seconds at most."""
        ...

    async def seed(self, owner: Owner, field: str, value: int) -> None:
        """Give a counter that is not there what was spent; one that is there stays."""
        ...

    async def extend(self, request: AdmissionRequest, now: float) -> Answer:
        """Take more for a call that has passed: its needs are added to what it holds."""
        ...

    async def settle(self, tenant: str, id: str, tokens: int | None, micro_usd: int | None) -> bool:
        """Turn what a call of a tenant holds into what it used; None leaves what was held.

        False where it holds nothing, or was settled before.
        """
        ...

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        """Settle several calls at once; they hold nothing of other `collect_scopes`."""
        ...

    async def read_counters(self, owner: Owner) -> dict[str, int]:
        """Every counter of money and shares, by field."""
        ...

    async def sweep(self, owner: Owner, now: float) -> None:
        """Let go of what counts nothing any more."""
        ...

    async def close(self) -> None:
        """Give back what it has open."""
        ...
