"""Where conversations would be: their seats and what of them is cached, call by call."""

import msgspec

from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ReplayRow
from gateway.core.prompt_cache import count_cached_tokens
from gateway.core.target import Catalogue, Target
from gateway.evaluation.replay.cost import find_price
from gateway.routing.affinity_verdict import accumulate_session

ANSWERED_STATES = frozenset({"settled", "estimated", "aborted"})
"""States of calls that a provider has begun to answer."""
_EMPTY_TURN = ConversationTurn()


class ReplayedConversation:
    """One conversation. Until a call of it is decided otherwise its seat is that of the log."""

    __slots__ = ("_cache_entries", "has_diverged", "session")

    def __init__(self) -> None:
        self.has_diverged = False
        """A call of it would have gone elsewhere, so that what the log says of it holds no more."""
        self.session: Session | None = None
        self._cache_entries: dict[tuple[str, str | None], tuple[int, float]] = {}
        """By target and effort, another of which is another prompt: tokens in its cache, and until
        when."""

    def build_context(self, context: DecisionContext, turn: ConversationTurn) -> DecisionContext:
        """The evidence of a call, with the seat that its conversation would have."""
        if not turn.follows_session:
            return context
        if not self.has_diverged:
            self.session = context.seat
            return context
        return msgspec.structs.replace(context, seat=self.session, unseated="")

    def count_cached_tokens(self, target: Target, effort: str | None, timestamp: float) -> int:
        """Tokens of it that a target would have in its cache."""
        cached_tokens, expires_at = self._cache_entries.get((target.name, effort), (0, 0.0))
        return cached_tokens if timestamp <= expires_at else 0

    def record_served(
        self, target: Target, effort: str | None, cached_tokens: int, timestamp: float
    ) -> None:
        """A target has read it, and keeps so many tokens of it."""
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
        """A call was decided, and answered by the first target of its plan."""
        if turn.kind == "side" or decision.tier is None or row.basis is None:
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
    """All conversations of a log."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._conversations: dict[tuple[str, str, str], ReplayedConversation] = {}

    def find(self, row: ReplayRow, record: DecisionRecord) -> ReplayedConversation:
        """The conversation of a row; one of its own where nothing tells it."""
        turn = record.turn or _EMPTY_TURN
        if not turn.conversation:
            return ReplayedConversation()
        key = row.tenant, row.key, turn.conversation
        conversation = self._conversations.get(key)
        if conversation is None:
            conversation = self._conversations[key] = ReplayedConversation()
        return conversation

    def record_logged(self, conversation: ReplayedConversation, row: ReplayRow) -> None:
        """A call of it is as the log says."""
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
