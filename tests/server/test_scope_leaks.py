"""Test that no answer to a key names anything outside its scope: random requests, every endpoint."""

import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.core import jsonio
from tests.e2e.upstream import Answer, Upstream, whole
from tests.e2e.world import Make, World
from tests.server.test_scopes import digest

HIDDEN = {
    "lab": ("vault",),
    "provider": ("bunker", "cellar"),
    "model": ("onyx-1", "onyx-2", "onyx-embed", "topaz-1"),
    "key": ("carol", "marlow"),
    "tenant": ("umbra",),
    "alias": ("treasure", "jewel"),
    "host": ("bunker.invalid", "sk-bunker-0123456789"),
}
"""Names that no answer to these keys may contain, unless the client sent them itself."""
KEYS: dict[str, dict[str, Any]] = {
    "narrow": {"labs": "acme", "models": ["swift-*", "vector-*"]},
    "lab": {"labs": "acme"},
    "models": {"models": ["swift-*", "able-*", "vector-*"]},
    "region": {"regions": "eu"},
    "carol": {"tenant": "umbra", "budgets": {"usd": 5, "every": "day"}},
    "marlow": {"admin": True, "tenant": "umbra"},
}
OPEN_TO = {"lab": {"cellar", "topaz-1"}}
"""Hidden names that one key may use."""
SCOPED = ("narrow", "lab", "models", "region")
NAMES = [
    "auto", "fast", "smart", "reasoning", "swift-1", "able-1", "vector-1", "acme/auto", "acme/smart", "gpt-4o", "claude-auto",
    "claude-opus-9", "claude-sonnet-9", "gpt-5-nano", "nothing", "", "onyx", "onyx-3", "onyx1", "vaul", "vaults/smart",
    "bunke/onyx", "tresure", "treasur", "topaz", "caro", "embed", "acme/onyx", "acme/onyx-", "openai/vector-1",
    "onyx-1", "vault/smart", "vault/auto", "vault/onyx-1", "bunker/onyx-1", "treasure", "jewel", "onyx-embed", "topaz-1", "acme/topaz-1",
]  # fmt: skip
"""Names that are allowed, almost a hidden one, or hidden."""
STEERS = [
    {}, {}, {}, {"x-tiergate-lab": "acme"}, {"x-tiergate-lab": "vaul"}, {"x-tiergate-lab": "vault"}, {"x-tiergate-tier": "reasoning"},
    {"x-tiergate-tier": "slow"}, {"x-tiergate-explain": "1"}, {"x-tiergate-tags": "a,b"}, {"x-tiergate-key": "x"},
    {"x-tiergate-cache": "off"},
]  # fmt: skip
ODD: list[dict[str, Any]] = [
    {}, {}, {}, {"stream": True}, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"max_tokens": 10_000_000}, {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}},
    {"n": 5}, {"logprobs": True}, {"previous_response_id": "resp_1"}, {"messages": 1}, {"input": 1}, {"temperature": "hot"},
]  # fmt: skip
IMAGE = [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]
LONG = "word " * 40_000
"""Longer than the context windows of the allowed models."""


def add_hidden_lab(value: dict[str, Any]) -> None:
    """Add a lab that the keys may not use: the default, every lab's fallback, and for some requests
    the only one.
    """
    acme, price = value["providers"]["acme"], {"input": 1, "cache_read": 0.1, "output": 4}
    value["providers"] = {
        "acme": {**acme, "region": "eu"},
        "cellar": {**acme, "region": "us", "accounts": {"main": "sk-cellar-0123456789"}},
        "bunker": {
            **acme, "base_url": "http://bunker.invalid/v1", "region": "us", "accounts": {"main": "sk-bunker-0123456789"},
        },
    }  # fmt: skip
    value["labs"] = {
        "vault": {
            "fast": [{"model": "onyx-1", "provider": "bunker"}],
            "smart": [{"model": "onyx-2", "provider": "bunker"}],
            "reasoning": [{"model": "onyx-2", "provider": "bunker"}],
            "embeddings": [{"model": "onyx-embed", "provider": "bunker"}],
            "fallback": ["acme"],
        },
        "acme": {
            "fast": [{"model": "swift-1"}],
            "smart": [{"model": "topaz-1", "provider": "cellar"}, {"model": "able-1"}],
            "reasoning": [{"model": "topaz-1", "provider": "cellar"}],
            "embeddings": [{"model": "vector-1"}],
            "fallback": ["vault"],
        },
    }
    small_model = {"price": price, "context": 8_000, "max_output": 1_000, "tools": False}
    value["models"] = {name: {"price": price} for name in HIDDEN["model"]}
    value["models"] |= {"swift-1": small_model, "able-1": small_model, "vector-1": {"price": price}}
    value["default"] = {"lab": "vault", "tier": "smart"}
    value["aliases"] |= {"treasure": "vault/smart", "jewel": "onyx-1"}
    value["keys"] = "keys.yaml"
    value["server"] = {"host": "0.0.0.0"}


@pytest.fixture
def world(make: Make) -> World:
    file = {name: {"sha256": digest(name), **more} for name, more in KEYS.items()}
    running: World = make(add_hidden_lab, files={"keys.yaml": file})
    return running


def make_body(rng: random.Random, model: str) -> dict[str, Any]:
    """Return a body with members for each dialect, and now and then something odd."""
    text = rng.choice(["Say hello.", "Prove that 2 is prime, step by step.", LONG])
    content: Any = [{"type": "text", "text": text}, *IMAGE] if rng.random() < 0.2 else text
    return {
        "model": model, "max_tokens": 16, "messages": [{"role": "user", "content": content}],
        "input": rng.choice([text, ["a", "b"]]), "contents": [{"role": "user", "parts": [{"text": text}]}],
        "content": {"parts": [{"text": "a"}]}, "requests": [], "id": "tg-1", "rating": "good", "key": "wrong",
        **rng.choice(ODD),
    }  # fmt: skip


def list_requests(world: World, rng: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """Yield each operation of the gateway's own document, with a body."""
    document = world.client.get("/openapi.json", headers={"x-api-key": "lab"}).json()
    for path, operations in document["paths"].items():
        for method in operations:
            model = rng.choice(NAMES)
            url = path
            for word in ("{model}", "{name}", "{model_id}", "{name:path}", "{model:path}"):
                url = url.replace(word, model.replace("/", rng.choice(["/", "%2F"])) or "x")
            url = url.replace("{id}", "tg-1").replace("{response_id}", "resp_1")
            body = make_body(rng, model)
            content = jsonio.dumps(body) if method != "get" else b""
            yield method.upper(), url, content
    for path in (
        "/",
        "/nowhere",
        "/v1/modles",
        "/v1/vault",
        "/dashboard/session",
        "/v1/models/vaul",
        "/healthy",
    ):
        yield rng.choice(["GET", "POST"]), path, b"{}"


def find_leaks(reply: httpx.Response, sent: str, key: str) -> list[str]:
    """Return the hidden names that an answer contains although the client did not send them."""
    answer = reply.text + repr(reply.headers.raw)
    names = {name for names in HIDDEN.values() for name in names} - OPEN_TO.get(key, set())
    return [name for name in names if name in answer and name not in sent]


@pytest.mark.parametrize("key", SCOPED)
@pytest.mark.parametrize("seed", range(2))
def test_no_answer_names_anything_that_the_key_may_not_use(
    world: World, upstream: Upstream, key: str, seed: int
) -> None:
    rng = random.Random(f"{key} {seed}")
    statuses: dict[int, int] = {}
    earlier_requests = ""
    for round_ in range(3):
        upstream.on("/", whole() if round_ % 3 else Answer(pieces=(b"{}",), status=500, length=2))
        for method, path, body in list_requests(world, rng):
            headers = {"x-api-key": key, **rng.choice(STEERS)}
            if rng.random() < 0.3:
                headers["anthropic-version"] = "2023-06-01"
            reply = world.client.request(method, path, content=body, headers=headers)
            sent = f"{path} {body.decode()} {headers}"
            if path == "/v1/usage":  # it repeats the names of the key's own refused calls
                sent += earlier_requests
            earlier_requests += sent
            assert not find_leaks(reply, sent, key), (
                method,
                path,
                headers,
                body[:300],
                reply.text[:2_000],
            )
            statuses[reply.status_code] = statuses.get(reply.status_code, 0) + 1
    assert {200, 400, 401, 403, 404} <= statuses.keys(), statuses


def test_a_key_without_a_scope_sees_every_hidden_name(world: World) -> None:
    """Without a scope every hidden name can appear, so the test above looks for real leaks."""
    headers = {"x-api-key": "carol"}
    answer = world.client.get("/v1/models", headers=headers).text
    assert all(name in answer for name in (*HIDDEN["lab"], *HIDDEN["model"], *HIDDEN["alias"]))
    body = {"model": "onyx-3", "messages": [{"role": "user", "content": "Hi."}]}
    assert "onyx" in world.client.post("/v1/route", json=body, headers=headers).text
