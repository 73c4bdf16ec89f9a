"""The model names that a call may ask for, according to the configuration."""

import difflib

from gateway.core.name_patterns import may_own_name
from gateway.core.target import TIERS
from gateway.settings.catalogue import find_lab
from gateway.settings.lifecycle_warnings import list_targets
from gateway.settings.loader import ConfigSource
from gateway.settings.passthrough import DECISION_TABLES, select_tables
from gateway.settings.schema.root import Config

ROUTED_NAMES = ("auto", *TIERS)
"""Names that stand alone, or after a lab and a slash."""


def is_known_name(source: ConfigSource, name: str) -> bool:
    """Return True if a tier, model or embedding model has this name. Aliases do not count."""
    lab, slash, suffix = name.partition("/")
    if slash and lab in source.config.labs and suffix in ROUTED_NAMES:
        return True
    listed_names = (
        _list_lab_model_names(source) | list_target_names(source) | list_embedding_names(source)
    )
    return name in ROUTED_NAMES or name in listed_names or is_provider_owned(source, name)


def is_provider_owned(source: ConfigSource, name: str) -> bool:
    """Return True if a provider, on or off, may serve a model that no lab lists.

    After a lab, a word that is like a tier is a misspelt tier.
    """
    config = source.config
    lab, _, suffix = name.partition("/")
    if lab in config.labs and difflib.get_close_matches(suffix, ROUTED_NAMES):
        return False
    return any(
        may_own_name((*part.names, *part.hosted_names), name, provider, own_lab)
        for provider, part in config.providers.items()
        if (own_lab := find_lab(config, provider)) is not None
    )


def list_common_names(source: ConfigSource) -> set[str]:
    """Return the names that clients mostly use: tiers alone and after a lab, and model names."""
    names = {*ROUTED_NAMES, *(target.model for *_, target in list_targets(source))}
    return names | {f"{lab}/{tier}" for lab in source.config.labs for tier in ROUTED_NAMES}


def list_all_names(source: ConfigSource) -> set[str]:
    """Return all names that a client may ask for, aliases included."""
    model_names = (
        _list_lab_model_names(source) | list_target_names(source) | list_embedding_names(source)
    )
    return list_common_names(source) | model_names | {*source.config.aliases}


def list_target_names(source: ConfigSource) -> set[str]:
    """Return the models of targets, alone and after their provider."""
    return {
        name
        for *_, provider, target in list_targets(source)
        for name in (target.model, f"{provider}/{target.model}")
    }


def _list_lab_model_names(source: ConfigSource) -> set[str]:
    return {f"{lab}/{target.model}" for _, lab, _, _, target in list_targets(source)}


def list_decision_providers(config: Config) -> list[str]:
    """Return the providers that have an endpoint for decision models."""
    return [
        name
        for name, part in config.providers.items()
        if not select_tables(part.endpoints).keys().isdisjoint(DECISION_TABLES)
    ]


def list_embedding_names(source: ConfigSource) -> set[str]:
    """Return the names of embedding models: alone, after their lab and after their provider."""
    return {
        f"{prefix}{target.model}"
        for lab, lab_part in source.config.labs.items()
        for target in lab_part.embeddings
        for prefix in ("", f"{lab}/", f"{target.provider or lab}/")
    }
