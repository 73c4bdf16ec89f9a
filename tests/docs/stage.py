"""Run the examples of clients: the labs that ship, a provider on loopback, a gateway in its own
process.

The provider speaks the dialects of OpenAI, Anthropic and Google. It calls a tool named `weather` or
`Weather` once, otherwise says `ANSWER`, and refuses what these labs would refuse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from tests.clients.model_turns import Turn, write_turn
from tests.clients.shape import Wrong
from tests.clients.strict import STRICT
from tests.docs.pages import ROOT
from tests.e2e.child import GatewayChild
from tests.e2e.four_labs import CHAT, COUNTS, GEMINI, MESSAGES, RESPONSES
from tests.e2e.upstream import Answer, Request, Upstream, failing
from tests.e2e.world import Loop

type Json = Any

HERE = "http://127.0.0.1:8484"
"""The gateway's URL in the documents."""
ANSWER = "The Rhine, the Rhone and the Po."
DOORS = {
    CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages", GEMINI: "/v1beta/models",
}  # fmt: skip
_ENVIRON = {
    "OPENAI_API_KEY": "key of openai", "ANTHROPIC_API_KEY": "key of anthropic", "GEMINI_API_KEY": "key of google",
    "TIERGATE_SERVER__LB_DELAY": "0s", "TIERGATE_CACHE__TTL": "0s",
    "TIERGATE_LIMITS": '[{"name": "pace", "requests": "6000/m"}]',
}  # fmt: skip


@dataclass(frozen=True)
class DocumentedGateway:
    """A gateway, and the requests that its provider got."""

    url: str
    upstream: Upstream
    data: Path

    def here(self, text: str) -> str:
        """Return a block of a page, with this gateway's URL."""
        return text.replace(HERE, self.url)

    def asked(self) -> list[Json]:
        """Return the bodies that the provider got since the last call of this method."""
        bodies = [jsonio.loads(request.body) for request in self.upstream.requests]
        self.upstream.requests.clear()
        return bodies


@contextmanager
def stage(loop: Loop, folder: Path, *, strict: bool = True) -> Iterator[DocumentedGateway]:
    """Run a gateway until the block ends.

    With `strict` off, the provider accepts the agents' beta members, which the strict reader does
    not know.
    """
    upstream = Upstream()
    loop.run(upstream.start())
    for dialect, door in DOORS.items():
        upstream.on(door, partial(_answer, dialect, strict))
    at = {
        f"TIERGATE_PROVIDERS__{name}__BASE_URL": upstream.url + path
        for name, path in (("OPENAI", "/v1"), ("ANTHROPIC", ""), ("GEMINI", ""))
    }
    data = folder / "data"
    child = GatewayChild(
        ROOT / "config/gateway.yaml", stem=folder / "gateway", TIERGATE_DATA=str(data), **_ENVIRON, **at
    )  # fmt: skip
    try:
        yield DocumentedGateway(child.url, upstream, data)
    finally:
        child.stop()
        loop.run(upstream.stop())


def _answer(dialect: str, strict: bool, request: Request) -> Answer:
    body = jsonio.loads(request.body)
    try:
        if strict:
            STRICT[dialect](body, "")
    except Wrong as wrong:
        return failing(400, jsonio.dumps({"error": {"message": f"strict: {wrong}"}}))
    if "okens" in request.path:
        body = jsonio.dumps(dict.fromkeys(("input_tokens", "totalTokens"), COUNTS[0]))
        return Answer(pieces=(body,), length=len(body))
    stream = bool(body.get("stream")) or ":stream" in request.path
    return write_turn(dialect, _turn(dialect, body, request.body.decode()), 0, stream=stream)


def _turn(dialect: str, body: Json, text: str) -> Turn:
    results = ('"role":"tool"', "function_call_output", '"tool_result"', "functionResponse")
    plain = text.replace('": "', '":"')
    if not any(mark in plain for mark in results):
        for name, schema in _tools(dialect, body):
            if name.lower() == "weather":
                return Turn(thought="A tool knows.", calls=((name, _given(schema)),))
    return Turn(text=ANSWER)


def _tools(dialect: str, body: Json) -> Iterator[tuple[str, Json]]:
    """Yield the names and schemas of functions."""
    for tool in body.get("tools", []):
        if dialect == GEMINI:
            for declaration in tool.get("functionDeclarations", []):
                yield declaration["name"], declaration.get("parametersJsonSchema") or {}
        elif dialect == CHAT:
            yield tool["function"]["name"], tool["function"].get("parameters") or {}
        elif "name" in tool:
            yield tool["name"], tool.get("parameters") or tool.get("input_schema") or {}


def _given(schema: Json) -> dict[str, Json]:
    """Make arguments: a word for each text, and a number for each number."""
    members = {}
    for name, property_schema in schema.get("properties", {}).items():
        members[name] = 2 if property_schema.get("type") in ("integer", "number") else "Lyon"
    return members
