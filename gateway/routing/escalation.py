"""Escalation: the tier above is asked once if a free check finds a fault in a whole answer.

A decision says if its answer is checked. The check itself is in `answer_check`. Everything here is
pure, so a replay decides the same.
"""

import msgspec

from gateway.core.call import EscalateMode, Key
from gateway.core.decision import Decision, Plan, Trace, TraceStep
from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import TIERS, Catalogue, Tier
from gateway.dialects import Dialect
from gateway.routing import model_name as model_names
from gateway.routing import plan as plans
from gateway.routing.call_setting import find_setting
from gateway.routing.classify import TraceWriter
from gateway.routing.features import Features
from gateway.routing.rules.compile import CompiledChoice
from gateway.routing.rules.guards import GuardBounds

_GENERATE = "generate"
_FAULT_TEXTS = {
    "passed": "the check found no fault in the answer",
    "empty": "the answer was empty",
    "refused": "the model declined to answer",
    "schema": "the answer was not the JSON that was asked for",
}


class OpenTier(msgspec.Struct, frozen=True):
    """A decided tier, and whether it may change after the answer."""

    tier: Tier
    is_pinned: bool
    """True if the caller named the tier or the model."""
    is_fixed: bool
    """True if the strategy keeps the conversation on its target whatever its answers are."""


def decide_escalation(
    default: EscalateMode,
    call: Features,
    dialect: Dialect,
    bounds: GuardBounds,
    choice: CompiledChoice | None,
    open_tier: OpenTier,
    add_step: TraceWriter,
) -> EscalateMode:
    """Return what the gateway does about faults of the answer, and trace it if it is set."""
    mode, source = find_setting("escalate", bounds.escalate, call, choice, default)
    if mode == "off" or dialect.operation != _GENERATE:
        return "off"
    obstacle = _find_obstacle(mode, call, bounds, open_tier)
    if obstacle:
        add_step("escalate", f"{source}, but {obstacle}", "off", matched=False)
        return "off"
    add_step("escalate", source, mode)
    return mode


def _find_obstacle(
    mode: EscalateMode, call: Features, bounds: GuardBounds, open_tier: OpenTier
) -> str:
    """Return why the answer of a call is not checked; empty if it is."""
    if call.prompt.stream:
        return "a stream is not checked"
    if call.prompt.choices > 1:
        return "several answers are not checked"
    if call.prompt.tool_loop or call.turn.loop:
        return "nothing is checked inside a tool loop"
    if open_tier.is_pinned:
        return "the caller named the tier"
    if mode == "watch":
        return ""
    if open_tier.is_fixed:
        return "the conversation stays where it is"
    if find_tier_above(open_tier.tier, bounds, call.key) is None:
        return f"no tier above {open_tier.tier} may be used"
    return ""


def find_tier_above(tier: Tier, bounds: GuardBounds, key: Key) -> Tier | None:
    """Return the next tier; None if guards, a budget or the key forbid it, or there is none."""
    index = TIERS.index(tier) + 1
    if index == len(TIERS):
        return None
    next_tier = TIERS[index]
    return next_tier if plans.find_nearest_tier(next_tier, bounds, key) == next_tier else None


def decide_above(
    catalogue: Catalogue, call: Features, dialect: Dialect, bounds: GuardBounds, decision: Decision
) -> tuple[Decision, Plan]:
    """Return the decision and the plan for the tier above that of a decision.

    Raises ProblemError if nothing there may serve the call.
    """
    tier_above = None if decision.tier is None else find_tier_above(decision.tier, bounds, call.key)
    if tier_above is None:
        message = f"No tier above {decision.tier} may be used."
        raise ProblemError(Problem(kind="no_target", message=message))
    requested_model = model_names.read(call, catalogue)
    trace = Trace(float)
    lab, tier, _, plan = plans.plan(
        catalogue,
        (decision.lab, tier_above, None, True),
        call,
        requested_model,
        dialect,
        bounds,
        trace.add,
    )
    if lab != decision.lab:
        message = f"The lab {decision.lab!r} has no target of {tier_above} for this call."
        raise ProblemError(Problem(kind="no_target", message=message))
    above = msgspec.structs.replace(
        decision,
        tier=tier,
        model=None,
        account=None,
        switch=None,
        trace=(*decision.trace, *trace),
    )
    return above, plan


def describe_check(row: FinalRow) -> TraceStep | None:
    """Return the trace step of the check of a row's answer; None without a check."""
    if row.checked is None:
        return None
    reason = _FAULT_TEXTS[row.checked]
    if row.escalated is None:
        return TraceStep(step="escalate", matched=False, reason=reason)
    served = "that answer was served" if row.tier != row.escalated else "the first one was served"
    tier_above = row.tier if row.tier != row.escalated else "the tier above"
    reason = f"{reason}, so {tier_above} was asked after {row.escalated}: {served}"
    return TraceStep(step="escalate", matched=True, effect=row.tier or "", reason=reason)
