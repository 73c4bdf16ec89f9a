"""The lines of a trace that say how the gateway will choose among equals.

They are of the plan alone. Which of the equals serves depends on load and health at that moment.
"""

from gateway.core.decision import Plan, TraceStep
from gateway.core.target import Balance


def list_balance_steps(plan: Plan) -> list[TraceStep]:
    """Return a line for each choice among equals that a call meets at its first target."""
    steps: list[TraceStep] = []
    target = plan.targets[0]
    provider, group = target.provider, target.group
    if group is not None:
        names = [other.name for other in plan.targets if other.shares_group(target)]
        steps.append(_make_step(f"the group {group.name}: {', '.join(names)}", group.balance))
    if provider.balance != "order" and len(provider.accounts) > 1:
        noun = "replicas" if provider.accounts[0].base_url else "accounts"
        reason = f"{provider.name} has {len(provider.accounts)} {noun}"
        steps.append(_make_step(reason, provider.balance))
    return steps


def _make_step(reason: str, balance: Balance) -> TraceStep:
    return TraceStep(step="balance", matched=True, effect=balance, reason=reason)
