"""Evidence raises a conversation by one tier: how far, and for how long.

It raises the session's tier, or the selected tier if the conversation has no session. Rules and
callers that name a tier take precedence over it. Guards and keys limit it. A rise holds for
`MAX_TURNS_BELOW` user turns without new evidence. After that, a turn may lower the conversation
again.
"""

from gateway.core.decision_context import Session
from gateway.core.target import TIERS, Tier
from gateway.core.turn_evidence import EvidenceRise, TurnEvidence
from gateway.routing.classify import TraceWriter, restate_confidence
from gateway.routing.cost_aware import MAX_TURNS_BELOW
from gateway.routing.features import Features
from gateway.routing.plan import find_nearest_tier
from gateway.routing.rules.guards import GuardBounds
from gateway.routing.switch_cost import TierSelection

_RULED_REASON = "a rule names the tier"


def find_new_evidence(
    call: Features,
    bounds: GuardBounds,
    session: Session | None,
    add_step: TraceWriter,
    *,
    raises: bool,
) -> "EvidenceTurn | None":
    """Return the evidence that no earlier call has counted; None if the history shows none.

    It raises the call only if `raises` is True; otherwise only rules read it. A call that a client
    sends again shows nothing new.
    """
    last_rise = None if session is None else session.rise
    if last_rise is not None and last_rise.chars == call.prompt.chars:
        return None
    items = call.evidence
    return EvidenceTurn(call, bounds, last_rise, items, add_step, raises=raises) if items else None


class EvidenceTurn:
    """The evidence of one call, and the rise that it causes."""

    __slots__ = ("_add_step", "_bounds", "_call", "_items", "_last_rise", "_raises", "rise")

    def __init__(
        self,
        call: Features,
        bounds: GuardBounds,
        last_rise: EvidenceRise | None,
        items: tuple[TurnEvidence, ...],
        add_step: TraceWriter,
        *,
        raises: bool,
    ) -> None:
        self._call, self._bounds, self._add_step = call, bounds, add_step
        self._last_rise, self._items, self._raises = last_rise, items, raises
        self.rise: EvidenceRise | None = None
        """The rise that begins with the call. If a rise continues, its turns count from zero
        again."""

    def raise_selection(self, selection: TierSelection, session_tier: Tier | None) -> TierSelection:
        """Raise a selection to the tier above its conversation's, or above its own.

        `session_tier` is None if the conversation has no tier that counts.
        """
        lab, tier, model, source, rule, verdict = selection
        if not self._raises:
            return selection
        if source == "rule":
            self._trace_ignored(_RULED_REASON)
            return selection
        base_tier = session_tier or find_nearest_tier(tier, self._bounds, self._call.key)
        raised_tier = max(self._raise_tier(base_tier), tier, key=TIERS.index)
        return lab, raised_tier, model, source, rule, restate_confidence(verdict, raised_tier)

    def raise_session(self, session: Session, *, is_tier_ruled: bool) -> Tier:
        """Return the tier of a conversation from here on, inside a tool loop."""
        if not self._raises:
            return session.tier
        if is_tier_ruled or session.model is not None:
            self._trace_ignored(_RULED_REASON)
            return session.tier
        return self._raise_tier(session.tier)

    def _raise_tier(self, tier: Tier) -> Tier:
        """Return the next tier; the same tier if the next one may not be used or does not exist."""
        rise = EvidenceRise(chars=self._call.prompt.chars)
        next_tier = TIERS[min(TIERS.index(tier) + 1, len(TIERS) - 1)]
        is_allowed = find_nearest_tier(next_tier, self._bounds, self._call.key) == next_tier
        if next_tier == tier or not is_allowed:
            self._trace_ignored(f"no tier above {tier} may be used")
            self.rise = None if self._last_rise is None else rise
            return tier
        self.rise = rise
        self._add_step("evidence", self._findings, next_tier)
        return next_tier

    def _trace_ignored(self, reason: str) -> None:
        self._add_step("evidence", f"{self._findings}, but {reason}", matched=False)

    @property
    def _findings(self) -> str:
        return "; ".join([item.reason for item in self._items])


def continue_rise(rise: EvidenceRise | None, call: Features) -> EvidenceRise | None:
    """Return a rise after a call without new evidence; None if the rise is over."""
    if rise is None or call.turn.loop or rise.chars == call.prompt.chars:
        return rise
    turns = rise.turns + 1
    return None if turns > MAX_TURNS_BELOW else EvidenceRise(chars=rise.chars, turns=turns)
