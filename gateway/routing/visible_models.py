"""The names that a key may ask for: what lists of models show, and what errors may suggest."""

import difflib
from collections.abc import Container, Iterable, Mapping
from itertools import takewhile

from gateway.core.call import Key
from gateway.core.target import TIERS, Catalogue, EndpointKey, Tier
from gateway.routing import capabilities, unlisted_models

_MAX_NAME_CHARS = 100
"""The number of characters of an unknown name that suggestions compare."""
_MAX_CLOSE_NAMES = 5
"""The number of like names, of which the one with the most equal characters at its start wins."""


def list_labs(catalogue: Catalogue, key: Key) -> dict[str, list[Tier]]:
    """Return the tiers that a key may use of each lab that is on."""
    tiers = [tier for tier in TIERS if key.tiers is None or tier in key.tiers]
    return {
        name: [tier for tier in tiers if capabilities.may_use_lab(key, lab, (tier,))]
        for name, lab in catalogue.labs.items()
        if lab.enabled and (key.labs is None or name in key.labs)
    }


def list_names(catalogue: Catalogue, key: Key) -> dict[str, str]:
    """Return every name that a key may ask for, with its owner: a lab, or "tiergate"."""
    tiers_by_lab = list_labs(catalogue, key)
    reached_tiers = [
        tier for tier in TIERS if any(tier in tiers for tiers in tiers_by_lab.values())
    ]
    owners: dict[str, str] = dict.fromkeys(("auto", *reached_tiers), "tiergate")
    owners["claude-auto"] = "tiergate"  # Claude Code keeps only names that contain "claude"
    owners |= dict.fromkeys(catalogue.aliases, "tiergate")
    for lab, tiers in tiers_by_lab.items():
        owners |= {f"{lab}/{name}": lab for name in ("auto", *tiers) if tiers}
    for name, endpoints in catalogue.models.items():
        owner = _find_owner(key, tiers_by_lab, endpoints)
        if owner and name == endpoints[0].target.model:
            owners.setdefault(name, owner)
    for name, owner in list_embedding_models(catalogue, key).items():
        owners.setdefault(name, owner)
    hidden_aliases = {
        alias
        for alias, name in catalogue.aliases.items()
        if name not in owners and not _is_alias_visible(name, catalogue, key, tiers_by_lab)
    }
    return {name: owner for name, owner in owners.items() if name not in hidden_aliases}


def _find_owner(
    key: Key, tiers_by_lab: Mapping[str, Container[str]], endpoints: Iterable[EndpointKey]
) -> str:
    """Return the first lab in which a key may use a model; empty if there is none."""
    for endpoint in endpoints:
        if endpoint.tier in tiers_by_lab.get(
            endpoint.lab, ()
        ) and not capabilities.find_key_restriction(key, endpoint.target):
            return endpoint.lab
    return ""


def find_owner(catalogue: Catalogue, key: Key, name: str) -> str:
    """Return the owner of a name, listed or not; empty if the key may not ask for it."""
    listed_owner = list_names(catalogue, key).get(name, "")
    if listed_owner or name in catalogue.models:
        return listed_owner
    open_models = [
        model
        for model in unlisted_models.find_all(name, catalogue)
        if model.is_open_to(key, catalogue)
    ]
    return open_models[0].lab if len(open_models) == 1 else ""


def suggest_name(requested_name: str, catalogue: Catalogue, key: Key) -> str:
    """Return the name nearest to one that nobody serves; empty if none is near.

    A key may ask for it. It is a name that `list_names` has, or one that a price list knows of the
    provider. This may take a second, if nobody has read that list yet.
    """
    models = unlisted_models.find_all(requested_name, catalogue)
    # If a provider has the name, its caller wants a model, not a tier.
    omitted_names = unlisted_models.VIRTUAL_NAMES if models else ()
    names = {
        name: name
        for name in list_names(catalogue, key)
        if name.rpartition("/")[2] not in omitted_names
    }
    compared_name = requested_name
    for model in models:
        names |= model.list_open_names(key, catalogue)
        compared_name = model.name
    short_name = compared_name[:_MAX_NAME_CHARS]
    close_names = difflib.get_close_matches(short_name, names, n=_MAX_CLOSE_NAMES)
    nearest_name = max(
        close_names, key=lambda name: _count_equal_chars(name, short_name), default=""
    )
    return names.get(nearest_name, "")


def _count_equal_chars(name: str, other_name: str) -> int:
    """Return the number of characters with which two names begin alike."""
    pairs = zip(name, other_name, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _is_alias_visible(
    name: str, catalogue: Catalogue, key: Key, tiers_by_lab: Mapping[str, Container[str]]
) -> bool:
    """Return True if an alias stands for no tier, and for no model that the key may not use."""
    lab, _, bare_name = name.partition("/")
    lab_endpoints = [
        endpoint for endpoint in catalogue.models.get(bare_name, ()) if endpoint.lab == lab
    ]
    endpoints = [*catalogue.models.get(name, ()), *lab_endpoints]
    if endpoints:
        return bool(_find_owner(key, tiers_by_lab, endpoints))
    models = unlisted_models.find_all(name, catalogue)
    if models:
        return any(model.is_open_to(key, catalogue) for model in models)
    tier = bare_name if lab in catalogue.labs else name
    return tier not in ("auto", *TIERS)


def list_embedding_models(catalogue: Catalogue, key: Key) -> dict[str, str]:
    """Return every embedding model that a key may ask for, with its lab."""
    owners: dict[str, str] = {}
    for name, lab in catalogue.labs.items():
        for target in lab.embeddings:
            if target.provider.enabled and capabilities.may_use(key, name, target):
                owners.setdefault(target.model, name)
    return owners
