"""The verdict on a conversation's session: it stays, it leaves, or it must be weighed.

A change of model, effort or account loses the provider's prompt cache. Another model cannot use the
reasoning of the first one. So a conversation leaves its session only at a user's turn, and only for
a reason. This code is pure: the session is evidence, its prices come from the catalogue.
"""

from typing import Literal, NamedTuple

import msgspec

from gateway.core.call import Strategy
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.target import Catalogue, Target
from gateway.dialects import Dialect
from gateway.routing import capabilities
from gateway.routing.features import Features
from gateway.routing.model_name import RequestedModel
from gateway.routing.rules.guards import GuardBounds

type AffinityVerdict = Literal["stays", "weighs", "leaves"]


class AffinityDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a session before rules and the classifier decide."""

    session: Session
    target: Target | None
    """The target of the session; None if it no longer exists."""
    cached_tokens: int
    """The number of the prompt's tokens that are still in the prompt cache."""
    verdict: AffinityVerdict
    """`stays`, `leaves`, or `weighs`: it depends on what would be decided without the session."""
    reason: str
    prefers_target: bool = True
    """True if the session's target comes first when the session's tier is decided again."""
    has_tier_floor: bool = False
    """True if the conversation may go to no lower tier when it leaves the session."""


def decide_affinity(
    catalogue: Catalogue,
    call: Features,
    requested_model: RequestedModel,
    bounds: GuardBounds,
    context: DecisionContext,
    strategy: Strategy,
    dialect: Dialect,
) -> AffinityDecision | None:
    """Return the verdict on the session of a call's conversation; None if it has no session."""
    session = context.seat
    if session is None or not call.turn.follows_session:
        return None
    assessment = _assess_session(
        catalogue, call, requested_model, bounds, context, session, strategy, dialect
    )
    return AffinityDecision(
        session=session,
        target=_find_target(catalogue, session),
        cached_tokens=_count_cached_tokens(call, context, session, assessment),
        verdict=assessment.verdict,
        reason=assessment.reason,
        prefers_target=assessment.prefers_target,
        has_tier_floor=assessment.verdict == "leaves"
        and assessment.is_forced
        and strategy == "ratchet-up",
    )


class _SessionAssessment(NamedTuple):
    verdict: AffinityVerdict
    reason: str
    prefers_target: bool = True
    is_forced: bool = False
    """True if the conversation must leave although the caller does not ask for it."""
    keeps_prompt_start: bool = True
    """True if the prompt still begins as it did before."""


def _assess_session(
    catalogue: Catalogue,
    call: Features,
    requested_model: RequestedModel,
    bounds: GuardBounds,
    context: DecisionContext,
    session: Session,
    strategy: Strategy,
    dialect: Dialect,
) -> _SessionAssessment:
    turn, age = call.turn, _compute_age(context, session)
    if requested_model.tier is not None:
        assessment = _SessionAssessment("leaves", "the client names a tier or a model")
    elif requested_model.is_lab_named and requested_model.lab != session.lab:
        assessment = _SessionAssessment("leaves", f"the client names the lab {requested_model.lab}")
    elif reason := _find_lab_problem(catalogue, call, bounds, session):
        assessment = _SessionAssessment("leaves", reason, prefers_target=False, is_forced=True)
    elif turn.loop:
        assessment = _SessionAssessment("stays", "inside a tool loop")
    elif turn.first and session.first and turn.first != session.first:
        assessment = _SessionAssessment(
            "leaves",
            "the conversation begins with another message",
            prefers_target=False,
            keeps_prompt_start=False,
        )
    elif (
        reason := _find_target_problem(catalogue, call, bounds, session, dialect)
        or context.unseated
    ):
        assessment = _SessionAssessment("leaves", reason, prefers_target=False, is_forced=True)
    elif strategy == "turn":
        assessment = _SessionAssessment("leaves", "the gateway decides each user turn anew")
    elif strategy == "pin":
        assessment = _SessionAssessment("stays", "the conversation stays to its end")
    elif age > session.keeps:
        reason = f"idle for {age:.0f} s; its prompt cache lasts {session.keeps:.0f} s"
        assessment = _SessionAssessment("leaves", reason, prefers_target=False, is_forced=True)
    elif turn.explicit and call.prompt.user_turns < session.turns:
        # Only a named conversation: without a name, this may be another one that begins with the
        # same words.
        reason = "the conversation is shorter than before"
        assessment = _SessionAssessment(
            "leaves", reason, prefers_target=False, is_forced=True, keeps_prompt_start=False
        )
    elif strategy == "sticky":
        assessment = _SessionAssessment("stays", "the conversation stays with its target")
    else:
        assessment = _SessionAssessment("weighs", strategy)
    return assessment


def _count_cached_tokens(
    call: Features, context: DecisionContext, session: Session, assessment: _SessionAssessment
) -> int:
    """Return the number of the prompt's tokens that are still in the prompt cache.

    A conversation that got shorter, or begins with another message, still has its instructions and
    tools in the cache. That is at most everything except the user's text.
    """
    if _compute_age(context, session) > session.keeps:
        return 0
    if assessment.keeps_prompt_start:
        return session.tokens
    return min(session.tokens, max(0, call.prompt_tokens - call.user_tokens))


def _compute_age(context: DecisionContext, session: Session) -> float:
    """Return the seconds since the prompt cache was used."""
    return context.at - session.at


def accumulate_session(previous: Session | None, session: Session) -> Session:
    """Return the session of an answered call, with the calls and output tokens before it added."""
    if previous is None:
        return session
    return msgspec.structs.replace(
        session, calls=previous.calls + 1, output=previous.output + session.output
    )


def renew_session(session: Session, decision: Decision, plan: Plan, timestamp: float) -> Session:
    """Return a session after a side call that had the conversation's prompt.

    The session's provider has read the prompt, and keeps it in its cache as long again. A call that
    went elsewhere changes nothing.
    """
    location = decision.lab, decision.tier, plan.targets[0].name, decision.account
    if location != session.location:
        return session
    return msgspec.structs.replace(session, at=timestamp)


def prefer_session_target(plan: Plan, session: Session) -> Plan:
    """Return a plan with the session's target first, if the plan has that target.

    The targets that are equal to it come next.
    """
    targets = plan.targets
    first = next(
        (index for index, target in enumerate(targets) if target.name == session.target), 0
    )
    if first == 0:
        return plan
    order = sorted(
        range(len(targets)),
        key=lambda index: (index != first, not targets[index].shares_group(targets[first])),
    )
    return msgspec.structs.replace(
        plan,
        targets=tuple([targets[i] for i in order]),
        dialects=tuple([plan.dialects[i] for i in order]),
        labs=tuple([plan.labs[i] for i in order]) if plan.labs else (),
    )


def _find_target(catalogue: Catalogue, session: Session) -> Target | None:
    """Return the target of a session, from its own lab or from a fallback lab."""
    lab = catalogue.labs.get(session.lab)
    if lab is None:
        return None
    for target in lab.tiers.get(session.tier, ()):
        if target.name == session.target:
            return target
    for name in lab.fallback:
        for target in catalogue.labs[name].tiers.get(session.tier, ()):
            if target.name == session.target:
                return target
    return None


def _find_lab_problem(
    catalogue: Catalogue, call: Features, bounds: GuardBounds, session: Session
) -> str:
    """Return why the lab of a session may not serve a call; empty if it may."""
    lab = catalogue.labs.get(session.lab)
    if lab is None:
        return f"there is no lab {session.lab} any more"
    if not lab.enabled:
        return f"{session.lab} is off"
    allowed_labs = call.key.labs
    if not bounds.allows_lab(session.lab) or (
        allowed_labs is not None and session.lab not in allowed_labs
    ):
        return f"{session.lab} may not be used"
    return ""


def _find_target_problem(
    catalogue: Catalogue, call: Features, bounds: GuardBounds, session: Session, dialect: Dialect
) -> str:
    """Return why the target of a session may not serve a call; empty if it may."""
    allowed_tiers = call.key.tiers
    if bounds.clamp_tier(session.tier) != session.tier or (
        allowed_tiers is not None and session.tier not in allowed_tiers
    ):
        return f"{session.tier} may not be used"
    target = _find_target(catalogue, session)
    if target is None:
        return f"{session.target} is no target of {session.lab}/{session.tier} any more"
    _, reason = capabilities.choose_dialect(target, call, dialect)
    return f"{target.name} {reason}" if reason else ""
