"""A decision and a plan as plain values, the same for the route endpoint and the terminal."""

from gateway.core.decision import Decision, Plan
from gateway.core.jsonio import Json
from gateway.core.target import Target


def view(decision: Decision, plan: Plan, at: float) -> dict[str, Json]:
    """What was decided and why, as JSON: no secret and nothing of the prompt is in it.

    `at` is when the call was received, in seconds since the epoch: prices may change with time.
    """
    return {
        "lab": decision.lab,
        "tier": decision.tier,
        "model": plan.targets[0].model,
        "source": decision.source,
        "rule": decision.rule,
        "confidence": decision.confidence,
        "tags": list(decision.tags),
        "trace": [
            {"step": s.step, "matched": s.matched, "effect": s.effect, "why": s.why, "ms": s.ms}
            for s in decision.trace
        ],
        "plan": [_target(target, at) for target in plan.targets],
        "skipped": [
            {"target": item.target, "tier": item.tier, "reason": item.reason}
            for item in plan.skipped
        ],
    }


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


def _text(value: object) -> str | None:
    return None if value is None else str(value)
