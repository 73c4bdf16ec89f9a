"""The plan: which targets may serve a decision, in order, and which may not and why."""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from gateway.core.call import Key
from gateway.core.decision import Decision, Plan, SkippedTarget, Trace, TraceLine
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import TIERS, Catalogue, Lab, Target, Tier
from gateway.dialects import Dialect
from gateway.routing import capabilities, refusals
from gateway.routing.classify import TraceWriter
from gateway.routing.features import Features
from gateway.routing.model_name import RequestedModel
from gateway.routing.rules.guards import NO_BOUNDS, GuardBounds


class PlannedCall(NamedTuple):
    """The lab, tier and model that serve a call, and the plan."""

    lab: str
    tier: Tier
    model: str | None
    plan: Plan


type PlanRequest = tuple[str, Tier, str | None, bool]
"""The lab, tier and model of a decision, before the plan knows what can serve them. The last item
is True if the caller named the tier: the plan uses no other tier."""


class PlanKey:
    """Calls that are equal in everything on which their names and plans depend.

    `key` is their key, `requested_model` what they ask for. Their decisions may differ, so the
    gateway keeps a plan for each lab, tier and model. It keeps no plan that tried another dialect,
    because a translation depends on the whole call.
    """

    __slots__ = ("_plans", "decision_and_plan", "key", "requested_model")

    def __init__(self, key: Key, requested_model: RequestedModel) -> None:
        self.key = key
        self.requested_model = requested_model
        self.decision_and_plan: tuple[Decision, Plan] | None = None
        """The decision and plan of all these calls, if known."""
        self._plans: dict[PlanRequest, tuple[PlannedCall, list[TraceLine]]] = {}

    def plan(
        self,
        catalogue: Catalogue,
        plan_request: PlanRequest,
        call: Features,
        dialect: Dialect,
        trace: Trace,
    ) -> PlannedCall:
        """Plan a call as the function `plan` does, if no guard and no budget bounds it."""
        cached = self._plans.get(plan_request)
        if cached is None:
            first_line = len(trace)
            planned_call = plan(
                catalogue, plan_request, call, self.requested_model, dialect, NO_BOUNDS, trace.add
            )
            if not call.translation_checks:
                self._plans[plan_request] = planned_call, trace.lines_from(first_line)
            return planned_call
        planned_call, lines = cached
        if lines:
            trace.add_lines(lines)
        return planned_call


def plan(
    catalogue: Catalogue,
    plan_request: PlanRequest,
    call: Features,
    requested_model: RequestedModel,
    dialect: Dialect,
    bounds: GuardBounds,
    add_step: TraceWriter,
) -> PlannedCall:
    """Plan where a decided call goes. Raises ProblemError if nothing may serve it."""
    lab, tier, model, is_tier_pinned = plan_request
    serving_lab = _choose_lab(catalogue, lab, call, requested_model, dialect, bounds, add_step)
    if serving_lab.name != lab:
        model = None
    fallback_labs = (
        []
        if model is not None or requested_model.is_lab_named
        else _find_fallback_labs(catalogue, serving_lab, call, bounds)
    )
    try:
        lab_plan, tier, model = _plan_in_lab(
            serving_lab, tier, model, call, dialect, bounds, add_step, is_tier_pinned=is_tier_pinned
        )
    except ProblemError as error:
        if error.problem.kind not in ("no_target", "not_found") or not fallback_labs:
            raise
        add_step(
            "constraint",
            f"no target of {serving_lab.name} can serve this call",
            fallback_labs[0].name,
        )
        serving_lab, *fallback_labs = fallback_labs
        lab_plan, tier, model = _plan_in_lab(
            serving_lab, tier, None, call, dialect, bounds, add_step, is_tier_pinned=is_tier_pinned
        )
    return PlannedCall(
        serving_lab.name,
        tier,
        model,
        _add_fallback_targets(serving_lab, fallback_labs, lab_plan, tier, call, dialect, add_step),
    )


def _choose_lab(
    catalogue: Catalogue,
    lab: str,
    call: Features,
    requested_model: RequestedModel,
    dialect: Dialect,
    bounds: GuardBounds,
    add_step: TraceWriter,
) -> Lab:
    """Return the lab, or another one if this lab cannot serve and the caller named none.

    Raises ProblemError if guards or the key's scope forbid every lab.
    """
    labs, allowed_labs = catalogue.labs, call.key.labs
    tiers = TIERS if requested_model.tier is None else (requested_model.tier,)

    def may_use(name: str) -> bool:
        if not bounds.allows_lab(name) or (allowed_labs is not None and name not in allowed_labs):
            return False
        # If the caller named the lab, the plan explains which of its models the key may not use.
        return requested_model.is_lab_named or capabilities.may_use_lab(call.key, labs[name], tiers)

    is_own_usable = may_use(lab) and labs[lab].enabled
    # To count tokens, a prompt goes to no other lab: the client gets an estimate instead.
    must_stay = requested_model.is_lab_named or dialect.write_token_count is not None
    if is_own_usable and (must_stay or _can_reach_lab(labs[lab], call, dialect)):
        return labs[lab]
    if not requested_model.is_lab_named:
        for name in dict.fromkeys(
            (requested_model.lab, *labs[lab].fallback, catalogue.default_lab, *labs)
        ):
            if (
                labs[name].enabled
                and may_use(name)
                and (not is_own_usable or _can_reach_lab(labs[name], call, dialect))
            ):
                reason = f"{lab} is off" if may_use(lab) else f"{lab} may not be used"
                if is_own_usable:
                    reason = f"{lab} {capabilities.explain_unreachable(call, dialect)}"
                add_step("constraint", reason, f"lab {name}")
                return labs[name]
    if is_own_usable:
        return labs[lab]
    if not requested_model.is_lab_named:
        raise refusals.not_allowed("any lab")
    if (
        requested_model.model is None
        and requested_model.family is None
        and _has_named_lab(call, lab)
    ):
        raise refusals.not_allowed(f"the lab {lab!r}")
    raise refusals.not_allowed(f"the model {refusals.quote_name(call.prompt.model)}")


def _has_named_lab(call: Features, lab: str) -> bool:
    """True if the client wrote the lab's name. An alias may stand for a name it may not see."""
    return lab in (call.options.lab, call.prompt.model.partition("/")[0])


def _can_reach_lab(lab: Lab, call: Features, dialect: Dialect) -> bool:
    for targets in lab.tiers.values():
        for target in targets:
            if target.provider.enabled and capabilities.can_reach_provider(
                target.provider, call, dialect
            ):
                return True
    return False


def _plan_in_lab(
    lab: Lab,
    tier: Tier,
    model: str | None,
    call: Features,
    dialect: Dialect,
    bounds: GuardBounds,
    add_step: TraceWriter,
    *,
    is_tier_pinned: bool,
) -> tuple[Plan, Tier, str | None]:
    """Plan targets of the tier that fit; of the nearest tier with one if the tier is not pinned."""
    first_tier = bounds.clamp_tier(tier)
    if first_tier != tier:
        add_step("guard", f"{tier} is out of bounds", first_tier)
    allowed_tiers = call.key.tiers
    tier_order = _order_tiers(first_tier, min(bounds.low, bounds.high), bounds.high, allowed_tiers)
    if not tier_order or (is_tier_pinned and tier_order[0] != first_tier):
        message = f"This key may not use the tier {first_tier!r}."
        raise ProblemError(Problem(kind="not_allowed", message=message, param="model"))
    if tier_order[0] != first_tier:
        add_step("constraint", f"this key may not use {first_tier}", tier_order[0])
    first_tier = tier_order[0]
    candidates: list[tuple[Tier, str | None]] = [
        (t, None) for t in ([first_tier] if is_tier_pinned else tier_order)
    ]
    if model is not None and first_tier == tier:
        candidates = [(tier, model), *([] if is_tier_pinned else candidates)]
    skipped: list[SkippedTarget] = []
    for candidate_tier, candidate_model in candidates:
        targets = _find_fitting_targets(
            lab, candidate_tier, candidate_model, call, dialect, skipped
        )
        if not targets:
            continue
        if (candidate_tier, candidate_model) != candidates[0]:
            subject = candidates[0][1] or first_tier
            add_step("constraint", f"no target of {subject} can serve this call", candidate_tier)
        if skipped:
            reason = "; ".join(f"{item.target} {item.reason}" for item in skipped)
            add_step("plan", reason, f"{len(targets)} of {len(targets) + len(skipped)} targets")
        fitting_targets, dialect_names = zip(*targets, strict=True)
        return (
            Plan(targets=fitting_targets, dialects=dialect_names, skipped=tuple(skipped)),
            candidate_tier,
            candidate_model,
        )
    tried_tiers = f"{lab.name}/{first_tier}" if is_tier_pinned else f"lab {lab.name}"
    if skipped and all(item.reason in capabilities.KEY_SCOPE_REASONS for item in skipped):
        subject = f"any model of {tried_tiers}" if _has_named_lab(call, lab.name) else "any model"
        pronoun = "each"
        if model is not None:
            subject, pronoun = f"the model {refusals.quote_name(call.prompt.model)}", "it"
        reason = " or ".join(dict.fromkeys(item.reason for item in skipped))
        raise refusals.not_allowed(subject, f"{pronoun} {reason}")
    raise refusals.no_target(tried_tiers, skipped, call.prompt.continuation_member)


def _find_fallback_labs(
    catalogue: Catalogue, lab: Lab, call: Features, bounds: GuardBounds
) -> list[Lab]:
    """Return the labs that may take over from a lab, by its `fallback`."""
    labs, allowed_labs = [catalogue.labs[name] for name in lab.fallback], call.key.labs
    return [
        fallback_lab
        for fallback_lab in labs
        if fallback_lab.enabled
        and bounds.allows_lab(fallback_lab.name)
        and (allowed_labs is None or fallback_lab.name in allowed_labs)
        and capabilities.may_use_lab(call.key, fallback_lab, TIERS)
    ]


def _add_fallback_targets(
    lab: Lab,
    fallback_labs: list[Lab],
    plan: Plan,
    tier: Tier,
    call: Features,
    dialect: Dialect,
    add_step: TraceWriter,
) -> Plan:
    """Return a plan with the targets of fallback labs after those of its own lab."""
    if not fallback_labs:
        return plan
    targets = list(plan.targets)
    dialect_names = list(plan.dialects)
    lab_names = [lab.name] * len(plan.targets)
    skipped = list(plan.skipped)
    for fallback_lab in fallback_labs:
        lab_name = fallback_lab.name
        target_names = {target.name for target in targets}
        fitting = [
            pair
            for pair in _find_fitting_targets(fallback_lab, tier, None, call, dialect, skipped)
            if pair[0].name not in target_names
        ]
        add_step("plan", f"where all of {lab.name} fail", f"lab {lab_name}", matched=bool(fitting))
        for target, dialect_name in fitting:
            targets.append(target)
            dialect_names.append(dialect_name)
            lab_names.append(lab_name)
    if len(targets) == len(plan.targets):
        return plan
    return Plan(
        targets=tuple(targets),
        dialects=tuple(dialect_names),
        labs=tuple(lab_names),
        skipped=tuple(skipped),
    )


def find_nearest_tier(tier: Tier, bounds: GuardBounds, key: Key) -> Tier:
    """Return the tier that a call gets in place of one that guards, budgets or its key forbid."""
    bounded_tier = bounds.clamp_tier(tier)
    tier_order = _order_tiers(bounded_tier, min(bounds.low, bounds.high), bounds.high, key.tiers)
    return tier_order[0] if tier_order else bounded_tier


@lru_cache(256)
def _order_tiers(
    tier: Tier, low: int, high: int, allowed_tiers: tuple[str, ...] | None
) -> tuple[Tier, ...]:
    """Return the allowed tiers: the tier, then those above it, then those below, nearest first."""
    index = TIERS.index(tier)
    tiers = (*TIERS[index:], *reversed(TIERS[:index]))
    return tuple(
        candidate
        for candidate in tiers
        if low <= TIERS.index(candidate) <= high
        and (allowed_tiers is None or candidate in allowed_tiers)
    )


def _find_fitting_targets(
    lab: Lab,
    tier: Tier,
    model: str | None,
    call: Features,
    dialect: Dialect,
    skipped: list[SkippedTarget],
) -> list[tuple[Target, str]]:
    fitting = []
    for target in lab.tiers.get(tier, ()):
        if model is not None and model not in (target.model, target.name):
            continue
        if model is not None:
            target = _strip_tier_settings(target)  # noqa: PLW2901 - the same target, said plainly
        dialect_name, reason = capabilities.choose_dialect(target, call, dialect)
        if reason:
            skipped_target = capabilities.make_skipped_target(target, tier, reason)
            skipped += [] if skipped_target in skipped else [skipped_target]
        else:
            fitting.append((target, dialect_name))
    return fitting


def _strip_tier_settings(target: Target) -> Target:
    """Return a target for a caller that names the model: without the settings of the tier."""
    return msgspec.structs.replace(target, effort=None, max_output=None, params={})
