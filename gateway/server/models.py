"""Lists of the models that a key may use, virtual names first, in the caller's dialect.

The lists of OpenAI and Anthropic use member names that do not clash, so one answer serves both.
Google's differs. Sources: `Model` of OpenAI's, `ModelInfo` of Anthropic's, `Model` of Google's
reference.
"""

from collections.abc import Container
from datetime import UTC, datetime

from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.core.target import Catalogue
from gateway.routing.visible_models import find_owner, list_embedding_models, list_names

_GENERATION_METHODS = ["generateContent", "streamGenerateContent", "countTokens"]
_EMBEDDING_METHODS = ["embedContent", "batchEmbedContents"]


def build_list(catalogue: Catalogue, key: Key, created: int) -> dict[str, Json]:
    """Build the answer to GET /v1/models for OpenAI and Anthropic; `created` in seconds (epoch)."""
    data = [
        _render_model(name, owner, created) for name, owner in list_names(catalogue, key).items()
    ]
    return {
        "object": "list",
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"],
        "last_id": data[-1]["id"],
    }


def build_model(catalogue: Catalogue, key: Key, created: int, name: str) -> dict[str, Json] | None:
    """Build the answer to GET /v1/models/{name}; None if the key may not use the model."""
    owned_by = find_owner(catalogue, key, name)
    return _render_model(name, owned_by, created) if owned_by else None


def build_gemini_list(catalogue: Catalogue, key: Key) -> dict[str, Json]:
    """Build the answer to GET /v1beta/models, and to /v1/models for Google's clients."""
    embedding_models = list_embedding_models(catalogue, key)
    return {
        "models": [
            _render_gemini_model(name, embedding_models) for name in list_names(catalogue, key)
        ]
    }


def build_gemini_model(catalogue: Catalogue, key: Key, name: str) -> dict[str, Json] | None:
    """Build the answer to GET /v1beta/models/{name}; None if the key may not use the model."""
    return (
        _render_gemini_model(name, list_embedding_models(catalogue, key))
        if find_owner(catalogue, key, name)
        else None
    )


def _render_model(name: str, owner: str, created: int) -> dict[str, Json]:
    created_at = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        "created_at": created_at,
    }


def _render_gemini_model(name: str, embedding_models: Container[str]) -> dict[str, Json]:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "supportedGenerationMethods": _EMBEDDING_METHODS
        if name in embedding_models
        else _GENERATION_METHODS,
    }
