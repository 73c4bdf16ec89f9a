"""Decides calls for embeddings: the named model serves them, and never another in its place.

Vectors of two models cannot be compared. So no tier, choice or classifier takes part. Guards, the
key's scope and the target's capabilities bound the call like any other.
"""

import difflib
from collections.abc import Sequence

from gateway.core.call import Key
from gateway.core.decision import Decision, DecisionSource, Plan, TraceStep
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue, Lab, Target
from gateway.dialects import Dialect
from gateway.dialects.embeddings import OPERATION
from gateway.routing import capabilities, refusals, unlisted_models, visible_models
from gateway.routing.balance_trace import list_balance_steps
from gateway.routing.features import Features
from gateway.routing.rules.compile import RuleSet
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import evaluate_guards
from gateway.routing.rules.traffic import format_arms
from gateway.routing.unlisted_models import UnlistedModel

_MAX_NAME_CHARS = 100
"""The number of characters of an unknown name that suggestions compare."""
_AUTO_NAME = "auto"


def decide(
    catalogue: Catalogue,
    rules: RuleSet,
    call: Features,
    dialect: Dialect,
    context: DecisionContext = EMPTY_CONTEXT,
) -> tuple[Decision, Plan]:
    """Decide a call and plan its targets. Raises ProblemError if nothing may serve it."""
    requested_name, steps = call.prompt.model, []
    if requested_name in catalogue.aliases:
        name = catalogue.aliases[requested_name]
        steps.append(
            TraceStep(
                step="pin", matched=True, effect=f"model {name}", reason=f"alias {requested_name}"
            )
        )
        requested_name = name
    if call.options.tier is not None:
        reason = "x-tiergate-tier: an embedding model has no tier"
        steps.append(TraceStep(step="embed", matched=False, effect="ignored", reason=reason))
    rule_context = RuleContext(call, rules.patterns, context)
    bounds = evaluate_guards(rules, rule_context)
    steps += [*bounds.steps, *rule_context.list_steps()]
    if bounds.refuse is not None:
        raise ProblemError(Problem(kind="not_allowed", message=bounds.refuse))
    allowed_labs = call.key.labs
    usable_labs = [
        lab
        for lab in catalogue.labs
        if bounds.allows_lab(lab) and (allowed_labs is None or lab in allowed_labs)
    ]
    source: DecisionSource = "pin"
    unlisted_model = _find_unlisted(catalogue, call, requested_name)
    if unlisted_model is None:
        lab, model, source = _find_model(catalogue, call, requested_name, usable_labs)
    else:
        lab, model = catalogue.labs[unlisted_model.lab], unlisted_model.name
    if call.options.lab not in (None, lab.name):
        reason = f"x-tiergate-lab: {call.options.lab} does not have this embedding model"
        steps.append(TraceStep(step="embed", matched=False, effect="ignored", reason=reason))
    steps.append(
        TraceStep(
            step="embed", matched=True, effect=f"{lab.name}, model {model}", reason=requested_name
        )
    )
    if unlisted_model is not None and unlisted_model.owner.embeddings is not None:
        target = unlisted_model.owner.embeddings[model]
        plan = unlisted_models.plan(target, unlisted_model.labs, None, call, dialect, bounds)
    else:
        plan = _make_plan(lab, model, call, dialect)
    if plan.skipped:
        reason = "; ".join(f"{item.target} {item.reason}" for item in plan.skipped)
        target_count = len(plan.targets)
        effect = f"{target_count} of {target_count + len(plan.skipped)} targets"
        steps.append(TraceStep(step="plan", matched=True, effect=effect, reason=reason))
    steps += list_balance_steps(plan)
    decision = Decision(
        lab=lab.name,
        tier=None,
        source=source,
        model=model if source == "pin" else None,
        arm=format_arms(rule_context.arms),
        guards=bounds.names,
        tags=tuple(sorted(bounds.tags)),
        no_cache=bounds.no_cache,
        cache=bounds.cache,
        trace=tuple(steps),
    )
    return decision, plan


def list_model_names(lab: str, target: Target) -> frozenset[str]:
    """Return the names of a target's model: with and without its lab, provider and host's path.

    A host that serves models of many makers calls them "openai/text-embedding-3-small".
    """
    bare_name = target.model.rpartition("/")[2]
    return frozenset(
        {target.model, target.name, bare_name, f"{lab}/{target.model}", f"{lab}/{bare_name}"}
    )


def _find_unlisted(
    catalogue: Catalogue, call: Features, requested_name: str
) -> UnlistedModel | None:
    """Return the model of a name that no lab lists; None if no provider makes its embeddings."""
    is_listed = requested_name in catalogue.models or any(
        requested_name in list_model_names(lab.name, target)
        for lab in catalogue.labs.values()
        for target in lab.embeddings
    )
    if is_listed or requested_name.rpartition("/")[2] == _AUTO_NAME:
        return None
    return unlisted_models.resolve(
        requested_name, catalogue, call.key, operation=OPERATION, lab=call.options.lab
    )


def _find_model(
    catalogue: Catalogue, call: Features, requested_name: str, usable_labs: Sequence[str]
) -> tuple[Lab, str, DecisionSource]:
    """Return the lab, the model's bare name and the source: `pin` if the caller named the model."""
    prefix, _, bare_name = requested_name.partition("/")
    is_lab_auto = bare_name == _AUTO_NAME and prefix in catalogue.labs
    named_lab = call.options.lab or (prefix if is_lab_auto else None)
    home_lab = named_lab or call.key.lab or catalogue.default_lab
    if home_lab not in catalogue.labs:
        message = f"There is no lab {home_lab!r}."
        raise ProblemError(Problem(kind="model_not_found", message=message, param="x-tiergate-lab"))
    if is_lab_auto or requested_name == _AUTO_NAME:
        lab = catalogue.labs[home_lab]
        if not lab.embeddings:
            is_visible = named_lab or visible_models.list_labs(catalogue, call.key).get(home_lab)
            statement = f"The lab {home_lab!r} has" if is_visible else "The default lab has"
            raise _refuse_unknown(
                catalogue, call.key, f"{statement} no embedding model.", requested_name
            )
        source: DecisionSource = "default"
        model = lab.embeddings[0].model.rpartition("/")[2]
        matching_labs = [lab]
    else:
        source = "pin"
        lab_order = dict.fromkeys((home_lab, *catalogue.labs))
        labs = [catalogue.labs[name] for name in lab_order]
        matching_labs = [
            lab
            for lab in labs
            if any(
                requested_name in list_model_names(lab.name, target) for target in lab.embeddings
            )
        ]
        if not matching_labs:
            quoted_name = refusals.quote_name(call.prompt.model)
            statement = f"The gateway does not serve {quoted_name} as an embedding model."
            raise _refuse_unknown(catalogue, call.key, statement, requested_name)
        model = requested_name
    allowed_labs = [lab for lab in matching_labs if lab.name in usable_labs]
    if not allowed_labs:
        raise refusals.not_allowed(
            f"the lab {home_lab!r}"
            if named_lab == home_lab
            else f"the model {refusals.quote_name(call.prompt.model)}"
        )

    def serves(lab: Lab) -> bool:
        return any(
            target.provider.enabled and not capabilities.find_key_restriction(call.key, target)
            for target in _find_targets(lab, model)
        )

    lab = next(filter(serves, allowed_labs), allowed_labs[0])
    return lab, _find_targets(lab, model)[0].model.rpartition("/")[2], source


def _find_targets(lab: Lab, model: str) -> list[Target]:
    return [target for target in lab.embeddings if model in list_model_names(lab.name, target)]


def _make_plan(lab: Lab, model: str, call: Features, dialect: Dialect) -> Plan:
    targets, dialect_names, skipped = [], [], []
    for target in _find_targets(lab, model):
        dialect_name, reason = capabilities.choose_dialect(target, call, dialect)
        if reason:
            skipped.append(capabilities.make_skipped_target(target, None, reason))
        else:
            targets.append(target)
            dialect_names.append(dialect_name)
    if not targets:
        if all(item.reason in capabilities.KEY_SCOPE_REASONS for item in skipped):
            subject = f"the model {refusals.quote_name(call.prompt.model)}"
            raise refusals.not_allowed(subject, f"it {skipped[0].reason}")
        raise refusals.no_target(f"the model {model!r}", skipped)
    return Plan(targets=tuple(targets), dialects=tuple(dialect_names), skipped=tuple(skipped))


def _refuse_unknown(
    catalogue: Catalogue, key: Key, statement: str, requested_name: str
) -> ProblemError:
    """Refuse a name that no embedding model has, and list the models that the key may use."""
    model_names = list(visible_models.list_embedding_models(catalogue, key))
    close_matches = difflib.get_close_matches(requested_name[:_MAX_NAME_CHARS], model_names, n=1)
    hint = f" Did you mean {close_matches[0]!r}?" if close_matches else ""
    listing = f" It serves {', '.join(model_names)}." if model_names else ""
    detail = "" if listing else "give a lab `embeddings`"
    return ProblemError(
        Problem(
            kind="model_not_found",
            message=f"{statement}{hint}{listing}",
            detail=detail,
            param="model",
        )
    )
