"""The names that a key may ask for: what lists of models show, and what errors may suggest."""

from collections.abc import Container, Iterable, Mapping

from gateway.core.call import Key
from gateway.core.target import TIERS, Catalogue, EndpointKey, Tier
from gateway.routing import capabilities, unlisted_models


def labs(catalogue: Catalogue, key: Key) -> dict[str, list[Tier]]:
    """Return the tiers of each lab that is on and that a key may use."""
    tiers = [tier for tier in TIERS if key.tiers is None or tier in key.tiers]
    return {
        name: [tier for tier in tiers if capabilities.open_to(key, lab, (tier,))]
        for name, lab in catalogue.labs.items()
        if lab.on and (key.labs is None or name in key.labs)
    }


def names(catalogue: Catalogue, key: Key) -> dict[str, str]:
    """Every name that a key may ask for, with whose it is: a lab's, or "tiergate"."""
    rows = labs(catalogue, key)
    reached = [tier for tier in TIERS if any(tier in row for row in rows.values())]
    owners: dict[str, str] = dict.fromkeys(("auto", *reached), "tiergate")
    owners["claude-auto"] = "tiergate"  # Claude Code keeps only names that hold "claude"
    owners |= dict.fromkeys(catalogue.aliases, "tiergate")
    for lab, row in rows.items():
        owners |= {f"{lab}/{name}": lab for name in ("auto", *row) if row}
    for name, places in catalogue.models.items():
        owner = _owner(key, rows, places)
        if owner and name == places[0].target.model:
            owners.setdefault(name, owner)
    for name, owner in vectors(catalogue, key).items():
        owners.setdefault(name, owner)
    hidden = {
        alias
        for alias, name in catalogue.aliases.items()
        if name not in owners and not _reaches(name, catalogue, key, rows)
    }
    return {name: owner for name, owner in owners.items() if name not in hidden}


def _owner(key: Key, rows: Mapping[str, Container[str]], places: Iterable[EndpointKey]) -> str:
    """The first lab in which a key may use a model; empty where there is none."""
    for place in places:
        if place.tier in rows.get(place.lab, ()) and not capabilities.barred(key, place.target):
            return place.lab
    return ""


def owner(catalogue: Catalogue, key: Key, name: str) -> str:
    """Return whose a name is that a key may ask for, listed or not; empty where it may not."""
    listed = names(catalogue, key).get(name, "")
    if listed or name in catalogue.models:
        return listed
    unlisted = unlisted_models.find(name, catalogue)
    return unlisted.maker.lab if unlisted is not None and unlisted.open_to(key, catalogue) else ""


def _reaches(name: str, catalogue: Catalogue, key: Key, rows: Mapping[str, Container[str]]) -> bool:
    """Return True if an alias stands for no tier, and for no model that the key may not use."""
    lab, _, rest = name.partition("/")
    behind = [place for place in catalogue.models.get(rest, ()) if place.lab == lab]
    places = [*catalogue.models.get(name, ()), *behind]
    if places:
        return bool(_owner(key, rows, places))
    unlisted = unlisted_models.find(name, catalogue)
    if unlisted is not None:
        return unlisted.open_to(key, catalogue)
    tier = rest if lab in catalogue.labs else name
    return tier not in ("auto", *TIERS)


def vectors(catalogue: Catalogue, key: Key) -> dict[str, str]:
    """Every embedding model that a key may ask for, with its lab."""
    found: dict[str, str] = {}
    for name, lab in catalogue.labs.items():
        for target in lab.embeddings:
            if target.provider.on and capabilities.may_use(key, name, target):
                found.setdefault(target.model, name)
    return found
