"""Test scopes of client keys over HTTP: refusals, lists, admins, and a key file that changes."""

import hashlib
from typing import Any

import pytest

from tests.e2e.upstream import Upstream
from tests.e2e.world import Make, World, chat
from tests.server.gate import chat as body_of
from tests.server.gate import messages, response

ADMIN = "admin-key-0123456789-never-shown"


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def use_scoped_keys(value: dict[str, Any]) -> None:
    """Set two regions, and a file of keys."""
    value["providers"]["acme"]["region"] = "eu"
    value["providers"]["other"]["region"] = "us"
    value["keys"] = "keys.yaml"


KEYS: dict[str, dict[str, object]] = {
    "free": {},
    "models": {"models": ["swift-*", "else-1"]},
    "us": {"regions": "us"},
    "nowhere": {"regions": ["mars"]},
    "tiers": {"tiers": "fast"},
    "labs": {"labs": "other"},
    "boss": {"admin": True},
    "late": {"expires": "2026-01-01"},
    "gone": {"revoked": "2026-01-01"},
}
FILE = {name: {"sha256": digest(name), **more} for name, more in KEYS.items()}


@pytest.fixture
def scopes(make: Make) -> World:
    running: World = make(use_scoped_keys, files={"keys.yaml": FILE})
    return running


def ask(world: World, key: str, model: str, path: str = "/v1/chat/completions") -> Any:
    headers = {"authorization": f"Bearer {key}"}
    return world.client.post(path, json=chat(model=model), headers=headers)


SERVED = [
    ("free", "smart", "able-1"), ("models", "smart", "else-1"), ("models", "auto", "swift-1"), ("models", "swift-1", "swift-1"),
    ("models", "other/smart", "else-1"), ("us", "auto", "else-1"), ("us", "else-1", "else-1"), ("tiers", "auto", "swift-1"),
    ("labs", "auto", "else-1"), ("boss", "able-1", "able-1"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "model", "expected"), SERVED)
def test_a_key_gets_the_models_in_its_scope(
    scopes: World, upstream: Upstream, key: str, model: str, expected: str
) -> None:
    reply = ask(scopes, key, model)
    assert reply.status_code == 200, reply.text
    assert upstream.requests[-1].json["model"] == expected


FORBIDDEN = [
    ("models", "able-1"), ("models", "acme/reasoning"), ("us", "acme/auto"), ("us", "swift-1"),
    ("us", "fast"), ("nowhere", "auto"), ("nowhere", "else-1"), ("tiers", "smart"), ("tiers", "able-1"), ("labs", "acme/auto"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "model"), FORBIDDEN)
def test_a_key_is_refused_models_outside_its_scope(
    scopes: World, upstream: Upstream, key: str, model: str
) -> None:
    """SEC-AUTH 3: every endpoint answers 403, `/v1/route` too, and the gateway asks no provider."""
    reply = ask(scopes, key, model)
    assert reply.status_code == 403
    assert reply.json()["error"] | {"message": ""} == {
        "message": "", "type": "permission_error", "param": "model", "code": "model_not_allowed",
    }  # fmt: skip
    assert reply.headers["x-should-retry"] == "false"
    assert ask(scopes, key, model, "/v1/route").status_code == 403
    headers = {"x-api-key": key}
    for path, body in (
        ("/v1/messages", messages(model=model)),
        ("/v1/responses", response(model=model)),
    ):
        assert scopes.client.post(path, content=body, headers=headers).status_code == 403
    google = {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}
    reply = scopes.client.post(
        f"/v1beta/models/{model}:generateContent", json=google, headers=headers
    )
    assert reply.status_code == 403
    assert not upstream.requests


def test_model_lists_have_only_the_models_of_the_key(scopes: World) -> None:
    def names(key: str) -> set[str]:
        reply = scopes.client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
        return {item["id"] for item in reply.json()["data"]}

    assert {"swift-1", "able-1", "deep-1", "else-1"} <= names("free")
    assert names("models") == {
        "auto", "fast", "smart", "claude-auto", "gpt-4o", "acme/auto", "acme/fast", "other/auto", "other/smart", "swift-1",
        "else-1",
    }  # fmt: skip
    assert names("us") == {
        "auto",
        "smart",
        "claude-auto",
        "gpt-4o",
        "other/auto",
        "other/smart",
        "else-1",
    }
    reply = scopes.client.get("/v1/models/able-1", headers={"x-api-key": "us"})
    assert reply.status_code == 404


def test_sec_timing_unknown_expired_and_revoked_keys_get_the_same_answer_to_the_byte(
    scopes: World,
) -> None:
    """SEC-TIMING: expired, revoked, unknown and malformed keys get the same status, body and length."""
    replies = set()
    for secret in ("late", "gone", "nobody", "tg-" + "0" * 64, "é", "x" * 8000, "Basic YTpi"):
        for path in ("/v1/chat/completions", "/v1/models"):
            headers = [(b"authorization", b"Bearer " + secret.encode())]
            reply = scopes.client.request(
                "POST" if "chat" in path else "GET", path, content=body_of(), headers=headers
            )
            headers_seen = {**reply.headers}
            for name in ("x-request-id", "request-id", "connection"):
                headers_seen[name] = str(
                    len(headers_seen.get(name, "")) if name != "connection" else ""
                )
            replies.add((reply.status_code, reply.content, tuple(sorted(headers_seen.items()))))
    assert len(replies) == 1, replies
    assert next(iter(replies))[0] == 401


@pytest.mark.parametrize(
    "path", ["/admin/costs", "/admin/entries", "/admin/entries/tg-1", "/metrics"]
)
def test_only_an_admins_key_opens_the_admin_endpoints(make: Make, path: str) -> None:
    """SEC-AUTH 3: an admin's key works beside TIERGATE_ADMIN_KEY and without it; then loopback
    alone is not enough.
    """

    def name_keys_in_metrics(value: dict[str, Any]) -> None:
        use_scoped_keys(value)
        value["metrics"] = {"keys": True}

    for environ in ({}, {"TIERGATE_ADMIN_KEY": ADMIN}):
        world = make(name_keys_in_metrics, files={"keys.yaml": FILE}, **environ)
        for key in ("free", "late", "gone", "nobody", ""):
            reply = world.client.get(path, headers={"x-api-key": key})
            assert (reply.status_code, key in reply.text and bool(key)) == (401, False), key
        assert world.client.get(path).status_code == 401
        for key in ("boss", *environ.values()):
            assert world.client.get(path, headers={"x-api-key": key}).status_code in (200, 404)


def test_the_admin_key_in_the_environment_must_not_be_a_client_key_without_rights(
    make: Make,
) -> None:
    """A TIERGATE_ADMIN_KEY that is also the key of a client without admin rights opens nothing."""
    world = make(use_scoped_keys, files={"keys.yaml": FILE}, TIERGATE_ADMIN_KEY="boss")
    assert world.client.get("/admin/costs", headers={"x-api-key": "boss"}).status_code == 200
    world = make(use_scoped_keys, files={"keys.yaml": FILE}, TIERGATE_ADMIN_KEY="free")
    for key in ("boss", "free"):
        assert world.client.get("/admin/costs", headers={"x-api-key": key}).status_code == 403


def test_an_expired_admin_key_still_closes_the_admin_endpoints(make: Make) -> None:
    expired = {"boss": {**FILE["boss"], "expires": "2026-01-01"}}
    world = make(use_scoped_keys, files={"keys.yaml": expired})
    assert world.client.get("/admin/costs").status_code == 401
    assert world.client.get("/admin/costs", headers={"x-api-key": "boss"}).status_code == 401


def test_a_method_override_header_opens_no_endpoint(scopes: World) -> None:
    """SEC-AUTH 3: no header that overrides the method opens an endpoint."""
    for name in ("x-http-method-override", "x-http-method", "x-method-override"):
        headers = {"x-api-key": "free", name: "GET"}
        assert scopes.client.post("/admin/costs", headers=headers).status_code == 405
        assert scopes.client.get("/admin/costs", headers=headers).status_code == 401
