"""Limits before a call reaches a provider.

A call gets all that it needs of its limits and budgets at once. Otherwise the limiter refuses it,
or moves it to a cheaper tier. The limiter reserves the most that a call may cost, so that calls
that run together cannot overspend. `settlement.py` replaces the reserved amount with the used one
when the call has ended.

The limiter asks the counter store once for a call. It asks once more if a budget moves the call to
a cheaper tier. It also asks once more if a counter is missing, as for the first call of a window.
The second request names all options.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from gateway.core.call import Call, Key
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.core.rate_limits import RateLimits
from gateway.core.target import TIERS, Target, Tier
from gateway.limits.admission_options import (
    AdmissionOption,
    DecideAgain,
    HeldDemands,
    OutputLengths,
    compute_lifetime,
    drop_unbounded_targets,
    find_lower_options,
    list_fallback_counters,
    make_request,
)
from gateway.limits.budget_reports import BudgetReports
from gateway.limits.cost_bounds import UsageBound, make_ended_call
from gateway.limits.counters import (
    ALL_SCOPES,
    PASSED,
    Admitted,
    CounterDemand,
    CounterStore,
    DemandTemplate,
    EndedCall,
    MissingCounter,
    Owner,
    RateState,
    Refusal,
    RunningCall,
    Scopes,
    collect_scopes,
)
from gateway.limits.leases import TICK_SECONDS, Leases
from gateway.limits.output_fit import fit_plan
from gateway.limits.rate_view import find_tightest
from gateway.limits.reconciliation import UnsettledCalls, restore_nothing
from gateway.limits.refusals import UNCOUNTED_PROBLEM, make_refusal_error, make_unbounded_error
from gateway.limits.rules import LimitRules
from gateway.limits.settlement import Settlement
from gateway.limits.user_bound import UserBound
from gateway.state.errors import StoreUnavailable
from gateway.telemetry.log import Log

_DEFAULT_OUTPUT = 1_000
"""Tokens of output that the limiter expects before it has seen an answer."""
_SWEEP_SECONDS = 600.0
_CONFIRM_SECONDS = 0.5
"""Seconds between two looks if the counter store has forgotten running calls."""
_MAX_FITS = 3
"""Times that the limiter lowers the output of a call: other calls may take what was left."""
_MAX_TRIES = 3
"""Times that the limiter asks for a call whose counters are missing, even right after it seeded
them."""


class Reservation(msgspec.Struct, frozen=True):
    """A call that has passed its limits, with the decision and the plan that it passed with."""

    limiter: "Limiter"
    usage_bound: UsageBound
    decision: Decision
    plan: Plan
    rate_limits: RateLimits | None = None
    """The rate limits that the client may see; None if there are none."""

    async def extend(self, target: Target) -> None:
        """Reserve what one more attempt may cost. Raises ProblemError."""
        await self.limiter.extend(self.usage_bound, self.decision, target)


class Limiter:
    """The limiter lets calls pass, and settles what they reserved.

    While `counter_store` is unavailable, a store from `make_local_store` counts in this process. It
    allows one of `share_count` equal parts of each limit, and never counts hard budgets of money:
    the limiter refuses their calls. If `fails_closed` is set, it refuses the calls of every budget.
    `read_spent` returns the micro-USD spent on an owner's counter. Before the shared store seeds
    one, `restore_open_calls` reserves in it what calls of other gateways may cost. `lease_folder`
    has the lease books. `alert` is called for each crossed soft limit and each used-up budget.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        limits: LimitRules,
        counter_store: CounterStore,
        log: Log,
        *,
        read_spent: Callable[[Owner, CounterDemand], Awaitable[int]],
        restore_open_calls: Callable[[Owner, CounterDemand], Awaitable[None]] = restore_nothing,
        alert: Callable[[Owner, CounterDemand], object],
        make_local_store: Callable[[], CounterStore],
        fails_closed: bool = False,
        share_count: int = 1,
        lease_folder: Path | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._limits = limits
        self._counter_store = counter_store
        self._reports = BudgetReports(log, alert)
        self._share_count = share_count
        self._wall, self._clock = wall, clock
        self._unsettled = UnsettledCalls(counter_store, read_spent, restore_open_calls, log, wall)
        self._ledger_spends = self._unsettled.ledger_spends
        counter_store.follow(self._find_running)
        self._user_bound = UserBound()
        lease_store = counter_store.lease_store
        self._leases = (
            None
            if lease_store is None
            else Leases(
                lease_store,
                secrets.token_hex(8),
                self._reports.report_soft,
                wall=wall,
                clock=clock,
                is_enabled=not fails_closed,
                folder=lease_folder,
            )
        )
        self._settlement = Settlement(
            counter_store,
            self._unsettled,
            self._leases,
            make_local_store,
            log,
            fails_closed=fails_closed,
        )
        self._reservations: dict[str, HeldDemands] = {}
        """The demands that each running call has reserved, by call id."""
        self._output_lengths: dict[str, OutputLengths] = {}
        self.excess_micro_usd = 0
        """Micro-USD that calls cost beyond what hard budgets had reserved for them."""
        self.tenants: set[str] = set()
        """The tenants whose calls had a demand."""

    def adopt(self, limits: LimitRules, *, fails_closed: bool) -> None:
        """Use other limits from now on; reservations and counters stay as they are.

        A used-up budget may have become larger, so the limiter reports it again.
        """
        if limits is not self._limits:
            self._limits = limits
            self._user_bound.forget()
            self._reports.forget()
        self._settlement.fails_closed = fails_closed
        if self._leases is not None:
            self._leases.is_enabled = not fails_closed

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
        fails_closed = self._settlement.fails_closed
        return any(
            demand.kind in ("usd", "share") if fails_closed else demand.is_hard_money
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
        decision, plan, rates = await self._admit(
            usage_bound, decision, plan, decide_again, all_at_once=all_at_once
        )
        rate_limits = find_tightest(rates, self._wall())
        return Reservation(self, usage_bound, decision, plan, rate_limits)

    async def _bound_user(self, usage_bound: UsageBound, end_user: str) -> UsageBound:
        """Return the facts of a call with the name under which its end user is counted."""
        limits = self._limits
        if not limits.counts_users:
            return usage_bound
        key, now = usage_bound.call.key, self._wall()
        windows = limits.find_user_windows(now)
        claim = key.tenant, key.name, end_user, windows, limits.max_users, now
        try:
            name = await self._user_bound.find_name(self._counter_store, *claim)
        except StoreUnavailable:
            self._settlement.report_loss()
            name = await UserBound().find_name(self._settlement.local_store, *claim)
        return msgspec.structs.replace(usage_bound, end_user=name)

    async def _admit(
        self,
        usage_bound: UsageBound,
        decision: Decision,
        plan: Plan,
        decide_again: DecideAgain,
        *,
        all_at_once: bool,
    ) -> tuple[Decision, Plan, tuple[RateState, ...]]:
        now = self._wall()
        first_option = self._make_option(usage_bound, now, decision, plan)
        if not first_option.template.demands:
            return decision, plan, ()
        options = [first_option]
        if all_at_once:
            make_option = partial(self._make_option, usage_bound, now)
            options += find_lower_options(first_option, decide_again, make_option)
        answer = await self._reserve(usage_bound, options, now, decide_again)
        if isinstance(answer, Admitted) and not answer.choice:
            return first_option.decision, first_option.plan, answer.rates
        ceiling = answer.demand.then if isinstance(answer, Refusal) else None
        if isinstance(answer, Refusal) and ceiling is not None and len(options) == 1:
            now = self._wall()
            lower_options = find_lower_options(
                first_option, decide_again, partial(self._make_option, usage_bound, now)
            )
            start = next(
                (index for index, option in enumerate(lower_options) if option.ceiling == ceiling),
                None,
            )
            if start is not None:
                if first_option.is_bounded:
                    self._reports.report_exhausted(usage_bound.call.key.tenant, answer)
                options = lower_options[start:]
                answer = await self._reserve(usage_bound, options, now, decide_again)
        unbounded_fields = {
            demand.field for option in options if not option.is_bounded for demand in option.demands
        }
        for demand in answer.exhausted:
            if demand.field not in unbounded_fields:
                self._reports.report_exhausted(usage_bound.call.key.tenant, Refusal(demand))
        option = options[answer.choice]
        if isinstance(answer, Refusal):
            return await self._reserve_fitted(usage_bound, option, answer, decide_again)
        return option.decision, option.plan, answer.rates

    async def _reserve_fitted(
        self,
        usage_bound: UsageBound,
        option: AdmissionOption,
        refusal: Refusal,
        decide_again: DecideAgain,
    ) -> tuple[Decision, Plan, tuple[RateState, ...]]:
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
            options = [self._make_option(usage_bound, now, option.decision, plan)]
            answer = await self._reserve(usage_bound, options, now, decide_again)
            option = options[answer.choice]
            if not isinstance(answer, Refusal):
                return option.decision, option.plan, answer.rates
            refusal = answer
        raise self._make_error(usage_bound, option, refusal)

    async def extend(self, usage_bound: UsageBound, decision: Decision, target: Target) -> None:
        """Reserve the cost of one more request that a provider may bill. Raises ProblemError."""
        now = self._wall()
        option = self._make_option(usage_bound, now, decision, Plan(targets=(target,), dialects=()))
        demands = tuple([demand for demand in option.demands if demand.kind == "usd"])
        if not demands:
            return
        option = msgspec.structs.replace(option, template=DemandTemplate(demands), demands=demands)
        answer = await self._reserve(usage_bound, [option], now, None)
        if isinstance(answer, Refusal):
            raise self._make_error(usage_bound, option, answer)

    def settle(self, row: FinalRow) -> None:
        """Settle an ended call in the background: replace its reservation with what it used."""
        if row.tier is not None and row.output is not None and row.cache != "hit":
            lengths = self._output_lengths.get(row.tier)
            if lengths is None:
                lengths = self._output_lengths[row.tier] = OutputLengths()
            lengths.add(row.output + (row.reasoning or 0))
        reservation = self._reservations.pop(row.id, None)
        if reservation is None:
            return
        ended_call = make_ended_call(row)
        excess = reservation.compute_excess(ended_call[2] or 0)
        if excess:
            self.excess_micro_usd += excess
            self._reports.report_excess(row, excess)
        self._settlement.add(reservation, ended_call)

    async def settle_dead(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        """Settle calls of a tenant that no longer run, for example those of a dead process.

        If the counter store is unavailable, the limiter remembers them and settles them later.
        """
        await self._settlement.settle_all(tenant, ended_calls, scopes)

    async def reclaim_leases(self) -> None:
        """Return what dead processes have left of their leases; later if the store is away."""
        if self._leases is not None:
            with suppress(StoreUnavailable):
                await self._leases.reclaim_dead()

    async def read_spent(self, owner: Owner, demand: CounterDemand) -> int:
        """Return the micro-USD that the ledger has for a counter. Raises ProblemError."""
        return (await self._ledger_spends.find(owner, demand)).spent

    async def sweep_periodically(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Remove counters that are no longer needed, at intervals, until cancelled."""
        while True:
            await sleep(_SWEEP_SECONDS)
            self._reports.trim()
            await self.reclaim_leases()
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
                owner
                for reservation in self._reservations.values()
                for owner in reservation.list_money_owners(self._counter_store)
            }
            for owner in owners:
                with suppress(StoreUnavailable):
                    await self._counter_store.confirm(owner, self._wall())

    def _find_running(self, owner: Owner) -> list[RunningCall]:
        """Return the running calls that have reserved something of an owner in the store.

        The store asks once it may have forgotten them, so leases of the owner end.
        """
        calls: list[RunningCall] = []
        if self._leases is not None:
            self._leases.forget(owner)
        offset = self._wall() - self._clock()
        for id, reservation in self._reservations.items():
            demands = [
                demand
                for demand in reservation.list_demands_in(self._counter_store)
                if demand.owner(reservation.tenant) == owner
            ]
            calls += [RunningCall(id, reservation.ends_at + offset, demands)] if demands else []
        return calls

    async def wait_settled(self) -> None:
        """Wait until all ended calls are settled."""
        await self._settlement.wait()

    async def close(self) -> None:
        """Settle all ended calls, and return all leases."""
        await self.wait_settled()
        if self._leases is not None:
            with suppress(StoreUnavailable):
                await self._leases.close()

    async def renew_leases(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Take, replace and return leases, until cancelled."""
        while True:
            await sleep(TICK_SECONDS)
            if self._leases is not None:
                await self._leases.renew()

    def _make_option(
        self,
        usage_bound: UsageBound,
        now: float,
        decision: Decision,
        plan: Plan,
        ceiling: Tier | None = None,
    ) -> AdmissionOption:
        key, tier = usage_bound.call.key, decision.tier
        template = self._limits.prepare(
            key.name, decision.tags, tier, now, key, usage_bound.end_user
        )
        if not template.variable_indexes:
            lifetime = compute_lifetime(usage_bound.call, tier, plan.targets)
            return AdmissionOption(decision, plan, template, template.demands, lifetime, ceiling)
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
        bounded_plan = (
            None
            if is_bounded
            else drop_unbounded_targets(usage_bound, plan, template, expected_output)
        )
        if bounded_plan is not None:
            self._reports.report_unbounded(bounded_plan.skipped[len(plan.skipped) :])
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
        lifetime = compute_lifetime(usage_bound.call, tier, plan.targets)
        demands = template.fill(amounts)
        return AdmissionOption(decision, plan, template, demands, lifetime, ceiling, is_bounded)

    def _make_error(
        self, usage_bound: UsageBound, option: AdmissionOption, answer: Refusal
    ) -> ProblemError:
        """Make the error that tells the client why its call does not pass.

        Report a used-up budget to the operator.
        """
        demand, dialect = answer.demand, usage_bound.call.dialect
        # Nothing fits into a budget of 0, so it is not the missing bound that refuses the call.
        if demand.kind == "usd" and not option.is_bounded and demand.limit:
            gap = usage_bound.find_gap(option.plan.targets)
            return make_unbounded_error(demand, dialect, gap)
        self._reports.report_exhausted(usage_bound.call.key.tenant, answer)
        return make_refusal_error(answer, dialect, self._wall())

    async def _reserve(
        self,
        usage_bound: UsageBound,
        options: list[AdmissionOption],
        now: float,
        decide_again: DecideAgain | None,
    ) -> Refusal | Admitted:
        """Take the demands of one option, for a call that passes or (no `decide_again`) goes on.

        If counters are missing, all options on cheaper tiers are added to `options`.
        """
        call, tenant = usage_bound.call, usage_bound.call.key.tenant
        earlier, counter_store = self._reservations.get(call.id), self._counter_store
        if earlier is not None and not self._needs_store(options[0].demands):
            counter_store = earlier.counter_store
        is_new = decide_again is not None and earlier is None
        self.tenants.add(tenant)
        if is_new and len(options) == 1 and self._lease(call, options[0]):
            return PASSED
        # Start this first: the last reservation of a client must not refuse its next call.
        self._settlement.begin()
        try:
            answer = await self._ask_store(counter_store, usage_bound, options, now, decide_again)
            if counter_store is self._counter_store:
                self._settlement.report_return()
        except asyncio.CancelledError:  # the store may have granted it all the same
            all_scopes = collect_scopes(
                [demand for candidate in options for demand in candidate.template.demands]
            )
            if earlier is None:
                self._hold(call, counter_store, options[0], scopes=all_scopes)
            raise
        except StoreUnavailable:
            self._settlement.report_loss()
            if decide_again is not None and earlier is None:
                return await self._reserve_alone(usage_bound, options, now, decide_again)
            if self._needs_store(options[0].demands):
                raise ProblemError(UNCOUNTED_PROBLEM) from None
            return PASSED  # its settlement counts what the attempt cost
        if isinstance(answer, Admitted):
            self._hold_granted(call, counter_store, options[answer.choice], answer)
        return answer

    def _hold_granted(
        self,
        call: Call,
        counter_store: CounterStore,
        option: AdmissionOption,
        answer: Admitted,
    ) -> None:
        """Remember and report what a store has granted to a call."""
        earlier, tenant = self._reservations.get(call.id), call.key.tenant
        if self._leases is not None and counter_store is self._counter_store:
            self._leases.record(tenant, option.demands)
        if earlier is not None and counter_store is not earlier.counter_store:
            self._reservations[call.id] = msgspec.structs.replace(
                earlier, shared_demands=(*earlier.shared_demands, *option.demands)
            )
        else:
            self._hold(call, counter_store, option, earlier=earlier)
        for demand in answer.warnings:
            self._reports.report_soft(demand.owner(tenant), demand)

    async def _reserve_alone(
        self,
        usage_bound: UsageBound,
        options: list[AdmissionOption],
        now: float,
        decide_again: DecideAgain,
    ) -> Refusal | Admitted:
        """Take the demands of a call without the shared store: of leases, and in this process."""
        call, tenant, option = usage_bound.call, usage_bound.call.key.tenant, options[0]
        hard_demands = tuple([demand for demand in option.demands if demand.is_hard_money])
        is_leased = (
            self._leases is not None
            and bool(hard_demands)
            and len(options) == 1
            and self._leases.draw(call.id, tenant, hard_demands, option.lifetime)
        )
        if is_leased:  # the store settles what it may have granted with what the lease did
            others = tuple([demand for demand in option.demands if not demand.is_hard_money])
            options[0] = msgspec.structs.replace(
                option, template=DemandTemplate(others), demands=others
            )
        else:
            self._unsettled.add_unsettled(tenant, (call.id, 0, 0))
        if self._needs_store(options[0].demands):
            raise ProblemError(UNCOUNTED_PROBLEM) from None
        options[:] = self._find_local_options(options)
        answer = await self._ask_store(
            self._settlement.local_store, usage_bound, options, now, decide_again
        )
        if isinstance(answer, Refusal):
            if is_leased:
                self._unsettled.add_unsettled(tenant, (call.id, 0, 0))
            return answer
        shared_demands = hard_demands if is_leased else ()
        self._hold(
            call, self._settlement.local_store, options[answer.choice], shared=shared_demands
        )
        for demand in answer.warnings:
            self._reports.report_soft(demand.owner(tenant), demand)
        return answer

    def _lease(self, call: Call, option: AdmissionOption) -> bool:
        """Serve a call from leases. Return False if these have no room for it."""
        if self._leases is None or not option.template.has_only_money:
            return False
        if not self._leases.draw(call.id, call.key.tenant, option.demands, option.lifetime):
            return False
        self._hold(call, self._counter_store, option)
        return True

    def _hold(
        self,
        call: Call,
        counter_store: CounterStore,
        option: AdmissionOption,
        *,
        earlier: HeldDemands | None = None,
        scopes: Scopes | None = None,
        shared: tuple[CounterDemand, ...] = (),
    ) -> None:
        """Remember what a call has reserved; `scopes` are its owners, if more than the option's."""
        earlier_demands = () if earlier is None else earlier.demands
        if earlier_demands:
            scopes = collect_scopes((*earlier_demands, *option.template.demands))
        self._reservations[call.id] = HeldDemands(
            counter_store,
            call.key.tenant,
            (*earlier_demands, *option.demands),
            option.template.scopes if scopes is None else scopes,
            self._clock() + option.lifetime,
            shared if earlier is None else earlier.shared_demands,
        )

    def _find_local_options(self, options: Sequence[AdmissionOption]) -> list[AdmissionOption]:
        """Return the options that need no counter store."""
        return [option for option in options if not self._needs_store(option.demands)]

    async def _ask_store(
        self,
        counter_store: CounterStore,
        usage_bound: UsageBound,
        options: list[AdmissionOption],
        now: float,
        decide_again: DecideAgain | None,
    ) -> Refusal | Admitted:
        """Ask a counter store, and seed the counters that it misses.

        Raises StoreUnavailable, ProblemError.
        """
        call, is_local = usage_bound.call, counter_store is not self._counter_store
        share_count = self._share_count if is_local else 1
        reservation = self._reservations.get(call.id)
        held_scopes: Scopes = () if reservation is None else reservation.scopes
        send = counter_store.extend if decide_again is None else counter_store.admit
        request = make_request(call, options, now, held_scopes, share_count=share_count)
        answer = await send(request, now)
        for _ in range(_MAX_TRIES):
            if not isinstance(answer, MissingCounter):
                return answer
            tenant = call.key.tenant
            missing = {
                (demand.owner(tenant), demand.field): demand
                for demand in (answer.demand, *answer.other_demands)
            }
            if decide_again is not None and len(options) == 1:
                lower_options = find_lower_options(
                    options[0], decide_again, partial(self._make_option, usage_bound, now)
                )
                if is_local:
                    lower_options = self._find_local_options(lower_options)
                options += lower_options
                missing |= list_fallback_counters(options, tenant)
            if answer.wait:  # until then the ledger may lack calls that have ended
                await self._sleep(answer.wait)
            restores = answer.may_lack_calls and not is_local
            spends = [
                await self._ledger_spends.find(owner, demand, restores=restores)
                for (owner, _), demand in missing.items()
            ]
            pairs = zip(missing, spends, strict=True)
            seeds = tuple(
                [(*counter_key, spend.spent // share_count) for counter_key, spend in pairs]
            )
            request = make_request(
                call, options, now, held_scopes, share_count=share_count, seeds=seeds
            )
            answer = await send(request, now)
            if not (is_local or isinstance(answer, MissingCounter)):
                for spend in spends:
                    self._unsettled.mark_seeded(spend)
        raise StoreUnavailable
