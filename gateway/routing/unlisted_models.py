"""Models that no lab lists: a call that names one goes to the provider that makes the model.

The provider gets the very name that the client sent, and no other model takes its place. The
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
    own_name,
)
from gateway.dialects import Dialect, embeddings
from gateway.routing import capabilities, refusals
from gateway.routing.features import Features
from gateway.routing.rules.guards import GuardBounds

_VIRTUAL = frozenset({"auto", "claude-auto", *TIERS})


class UnlistedModel(NamedTuple):
    """A name that no lab lists, and whose it is."""

    maker: NameOwner
    name: str
    """The maker's own name of the model, without a lab or a provider before it."""

    def targets(self, operation: str) -> Targets | None:
        """Return where its target is found; None where its maker does not have the operation."""
        return self.maker.embeddings if operation == embeddings.OPERATION else self.maker.targets

    def open_to(self, key: Key, catalogue: Catalogue) -> bool:
        """Return True if a key may ask for it."""
        target = Target(provider=self.maker.provider, model=self.name)
        return _open_to(key, self.maker.lab, self.tier(catalogue), target)

    def tier(self, catalogue: Catalogue) -> Tier | None:
        """Return the tier of the model that this is a snapshot of; None where there is none."""
        places = catalogue.models.get(f"{self.maker.provider.name}/{base_name(self.name)}", ())
        return next((place.tier for place in places if place.lab == self.maker.lab), None)


def find(asked: str, catalogue: Catalogue, *, off: bool = False) -> UnlistedModel | None:
    """Return the maker of a name among the providers that are on, or among all that are off.

    None where nobody owns the name. It may stand behind the maker's lab or provider.
    """
    for maker in catalogue.makers:
        if maker.provider.on is off:
            continue
        name = own_name(asked, maker.names, (maker.lab, maker.provider.name))
        if name is not None:
            return UnlistedModel(maker, name)
    return None


def unmade(call: Features, operation: str, catalogue: Catalogue) -> Callable[[], object] | None:
    """Return what makes the target of a call, so that a thread can do it: it may take a second.

    None where a lab lists the model, or the target is made.
    """
    asked = call.prompt.model
    name = catalogue.aliases.get(asked, asked)
    if name in catalogue.models or name.rpartition("/")[2] in _VIRTUAL:
        return None
    unlisted = find(name, catalogue)
    targets = None if unlisted is None else unlisted.targets(operation)
    if unlisted is None or targets is None or unlisted.name in targets:
        return None
    return lambda: targets[unlisted.name]


def plan(
    target: Target,
    lab: Lab,
    tier: Tier | None,
    call: Features,
    dialect: Dialect,
    bounds: GuardBounds,
) -> Plan:
    """Plan a call for the one target that may serve it. Raises ProblemError where it may not.

    A guard that bounds tiers keeps calls from a model of no tier.
    """
    what = f"the model {target.model!r}"
    bounded = bounds.tiered if tier is None else bounds.tier(tier) != tier
    if bounded or not bounds.lab(lab.name) or not _open_to(call.key, lab.name, tier, target):
        raise refusals.not_allowed(what)
    door, reason = capabilities.door(target, call, dialect)
    if reason:
        raise refusals.no_target(what, [capabilities.skip(target, tier, reason)])
    return Plan(targets=(target,), doors=(door,))


def _open_to(key: Key, lab: str, tier: Tier | None, target: Target) -> bool:
    """Return True if a key may use a model.

    A model of no tier may be as dear as any: a key of some tiers must have it among its `models`.
    """
    if key.tiers is not None and (key.models is None if tier is None else tier not in key.tiers):
        return False
    return capabilities.may_use(key, lab, target)
