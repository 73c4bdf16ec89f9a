"""The OpenAPI document: the hot doors beside what FastAPI knows, and what holds for all of them.

A schema says what the gateway itself asks of a request, and no more: all else is its provider's to
take or refuse, and goes on as it came.
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

type Json = dict[str, Any]

_NAME: Json = {
    "type": "string",
    "minLength": 1,
    "description": "A model, a tier, auto, lab/tier or an alias.",
}
_OBJECTS: Json = {"type": "array", "items": {"type": "object"}}
_STREAM: Json = {"type": ["boolean", "null"]}
_CAP: Json = {"type": "integer", "minimum": 0}


def _asks(required: Iterable[str], **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


_CHAT = _asks(("model", "messages"), model=_NAME, messages=_OBJECTS, stream=_STREAM)
_MESSAGES = _asks(
    ("model", "max_tokens", "messages"),
    model=_NAME,
    max_tokens=_CAP,
    messages=_OBJECTS,
    stream=_STREAM,
)
_RESPONSES = _asks(
    ("model", "input"), model=_NAME, input={"anyOf": [{"type": "string"}, _OBJECTS]}, stream=_STREAM
)
_RESPONSES_COUNT = _asks(
    (),
    model={**_NAME, "type": ["string", "null"]},
    input={"anyOf": [{"type": ["string", "null"]}, _OBJECTS]},
)
_VECTORS = _asks(("model", "input"), model=_NAME, input={"type": ["string", "array"]})
_CONTENTS = _asks(
    ("contents",),
    contents={"anyOf": [_OBJECTS, {"type": "object"}]},
    generationConfig={"type": ["object", "null"]},
)
_EMBED = _asks(("content",), content={"type": "object"})
_EMBEDS = _asks(("requests",), requests={"type": "array", "items": _EMBED})

_BODIES: Mapping[tuple[str, str], Json] = {
    (OPENAI_CHAT.name, "generate"): _CHAT,
    (OPENAI_CHAT.name, "embeddings"): _VECTORS,
    (OPENAI_RESPONSES.name, "generate"): _RESPONSES,
    (OPENAI_RESPONSES.name, "count_tokens"): _RESPONSES_COUNT,
    (ANTHROPIC_MESSAGES.name, "generate"): _MESSAGES,
    (ANTHROPIC_MESSAGES.name, "count_tokens"): _CHAT,
}
_METHODS: Mapping[str, Json] = {
    "generateContent": _CONTENTS,
    "streamGenerateContent": _CONTENTS,
    "countTokens": {
        "anyOf": [
            _CONTENTS,
            _asks(("generateContentRequest",), generateContentRequest=_CONTENTS),
        ]
    },
    "embedContent": _EMBED,
    "batchEmbedContents": _EMBEDS,
}
_SUMMARIES = {
    "generate": "An answer, whole or streamed",
    "count_tokens": "How many tokens a request has",
    "embeddings": "Vectors of texts",
}
_KEYS: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    **{
        name: {"type": "apiKey", "in": "header", "name": name}
        for name in ("x-api-key", "api-key", "x-goog-api-key")
    },
}
_OPEN = frozenset({"/health", "/ready"})
_TEXTS = {
    "/metrics": ("text/plain", "application/openmetrics-text"),
    "/admin/entries": ("application/x-ndjson", "text/csv", "application/json"),
    "/admin/costs": ("application/json", "text/csv"),
}
"""Content of answers that are not JSON alone."""
_OBJECT: Json = {"type": "object"}
_EITHER = (OPENAI_CHAT.name, GEMINI.name)
_ERRORS: Mapping[str, Json] = {
    OPENAI_CHAT.name: _asks(
        ("error",),
        error=_asks(
            ("message", "type", "param", "code"),
            message={"type": "string"},
            type={"type": "string"},
        ),
    ),
    ANTHROPIC_MESSAGES.name: _asks(
        ("type", "error"),
        type={"const": "error"},
        error=_asks(("type", "message"), type={"type": "string"}, message={"type": "string"}),
    ),
    GEMINI.name: _asks(
        ("error",),
        error=_asks(
            ("code", "message", "status"), code={"type": "integer"}, message={"type": "string"}
        ),
    ),
}
"""What a refusal looks like, by dialect; Responses errs as Chat Completions does."""


_FEEDBACK = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 128},
        "verdict": {"enum": ["good", "bad", None]},
        "tier": {"enum": ["fast", "smart", "reasoning", None]},
        "score": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]},
    },
    "required": ["id"],
    "additionalProperties": False,
}


_REPLAY = {
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


def whole(document: Json) -> Json:
    """The document of FastAPI with all that it does not know."""
    paths: Json = document["paths"]
    for path, methods in paths.items():
        for operation in methods.values():
            _told(path, operation)
    for dialect in OPERATIONS.values():
        if dialect.read_at is None:
            paths[dialect.path] = {"post": _door(dialect)}
    for method, body in _METHODS.items():
        paths[f"/v1beta/models/{{model}}:{method}"] = {"post": _method(method, body)}
    if "/v1/route" in paths:
        bodies = [_CHAT, _RESPONSES, _MESSAGES, _CONTENTS]  # of the dialect that is asked for
        paths["/v1/route"]["post"]["requestBody"] = _content({"anyOf": bodies})
    if "/v1/feedback" in paths:
        paths["/v1/feedback"]["post"]["requestBody"] = _content(_FEEDBACK)
    if "/admin/replay" in paths:
        paths["/admin/replay"]["post"]["requestBody"] = _content(_REPLAY)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        {_named(name): one for name, one in _ERRORS.items()}
    )
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = _KEYS
    document["security"] = [{name: []} for name in _KEYS]
    return document


def _told(path: str, operation: Json) -> None:
    """What FastAPI says of an endpoint and cannot know."""
    answers = operation["responses"]
    answers.pop("422", None)  # a refusal has the shape of its dialect, and another status
    answers["default"] = _refusal(OPENAI_CHAT)
    if path.startswith("/v1/models/"):  # with a colon in the name it is one of Gemini's
        both = [{"$ref": f"#/components/schemas/{_named(name)}"} for name in _EITHER]
        answers["default"]["content"]["application/json"]["schema"] = {"anyOf": both}
    kinds = _TEXTS.get(path, ("application/json",))
    answers["200"]["content"] = {
        kind: {"schema": _OBJECT if kind == "application/json" else {"type": "string"}}
        for kind in kinds
    }
    if path in _OPEN:
        operation["security"] = []


def _door(dialect: Dialect) -> Json:
    body = _BODIES[dialect.name, dialect.operation]
    streams = dialect.operation == "generate"
    return _operation(dialect, dialect.operation, body, streams=streams)


def _method(method: str, body: Json) -> Json:
    kind = {
        "countTokens": "count_tokens",
        "embedContent": "embeddings",
        "batchEmbedContents": "embeddings",
    }
    made = _operation(
        GEMINI, kind.get(method, "generate"), body, streams=method.startswith("stream")
    )
    model = {"name": "model", "in": "path", "required": True, "schema": _NAME}
    alt = {"name": "alt", "in": "query", "required": True, "schema": {"const": "sse"}}
    return {**made, "parameters": [model, alt] if method.startswith("stream") else [model]}


def _operation(dialect: Dialect, kind: str, body: Json, *, streams: bool) -> Json:
    content: Json = {"application/json": {"schema": _OBJECT}}
    if streams:
        content["text/event-stream"] = {"schema": {}}
    return {
        "summary": f"{_SUMMARIES[kind]} ({dialect.name})",
        "requestBody": _content(body),
        "responses": {
            "200": {"description": "The answer", "content": content},
            "default": _refusal(dialect),
        },
    }


def _content(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _refusal(dialect: Dialect) -> Json:
    name = dialect.name if dialect.name in _ERRORS else OPENAI_CHAT.name
    schema = {"$ref": f"#/components/schemas/{_named(name)}"}
    return {
        "description": "A refusal or an error",
        "content": {"application/json": {"schema": schema}},
    }


def _named(dialect: str) -> str:
    return f"problem-{dialect}"
