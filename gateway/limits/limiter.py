"""What a call must pass before a provider is asked, and what becomes of it after.

A call takes all that it needs of limits and budgets at once, or is refused, or goes to a cheaper
tier. It holds what it may cost at most, so that calls that run together cannot overspend; when it
is over, what it holds becomes what it used.

Who counts is asked once for a call. It is asked once more where a budget sends the call to a
cheaper tier, or where a counter is not there, as the first call of a window finds it: the second
time has all that there is to say.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

import msgspec

from gateway.core.call import Call, Key
from gateway.core.decision import Decision, Plan, SkippedTarget
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import TIERS, Target, Tier, patience
from gateway.limits.cost_bounds import UsageBound, end_of
from gateway.limits.counters import (
    BOTH,
    PASSED,
    AdmissionRequest,
    Admitted,
    CounterDemand,
    CounterStore,
    DemandTemplate,
    End,
    MissingCounter,
    Owner,
    Refusal,
    Scopes,
    scopes,
)
from gateway.limits.errors import CountersUnavailable
from gateway.limits.reconciliation import UnsettledCalls
from gateway.limits.refusals import UNCOUNTED, refusal, unbounded
from gateway.limits.rules import LimitRules, PreparedDemand, counted
from gateway.telemetry.log import Log

type Again = Callable[[Tier], tuple[Decision, Plan]]
"""Decides a call anew, with a tier as its ceiling. Raises ProblemError where nothing serves it."""

type Asking = Callable[[Decision, Plan], object]

_GRACE = 60.0
"""Seconds beyond the longest time of a tier after which a call is dead."""
_OUTPUT = 1_000
"""Tokens of output that a call is taken to have before any was seen."""
_SWEEP = 600.0
_MOST = 10_000
_SAMPLE = 256
"""Answers of a tier that are remembered."""
_FRESH = 16
"""Answers after which it is looked again how long they usually are."""
_UNBOUNDED = "its cost has no bound, and a hard budget needs one"
_TRIES = 3
"""Times that a call is counted whose counters are not there, even when they were just given."""


def _nothing(_: Decision, __: Plan) -> None: ...


class _Outputs:
    """How long the answers of a tier are."""

    __slots__ = ("_count", "_seen", "_usual")

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=_SAMPLE)
        self._count = 0
        self._usual: int | None = None

    def add(self, tokens: int) -> None:
        self._seen.append(tokens)
        self._count += 1
        if self._count < _FRESH or self._count % _FRESH == 0:
            self._usual = None

    @property
    def usual(self) -> int:
        """Tokens that all but one in a hundred of the last ones stay below, of one at least."""
        if self._usual is None:
            seen = sorted(self._seen)
            self._usual = seen[len(seen) * 99 // 100]
        return self._usual


class _AdmissionOption(msgspec.Struct, frozen=True):
    """One way for a call to go on."""

    decision: Decision
    plan: Plan
    form: DemandTemplate
    amounts: tuple[int, ...]
    ceiling: Tier | None = None
    """The `then` of what sends it there; None for what was decided first."""
    bounded: bool = True
    """True if its hard budgets know what to reserve for it."""

    @property
    def needs(self) -> tuple[CounterDemand, ...]:
        """What it needs."""
        return self.form.of(self.amounts)


class _Held(msgspec.Struct, frozen=True):
    """What a call has taken, and of whom."""

    meter: CounterStore
    tenant: str
    form: DemandTemplate
    amounts: tuple[int, ...]
    scopes: Scopes
    """Of whose counters."""
    more: tuple[CounterDemand, ...] = ()
    """Before that."""

    @property
    def needs(self) -> tuple[CounterDemand, ...]:
        """All of it."""
        return (*self.more, *self.form.of(self.amounts))


class Limiter:
    """Lets calls pass, and settles what they hold.

    While `meter` is lost, what `spare` makes counts in this process one of `shares` equal parts of
    each limit; `closed`: calls that a budget bounds are then refused. `seed` tells what was spent
    on a counter that is not there, by its owner; `alert` is told of each soft limit that a call
    crosses. `wall` tells seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        limits: LimitRules,
        meter: CounterStore,
        log: Log,
        *,
        seed: Callable[[Owner, CounterDemand], Awaitable[int]],
        alert: Callable[[Owner, CounterDemand], object],
        spare: Callable[[], CounterStore],
        closed: bool = False,
        shares: int = 1,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._meter = meter
        self._log = log
        self._alert = alert
        self._fresh = spare
        self._spare = spare()
        self._closed = closed
        self._shares = shares
        self._wall = wall
        self._debts = UnsettledCalls(meter, seed, log, wall)
        self._books = self._debts.seeds
        self._held: dict[str, _Held] = {}
        """By call."""
        self._ended: dict[tuple[str, Scopes], list[End]] = {}
        """Calls that `meter` has counted and that are over, by their tenant and by whose counters
        they hold: to be settled at once."""
        self._apart: list[tuple[_Held, End]] = []
        """The same of calls that were counted elsewhere."""
        self._outputs: dict[str, _Outputs] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._lost = False
        self.tenants: set[str] = set()
        """Those whose calls had something to pass."""
        self._spent: set[tuple[Owner, str]] = set()
        """Budgets of which it was told that they are used up, by owner and counter."""
        self._unbounded: set[str] = set()
        """Targets of which the log has told that they are passed over."""

    def adopt(self, limits: LimitRules, *, closed: bool) -> None:
        """Go by other limits from now on; what calls hold stays held, and what was counted counts.

        A budget that was used up may have become larger: it is told of anew.
        """
        if limits is not self._limits:
            self._limits = limits
            self._spent.clear()
        self._closed = closed

    def bounds(self, key: Key) -> bool:
        """Whether calls of a key may have to pass something."""
        return bool(self._limits.rules or key.limits or key.budgets)

    def closes(self, keys: Iterable[Key]) -> bool:
        """True if no call of these keys passes while nobody counts: a budget bounds them all."""
        now = self._wall()
        return self._closed and all(
            _is_money(self._limits.ready(key.name, key.tags, tier, now, key).needs)
            for key in keys
            for tier in TIERS
        )

    async def admit(
        self,
        want: UsageBound,
        decision: Decision,
        plan: Plan,
        again: Again,
        *,
        asking: Asking = _nothing,
        late: bool = False,
    ) -> tuple[Decision, Plan]:
        """Let a call pass, or send it to a cheaper tier; return its decision and plan.

        The plan has no target whose cost is unbounded, where a hard budget counts the call.
        The gate calls `asking` with each way before it asks for that way. `late`: it asks for all
        ways at once.
        Raises ProblemError: rate_limited, budget, budget_busy, overloaded.
        """
        if not self.bounds(want.call.key):
            return decision, plan
        now = self._wall()
        first = self._way(want, decision, plan, now)
        if not first.form.needs:
            return decision, plan
        ways = [first, *self._lower(want, first, again, now)] if late else [first]
        found = await self._take(want, ways, now, again, asking)
        if found is PASSED:
            return first.decision, first.plan
        then = found.need.then if isinstance(found, Refusal) else None
        if isinstance(found, Refusal) and then is not None and len(ways) == 1:
            now = self._wall()
            lower = self._lower(want, first, again, now)
            start = next((at for at, way in enumerate(lower) if way.ceiling == then), None)
            if start is not None:
                if first.bounded:
                    self._full(want.call.key.tenant, found)
                ways = lower[start:]
                found = await self._take(want, ways, now, again, asking)
        unknown = {need.field for way in ways if not way.bounded for need in way.needs}
        for need in found.before:
            if need.field not in unknown:
                self._full(want.call.key.tenant, Refusal(need))
        way = ways[found.choice]
        if isinstance(found, Refusal):
            raise self._refusal(want, way, found)
        return way.decision, way.plan

    async def extend(self, want: UsageBound, decision: Decision, target: Target) -> None:
        """Before one more request of a call that may be billed for one. Raises ProblemError."""
        now = self._wall()
        way = self._way(want, decision, Plan(targets=(target,), doors=()), now)
        needs = tuple([need for need in way.needs if need.kind == "usd"])
        if not needs:
            return
        way = msgspec.structs.replace(way, form=DemandTemplate(needs), amounts=())
        found = await self._take(want, [way], now, None)
        if isinstance(found, Refusal):
            raise self._refusal(want, way, found)

    def settle(self, entry: FinalRow) -> None:
        """A call is over: what it holds becomes what it used, where nobody waits for it."""
        if entry.tier is not None and entry.output is not None and entry.cache != "hit":
            outputs = self._outputs.get(entry.tier)
            if outputs is None:
                outputs = self._outputs[entry.tier] = _Outputs()
            outputs.add(entry.output + (entry.reasoning or 0))
        held = self._held.pop(entry.id, None)
        if held is None:
            return
        if not (self._ended or self._apart):
            self._run_later(self._settle())
        named = held.tenant, held.scopes
        if held.meter is not self._meter:
            self._apart.append((held, end_of(entry)))
        elif (ends := self._ended.get(named)) is not None:
            ends.append(end_of(entry))
        else:
            self._ended[named] = [end_of(entry)]

    async def settle_dead(self, tenant: str, ends: Sequence[End], scopes: Scopes = BOTH) -> None:
        """Settle calls of a tenant that run no more: of a process that is dead, say."""
        try:
            await self._meter.end(tenant, ends, scopes)
        except CountersUnavailable:
            self._said(lost=True)
            for end in ends:
                self._debts.owe(tenant, end)

    async def spent(self, owner: Owner, need: CounterDemand) -> int:
        """Return the micro-USD that the ledger has of a counter. Raises ProblemError."""
        return (await self._books.find(owner, need)).spent

    async def keep(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Let go of what counts nothing any more, again and again, until cancelled."""
        while True:
            await sleep(_SWEEP)
            if len(self._spent) > _MOST:
                self._spent.clear()
            for owner in (None, *self.tenants):
                try:
                    await self._meter.sweep(owner, self._wall())
                except CountersUnavailable:
                    break

    async def drain(self) -> None:
        """Wait for what is being settled."""
        while self._later:
            await asyncio.wait(self._later)

    def _way(
        self,
        want: UsageBound,
        decision: Decision,
        plan: Plan,
        now: float,
        ceiling: Tier | None = None,
    ) -> _AdmissionOption:
        key, tier = want.call.key, decision.tier
        form = self._limits.ready(key.name, decision.tags, tier, now, key)
        if not form.varies:
            return _AdmissionOption(decision, plan, form, (), ceiling)
        asked, output = want.prompt.max_output, _OUTPUT
        if asked is None or asked < 0 or form.expects:
            outputs = self._outputs.get(tier or "")
            output = _OUTPUT if outputs is None else outputs.usual
        micro = want.most(plan.targets) if form.spends else None
        expected = want.usual(plan.targets, output) if form.expects else None
        bounded = not ((form.caps and micro is None) or (form.guesses and expected is None))
        if not bounded and (left := self._bounded(want, plan, form, output)) is not None:
            plan, bounded = left, True
            micro = want.most(plan.targets)
            expected = want.usual(plan.targets, output) if form.expects else None
        amounts = form.amounts(want.reads(output), micro, expected)
        return _AdmissionOption(decision, plan, form, amounts, ceiling, bounded)

    def _bounded(
        self, want: UsageBound, plan: Plan, form: PreparedDemand, output: int
    ) -> Plan | None:
        """Return the plan without the targets whose cost is unbounded; None if none is left."""
        kept, skipped = list[int](), list[SkippedTarget]()
        for at, target in enumerate(plan.targets):
            usual = want.usual((target,), output) if form.guesses else 0
            if usual is not None and not (form.caps and want.most((target,)) is None):
                kept.append(at)
                continue
            skipped.append(SkippedTarget(target.name, None, _UNBOUNDED))
        if not kept:
            return None
        for name in {one.target for one in skipped} - self._unbounded:
            self._unbounded.add(name)
            self._log("budget", text=f"{name} is passed over: its cost has no bound")
        return Plan(
            targets=tuple([plan.targets[at] for at in kept]),
            doors=tuple([plan.doors[at] for at in kept]),
            labs=tuple([plan.labs[at] for at in kept]) if plan.labs else (),
            skipped=(*plan.skipped, *skipped),
        )

    def _refusal(self, want: UsageBound, way: _AdmissionOption, over: Refusal) -> ProblemError:
        """Tell the client why its call does not pass, and the operator of a used-up budget."""
        need, dialect = over.need, want.call.dialect
        if need.kind == "usd" and not way.bounded and need.limit:  # into 0 nothing fits anyhow
            return unbounded(need, dialect, priced=want.capped(way.plan.targets))
        self._full(want.call.key.tenant, over)
        return refusal(over, dialect)

    def _lower(
        self, want: UsageBound, first: _AdmissionOption, again: Again, now: float
    ) -> list[_AdmissionOption]:
        """Where a call may go in place of a refusal, dearest first: each time to a cheaper tier."""
        found: list[_AdmissionOption] = []
        tier = first.decision.tier
        wanted = {need.then for need in first.form.needs}
        for ceiling in reversed(TIERS):
            if ceiling not in wanted or tier is None:
                continue
            try:
                decision, plan = again(ceiling)
            except ProblemError:  # nothing there serves it
                continue
            # A rule may bring it back.
            if decision.tier is not None and TIERS.index(decision.tier) < TIERS.index(tier):
                found.append(self._way(want, decision, plan, now, ceiling))
                wanted |= {need.then for need in found[-1].form.needs}
        return found

    async def _take(
        self,
        want: UsageBound,
        ways: list[_AdmissionOption],
        now: float,
        again: Again | None,
        asking: Asking = _nothing,
    ) -> Refusal | Admitted:
        """Take what one of some ways needs, for a call that passes or, without `again`, goes on.

        Where counters are not there, all lower ways are added to `ways`.
        """
        call, tenant = want.call, want.call.key.tenant
        before = self._held.get(call.id)
        meter = self._meter if before is None else before.meter
        self.tenants.add(tenant)
        try:
            if again is not None and before is None and len(ways) == 1:  # as nearly all
                way = ways[0]
                asking(way.decision, way.plan)
                life = _life(call, way)
                found = await meter.take(way.form, way.amounts, call.id, tenant, life, now)
                if isinstance(found, MissingCounter):
                    found = await self._counted(meter, want, ways, now, again, asking, found)
            else:
                found = await self._counted(meter, want, ways, now, again, asking)
            if self._lost and meter is self._meter:
                self._said(lost=False)
        except asyncio.CancelledError:  # it may be taken all the same
            way = ways[0]
            every = scopes([need for one in ways for need in one.form.needs])
            self._held.setdefault(call.id, _Held(meter, tenant, way.form, way.amounts, every))
            raise
        except CountersUnavailable:
            self._said(lost=True)
            if before is None:
                self._debts.owe(tenant, (call.id, 0, 0))
            if again is None or (self._closed and _is_money(ways[0].form.needs)):
                raise ProblemError(UNCOUNTED) from None
            meter = self._spare
            found = await self._counted(meter, want, ways, now, again, asking)
        if isinstance(found, Refusal):
            return found
        way = ways[found.choice]
        own, more = way.form.scopes, before.needs if before is not None else ()
        if more:
            own = scopes((*more, *way.form.needs))
        self._held[call.id] = _Held(meter, tenant, way.form, way.amounts, own, more)
        for need in found.warnings:
            self._tell(tenant, need, "soft limit passed")
        return found

    async def _counted(
        self,
        meter: CounterStore,
        want: UsageBound,
        ways: list[_AdmissionOption],
        now: float,
        again: Again | None,
        asking: Asking,
        found: Refusal | Admitted | MissingCounter | None = None,
    ) -> Refusal | Admitted:
        """`found` is what was answered before, where it was asked for."""
        take = meter.extend if again is None else meter.admit
        if found is None:
            for way in ways:
                asking(way.decision, way.plan)
            found = await take(self._ask(want, ways, now, part=meter is not self._meter), now)
        for _ in range(_TRIES):
            if not isinstance(found, MissingCounter):
                return found
            tenant = want.call.key.tenant
            unknown = {(need.owner(tenant), need.field): need for need in (found.need, *found.more)}
            if again is not None and len(ways) == 1:
                ways += self._lower(want, ways[0], again, now)
                first = {(need.owner(tenant), need.field) for need in ways[0].form.needs}
                for need in [need for way in ways[1:] for need in way.needs if need.seeded]:
                    if (named := (need.owner(tenant), need.field)) not in first:
                        unknown[named] = need
            known = [await self._books.find(owner, need) for (owner, _), need in unknown.items()]
            parts = self._shares if meter is not self._meter else 1
            pairs = zip(unknown, known, strict=True)
            seeds = tuple([(*named, one.spent // parts) for named, one in pairs])
            ask = self._ask(want, ways, now, part=meter is not self._meter, seeds=seeds)
            for way in ways[1:]:
                asking(way.decision, way.plan)
            found = await take(ask, now)
            if meter is self._meter and not isinstance(found, MissingCounter):
                for one in known:
                    self._debts.known(one)
        raise CountersUnavailable

    def _ask(
        self,
        want: UsageBound,
        ways: Sequence[_AdmissionOption],
        now: float,
        *,
        part: bool,
        seeds: tuple[tuple[Owner, str, int], ...] = (),
    ) -> AdmissionRequest:
        """`part`: of each limit this process's part alone."""
        call, (first, *others) = want.call, ways
        return AdmissionRequest(
            id=call.id,
            tenant=call.key.tenant,
            needs=self._parts(first.needs) if part else first.needs,
            expires=now + max([_life(call, way) for way in ways]),
            others=tuple(
                [
                    (way.ceiling, self._parts(way.needs) if part else way.needs)
                    for way in others
                    if way.ceiling is not None
                ]
            ),
            seeds=seeds,
            holds=() if (before := self._held.get(call.id)) is None else before.scopes,
        )

    def _full(self, tenant: str, over: Refusal) -> None:
        """Tell the operator of a budget that is used up, once in each window.

        A call that is larger than all of the budget does not say that any of it is used.
        """
        need = over.need
        told = need.owner(tenant), need.field
        large = 0 < need.limit < need.amount
        full = need.kind in ("usd", "share") and not (over.busy or large)
        if full and told not in self._spent:
            self._spent.add(told)
            self._tell(tenant, need, "used up")

    def _tell(self, tenant: str, need: CounterDemand, text: str) -> None:
        """Tell the operator of a budget: in the log, and at the receiver of alerts."""
        owner = need.owner(tenant)
        self._log(
            "budget", name=need.name, scope=counted(owner, need), counter=need.field, text=text
        )
        self._alert(owner, need)

    def _parts(self, needs: Sequence[CounterDemand]) -> tuple[CounterDemand, ...]:
        """What of limits is this process's while nobody counts for all."""
        limits = [max(1, need.limit // self._shares) if need.limit else 0 for need in needs]
        pairs = zip(needs, limits, strict=True)
        return tuple([msgspec.structs.replace(need, limit=limit) for need, limit in pairs])

    async def _settle(self) -> None:
        """Settle all that has ended since it was begun."""
        ended, self._ended = self._ended, {}
        apart, self._apart = self._apart, []
        for (tenant, own), ends in ended.items():
            await self.settle_dead(tenant, ends, own)
        for held, end in apart:
            await held.meter.end(held.tenant, (end,))
            self._debts.add(held.tenant, held.needs, end[2])
        if self._debts.any and not self._lost:  # they have outlived the loss
            self._repay()

    def _repay(self) -> None:
        async def repay() -> None:
            try:
                await self._debts.repay()
            except CountersUnavailable:
                self._said(lost=True)  # what is left is tried again
            except ProblemError:
                return  # and so is what the ledger could not tell

        self._run_later(repay())

    def _said(self, *, lost: bool) -> None:
        if lost is self._lost:
            return
        self._lost = lost
        text = "counted in this process alone" if lost else "counted for all again"
        self._log("limits", text="refused" if lost and self._closed else text)
        if lost:
            self._spare = self._fresh()  # what was counted in an earlier loss is long since old
        elif self._debts.any:
            self._repay()

    def _run_later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)


def _is_money(needs: Iterable[CounterDemand]) -> bool:
    """True if a budget is among what a call needs."""
    return any(need.kind in ("usd", "share") for need in needs)


def _life(call: Call, way: _AdmissionOption) -> float:
    """Seconds after which a call is dead that goes a way."""
    kind, longest = patience(way.decision.tier, call.operation), 0.0
    for target in way.plan.targets:
        total = target.provider.timers[kind].total
        longest = max(longest, total)
    return longest + _GRACE
