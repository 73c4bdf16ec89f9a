"""What is written and cannot be served as things are: tiers, defaults, rules and aliases."""

from collections.abc import Iterator, Mapping

from gateway.core.target import TIERS, Catalogue, Lab, Tier, own_name
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource

type Able = Mapping[str, list[Tier]]
"""Tiers that can be served, by lab; those of a lab that is off are none."""


def reach(source: ConfigSource, catalogue: Catalogue) -> list[Mistake]:
    """Warnings, in the order of what they are about. A call in their place goes elsewhere."""
    able = {
        name: [t for t in TIERS if any(item.provider.on for item in lab.tiers.get(t, ()))]
        for name, lab in catalogue.labs.items()
    }
    found = [
        *_tiers(source, catalogue, able),
        *_default(source, catalogue, able),
        *_aliases(source, catalogue, able),
        *_guards(source, able),
        *_choices(source, catalogue, able),
    ]
    return sorted(found, key=lambda item: (item.file, item.line or 0))


def _tiers(source: ConfigSource, catalogue: Catalogue, able: Able) -> Iterator[Mistake]:
    hint = "A call that asks for it is refused; one that is routed there goes to the nearest tier."
    for name, lab in catalogue.labs.items():
        for tier in TIERS:
            if not lab.on or tier in able[name]:
                continue
            row = lab.tiers.get(tier, ())
            if row:
                off = {target.provider.name: target.provider.why for target in row}
                whys = "; ".join(f"{provider}: {why}" for provider, why in off.items())
                message = f"no target can serve ({whys})."
                yield source.mistake(("labs", name, tier), message, hint, warn=True)
            else:
                yield source.mistake(("labs", name), f"has no `{tier}` target.", hint, warn=True)


def _default(source: ConfigSource, catalogue: Catalogue, able: Able) -> Iterator[Mistake]:
    asked, lab = source.config.default.lab, catalogue.default_lab
    if asked is not None and asked != lab:
        message = f"{_off(catalogue.labs[asked])}: calls go to {lab}."
        yield source.mistake(("default", "lab"), message, warn=True)
    tier = catalogue.default_tier
    if able.get(lab) and tier not in able[lab]:
        message = f"{lab} cannot serve {tier}: calls go to its nearest tier."
        yield source.mistake(("default", "tier"), message, warn=True)


def _aliases(source: ConfigSource, catalogue: Catalogue, able: Able) -> Iterator[Mistake]:
    for alias, name in source.config.aliases.items():
        lab, slash, word = name.partition("/")
        message = ""
        if slash and lab in able and word in ("auto", *TIERS):
            message = _cannot(catalogue.labs[lab], None if word == "auto" else word, able[lab])
        elif name not in ("auto", *TIERS) and not _placed(catalogue, name):
            message = "no provider of it is on"
        if message:
            told = f"leads to {name}, which cannot be served: {message}."
            yield source.mistake(("aliases", alias), told, warn=True)


def _placed(catalogue: Catalogue, name: str) -> bool:
    """Whether a model is served, by its own name, behind its provider or behind its lab."""
    lab, _, model = name.partition("/")
    return (
        name in catalogue.models
        or any(place.lab == lab for place in catalogue.models.get(model, ()))
        or any(
            maker.provider.on and own_name(name, maker.names, (maker.lab, maker.provider.name))
            for maker in catalogue.makers
        )
        or any(
            target.provider.on
            and name in (target.model, target.name, f"{item.name}/{target.model}")
            for item in catalogue.labs.values()
            for target in item.embeddings
        )
    )


def _guards(source: ConfigSource, able: Able) -> Iterator[Mistake]:
    for at, guard in enumerate(source.config.guards):
        allowed = [lab for lab in guard.allow or () if able.get(lab)]
        if guard.allow is not None and not allowed:
            message = "allows only labs that serve nothing: every call that matches is refused."
            yield source.mistake(("guards", at, "allow"), message, warn=True)


def _choices(source: ConfigSource, catalogue: Catalogue, able: Able) -> Iterator[Mistake]:
    for at, choice in enumerate(source.config.choices):
        here = ("choices", at)
        if choice.model is not None and not _placed(catalogue, choice.model):
            message = f"no provider of {choice.model} is on: the choice goes on without it."
            yield source.mistake((*here, "model"), message, warn=True)
        if choice.lab is None:
            continue
        why = _cannot(catalogue.labs[choice.lab], choice.tier, able[choice.lab])
        if why:
            field = "lab" if not able[choice.lab] else "tier"
            message = f"{why}: calls go elsewhere."
            yield source.mistake((*here, field), message, warn=True)


def _cannot(lab: Lab, tier: str | None, able: list[Tier]) -> str:
    """Why a lab, or a tier of it, cannot be served; empty where it can."""
    if not lab.on or not able:
        return _off(lab)
    return "" if tier is None or tier in able else f"{lab.name} cannot serve {tier}"


def _off(lab: Lab) -> str:
    return f"{lab.name} is off ({lab.why})" if lab.why else f"{lab.name} serves nothing"
