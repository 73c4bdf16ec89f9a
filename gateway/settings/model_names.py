"""Names that a call may ask for, as far as the configuration says."""

from gateway.core.target import TIERS, find_own_name
from gateway.settings.catalogue import find_lab
from gateway.settings.lifecycle_warnings import list_targets
from gateway.settings.loader import ConfigSource

ROUTED_NAMES = ("auto", *TIERS)
"""Alone, or behind a lab."""


def is_known_name(source: ConfigSource, name: str) -> bool:
    """Whether something is called this: a tier, a model or one for embeddings, but no alias."""
    lab, slash, suffix = name.partition("/")
    if slash and lab in source.config.labs and suffix in ROUTED_NAMES:
        return True
    listed_names = (
        _list_lab_model_names(source) | list_target_names(source) | list_embedding_names(source)
    )
    return name in ROUTED_NAMES or name in listed_names or is_provider_owned(source, name)


def is_provider_owned(source: ConfigSource, name: str) -> bool:
    """Return True if a name is one of a provider's own, on or off, that no lab need list."""
    config = source.config
    return any(
        find_own_name(name, provider_part.names, {provider, find_lab(config, provider) or provider})
        is not None
        for provider, provider_part in config.providers.items()
    )


def list_common_names(source: ConfigSource) -> set[str]:
    """What is mostly asked for: tiers, alone and behind a lab, and models by their own name."""
    names = {*ROUTED_NAMES, *(target.model for *_, target in list_targets(source))}
    return names | {f"{lab}/{tier}" for lab in source.config.labs for tier in ROUTED_NAMES}


def list_all_names(source: ConfigSource) -> set[str]:
    """All that is askable, and aliases."""
    model_names = (
        _list_lab_model_names(source) | list_target_names(source) | list_embedding_names(source)
    )
    return list_common_names(source) | model_names | {*source.config.aliases}


def list_target_names(source: ConfigSource) -> set[str]:
    """Models of targets, alone and behind their provider."""
    return {
        name
        for *_, provider, target in list_targets(source)
        for name in (target.model, f"{provider}/{target.model}")
    }


def _list_lab_model_names(source: ConfigSource) -> set[str]:
    return {f"{lab}/{target.model}" for _, lab, _, _, target in list_targets(source)}


def list_embedding_names(source: ConfigSource) -> set[str]:
    """Names of embedding models: alone, behind their lab and behind their provider."""
    return {
        f"{prefix}{target.model}"
        for lab, lab_part in source.config.labs.items()
        for target in lab_part.embeddings
        for prefix in ("", f"{lab}/", f"{target.provider or lab}/")
    }
