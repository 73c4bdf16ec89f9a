"""The decision: pins, guards, constraints, choices, classifier, default, each with a trace line.

Pure: the same features, catalogue, rules and classifier give the same decision on every endpoint.
"""

import time
from collections.abc import Callable

import msgspec

from gateway.core.call import CompleteMode, EscalateMode, Key, Strategy
from gateway.core.decision import Decision, Plan, Trace
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue, EndpointKey, Lab, Tier
from gateway.dialects import Dialect, embeddings
from gateway.routing import model_name as model_names
from gateway.routing import plan as plans
from gateway.routing import route_embeddings, unlisted_models
from gateway.routing.affinity import UPGRADE_THRESHOLD, SessionAffinity, TierSelection
from gateway.routing.balance_trace import list_balance_steps
from gateway.routing.call_setting import find_setting
from gateway.routing.classifier import heuristic
from gateway.routing.classify import classify
from gateway.routing.escalation import OpenTier, decide_escalation
from gateway.routing.evidence_rise import EvidenceTurn, find_new_evidence
from gateway.routing.features import Features
from gateway.routing.model_name import RequestedModel
from gateway.routing.plan import PlanKey
from gateway.routing.quality_dial import CallQuality, OwnTraffic, find_quality
from gateway.routing.rules.compile import CompiledChoice, RuleSet
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import GuardBounds, evaluate_guards
from gateway.routing.rules.traffic import format_arms
from gateway.routing.unlisted_models import UnlistedModel

_FIXED: tuple[Strategy, ...] = ("sticky", "pin")
"""Strategies under which evidence does not move a conversation."""
_AS_SHIPPED = "as shipped"
"""The source of the shipped quality, which applies if nothing else sets one."""


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on which a decision depends, except the call."""

    catalogue: Catalogue
    rules: RuleSet
    classifier: heuristic.Classifier | None
    tenant_classifiers: dict[str, heuristic.Classifier] = msgspec.field(default_factory=dict)
    """The own classifier of each tenant that has one, in place of `classifier`. The gateway loads
    it again after a training."""
    fetched_media: frozenset[str] = frozenset()
    """Kinds of media that the gateway fetches by URL for targets that take only data."""
    conversation: Strategy = "cost-aware"
    """The strategy for conversations if neither a guard nor the key sets one."""
    upgrade_threshold: float = UPGRADE_THRESHOLD
    """The probability from which on the gateway takes a conversation's tier not to suffice."""
    evidence: bool = True
    """True if evidence against the last answer raises a conversation."""
    quality: float | None = None
    """The share of quality to keep if no lab, key, header or guard sets one; None if unset."""
    default_quality: float | None = None
    """The share of quality in place of an unset `quality`, at labs whose prices are known."""
    own_traffic: OwnTraffic = msgspec.field(default_factory=OwnTraffic)
    """The facts about own calls for the quality dial. The gateway renews them every few minutes."""
    complete: CompleteMode = "off"
    """The mode for broken-off answers if no guard, header, choice or key sets one."""
    escalate: EscalateMode = "off"
    """The mode for faults of whole answers if no guard, header, choice or key sets one."""
    clock: Callable[[], float] = time.perf_counter
    """The clock for the milliseconds in the trace, which no decision reads."""

    def find_classifier(self, key: Key) -> heuristic.Classifier | None:
        """Return the classifier for a key: its tenant's own, or the shared one."""
        return (
            self.tenant_classifiers.get(key.tenant, self.classifier)
            if self.tenant_classifiers
            else self.classifier
        )

    def find_lab_quality(self, lab: Lab) -> tuple[float | None, str]:
        """Return the share of quality that calls of a lab keep, and the source of that setting.

        A key, a header or a guard may set another one. None leaves it to the classifier's
        thresholds.
        """
        if lab.quality is not None:
            return lab.quality, f"lab {lab.name}"
        if self.quality is not None:
            return self.quality, "routing.quality"
        return self.default_quality, _AS_SHIPPED


def decide(
    router: Router,
    call: Features,
    dialect: Dialect,
    context: DecisionContext = EMPTY_CONTEXT,
    plan_key: PlanKey | None = None,
) -> tuple[Decision, Plan]:
    """Decide a call and plan its targets. Raises ProblemError if nothing may serve it.

    `plan_key` belongs to calls that are equal to this one, see `PlanKey`. The gateway reuses what
    it knows of them.
    """
    if dialect.operation == embeddings.OPERATION:
        return route_embeddings.decide(router.catalogue, router.rules, call, dialect, context)
    trace = Trace(router.clock)
    requested_model = (
        model_names.read(call, router.catalogue) if plan_key is None else plan_key.requested_model
    )
    trace.add_steps(requested_model.steps)
    classifier = router.find_classifier(call.key)
    rule_context = RuleContext(call, router.rules.patterns, context, classifier)
    bounds = evaluate_guards(router.rules, rule_context)
    is_bounded = bool(bounds.steps) or context.ceiling is not None
    if is_bounded:
        bounds = _apply_bounds(bounds, context.ceiling, trace)
    if requested_model.unlisted_model is not None:
        trace.add_steps(rule_context.list_steps())
        decision, plan = _decide_unlisted(
            router, call, requested_model, requested_model.unlisted_model, dialect, bounds, trace
        )
        return msgspec.structs.replace(decision, arm=format_arms(rule_context.arms)), plan
    strategy = bounds.conversation or call.key.conversation or router.conversation
    is_open = requested_model.tier is None and strategy not in _FIXED
    evidence = session_affinity = selection = choice = seat_arm = classified = None
    if is_open and call.has_history and (router.evidence or router.rules.reads_evidence):
        evidence = find_new_evidence(call, bounds, context.seat, trace.add, raises=router.evidence)
    if context.seat is not None:
        session_affinity = SessionAffinity(
            router.catalogue, strategy, router.upgrade_threshold,
            call, requested_model, bounds, context, dialect,
        )  # fmt: skip
        selection = _keep_session(
            router,
            session_affinity,
            evidence,
            rule_context,
            requested_model,
            context,
            bounds,
            trace,
        )
        # No choice was tested if the session is kept, so the conversation keeps its arm.
        seat_arm = None if selection is None else context.seat.arm
    if selection is None and requested_model.tier is None:
        choice = _find_choice(router.rules.choices, rule_context)
    trace.add_steps(rule_context.list_steps())
    if selection is None:
        selection = _select_tier(
            router, rule_context, requested_model, choice, context, bounds, trace
        )
        classified = selection[-1]
        if evidence is not None:
            selection = evidence.raise_selection(
                selection, None if session_affinity is None else session_affinity.tier
            )
        if session_affinity is not None:
            selection, choice = session_affinity.weigh(
                selection,
                choice,
                trace.add,
                has_evidence=evidence is not None and evidence.rise is not None,
            )
    lab, tier, model, source, rule, verdict = selection
    plan_request = lab, tier, model, source == "pin"
    if plan_key is not None and not is_bounded:
        lab, tier, model, plan = plan_key.plan(router.catalogue, plan_request, call, dialect, trace)
    else:
        lab, tier, model, plan = plans.plan(
            router.catalogue, plan_request, call, requested_model, dialect, bounds, trace.add
        )
    switch = account = None
    rise = None if evidence is None else evidence.rise
    if session_affinity is not None:
        rise = rise or session_affinity.continue_rise(tier)
        plan, switch, account = session_affinity.apply_to_plan(lab, tier, plan, trace.add)
    complete = _add_last_steps(router, call, bounds, choice, plan, trace)
    open_tier = OpenTier(
        tier, source == "pin", is_fixed=context.seat is not None and strategy in _FIXED
    )
    decision = Decision(
        lab=lab,
        tier=tier,
        source=source,
        model=model,
        rule=rule,
        arm=seat_arm or format_arms(rule_context.arms),
        confidence=None if verdict is None or source == "seat" else verdict.confidence,
        classified_tier=None if verdict is None else verdict.tier,
        score=None if verdict is None else verdict.score,
        thresholds=None if verdict is None else verdict.thresholds,
        dial_terms=None if classified is None else classified.dial_terms,
        family=requested_model.family,
        complete=complete,
        escalate=decide_escalation(
            router.escalate, call, dialect, bounds, choice, open_tier, trace.add
        ),
        trace=trace,
    )
    # In two steps, as more than 15 keywords at once take three times as long (see `TextSignals`).
    decision = msgspec.structs.replace(
        decision,
        guards=bounds.names if bounds.steps else (),
        switch=switch,
        account=account,
        turns_below=0 if session_affinity is None else session_affinity.turns_below,
        rise=rise,
        tags=tuple(sorted(bounds.tags)) if bounds.tags else (),
        no_cache=bounds.no_cache,
        cache=bounds.cache,
        no_judge=bounds.no_judge,
    )
    return decision, plan


def _keep_session(
    router: Router,
    session_affinity: SessionAffinity,
    evidence: EvidenceTurn | None,
    rule_context: RuleContext,
    requested_model: RequestedModel,
    context: DecisionContext,
    bounds: GuardBounds,
    trace: Trace,
) -> TierSelection | None:
    """Return the selection of a conversation that stays, or that evidence raises; else None."""
    session = session_affinity.staying_session
    if session is None or evidence is None:
        return session_affinity.keep_session(trace.add)
    ruled_selection = None
    choice = _find_choice(router.rules.choices, rule_context)
    if choice is not None and (choice.tier or choice.model) is not None:
        ruled_selection = _select_tier(
            router, rule_context, requested_model, choice, context, bounds, trace
        )
        ruled_selection = ruled_selection if ruled_selection[3] == "rule" else None
    selection = session_affinity.rise_in_loop(session, evidence, ruled_selection)
    return selection or session_affinity.keep_session(trace.add)


def _decide_unlisted(
    router: Router,
    call: Features,
    requested_model: RequestedModel,
    unlisted_model: UnlistedModel,
    dialect: Dialect,
    bounds: GuardBounds,
    trace: Trace,
) -> tuple[Decision, Plan]:
    """Decide a call that names a model which no lab lists. Raises ProblemError."""
    target = unlisted_model.owner.targets[unlisted_model.name]
    plan = unlisted_models.plan(
        target, unlisted_model.labs, requested_model.tier, call, dialect, bounds
    )
    complete = _add_last_steps(router, call, bounds, None, plan, trace)
    decision = Decision(
        lab=requested_model.lab,
        tier=requested_model.tier,
        source="pin",
        model=requested_model.model,
        guards=bounds.names,
        tags=tuple(sorted(bounds.tags)),
        no_cache=bounds.no_cache,
        cache=bounds.cache,
        complete=complete,
        trace=trace,
    )
    return decision, plan


def _add_last_steps(
    router: Router,
    call: Features,
    bounds: GuardBounds,
    choice: CompiledChoice | None,
    plan: Plan,
    trace: Trace,
) -> CompleteMode:
    """Return what the gateway does if the answer breaks off; add that and the balance of equals."""
    if balance_steps := list_balance_steps(plan):
        trace.add_steps(balance_steps)
    complete, source = find_setting("complete", bounds.complete, call, choice, router.complete)
    if complete != "off":
        trace.add("complete", source, complete)
    return complete


def _apply_bounds(bounds: GuardBounds, ceiling: Tier | None, trace: Trace) -> GuardBounds:
    """Return the bounds of guards and of a budget. Raises ProblemError if a guard refuses."""
    trace.add_steps(bounds.steps)
    if bounds.refuse is not None:
        raise ProblemError(Problem(kind="not_allowed", message=bounds.refuse))
    if ceiling is None:
        return bounds
    trace.add("budget", f"a budget allows at most {ceiling}", f"at most {ceiling}")
    return bounds.with_ceiling(ceiling)


def _select_tier(
    router: Router,
    rule_context: RuleContext,
    requested_model: RequestedModel,
    choice: CompiledChoice | None,
    context: DecisionContext,
    bounds: GuardBounds,
    trace: Trace,
) -> TierSelection:
    """Select lab, tier and model. `choice` is the first that matches.

    If the caller names a tier, no choice is tested.
    """
    if requested_model.tier is not None:
        return requested_model.lab, requested_model.tier, requested_model.model, "pin", None, None
    lab = requested_model.lab
    if choice is None:
        if router.rules.choices:
            trace.add("rule", f"none of {len(router.rules.choices)} choices", matched=False)
        return _classify(router, rule_context, lab, context, bounds, trace)
    if choice.lab is not None and not requested_model.is_lab_named:
        lab = choice.lab
    endpoint = _find_endpoint(router, choice, lab, requested_model)
    model = choice.model if endpoint is not None else None
    effect = ", ".join(filter(None, (lab if choice.lab == lab else None, choice.tier, model)))
    trace.add("rule", choice.name, effect)
    if choice.lab not in (None, lab):
        trace.add("rule", f"the client named {lab}, not {choice.lab}", "ignored", matched=False)
    if choice.model is not None and endpoint is None:
        reason = f"{lab} does not serve it" if requested_model.is_lab_named else "it is off"
        trace.add("rule", f"{choice.model}: {reason}", "ignored", matched=False)
    if endpoint is not None:
        return endpoint.lab, endpoint.tier, model, "rule", choice.name, None
    if choice.tier is not None:
        return lab, choice.tier, None, "rule", choice.name, None
    return _classify(router, rule_context, lab, context, bounds, trace)


def _find_choice(
    choices: tuple[CompiledChoice, ...], rule_context: RuleContext
) -> CompiledChoice | None:
    for choice in choices:
        if choice.test(rule_context):
            return choice
    return None


def _find_endpoint(
    router: Router, choice: CompiledChoice, lab: str, requested_model: RequestedModel
) -> EndpointKey | None:
    """Return the place of a choice's model, in the choice's lab and tier if it is there."""
    if choice.model is None:
        return None
    endpoints = router.catalogue.models.get(choice.model, ())
    lab_endpoints = [endpoint for endpoint in endpoints if endpoint.lab == lab]
    candidates = lab_endpoints or ([] if requested_model.is_lab_named else list(endpoints))
    return next(
        (endpoint for endpoint in candidates if endpoint.tier == choice.tier),
        next(iter(candidates), None),
    )


def _classify(
    router: Router,
    rule_context: RuleContext,
    lab: str,
    context: DecisionContext,
    bounds: GuardBounds,
    trace: Trace,
) -> TierSelection:
    if bounds.no_judge:  # also in the replay of a row that has a verdict
        context = msgspec.structs.replace(
            context, nearest=None, uncompared=None, judged=None, unjudged=None
        )
    call = rule_context.call
    verdict = classify(
        rule_context.classifier,
        call,
        context,
        trace.add,
        _find_quality(router, call, lab, context, bounds),
    )
    if verdict is not None:
        return lab, verdict.tier, None, "classifier", None, verdict
    tier = router.catalogue.default_tier
    trace.add("default", "no rule or classifier decided", tier)
    return lab, tier, None, "default", None, None


def _find_quality(
    router: Router, call: Features, lab: str, context: DecisionContext, bounds: GuardBounds
) -> CallQuality | None:
    """Return the quality that a call must keep; None if nothing sets one."""
    key, asked_lab = call.key, router.catalogue.labs[lab]
    share, source = router.find_lab_quality(asked_lab)
    if key.quality is not None:
        share, source = key.quality, f"key {key.name}"
    if call.options.quality is not None:
        share, source = call.options.quality, "x-tiergate-quality"
        if key.max_quality is not None and share > key.max_quality:
            share, source = key.max_quality, f"max_quality of key {key.name}"
    if bounds.quality is not None:
        share, source = bounds.quality
    if share is None:
        return None
    quality = find_quality(share, source, asked_lab, context.at, router.own_traffic, context.dial)
    return None if source == _AS_SHIPPED and quality.costs is None else quality
