"""Names that no lab lists: a key tries to leave its scope by them, or to spoil them for others."""

import hashlib
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, answer, make_request
from tests.e2e.test_unlisted_models import OPUS, PATHS, makers, started
from tests.e2e.upstream import failing
from tests.e2e.world import Config, Make, World

SCOPES: dict[str, Config] = {
    "fast": {"tiers": ["fast"]}, "labs": {"labs": ["acme"]}, "models": {"models": ["swift-*", "gpt-5*"]},
    "guarded": {}, "free": {}, "other": {},
}  # fmt: skip
KEYS = {
    name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), **scope}
    for name, scope in SCOPES.items()
}
UNLISTED = (
    "gpt-4o", "oak/gpt-4o", "old", "gpt-4o-2024-08-06", "gpt-4o-latest", "gpt-made-up", "openai/gpt-4o", "oak/old",
    OPUS, f"clay/{OPUS}", "GPT-4O", " gpt-4o", "gpt-4o ", "gpt-4o\t", "oak/oak/gpt-4o", "models/gpt-4o", "acme/gpt-4o",
    "oak/claude-opus-4-8", "gpt-5\n", "gpt-9", "oak/gpt-9", "oak/smart",
)  # fmt: skip


def use_scopes(value: Config) -> None:
    makers(value)
    value["keys"] = "keys.yaml"
    value["guards"] = [{"name": "cheap", "when": {"key": "guarded"}, "max_tier": "fast"}]


@pytest.fixture
def world(make: Make) -> World:
    return started(make(use_scopes, files={"keys.yaml": KEYS}))


def ask(world: World, key: str, dialect: str, model: str) -> Any:
    path, body = make_request(dialect, model)
    headers = {"authorization": f"Bearer {key}"}
    return world.client.post(path.replace(" ", "%20"), json=body, headers=headers)


@pytest.mark.parametrize("key", ["fast", "labs", "models", "guarded"])
def test_no_unlisted_name_leaves_the_scope_of_a_key(world: World, key: str) -> None:
    """No spelling, alias, prefix or dated name; the same for a name that nobody has."""
    for model in UNLISTED:
        for dialect in (CHAT, RESPONSES, MESSAGES):
            reply = ask(world, key, dialect, model)
            served = [request.json["model"] for request in world.upstream.requests]
            assert served in ([], ["swift-1"]), (model, served)
            assert reply.status_code in (200, 400, 403, 404), (model, reply.text)
            world.upstream.requests.clear()


def test_a_refused_name_of_one_key_is_refused_to_no_other(world: World) -> None:
    """Else one key could keep others from a model, as by a request that the provider refuses."""
    body = {"error": {"message": "The model `gpt-4o` does not exist", "code": "model_not_found"}}
    world.upstream.on(PATHS[CHAT], failing(404, jsonio.dumps(body)), answer(CHAT))
    statuses = [ask(world, key, CHAT, "gpt-4o").status_code for key in ("free", "free", "other")]
    assert statuses == [404, 404, 200]
    assert world.gateway.upstream.health.all_closed


def test_no_unlisted_name_breaks_a_url_a_header_or_a_line_of_the_log(make: Make) -> None:
    def google(value: Config) -> None:
        use_scopes(value)
        value["providers"]["clay"]["dialects"] = {GEMINI: "/clay/v1beta"}

    world = make(google, files={"keys.yaml": KEYS})
    world.upstream.on("/clay", answer(GEMINI))
    world.upstream.on("/oak", answer(CHAT))
    for name in ("x\r\nx-evil: 1", "x\0y", "x\u2028y", "x\x1b[2J", "x" * 5000, "../x", "x?key=1", "\U0001f600"):  # fmt: skip
        for maker in ("claude-", "gpt-"):
            reply = ask(world, "free", CHAT, maker + name)
            assert reply.status_code in (200, 400, 404), (name, reply.text)
            assert "x-evil" not in reply.headers
    for request in world.upstream.requests:
        assert not {name for name, _ in request.headers} & {b"x-evil"}
        assert request.path.startswith(("/clay/v1beta/models/claude-", "/oak/chat"))
        assert ".." not in request.path
        assert "?" not in request.path
    assert all("\n" not in jsonio.dumps(row).decode() for row in world.log)
