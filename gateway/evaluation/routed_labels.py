"""Labels decided as calls are: the tier that each prompt gets here, and what each tier costs."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from gateway.core.call import Key, RequestOptions
from gateway.core.decision import Decision, Plan, Why
from gateway.core.decision_context import DecisionContext, Score
from gateway.core.errors import ProblemError
from gateway.core.price import cost
from gateway.core.target import TIERS, Target, Tier
from gateway.core.usage import Usage
from gateway.evaluation.labels import Label
from gateway.evaluation.sample_call import OUTPUT, named, question
from gateway.routing.classify import classify
from gateway.routing.features import Features
from gateway.routing.router import Router, decide


class RoutedLabel(msgspec.Struct, frozen=True, kw_only=True):
    """One label, and what this router makes of it."""

    label: Label
    tier: Tier | None
    """None where it is refused."""
    source: str = "refused"
    why: str = ""
    score: Score | None = None
    """What the classifier says of it, whatever decided."""
    costs: Mapping[Tier, Decimal] = {}
    """USD by tier; a tier without a known price is missing."""
    targets: Mapping[Tier, str] = {}
    """Whose price that is; none where the label has the cost itself."""


class LabelRouter(msgspec.Struct, frozen=True, kw_only=True):
    """What labels are decided by."""

    router: Router
    at: float
    """The moment whose prices hold, in seconds since the epoch."""
    keys: Mapping[str, Key] = {}
    output: Mapping[Tier, int] = msgspec.field(default_factory=lambda: OUTPUT)


def one(world: LabelRouter, label: Label) -> RoutedLabel:
    """Decide one label as the request with its prompt alone would be."""
    key = named(label.key, world.keys)
    steer = RequestOptions(tags=label.tags)
    call, dialect = question(world.router, label.prompt, model=label.model, key=key, steer=steer)
    evidence = DecisionContext(at=world.at)
    try:
        decision, plan = decide(world.router, call, dialect, evidence)
    except ProblemError as error:
        return RoutedLabel(label=label, tier=None, why=error.problem.for_operator)
    verdict = classify(world.router.scorer(call.key), call, evidence, _silent)
    costs, targets = _costs(world, call, label, decision, plan)
    return RoutedLabel(
        label=label,
        tier=decision.tier,
        source=decision.source,
        why=decision.rule or "",
        score=verdict.score if verdict is not None else None,
        costs=costs,
        targets=targets,
    )


def _silent(step: str, why: Why, effect: str = "", *, matched: bool = True) -> None: ...


def _costs(
    world: LabelRouter, call: Features, label: Label, decision: Decision, plan: Plan
) -> tuple[dict[Tier, Decimal], dict[Tier, str]]:
    costs: dict[Tier, Decimal] = dict(label.costs)
    targets: dict[Tier, str] = {}
    for tier in TIERS:
        if tier in costs:
            continue
        target = plan.targets[0] if tier == decision.tier else first(world, decision.lab, tier)
        if target is None:
            continue
        usage = Usage(input=call.prompt_tokens, output=world.output[tier])
        price = target.price.on(world.at) if target.price is not None else None
        usd = cost(usage, price)
        targets[tier] = target.name
        if usd is not None:
            costs[tier] = usd
    return costs, targets


def first(world: LabelRouter, lab: str, tier: Tier) -> Target | None:
    """The target that serves a tier of a lab: its first one that is on, or its first."""
    row = world.router.catalogue.labs[lab].tiers.get(tier, ())
    return next((target for target in row if target.provider.on), next(iter(row), None))
