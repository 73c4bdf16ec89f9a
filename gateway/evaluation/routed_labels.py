"""Labels decided as calls are: the tier that each prompt gets, and the cost of each tier."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from gateway.core.call import Key, RequestOptions
from gateway.core.decision import Decision, LazyReason, Plan
from gateway.core.decision_context import DecisionContext, Score
from gateway.core.errors import ProblemError
from gateway.core.price import compute_cost
from gateway.core.target import TIERS, Target, Tier
from gateway.core.usage import Usage
from gateway.evaluation.labels import Label
from gateway.evaluation.sample_call import build_features, find_key
from gateway.routing.classify import classify
from gateway.routing.features import Features
from gateway.routing.quality_dial import EXPECTED_OUTPUT_TOKENS
from gateway.routing.router import Router, decide


class RoutedLabel(msgspec.Struct, frozen=True, kw_only=True):
    """One label with this router's decision."""

    label: Label
    tier: Tier | None
    """The tier; None if the router refuses the request or decides no tier."""
    source: str = "refused"
    reason: str = ""
    score: Score | None = None
    """The classifier's score, even if something else decided; None without one."""
    costs: Mapping[Tier, Decimal] = {}
    """The cost of an answer in USD, by tier. A tier without a known price is missing."""
    target_names: Mapping[Tier, str] = {}
    """The target whose price counts, by tier. A tier whose cost the label gives is missing."""


class LabelRouter(msgspec.Struct, frozen=True, kw_only=True):
    """The router and the settings that decide labels."""

    router: Router
    priced_at: float
    """The moment whose prices count, in seconds since the epoch."""
    keys: Mapping[str, Key] = {}
    output_tokens: Mapping[Tier, int] = msgspec.field(
        default_factory=lambda: EXPECTED_OUTPUT_TOKENS
    )


def route_label(label_router: LabelRouter, label: Label) -> RoutedLabel:
    """Decide one label, as the gateway would decide a request with only its prompt."""
    key = find_key(label.key, label_router.keys)
    options = RequestOptions(tags=label.tags)
    call, dialect = build_features(
        label_router.router, label.prompt, model=label.model, key=key, options=options
    )
    context = DecisionContext(at=label_router.priced_at)
    try:
        decision, plan = decide(label_router.router, call, dialect, context)
    except ProblemError as error:
        return RoutedLabel(label=label, tier=None, reason=error.problem.operator_message)
    verdict = classify(label_router.router.find_classifier(call.key), call, context, _ignore_step)
    costs, target_names = _price_tiers(label_router, call, label, decision, plan)
    return RoutedLabel(
        label=label,
        tier=decision.tier,
        source=decision.source,
        reason=decision.rule or "",
        score=verdict.score if verdict is not None else None,
        costs=costs,
        target_names=target_names,
    )


def _ignore_step(
    step: str, reason: LazyReason, effect: str = "", *, matched: bool = True
) -> None: ...


def _price_tiers(
    label_router: LabelRouter, call: Features, label: Label, decision: Decision, plan: Plan
) -> tuple[dict[Tier, Decimal], dict[Tier, str]]:
    costs: dict[Tier, Decimal] = dict(label.costs)
    target_names: dict[Tier, str] = {}
    for tier in TIERS:
        if tier in costs:
            continue
        target = (
            plan.targets[0]
            if tier == decision.tier
            else find_tier_target(label_router, decision.lab, tier)
        )
        if target is None:
            continue
        usage = Usage(input=call.prompt_tokens, output=label_router.output_tokens[tier])
        price = (
            target.price.find_in_force(label_router.priced_at) if target.price is not None else None
        )
        usd = compute_cost(usage, price)
        target_names[tier] = target.name
        if usd is not None:
            costs[tier] = usd
    return costs, target_names


def find_tier_target(label_router: LabelRouter, lab: str, tier: Tier) -> Target | None:
    """Return the target that serves a tier of a lab; None if the lab has no such tier.

    It is the first target that is enabled. If none is, it is the first of all.
    """
    tier_targets = label_router.router.catalogue.labs[lab].tiers.get(tier, ())
    return next(
        (target for target in tier_targets if target.provider.enabled),
        next(iter(tier_targets), None),
    )
