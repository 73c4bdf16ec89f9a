"""Conversations in a replay: the session and the prompt cache that each would have at each call."""

import msgspec

from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ReplayRow
from gateway.core.prompt_cache import count_cached_tokens
from gateway.core.target import Catalogue, Target
from gateway.evaluation.replay.cost import find_price
from gateway.routing.affinity_verdict import accumulate_session, renew_session

ANSWERED_STATES = frozenset({"settled", "estimated", "aborted"})
"""The states of calls that a provider has begun to answer."""
_EMPTY_TURN = ConversationTurn()


class ReplayedConversation:
    """One conversation. It has the session of the log until the replay decides a call otherwise."""

    __slots__ = ("_cache_entries", "has_diverged", "session")

    def __init__(self) -> None:
        self.has_diverged = False
        """True if a call of it would have gone elsewhere, so that the log no longer applies."""
        self.session: Session | None = None
        self._cache_entries: dict[tuple[str, str | None], tuple[int, float]] = {}
        """The tokens in the prompt cache and when they expire, by target and reasoning effort.

        Another effort is another prompt to a provider.
        """

    def build_context(self, context: DecisionContext, turn: ConversationTurn) -> DecisionContext:
        """Return the decision context of a call, with the session its conversation would have."""
        if not turn.follows_session:
            return context
        if not self.has_diverged:
            self.session = context.seat
            return context
        return msgspec.structs.replace(context, seat=self.session, unseated="")

    def count_cached_tokens(self, target: Target, effort: str | None, timestamp: float) -> int:
        """Return the tokens of it that a target would have in its prompt cache."""
        cached_tokens, expires_at = self._cache_entries.get((target.name, effort), (0, 0.0))
        return cached_tokens if timestamp <= expires_at else 0

    def record_served(
        self, target: Target, effort: str | None, cached_tokens: int, timestamp: float
    ) -> None:
        """Note that a target has read it, and keeps `cached_tokens` tokens in its prompt cache."""
        self._cache_entries[target.name, effort] = (
            cached_tokens,
            timestamp + target.provider.prompt_cache,
        )

    def record_session(
        self,
        row: ReplayRow,
        turn: ConversationTurn,
        decision: Decision,
        plan: Plan,
        cached_tokens: int,
    ) -> None:
        """Update the session after the first target of a plan has answered a call.

        Ignore decisions without a tier, and side calls without the conversation's prompt.
        """
        if decision.tier is None or row.basis is None:
            return
        if turn.kind == "side":
            if self.session is not None and turn.follows_session:
                self.session = renew_session(self.session, decision, plan, row.at)
            return
        target = plan.targets[0]
        session = Session(
            lab=decision.lab,
            tier=decision.tier,
            target=target.name,
            model=decision.model,
            tokens=cached_tokens,
            turns=row.basis.turns,
            first=turn.first,
            calls=1,
            output=(row.output or 0) + (row.reasoning or 0),
            turns_below=decision.turns_below,
            rise=decision.rise,
            arm=decision.arm,
            keeps=target.provider.prompt_cache,
            at=row.at,
        )
        self.session = accumulate_session(self.session, session)


class ReplayedConversations:
    """The conversations of a log."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._conversations: dict[tuple[str, str, str], ReplayedConversation] = {}

    def find(self, row: ReplayRow, record: DecisionRecord) -> ReplayedConversation:
        """Return the conversation of a row; a new one if the record names no conversation."""
        turn = record.turn or _EMPTY_TURN
        if not turn.conversation:
            return ReplayedConversation()
        key = row.tenant, row.key, turn.conversation
        conversation = self._conversations.get(key)
        if conversation is None:
            conversation = self._conversations[key] = ReplayedConversation()
        return conversation

    def record_logged(self, conversation: ReplayedConversation, row: ReplayRow) -> None:
        """Note in the conversation that its call went as the log says."""
        target = self._find_target(f"{row.provider}/{row.model}")
        if target is not None and row.state in ANSWERED_STATES and row.cache != "hit":
            current_price = find_price(target, row.at)
            cached_tokens = count_cached_tokens(
                current_price, row.input, row.cache_read, row.cache_write
            )
            conversation.record_served(target, row.effort, cached_tokens, row.at)

    def _find_target(self, name: str) -> Target | None:
        endpoints = self._catalogue.models.get(name)
        return endpoints[0].target if endpoints else None
