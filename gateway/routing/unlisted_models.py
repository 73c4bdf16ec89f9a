"""Models that no lab lists: a call that names one goes to the provider that makes the model.

The provider gets exactly the name that the client sent, and no other model takes its place. The
`names` of a provider say which names it owns.
"""

from collections.abc import Callable
from typing import NamedTuple

from gateway.core.call import Key
from gateway.core.decision import Plan
from gateway.core.target import (
    TIERS,
    Catalogue,
    Lab,
    NameOwner,
    Target,
    Targets,
    Tier,
    base_name,
    find_own_name,
)
from gateway.dialects import Dialect, embeddings
from gateway.routing import capabilities, refusals
from gateway.routing.features import Features
from gateway.routing.rules.guards import GuardBounds

VIRTUAL_NAMES = frozenset({"auto", "claude-auto", *TIERS})
"""Names that leave the choice of a model to the gateway, with a lab before them or not."""


class UnlistedModel(NamedTuple):
    """A model name that no lab lists, and its maker."""

    maker: NameOwner
    name: str
    """The maker's own name of the model, without a lab or a provider before it."""

    def find_targets(self, operation: str) -> Targets | None:
        """Return the maker's targets for an operation; None if it does not support it."""
        return self.maker.embeddings if operation == embeddings.OPERATION else self.maker.targets

    def is_open_to(self, key: Key, catalogue: Catalogue) -> bool:
        """Return True if a key may ask for the model."""
        target = Target(provider=self.maker.provider, model=self.name)
        return _may_use_model(key, self.maker.lab, self.find_tier(catalogue), target)

    def find_tier(self, catalogue: Catalogue) -> Tier | None:
        """Return the tier of the listed model of which this is a snapshot; None without one."""
        endpoints = catalogue.models.get(f"{self.maker.provider.name}/{base_name(self.name)}", ())
        return next(
            (endpoint.tier for endpoint in endpoints if endpoint.lab == self.maker.lab), None
        )


def find(
    requested_name: str, catalogue: Catalogue, *, is_off: bool = False
) -> UnlistedModel | None:
    """Return the model and maker of a name; None if no provider owns the name.

    Search the providers that are on, or with `is_off` only the disabled ones. The name may have the
    maker's lab or provider before it.
    """
    for maker in catalogue.name_owners:
        if maker.provider.enabled is is_off:
            continue
        name = find_own_name(requested_name, maker.names, (maker.lab, maker.provider.name))
        if name is not None:
            return UnlistedModel(maker, name)
    return None


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
    unlisted_model = find(name, catalogue)
    targets = None if unlisted_model is None else unlisted_model.find_targets(operation)
    if unlisted_model is None or targets is None or unlisted_model.name in targets:
        return None
    return lambda: targets[unlisted_model.name]


def plan(
    target: Target,
    lab: Lab,
    tier: Tier | None,
    call: Features,
    dialect: Dialect,
    bounds: GuardBounds,
) -> Plan:
    """Plan a call for the one target that may serve it. Raises ProblemError if it may not.

    If a guard or budget bounds tiers, a model without a tier may not serve.
    """
    subject = f"the model {target.model!r}"
    is_out_of_bounds = bounds.limits_tiers if tier is None else bounds.clamp_tier(tier) != tier
    if (
        is_out_of_bounds
        or not bounds.allows_lab(lab.name)
        or not _may_use_model(call.key, lab.name, tier, target)
    ):
        raise refusals.not_allowed(subject)
    dialect_name, reason = capabilities.choose_dialect(target, call, dialect)
    if reason:
        skipped_target = capabilities.make_skipped_target(target, tier, reason)
        raise refusals.no_target(subject, [skipped_target], call.prompt.continuation_member)
    return Plan(targets=(target,), dialects=(dialect_name,))


def _may_use_model(key: Key, lab: str, tier: Tier | None, target: Target) -> bool:
    """Return True if a key may use a model.

    A model without a tier may be as dear as any. If a key is limited to tiers, its `models` must
    allow such a model.
    """
    if key.tiers is not None and (key.models is None if tier is None else tier not in key.tiers):
        return False
    return capabilities.may_use(key, lab, target)
