"""Models that no lab lists: a call that names one goes to the provider that serves it.

The provider gets exactly the name that the client sent, and no other model takes its place. The
`names` of a provider say which models it makes, its `hosted_names` which ones of others it hosts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gateway.core.call import Key
from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.name_patterns import excludes_name, is_safe_name, matches_name
from gateway.core.target import (
    TIERS,
    Catalogue,
    NameOwner,
    Target,
    Targets,
    Tier,
    base_name,
)
from gateway.dialects import Dialect, embeddings
from gateway.routing import capabilities, refusals
from gateway.routing.features import Features
from gateway.routing.rules.guards import GuardBounds

VIRTUAL_NAMES = frozenset({"auto", "claude-auto", *TIERS})
"""Names that leave the choice of a model to the gateway, with a lab before them or not."""
_MAX_CHOICES = 5
"""The most providers that one message names."""


class UnlistedModel(NamedTuple):
    """A model name that no lab lists, and the provider that serves it."""

    owner: NameOwner
    name: str
    """The provider's own name of the model, without a lab or the provider before it."""
    labs: tuple[str, ...]
    """The lab of the model. If nobody knows its maker: all labs that use the provider."""

    @property
    def lab(self) -> str:
        """The lab of the calls for it."""
        return self.labs[0]

    @property
    def full_name(self) -> str:
        """The name with its provider, which no other provider shares."""
        return f"{self.owner.provider.name}/{self.name}"

    def find_targets(self, operation: str) -> Targets | None:
        """Return the provider's targets for an operation; None if it does not support it."""
        return self.owner.embeddings if operation == embeddings.OPERATION else self.owner.targets

    def is_open_to(self, key: Key, catalogue: Catalogue) -> bool:
        """Return True if a key may ask for the model."""
        target = Target(provider=self.owner.provider, model=self.name)
        return _may_use_model(key, self.labs, self.find_tier(catalogue), target)

    def list_open_names(self, key: Key, catalogue: Catalogue) -> dict[str, str]:
        """Return the other models of the provider that a price list knows, and a key may ask for.

        Each has the name that a call needs: a host's has the host before it.
        """
        models = [
            UnlistedModel(self.owner, name, _find_labs(self.owner, name, catalogue))
            for name in self.owner.list_known_names()
            if name != self.name
        ]
        return {
            model.name: model.name
            if matches_name(self.owner.names, model.name)
            else model.full_name
            for model in models
            if model.is_open_to(key, catalogue)
        }

    def find_tier(self, catalogue: Catalogue) -> Tier | None:
        """Return the tier of the listed model of which this is a snapshot; None without one."""
        endpoints = catalogue.models.get(f"{self.owner.provider.name}/{base_name(self.name)}", ())
        return next((endpoint.tier for endpoint in endpoints if endpoint.lab == self.lab), None)


def find_all(
    requested_name: str,
    catalogue: Catalogue,
    *,
    operation: str = "generate",
    is_off: bool = False,
) -> list[UnlistedModel]:
    """Return the model of a name at each provider that could serve an operation with it.

    They are the provider that the name begins with, else the makers of the model, else its hosts.
    Search the providers that are on, or with `is_off` only the disabled ones.
    """
    if not is_safe_name(requested_name):
        return []
    owners = [
        owner
        for owner in catalogue.name_owners
        if owner.provider.enabled is not is_off
        and (owner.embeddings is not None or operation != embeddings.OPERATION)
    ]
    found_names = (
        list(_find_named(requested_name, owners))
        or list(_find_made(requested_name, owners))
        or list(_find_hosted(requested_name, owners))
        or list(_find_named(requested_name, owners, is_excluded=True))
    )
    return [
        UnlistedModel(owner, name, _find_labs(owner, name, catalogue))
        for owner, name in found_names
    ]


def _find_named(
    requested_name: str, owners: Sequence[NameOwner], *, is_excluded: bool = False
) -> Iterator[tuple[NameOwner, str]]:
    """Yield the provider that a name begins with, unless it excludes the rest of the name.

    A host's own names may begin with its name, as `groq/compound`: then it gets the whole name.
    """
    prefix, slash, suffix = requested_name.partition("/")
    for owner in owners if slash else ():
        if owner.provider.name == prefix:
            is_whole = matches_name(owner.hosted_names, requested_name)
            name = requested_name if is_whole else suffix
            if excludes_name(owner.names + owner.hosted_names, name) is is_excluded:
                yield owner, name


def _find_made(requested_name: str, owners: Sequence[NameOwner]) -> Iterator[tuple[NameOwner, str]]:
    """Yield each provider that makes a model, with its name for it."""
    prefix, _, suffix = requested_name.partition("/")
    for owner in owners:
        names = (requested_name, suffix) if prefix == owner.lab else (requested_name,)
        name = next((name for name in names if matches_name(owner.names, name)), None)
        if name is not None:
            yield owner, name


def _find_hosted(
    requested_name: str, owners: Sequence[NameOwner]
) -> Iterator[tuple[NameOwner, str]]:
    """Yield each provider that hosts a model, with its name for it."""
    for owner in owners:
        if matches_name(owner.hosted_names, requested_name):
            yield owner, requested_name


def _find_labs(owner: NameOwner, name: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the lab of a provider's model; if nobody knows its maker, all labs of the provider.

    A host calls a model as its maker does, perhaps with a path before it.
    """
    if matches_name(owner.names, name):
        return (owner.lab,)
    bare_name = name.rpartition("/")[2]
    makers = (maker for maker in catalogue.name_owners if matches_name(maker.names, bare_name))
    maker = next(makers, None)
    return owner.labs if maker is None else (maker.lab,)


def resolve(
    requested_name: str,
    catalogue: Catalogue,
    key: Key,
    *,
    operation: str = "generate",
    lab: str | None = None,
) -> UnlistedModel | None:
    """Return the model of a name; None if no provider that is on serves it.

    If several could, the key's scope may leave one, or the `lab` that the caller has named. Raises
    ProblemError if it is still open which one serves it.
    """
    models = find_all(requested_name, catalogue, operation=operation)
    if len(models) > 1:
        models = [model for model in models if lab in (None, model.lab)] or models
    if len(models) > 1:
        models = [model for model in models if model.is_open_to(key, catalogue)] or models[:1]
    if len(models) > 1:
        raise _refuse_ambiguous(requested_name, models)
    return next(iter(models), None)


def _refuse_ambiguous(requested_name: str, models: Sequence[UnlistedModel]) -> ProblemError:
    """Refuse a name that several providers could serve, and list the names that each has."""
    choices = [repr(model.full_name) for model in models[:_MAX_CHOICES]]
    message = (
        f"Several providers may serve the model {refusals.quote_name(requested_name)}. Ask for "
        f"{', '.join(choices[:-1])} or {choices[-1]}."
    )
    return ProblemError(Problem(kind="model_not_found", message=message, param="model"))


def make_target_factory(
    call: Features, operation: str, catalogue: Catalogue
) -> Callable[[], object] | None:
    """Return a function that makes the target of a call; None if it is not needed.

    It may take a second, so a thread should call it. It is not needed if a lab lists the model, or
    if the target exists.
    """
    requested_name = call.prompt.model
    name = catalogue.aliases.get(requested_name, requested_name)
    if name in catalogue.models or name.rpartition("/")[2] in VIRTUAL_NAMES:
        return None
    try:
        model = resolve(name, catalogue, call.key, operation=operation, lab=call.options.lab)
    except ProblemError:  # the decision refuses the call
        return None
    targets = None if model is None else model.find_targets(operation)
    if model is None or targets is None or model.name in targets:
        return None
    return lambda: targets[model.name]


def plan(
    target: Target,
    labs: Sequence[str],
    tier: Tier | None,
    call: Features,
    dialect: Dialect,
    bounds: GuardBounds,
) -> Plan:
    """Plan a call for the one target that may serve it. Raises ProblemError if it may not.

    `labs` are the labs that the call must be allowed to use. If a guard or budget bounds tiers, a
    model without a tier may not serve.
    """
    subject = f"the model {target.model!r}"
    is_out_of_bounds = bounds.limits_tiers if tier is None else bounds.clamp_tier(tier) != tier
    if (
        is_out_of_bounds
        or not all(bounds.allows_lab(lab) for lab in labs)
        or not _may_use_model(call.key, labs, tier, target)
    ):
        raise refusals.not_allowed(subject)
    dialect_name, reason = capabilities.choose_dialect(target, call, dialect)
    if reason:
        skipped_target = capabilities.make_skipped_target(target, tier, reason)
        raise refusals.no_target(subject, [skipped_target], call.prompt.continuation_member)
    return Plan(targets=(target,), dialects=(dialect_name,))


def _may_use_model(key: Key, labs: Sequence[str], tier: Tier | None, target: Target) -> bool:
    """Return True if a key may use a model.

    A model without a tier may be as dear as any. If a key is limited to tiers, its `models` must
    allow such a model.
    """
    if key.tiers is not None and (key.models is None if tier is None else tier not in key.tiers):
        return False
    return all(capabilities.may_use(key, lab, target) for lab in labs)
