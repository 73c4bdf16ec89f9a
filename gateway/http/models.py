"""The list of models that a key may ask for, virtual names first, in the caller's dialect.

OpenAI's and Anthropic's lists differ in names that do not clash, so one answer is both. Google's
is another. Sources: `Model` of OpenAI's, `ModelInfo` of Anthropic's, `Model` of Google's reference.
"""

from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime

from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.core.target import TIERS, Catalogue, Place
from gateway.routing import constraint

_METHODS = ["generateContent", "streamGenerateContent", "countTokens"]
_VECTORS = ["embedContent", "batchEmbedContents"]


def names(catalogue: Catalogue, key: Key) -> dict[str, str]:
    """Every name that a key may ask for, with whose it is: a lab's, or "tiergate"."""
    tiers = [tier for tier in TIERS if key.tiers is None or tier in key.tiers]
    labs = {
        name: [tier for tier in tiers if constraint.open_to(key, lab, (tier,))]
        for name, lab in catalogue.labs.items()
        if lab.on and (key.labs is None or name in key.labs)
    }
    reached = [tier for tier in tiers if any(tier in row for row in labs.values())]
    owners: dict[str, str] = dict.fromkeys(("auto", *reached), "tiergate")
    owners["claude-auto"] = "tiergate"  # Claude Code keeps only names that hold "claude"
    owners |= dict.fromkeys(catalogue.aliases, "tiergate")
    for lab, row in labs.items():
        owners |= {f"{lab}/{name}": lab for name in ("auto", *row) if row}
    for name, places in catalogue.models.items():
        owner = _owner(key, labs, places)
        if owner and name == places[0].target.model:
            owners.setdefault(name, owner)
    for name, owner in vectors(catalogue, key).items():
        owners.setdefault(name, owner)
    hidden = {
        alias
        for alias, name in catalogue.aliases.items()
        if name not in owners and not _reaches(name, catalogue, key, labs)
    }
    return {name: owner for name, owner in owners.items() if name not in hidden}


def _owner(key: Key, labs: Mapping[str, Container[str]], places: Iterable[Place]) -> str:
    """The first lab in which a key may use a model; empty where there is none."""
    for place in places:
        if place.tier in labs.get(place.lab, ()) and not constraint.barred(key, place.target):
            return place.lab
    return ""


def _reaches(name: str, catalogue: Catalogue, key: Key, labs: Mapping[str, Container[str]]) -> bool:
    """Whether what an alias stands for is no tier and no model that the key may not use."""
    lab, _, rest = name.partition("/")
    behind = [place for place in catalogue.models.get(rest, ()) if place.lab == lab]
    places = [*catalogue.models.get(name, ()), *behind]
    if places:
        return bool(_owner(key, labs, places))
    tier = rest if lab in catalogue.labs else name
    return tier not in ("auto", *TIERS)


def vectors(catalogue: Catalogue, key: Key) -> dict[str, str]:
    """Every embedding model that a key may ask for, with its lab."""
    found: dict[str, str] = {}
    for name, lab in catalogue.labs.items():
        for target in lab.embeddings if key.labs is None or name in key.labs else ():
            if target.provider.on and not constraint.barred(key, target):
                found.setdefault(target.model, name)
    return found


def listing(catalogue: Catalogue, key: Key, created: int) -> dict[str, Json]:
    """What GET /v1/models answers to OpenAI's and Anthropic's clients; seconds since the epoch."""
    data = [_model(name, owner, created) for name, owner in names(catalogue, key).items()]
    return {
        "object": "list",
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"],
        "last_id": data[-1]["id"],
    }


def one(catalogue: Catalogue, key: Key, created: int, name: str) -> dict[str, Json] | None:
    """What GET /v1/models/{name} answers; None where the key may not ask for it."""
    owner = names(catalogue, key).get(name)
    return None if owner is None else _model(name, owner, created)


def gemini(catalogue: Catalogue, key: Key) -> dict[str, Json]:
    """What GET /v1beta/models answers, and /v1/models to Google's clients."""
    made = vectors(catalogue, key)
    return {"models": [_gemini(name, made) for name in names(catalogue, key)]}


def gemini_one(catalogue: Catalogue, key: Key, name: str) -> dict[str, Json] | None:
    """What GET /v1beta/models/{name} answers; None where the key may not ask for it."""
    known = names(catalogue, key)
    return _gemini(name, vectors(catalogue, key)) if name in known else None


def _model(name: str, owner: str, created: int) -> dict[str, Json]:
    made = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        "created_at": made,
    }


def _gemini(name: str, made: Container[str]) -> dict[str, Json]:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "supportedGenerationMethods": _VECTORS if name in made else _METHODS,
    }
