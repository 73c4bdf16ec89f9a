"""A decision and a plan as plain values, the same for the route endpoint and the terminal."""

from collections.abc import Sequence
from decimal import Decimal

from gateway.core.decision import Decision, Plan, SessionSwitch
from gateway.core.decision_context import Thresholds
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import TARGET_OPERATIONS, Dialect, RequestBody, TranslatableRequest


def list_losses(
    dialect: Dialect, body: RequestBody, request: TranslatableRequest, plan: Plan
) -> list[tuple[Loss, ...]]:
    """Return for each target of a plan what it would not get as the client wrote it."""
    return [
        dialect.write(body, target).losses
        if dialect_name == dialect.name
        else request.list_losses(TARGET_OPERATIONS[dialect_name, dialect.operation], target)
        for target, dialect_name in zip(plan.targets, plan.dialects, strict=True)
    ]


def refuse_losses(
    dialect: Dialect, body: RequestBody, request: TranslatableRequest, plan: Plan
) -> None:
    """Raise ProblemError if the first target would not get all of a request."""
    target_losses = list_losses(dialect, body, request, plan)[0]
    if target_losses:
        reasons = "; ".join(f"{item.field} ({item.reason})" for item in target_losses)
        message = f"The gateway refuses the call, because translation would lose: {reasons}."
        raise ProblemError(Problem(kind="no_target", message=message, param=target_losses[0].field))


def list_labs(decision: Decision, plan: Plan) -> tuple[str, ...]:
    """Return the lab of each target."""
    return plan.labs or (decision.lab,) * len(plan.targets)


def describe(
    decision: Decision,
    plan: Plan,
    losses_by_target: Sequence[tuple[Loss, ...] | None],
    received_at: float,
) -> dict[str, Json]:
    """Return the decision and its reasons as JSON, without secrets and without the prompt.

    The losses of a target are None if they are not known. `received_at` is the time at which the
    gateway received the call, in seconds since the epoch: prices may change with time.
    """
    return {
        "lab": decision.lab,
        "tier": decision.tier,
        "model": plan.targets[0].model,
        "source": decision.source,
        "rule": decision.rule,
        "confidence": decision.confidence,
        "switch": None if decision.switch is None else _describe_switch(decision.switch),
        "thresholds": _describe_thresholds(decision.thresholds),
        "tags": list(decision.tags),
        "complete": decision.complete,
        "escalate": decision.escalate,
        "trace": [
            {
                "step": line.step,
                "matched": line.matched,
                "effect": line.effect,
                "why": line.reason,
                "ms": line.ms,
            }
            for line in decision.trace
        ],
        "plan": [
            {
                "lab": lab,
                **_describe_target(target, received_at),
                "dialect": dialect_name,
                "losses": _describe_losses(losses),
            }
            for lab, target, dialect_name, losses in zip(
                list_labs(decision, plan),
                plan.targets,
                plan.dialects,
                losses_by_target,
                strict=True,
            )
        ],
        "skipped": [
            {"target": item.target, "tier": item.tier, "reason": item.reason}
            for item in plan.skipped
        ],
    }


def _describe_thresholds(thresholds: Thresholds | None) -> dict[str, Json] | None:
    """Return the thresholds of a score; `cut` has points on the axis of `tier_share`."""
    if thresholds is None:
        return None
    cut: Json = None
    if thresholds.cut is not None:
        cut = {"reasoning": thresholds.cut.reasoning, "smart": thresholds.cut.smart}
    return {"id": thresholds.id, "fast": thresholds.fast, "smart": thresholds.smart, "cut": cut}


def _describe_target(target: Target, received_at: float) -> dict[str, Json]:
    price = target.price.find_in_force(received_at) if target.price is not None else None
    return {
        "target": target.name,
        "provider": target.provider.name,
        "model": target.model,
        "effort": target.effort,
        "price": None
        if price is None
        else {
            "input": _to_text(price.rates.input),
            "output": _to_text(price.rates.output),
            "version": price.version,
        },
    }


def _describe_switch(switch: SessionSwitch) -> dict[str, Json]:
    """Return the switch of a conversation, made or not, and its one-time cost.

    Amounts are USD as exact text.
    """
    return {
        "moved": switch.has_moved,
        "lab": switch.lab,
        "tier": switch.tier,
        "target": switch.target,
        "to": switch.destination,
        "tokens": switch.tokens,
        "cost": _format_usd(switch.cost),
        "saving": _format_usd(switch.saving),
        "calls": switch.calls,
        "margin": _format_usd(switch.margin),
    }


def _format_usd(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd.normalize():f}"


def _describe_losses(losses: tuple[Loss, ...] | None) -> list[Json] | None:
    return None if losses is None else [_describe_loss(loss) for loss in losses]


def _describe_loss(loss: Loss) -> dict[str, Json]:
    return {"field": loss.field, "action": loss.action, "why": loss.reason}


def _to_text(value: object) -> str | None:
    return None if value is None else str(value)
