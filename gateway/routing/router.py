"""The decision: pins, guards, constraints, choices, classifier, default, each with a trace line.

Pure: the same features, catalogue, rules and classifier give the same decision on every door.
"""

import time
from collections.abc import Callable

import msgspec

from gateway.core.call import Complete, Key, Strategy
from gateway.core.decision import Decision, Plan, Trace
from gateway.core.decision_context import NOTHING, DecisionContext
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue, EndpointKey, Target, Tier
from gateway.dialects import Dialect, embeddings
from gateway.routing import model_name as pins
from gateway.routing import plan as plans
from gateway.routing import route_embeddings, unlisted_models
from gateway.routing.affinity import SURE, Chosen, SessionAffinity
from gateway.routing.classifier import heuristic
from gateway.routing.classify import classify
from gateway.routing.features import Features
from gateway.routing.model_name import RequestedModel
from gateway.routing.plan import PlanKey
from gateway.routing.rules.compile import CompiledChoice, RuleSet
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import GuardBounds, bound


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision depends on but the call."""

    catalogue: Catalogue
    rules: RuleSet
    classifier: heuristic.Classifier | None
    own: dict[str, heuristic.Classifier] = msgspec.field(default_factory=dict)
    """By tenant: classifiers of their own, in its place. Read anew where one was trained."""
    fetches: frozenset[str] = frozenset()
    """Kinds of media that are fetched by URL for targets that take data alone."""
    conversation: Strategy = "cost-aware"
    """What keeps conversations where they are, where neither a guard nor the key says it."""
    sure: float = SURE
    """Probability from which on the tier of a conversation is taken not to suffice."""
    complete: Complete = "off"
    """What holds for calls of which neither guard, header nor key says it."""
    clock: Callable[[], float] = time.perf_counter
    """For the milliseconds in the trace, which no decision reads."""

    def scorer(self, key: Key) -> heuristic.Classifier | None:
        """What scores the prompts of a key: its tenant's own classifier, or everybody's."""
        return self.own.get(key.tenant, self.classifier) if self.own else self.classifier


def decide(
    router: Router,
    call: Features,
    dialect: Dialect,
    evidence: DecisionContext = NOTHING,
    alike: PlanKey | None = None,
) -> tuple[Decision, Plan]:
    """Decide a call and plan its targets. Raises ProblemError where nothing may serve it.

    `alike` are those that it is one of, see `Named`: what is known of them is not made again.
    """
    if dialect.operation == embeddings.OPERATION:
        return route_embeddings.decide(router.catalogue, router.rules, call, dialect, evidence)
    trace = Trace(router.clock)
    pin = pins.read(call, router.catalogue) if alike is None else alike.pin
    trace.take(pin.steps)
    view = router.rules.view(call, evidence)
    bounds = bound(router.rules, view)
    if bounds.steps or evidence.ceiling is not None:
        bounds = _bounded(bounds, evidence.ceiling, trace)
    if pin.unlisted is not None:
        trace.take(view.failures())
        return _passed(router, call, pin, pin.unlisted, dialect, bounds, trace)
    sitting = None
    if evidence.seat is not None:
        sitting = SessionAffinity(
            router.catalogue,
            bounds.conversation or call.key.conversation or router.conversation,
            router.sure,
            call, pin, bounds, evidence, dialect,
        )  # fmt: skip
    choice, chosen = None, None if sitting is None else sitting.stays(trace.add)
    if chosen is None and pin.tier is None:
        choice = _first(router.rules.choices, view)
    if view.failed:
        trace.take(view.failures())
    if chosen is None:
        chosen = _choose(router, view, pin, choice, evidence, trace)
        if sitting is not None:
            chosen, choice = sitting.weigh(chosen, choice, trace.add)
    lab, tier, model, source, rule, verdict = chosen
    wanted = lab, tier, model, source == "pin"
    if alike is not None and bounds.free:
        lab, tier, model, plan = alike.plan(router.catalogue, wanted, call, dialect, trace)
    else:
        lab, tier, model, plan = plans.plan(
            router.catalogue, wanted, call, pin, dialect, bounds, trace.add
        )
    switch = account = None
    if sitting is not None:
        plan, switch, account = sitting.end(lab, tier, plan, trace.add)
    how, who = completion(router.complete, call, bounds, choice)
    if how != "off":
        trace.add("complete", who, how)
    decision = Decision(
        lab=lab,
        tier=tier,
        source=source,
        model=model,
        rule=rule,
        confidence=None if verdict is None or source == "seat" else verdict.confidence,
        classified=None if verdict is None else verdict.tier,
        score=None if verdict is None else verdict.score,
        thresholds=None if verdict is None else verdict.thresholds,
        family=pin.family,
        switch=switch,
        account=account,
        turns_below=0 if sitting is None else sitting.turns_below,
        tags=tuple(sorted(bounds.tags)) if bounds.tags else (),
        no_cache=bounds.no_cache,
        cache=bounds.cache,
        complete=how,
        trace=trace,
    )
    return decision, plan


def _passed(
    router: Router,
    call: Features,
    pin: RequestedModel,
    target: Target,
    dialect: Dialect,
    bounds: GuardBounds,
    trace: Trace,
) -> tuple[Decision, Plan]:
    """Decide a call that names a model which no lab lists. Raises ProblemError."""
    lab = router.catalogue.labs[pin.lab]
    plan = unlisted_models.plan(target, lab, pin.tier, call, dialect, bounds)
    how, who = completion(router.complete, call, bounds)
    if how != "off":
        trace.add("complete", who, how)
    decision = Decision(
        lab=pin.lab,
        tier=pin.tier,
        source="pin",
        model=pin.model,
        tags=tuple(sorted(bounds.tags)),
        no_cache=bounds.no_cache,
        cache=bounds.cache,
        complete=how,
        trace=trace,
    )
    return decision, plan


def _bounded(bounds: GuardBounds, ceiling: Tier | None, trace: Trace) -> GuardBounds:
    """What guards come to, and a budget that leaves no dearer tier. Raises ProblemError."""
    trace.take(bounds.steps)
    if bounds.refuse is not None:
        raise ProblemError(Problem(kind="not_allowed", message=bounds.refuse))
    if ceiling is None:
        return bounds
    trace.add("budget", f"a budget leaves no more than {ceiling}", f"at most {ceiling}")
    return bounds.under(ceiling)


def completion(
    otherwise: Complete, call: Features, bounds: GuardBounds, choice: CompiledChoice | None = None
) -> tuple[Complete, str]:
    """What is done where the answer to a call breaks off, and whose word that is."""
    if bounds.complete is not None:
        return bounds.complete
    if call.steer.complete is not None:
        return call.steer.complete, "x-tiergate-complete"
    if choice is not None and choice.complete is not None:
        return choice.complete, choice.name
    if call.key.complete is not None:
        return call.key.complete, f"key {call.key.name}"
    return otherwise, "routing.complete"


def _choose(
    router: Router,
    view: RuleContext,
    pin: RequestedModel,
    choice: CompiledChoice | None,
    evidence: DecisionContext,
    trace: Trace,
) -> Chosen:
    """`choice` is the first that matches; none is looked for where a tier is named."""
    if pin.tier is not None:
        return pin.lab, pin.tier, pin.model, "pin", None, None
    lab = pin.lab
    if choice is None:
        if router.rules.choices:
            trace.add("rule", f"none of {len(router.rules.choices)} choices", matched=False)
        return _classify(router, view.call, lab, evidence, trace)
    if choice.lab is not None and not pin.named_lab:
        lab = choice.lab
    place = _place(router, choice, lab, pin)
    model = choice.model if place is not None else None
    effect = ", ".join(filter(None, (lab if choice.lab == lab else None, choice.tier, model)))
    trace.add("rule", choice.name, effect)
    if choice.lab not in (None, lab):
        trace.add("rule", f"the caller named {lab}, not {choice.lab}", "ignored", matched=False)
    if choice.model is not None and place is None:
        why = f"{lab} does not serve it" if pin.named_lab else "it is off"
        trace.add("rule", f"{choice.model}: {why}", "ignored", matched=False)
    if place is not None:
        return place.lab, place.tier, model, "rule", choice.name, None
    if choice.tier is not None:
        return lab, choice.tier, None, "rule", choice.name, None
    return _classify(router, view.call, lab, evidence, trace)


def _first(choices: tuple[CompiledChoice, ...], view: RuleContext) -> CompiledChoice | None:
    for choice in choices:
        if choice.test(view):
            return choice
    return None


def _place(
    router: Router, choice: CompiledChoice, lab: str, pin: RequestedModel
) -> EndpointKey | None:
    """Where the model of a choice stands: in the lab and the tier it names, where there is one."""
    if choice.model is None:
        return None
    places = router.catalogue.models.get(choice.model, ())
    own = [place for place in places if place.lab == lab]
    found = own or ([] if pin.named_lab else list(places))
    return next((place for place in found if place.tier == choice.tier), next(iter(found), None))


def _classify(
    router: Router, call: Features, lab: str, evidence: DecisionContext, trace: Trace
) -> Chosen:
    verdict = classify(router.scorer(call.key), call, evidence, trace.add)
    if verdict is not None:
        return lab, verdict.tier, None, "classifier", None, verdict
    tier = router.catalogue.default_tier
    trace.add("default", "nothing else decided", tier)
    return lab, tier, None, "default", None, None
