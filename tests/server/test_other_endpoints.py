"""Test the endpoints beside the generating one: models, route, health, documents."""

import pytest

from gateway.core import jsonio
from gateway.runtime.composition import VERSION
from tests.e2e.upstream import Upstream
from tests.e2e.world import World, chat

PROOF = [{"role": "user", "content": "Prove that there are infinitely many primes."}]


def test_the_model_list_begins_with_virtual_names(world: World) -> None:
    listing = world.client.get("/v1/models").json()
    assert listing["object"] == "list"
    names = [item["id"] for item in listing["data"]]
    assert names == [
        "auto", "fast", "smart", "reasoning", "claude-auto", "gpt-4o",
        "acme/auto", "acme/fast", "acme/smart", "acme/reasoning",
        "other/auto", "other/fast", "other/smart", "other/reasoning",
        "swift-1", "able-1", "deep-1", "else-1",
    ]  # fmt: skip
    for item in listing["data"]:
        assert set(item) == {
            "id", "object", "created", "owned_by", "type", "display_name", "created_at",
        }  # fmt: skip
        assert item["object"] == item["type"] == "model"
        assert isinstance(item["created"], int)


def test_the_model_list_in_googles_format(world: World) -> None:
    """Google's list is at its own path, and at the common path if Google's SDK asks."""
    listing = world.client.get("/v1beta/models").json()
    assert listing["models"][0] == {
        "name": "models/auto",
        "displayName": "auto",
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }
    sdk = {"x-goog-api-client": "google-genai-sdk/3.6.1"}
    assert world.client.get("/v1/models", headers=sdk).json() == listing
    assert world.client.get("/v1beta/models/acme/fast").json()["name"] == "models/acme/fast"
    reply = world.client.get("/v1beta/models/gpt-9")
    assert (reply.status_code, reply.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_a_model_name_may_contain_a_slash(world: World) -> None:
    assert world.client.get("/v1/models/acme/fast").json()["id"] == "acme/fast"
    assert world.client.get("/v1/models/acme%2Ffast").json()["id"] == "acme/fast"
    reply = world.client.get("/v1/models/gpt-9")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_route_shows_the_decision_and_calls_no_provider(world: World, upstream: Upstream) -> None:
    """Route gives the decision, the plan and the reason; it asks no provider and writes no row."""
    reply = world.client.post("/v1/route", json=chat(model="auto", messages=PROOF))
    decision = reply.json()
    assert (decision["lab"], decision["tier"], decision["model"]) == ("acme", "reasoning", "deep-1")
    assert decision["source"] == "classifier"
    assert 0 < decision["confidence"] <= 1
    assert decision["plan"] == [
        {
            "lab": "acme", "target": "acme/deep-1", "provider": "acme", "model": "deep-1", "effort": "high",
            "dialect": "openai-chat", "losses": [],
            "price": {"input": "5", "output": "20", "version": "config 2026-11-24"},
        }
    ]  # fmt: skip
    assert [step["step"] for step in decision["trace"]][:1] == ["pin"]
    assert "infinitely many primes" not in reply.text
    assert not upstream.requests
    assert world.rows() == []


def test_route_and_a_call_decide_alike(world: World, upstream: Upstream) -> None:
    for model in ("auto", "fast", "acme/reasoning", "able-1", "gpt-4o", "other/smart"):
        body = chat(model=model, messages=PROOF)
        decision = world.client.post("/v1/route", json=body).json()
        headers = world.ask(body).headers
        assert (decision["lab"], decision["tier"], decision["model"]) == (
            headers["x-tiergate-lab"],
            headers["x-tiergate-tier"],
            headers["x-tiergate-model"],
        )
        assert headers["x-tiergate-decision"].startswith(decision["source"])
        assert upstream.requests[-1].json["model"] == decision["model"]


def test_route_reads_the_headers_of_a_call_and_refuses_what_a_call_refuses(world: World) -> None:
    """Route refuses a request that a call would be refused for."""
    post = world.client.post
    decision = post(
        "/v1/route", json=chat(model="auto"), headers={"x-tiergate-tier": "fast"}
    ).json()
    assert (decision["tier"], decision["source"]) == ("fast", "pin")
    assert post("/v1/route", content=b"{").json()["error"]["code"] == "invalid_json"
    assert post("/v1/route", json=chat(model="gpt-9")).json()["error"]["code"] == "model_not_found"
    assert post("/v1/route?dialect=morse", json=chat()).json()["error"]["param"] == "dialect"
    assert post("/v1/route?dialect=openai-chat", json=chat()).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_shows_the_version_and_the_configuration(world: World, path: str) -> None:
    health = world.client.get(path).json()
    assert health == {
        "status": "ok",
        "version": VERSION,
        "config": world.gateway.engine.router.catalogue.version,
    }
    assert world.client.head(path).status_code == 200


def test_the_openapi_document_lists_the_endpoints(world: World) -> None:
    """OpenAPI lists the endpoints, and no page loads scripts from elsewhere."""
    document = jsonio.loads(world.client.get("/openapi.json").content)
    assert document["info"]["title"] == "tiergate"
    assert {"/v1/models", "/v1/route", "/health"} <= set(document["paths"])
    assert world.client.get("/docs").status_code == 404


def test_request_ids_differ_and_sort_by_time(world: World) -> None:
    ids = [world.ask(chat()).headers["x-request-id"] for _ in range(5)]
    assert len(set(ids)) == 5
    assert [item[:14] for item in ids] == sorted(item[:14] for item in ids)


def test_a_connection_is_used_again_after_errors(world: World) -> None:
    """A connection survives even an error, if the whole request had been read."""
    for body in (chat(), b"{", chat(stream=True), chat(model="gpt-9"), chat()):
        assert "connection" not in world.ask(body).headers


def test_a_bug_is_answered_in_the_dialect_without_the_text_of_the_error(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SEC-LEAK 4: the answer omits the error's text, which may quote a prompt."""

    def fail(*_: object) -> None:
        raise KeyError("my secret")

    monkeypatch.setattr(world.gateway.engine, "explain", fail)
    reply = world.client.post("/v1/route", json=chat())
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal")
    assert reply.headers["x-should-retry"] == "false"
    assert "my secret" not in reply.text
    (row,) = world.log
    assert str(row["error"]).startswith("KeyError at test_other_endpoints.py:")
    caplog.clear()


PAGES = [
    "https://evil.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example:8484", "null",
    "HTTP://evil.example:8484", "https://evil@127.0.0.1",
]  # fmt: skip


def test_a_web_page_from_elsewhere_cannot_call_while_keys_are_open(
    world: World, upstream: Upstream
) -> None:
    """A page can send text without a preflight, and its name may resolve to this machine (DNS
    rebinding).
    """
    for origin in PAGES:
        headers = {"origin": origin, "content-type": "text/plain"}
        for path in ("/v1/chat/completions", "/v1beta/models/auto:generateContent"):
            reply = world.client.post(path, content=jsonio.dumps(chat()), headers=headers)
            assert reply.status_code == 403, (origin, path)
            assert "no web page" in reply.json()["error"]["message"]
    assert not upstream.requests
    assert world.entries() == []


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8484", "app://ui", "file://"],
)
def test_pages_and_applications_of_this_machine_may_call(world: World, origin: str) -> None:
    assert world.ask(chat(), origin=origin).status_code == 200
