"""What a call must pass before a provider is asked, and what becomes of it after.

A call takes all that it needs of limits and budgets at once, or is refused, or goes to a cheaper
tier. It holds what it may cost at most, so that calls that run together cannot overspend; when it
is over, what it holds becomes what it used.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from decimal import Decimal

import msgspec

from gateway.core.call import Call
from gateway.core.decision import Decision, Plan
from gateway.core.entry import Entry
from gateway.core.price import reserve
from gateway.core.problem import Problem, ProblemError
from gateway.core.prompt import Prompt
from gateway.core.target import TIERS, Target, Tier
from gateway.limits.meter import Ask, Lost, Meter, Need, Over, Passed, Unseeded
from gateway.limits.rule import MOST, Limits
from gateway.telemetry.log import Log

_MICRO = Decimal(1_000_000)
_FRAME = 1_000
"""Tokens that stand around what a request says."""
_IMAGE = 20_000
"""Tokens of an image, at most: the largest that providers document, and more."""
_GRACE = 60.0
"""Seconds beyond the longest time of a tier after which a call is dead."""
_OUTPUT = 1_000
"""Tokens of output that a call is taken to have before any was seen."""
_SWEEP = 600.0
_MOST = 10_000
_SAMPLE = 256
"""Answers of a tier that are remembered."""
_UNCOUNTED = Problem(
    kind="overloaded",
    message="Budgets cannot be counted now, so nothing is sent. Try again soon.",
    retry_after=5.0,
)


def bound(prompt: Prompt, body: bytes) -> int:
    """Tokens of a prompt at most: no token is shorter than a byte of text."""
    plain = body.isascii() and b"\\u" not in body
    text = prompt.chars if plain else 4 * prompt.chars
    media = len(body) if prompt.files or prompt.audio else 0
    return text + _FRAME + _IMAGE * prompt.images + media


def micro(cost: Decimal) -> int:
    """Micro-USD, rounded up: a budget is never overspent by a fraction."""
    return math.ceil(cost * _MICRO)


def dearest(
    targets: Sequence[Target], prompt: int, asked: Prompt, at: float, *, answers: bool = True
) -> int | None:
    """Micro-USD that a call costs at most at the dearest of targets; None where one has no bound.

    `prompt` is the tokens that it reads at most, `at` seconds since the epoch; `answers`: it is
    answered in tokens, as vectors are not.
    """
    found = 0
    for target in targets:
        most = target.longest(asked.max_output, asked.choices) if answers else 0
        price = target.price.on(at) if target.price is not None else None
        cost = None if price is None else reserve(price, prompt, most, asked.service)
        if cost is None:
            return None
        found = max(found, micro(cost))
    return found


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks of those who count: who it is, and how much it may use."""

    call: Call
    prompt: Prompt
    tokens: int
    """Estimated, of its prompt."""

    def most(self, targets: Sequence[Target]) -> int | None:
        """Micro-USD at most."""
        call, asked = self.call, self.prompt
        if call.operation == "count_tokens":
            return 0
        answers = call.operation == "generate"
        return dearest(targets, bound(asked, call.body), asked, call.received_at, answers=answers)

    def reads(self, output: int) -> int:
        """Tokens that it takes: of its prompt, and of what it asks for or of `output`."""
        if self.call.operation != "generate":
            return 0 if self.call.operation == "count_tokens" else self.tokens
        asked = self.prompt.max_output
        return self.tokens + (output if asked is None or asked < 0 else asked)

    def usual(self, targets: Sequence[Target], output: int) -> int | None:
        """Micro-USD where it answers as others do, with so many tokens of output."""
        asked = msgspec.structs.replace(self.prompt, max_output=output)
        if self.call.operation != "generate":
            return self.most(targets)
        return dearest(targets, self.tokens, asked, self.call.received_at)


class Gate:
    """Lets calls pass, and settles what they hold.

    While `meter` is lost, `spare` counts in this process one of `shares` equal parts of each limit;
    `closed`: calls that a budget bounds are then refused. `seed` tells what was spent on a counter
    that is not there, by tenant; `alert` is told of each soft limit that a call crosses. `wall`
    tells seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        limits: Limits,
        meter: Meter,
        log: Log,
        *,
        seed: Callable[[str, Need], Awaitable[int]],
        alert: Callable[[str, Need], object],
        spare: Meter,
        closed: bool = False,
        shares: int = 1,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._meter = meter
        self._log = log
        self._seed = seed
        self._alert = alert
        self._spare = spare
        self._closed = closed
        self._shares = shares
        self._wall = wall
        self._held: dict[str, tuple[Meter, Ask]] = {}
        """Who counts a call, and what it holds, by its id."""
        self._owed: dict[tuple[str, Need], int] = {}
        """Micro-USD that were spent by tenant and budget while nobody counted for all."""
        self._outputs: dict[str, deque[int]] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._lost = False
        self._tenants: set[str] = set()
        self._due: dict[str, tuple[str, int | None, int | None]] = {}
        """By call, what is to be settled with whom is lost: its tenant, tokens, micro-USD."""
        self._spent: set[str] = set()
        """Budgets of which it was told that they are used up."""

    async def admit(
        self,
        want: Want,
        decision: Decision,
        plan: Plan,
        again: Callable[[Tier], tuple[Decision, Plan]],
    ) -> tuple[Decision, Plan]:
        """Let a call pass, or send it to a cheaper tier: what it goes on with.

        `again` decides it with a tier as its ceiling. Raises ProblemError: rate_limited, budget.
        """
        if not self._limits.rules and not want.call.key.limits and not want.call.key.budgets:
            return decision, plan
        while True:
            needs = self._needs(want, decision, plan.targets)
            over = await self._take(want, decision, plan.targets, needs) if needs else None
            if over is None:
                return decision, plan
            self._full(want.call.key.tenant, over.need)
            then, tier = over.need.then, decision.tier
            known = want.most(plan.targets) is not None
            if then is None or tier is None:
                raise _refusal(over, known=known)
            decision, plan = again(then)
            # It goes down each time, so it ends.
            if decision.tier is None or TIERS.index(decision.tier) >= TIERS.index(tier):
                raise _refusal(over, known=known)

    async def extend(self, want: Want, decision: Decision, target: Target) -> None:
        """Before one more request of a call that may be billed for one. Raises ProblemError."""
        needs = [need for need in self._needs(want, decision, (target,)) if need.kind == "usd"]
        if not needs:
            return
        over = await self._take(want, decision, (target,), needs, more=True)
        if over is not None:
            raise _refusal(over, known=want.most((target,)) is not None)

    def settle(self, entry: Entry) -> None:
        """A call is over: what it holds becomes what it used, where nobody waits for it."""
        if entry.tier is not None and entry.output is not None and entry.cache != "hit":
            kept = self._outputs.setdefault(entry.tier, deque(maxlen=_SAMPLE))
            kept.append(entry.output + (entry.reasoning or 0))
        held = self._held.pop(entry.id, None)
        if held is not None:
            self._run_later(self._settle(*held, entry))

    async def keep(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Let go of what counts nothing any more, again and again, until cancelled."""
        while True:
            await sleep(_SWEEP)
            for tenant in self._tenants:
                try:
                    await self._meter.sweep(tenant, self._wall())
                except Lost:
                    break

    async def drain(self) -> None:
        """Wait for what is being settled."""
        while self._later:
            await asyncio.wait(self._later)

    def _needs(self, want: Want, decision: Decision, targets: Sequence[Target]) -> tuple[Need, ...]:
        call, output = want.call, self._usual(decision.tier)
        return self._limits.needs(
            key=call.key.name,
            tenant=call.key.tenant,
            tags=decision.tags,
            tier=decision.tier,
            now=self._wall(),
            tokens=want.reads(output),
            micro=want.most(targets),
            expected=want.usual(targets, output) if self._limits.expects(call.key) else None,
            own=call.key,
        )

    def _usual(self, tier: Tier | None) -> int:
        """Tokens of output that all but one in a hundred answers of a tier stay below."""
        seen = self._outputs.get(tier or "")
        if not seen:
            return _OUTPUT
        return sorted(seen)[len(seen) * 99 // 100]

    async def _take(
        self,
        want: Want,
        decision: Decision,
        targets: Sequence[Target],
        needs: Sequence[Need],
        *,
        more: bool = False,
    ) -> Over | None:
        call, now = want.call, self._wall()
        kind = decision.tier or call.operation
        longest = max(target.provider.timers[kind].total for target in targets)
        ask = Ask(
            id=call.id,
            tenant=call.key.tenant,
            needs=tuple(needs),
            expires=now + longest + _GRACE,
        )
        before = self._held.get(call.id)
        meter = self._meter if before is None else before[0]
        self._tenants.add(call.key.tenant)
        try:
            found = await self._counted(meter, ask, now, more=more)
            self._said(lost=False)
        except asyncio.CancelledError:  # it may be taken all the same
            self._held.setdefault(call.id, (meter, ask))
            raise
        except Lost:
            self._said(lost=True)
            if before is None:
                self._owe(call.id, call.key.tenant, 0, 0)
            if more or (self._closed and any(need.kind in ("usd", "share") for need in needs)):
                raise ProblemError(_UNCOUNTED) from None
            meter = self._spare
            ask = msgspec.structs.replace(ask, needs=tuple(map(self._part, ask.needs)))
            found = await self._counted(meter, ask, now, more=False)
        if isinstance(found, Over):
            return found
        if before is not None:
            ask = msgspec.structs.replace(ask, needs=(*before[1].needs, *ask.needs))
        self._held[call.id] = meter, ask
        for need in found.warnings:
            self._log("budget", name=need.name, counter=need.field, text="soft limit passed")
            self._alert(ask.tenant, need)
        return None

    def _owe(self, id: str, tenant: str, tokens: int | None, spent: int | None) -> None:
        """What is to be settled once whom it is to be settled with is back."""
        if len(self._due) < _MOST:
            self._due[id] = tenant, tokens, spent

    async def _counted(self, meter: Meter, ask: Ask, now: float, *, more: bool) -> Over | Passed:
        take = meter.extend if more else meter.admit
        for _ in range(len(ask.needs) + 1):
            found = await take(ask, now)
            if not isinstance(found, Unseeded):
                return found
            spent = await self._seed(ask.tenant, found.need)
            part = spent // self._shares if meter is self._spare else spent
            await meter.seed(ask.tenant, found.need.field, part)
            if meter is self._meter:  # the ledger knows of what was spent meanwhile
                gone = [one for one in self._owed if one[1].field == found.need.field]
                for one in gone:
                    del self._owed[one]
        raise Lost

    def _full(self, tenant: str, need: Need) -> None:
        """A call did not fit: told once of each budget and window."""
        if need.kind in ("usd", "share") and need.field not in self._spent:
            self._spent.add(need.field)
            self._log("budget", name=need.name, counter=need.field, text="used up")
            self._alert(tenant, need)

    def _part(self, need: Need) -> Need:
        """What of a limit is this process's while nobody counts for all."""
        limit = max(1, need.limit // self._shares) if need.limit else 0
        return msgspec.structs.replace(need, limit=limit)

    async def _settle(self, meter: Meter, ask: Ask, entry: Entry) -> None:
        """What is estimated may be less than was billed: it stays charged with what was held."""
        known = entry.cost is not None and entry.wasted is not None and not entry.estimate
        used = micro(entry.cost) if known and entry.cost is not None else None
        tokens = _tokens(entry)
        try:
            await meter.settle(ask.tenant, entry.id, tokens, used)
        except Lost:
            self._said(lost=True)
            self._owe(entry.id, ask.tenant, tokens, used)
        if meter is self._spare and meter is not self._meter:
            for need in ask.needs:
                if need.kind == "usd":
                    one = ask.tenant, msgspec.structs.replace(need, amount=0, limit=MOST)
                    spent = need.amount if used is None else used
                    self._owed[one] = self._owed.get(one, 0) + spent
            if self._owed and not self._lost:  # it has outlived the loss
                self._run_later(self._repay())

    async def _repay(self) -> None:
        """Count for all what was spent, and settle what ended, while nobody did."""
        try:
            while self._due:
                id, (tenant, tokens, spent) = next(iter(self._due.items()))
                await self._meter.settle(tenant, id, tokens, spent)
                self._due.pop(id, None)
            while self._owed:
                (tenant, need), spent = next(iter(self._owed.items()))
                await self._charge(tenant, need, spent)
                self._owed.pop((tenant, need), None)
        except Lost:
            self._said(lost=True)  # what is left is tried again

    async def _charge(self, tenant: str, need: Need, spent: int) -> None:
        now = self._wall()
        ask = Ask(
            id=f"{need.field} {now:.6f}",
            tenant=tenant,
            needs=(msgspec.structs.replace(need, amount=spent, soft=None),),
            expires=now + _GRACE,
        )
        if isinstance(await self._meter.admit(ask, now), Unseeded):  # the ledger knows of it
            await self._meter.seed(tenant, need.field, await self._seed(tenant, need))
        else:
            await self._meter.settle(tenant, ask.id, None, None)

    def _said(self, *, lost: bool) -> None:
        if lost is not self._lost:
            self._lost = lost
            text = "counted in this process alone" if lost else "counted for all again"
            self._log("limits", text="refused" if lost and self._closed else text)
            if not lost and (self._owed or self._due):
                self._run_later(self._repay())

    def _run_later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)


def _tokens(entry: Entry) -> int | None:
    """Tokens that providers worked on for a call; None where nobody knows."""
    if entry.cache == "hit" or entry.attempts == 0:
        return 0
    if entry.input is None or entry.output is None:
        return None
    more = (entry.cache_read, entry.cache_write, entry.reasoning)
    return entry.input + entry.output + sum(one or 0 for one in more)


def _refusal(over: Over, *, known: bool) -> ProblemError:
    need = over.need
    if need.kind == "usd" and not known:
        message = (
            f"The budget {need.name!r} cannot be held: what this call costs at most is not known. "
            "Give its models a price and a max_output, or set max_tokens."
        )
        return ProblemError(Problem(kind="budget", message=message))
    if need.kind in ("usd", "share"):
        window = need.field.rpartition("|")[2]
        when = "" if window == "total" else f" for {window}"
        what = "is spent" if need.kind == "usd" else "leaves no more of this tier"
        message = f"The budget {need.name!r} {what}{when}, with what runs now."
        return ProblemError(Problem(kind="budget", message=message))
    pace = f"{need.limit:,} {need.kind}"
    if need.kind == "concurrency":
        pace = f"{need.limit:,} calls at a time"
    elif need.period:
        pace += f" in {need.period:g} s"
    message = f"The limit {need.name!r} is reached: {pace}. Try again later."
    wait = 1.0 if over.retry_after is None else over.retry_after
    return ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
