"""The plan: which targets may serve what was decided, in order, and which may not and why."""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from gateway.core.call import Key
from gateway.core.decision import Decision, Line, Plan, SkippedTarget, Trace
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import TIERS, Catalogue, Lab, Target, Tier
from gateway.dialects import Dialect
from gateway.routing import capabilities, refusals
from gateway.routing.classify import TraceWriter
from gateway.routing.features import Features
from gateway.routing.model_name import RequestedModel
from gateway.routing.rules.guards import FREE, GuardBounds


class PlannedCall(NamedTuple):
    """What came of a lab, a tier and a model that were decided: where the call goes."""

    lab: str
    tier: Tier
    model: str | None
    plan: Plan


type Wanted = tuple[str, Tier, str | None, bool]
"""Lab, tier and model as they were decided, before it is known what can serve them; and whether the
caller named the tier: it is not exchanged for another."""


class PlanKey:
    """Calls that differ in nothing which their names and plans depend on.

    `key` is theirs, `pin` what they name. What they are decided to be may differ: a plan is kept
    for each lab, tier and model that was decided. Only what tried no other dialect is kept, for
    whether a call can be said there depends on all of it.
    """

    __slots__ = ("_kept", "decided", "key", "pin")

    def __init__(self, key: Key, pin: RequestedModel) -> None:
        self.key = key
        self.pin = pin
        self.decided: tuple[Decision, Plan] | None = None
        """What all of them are, where that is known."""
        self._kept: dict[Wanted, tuple[PlannedCall, list[Line]]] = {}

    def plan(
        self, catalogue: Catalogue, wanted: Wanted, call: Features, dialect: Dialect, trace: Trace
    ) -> PlannedCall:
        """As `plan` of the room, of a call that no guard and no budget bounds."""
        known = self._kept.get(wanted)
        if known is None:
            begin = len(trace)
            found = plan(catalogue, wanted, call, self.pin, dialect, FREE, trace.add)
            if not call.doors:
                self._kept[wanted] = found, trace.since(begin)
            return found
        found, lines = known
        if lines:
            trace.again(lines)
        return found


def plan(
    catalogue: Catalogue,
    wanted: Wanted,
    call: Features,
    pin: RequestedModel,
    dialect: Dialect,
    bounds: GuardBounds,
    add: TraceWriter,
) -> PlannedCall:
    """Where a call goes that was decided. Raises ProblemError where nothing may serve it."""
    lab, tier, model, pinned = wanted
    known = _allowed(catalogue, lab, call, pin, dialect, bounds, add)
    if known.name != lab:
        model = None
    lenders = [] if model is not None or pin.named_lab else _lenders(catalogue, known, call, bounds)
    try:
        found, tier, model = _plan(known, tier, model, call, dialect, bounds, add, pinned=pinned)
    except ProblemError as error:
        if error.problem.kind not in ("no_target", "not_found") or not lenders:
            raise
        add("constraint", f"no target of {known.name} can serve this call", lenders[0].name)
        known, *lenders = lenders
        found, tier, model = _plan(known, tier, None, call, dialect, bounds, add, pinned=pinned)
    return PlannedCall(
        known.name, tier, model, _lent(known, lenders, found, tier, call, dialect, add)
    )


def _allowed(
    catalogue: Catalogue,
    lab: str,
    call: Features,
    pin: RequestedModel,
    dialect: Dialect,
    bounds: GuardBounds,
    add: TraceWriter,
) -> Lab:
    """The lab, or where guards or the key's scope forbid it and the caller named none, another."""
    labs, scope = catalogue.labs, call.key.labs
    tiers = TIERS if pin.tier is None else (pin.tier,)

    def may(name: str) -> bool:
        if not bounds.lab(name) or (scope is not None and name not in scope):
            return False
        # Where the caller named the lab the plan says what of it is not for this key.
        return pin.named_lab or capabilities.open_to(call.key, labs[name], tiers)

    own = may(lab) and labs[lab].on
    # A prompt goes to no other lab only to be counted: an estimate is told instead.
    stays = pin.named_lab or dialect.counted is not None
    if own and (stays or _speaks(labs[lab], call, dialect)):
        return labs[lab]
    if not pin.named_lab:
        for name in dict.fromkeys((pin.lab, *labs[lab].fallback, catalogue.default_lab, *labs)):
            if labs[name].on and may(name) and (not own or _speaks(labs[name], call, dialect)):
                why = f"{lab} is off" if may(lab) else f"{lab} may not be used"
                why = f"{lab} does not speak {dialect.name}" if own else why
                add("constraint", why, f"lab {name}")
                return labs[name]
    if own:
        return labs[lab]
    if not pin.named_lab:
        raise refusals.not_allowed("any lab")
    if pin.model is None and pin.family is None and _has_named(call, lab):
        raise refusals.not_allowed(f"the lab {lab!r}")
    raise refusals.not_allowed(f"the model {refusals.shown(call.prompt.model)}")


def _has_named(call: Features, lab: str) -> bool:
    """True if a client wrote the name of a lab: an alias may stand for a name that it may not."""
    return lab in (call.steer.lab, call.prompt.model.partition("/")[0])


def _speaks(lab: Lab, call: Features, dialect: Dialect) -> bool:
    for targets in lab.tiers.values():
        for target in targets:
            if target.provider.on and capabilities.speaks(target.provider, call, dialect):
                return True
    return False


def _plan(
    lab: Lab,
    tier: Tier,
    model: str | None,
    call: Features,
    dialect: Dialect,
    bounds: GuardBounds,
    add: TraceWriter,
    *,
    pinned: bool,
) -> tuple[Plan, Tier, str | None]:
    """Targets of the tier that fit; of the nearest tier with one where the tier was not pinned."""
    first = bounds.tier(tier)
    if first != tier:
        add("guard", f"{tier} is out of bounds", first)
    scope = call.key.tiers
    order = _order(first, min(bounds.low, bounds.high), bounds.high, scope)
    if not order or (pinned and order[0] != first):
        message = f"This key may not use the tier {first!r}."
        raise ProblemError(Problem(kind="not_allowed", message=message, param="model"))
    if order[0] != first:
        add("constraint", f"this key may not use {first}", order[0])
    first = order[0]
    tries: list[tuple[Tier, str | None]] = [(t, None) for t in ([first] if pinned else order)]
    if model is not None and first == tier:
        tries = [(tier, model), *([] if pinned else tries)]
    skipped: list[SkippedTarget] = []
    for candidate, only in tries:
        targets = _fitting(lab, candidate, only, call, dialect, skipped)
        if not targets:
            continue
        if (candidate, only) != tries[0]:
            what = tries[0][1] or first
            add("constraint", f"no target of {what} can serve this call", candidate)
        if skipped:
            why = "; ".join(f"{item.target} {item.reason}" for item in skipped)
            add("plan", why, f"{len(targets)} of {len(targets) + len(skipped)} targets")
        found, doors = zip(*targets, strict=True)
        return Plan(targets=found, doors=doors, skipped=tuple(skipped)), candidate, only
    tried = f"{lab.name}/{first}" if pinned else f"lab {lab.name}"
    if skipped and all(item.reason in capabilities.SCOPE for item in skipped):
        what, each = f"any model of {tried}" if _has_named(call, lab.name) else "any model", "each"
        if model is not None:
            what, each = f"the model {refusals.shown(call.prompt.model)}", "it"
        why = " or ".join(dict.fromkeys(item.reason for item in skipped))
        raise refusals.not_allowed(what, f"{each} {why}")
    if member := call.prompt.continues:
        raise refusals.unknown_past(tried, skipped, member)
    raise refusals.no_target(tried, skipped)


def _lenders(catalogue: Catalogue, lab: Lab, call: Features, bounds: GuardBounds) -> list[Lab]:
    """Return the labs that may take over from one, by its `fallback`."""
    found, scope = [catalogue.labs[name] for name in lab.fallback], call.key.labs
    return [
        one
        for one in found
        if one.on
        and bounds.lab(one.name)
        and (scope is None or one.name in scope)
        and capabilities.open_to(call.key, one, TIERS)
    ]


def _lent(
    lab: Lab,
    lenders: list[Lab],
    plan: Plan,
    tier: Tier,
    call: Features,
    dialect: Dialect,
    add: TraceWriter,
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
        add("plan", f"where all of {lab.name} fail", f"lab {name}", matched=bool(found))
        for target, door in found:
            targets.append(target)
            doors.append(door)
            names.append(name)
    if len(targets) == len(plan.targets):
        return plan
    return Plan(
        targets=tuple(targets), doors=tuple(doors), labs=tuple(names), skipped=tuple(skipped)
    )


def nearest(tier: Tier, bounds: GuardBounds, key: Key) -> Tier:
    """Return the tier that a call has in place of one that guards, budgets or its key forbid."""
    first = bounds.tier(tier)
    order = _order(first, min(bounds.low, bounds.high), bounds.high, key.tiers)
    return order[0] if order else first


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
    skipped: list[SkippedTarget],
) -> list[tuple[Target, str]]:
    found = []
    for target in lab.tiers.get(tier, ()):
        if model is not None and model not in (target.model, target.name):
            continue
        if model is not None:
            target = _bare(target)  # noqa: PLW2901 - the same target, said plainly
        door, reason = capabilities.door(target, call, dialect)
        if reason:
            skip = capabilities.skip(target, tier, reason)
            skipped += [] if skip in skipped else [skip]
        else:
            found.append((target, door))
    return found


def _bare(target: Target) -> Target:
    """A target as a caller means it who names the model: without what the tier would add."""
    return msgspec.structs.replace(target, effort=None, max_output=None, params={})
