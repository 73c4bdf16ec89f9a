"""A decision and a plan as plain values, the same for the route endpoint and the terminal."""

from collections.abc import Sequence
from decimal import Decimal

from gateway.core.decision import Decision, Plan, SessionSwitch
from gateway.core.decision_context import Thresholds
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import OPERATIONS, Dialect, RequestBody, TranslatableRequest


def losses(
    dialect: Dialect, body: RequestBody, asked: TranslatableRequest, plan: Plan
) -> list[tuple[Loss, ...]]:
    """What each target of a plan would not get as the client wrote it."""
    return [
        dialect.write(body, target).losses
        if door == dialect.name
        else asked.losses(OPERATIONS[door, dialect.operation], target)
        for target, door in zip(plan.targets, plan.doors, strict=True)
    ]


def refuse(dialect: Dialect, body: RequestBody, asked: TranslatableRequest, plan: Plan) -> None:
    """Raise ProblemError where the first target would not get all of a request."""
    lost = losses(dialect, body, asked, plan)[0]
    if lost:
        reasons = "; ".join(f"{item.field} ({item.why})" for item in lost)
        message = f"Refused, because it would lose: {reasons}."
        raise ProblemError(Problem(kind="no_target", message=message, param=lost[0].field))


def labs(decision: Decision, plan: Plan) -> tuple[str, ...]:
    """The lab of each target."""
    return plan.labs or (decision.lab,) * len(plan.targets)


def view(
    decision: Decision, plan: Plan, lost: Sequence[tuple[Loss, ...] | None], at: float
) -> dict[str, Json]:
    """What was decided and why, as JSON: no secret and nothing of the prompt is in it.

    What a target would not get is None where it is not known. `at` is when the call was received,
    in seconds since the epoch: prices may change with time.
    """
    return {
        "lab": decision.lab,
        "tier": decision.tier,
        "model": plan.targets[0].model,
        "source": decision.source,
        "rule": decision.rule,
        "confidence": decision.confidence,
        "switch": None if decision.switch is None else _switch(decision.switch),
        "thresholds": _thresholds(decision.thresholds),
        "tags": list(decision.tags),
        "complete": decision.complete,
        "trace": [
            {"step": s.step, "matched": s.matched, "effect": s.effect, "why": s.why, "ms": s.ms}
            for s in decision.trace
        ],
        "plan": [
            {"lab": lab, **_target(target, at), "dialect": door, "losses": _losses(few)}
            for lab, target, door, few in zip(
                labs(decision, plan), plan.targets, plan.doors, lost, strict=True
            )
        ],
        "skipped": [
            {"target": item.target, "tier": item.tier, "reason": item.reason}
            for item in plan.skipped
        ],
    }


def _thresholds(used: Thresholds | None) -> dict[str, Json] | None:
    """What a score was held against; `cut` are points on the axis of `share`."""
    if used is None:
        return None
    cut: Json = None
    if used.cut is not None:
        cut = {"reasoning": used.cut.reasoning, "smart": used.cut.smart}
    return {"id": used.id, "fast": used.fast, "smart": used.smart, "cut": cut}


def _target(target: Target, at: float) -> dict[str, Json]:
    price = target.price.on(at) if target.price is not None else None
    return {
        "target": target.name,
        "provider": target.provider.name,
        "model": target.model,
        "effort": target.effort,
        "price": None
        if price is None
        else {
            "input": _text(price.rates.input),
            "output": _text(price.rates.output),
            "version": price.version,
        },
    }


def _switch(switch: SessionSwitch) -> dict[str, Json]:
    """What a conversation left, or did not, and what that costs once: USD as exact text."""
    return {
        "moved": switch.moved,
        "lab": switch.lab,
        "tier": switch.tier,
        "target": switch.target,
        "to": switch.to,
        "tokens": switch.tokens,
        "cost": _usd(switch.cost),
        "saving": _usd(switch.saving),
        "calls": switch.calls,
        "margin": _usd(switch.margin),
    }


def _usd(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd.normalize():f}"


def _losses(few: tuple[Loss, ...] | None) -> list[Json] | None:
    return None if few is None else [_loss(one) for one in few]


def _loss(loss: Loss) -> dict[str, Json]:
    return {"field": loss.field, "action": loss.action, "why": loss.why}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
