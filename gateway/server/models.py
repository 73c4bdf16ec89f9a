"""The list of models that a key may ask for, virtual names first, in the caller's dialect.

OpenAI's and Anthropic's lists differ in names that do not clash, so one answer is both. Google's
is another. Sources: `Model` of OpenAI's, `ModelInfo` of Anthropic's, `Model` of Google's reference.
"""

from collections.abc import Container
from datetime import UTC, datetime

from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.core.target import Catalogue
from gateway.routing.visible_models import names, owner, vectors

_METHODS = ["generateContent", "streamGenerateContent", "countTokens"]
_VECTORS = ["embedContent", "batchEmbedContents"]


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
    found = owner(catalogue, key, name)
    return _model(name, found, created) if found else None


def gemini(catalogue: Catalogue, key: Key) -> dict[str, Json]:
    """What GET /v1beta/models answers, and /v1/models to Google's clients."""
    made = vectors(catalogue, key)
    return {"models": [_gemini(name, made) for name in names(catalogue, key)]}


def gemini_one(catalogue: Catalogue, key: Key, name: str) -> dict[str, Json] | None:
    """What GET /v1beta/models/{name} answers; None where the key may not ask for it."""
    return _gemini(name, vectors(catalogue, key)) if owner(catalogue, key, name) else None


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
