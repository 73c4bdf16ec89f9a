"""What a decision reads of the world: gathered before it; and where its conversation sits after."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from gateway.cache.session_store import SessionStore
from gateway.core.call import Call
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.ledger_rows import FinalRow
from gateway.core.prompt_cache import kept, seconds
from gateway.core.target import Account, Catalogue, Target, Tier
from gateway.limits.tier_share import TurnCounter
from gateway.pipeline.llm_judge import Judge
from gateway.pipeline.prefetch import Prefetch
from gateway.routing import model_name, unlisted_models
from gateway.routing.affinity_verdict import following
from gateway.routing.features import Features
from gateway.routing.router import Router
from gateway.upstream.provider_quota import Place
from gateway.upstream.retry import PinnedAccount as Holder
from gateway.upstream.upstream_request import UpstreamRequest

type Out = Callable[[Place], str]
"""Why an account of a provider is not asked for a model in its turn; empty where it is."""

_ANSWERED = frozenset({"settled", "estimated", "aborted"})
"""States of calls that a provider has begun to answer."""


class _Sitting(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a conversation, while it is served."""

    call: Call
    seen: Features
    before: Session | None
    decision: Decision
    tier: Tier
    catalogue: Catalogue
    asks: bool
    """Which of several accounts has its conversation is to be asked."""


class ContextLoader:
    """Gathers evidence, and keeps seats; without `seats` no conversation has one."""

    def __init__(
        self,
        seats: SessionStore | None = None,
        *,
        ttl: float = 0.0,
        out: Out = lambda _: "",
        traffic: TurnCounter | None = None,
        judge: Judge | None = None,
    ) -> None:
        """`ttl` are the seconds after its last call for which a conversation is remembered.

        `traffic` are the turns of all keys, whose shares are bounded; `judge` asks a model.
        """
        self._traffic = traffic or TurnCounter()
        self._judge = judge
        self._seats = seats if ttl > 0 else None
        self._ttl = ttl
        self._out = out
        self._sitting: dict[str, _Sitting] = {}

    async def evidence(
        self, router: Router, call: Call, seen: Features, *, asks: bool = True
    ) -> DecisionContext:
        """Load the evidence for a decision; ask only for what may matter to it.

        `asks`: a provider may be asked too. A thread looks up a model that no lab lists, as the
        first look at a price list takes long.
        """
        make = unlisted_models.unmade(seen, call.operation, router.catalogue)
        if make is not None:
            await asyncio.to_thread(make)
        known = await self._known(router, call, seen)
        if self._judge is None:
            return known
        return await self._judge(router, call, seen, known, asks=asks)

    def plain(self, router: Router, call: Call, seen: Features) -> DecisionContext | None:
        """As `evidence`, of a call for which nothing need be asked; None of any other."""
        if unlisted_models.unmade(seen, call.operation, router.catalogue) is not None:
            return None
        if (
            (self._judge is not None or self._seats is not None)
            and model_name.leaves(seen, router.catalogue)
            and (self._judge is not None or _begun(seen))
        ):
            return None
        return DecisionContext(at=call.received_at, thresholds=self._traffic.thresholds(call.key))

    async def _known(self, router: Router, call: Call, seen: Features) -> DecisionContext:
        known = DecisionContext(at=call.received_at, thresholds=self._traffic.thresholds(call.key))
        seats = self._seats
        if seats is None or not model_name.leaves(seen, router.catalogue) or not _begun(seen):
            return known
        seat = await seats.find(call.key, seen.turn.conversation)
        if seat is None:
            return known
        return msgspec.structs.replace(known, seat=seat, unseated=self._out(_place(seat)))

    def decided(
        self,
        call: Call,
        seen: Features,
        evidence: DecisionContext,
        decision: Decision,
        plan: Plan,
        router: Router,
    ) -> None:
        """What becomes of a call is where its conversation sits.

        What the caller has named is kept where a conversation has begun, or where it has to stay
        with one of several accounts: else what names a model in each call needs no seat.
        """
        self._traffic.note(call, decision)
        if self._seats is None or call.operation != "generate" or decision.tier is None:
            return
        several = _several(decision, plan)
        if not several and decision.source == "pin" and not _talks(seen):
            return
        if seen.turn.conversation and seen.turn.kind != "side":
            sitting = _Sitting(
                call=call,
                seen=seen,
                before=evidence.seat,
                decision=decision,
                tier=decision.tier,
                catalogue=router.catalogue,
                asks=several and _talks(seen),
            )
            self._sitting[call.id] = sitting

    def begin(
        self, ahead: Prefetch, call: Call, seen: Features, decision: Decision, plan: Plan
    ) -> None:
        """Ask ahead for what `recall` will want: with what else is asked of Redis."""
        if self._seats is None or not _several(decision, plan):
            return
        if _talks(seen) and seen.turn.conversation and seen.turn.seated:
            ahead.begin("seat", partial(self._seats.find, call.key, seen.turn.conversation))

    def recalls(self, job: UpstreamRequest) -> "_Sitting | None":
        """The call of a conversation that may have an account of its own; None: nothing to ask."""
        sitting = self._sitting.get(job.call.id)
        if self._seats is None or sitting is None or not sitting.asks or job.seat is not None:
            return None
        return sitting

    async def recall(
        self, job: UpstreamRequest, sitting: "_Sitting", ahead: Prefetch
    ) -> UpstreamRequest:
        """A call that names its model goes to the account that has its conversation."""
        if self._seats is None:
            return job
        find = partial(self._seats.find, job.call.key, sitting.seen.turn.conversation)
        seat, first = await ahead.take("seat", find), job.plan.targets[0]
        if seat is None or seat.target != first.name or seat.account is None:
            return job
        holder = Holder(first.provider.name, seat.account, first.model)
        return msgspec.structs.replace(job, seat=holder)

    def begun(self, call: Call, target: Target, account: Account) -> None:
        """A stream has begun: a seat that is new, or another, is known before it ends.

        Whoever goes on from it may be quick, and come to another process.
        """
        sitting = self._sitting.get(call.id)
        if sitting is None or self._seats is None:
            return
        before, decision = sitting.before, sitting.decision
        seat = Session(
            lab=decision.lab,
            tier=sitting.tier,
            target=target.name,
            account=account.name,
            model=decision.model,
            turns=sitting.seen.prompt.user_turns,
            first=sitting.seen.turn.first,
            calls=0 if before is None else before.calls,
            output=0 if before is None else before.output,
            turns_below=decision.turns_below,
            keeps=target.provider.prompt_cache,
            at=call.received_at,
        )
        if before is None or _spot(before) != _spot(seat):
            self._seats.keep(call.key, sitting.seen.turn.conversation, seat, self._ttl)

    def settle(self, entry: FinalRow) -> None:
        """A call is over: its conversation sits with who answered it, where nobody waits for that.

        An answer from the cache is of who was decided, and leaves a seat that there is.
        """
        sitting = self._sitting.pop(entry.id, None)
        if sitting is None or self._seats is None:
            return
        hit = entry.state == "cache_hit" or entry.cache == "hit"
        if hit and sitting.before is not None:
            return
        if (hit or entry.state in _ANSWERED) and (seat := _seat(sitting, entry, hit=hit)):
            key, conversation = sitting.call.key, sitting.seen.turn.conversation
            self._seats.keep(key, conversation, seat, self._ttl)

    async def drain(self) -> None:
        """Wait for what is being kept."""
        if self._seats is not None:
            await self._seats.drain()


def _several(decision: Decision, plan: Plan) -> bool:
    """Whether one that names its model or tier may be served by several accounts."""
    return decision.source == "pin" and len(plan.targets[0].provider.accounts) > 1


def _talks(seen: Features) -> bool:
    """Whether a conversation has been answered before."""
    return seen.prompt.tool_loop or seen.prompt.user_turns > 1


def _begun(seen: Features) -> bool:
    """Whether there may be a seat: what is named by how it begins has none before it has begun."""
    if not (_talks(seen) or seen.named):
        return False
    turn = seen.turn
    return bool(turn.conversation) and turn.seated


def seated(decision: Decision, plan: Plan) -> Holder | None:
    """The account that has the conversation's prompt in its cache, where its target comes first."""
    if decision.account is None:
        return None
    target = plan.targets[0]
    return Holder(target.provider.name, decision.account, target.model)


def _spot(seat: Session) -> tuple[str, str, str, str | None]:
    """Where it is, whatever is known of it."""
    return seat.lab, seat.tier, seat.target, seat.account


def _place(seat: Session) -> Place:
    provider, _, model = seat.target.partition("/")
    return provider, seat.account or "", model


def _seat(sitting: _Sitting, entry: FinalRow, *, hit: bool) -> Session | None:
    decision, before = sitting.decision, sitting.before
    if entry.provider is None or entry.model is None:
        return None
    name = f"{entry.provider}/{entry.model}"
    target = _target(sitting.catalogue, name)
    seat = Session(
        lab=decision.lab,
        tier=sitting.tier,
        target=name,
        account=entry.account,
        model=decision.model,
        tokens=0 if hit else _tokens(target, entry),
        turns=sitting.seen.prompt.user_turns,
        first=sitting.seen.turn.first,
        calls=1,
        output=0 if hit else (entry.output or 0) + (entry.reasoning or 0),
        turns_below=decision.turns_below,
        keeps=_keeps(target, entry, before),
        at=sitting.call.received_at,
    )
    return following(before, seat)


def _target(catalogue: Catalogue, name: str) -> Target | None:
    places = catalogue.models.get(name)
    return places[0].target if places else None


def _tokens(target: Target | None, entry: FinalRow) -> int:
    price = None if target is None or target.price is None else target.price.on(entry.at)
    return kept(price, entry.input, entry.cache_read, entry.cache_write)


def _keeps(target: Target | None, entry: FinalRow, before: Session | None) -> float:
    """Seconds for which the prompt cache keeps it: as it was told, as before, or as usual."""
    told = [seconds(lifetime) for lifetime, tokens in entry.cache_write_by.items() if tokens]
    if known := [one for one in told if one is not None]:
        return max(known)
    if before is not None and target is not None and before.target == target.name:
        return before.keeps
    return 300.0 if target is None else target.provider.prompt_cache
