"""Names that a call may ask for, as far as the configuration says."""

from gateway.core.target import TIERS, own_name
from gateway.settings.catalogue import lab_of
from gateway.settings.lifecycle_warnings import targets
from gateway.settings.loader import ConfigSource

ASKABLE = ("auto", *TIERS)
"""Alone, or behind a lab."""


def askable(source: ConfigSource, name: str) -> bool:
    """Whether something is called this: a tier, a model or one for embeddings, but no alias."""
    lab, slash, rest = name.partition("/")
    if slash and lab in source.config.labs and rest in ASKABLE:
        return True
    listed = _behind(source) | served(source) | vectors(source)
    return name in ASKABLE or name in listed or owned(source, name)


def owned(source: ConfigSource, name: str) -> bool:
    """Return True if a name is one of a provider's own, on or off, that no lab need list."""
    config = source.config
    return any(
        own_name(name, part.names, {provider, lab_of(config, provider) or provider}) is not None
        for provider, part in config.providers.items()
    )


def common(source: ConfigSource) -> set[str]:
    """What is mostly asked for: tiers, alone and behind a lab, and models by their own name."""
    known = {*ASKABLE, *(target.model for *_, target in targets(source))}
    return known | {f"{lab}/{tier}" for lab in source.config.labs for tier in ASKABLE}


def every(source: ConfigSource) -> set[str]:
    """All that is askable, and aliases."""
    models = _behind(source) | served(source) | vectors(source)
    return common(source) | models | {*source.config.aliases}


def served(source: ConfigSource) -> set[str]:
    """Models of targets, alone and behind their provider."""
    return {
        name
        for *_, provider, target in targets(source)
        for name in (target.model, f"{provider}/{target.model}")
    }


def _behind(source: ConfigSource) -> set[str]:
    return {f"{lab}/{target.model}" for _, lab, _, _, target in targets(source)}


def vectors(source: ConfigSource) -> set[str]:
    """Names of embedding models: alone, behind their lab and behind their provider."""
    return {
        f"{before}{target.model}"
        for lab, part in source.config.labs.items()
        for target in part.embeddings
        for before in ("", f"{lab}/", f"{target.provider or lab}/")
    }
