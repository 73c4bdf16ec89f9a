"""Counting calls against limits and budgets: the values, and the protocol of counter stores.

The counter store grants all demands of a call at once, or none. A granted amount stays reserved
until the call is settled. Requests stay counted, tokens and money become what the call used, and a
concurrency slot becomes free. A reservation that is never settled stays charged: an amount that
nobody has corrected counts as spent.

A counter has one owner: a tenant, or all tenants together. A call may need counters of both. Each
owner then grants all of its demands or none. If one owner refuses, the store gives back what the
other has granted. If the process dies in between, that amount expires and stays charged.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import msgspec

from gateway.core.target import Tier
from gateway.limits.window import Window

type Kind = Literal["requests", "tokens", "concurrency", "usd", "share"]
type Owner = str | None
"""The owner of a counter: a tenant's name, or None for all tenants together."""
type Scopes = tuple[bool, ...]
"""The owners whose counters a call needs, in the order of asking: True is all tenants."""
ALL_SCOPES: Scopes = (True, False)
OPEN_CALL_SECONDS = 3_600.0
"""Seconds after a loss of reservations in which calls from before it may still run."""
MAX_COUNT = 2**53 - 1
"""The limit of a counter that never refuses: Redis scripts know no larger number exactly."""


class CounterDemand(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One counter that a call must pass. Scripts in Redis read its fields by position."""

    kind: Kind
    name: str
    """The name of the limit or budget, for messages and metrics."""
    field: str
    """The counter, without its tenant: "usd|team|key=ann|2026-11-24"."""
    limit: int
    """Requests or tokens in `period`; calls at once; micro-USD; thousandths of all calls."""
    amount: int = 1
    """The amount that the call takes."""
    period: float = 0.0
    """Seconds in which the counter gives back `limit` requests or tokens, bit by bit."""
    total_field: str = ""
    """The counter of all calls; only a share has one."""
    needs_seed: bool = False
    """True if a missing counter must start at the amount spent, not at 0."""
    soft: int | None = None
    """The amount from which the gateway warns."""
    then: Tier | None = None
    """The cheaper tier for a call that does not fit; None refuses it."""
    all_tenants: bool = False
    """True if the counter counts the calls of all tenants."""
    is_shown: bool = False
    """True for a rate of which the client may see what is left."""

    @property
    def is_hard_money(self) -> bool:
        """True if a call must not pass without reserving money of a hard budget."""
        return self.kind == "usd" and self.amount > 0 and self.limit < MAX_COUNT

    def owner(self, tenant: str) -> Owner:
        """Return the owner of the counter, for a call of a tenant."""
        return None if self.all_tenants else tenant


class DemandTemplate:
    """The demands of all calls of one kind; each call fills in its own amounts."""

    __slots__ = ("demands", "has_only_money", "scopes", "variable_indexes")

    def __init__(
        self, demands: tuple[CounterDemand, ...], variable_indexes: tuple[int, ...] = ()
    ) -> None:
        """Take `demands`, those of all tenants first.

        `variable_indexes` are the positions in `demands` whose amount differs by call.
        """
        self.demands = demands
        self.variable_indexes = variable_indexes
        self.scopes = collect_scopes(demands)
        self.has_only_money = all(demand.kind == "usd" for demand in demands)
        """True if all demands are for money, so that leases can serve the call."""

    def fill(self, amounts: Sequence[int]) -> tuple[CounterDemand, ...]:
        """Return the demands of a call with these amounts at the variable positions."""
        if not amounts:
            return self.demands
        demands = list(self.demands)
        for number, index in enumerate(self.variable_indexes):
            demands[index] = msgspec.structs.replace(demands[index], amount=amounts[number])
        return tuple(demands)


def collect_scopes(demands: Sequence[CounterDemand]) -> Scopes:
    """Return the owners of some demands, in the order of asking."""
    flags = {demand.all_tenants for demand in demands}
    return tuple([scope for scope in ALL_SCOPES if scope in flags])


class AdmissionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A call that asks to pass."""

    id: str
    tenant: str
    demands: tuple[CounterDemand, ...]
    """The demands on counters of all tenants come first, also in `fallbacks`."""
    expires_at: float
    """Seconds since the epoch when the call has ended at the latest."""
    fallbacks: tuple[tuple[Tier, tuple[CounterDemand, ...]], ...] = ()
    """Each cheaper tier with the demands there, dearest first. If a demand does not fit and its
    `then` is such a tier, that tier's demands replace all others."""
    seeds: tuple[tuple[Owner, str, int], ...] = ()
    """Amounts spent, by owner and counter, with which missing counters start."""
    held_scopes: Scopes = ()
    """The owners of whose counters the call has reserved some already. That reservation lives on
    with the amount it adds."""

    @property
    def options(self) -> tuple[tuple[CounterDemand, ...], ...]:
        """Return its own demands, then those of each of its `fallbacks`."""
        return (self.demands, *[demands for _, demands in self.fallbacks])

    def next_choice(self, choice: int, demand: CounterDemand) -> int | None:
        """Return the option that follows if a demand refuses option `choice`; None if none does."""
        if demand.then is None:
            return None
        tiers = enumerate([tier for tier, _ in self.fallbacks], 1)
        return next(
            (index for index, tier in tiers if index > choice and tier == demand.then), None
        )


_USER_COUNTER_PATTERN = re.compile(r"[^|]*\|[^|]*\|user=")
"""The beginning of the counter of an end user. Scripts in Redis know it by the same pattern."""


class RunningCall(msgspec.Struct, frozen=True):
    """A call that runs, and what it has reserved."""

    id: str
    expires_at: float
    """Seconds since the epoch when the call has ended at the latest."""
    demands: Sequence[CounterDemand]


type FindRunning = Callable[[Owner], Sequence[RunningCall]]
"""Finds the running calls that have reserved something of an owner, with those demands alone."""


BUSY_RETRY_SECONDS = 1.0
"""Seconds until a call asks a busy budget again."""


class RateState(msgspec.Struct, frozen=True):
    """The rest of a rate that the client may see, once a call has taken its part."""

    demand: CounterDemand
    left: int
    """Requests or tokens."""
    reset_seconds: float | None
    """Seconds until all is back, if no other call comes; None if it never is."""

    def give_back(self) -> "RateState":
        """Return the state once the rate has back what the call took."""
        demand = self.demand
        if self.reset_seconds is None:
            return self
        seconds = self.reset_seconds - demand.amount * demand.period / demand.limit
        return RateState(demand, self.left + demand.amount, max(0.0, seconds))


class Refusal(msgspec.Struct, frozen=True):
    """The demand that a call does not pass; the store has taken nothing."""

    demand: CounterDemand
    retry_after: float | None = None
    """Seconds; None if unknown, or if only a new window helps."""
    choice: int = 0
    """The option that the demand belongs to: 0 is the call's own, n the n-th of its `fallbacks`."""
    exhausted: tuple[CounterDemand, ...] = ()
    """The used-up demands that moved the call to this option."""
    busy: bool = False
    """True if the demand would fit if the other running calls cost nothing."""
    left: int | None = None
    """The micro-USD that a budget has left, reservations taken off; None for other demands."""
    rates: tuple[RateState, ...] = ()
    """The rates of the option that the client may see, without a part of this call."""


class MissingCounter(msgspec.Struct, frozen=True):
    """A counter that must start at the amount spent; the store has taken nothing."""

    demand: CounterDemand
    other_demands: tuple[CounterDemand, ...] = ()
    """Further missing counters of the same call."""
    wait: float = 0.0
    """Seconds until the counter may start; what is read before is too old."""
    may_lack_calls: bool = False
    """True if the store has forgotten reservations of calls that may still run."""


class Admitted(msgspec.Struct, frozen=True):
    """The answer to a call that passes: the store has taken all of its demands."""

    warnings: tuple[CounterDemand, ...] = ()
    """The demands whose soft limit this call has crossed; one call alone reports each."""
    choice: int = 0
    """The granted option: 0 is the call's own, n the n-th of its `fallbacks`."""
    exhausted: tuple[CounterDemand, ...] = ()
    """The used-up demands that moved the call to this option."""
    rates: tuple[RateState, ...] = ()
    """The rates of the option that the client may see; a repeated request may get none."""


PASSED = Admitted()
"""The answer to a call that passes its own demands, with nothing to report."""

type Answer = Admitted | Refusal | MissingCounter


@lru_cache(maxsize=4096)
def is_user_counter(field: str) -> bool:
    """Return True if a counter counts the calls of one end user."""
    return _USER_COUNTER_PATTERN.match(field) is not None


def merge_answers(shared_answer: Answer, tenant_answer: Answer) -> Answer:
    """Merge the answer for all tenants with the tenant's own; at least one is not Admitted."""
    if isinstance(shared_answer, MissingCounter) and isinstance(tenant_answer, MissingCounter):
        return MissingCounter(
            shared_answer.demand,
            (*shared_answer.other_demands, tenant_answer.demand, *tenant_answer.other_demands),
            max(shared_answer.wait, tenant_answer.wait),
            may_lack_calls=shared_answer.may_lack_calls or tenant_answer.may_lack_calls,
        )
    return tenant_answer if isinstance(shared_answer, Admitted) else shared_answer


type EndedCall = tuple[str, int | None, int | None]
"""An ended call: its id, and the tokens and micro-USD that it used. None leaves what it
reserved."""


class LeaseGrant(NamedTuple):
    """The answer to a request for a lease."""

    amount: int
    """Micro-USD; 0 leases nothing."""
    crosses_soft: bool = False
    """True if the counter has crossed its soft limit by it."""
    epoch: str = ""
    """The epoch of Redis in which the lease counts."""


class DrawnCall(NamedTuple):
    """The part of a lease that a call has taken."""

    id: str
    expires_at: float
    """Seconds since the epoch when the call has ended at the latest."""
    amount: int


class LeaseStore(Protocol):
    """A counter store that grants leases. Raises StoreUnavailable."""

    async def lease(
        self, owner: Owner, demand: CounterDemand, id: str, amount: int, least: int, now: float
    ) -> LeaseGrant:
        """Lease a slice of a counter, at least `least`, or nothing."""
        ...

    async def draw(
        self,
        owner: Owner,
        lease_id: str,
        field: str,
        calls: Sequence[DrawnCall],
        epoch: str,
        now: float,
    ) -> None:
        """Split the reservations of calls off a lease of an epoch."""
        ...

    async def reclaim(self, owner: Owner, lease_id: str, drawn: int) -> bool:
        """Return a dead gateway's lease, except for the micro-USD that its calls have drawn.

        Return False if the counter has not begun: try again later.
        """
        ...

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        """Settle calls, or return what is left of leases."""
        ...


class CounterStore(Protocol):
    """A store of counters. A repeated id takes nothing twice. Raises StoreUnavailable."""

    async def admit(self, request: AdmissionRequest, now: float) -> Answer:
        """Take all demands or none; `now` is in seconds since the epoch."""
        ...

    def follow(self, find_running: FindRunning) -> None:
        """Take the function that finds running calls, to restore what the store has forgotten."""
        ...

    @property
    def lease_store(self) -> LeaseStore | None:
        """The store of leases; None if it grants none."""
        ...

    async def confirm(self, owner: Owner, now: float) -> None:
        """Restore what running calls have reserved of an owner, if the store has forgotten it."""
        ...

    async def find_loss_age(self, owner: Owner, now: float) -> float | None:
        """Return the seconds since counters may begin after a loss; None if there was none.

        No call that began later has a reservation that the store may have forgotten.
        """
        ...

    async def restore(self, owner: Owner, calls: Iterable[RunningCall], now: float) -> None:
        """Reserve what running calls have reserved of an owner, where the store forgot it."""
        ...

    async def seed(self, owner: Owner, field: str, value: int) -> None:
        """Start a missing counter at the amount spent; leave an existing one alone."""
        ...

    async def extend(self, request: AdmissionRequest, now: float) -> Answer:
        """Reserve more for a call that has passed, in addition to what it has."""
        ...

    async def settle(self, tenant: str, id: str, tokens: int | None, micro_usd: int | None) -> bool:
        """Replace what a call of a tenant reserved with what it used.

        None leaves the reserved amount. Return False if the call has nothing reserved, or was
        settled before.
        """
        ...

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        """Settle several calls at once; they have reserved nothing of owners outside `scopes`."""
        ...

    async def claim_user(
        self, tenant: str, key: str, user: str, window: Window, max_users: int, now: float
    ) -> bool:
        """Return True if an end user of a key has counters of its own in a window.

        The first `max_users` that ask have them.
        """
        ...

    async def read_counters(self, owner: Owner) -> dict[str, int]:
        """Return each counter of money and shares, by field, without those of end users."""
        ...

    async def sweep(self, owner: Owner, now: float) -> None:
        """Remove counters that are no longer needed."""
        ...

    async def close(self) -> None:
        """Close what the store has opened."""
        ...
