"""The names that a key may ask for: what lists of models show, and what errors may suggest."""

from collections.abc import Container, Iterable, Mapping

from gateway.core.call import Key
from gateway.core.target import TIERS, Catalogue, EndpointKey, Tier
from gateway.routing import capabilities, unlisted_models


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
    unlisted_model = unlisted_models.find(name, catalogue)
    return (
        unlisted_model.maker.lab
        if unlisted_model is not None and unlisted_model.is_open_to(key, catalogue)
        else ""
    )


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
    unlisted_model = unlisted_models.find(name, catalogue)
    if unlisted_model is not None:
        return unlisted_model.is_open_to(key, catalogue)
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
