"""Load what a routing decision needs, and remember which target served the conversation."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec

from gateway.cache.session_store import SessionStore
from gateway.core.call import Call
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.ledger_rows import FinalRow
from gateway.core.prompt_cache import count_cached_tokens, parse_lifetime
from gateway.core.target import Account, Catalogue, Target, Tier
from gateway.limits.tier_share import TurnCounter
from gateway.pipeline.judge.judge import Judge
from gateway.pipeline.meaning_matcher import MeaningMatcher
from gateway.routing import model_name, unlisted_models
from gateway.routing.affinity_verdict import accumulate_session, renew_session
from gateway.routing.features import Features
from gateway.routing.router import Router
from gateway.upstream.provider_quota import AccountModelKey

type UnavailableReason = Callable[[AccountModelKey], str]
"""A function that says why an account is not asked for a model in its turn; empty if it is."""

_ANSWERED_STATES = frozenset({"settled", "estimated", "aborted"})
"""States of calls that a provider has begun to answer."""


class _ConversationCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a conversation, while it is served."""

    call: Call
    turn: ConversationTurn
    user_turns: int
    """The number of the user's turns so far."""
    earlier_session: Session | None
    decision: Decision
    tier: Tier
    catalogue: Catalogue


class ContextLoader:
    """The loader of decision contexts and sessions.

    Without `session_store`, no conversation has a session.
    """

    def __init__(
        self,
        session_store: SessionStore | None = None,
        *,
        ttl: float = 0.0,
        unavailable_reason: UnavailableReason = lambda _: "",
        turn_counter: TurnCounter | None = None,
        matcher: MeaningMatcher | None = None,
        judge: Judge | None = None,
    ) -> None:
        """`ttl` is the number of seconds after its last call that a conversation is remembered.

        `turn_counter` counts the turns of all keys whose shares are bounded; `matcher` compares
        turns with exemplars by meaning, and `judge` asks a model.
        """
        self._turn_counter = turn_counter or TurnCounter()
        self._advisers = [adviser for adviser in (matcher, judge) if adviser is not None]
        self._session_store = session_store if ttl > 0 else None
        self._ttl = ttl
        self._unavailable_reason = unavailable_reason
        self._conversation_calls: dict[str, _ConversationCall] = {}

    async def load(
        self, router: Router, call: Call, features: Features, *, may_ask: bool = True
    ) -> DecisionContext:
        """Load what a decision needs beside the call; ask only for what may matter to it.

        Set `may_ask` if a provider may be asked too. A thread looks up a model that no lab lists,
        since the first look at a price list takes long.
        """
        is_tier_open = model_name.leaves_tier_open(features, router.catalogue)
        if not is_tier_open:
            make_models = unlisted_models.make_target_factory(
                features, call.operation, router.catalogue
            )
            if make_models is not None:
                await asyncio.to_thread(make_models)
        context = DecisionContext(
            at=call.received_at, thresholds=self._turn_counter.find_thresholds(call.key)
        )
        if self._session_store is not None and is_tier_open and _may_have_session(features):
            session = await self._session_store.find(call.key, features.turn.conversation)
            if session is not None:
                reason = self._find_unavailable_reason(router.catalogue, session)
                context = msgspec.structs.replace(context, seat=session, unseated=reason)
        for adviser in self._advisers:
            context = await adviser(router, call, features, context, may_ask=may_ask)
        return context

    def _find_unavailable_reason(self, catalogue: Catalogue, session: Session) -> str:
        """Return why a session's account is not asked in its turn; empty if an equal one is."""
        reason = self._unavailable_reason(_split_target(session))
        if reason and any(
            not self._unavailable_reason(key) for key in _list_equals(catalogue, session)
        ):
            return ""
        return reason

    def note_decision(
        self,
        call: Call,
        features: Features,
        context: DecisionContext,
        decision: Decision,
        plan: Plan,
        router: Router,
    ) -> None:
        """Note the decision of a call, whose outcome becomes the session of its conversation.

        A call that names its model or tier has a session in two cases. Its conversation has begun,
        or must stay with one of several accounts. Otherwise a call that names its model needs no
        session.

        A side call with the conversation's prompt renews the session at once: before its answer has
        ended, a user's turn may move the conversation.
        """
        self._turn_counter.count_turn(call, decision)
        if self._session_store is None or decision.tier is None:
            return
        if context.seat is not None and features.turn.kind == "side":
            if call.operation == "generate":
                session = renew_session(context.seat, decision, plan, call.received_at)
                if session is not context.seat:
                    self._session_store.save(
                        call.key, features.turn.conversation, session, self._ttl
                    )
            return
        may_have_begun = (
            decision.source != "pin"
            or _has_several_accounts(decision, plan)
            or features.has_history
        )
        if may_have_begun and _is_session_call(call, features, decision):
            conversation_call = _ConversationCall(
                call=call,
                turn=features.turn,
                user_turns=features.prompt.user_turns,
                earlier_session=context.seat,
                decision=decision,
                tier=decision.tier,
                catalogue=router.catalogue,
            )
            self._conversation_calls[call.id] = conversation_call

    def note_tier(self, call: Call, decision: Decision) -> None:
        """Note that a call is served as another decision says: its session follows that one."""
        conversation_call = self._conversation_calls.get(call.id)
        if conversation_call is not None and decision.tier is not None:
            self._conversation_calls[call.id] = msgspec.structs.replace(
                conversation_call, decision=decision, tier=decision.tier
            )

    def find_session(
        self, call: Call, features: Features, decision: Decision, plan: Plan
    ) -> Coroutine[Any, Any, Session | None] | None:
        """Find the session that says which account a pinned call goes to; None if none may."""
        if self._session_store is None or not _has_several_accounts(decision, plan):
            return None
        if not features.has_history or not _is_session_call(call, features, decision):
            return None
        return self._session_store.find(call.key, features.turn.conversation)

    def note_stream_start(self, call: Call, target: Target, account: Account) -> None:
        """Save the session of a stream that has begun, if it is new or has moved.

        The next call of the conversation may come before the stream ends, and to another process.
        """
        conversation_call = self._conversation_calls.get(call.id)
        if conversation_call is None or self._session_store is None:
            return
        earlier_session, decision = conversation_call.earlier_session, conversation_call.decision
        session = Session(
            lab=decision.lab,
            tier=conversation_call.tier,
            target=target.name,
            account=account.name,
            model=decision.model,
            turns=conversation_call.user_turns,
            first=conversation_call.turn.first,
            calls=0 if earlier_session is None else earlier_session.calls,
            output=0 if earlier_session is None else earlier_session.output,
            turns_below=decision.turns_below,
            rise=decision.rise,
            arm=decision.arm,
            keeps=target.provider.prompt_cache,
            at=call.received_at,
        )
        if earlier_session is None or earlier_session.location != session.location:
            self._session_store.save(
                call.key, conversation_call.turn.conversation, session, self._ttl
            )

    def save_session(self, row: FinalRow) -> None:
        """Save the session of a call that is over: it stays with the account that answered.

        Nobody waits for that. An answer from the cache counts for the target that was decided, and
        leaves an existing session as it is.
        """
        conversation_call = self._conversation_calls.pop(row.id, None)
        if conversation_call is None or self._session_store is None:
            return
        is_cache_hit = row.state == "cache_hit" or row.cache == "hit"
        if is_cache_hit and conversation_call.earlier_session is not None:
            return
        if (is_cache_hit or row.state in _ANSWERED_STATES) and (
            session := _make_session(conversation_call, row, is_cache_hit=is_cache_hit)
        ):
            key = conversation_call.call.key
            conversation = conversation_call.turn.conversation
            self._session_store.save(key, conversation, session, self._ttl)

    async def drain(self) -> None:
        """Wait until all sessions are saved."""
        if self._session_store is not None:
            await self._session_store.drain()


def _is_session_call(call: Call, features: Features, decision: Decision) -> bool:
    """Return True if a session remembers the target that serves a call."""
    if call.operation != "generate" or decision.tier is None:
        return False
    turn = features.turn
    return bool(turn.conversation) and turn.kind != "side"


def _has_several_accounts(decision: Decision, plan: Plan) -> bool:
    """Return True if a call that names its model or tier may be served by several accounts.

    Equal targets have an account each, at least.
    """
    target = plan.targets[0]
    return decision.source == "pin" and (
        len(target.provider.accounts) > 1 or target.group is not None
    )


def _may_have_session(features: Features) -> bool:
    """Return True if there may be a session.

    A conversation that is named by how it begins has none before it has begun.
    """
    turn = features.turn
    may_have_begun = features.has_history or turn.explicit
    return may_have_begun and bool(turn.conversation) and turn.follows_session


def _split_target(session: Session) -> AccountModelKey:
    provider, _, model = session.target.partition("/")
    return provider, session.account or "", model


def _list_equals(catalogue: Catalogue, session: Session) -> Iterator[AccountModelKey]:
    """Yield the accounts among which the gateway chooses for a session's target."""
    lab = catalogue.labs.get(session.lab)
    targets = () if lab is None else lab.tiers.get(session.tier, ())
    own_target = next((target for target in targets if target.name == session.target), None)
    if own_target is None:
        return
    for target in targets:
        provider = target.provider
        is_other = target is not own_target
        if is_other and not (target.shares_group(own_target) and provider.enabled):
            continue
        for account in provider.accounts if is_other or provider.balance != "order" else ():
            yield provider.name, account.name, target.model


def _make_session(
    conversation_call: _ConversationCall, row: FinalRow, *, is_cache_hit: bool
) -> Session | None:
    decision, earlier_session = conversation_call.decision, conversation_call.earlier_session
    if row.provider is None or row.model is None:
        return None
    name = f"{row.provider}/{row.model}"
    endpoints = conversation_call.catalogue.models.get(name)
    target = endpoints[0].target if endpoints else None
    price = None if target is None or target.price is None else target.price.find_in_force(row.at)
    cached_tokens = count_cached_tokens(price, row.input, row.cache_read, row.cache_write)
    session = Session(
        lab=decision.lab,
        tier=conversation_call.tier,
        target=name,
        account=row.account,
        model=decision.model,
        tokens=0 if is_cache_hit else cached_tokens,
        turns=conversation_call.user_turns,
        first=conversation_call.turn.first,
        calls=1,
        output=0 if is_cache_hit else (row.output or 0) + (row.reasoning or 0),
        turns_below=decision.turns_below,
        rise=decision.rise,
        arm=decision.arm,
        keeps=_estimate_cache_seconds(target, row, earlier_session),
        at=conversation_call.call.received_at,
    )
    return accumulate_session(earlier_session, session)


def _estimate_cache_seconds(
    target: Target | None, row: FinalRow, earlier_session: Session | None
) -> float:
    """Return the seconds that the prompt cache lasts: as the answer says, as before, as usual."""
    durations = [
        parse_lifetime(lifetime) for lifetime, tokens in row.cache_write_by.items() if tokens
    ]
    if known_durations := [duration for duration in durations if duration is not None]:
        return max(known_durations)
    if earlier_session is not None and target is not None and earlier_session.target == target.name:
        return earlier_session.keeps
    return 300.0 if target is None else target.provider.prompt_cache
