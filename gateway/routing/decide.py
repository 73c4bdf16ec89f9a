"""The decision: pins, guards, constraints, choices, classifier, default, each with a trace line.

Pure: the same features, catalogue, rules and classifier give the same decision on every door.
"""

import time
from collections.abc import Callable
from functools import lru_cache

import msgspec

from gateway.core.call import Complete, Key, Strategy
from gateway.core.decision import Decision, Plan, Skipped, Trace
from gateway.core.evidence import NOTHING, Evidence
from gateway.core.problem import Problem, ProblemError
from gateway.core.target import TIERS, Catalogue, Lab, Place, Target, Tier
from gateway.dialects import Dialect, vectors
from gateway.routing import constraint, embed, prior
from gateway.routing import pin as pins
from gateway.routing.classify import classify
from gateway.routing.features import Features
from gateway.routing.guard import Bounds, bound
from gateway.routing.pin import Pin
from gateway.routing.rules import Choice, Rules
from gateway.routing.sitting import SURE, Chosen, Sitting
from gateway.routing.view import View


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision depends on but the call."""

    catalogue: Catalogue
    rules: Rules
    classifier: prior.Classifier | None
    own: dict[str, prior.Classifier] = msgspec.field(default_factory=dict)
    """By tenant: classifiers of their own, in its place. Read anew where one was trained."""
    fetches: frozenset[str] = frozenset()
    """Kinds of media that are fetched by URL for targets that take data alone."""
    conversation: Strategy = "sticky"
    """What keeps conversations where they are, where neither a guard nor the key says it."""
    sure: float = SURE
    """Probability from which on the tier of a conversation is taken not to suffice."""
    complete: Complete = "off"
    """What holds for calls of which neither guard, header nor key says it."""
    clock: Callable[[], float] = time.perf_counter
    """For the milliseconds in the trace, which no decision reads."""

    def scorer(self, key: Key) -> prior.Classifier | None:
        """What scores the prompts of a key: its tenant's own classifier, or everybody's."""
        return self.own.get(key.tenant, self.classifier) if self.own else self.classifier


def decide(
    router: Router, call: Features, dialect: Dialect, evidence: Evidence = NOTHING
) -> tuple[Decision, Plan]:
    """Decide a call and plan its targets. Raises ProblemError where nothing may serve it."""
    if dialect.operation == vectors.OPERATION:
        return embed.decide(router.catalogue, router.rules, call, dialect, evidence)
    trace = Trace(router.clock)
    pin = pins.read(call, router.catalogue)
    trace.take(pin.steps)
    view = router.rules.view(call, evidence)
    bounds = bound(router.rules, view)
    trace.take(bounds.steps)
    if bounds.refuse is not None:
        raise ProblemError(Problem(kind="not_allowed", message=bounds.refuse))
    if (ceiling := evidence.ceiling) is not None:
        trace.add("budget", f"a budget leaves no more than {ceiling}", f"at most {ceiling}")
        bounds = bounds.under(ceiling)
    sitting = Sitting(
        router.catalogue,
        bounds.conversation or call.key.conversation or router.conversation,
        router.sure,
        call, pin, bounds, evidence, dialect,
    )  # fmt: skip
    choice, chosen = None, sitting.stays(trace.add)
    if chosen is None and pin.tier is None:
        choice = _first(router.rules.choices, view)
    trace.take(view.failures())
    if chosen is None:
        found = _choose(router, view, pin, choice, evidence, trace)
        chosen = sitting.weigh(found, trace.add)
        choice = choice if chosen is found else None
    lab, tier, model, source, rule, verdict = chosen
    known = _allowed(router, lab, call, pin, dialect, bounds, trace)
    if known.name != lab:
        model = None
    lenders = [] if model is not None or pin.named_lab else _lenders(router, known, call, bounds)
    try:
        plan, tier, model = _plan(
            known, tier, model, call, dialect, bounds, trace, pinned=source == "pin"
        )
    except ProblemError as error:
        if error.problem.kind != "no_target" or not lenders:
            raise
        trace.add("constraint", f"no target of {known.name} can serve this call", lenders[0].name)
        known, *lenders = lenders
        plan, tier, model = _plan(
            known, tier, None, call, dialect, bounds, trace, pinned=source == "pin"
        )
    plan = _lent(known, lenders, plan, tier, call, dialect, trace)
    plan, switch, account = sitting.end(known.name, tier, plan, trace.add)
    how, who = completion(router.complete, call, bounds, choice)
    if how != "off":
        trace.add("complete", who, how)
    decision = Decision(
        lab=known.name,
        tier=tier,
        source=source,
        model=model,
        rule=rule,
        confidence=None if verdict is None else verdict.confidence,
        classified=None if verdict is None else verdict.tier,
        score=None if verdict is None else verdict.score,
        thresholds=None if verdict is None else verdict.thresholds,
        switch=switch,
        account=account,
        tags=tuple(sorted(bounds.tags)),
        no_cache=bounds.no_cache,
        complete=how,
        trace=trace,
    )
    return decision, plan


def completion(
    otherwise: Complete, call: Features, bounds: Bounds, choice: Choice | None = None
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
    view: View,
    pin: Pin,
    choice: Choice | None,
    evidence: Evidence,
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


def _first(choices: tuple[Choice, ...], view: View) -> Choice | None:
    for choice in choices:
        if choice.test(view):
            return choice
    return None


def _place(router: Router, choice: Choice, lab: str, pin: Pin) -> Place | None:
    """Where the model of a choice stands: in the lab and the tier it names, where there is one."""
    if choice.model is None:
        return None
    places = router.catalogue.models.get(choice.model, ())
    own = [place for place in places if place.lab == lab]
    found = own or ([] if pin.named_lab else list(places))
    return next((place for place in found if place.tier == choice.tier), next(iter(found), None))


def _classify(router: Router, call: Features, lab: str, evidence: Evidence, trace: Trace) -> Chosen:
    verdict = classify(router.scorer(call.key), call, evidence, trace.add)
    if verdict is not None:
        return lab, verdict.tier, None, "classifier", None, verdict
    tier = router.catalogue.default_tier
    trace.add("default", "nothing else decided", tier)
    return lab, tier, None, "default", None, None


def _allowed(
    router: Router,
    lab: str,
    call: Features,
    pin: Pin,
    dialect: Dialect,
    bounds: Bounds,
    trace: Trace,
) -> Lab:
    """The lab, or where guards or the key's scope forbid it and the caller named none, another."""
    labs, scope = router.catalogue.labs, call.key.labs
    tiers = TIERS if pin.tier is None else (pin.tier,)

    def may(name: str) -> bool:
        if not bounds.lab(name) or (scope is not None and name not in scope):
            return False
        # Where the caller named the lab the plan says what of it is not for this key.
        return pin.named_lab or constraint.open_to(call.key, labs[name], tiers)

    own = may(lab) and labs[lab].on
    # A prompt goes to no other lab only to be counted: an estimate is told instead.
    stays = pin.named_lab or dialect.counted is not None
    if own and (stays or _speaks(labs[lab], call, dialect)):
        return labs[lab]
    if not pin.named_lab:
        for name in dict.fromkeys(
            (pin.lab, *labs[lab].fallback, router.catalogue.default_lab, *labs)
        ):
            if labs[name].on and may(name) and (not own or _speaks(labs[name], call, dialect)):
                why = f"{lab} is off: {labs[lab].why}" if may(lab) else f"{lab} may not be used"
                why = f"{lab} does not speak {dialect.name}" if own else why
                trace.add("constraint", why, f"lab {name}")
                return labs[name]
    if own:
        return labs[lab]
    message = f"This key may not use the lab {lab!r} for this call."
    raise ProblemError(Problem(kind="not_allowed", message=message, param="model"))


def _speaks(lab: Lab, call: Features, dialect: Dialect) -> bool:
    for targets in lab.tiers.values():
        for target in targets:
            if target.provider.on and constraint.speaks(target.provider, call, dialect):
                return True
    return False


def _plan(
    lab: Lab,
    tier: Tier,
    model: str | None,
    call: Features,
    dialect: Dialect,
    bounds: Bounds,
    trace: Trace,
    *,
    pinned: bool,
) -> tuple[Plan, Tier, str | None]:
    """Targets of the tier that fit; of the nearest tier with one where the tier was not pinned."""
    first = bounds.tier(tier)
    if first != tier:
        trace.add("guard", f"{tier} is out of bounds", first)
    scope = call.key.tiers
    order = _order(first, min(bounds.low, bounds.high), bounds.high, scope)
    if not order or (pinned and order[0] != first):
        message = f"This key may not use the tier {first!r}."
        raise ProblemError(Problem(kind="not_allowed", message=message, param="model"))
    if order[0] != first:
        trace.add("constraint", f"this key may not use {first}", order[0])
    first = order[0]
    tries: list[tuple[Tier, str | None]] = [(t, None) for t in ([first] if pinned else order)]
    if model is not None and first == tier:
        tries = [(tier, model), *([] if pinned else tries)]
    skipped: list[Skipped] = []
    for candidate, only in tries:
        targets = _fitting(lab, candidate, only, call, dialect, skipped)
        if not targets:
            continue
        if (candidate, only) != tries[0]:
            what = tries[0][1] or first
            trace.add("constraint", f"no target of {what} can serve this call", candidate)
        if skipped:
            why = "; ".join(f"{item.target} {item.reason}" for item in skipped)
            trace.add("plan", why, f"{len(targets)} of {len(targets) + len(skipped)} targets")
        found, doors = zip(*targets, strict=True)
        return Plan(targets=found, doors=doors, skipped=tuple(skipped)), candidate, only
    reasons = "; ".join(dict.fromkeys(f"{item.target} {item.reason}" for item in skipped))
    tried = f"{lab.name}/{first}" if pinned else f"lab {lab.name}"
    if skipped and all(item.reason in constraint.SCOPE for item in skipped):
        message = f"This key may use no target of {tried}: {reasons}."
        raise ProblemError(Problem(kind="not_allowed", message=message, param="model"))
    message = f"No target of {tried} can serve this request: {reasons or 'it has none'}."
    raise ProblemError(Problem(kind="no_target", message=message, param="model"))


def _lenders(router: Router, lab: Lab, call: Features, bounds: Bounds) -> list[Lab]:
    """The labs that may take over from one, by its `fallback`."""
    found, scope = [router.catalogue.labs[name] for name in lab.fallback], call.key.labs
    return [
        one
        for one in found
        if one.on and bounds.lab(one.name) and (scope is None or one.name in scope)
    ]


def _lent(
    lab: Lab,
    lenders: list[Lab],
    plan: Plan,
    tier: Tier,
    call: Features,
    dialect: Dialect,
    trace: Trace,
) -> Plan:
    """A plan with the targets of other labs behind those of its own."""
    if not lenders:
        return plan
    targets, doors, names = list(plan.targets), list(plan.doors), [lab.name] * len(plan.targets)
    skipped = list(plan.skipped)
    for other in lenders:
        name = other.name
        known = {target.name for target in targets}
        found = [
            one
            for one in _fitting(other, tier, None, call, dialect, skipped)
            if one[0].name not in known
        ]
        trace.add("plan", f"where all of {lab.name} fail", f"lab {name}", matched=bool(found))
        for target, door in found:
            targets.append(target)
            doors.append(door)
            names.append(name)
    if len(targets) == len(plan.targets):
        return plan
    return Plan(
        targets=tuple(targets), doors=tuple(doors), labs=tuple(names), skipped=tuple(skipped)
    )


@lru_cache(256)
def _order(tier: Tier, low: int, high: int, scope: tuple[str, ...] | None) -> tuple[Tier, ...]:
    """The tier first, then those above it, then those below, nearest first: all that may be."""
    at = TIERS.index(tier)
    near = (*TIERS[at:], *reversed(TIERS[:at]))
    return tuple(
        one for one in near if low <= TIERS.index(one) <= high and (scope is None or one in scope)
    )


def _fitting(
    lab: Lab,
    tier: Tier,
    model: str | None,
    call: Features,
    dialect: Dialect,
    skipped: list[Skipped],
) -> list[tuple[Target, str]]:
    found = []
    for target in lab.tiers.get(tier, ()):
        if model is not None and model not in (target.model, target.name):
            continue
        if model is not None:
            target = _bare(target)  # noqa: PLW2901 - the same target, said plainly
        door, reason = constraint.door(target, call, dialect)
        if reason:
            skip = Skipped(target.name, tier, reason)
            skipped += [] if skip in skipped else [skip]
        else:
            found.append((target, door))
    return found


def _bare(target: Target) -> Target:
    """A target as a caller means it who names the model: without what the tier would add."""
    return msgspec.structs.replace(target, effort=None, max_output=None, params={})
