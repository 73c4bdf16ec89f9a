"""Decide which provider serves a pass-through call: by the objects it names, its model, or a lab.

No model and no tier is chosen: the provider gets the request as the client sent it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.core.decision import Decision, TraceStep
from gateway.core.decision_context import EMPTY_CONTEXT
from gateway.core.errors import Problem, ProblemError
from gateway.core.name_patterns import is_safe_name
from gateway.core.owned_object import ObjectPlace
from gateway.core.passthrough import PassThroughMatch, ProviderEndpoint
from gateway.core.target import Catalogue, Target, Targets, Tier
from gateway.routing import capabilities, refusals
from gateway.routing.features import Features
from gateway.routing.rules.compile import RuleSet
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import GuardBounds, evaluate_guards
from gateway.routing.rules.traffic import format_arms
from gateway.routing.unlisted_models import VIRTUAL_NAMES, find_all

_MAX_CHOICES = 5
"""The most providers that one message names."""


class PassThroughChoice(NamedTuple):
    """The endpoint of a provider that serves a call, and the model that the call names."""

    endpoint: ProviderEndpoint
    labs: tuple[str, ...]
    """The lab of the model. If nobody knows its maker: all labs that use the provider."""
    model: str
    """The model by the provider's own name; empty if the call names none."""
    tier: Tier | None
    """The tier that lists the model; None if none does."""
    target: Target | None
    """The target of the model; None if nothing is known of it yet."""
    targets: Targets | None
    """The targets that the model's owner makes; a thread should ask them, as it may take long."""
    account: str | None
    """The account that has the objects of the call; None leaves the choice to the gateway."""
    reason: str


def choose(
    catalogue: Catalogue,
    match: PassThroughMatch,
    call: Features,
    place: ObjectPlace | None = None,
) -> PassThroughChoice:
    """Choose the endpoint for a call. Raises ProblemError if none may serve it.

    `place` is that of the objects which the call names.
    """
    candidates, account, reason = list(match.candidates), None, ""
    if place is not None:
        candidates, account = _follow_objects(candidates, place), place.account
        reason = "it has the objects that the request names"
    requested = catalogue.aliases.get(call.prompt.model, call.prompt.model)
    candidates = _keep_allowed(candidates, call, checks_lab=not requested)
    if call.options.lab is not None:
        candidates = _keep_lab(candidates, call.options.lab)
        reason = reason or "x-tiergate-lab"
    if requested:
        return find_model(catalogue, candidates, requested, account)
    home_lab = call.key.lab or catalogue.default_lab
    endpoint = next((item for item in candidates if item.lab == home_lab), candidates[0])
    reason = reason or f"the first that has {endpoint.endpoint.name}"
    return PassThroughChoice(endpoint, (endpoint.lab,), "", None, None, None, account, reason)


def decide(
    rules: RuleSet,
    call: Features,
    choice: PassThroughChoice,
    target: Target,
    *,
    checks_model: bool = True,
    checks_tier: bool = True,
) -> Decision:
    """Return the decision for a call that goes to a chosen endpoint. Raises ProblemError.

    Without `checks_model` the caller checks the models of the call, as those in a batch file.
    Without `checks_tier` limits on tiers do not apply: the client has not chosen the model.
    """
    endpoint = choice.endpoint
    rule_context = RuleContext(call, rules.patterns, EMPTY_CONTEXT)
    bounds = evaluate_guards(rules, rule_context)
    if bounds.refuse is not None:
        raise ProblemError(Problem(kind="not_allowed", message=bounds.refuse))
    allowed_labs = call.key.labs
    for lab in choice.labs:
        if not bounds.allows_lab(lab) or (allowed_labs is not None and lab not in allowed_labs):
            raise refusals.not_allowed(choice.model or endpoint.endpoint.name)
    if checks_model and endpoint.endpoint.billing != "free":
        _check_scope(call, choice, target)
        if checks_tier:
            _check_tier(call, choice, bounds)
    lab = choice.labs[0]
    effect = f"{lab}, {endpoint.endpoint.name} at {endpoint.provider.name}"
    pin = TraceStep(step="pin", matched=True, effect=effect, reason=choice.reason)
    return Decision(
        lab=lab,
        tier=choice.tier,
        source="pin",
        model=choice.model or None,
        arm=format_arms(rule_context.arms),
        guards=bounds.names,
        tags=tuple(sorted(bounds.tags)),
        trace=(*bounds.steps, *rule_context.list_steps(), pin),
    )


def _name_subject(choice: PassThroughChoice) -> str:
    """Return the model that a call names, else its endpoint."""
    return refusals.quote_name(choice.model) if choice.model else choice.endpoint.endpoint.name


def _check_scope(call: Features, choice: PassThroughChoice, target: Target) -> None:
    """Raise ProblemError if the key does not allow the model of a call that may cost money."""
    key, subject = call.key, _name_subject(choice)
    if choice.model and capabilities.find_key_restriction(key, target):
        raise refusals.not_allowed(subject)
    if not choice.model and key.models is not None:
        raise refusals.not_allowed(subject, "the key names the models that it may use")


def _check_tier(call: Features, choice: PassThroughChoice, bounds: GuardBounds) -> None:
    """Raise ProblemError if the key or a guard limits tiers, and not to one of the model."""
    key, tier, subject = call.key, choice.tier, _name_subject(choice)
    is_named = bool(choice.model) and key.models is not None
    if tier is None:
        is_within_tiers = not bounds.limits_tiers and (key.tiers is None or is_named)
    else:
        is_within_tiers = bounds.clamp_tier(tier) == tier and (
            key.tiers is None or tier in key.tiers
        )
    if not is_within_tiers:
        raise refusals.not_allowed(subject, "tiers are limited, and it belongs to no allowed one")


def _follow_objects(
    candidates: Sequence[ProviderEndpoint], place: ObjectPlace
) -> list[ProviderEndpoint]:
    """Return the candidates of the provider that has the objects. Raises ProblemError."""
    remaining = [item for item in candidates if item.provider.name == place.provider]
    if not remaining:
        message = "The provider that has the objects of this request does not serve this endpoint."
        raise ProblemError(Problem(kind="not_found", message=message))
    return remaining


def _keep_allowed(
    candidates: Sequence[ProviderEndpoint], call: Features, *, checks_lab: bool
) -> list[ProviderEndpoint]:
    """Return the candidates in regions of the key, and in its labs. Raises ProblemError.

    Without `checks_lab` the model of the call decides about its lab.
    """
    key = call.key
    remaining = [
        item
        for item in candidates
        if (not checks_lab or key.labs is None or item.lab in key.labs)
        and (key.regions is None or item.provider.region in key.regions)
    ]
    if not remaining:
        raise refusals.not_allowed(candidates[0].endpoint.name)
    return remaining


def _keep_lab(candidates: Sequence[ProviderEndpoint], lab: str) -> list[ProviderEndpoint]:
    """Return the candidates of a lab or provider that the caller names. Raises ProblemError."""
    remaining = [item for item in candidates if lab in (item.lab, item.provider.name)]
    if not remaining:
        choices = ", ".join(dict.fromkeys(item.provider.name for item in candidates))
        message = (
            f"The lab {refusals.quote_name(lab)} does not serve this endpoint. These do: {choices}."
        )
        raise ProblemError(Problem(kind="model_not_found", message=message, param="x-tiergate-lab"))
    return remaining


def find_model(
    catalogue: Catalogue,
    candidates: Sequence[ProviderEndpoint],
    requested: str,
    account: str | None,
) -> PassThroughChoice:
    """Choose the candidate that has a model. Raises ProblemError if several or none may have it."""
    if not is_safe_name(requested):
        message = f"The model {refusals.quote_name(requested)} has no valid name."
        raise ProblemError(Problem(kind="model_not_found", message=message, param="model"))
    if requested.rpartition("/")[2] in VIRTUAL_NAMES:
        message = (
            f"This endpoint needs the name of a model: {refusals.quote_name(requested)} chooses "
            "among models for text."
        )
        raise ProblemError(Problem(kind="model_not_found", message=message, param="model"))
    for item in candidates:
        for name in _list_names(item, requested):
            for key in catalogue.models.get(f"{item.provider.name}/{name}", ()):
                reason = f"the model {name}"
                return PassThroughChoice(
                    item, (key.lab,), name, key.tier, key.target, None, account, reason
                )
    models = [
        (item, model)
        for model in find_all(requested, catalogue)
        for item in candidates
        if item.provider.name == model.owner.provider.name
    ]
    if len(models) > 1:
        raise _refuse_ambiguous(requested, [model.full_name for _, model in models])
    for item, model in models:
        targets = model.owner.targets
        reason = f"{requested} is a model of {item.provider.name}"
        return PassThroughChoice(item, model.labs, model.name, None, None, targets, account, reason)
    for item in candidates:
        if requested.startswith(f"{item.provider.name}/"):
            name = requested.removeprefix(f"{item.provider.name}/")
            reason = f"{requested} names the provider"
            labs = _list_labs(catalogue, item)
            return PassThroughChoice(item, labs, name, None, None, item.targets, account, reason)
    providers = list(dict.fromkeys(item.provider.name for item in candidates))
    if len(providers) == 1:
        reason = f"only {providers[0]} has this endpoint"
        item = candidates[0]
        labs = _list_labs(catalogue, item)
        return PassThroughChoice(item, labs, requested, None, None, item.targets, account, reason)
    raise _refuse_ambiguous(requested, [f"{name}/{requested}" for name in providers])


def _list_labs(catalogue: Catalogue, item: ProviderEndpoint) -> tuple[str, ...]:
    """Return all labs that use a provider."""
    owners = (owner for owner in catalogue.name_owners if owner.provider is item.provider)
    return next((owner.labs for owner in owners), (item.lab,))


def _refuse_ambiguous(requested: str, names: Sequence[str]) -> ProblemError:
    """Refuse a name that several providers could serve, and list the names that each has."""
    choices = ", ".join(refusals.quote_name(name) for name in names[:_MAX_CHOICES])
    message = (
        f"Several providers may serve the model {refusals.quote_name(requested)}. Name one: "
        f"{choices}."
    )
    return ProblemError(Problem(kind="model_not_found", message=message, param="model"))


def _list_names(item: ProviderEndpoint, requested: str) -> list[str]:
    """Return a model's name, and the name without the lab or provider before it."""
    prefix, slash, bare_name = requested.partition("/")
    if slash and prefix in (item.lab, item.provider.name):
        return [requested, bare_name]
    return [requested]
