"""Lower the cap on the output of a call, so that its cost fits into what a budget has left."""

import msgspec

from gateway.core.decision import Plan
from gateway.core.target import Target
from gateway.limits.cost_bounds import UsageBound

_CAP_MEMBERS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "generationConfig.maxOutputTokens",
    }
)
"""The cap on the output, in the words of each dialect."""


def fit_plan(
    usage_bound: UsageBound, plan: Plan, left: int, least_output: int, budget: str
) -> Plan | None:
    """Return the plan with the highest cap on the output whose cost is at most `left` micro-USD.

    The cost is that of the dearest target, so the bound holds whichever target serves the call. The
    cap is at least `least_output`, also if that costs more. Return None if no such cap makes the
    call cheaper, or if its cost has no bound.
    """
    requested = usage_bound.prompt.max_output
    # Some engines read a cap of 0 or less as none at all.
    if usage_bound.call.operation != "generate" or (requested is not None and requested <= 0):
        return None
    bounds = [target.find_output_cap(requested) for target in plan.targets]
    known_bounds = [bound for bound in bounds if bound is not None]
    if len(known_bounds) < len(bounds):
        return None

    def lower_targets(cap: int) -> tuple[Target, ...]:
        reason = f"the budget {budget!r} has no more left than for {cap} tokens"
        return tuple(
            [
                target
                if bound <= cap
                else msgspec.structs.replace(target, lowered_output=cap, lowered_reason=reason)
                for target, bound in zip(plan.targets, known_bounds, strict=True)
            ]
        )

    low, high = least_output, max(known_bounds) - 1
    if any(not _takes_cap(target) for target in plan.targets):
        return None
    if low > high or usage_bound.compute_max_cost(plan.targets) is None:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        cost = usage_bound.compute_max_cost(lower_targets(middle))
        low, high = (low, middle - 1) if cost is None or cost > left else (middle, high)
    return msgspec.structs.replace(plan, targets=lower_targets(low))


def _takes_cap(target: Target) -> bool:
    """Return True if the gateway sends a cap to a target."""
    refused = target.facts.refused_members | target.provider.refused_members
    return _CAP_MEMBERS.isdisjoint(refused)
