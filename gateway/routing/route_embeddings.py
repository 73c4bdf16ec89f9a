"""Which model makes vectors: the one that the caller names, never another in its place.

Vectors of two models cannot be compared. So nothing is weighed here: no tier, no choice and no
classifier; guards, the key's scope and what a target can be asked bound the call as any other.
"""

import difflib
from collections.abc import Sequence

from gateway.core.call import Key
from gateway.core.decision import Decision, Plan, Source, TraceStep
from gateway.core.decision_context import NOTHING, DecisionContext
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue, Lab, Target
from gateway.dialects import Dialect
from gateway.routing import capabilities, refusals, unlisted_models, visible_models
from gateway.routing.features import Features
from gateway.routing.rules.compile import RuleSet
from gateway.routing.rules.guards import bound
from gateway.routing.unlisted_models import UnlistedModel

_LONG = 100
"""Characters of an unknown name that are looked at."""
_AUTO = "auto"


def decide(
    catalogue: Catalogue,
    rules: RuleSet,
    call: Features,
    dialect: Dialect,
    evidence: DecisionContext = NOTHING,
) -> tuple[Decision, Plan]:
    """Decide a call and plan its targets. Raises ProblemError where nothing may serve it."""
    asked, steps = call.prompt.model, []
    if asked in catalogue.aliases:
        name = catalogue.aliases[asked]
        steps.append(
            TraceStep(step="pin", matched=True, effect=f"model {name}", why=f"alias {asked}")
        )
        asked = name
    if call.steer.tier is not None:
        why = "x-tiergate-tier: an embedding model is of no tier"
        steps.append(TraceStep(step="embed", matched=False, effect="ignored", why=why))
    view = rules.view(call, evidence)
    bounds = bound(rules, view)
    steps += [*bounds.steps, *view.failures()]
    if bounds.refuse is not None:
        raise ProblemError(Problem(kind="not_allowed", message=bounds.refuse))
    scope = call.key.labs
    may = [lab for lab in catalogue.labs if bounds.lab(lab) and (scope is None or lab in scope)]
    source: Source = "pin"
    unlisted = _unlisted(catalogue, asked)
    if unlisted is None:
        lab, model, source = _find(catalogue, call, asked, may)
    else:
        lab, model = catalogue.labs[unlisted.maker.lab], unlisted.name
    if call.steer.lab not in (None, lab.name):
        why = f"x-tiergate-lab: {call.steer.lab} does not have this embedding model"
        steps.append(TraceStep(step="embed", matched=False, effect="ignored", why=why))
    steps.append(
        TraceStep(step="embed", matched=True, effect=f"{lab.name}, model {model}", why=asked)
    )
    if unlisted is not None and unlisted.maker.embeddings is not None:
        target = unlisted.maker.embeddings[model]
        plan = unlisted_models.plan(target, lab, None, call, dialect, bounds)
    else:
        plan = _plan(lab, model, call, dialect)
    if plan.skipped:
        why = "; ".join(f"{item.target} {item.reason}" for item in plan.skipped)
        many = len(plan.targets)
        effect = f"{many} of {many + len(plan.skipped)} targets"
        steps.append(TraceStep(step="plan", matched=True, effect=effect, why=why))
    decision = Decision(
        lab=lab.name,
        tier=None,
        source=source,
        model=model if source == "pin" else None,
        tags=tuple(sorted(bounds.tags)),
        no_cache=bounds.no_cache,
        cache=bounds.cache,
        trace=tuple(steps),
    )
    return decision, plan


def goes_by(lab: str, target: Target) -> frozenset[str]:
    """The names of a target's model: its own, behind lab and provider, and without a host's path.

    A host that serves models of many makers calls them "openai/text-embedding-3-small".
    """
    bare = target.model.rpartition("/")[2]
    return frozenset({target.model, target.name, bare, f"{lab}/{target.model}", f"{lab}/{bare}"})


def _unlisted(catalogue: Catalogue, asked: str) -> UnlistedModel | None:
    """Return a name that no lab lists, where its maker has embeddings."""
    listed = asked in catalogue.models or any(
        asked in goes_by(lab.name, target)
        for lab in catalogue.labs.values()
        for target in lab.embeddings
    )
    unlisted = None if listed else unlisted_models.find(asked, catalogue)
    return None if unlisted is None or unlisted.maker.embeddings is None else unlisted


def _find(
    catalogue: Catalogue, call: Features, asked: str, may: Sequence[str]
) -> tuple[Lab, str, Source]:
    """The lab, the model by its bare name, and whether the caller named it."""
    first, _, rest = asked.partition("/")
    behind = rest == _AUTO and first in catalogue.labs
    named = call.steer.lab or (first if behind else None)
    home = named or call.key.lab or catalogue.default_lab
    if home not in catalogue.labs:
        message = f"There is no lab {home!r}."
        raise ProblemError(Problem(kind="model_not_found", message=message, param="x-tiergate-lab"))
    if behind or asked == _AUTO:
        lab = catalogue.labs[home]
        if not lab.embeddings:
            seen = named or visible_models.labs(catalogue, call.key).get(home)
            what = f"The lab {home!r} has" if seen else "The default lab has"
            raise _unknown(catalogue, call.key, f"{what} no embedding model.", asked)
        source: Source = "default"
        model = lab.embeddings[0].model.rpartition("/")[2]
        having = [lab]
    else:
        source = "pin"
        order = dict.fromkeys((home, *catalogue.labs))
        labs = [catalogue.labs[name] for name in order]
        having = [lab for lab in labs if any(asked in goes_by(lab.name, t) for t in lab.embeddings)]
        if not having:
            shown = refusals.shown(call.prompt.model)
            what = f"{shown} is no embedding model that is served here."
            raise _unknown(catalogue, call.key, what, asked)
        model = asked
    allowed = [lab for lab in having if lab.name in may]
    if not allowed:
        raise refusals.not_allowed(
            f"the lab {home!r}"
            if named == home
            else f"the model {refusals.shown(call.prompt.model)}"
        )

    def serves(lab: Lab) -> bool:
        return any(t.provider.on and not capabilities.barred(call.key, t) for t in _of(lab, model))

    lab = next(filter(serves, allowed), allowed[0])
    return lab, _of(lab, model)[0].model.rpartition("/")[2], source


def _of(lab: Lab, model: str) -> list[Target]:
    return [target for target in lab.embeddings if model in goes_by(lab.name, target)]


def _plan(lab: Lab, model: str, call: Features, dialect: Dialect) -> Plan:
    targets, doors, skipped = [], [], []
    for target in _of(lab, model):
        door, reason = capabilities.door(target, call, dialect)
        if reason:
            skipped.append(capabilities.skip(target, None, reason))
        else:
            targets.append(target)
            doors.append(door)
    if not targets:
        if all(item.reason in capabilities.SCOPE for item in skipped):
            what = f"the model {refusals.shown(call.prompt.model)}"
            raise refusals.not_allowed(what, f"it {skipped[0].reason}")
        raise refusals.no_target(f"the model {model!r}", skipped)
    return Plan(targets=tuple(targets), doors=tuple(doors), skipped=tuple(skipped))


def _unknown(catalogue: Catalogue, key: Key, what: str, asked: str) -> ProblemError:
    """Refuse a name that no embedding model has, and list the models that the key may use."""
    names = list(visible_models.vectors(catalogue, key))
    close = difflib.get_close_matches(asked[:_LONG], names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    served = f" Those that are: {', '.join(names)}." if names else ""
    detail = "" if served else "give a lab `embeddings`"
    return ProblemError(
        Problem(
            kind="model_not_found", message=f"{what}{hint}{served}", detail=detail, param="model"
        )
    )
