"""Make the tables of docs/http.md from the routes of the app and from its OpenAPI document.

`python -m tests.docs.http_reference` writes them anew.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from gateway.dialects import GEMINI, OPERATIONS, TARGET_OPERATIONS, Dialect, can_translate
from gateway.runtime.build import build_config
from gateway.runtime.composition import Gateway
from gateway.server.app import App
from gateway.server.paths import GEMINI_OPERATIONS
from gateway.settings.loader import load
from tests.docs.pages import ROOT

type Json = dict[str, Any]

PAGE = ROOT / "docs" / "http.md"
ABSENT = "-"
_BEGIN, _END = "<!-- tables -->\n", "<!-- end of tables -->\n"
_MEDIA = {
    "application/json": "JSON",
    "text/event-stream": "events",
    "text/csv": "CSV",
    "application/x-ndjson": "NDJSON",
    "text/plain": "text",
    "application/openmetrics-text": "OpenMetrics",
}
"""Short names of content types."""
_GROUPS = {
    "Model calls": ("/v1/chat/", "/v1/responses", "/v1/messages", "/v1/embeddings", "/v1beta/"),
    "Models, decisions and feedback": ("/v1/",),
    "Health and metrics": ("/health", "/ready", "/metrics"),
    "Admin: costs and calls": (
        "/admin/costs",
        "/admin/entries",
        "/admin/conversations",
        "/admin/month",
        "/admin/series",
        "/admin/latency",
        "/admin/arms",
        "/admin/budgets",
    ),
    "Admin: rules, configuration, targets": ("/admin/",),
}
"""Prefixes of paths by heading; a path belongs to the first heading that has a prefix of it."""


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    parts = [
        "\n".join(_make_matrix()),
        *(
            "\n".join([f"### {title}\n", *_make_reference(operations)])
            for title, operations in _group(read_document()).items()
        ),
    ]
    return f"{before}{_BEGIN}\n" + "\n\n".join(parts) + f"\n\n{_END}{after}"


def list_calls() -> dict[str, Dialect]:
    """Return the operation of a dialect that each path for model calls serves."""
    calls = {
        dialect.path: dialect for dialect in OPERATIONS.values() if dialect.read_with_path is None
    }
    return calls | {
        f"/v1beta/models/{{model}}:{method}": OPERATIONS[GEMINI.name, operation]
        for method, operation in GEMINI_OPERATIONS.items()
    }


def read_document() -> Json:
    """Return the OpenAPI document of a gateway with the shipped configuration."""

    async def read() -> Json:
        with make_app() as app:
            return app.openapi()

    return asyncio.run(read())


@contextmanager
def make_app() -> Iterator[App]:
    """Make the app of the shipped configuration. It serves without a network."""
    with tempfile.TemporaryDirectory() as data:
        environ = {"TIERGATE_DATA": data}
        built = build_config(load(ROOT / "config/gateway.yaml", environ), datetime.now(UTC))
        yield App(Gateway(built, environ, _discard))


def _discard(event: str, **fields: object) -> None:
    """Log nothing."""


def _make_matrix() -> Iterator[str]:
    providers = [name for name, operation in TARGET_OPERATIONS if operation == "generate"]
    yield f"| model call | client's dialect | {' | '.join(providers)} |"
    yield "|---|---|" + "---|" * len(providers)
    for path, dialect in list_calls().items():
        cells = (find_service(dialect, provider) for provider in providers)
        yield f"| `POST {path}` | {dialect.name} | {' | '.join(cells)} |"


def find_service(dialect: Dialect, provider: str) -> str:
    """Return how the gateway serves an operation at a provider that speaks one dialect only."""
    if dialect.name == provider:
        return "native"
    target = TARGET_OPERATIONS.get((provider, dialect.operation))
    if target is not None and can_translate(dialect, target):
        return "translated"
    return "estimated" if dialect.write_token_count is not None else ABSENT


def _group(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    """Group the operations of the document by heading."""
    groups: dict[str, list[tuple[str, str, Json]]] = {title: [] for title in _GROUPS}
    for path, methods in document["paths"].items():
        title = next(title for title, prefixes in _GROUPS.items() if path.startswith(prefixes))
        groups[title] += [
            (method.upper(), path, operation) for method, operation in methods.items()
        ]
    return groups


def _make_reference(operations: list[tuple[str, str, Json]]) -> Iterator[str]:
    yield "| request | what it does | query | body | answer |"
    yield "|---|---|---|---|---|"
    for method, path, operation in operations:
        query = ", ".join(
            _show_parameter(parameter)
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "query"
        )
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        responses = operation["responses"]
        answer = next(responses[status] for status in responses if status < "3")["content"]
        yield (
            f"| `{method} {path}` | {operation['summary']} | {query}"
            f" | {_show_body(body.get('schema', {}))} | {', '.join(_MEDIA[parameter] for parameter in answer)} |"
        )


def _show_parameter(parameter: Json) -> str:
    schema = parameter["schema"]
    if "const" in schema:
        return f"`{parameter['name']}={schema['const']}`"
    default = schema.get("default", "")
    shown = ",".join(default) if isinstance(default, list) else default
    return f"`{parameter['name']}={shown}`" if shown else f"`{parameter['name']}`"


def _show_body(schema: Json) -> str:
    """List the members that the gateway reads; required members are bold."""
    if "anyOf" in schema:
        return "; or ".join(_show_body(variant) for variant in schema["anyOf"])
    required = schema.get("required", [])
    names = [
        f"**`{name}`**" if name in required else f"`{name}`"
        for name in schema.get("properties", {})
    ]
    return ", ".join(names)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
