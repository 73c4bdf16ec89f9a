"""Affinity in a decision: compare a session with what would be decided without it."""

from gateway.core.call import Strategy
from gateway.core.decision import Plan, SessionSwitch
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.target import TIERS, Catalogue, Tier
from gateway.core.turn_evidence import EvidenceRise
from gateway.dialects import Dialect
from gateway.routing.affinity_verdict import decide_affinity, prefer_session_target
from gateway.routing.classify import TraceWriter, restate_confidence
from gateway.routing.cost_aware import CostAwareTurn
from gateway.routing.evidence_rise import EvidenceTurn, continue_rise
from gateway.routing.features import Features
from gateway.routing.model_name import RequestedModel
from gateway.routing.rules.compile import CompiledChoice
from gateway.routing.rules.guards import GuardBounds
from gateway.routing.switch_cost import (
    UPGRADE_THRESHOLD,
    TierSelection,
    WeighedSession,
    describe_left_session,
    format_switch_cost,
    weigh_ratchet_up,
)

__all__ = ("UPGRADE_THRESHOLD", "SessionAffinity", "TierSelection")


class SessionAffinity:
    """The session of a call's conversation, from the first verdict on it to the final plan."""

    def __init__(
        self,
        catalogue: Catalogue,
        strategy: Strategy,
        upgrade_threshold: float,
        call: Features,
        requested_model: RequestedModel,
        bounds: GuardBounds,
        context: DecisionContext,
        dialect: Dialect,
    ) -> None:
        self._catalogue, self._call, self._timestamp = catalogue, call, context.at
        self._strategy, self._upgrade_threshold = strategy, upgrade_threshold
        self._bounds, self._dialect = bounds, dialect
        self._weighed_session: WeighedSession | None = None
        self._has_left_loop = False
        """True if a rule or new evidence raises the tier inside a tool loop."""
        self._affinity = decide_affinity(
            catalogue, call, requested_model, bounds, context, strategy, dialect
        )

    @property
    def tier(self) -> Tier | None:
        """The tier from which evidence raises the call; None if the session's does not count."""
        affinity = self._affinity
        if affinity is None or (affinity.verdict == "leaves" and self._strategy != "turn"):
            return None
        return affinity.session.tier

    @property
    def staying_session(self) -> Session | None:
        """The session, if it stays and nothing else needs to decide; else None."""
        affinity = self._affinity
        return None if affinity is None or affinity.verdict != "stays" else affinity.session

    def rise_in_loop(
        self, session: Session, evidence: EvidenceTurn, ruled_selection: TierSelection | None
    ) -> TierSelection | None:
        """Return the selection for a session that would stay; None if nothing raises its tier.

        `ruled_selection` is the selection of a rule that names a tier, or None. The gateway follows
        it if its tier is higher.
        """
        ruled_tier = session.tier if ruled_selection is None else ruled_selection[1]
        if TIERS.index(ruled_tier) > TIERS.index(session.tier):
            self._has_left_loop = True
            return ruled_selection
        tier = evidence.raise_session(session, is_tier_ruled=ruled_selection is not None)
        if tier == session.tier:
            return None
        self._has_left_loop = True
        return session.lab, tier, None, "seat", None, None

    def keep_session(self, add_step: TraceWriter) -> TierSelection | None:
        """Return the session as the selection, if it stays; else None."""
        affinity = self._affinity
        if affinity is None or affinity.verdict == "weighs":
            return None
        session = affinity.session
        if affinity.verdict == "leaves":
            add_step("seat", affinity.reason, f"leaves {session.target}", matched=False)
            return None
        add_step("seat", affinity.reason, f"{session.lab}/{session.tier} {session.target}")
        return session.lab, session.tier, session.model, "seat", None, None

    def weigh(
        self,
        selection: TierSelection,
        choice: CompiledChoice | None,
        add_step: TraceWriter,
        *,
        has_evidence: bool = False,
    ) -> tuple[TierSelection, CompiledChoice | None]:
        """Compare the session with the tier that was selected without it, perhaps by a choice.

        Return the selection that holds, and the choice if it still has a part in it. `has_evidence`
        is True if evidence raised the selection.
        """
        affinity = self._affinity
        if affinity is None or not (affinity.verdict == "weighs" or affinity.has_tier_floor):
            return selection, choice
        session = affinity.session
        lab, tier, model, source, rule, verdict = selection
        is_cost_aware = self._strategy == "cost-aware"
        if is_cost_aware:
            weighed_session = CostAwareTurn(
                affinity, self._catalogue, self._call, self._bounds, self._dialect, self._timestamp,
                self._upgrade_threshold, has_evidence=has_evidence,
            ).weigh(selection, None if choice is None or choice.lab != lab else lab)  # fmt: skip
        else:
            weighed_session = weigh_ratchet_up(
                affinity,
                self._catalogue,
                self._call,
                self._timestamp,
                self._upgrade_threshold,
                selection,
                has_evidence=has_evidence,
            )
        self._weighed_session = weighed_session
        if not weighed_session.moves:
            add_step(
                "seat", weighed_session.reason, f"{session.lab}/{session.tier} {session.target}"
            )
            session_verdict = verdict if is_cost_aware else None
            return (
                session.lab,
                session.tier,
                session.model,
                "seat",
                None,
                session_verdict,
            ), choice if is_cost_aware else None
        if affinity.verdict == "weighs" and (
            weighed_session.switch is not None or not is_cost_aware
        ):
            add_step("seat", weighed_session.reason, f"leaves {session.target}", matched=False)
        if weighed_session.tier in (None, tier):
            return selection, choice
        return (
            lab,
            weighed_session.tier,
            model,
            source,
            rule,
            restate_confidence(verdict, weighed_session.tier),
        ), choice

    @property
    def turns_below(self) -> int:
        """The number of user turns in a row, this one included, that need less than the session."""
        if self._weighed_session is not None:
            return self._weighed_session.turns_below
        if self._affinity is None or self._affinity.verdict != "stays" or self._has_left_loop:
            return 0
        return self._affinity.session.turns_below

    def continue_rise(self, tier: Tier) -> EvidenceRise | None:
        """Return the rise that continues after a call without new evidence that gets `tier`."""
        affinity = self._affinity
        if affinity is None or affinity.verdict == "leaves":
            return None
        session = affinity.session
        if TIERS.index(tier) < TIERS.index(session.tier):
            return None
        return continue_rise(session.rise, self._call)

    def apply_to_plan(
        self, lab: str, tier: Tier, plan: Plan, add_step: TraceWriter
    ) -> tuple[Plan, SessionSwitch | None, str | None]:
        """Return the plan in the session's order, the switch if there is one, and the account."""
        affinity, weighed_session = self._affinity, self._weighed_session
        if affinity is None:
            return plan, None, None
        session = affinity.session
        switch = None if weighed_session is None else weighed_session.switch
        if (lab, tier) == (session.lab, session.tier):
            plan = prefer_session_target(plan, session) if affinity.prefers_target else plan
            if plan.targets[0].name == session.target:
                return plan, switch, session.account
        switch = describe_left_session(
            affinity, self._call, plan.targets[0], self._timestamp, switch
        )
        add_step("seat", format_switch_cost(switch), f"{lab}/{tier} {switch.destination}")
        return plan, switch, None
