"""Where conversations would be: their seats and what of them is cached, call by call."""

import msgspec

from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ReplayRow
from gateway.core.prompt_cache import kept
from gateway.core.target import Catalogue, Target
from gateway.evaluation.replay.cost import price
from gateway.routing.affinity_verdict import following

ANSWERED = frozenset({"settled", "estimated", "aborted"})
"""States of calls that a provider has begun to answer."""
_ALONE = ConversationTurn()


class ReplayedConversation:
    """One conversation. Until a call of it is decided otherwise its seat is that of the log."""

    __slots__ = ("_cached", "seat", "strayed")

    def __init__(self) -> None:
        self.strayed = False
        """A call of it would have gone elsewhere, so that what the log says of it holds no more."""
        self.seat: Session | None = None
        self._cached: dict[tuple[str, str | None], tuple[int, float]] = {}
        """By target and effort, another of which is another prompt: tokens in its cache, and until
        when."""

    def evidence(self, told: DecisionContext, turn: ConversationTurn) -> DecisionContext:
        """The evidence of a call, with the seat that its conversation would have."""
        if not turn.seated:
            return told
        if not self.strayed:
            self.seat = told.seat
            return told
        return msgspec.structs.replace(told, seat=self.seat, unseated="")

    def cached(self, target: Target, effort: str | None, at: float) -> int:
        """Tokens of it that a target would have in its cache."""
        tokens, until = self._cached.get((target.name, effort), (0, 0.0))
        return tokens if at <= until else 0

    def served(self, target: Target, effort: str | None, tokens: int, at: float) -> None:
        """A target has read it, and keeps so many tokens of it."""
        self._cached[target.name, effort] = tokens, at + target.provider.prompt_cache

    def sits(
        self, row: ReplayRow, turn: ConversationTurn, decision: Decision, plan: Plan, tokens: int
    ) -> None:
        """A call was decided, and answered by the first target of its plan."""
        if turn.kind == "side" or decision.tier is None or row.basis is None:
            return
        target = plan.targets[0]
        seat = Session(
            lab=decision.lab,
            tier=decision.tier,
            target=target.name,
            model=decision.model,
            tokens=tokens,
            turns=row.basis.turns,
            first=turn.first,
            calls=1,
            output=(row.output or 0) + (row.reasoning or 0),
            turns_below=decision.turns_below,
            keeps=target.provider.prompt_cache,
            at=row.at,
        )
        self.seat = following(self.seat, seat)


class ReplayedConversations:
    """All conversations of a log."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[tuple[str, str, str], ReplayedConversation] = {}

    def of(self, row: ReplayRow, basis: DecisionRecord) -> ReplayedConversation:
        """The conversation of a row; one of its own where nothing tells it."""
        turn = basis.turn or _ALONE
        if not turn.conversation:
            return ReplayedConversation()
        place = row.tenant, row.key, turn.conversation
        talk = self._known.get(place)
        if talk is None:
            talk = self._known[place] = ReplayedConversation()
        return talk

    def log(self, talk: ReplayedConversation, row: ReplayRow) -> None:
        """A call of it is as the log says."""
        target = self._target(f"{row.provider}/{row.model}")
        if target is not None and row.state in ANSWERED and row.cache != "hit":
            known = price(target, row.at)
            tokens = kept(known, row.input, row.cache_read, row.cache_write)
            talk.served(target, row.effort, tokens, row.at)

    def _target(self, name: str) -> Target | None:
        places = self._catalogue.models.get(name)
        return places[0].target if places else None
