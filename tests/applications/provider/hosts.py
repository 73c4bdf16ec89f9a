"""Decide which URL of which host takes which request, with which credential, for which models.

Sources: the API references of OpenAI, Anthropic, Google and DeepSeek, and the README of Ollama.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES

type Json = Any
type Operation = Literal["generate", "count", "embed", "models"]

CREDENTIALS = {
    "openai": "sk-proj-8dJ2vQ7mZx4LrT9wK3bNcY6hPfGs1uEaXo5RiVt0",
    "anthropic": "sk-ant-api03-Wq7Zt2Lx9Vb4Nc8Kd3Jf6Hg1Ps5Ra0-YuTeMoXiAA",
    "gemini": "AIzaSyB7x2Kq9Lw4Rt6Yp1Zs8Dv3Fg5Hj0Nm_Qc",
    "deepseek": "sk-6f1c2e9a8b7d4f3e5a0b9c8d7e6f1a2b",
    "ollama": "ollama",
}
"""Credentials that the operator gave the gateway. The last one is the placeholder of Ollama's tutorials."""
SECRETS = tuple(secret for secret in CREDENTIALS.values() if len(secret) >= 16)
"""Credentials that no client may ever see."""


@dataclass(frozen=True)
class Endpoint:
    """One URL of a host. A body must have the `needed` members and none of the `foreign` ones."""

    path: re.Pattern[str]
    operation: Operation
    dialect: str
    needed: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    method: str = "POST"


@dataclass(frozen=True)
class Host:
    """One provider as its users know it: URLs, models and how a credential is sent."""

    name: str
    endpoints: tuple[Endpoint, ...]
    models: re.Pattern[str]
    header: str
    """The header of the credential."""
    prefix: str = ""
    """The text before the credential."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a path; None if this host has nothing there."""
        for endpoint in self.endpoints:
            if endpoint.method == method and endpoint.path.fullmatch(path):
                return endpoint
        return None


def _endpoint(path: str, operation: Operation, dialect: str, needed: str, foreign: str, method: str = "POST") -> Endpoint:  # fmt: skip
    return Endpoint(
        re.compile(path), operation, dialect, frozenset(needed.split()), frozenset(foreign.split()), method,
    )  # fmt: skip


def _openai(root: str, *, responses: bool = True, embeddings: bool = True) -> tuple[Endpoint, ...]:
    """List OpenAI's endpoints below a root."""
    chat_only = "input contents system max_output_tokens instructions previous_response_id"
    hosts = [
        _endpoint(f"{root}/chat/completions", "generate", CHAT, "model messages", chat_only),
        _endpoint(f"{root}/models", "models", CHAT, "", "", "GET"),
    ]
    if responses:
        other = "messages contents system max_tokens max_completion_tokens encoding_format"
        hosts += [
            _endpoint(f"{root}/responses", "generate", RESPONSES, "model input", other),
            _endpoint(f"{root}/responses/input_tokens", "count", RESPONSES, "model input", other),
        ]
    if embeddings:
        other = "messages contents instructions stream tools reasoning max_output_tokens"
        hosts.append(_endpoint(f"{root}/embeddings", "embed", CHAT, "model input", other))
    return tuple(hosts)


def _anthropic(root: str) -> tuple[Endpoint, ...]:
    """List Anthropic's endpoints below a root."""
    other = "input contents reasoning_effort max_completion_tokens instructions reasoning"
    return (
        _endpoint(f"{root}/messages", "generate", MESSAGES, "model messages max_tokens", other),
        _endpoint(f"{root}/messages/count_tokens", "count", MESSAGES, "model messages", other),
        _endpoint(f"{root}/models", "models", MESSAGES, "", "", "GET"),
    )


def _gemini(root: str) -> tuple[Endpoint, ...]:
    """List Gemini's endpoints below a root."""
    model, other = rf"{root}/models/[^/:]+", "messages input"
    return (
        _endpoint(f"{model}:(generateContent|streamGenerateContent)", "generate", GEMINI, "contents", other),
        _endpoint(f"{model}:countTokens", "count", GEMINI, "", other),
        _endpoint(f"{model}:embedContent", "embed", GEMINI, "content", other),
        _endpoint(f"{model}:batchEmbedContents", "embed", GEMINI, "requests", other),
        _endpoint(f"{root}/models", "models", GEMINI, "", "", "GET"),
    )  # fmt: skip


_OPENAI_MODELS = r"(ft:)?gpt-[\w.:-]+|o\d[\w.-]*|chatgpt-[\w.-]+|text-embedding-[\w.-]+"
_DEEPSEEK = _openai("", embeddings=False) + _anthropic("/anthropic/v1")

HOSTS: Mapping[str, Host] = {
    host.name: host
    for host in (
        Host("openai", _openai("/v1"), re.compile(_OPENAI_MODELS), "authorization", "Bearer "),
        Host("anthropic", _anthropic("/v1"), re.compile(r"claude-[\w.-]+"), "x-api-key"),
        Host("gemini", _gemini("/v1beta"), re.compile(r"gemini-[\w.-]+"), "x-goog-api-key"),
        Host("gemini-chat", _openai("/v1beta/openai", responses=False), re.compile(r"gemini-[\w.-]+"), "authorization", "Bearer "),
        Host("deepseek", _DEEPSEEK, re.compile(r"deepseek-[\w.-]+"), "authorization", "Bearer "),
        Host("ollama", _openai("/v1") + _anthropic("/v1"), re.compile(r"[\w.:/-]+"), "authorization", "Bearer "),
    )
}  # fmt: skip
"""Hosts by name. Host `openai` stands below `/openai` of the provider's URL, and so on."""


def misdirected(
    host: Host, endpoint: Endpoint | None, header: Callable[[str], str | None], body: Json, model: str
) -> str | None:  # fmt: skip
    """Describe what is wrong with where a request arrived; None if nothing is."""
    if endpoint is None:
        return "no such URL"
    secret = CREDENTIALS[host.name.removesuffix("-chat")]
    if header(host.header) != host.prefix + secret:
        return f"another credential: {header(host.header)!r}"
    return None if endpoint.method == "GET" else _wrong_body(host, endpoint, header, body, model)


def _wrong_body(
    host: Host, endpoint: Endpoint, header: Callable[[str], str | None], body: Json, model: str
) -> str | None:
    """Describe what the endpoint refuses in a body; None if it takes the body."""
    members = set(body)
    if missing := endpoint.needed - members:
        return f"a body without {sorted(missing)}"
    if foreign := endpoint.foreign & members:
        return f"a body with {sorted(foreign)}"
    if endpoint.dialect == MESSAGES and not header("anthropic-version"):
        return "no anthropic-version"
    if not host.models.fullmatch(model):
        return f"model {model!r}"
    if ("embed" in model) != (endpoint.operation == "embed"):
        return f"model {model!r} asked to {endpoint.operation}"
    return None
