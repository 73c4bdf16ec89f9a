"""Limits before a call reaches a provider, and the settlement after the call.

A call gets all that it needs of its limits and budgets at once. Otherwise the limiter refuses it,
or moves it to a cheaper tier. The limiter reserves the most that a call may cost, so that calls
that run together cannot overspend. When the call ends, the limiter replaces the reserved amount
with the used one.

The limiter asks the counter store once for a call. It asks once more if a budget moves the call to
a cheaper tier. It also asks once more if a counter is missing, as for the first call of a window.
The second request names all options.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from gateway.core.call import Call, Key
from gateway.core.decision import Decision, Plan, SkippedTarget
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import TIERS, Target, Tier, name_timers
from gateway.limits.cost_bounds import UsageBound, make_ended_call
from gateway.limits.counters import (
    ALL_SCOPES,
    PASSED,
    AdmissionRequest,
    Admitted,
    CounterDemand,
    CounterStore,
    DemandTemplate,
    EndedCall,
    MissingCounter,
    Owner,
    Refusal,
    RunningCall,
    Scopes,
    collect_scopes,
    is_user_counter,
)
from gateway.limits.output_fit import fit_plan
from gateway.limits.reconciliation import UnsettledCalls
from gateway.limits.refusals import UNCOUNTED_PROBLEM, make_refusal_error, make_unbounded_error
from gateway.limits.rules import LimitRules, PreparedDemand, describe_counter
from gateway.limits.user_bound import UserBound
from gateway.state.errors import StoreUnavailable
from gateway.telemetry.log import Log

type DecideAgain = Callable[[Tier], tuple[Decision, Plan]]
"""Decides a call again, with a tier as its ceiling. Raises ProblemError if nothing can serve it."""

_GRACE_SECONDS = 60.0
"""Seconds beyond the longest timeout of its targets after which a call counts as dead."""
_DEFAULT_OUTPUT = 1_000
"""Tokens of output that the limiter expects before it has seen an answer."""
_SWEEP_SECONDS = 600.0
_CONFIRM_SECONDS = 0.5
"""Seconds between two looks if the counter store has forgotten running calls."""
_MAX_REPORTED = 10_000
_SAMPLE_SIZE = 256
"""Answers of a tier whose lengths the limiter remembers."""
_REFRESH_ANSWERS = 16
"""Answers after which the limiter computes their usual length again."""
_UNBOUNDED_REASON = "its cost has no bound, and a hard budget needs one"
_MAX_FITS = 3
"""Times that the limiter lowers the output of a call: other calls may take what was left."""
_MAX_TRIES = 3
"""Times that the limiter asks for a call whose counters are missing, even right after it seeded
them."""


class _OutputLengths:
    """The lengths of recent answers of a tier, in tokens."""

    __slots__ = ("_count", "_lengths", "_p99")

    def __init__(self) -> None:
        self._lengths: deque[int] = deque(maxlen=_SAMPLE_SIZE)
        self._count = 0
        self._p99: int | None = None

    def add(self, tokens: int) -> None:
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


class _AdmissionOption(msgspec.Struct, frozen=True):
    """One option for a call: a decision, its plan and its demands."""

    decision: Decision
    plan: Plan
    template: DemandTemplate
    amounts: tuple[int, ...]
    ceiling: Tier | None = None
    """The `then` of the demand that moves the call here; None for the first decision."""
    is_bounded: bool = True
    """True if its hard budgets know what to reserve for it."""

    @property
    def demands(self) -> tuple[CounterDemand, ...]:
        """Return the demands of the call in this option."""
        return self.template.fill(self.amounts)

    @property
    def least_outputs(self) -> Mapping[str, int]:
        """Return the least cap on the output, by the counter of a budget that lowers it."""
        return self.template.least_outputs if isinstance(self.template, PreparedDemand) else {}


class _HeldDemands(msgspec.Struct, frozen=True):
    """The demands that a call has reserved, and the store that counts them."""

    counter_store: CounterStore
    tenant: str
    template: DemandTemplate
    amounts: tuple[int, ...]
    scopes: Scopes
    """The owners of the counters."""
    expires_at: float
    """Seconds since the epoch when the call has ended at the latest."""
    earlier_demands: tuple[CounterDemand, ...] = ()
    """The demands that the call had reserved before this option."""

    @property
    def demands(self) -> tuple[CounterDemand, ...]:
        """Return all demands of the call, earlier ones first."""
        return (*self.earlier_demands, *self.template.fill(self.amounts))


class Reservation(msgspec.Struct, frozen=True):
    """A call that has passed its limits, with the decision and the plan that it passed with."""

    limiter: "Limiter"
    usage_bound: UsageBound
    decision: Decision
    plan: Plan

    async def extend(self, target: Target) -> None:
        """Reserve what one more attempt may cost. Raises ProblemError."""
        await self.limiter.extend(self.usage_bound, self.decision, target)


class Limiter:
    """The limiter lets calls pass, and settles what they reserved.

    While `counter_store` is unavailable, a store from `make_local_store` counts in this process. It
    allows one of `share_count` equal parts of each limit, and never counts hard budgets of money:
    the limiter refuses their calls. If `fails_closed` is set, it refuses the calls of every budget.
    `read_spent` returns the micro-USD spent on a missing
    counter of an owner. The limiter calls `alert` for each soft limit that a call crosses, and for
    each budget that is used up. `wall` returns seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        limits: LimitRules,
        counter_store: CounterStore,
        log: Log,
        *,
        read_spent: Callable[[Owner, CounterDemand], Awaitable[int]],
        alert: Callable[[Owner, CounterDemand], object],
        make_local_store: Callable[[], CounterStore],
        fails_closed: bool = False,
        share_count: int = 1,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._limits = limits
        self._counter_store = counter_store
        self._log = log
        self._alert = alert
        self._make_local_store = make_local_store
        self._local_store = make_local_store()
        self._fails_closed = fails_closed
        self._share_count = share_count
        self._wall = wall
        self._unsettled = UnsettledCalls(counter_store, read_spent, log, wall)
        self._ledger_spends = self._unsettled.ledger_spends
        counter_store.follow(self._find_running)
        self._user_bound = UserBound()
        self._reservations: dict[str, _HeldDemands] = {}
        """The demands that each running call has reserved, by call id."""
        self._ended_calls: dict[tuple[str, Scopes], list[EndedCall]] = {}
        """Ended calls that `counter_store` has counted and not settled, by tenant and owners. The
        limiter settles each group at once."""
        self._local_ended_calls: list[tuple[_HeldDemands, EndedCall]] = []
        """Ended calls that another store has counted."""
        self._output_lengths: dict[str, _OutputLengths] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_lost = False
        self.tenants: set[str] = set()
        """The tenants whose calls had a demand."""
        self._reported_budgets: set[tuple[Owner, str]] = set()
        """Used-up budgets that the operator knows of, by owner and counter."""
        self._reported_targets: set[str] = set()
        """Targets that the log has reported as passed over."""

    def adopt(self, limits: LimitRules, *, fails_closed: bool) -> None:
        """Use other limits from now on; reservations and counters stay as they are.

        A used-up budget may have become larger, so the limiter reports it again.
        """
        if limits is not self._limits:
            self._limits = limits
            self._reported_budgets.clear()
            self._user_bound.forget()
        self._fails_closed = fails_closed

    def applies_to(self, key: Key) -> bool:
        """Return True if calls of a key may have demands."""
        return bool(self._limits.rules or key.limits or key.budgets)

    def refuses_all(self, keys: Collection[Key]) -> bool:
        """Return True if no call of these keys passes while the counter store is unavailable."""
        now = self._wall()
        return bool(keys) and all(
            self._needs_store(self._limits.prepare(key.name, key.tags, tier, now, key).demands)
            for key in keys
            for tier in TIERS
        )

    def _needs_store(self, demands: Iterable[CounterDemand]) -> bool:
        """Return True if a call with these demands does not pass without the counter store."""
        return any(
            demand.kind in ("usd", "share") if self._fails_closed else demand.is_hard_money
            for demand in demands
        )

    async def reserve(
        self,
        usage_bound: UsageBound,
        decision: Decision,
        plan: Plan,
        decide_again: DecideAgain,
        *,
        all_at_once: bool = False,
    ) -> Reservation:
        """Reserve what a call may cost here or on a cheaper tier; `settle` ends the reservation.

        If a hard budget counts the call, the plan loses the targets whose cost is unbounded. With
        `all_at_once` the limiter asks for all options at once. Raises ProblemError: rate_limited,
        budget, budget_busy, overloaded.
        """
        if usage_bound.end_user is not None:
            usage_bound = await self._bound_user(usage_bound, usage_bound.end_user)
        decision, plan = await self._admit(
            usage_bound, decision, plan, decide_again, all_at_once=all_at_once
        )
        return Reservation(self, usage_bound, decision, plan)

    async def _bound_user(self, usage_bound: UsageBound, end_user: str) -> UsageBound:
        """Return the facts of a call with the name under which its end user is counted."""
        limits = self._limits
        if not limits.counts_users:
            return usage_bound
        key, now = usage_bound.call.key, self._wall()
        windows, most = limits.find_user_windows(now), limits.max_users
        try:
            name = await self._user_bound.find_name(
                self._counter_store, key.tenant, key.name, end_user, windows, most, now
            )
        except StoreUnavailable:
            self._report_loss(is_lost=True)
            name = await UserBound().find_name(
                self._local_store, key.tenant, key.name, end_user, windows, most, now
            )
        return msgspec.structs.replace(usage_bound, end_user=name)

    async def _admit(
        self,
        usage_bound: UsageBound,
        decision: Decision,
        plan: Plan,
        decide_again: DecideAgain,
        *,
        all_at_once: bool,
    ) -> tuple[Decision, Plan]:
        if not self.applies_to(usage_bound.call.key):
            return decision, plan
        now = self._wall()
        first_option = self._make_option(usage_bound, decision, plan, now)
        if not first_option.template.demands:
            return decision, plan
        options = (
            [first_option, *self._find_lower_options(usage_bound, first_option, decide_again, now)]
            if all_at_once
            else [first_option]
        )
        answer = await self._reserve(usage_bound, options, now, decide_again)
        if answer is PASSED:
            return first_option.decision, first_option.plan
        ceiling = answer.demand.then if isinstance(answer, Refusal) else None
        if isinstance(answer, Refusal) and ceiling is not None and len(options) == 1:
            now = self._wall()
            lower_options = self._find_lower_options(usage_bound, first_option, decide_again, now)
            start = next(
                (index for index, option in enumerate(lower_options) if option.ceiling == ceiling),
                None,
            )
            if start is not None:
                if first_option.is_bounded:
                    self._report_exhausted(usage_bound.call.key.tenant, answer)
                options = lower_options[start:]
                answer = await self._reserve(usage_bound, options, now, decide_again)
        unbounded_fields = {
            demand.field for option in options if not option.is_bounded for demand in option.demands
        }
        for demand in answer.exhausted:
            if demand.field not in unbounded_fields:
                self._report_exhausted(usage_bound.call.key.tenant, Refusal(demand))
        option = options[answer.choice]
        if isinstance(answer, Refusal):
            option = await self._reserve_fitted(usage_bound, option, answer, decide_again)
        return option.decision, option.plan

    async def _reserve_fitted(
        self,
        usage_bound: UsageBound,
        option: _AdmissionOption,
        refusal: Refusal,
        decide_again: DecideAgain,
    ) -> _AdmissionOption:
        """Lower the cap on the output of a refused call, and reserve what it then costs at most.

        Other calls may take what was left, so the limiter tries again. Raises ProblemError.
        """
        for _ in range(_MAX_FITS):
            demand, left = refusal.demand, refusal.left
            least_output = option.least_outputs.get(demand.field)
            if left is None or least_output is None:
                break
            plan = fit_plan(usage_bound, option.plan, left, least_output, demand.name)
            if plan is None:
                break
            now = self._wall()
            options = [self._make_option(usage_bound, option.decision, plan, now)]
            answer = await self._reserve(usage_bound, options, now, decide_again)
            option = options[answer.choice]
            if not isinstance(answer, Refusal):
                return option
            refusal = answer
        raise self._make_error(usage_bound, option, refusal)

    async def extend(self, usage_bound: UsageBound, decision: Decision, target: Target) -> None:
        """Reserve the cost of one more request that a provider may bill. Raises ProblemError."""
        now = self._wall()
        option = self._make_option(usage_bound, decision, Plan(targets=(target,), dialects=()), now)
        demands = tuple([demand for demand in option.demands if demand.kind == "usd"])
        if not demands:
            return
        option = msgspec.structs.replace(option, template=DemandTemplate(demands), amounts=())
        answer = await self._reserve(usage_bound, [option], now, None)
        if isinstance(answer, Refusal):
            raise self._make_error(usage_bound, option, answer)

    def settle(self, row: FinalRow) -> None:
        """Settle an ended call in the background: replace its reservation with what it used."""
        if row.tier is not None and row.output is not None and row.cache != "hit":
            lengths = self._output_lengths.get(row.tier)
            if lengths is None:
                lengths = self._output_lengths[row.tier] = _OutputLengths()
            lengths.add(row.output + (row.reasoning or 0))
        reservation = self._reservations.pop(row.id, None)
        if reservation is None:
            return
        if not (self._ended_calls or self._local_ended_calls):
            asyncio.get_running_loop().call_soon(self._begin_settling)
        group_key = reservation.tenant, reservation.scopes
        if reservation.counter_store is not self._counter_store:
            self._local_ended_calls.append((reservation, make_ended_call(row)))
        elif (ended_calls := self._ended_calls.get(group_key)) is not None:
            ended_calls.append(make_ended_call(row))
        else:
            self._ended_calls[group_key] = [make_ended_call(row)]

    async def settle_dead(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        """Settle calls of a tenant that no longer run, for example those of a dead process.

        If the counter store is unavailable, the limiter remembers them and settles them later.
        """
        try:
            await self._counter_store.settle_all(tenant, ended_calls, scopes)
        except StoreUnavailable:
            self._report_loss(is_lost=True)
            for ended_call in ended_calls:
                self._unsettled.add_unsettled(tenant, ended_call)

    async def read_spent(self, owner: Owner, demand: CounterDemand) -> int:
        """Return the micro-USD that the ledger has for a counter. Raises ProblemError."""
        return (await self._ledger_spends.find(owner, demand)).spent

    async def sweep_periodically(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Remove counters that are no longer needed, at intervals, until cancelled."""
        while True:
            await sleep(_SWEEP_SECONDS)
            if len(self._reported_budgets) > _MAX_REPORTED:
                self._reported_budgets.clear()
            for owner in (None, *self.tenants):
                try:
                    await self._counter_store.sweep(owner, self._wall())
                except StoreUnavailable:
                    break

    async def confirm_periodically(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Restore what the counter store has forgotten of running calls, until cancelled."""
        while True:
            await sleep(_CONFIRM_SECONDS)
            owners = {
                None if all_tenants else reservation.tenant
                for reservation in self._reservations.values()
                for all_tenants in reservation.template.money_scopes
                if reservation.counter_store is self._counter_store
            }
            for owner in owners:
                with suppress(StoreUnavailable):
                    await self._counter_store.confirm(owner, self._wall())

    def _find_running(self, owner: Owner) -> list[RunningCall]:
        """Return the running calls that have reserved something of an owner in the store."""
        calls: list[RunningCall] = []
        for id, reservation in self._reservations.items():
            if reservation.counter_store is self._counter_store:
                demands = [
                    demand
                    for demand in reservation.demands
                    if demand.owner(reservation.tenant) == owner
                ]
                calls += [RunningCall(id, reservation.expires_at, demands)] if demands else []
        return calls

    async def wait_settled(self) -> None:
        """Wait until all ended calls are settled."""
        self._begin_settling()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _make_option(
        self,
        usage_bound: UsageBound,
        decision: Decision,
        plan: Plan,
        now: float,
        ceiling: Tier | None = None,
    ) -> _AdmissionOption:
        key, tier = usage_bound.call.key, decision.tier
        template = self._limits.prepare(
            key.name, decision.tags, tier, now, key, usage_bound.end_user
        )
        if not template.variable_indexes:
            return _AdmissionOption(decision, plan, template, (), ceiling)
        max_output, expected_output = usage_bound.prompt.max_output, _DEFAULT_OUTPUT
        if max_output is None or max_output < 0 or template.counts_expected:
            lengths = self._output_lengths.get(tier or "")
            expected_output = _DEFAULT_OUTPUT if lengths is None else lengths.p99
        max_cost = usage_bound.compute_max_cost(plan.targets) if template.counts_money else None
        expected_cost = (
            usage_bound.compute_expected_cost(plan.targets, expected_output)
            if template.counts_expected
            else None
        )
        is_bounded = not (
            (template.reserves_maximum and max_cost is None)
            or (template.reserves_expected and expected_cost is None)
        )
        if (
            not is_bounded
            and (bounded_plan := self._drop_unbounded(usage_bound, plan, template, expected_output))
            is not None
        ):
            plan, is_bounded = bounded_plan, True
            max_cost = usage_bound.compute_max_cost(plan.targets)
            expected_cost = (
                usage_bound.compute_expected_cost(plan.targets, expected_output)
                if template.counts_expected
                else None
            )
        amounts = template.compute_amounts(
            usage_bound.compute_tokens(expected_output), max_cost, expected_cost
        )
        return _AdmissionOption(decision, plan, template, amounts, ceiling, is_bounded)

    def _drop_unbounded(
        self, usage_bound: UsageBound, plan: Plan, template: PreparedDemand, expected_output: int
    ) -> Plan | None:
        """Return the plan without the targets whose cost is unbounded; None if none is left."""
        kept_indexes, skipped = list[int](), list[SkippedTarget]()
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
        for name in {skipped_target.target for skipped_target in skipped} - self._reported_targets:
            self._reported_targets.add(name)
            self._log("budget", text=f"{name} is skipped: its cost has no bound")
        return Plan(
            targets=tuple([plan.targets[index] for index in kept_indexes]),
            dialects=tuple([plan.dialects[index] for index in kept_indexes]),
            labs=tuple([plan.labs[index] for index in kept_indexes]) if plan.labs else (),
            skipped=(*plan.skipped, *skipped),
        )

    def _make_error(
        self, usage_bound: UsageBound, option: _AdmissionOption, answer: Refusal
    ) -> ProblemError:
        """Make the error that tells the client why its call does not pass.

        Report a used-up budget to the operator.
        """
        demand, dialect = answer.demand, usage_bound.call.dialect
        # Nothing fits into a budget of 0, so it is not the missing bound that refuses the call.
        if demand.kind == "usd" and not option.is_bounded and demand.limit:
            return make_unbounded_error(
                demand, dialect, is_priced=usage_bound.is_bounded_by_cap(option.plan.targets)
            )
        self._report_exhausted(usage_bound.call.key.tenant, answer)
        return make_refusal_error(answer, dialect, self._wall())

    def _find_lower_options(
        self,
        usage_bound: UsageBound,
        first_option: _AdmissionOption,
        decide_again: DecideAgain,
        now: float,
    ) -> list[_AdmissionOption]:
        """Return the options on cheaper tiers that may replace a refusal, dearest first."""
        options: list[_AdmissionOption] = []
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
                options.append(self._make_option(usage_bound, decision, plan, now, ceiling))
                ceilings |= {demand.then for demand in options[-1].template.demands}
        return options

    async def _reserve(
        self,
        usage_bound: UsageBound,
        options: list[_AdmissionOption],
        now: float,
        decide_again: DecideAgain | None,
    ) -> Refusal | Admitted:
        """Take the demands of one option, for a call that passes or (no `decide_again`) goes on.

        If counters are missing, all options on cheaper tiers are added to `options`.
        """
        call, tenant = usage_bound.call, usage_bound.call.key.tenant
        earlier = self._reservations.get(call.id)
        counter_store = self._counter_store if earlier is None else earlier.counter_store
        self.tenants.add(tenant)
        # Start this first: the last reservation of a client must not refuse its next call.
        self._begin_settling()
        try:
            if decide_again is not None and earlier is None and len(options) == 1:  # most calls
                option = options[0]
                lifetime = _compute_lifetime(call, option)
                answer = await counter_store.admit_single(
                    option.template, option.amounts, call.id, tenant, lifetime, now
                )
                if isinstance(answer, MissingCounter):
                    answer = await self._ask_store(
                        counter_store, usage_bound, options, now, decide_again, answer
                    )
            else:
                answer = await self._ask_store(
                    counter_store, usage_bound, options, now, decide_again
                )
            if self._is_lost and counter_store is self._counter_store:
                self._report_loss(is_lost=False)
        except asyncio.CancelledError:  # the store may have granted it all the same
            option = options[0]
            all_scopes = collect_scopes(
                [demand for candidate in options for demand in candidate.template.demands]
            )
            self._reservations.setdefault(
                call.id,
                _HeldDemands(
                    counter_store,
                    tenant,
                    option.template,
                    option.amounts,
                    all_scopes,
                    now + _compute_lifetime(call, option),
                ),
            )
            raise
        except StoreUnavailable:
            self._report_loss(is_lost=True)
            if earlier is None:
                self._unsettled.add_unsettled(tenant, (call.id, 0, 0))
            if self._needs_store(options[0].demands):
                raise ProblemError(UNCOUNTED_PROBLEM) from None
            if decide_again is None:  # its settlement counts what the attempt cost
                return PASSED
            counter_store = self._local_store
            options[:] = self._find_local_options(options)
            answer = await self._ask_store(counter_store, usage_bound, options, now, decide_again)
        if isinstance(answer, Refusal):
            return answer
        option = options[answer.choice]
        owner_scopes = option.template.scopes
        earlier_demands = earlier.demands if earlier is not None else ()
        if earlier_demands:
            owner_scopes = collect_scopes((*earlier_demands, *option.template.demands))
        self._reservations[call.id] = _HeldDemands(
            counter_store,
            tenant,
            option.template,
            option.amounts,
            owner_scopes,
            now + _compute_lifetime(call, option),
            earlier_demands,
        )
        for demand in answer.warnings:
            self._report(tenant, demand, "soft limit passed")
        return answer

    def _find_local_options(self, options: Sequence[_AdmissionOption]) -> list[_AdmissionOption]:
        """Return the options that need no counter store."""
        return [option for option in options if not self._needs_store(option.demands)]

    async def _ask_store(
        self,
        counter_store: CounterStore,
        usage_bound: UsageBound,
        options: list[_AdmissionOption],
        now: float,
        decide_again: DecideAgain | None,
        answer: Refusal | Admitted | MissingCounter | None = None,
    ) -> Refusal | Admitted:
        """Ask a counter store, and seed the counters that it misses.

        `answer` is the store's earlier answer, if there is one. Raises StoreUnavailable,
        ProblemError.
        """
        send = counter_store.extend if decide_again is None else counter_store.admit
        if answer is None:
            answer = await send(
                self._make_request(
                    usage_bound, options, now, is_local=counter_store is not self._counter_store
                ),
                now,
            )
        for _ in range(_MAX_TRIES):
            if not isinstance(answer, MissingCounter):
                return answer
            tenant = usage_bound.call.key.tenant
            missing = {
                (demand.owner(tenant), demand.field): demand
                for demand in (answer.demand, *answer.other_demands)
            }
            if decide_again is not None and len(options) == 1:
                lower_options = self._find_lower_options(usage_bound, options[0], decide_again, now)
                if counter_store is not self._counter_store:
                    lower_options = self._find_local_options(lower_options)
                options += lower_options
                first_counters = {
                    (demand.owner(tenant), demand.field) for demand in options[0].template.demands
                }
                for demand in [
                    demand
                    for option in options[1:]
                    for demand in option.demands
                    if demand.needs_seed
                ]:
                    if (counter_key := (demand.owner(tenant), demand.field)) not in first_counters:
                        missing[counter_key] = demand
            if answer.wait:  # until then the ledger may lack calls that have ended
                await self._sleep(answer.wait)
            spends = [
                await self._ledger_spends.find(owner, demand)
                for (owner, _), demand in missing.items()
            ]
            share_count = self._share_count if counter_store is not self._counter_store else 1
            pairs = zip(missing, spends, strict=True)
            seeds = tuple(
                [(*counter_key, spend.spent // share_count) for counter_key, spend in pairs]
            )
            request = self._make_request(
                usage_bound,
                options,
                now,
                is_local=counter_store is not self._counter_store,
                seeds=seeds,
            )
            answer = await send(request, now)
            if counter_store is self._counter_store and not isinstance(answer, MissingCounter):
                for spend in spends:
                    self._unsettled.mark_seeded(spend)
        raise StoreUnavailable

    def _make_request(
        self,
        usage_bound: UsageBound,
        options: Sequence[_AdmissionOption],
        now: float,
        *,
        is_local: bool,
        seeds: tuple[tuple[Owner, str, int], ...] = (),
    ) -> AdmissionRequest:
        """Make the request to a store; if `is_local`, each limit is the part of this process."""
        call, (first_option, *lower_options) = usage_bound.call, options
        return AdmissionRequest(
            id=call.id,
            tenant=call.key.tenant,
            demands=self._scale_demands(first_option.demands) if is_local else first_option.demands,
            expires_at=now + max([_compute_lifetime(call, option) for option in options]),
            fallbacks=tuple(
                [
                    (
                        option.ceiling,
                        self._scale_demands(option.demands) if is_local else option.demands,
                    )
                    for option in lower_options
                    if option.ceiling is not None
                ]
            ),
            seeds=seeds,
            held_scopes=()
            if (reservation := self._reservations.get(call.id)) is None
            else reservation.scopes,
        )

    def _report_exhausted(self, tenant: str, answer: Refusal) -> None:
        """Report a used-up budget to the operator, once in each window.

        A call that is larger than the whole budget does not show that any of it is used.
        """
        demand = answer.demand
        counter_key = demand.owner(tenant), demand.field
        is_oversized = 0 < demand.limit < demand.amount
        is_exhausted = demand.kind in ("usd", "share") and not (answer.busy or is_oversized)
        if is_exhausted and counter_key not in self._reported_budgets:
            self._reported_budgets.add(counter_key)
            self._report(tenant, demand, "used up")

    def _report(self, tenant: str, demand: CounterDemand, text: str) -> None:
        """Report a budget to the operator: in the log, and at the receiver of alerts."""
        if is_user_counter(demand.field):
            return  # nobody acts on each end user who has used up a budget, and there may be many
        owner = demand.owner(tenant)
        self._log(
            "budget",
            name=demand.name,
            scope=describe_counter(owner, demand),
            counter=demand.field,
            text=text,
        )
        self._alert(owner, demand)

    def _scale_demands(self, demands: Sequence[CounterDemand]) -> tuple[CounterDemand, ...]:
        """Return the demands with this process's part of each limit."""
        limits = [
            max(1, demand.limit // self._share_count) if demand.limit else 0 for demand in demands
        ]
        pairs = zip(demands, limits, strict=True)
        return tuple([msgspec.structs.replace(demand, limit=limit) for demand, limit in pairs])

    def _begin_settling(self) -> None:
        if self._ended_calls or self._local_ended_calls:
            self._run_in_background(self._settle_ended(), at_once=True)

    async def _settle_ended(self) -> None:
        """Settle all calls that have ended and are not settled yet."""
        ended_calls, self._ended_calls = self._ended_calls, {}
        local_calls, self._local_ended_calls = self._local_ended_calls, []
        for (tenant, owner_scopes), calls in ended_calls.items():
            await self.settle_dead(tenant, calls, owner_scopes)
        for reservation, ended_call in local_calls:
            await reservation.counter_store.settle_all(reservation.tenant, (ended_call,))
            self._unsettled.add_local_call(reservation.tenant, reservation.demands, ended_call[2])
        if self._unsettled.has_any and not self._is_lost:  # left over from a loss that is over
            self._repay()

    def _repay(self) -> None:
        async def repay() -> None:
            try:
                await self._unsettled.repay()
            except StoreUnavailable:
                self._report_loss(is_lost=True)  # the limiter tries the rest again later
            except ProblemError:
                return  # the ledger cannot be read: try again later

        self._run_in_background(repay())

    def _report_loss(self, *, is_lost: bool) -> None:
        if is_lost is self._is_lost:
            return
        self._is_lost = is_lost
        text = "counted for all again"
        if is_lost:
            budgets = "budgets" if self._fails_closed else "hard budgets"
            text = f"counted in this process alone, calls under {budgets} refused"
        self._log("limits", text=text)
        if is_lost:
            # The counts of an earlier loss are out of date.
            self._local_store = self._make_local_store()
        elif self._unsettled.has_any:
            self._repay()

    def _run_in_background(
        self, coroutine: Coroutine[object, object, None], *, at_once: bool = False
    ) -> None:
        """Run a coroutine in the background; `at_once` starts it before anything else runs."""
        task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=at_once)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _compute_lifetime(call: Call, option: _AdmissionOption) -> float:
    """Return the seconds after which a call that takes this option counts as dead."""
    kind, longest = name_timers(option.decision.tier, call.operation), 0.0
    for target in option.plan.targets:
        total = target.provider.timers[kind].total
        longest = max(longest, total)
    return longest + _GRACE_SECONDS
