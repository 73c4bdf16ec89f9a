"""The ways in which a call may pass its limits, and what a call that has passed holds."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.core.call import Call
from gateway.core.decision import Decision, Plan, SkippedTarget
from gateway.core.errors import ProblemError
from gateway.core.target import TIERS, Target, Tier, name_timers
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.counters import (
    AdmissionRequest,
    CounterDemand,
    CounterStore,
    DemandTemplate,
    Owner,
    Scopes,
)
from gateway.limits.rules import PreparedDemand

type DecideAgain = Callable[[Tier], tuple[Decision, Plan]]
"""Decides a call again, with a tier as its ceiling. Raises ProblemError if nothing can serve it."""

_GRACE_SECONDS = 60.0
"""Seconds beyond the longest timeout of its targets after which a call counts as dead."""
_SAMPLE_SIZE = 256
"""Answers of a tier whose lengths the limiter remembers."""
_REFRESH_ANSWERS = 16
"""Answers after which the limiter computes their usual length again."""
_UNBOUNDED_REASON = "its cost has no bound, and a hard budget needs one"


class OutputLengths:
    """The lengths of recent answers of a tier, in tokens."""

    __slots__ = ("_count", "_lengths", "_p99")

    def __init__(self) -> None:
        self._lengths: deque[int] = deque(maxlen=_SAMPLE_SIZE)
        self._count = 0
        self._p99: int | None = None

    def add(self, tokens: int) -> None:
        """Add the length of an answer."""
        self._lengths.append(tokens)
        self._count += 1
        if self._count < _REFRESH_ANSWERS or self._count % _REFRESH_ANSWERS == 0:
            self._p99 = None

    @property
    def p99(self) -> int:
        """Return the 99th percentile of the recent lengths, in tokens. Needs one at least."""
        if self._p99 is None:
            lengths = sorted(self._lengths)
            self._p99 = lengths[len(lengths) * 99 // 100]
        return self._p99


class AdmissionOption(msgspec.Struct, frozen=True):
    """One option for a call: a decision, its plan and its demands."""

    decision: Decision
    plan: Plan
    template: DemandTemplate
    demands: tuple[CounterDemand, ...]
    """The demands of the call in this option."""
    lifetime: float
    """Seconds after which a call that takes this option counts as dead."""
    ceiling: Tier | None = None
    """The `then` of the demand that moves the call here; None for the first decision."""
    is_bounded: bool = True
    """True if its hard budgets know what to reserve for it."""

    @property
    def least_outputs(self) -> Mapping[str, int]:
        """Return the least cap on the output, by the counter of a budget that lowers it."""
        return self.template.least_outputs if isinstance(self.template, PreparedDemand) else {}


class HeldDemands(msgspec.Struct, frozen=True):
    """The demands that a call has reserved, and the store that counts them."""

    counter_store: CounterStore
    tenant: str
    demands: tuple[CounterDemand, ...]
    """All demands of the call in `counter_store`."""
    scopes: Scopes
    """The owners of the counters."""
    ends_at: float
    """Seconds on the monotonic clock when the call has ended at the latest."""
    shared_demands: tuple[CounterDemand, ...] = ()
    """Further demands that the shared store counts, if `counter_store` counts for this process."""

    def list_demands_in(self, counter_store: CounterStore) -> list[CounterDemand]:
        """Return the demands of the call that a store counts."""
        is_own = counter_store is self.counter_store
        return [*(self.demands if is_own else ()), *self.shared_demands]

    def list_money_owners(self, counter_store: CounterStore) -> set[Owner]:
        """Return the owners of the hard budgets in a store that the call has reserved."""
        demands = self.list_demands_in(counter_store)
        return {demand.owner(self.tenant) for demand in demands if demand.is_hard_money}

    def compute_excess(self, micro_usd: int) -> int:
        """Return the micro-USD of a cost that hard budgets have not reserved."""
        if not micro_usd:
            return 0
        reserved: dict[tuple[bool, str], int] = {}
        for demand in (*self.demands, *self.shared_demands):
            if demand.is_hard_money:
                counter = demand.all_tenants, demand.field
                reserved[counter] = reserved.get(counter, 0) + demand.amount
        return micro_usd - min([micro_usd, *reserved.values()])


def find_lower_options(
    first_option: AdmissionOption,
    decide_again: DecideAgain,
    make_option: Callable[[Decision, Plan, Tier], AdmissionOption],
) -> list[AdmissionOption]:
    """Return the options on cheaper tiers that may replace a refusal, dearest first."""
    options: list[AdmissionOption] = []
    tier = first_option.decision.tier
    ceilings = {demand.then for demand in first_option.template.demands}
    for ceiling in reversed(TIERS):
        if ceiling not in ceilings or tier is None:
            continue
        try:
            decision, plan = decide_again(ceiling)
        except ProblemError:  # no target there can serve it
            continue
        # A rule may choose the dearer tier again.
        if decision.tier is not None and TIERS.index(decision.tier) < TIERS.index(tier):
            options.append(make_option(decision, plan, ceiling))
            ceilings |= {demand.then for demand in options[-1].template.demands}
    return options


def list_fallback_counters(
    options: Sequence[AdmissionOption], tenant: str
) -> dict[tuple[Owner, str], CounterDemand]:
    """Return the counters, by owner and field, that only options after the first need seeded."""
    first_counters = {
        (demand.owner(tenant), demand.field) for demand in options[0].template.demands
    }
    return {
        counter_key: demand
        for option in options[1:]
        for demand in option.demands
        if demand.needs_seed
        and (counter_key := (demand.owner(tenant), demand.field)) not in first_counters
    }


def drop_unbounded_targets(
    usage_bound: UsageBound, plan: Plan, template: PreparedDemand, expected_output: int
) -> Plan | None:
    """Return the plan without the targets whose cost is unbounded; None if none is left.

    They are the last that the plan skips.
    """
    kept_indexes: list[int] = []
    skipped: list[SkippedTarget] = []
    for index, target in enumerate(plan.targets):
        expected_cost = (
            usage_bound.compute_expected_cost((target,), expected_output)
            if template.reserves_expected
            else 0
        )
        if expected_cost is not None and not (
            template.reserves_maximum and usage_bound.compute_max_cost((target,)) is None
        ):
            kept_indexes.append(index)
            continue
        skipped.append(SkippedTarget(target.name, None, _UNBOUNDED_REASON))
    if not kept_indexes:
        return None
    return Plan(
        targets=tuple([plan.targets[index] for index in kept_indexes]),
        dialects=tuple([plan.dialects[index] for index in kept_indexes]),
        labs=tuple([plan.labs[index] for index in kept_indexes]) if plan.labs else (),
        skipped=(*plan.skipped, *skipped),
    )


def compute_lifetime(call: Call, tier: Tier | None, targets: Sequence[Target]) -> float:
    """Return the seconds after which a call to one of the targets counts as dead."""
    if call.lifetime is not None:
        return call.lifetime
    kind = name_timers(tier, call.operation)
    longest = max([target.provider.timers[kind].total for target in targets], default=0.0)
    return longest + _GRACE_SECONDS


def make_request(
    call: Call,
    options: Sequence[AdmissionOption],
    now: float,
    held_scopes: Scopes,
    *,
    share_count: int = 1,
    seeds: tuple[tuple[Owner, str, int], ...] = (),
) -> AdmissionRequest:
    """Make the request to a store, which allows one of `share_count` equal parts of each limit."""
    pairs = [
        (
            option.ceiling,
            option.demands if share_count == 1 else _scale_demands(option.demands, share_count),
        )
        for option in options
    ]
    return AdmissionRequest(
        id=call.id,
        tenant=call.key.tenant,
        demands=pairs[0][1],
        expires_at=now + max([option.lifetime for option in options]),
        fallbacks=tuple(
            [(ceiling, demands) for ceiling, demands in pairs[1:] if ceiling is not None]
        ),
        seeds=seeds,
        held_scopes=held_scopes,
    )


def _scale_demands(demands: Sequence[CounterDemand], share_count: int) -> tuple[CounterDemand, ...]:
    """Return the demands with one of some equal parts of each limit."""
    limits = [max(1, demand.limit // share_count) if demand.limit else 0 for demand in demands]
    pairs = zip(demands, limits, strict=True)
    return tuple([msgspec.structs.replace(demand, limit=limit) for demand, limit in pairs])
