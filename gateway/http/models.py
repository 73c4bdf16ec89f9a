"""The list of models that a key may ask for, in the shape of OpenAI's: virtual names come first."""

from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.core.target import TIERS, Catalogue

_MESSAGES = "anthropic-messages"


def listing(catalogue: Catalogue, key: Key, created: int) -> dict[str, Json]:
    """What GET /v1/models answers. `created` is in seconds since the epoch."""
    labs = [
        name
        for name, lab in catalogue.labs.items()
        if lab.on and (key.labs is None or name in key.labs)
    ]
    tiers = [tier for tier in TIERS if key.tiers is None or tier in key.tiers]
    owners: dict[str, str] = dict.fromkeys(("auto", *tiers), "tiergate")
    every = [place for spots in catalogue.models.values() for place in spots]
    if any(place.lab in labs and _MESSAGES in place.target.provider.doors for place in every):
        owners["claude-auto"] = "tiergate"  # Claude Code keeps only names that hold "claude"
    owners |= dict.fromkeys(catalogue.aliases, "tiergate")
    for lab in labs:
        owners |= {f"{lab}/{name}": lab for name in ("auto", *tiers)}
    for name, places in catalogue.models.items():
        owner = next((p.lab for p in places if p.lab in labs and p.tier in tiers), None)
        if owner is not None and name == places[0].target.model:
            owners.setdefault(name, owner)
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": owner}
        for name, owner in owners.items()
    ]
    return {"object": "list", "data": data}


def one(catalogue: Catalogue, key: Key, created: int, name: str) -> dict[str, Json] | None:
    """What GET /v1/models/{name} answers; None where the key may not ask for it."""
    models = listing(catalogue, key, created)["data"]
    return next((model for model in models if model["id"] == name), None)
