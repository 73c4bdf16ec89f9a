"""The OpenAPI document: FastAPI's, with the call endpoints and with what applies to all endpoints.

A schema contains only what the gateway itself requires of a request. The gateway passes everything
else on, and the provider takes or refuses it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    GEMINI,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    OPERATIONS,
    Dialect,
)
from gateway.limits.keys import KeyPart
from gateway.server.paths import GEMINI_OPERATIONS

type Json = dict[str, Any]

_MODEL_SCHEMA: Json = {
    "type": "string",
    "minLength": 1,
    "description": "A model, a tier, auto, lab/tier or an alias.",
}
_OBJECT_LIST_SCHEMA: Json = {"type": "array", "items": {"type": "object"}}
_STREAM_SCHEMA: Json = {"type": ["boolean", "null"]}
_MAX_TOKENS_SCHEMA: Json = {"type": "integer", "minimum": 0}


def _build_object_schema(required: Iterable[str], **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


_CHAT_SCHEMA = _build_object_schema(
    ("model", "messages"), model=_MODEL_SCHEMA, messages=_OBJECT_LIST_SCHEMA, stream=_STREAM_SCHEMA
)
_MESSAGES_SCHEMA = _build_object_schema(
    ("model", "max_tokens", "messages"),
    model=_MODEL_SCHEMA,
    max_tokens=_MAX_TOKENS_SCHEMA,
    messages=_OBJECT_LIST_SCHEMA,
    stream=_STREAM_SCHEMA,
)
_RESPONSES_SCHEMA = _build_object_schema(
    ("model", "input"),
    model=_MODEL_SCHEMA,
    input={"anyOf": [{"type": "string"}, _OBJECT_LIST_SCHEMA]},
    stream=_STREAM_SCHEMA,
)
_RESPONSES_COUNT_SCHEMA = _build_object_schema(
    (),
    model={**_MODEL_SCHEMA, "type": ["string", "null"]},
    input={"anyOf": [{"type": ["string", "null"]}, _OBJECT_LIST_SCHEMA]},
)
_EMBEDDINGS_SCHEMA = _build_object_schema(
    ("model", "input"), model=_MODEL_SCHEMA, input={"type": ["string", "array"]}
)
_CONTENTS_SCHEMA = _build_object_schema(
    ("contents",),
    contents={"anyOf": [_OBJECT_LIST_SCHEMA, {"type": "object"}]},
    generationConfig={"type": ["object", "null"]},
)
_EMBED_CONTENT_SCHEMA = _build_object_schema(("content",), content={"type": "object"})
_BATCH_EMBED_SCHEMA = _build_object_schema(
    ("requests",), requests={"type": "array", "items": _EMBED_CONTENT_SCHEMA}
)

_BODY_SCHEMAS: Mapping[tuple[str, str], Json] = {
    (OPENAI_CHAT.name, "generate"): _CHAT_SCHEMA,
    (OPENAI_CHAT.name, "embeddings"): _EMBEDDINGS_SCHEMA,
    (OPENAI_RESPONSES.name, "generate"): _RESPONSES_SCHEMA,
    (OPENAI_RESPONSES.name, "count_tokens"): _RESPONSES_COUNT_SCHEMA,
    (ANTHROPIC_MESSAGES.name, "generate"): _MESSAGES_SCHEMA,
    (ANTHROPIC_MESSAGES.name, "count_tokens"): _CHAT_SCHEMA,
}
_GEMINI_BODY_SCHEMAS: Mapping[str, Json] = {
    "generateContent": _CONTENTS_SCHEMA,
    "streamGenerateContent": _CONTENTS_SCHEMA,
    "countTokens": {
        "anyOf": [
            _CONTENTS_SCHEMA,
            _build_object_schema(
                ("generateContentRequest",), generateContentRequest=_CONTENTS_SCHEMA
            ),
        ]
    },
    "embedContent": _EMBED_CONTENT_SCHEMA,
    "batchEmbedContents": _BATCH_EMBED_SCHEMA,
}
_SUMMARIES = {
    "generate": "Generate an answer",
    "count_tokens": "Count the tokens of a request",
    "embeddings": "Embed texts",
}
_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    **{
        name: {"type": "apiKey", "in": "header", "name": name}
        for name in ("x-api-key", "api-key", "x-goog-api-key")
    },
}
_KEYLESS_PATHS = frozenset({"/health", "/ready"})
_CONTENT_TYPES = {
    "/metrics": ("text/plain", "application/openmetrics-text"),
    "/admin/entries": ("application/x-ndjson", "text/csv", "application/json"),
    "/admin/costs": ("application/json", "text/csv"),
}
"""Content types of answers that are not JSON alone."""
_OBJECT_SCHEMA: Json = {"type": "object"}
_MODELS_DIALECTS = (OPENAI_CHAT.name, GEMINI.name)
_ERROR_SCHEMAS: Mapping[str, Json] = {
    OPENAI_CHAT.name: _build_object_schema(
        ("error",),
        error=_build_object_schema(
            ("message", "type", "param", "code"),
            message={"type": "string"},
            type={"type": "string"},
        ),
    ),
    ANTHROPIC_MESSAGES.name: _build_object_schema(
        ("type", "error"),
        type={"const": "error"},
        error=_build_object_schema(
            ("type", "message"), type={"type": "string"}, message={"type": "string"}
        ),
    ),
    GEMINI.name: _build_object_schema(
        ("error",),
        error=_build_object_schema(
            ("code", "message", "status"), code={"type": "integer"}, message={"type": "string"}
        ),
    ),
}
"""Schemas of error answers, by dialect; Responses has the same one as Chat Completions."""


_OPINION_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["good", "bad", None]},
        "tier": {"enum": ["fast", "smart", "reasoning", None]},
        "score": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]},
    },
    "additionalProperties": False,
}
_FEEDBACK_SCHEMA: Json = {
    **_OPINION_SCHEMA,
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 128},
        **_OPINION_SCHEMA["properties"],
    },
    "required": ["id"],
}
_GOLDEN_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "tier": {"enum": ["fast", "smart", "reasoning"]},
        "why": {"type": "string"},
    },
    "required": ["tier"],
    "additionalProperties": False,
}
_COMPARISON_SCHEMA: Json = {
    "type": "object",
    "properties": {"better": {"enum": ["A", "B", "same", "skip"]}},
    "required": ["better"],
    "additionalProperties": False,
}


_REPLAY_SCHEMA = {
    "type": "object",
    "properties": {
        "rules": {"type": "string", "description": "YAML with guards, choices or both."},
        "since": {"type": "string"},
        "until": {"type": "string"},
        "only": {"type": "array", "items": {"type": "string"}},
        "limit": {"type": "integer", "minimum": 0, "maximum": 200},
    },
    "additionalProperties": False,
}


_KEY_SETTINGS: Json = {name: {} for name in KeyPart.model_fields if name != "revoked"}
_KEY_SCHEMA = _build_object_schema(("name",), name={"type": "string"}, **_KEY_SETTINGS)
_KEY_CHANGE_SCHEMA = _build_object_schema(
    (),
    **{name: {} for name in _KEY_SETTINGS if name not in ("sha256", "earlier")},
)
_ROTATION_SCHEMA = _build_object_schema((), keep={"type": "string"})


def complete_document(document: Json) -> Json:
    """Complete FastAPI's document with all that FastAPI does not know."""
    paths: Json = document["paths"]
    for path, methods in paths.items():
        for operation in methods.values():
            _complete_operation(path, operation)
    for dialect in OPERATIONS.values():
        if dialect.read_with_path is None:
            paths[dialect.path] = {"post": _describe_endpoint(dialect)}
    for method, body in _GEMINI_BODY_SCHEMAS.items():
        paths[f"/v1beta/models/{{model}}:{method}"] = {
            "post": _describe_gemini_method(method, body)
        }
    if "/v1/route" in paths:
        bodies = [
            _CHAT_SCHEMA,
            _RESPONSES_SCHEMA,
            _MESSAGES_SCHEMA,
            _CONTENTS_SCHEMA,
        ]  # of the dialect in the query
        paths["/v1/route"]["post"]["requestBody"] = _build_request_body({"anyOf": bodies})
    for path, method, schema in (
        ("/v1/feedback", "post", _FEEDBACK_SCHEMA),
        ("/admin/entries/{name}/rating", "post", _OPINION_SCHEMA),
        ("/admin/entries/{name}/golden", "post", _GOLDEN_SCHEMA),
        ("/admin/labels/{name}", "post", _COMPARISON_SCHEMA),
        ("/admin/replay", "post", _REPLAY_SCHEMA),
        ("/admin/keys", "post", _KEY_SCHEMA),
        ("/admin/keys/{name}", "patch", _KEY_CHANGE_SCHEMA),
        ("/admin/keys/{name}/rotate", "post", _ROTATION_SCHEMA),
    ):
        if path in paths:
            paths[path][method]["requestBody"] = _build_request_body(schema)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        {_get_schema_name(name): schema for name, schema in _ERROR_SCHEMAS.items()}
    )
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = _SECURITY_SCHEMES
    document["security"] = [{name: []} for name in _SECURITY_SCHEMES]
    return document


def _complete_operation(path: str, operation: Json) -> None:
    """Correct what FastAPI cannot know about an endpoint."""
    responses = operation["responses"]
    responses.pop("422", None)  # a refusal has the shape of its dialect, and another status
    responses["default"] = _build_error_response(OPENAI_CHAT)
    if path.startswith("/v1/models/"):  # with a colon in the name it is a Gemini path
        schemas = [
            {"$ref": f"#/components/schemas/{_get_schema_name(name)}"} for name in _MODELS_DIALECTS
        ]
        responses["default"]["content"]["application/json"]["schema"] = {"anyOf": schemas}
    content_types = _CONTENT_TYPES.get(path, ("application/json",))
    success = next(status for status in responses if status.startswith("2"))
    responses[success]["content"] = {
        content_type: {
            "schema": _OBJECT_SCHEMA if content_type == "application/json" else {"type": "string"}
        }
        for content_type in content_types
    }
    if path in _KEYLESS_PATHS:
        operation["security"] = []


def _describe_endpoint(dialect: Dialect) -> Json:
    body = _BODY_SCHEMAS[dialect.name, dialect.operation]
    is_streaming = dialect.operation == "generate"
    return _build_operation(dialect, dialect.operation, body, is_streaming=is_streaming)


def _describe_gemini_method(method: str, body: Json) -> Json:
    description = _build_operation(
        GEMINI, GEMINI_OPERATIONS[method], body, is_streaming=method.startswith("stream")
    )
    model = {"name": "model", "in": "path", "required": True, "schema": _MODEL_SCHEMA}
    alt = {"name": "alt", "in": "query", "required": True, "schema": {"const": "sse"}}
    return {**description, "parameters": [model, alt] if method.startswith("stream") else [model]}


def _build_operation(dialect: Dialect, operation: str, body: Json, *, is_streaming: bool) -> Json:
    content: Json = {"application/json": {"schema": _OBJECT_SCHEMA}}
    if is_streaming:
        content["text/event-stream"] = {"schema": {}}
    return {
        "summary": f"{_SUMMARIES[operation]} ({dialect.name})",
        "requestBody": _build_request_body(body),
        "responses": {
            "200": {"description": "The answer", "content": content},
            "default": _build_error_response(dialect),
        },
    }


def _build_request_body(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _build_error_response(dialect: Dialect) -> Json:
    name = dialect.name if dialect.name in _ERROR_SCHEMAS else OPENAI_CHAT.name
    schema = {"$ref": f"#/components/schemas/{_get_schema_name(name)}"}
    return {
        "description": "A refusal or an error",
        "content": {"application/json": {"schema": schema}},
    }


def _get_schema_name(dialect: str) -> str:
    return f"problem-{dialect}"
