"""Warnings about parts that cannot be served now: tiers, defaults, aliases and rules."""

from collections.abc import Iterator, Mapping

from gateway.core.name_patterns import may_own_name
from gateway.core.target import TIERS, Catalogue, Lab, Tier
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource

type ServableTiers = Mapping[str, list[Tier]]
"""Tiers that can be served, by lab; a lab that is off has none."""


def find_unreachable(source: ConfigSource, catalogue: Catalogue) -> list[Mistake]:
    """Return warnings about such parts, in the order of the files.

    A call that meets such a part goes elsewhere, or the gateway refuses it.
    """
    servable = {
        name: [
            tier
            for tier in TIERS
            if any(entry.provider.enabled for entry in lab.tiers.get(tier, ()))
        ]
        for name, lab in catalogue.labs.items()
    }
    mistakes = [
        *_check_tiers(source, catalogue, servable),
        *_check_default(source, catalogue, servable),
        *_check_aliases(source, catalogue, servable),
        *_check_guards(source, servable),
        *_check_choices(source, catalogue, servable),
    ]
    return sorted(mistakes, key=lambda entry: (entry.file, entry.line or 0))


def _check_tiers(
    source: ConfigSource, catalogue: Catalogue, servable: ServableTiers
) -> Iterator[Mistake]:
    hint = "A call that asks for it is refused; one that is routed there goes to the nearest tier."
    for name, lab in catalogue.labs.items():
        for tier in TIERS:
            if not lab.enabled or tier in servable[name]:
                continue
            targets = lab.tiers.get(tier, ())
            if targets:
                off_reasons = {
                    target.provider.name: target.provider.disabled_reason for target in targets
                }
                reasons = "; ".join(
                    f"{provider}: {reason}" for provider, reason in off_reasons.items()
                )
                message = f"no target can serve ({reasons})."
                yield source.make_mistake(("labs", name, tier), message, hint, warn=True)
            else:
                yield source.make_mistake(
                    ("labs", name), f"has no `{tier}` target.", hint, warn=True
                )


def _check_default(
    source: ConfigSource, catalogue: Catalogue, servable: ServableTiers
) -> Iterator[Mistake]:
    requested, lab = source.config.default.lab, catalogue.default_lab
    if requested is not None and requested != lab:
        message = f"{_describe_off_lab(catalogue.labs[requested])}: calls go to {lab}."
        yield source.make_mistake(("default", "lab"), message, warn=True)
    tier = catalogue.default_tier
    if servable.get(lab) and tier not in servable[lab]:
        message = f"{lab} cannot serve {tier}: calls go to its nearest tier."
        yield source.make_mistake(("default", "tier"), message, warn=True)


def _check_aliases(
    source: ConfigSource, catalogue: Catalogue, servable: ServableTiers
) -> Iterator[Mistake]:
    for alias, name in source.config.aliases.items():
        lab, slash, tier_name = name.partition("/")
        message = ""
        if slash and lab in servable and tier_name in ("auto", *TIERS):
            message = _explain_unservable(
                catalogue.labs[lab], None if tier_name == "auto" else tier_name, servable[lab]
            )
        elif name not in ("auto", *TIERS) and not _is_served(catalogue, name):
            message = "none of its providers is on"
        if message:
            text = f"leads to {name}, which cannot be served: {message}."
            yield source.make_mistake(("aliases", alias), text, warn=True)


def _is_served(catalogue: Catalogue, name: str) -> bool:
    """Return True if a model is served: by its own name, after its provider, or after its lab."""
    lab, _, model = name.partition("/")
    return (
        name in catalogue.models
        or any(endpoint.lab == lab for endpoint in catalogue.models.get(model, ()))
        or any(
            owner.provider.enabled
            and may_own_name(owner.names + owner.hosted_names, name, owner.provider.name, owner.lab)
            for owner in catalogue.name_owners
        )
        or any(
            target.provider.enabled
            and name in (target.model, target.name, f"{served_lab.name}/{target.model}")
            for served_lab in catalogue.labs.values()
            for target in served_lab.embeddings
        )
    )


def _check_guards(source: ConfigSource, servable: ServableTiers) -> Iterator[Mistake]:
    for index, guard in enumerate(source.config.guards):
        servable_labs = [lab for lab in guard.allow or () if servable.get(lab)]
        if guard.allow is not None and not servable_labs:
            message = "allows only labs that serve nothing: every call that matches is refused."
            yield source.make_mistake(("guards", index, "allow"), message, warn=True)


def _check_choices(
    source: ConfigSource, catalogue: Catalogue, servable: ServableTiers
) -> Iterator[Mistake]:
    for index, choice in enumerate(source.config.choices):
        path = ("choices", index)
        if choice.model is not None and not _is_served(catalogue, choice.model):
            message = f"no provider of {choice.model} is on: the choice goes on without it."
            yield source.make_mistake((*path, "model"), message, warn=True)
        if choice.lab is None:
            continue
        reason = _explain_unservable(catalogue.labs[choice.lab], choice.tier, servable[choice.lab])
        if reason:
            field = "lab" if not servable[choice.lab] else "tier"
            message = f"{reason}: calls go elsewhere."
            yield source.make_mistake((*path, field), message, warn=True)


def _explain_unservable(lab: Lab, tier: str | None, servable_tiers: list[Tier]) -> str:
    """Return the reason why a lab, or a tier of it, cannot be served; empty if it can."""
    if not lab.enabled or not servable_tiers:
        return _describe_off_lab(lab)
    return "" if tier is None or tier in servable_tiers else f"{lab.name} cannot serve {tier}"


def _describe_off_lab(lab: Lab) -> str:
    return (
        f"{lab.name} is off ({lab.disabled_reason})"
        if lab.disabled_reason
        else f"{lab.name} serves nothing"
    )
