"""Models that no lab lists, over real sockets: each reaches its maker under its own name."""

from typing import Any

import anthropic
import openai
import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, answer
from tests.e2e.test_embeddings import openai_answer
from tests.e2e.upstream import Answer, Request, failing
from tests.e2e.world import Config, Make, World, chat

OPUS = "claude-opus-4-8"
DATED = "claude-haiku-9-20250929"
TURNS: Any = [{"role": "user", "content": "How are you?"}]
PATHS = {CHAT: "/oak/chat", RESPONSES: "/oak/responses", MESSAGES: "/clay/messages"}


def makers(value: Config) -> None:
    """Configure clay, which makes Claude, and oak, which makes all else; acme is the default.

    Clay and oak both own names of models.
    """
    base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
    value["providers"] |= {
        "clay": {
            "base_url": base,
            "dialects": {MESSAGES: PATHS[MESSAGES], GEMINI: "/clay/gemini"},
            "auth": "x-api-key",
            "accounts": {"main": "secret-of-clay"},
            "names": ["claude-*"],
            "prices": "anthropic",
        },
        "oak": {
            "base_url": base,
            "dialects": {CHAT: PATHS[CHAT], RESPONSES: PATHS[RESPONSES]},
            "accounts": {"main": "secret-of-oak"},
            "names": ["gpt-*", "text-*"],
            "embeddings": "/oak/embeddings",
            "prices": "openai",
        },
    }
    value["labs"] |= {
        "clay": {"fast": [{"model": "claude-haiku-9"}]},
        "oak": {"smart": [{"model": "gpt-9"}]},
    }
    price = {"price": {"input": 1, "output": 5, "as_of": "2026-11-24"}}
    value["models"] |= {"claude-haiku-9": {"max_output": 500, **price}, "gpt-9": price}
    value["aliases"] = {"old": "gpt-4o"}


@pytest.fixture
def world(make: Make) -> World:
    return started(make(makers))


def started(world: World) -> World:
    for dialect, path in PATHS.items():
        world.upstream.on(path, answer(dialect))
    world.upstream.on("/oak/embeddings", openai_answer)
    return world


def path_and_model(world: World) -> tuple[str, str]:
    request = world.upstream.arrived()
    return request.path, request.json["model"]


@pytest.mark.parametrize("model", [OPUS, DATED, f"clay/{OPUS}"])
def test_the_anthropic_sdk_reaches_anthropic_under_any_claude_name(
    world: World, model: str
) -> None:
    """The default lab never gets the call, whatever its tier for that family would be."""
    client = anthropic.Anthropic(base_url=world.url, api_key="k", max_retries=0)
    reply = client.messages.with_raw_response.create(model=model, messages=TURNS, max_tokens=9)
    assert path_and_model(world) == (PATHS[MESSAGES], model.removeprefix("clay/"))
    assert reply.headers["x-tiergate-lab"] == reply.headers["x-tiergate-provider"] == "clay"
    assert reply.headers["x-tiergate-model"] == model.removeprefix("clay/")
    assert "x-tiergate-family" not in reply.headers


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "old"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_unlisted_model_name_arrives_unchanged(world: World, model: str, path: str) -> None:
    members = {"messages": TURNS} if "chat" in path else {"input": "Hi.", "store": False}
    reply = world.client.post(path, json={"model": model, **members})
    assert reply.status_code == 200
    assert path_and_model(world)[1] == {"old": "gpt-4o"}.get(model, model)
    assert "x-tiergate-tier" not in reply.headers


def test_an_unlisted_model_has_its_list_price_and_no_tier(world: World) -> None:
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=TURNS)
    entry = world.entry()
    assert (entry.lab, entry.tier, entry.source, entry.model) == ("oak", None, "pin", "gpt-4o")
    assert (entry.state, str(entry.cost)) == ("settled", "0.0000475")
    assert (entry.price or "").startswith("genai-prices")


def test_a_dated_snapshot_has_the_tier_the_price_and_the_limits_of_its_model(world: World) -> None:
    """In another dialect, too: the model's own limit stands where the request must state one."""
    assert world.ask(chat(model=DATED)).status_code == 200
    body = world.upstream.arrived().json
    assert (body["model"], body["max_tokens"]) == (DATED, 500)
    entry = world.entry()
    assert (entry.lab, entry.tier, entry.price) == ("clay", "fast", "config 2026-11-24")


def test_the_cost_of_an_unlisted_model_without_a_price_is_unknown(world: World) -> None:
    reply = world.ask(chat(model="gpt-nobody-knows"))
    assert reply.status_code == 200
    assert "x-tiergate-cost" not in reply.headers
    assert reply.headers["x-tiergate-price"] == "unknown"
    assert "x-tiergate-price" not in world.ask(chat(model="gpt-4o")).headers
    entry, priced_entry = world.entries()
    assert (entry.cost, entry.price) == (None, None)
    assert priced_entry.cost is not None


def test_a_hard_budget_refuses_an_unlisted_model_without_a_price(make: Make) -> None:
    def bounded(value: Config) -> None:
        makers(value)
        value["budgets"] = [{"name": "all", "usd": 1, "every": "day"}]

    world = started(make(bounded))
    assert world.ask(chat(model="gpt-4o", max_tokens=9)).status_code == 200
    refused = world.ask(chat(model="gpt-nobody-knows", max_tokens=9))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "budget_unbounded")
    assert "unknown_price" in refused.json()["error"]["message"]
    assert len(world.upstream.requests) == 1


def test_a_hard_budget_reserves_an_unknown_price_and_keeps_the_call_charged(make: Make) -> None:
    """The cost of the call stays unknown, so the budget counts all that it reserved."""

    def bounded(value: Config) -> None:
        makers(value)
        value["budgets"] = [{"name": "all", "usd": "0.0015", "every": "day"}]
        value["unknown_price"] = {"input": 0, "output": 60}

    world = started(make(bounded))
    model = "gpt-nobody-knows"
    assert world.ask(chat(model=model, max_tokens=16)).status_code == 200  # reserves 960 of 1,500
    refused = world.ask(chat(model=model, max_tokens=16))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert [entry.cost for entry in world.entries() if entry.attempts] == [None]


def test_a_model_with_an_unknown_output_limit_serves_another_dialect(
    world: World,
) -> None:
    assert world.ask(chat(model=OPUS)).status_code == 200
    assert world.upstream.arrived().json["max_tokens"] > 0


def test_streams_counts_and_embeddings_of_unlisted_models_reach_their_maker(world: World) -> None:
    world.upstream.on(PATHS[CHAT], answer(CHAT, stream=True))
    assert "data: [DONE]" in world.ask(chat(model="gpt-4o", stream=True)).text
    assert path_and_model(world) == (PATHS[CHAT], "gpt-4o")
    count = jsonio.dumps({"input_tokens": 12})
    world.upstream.on(PATHS[MESSAGES], Answer(pieces=(count,), length=len(count)))
    counted = world.client.post(
        "/v1/messages/count_tokens", json={"model": OPUS, "messages": TURNS}
    )
    assert counted.json() == {"input_tokens": 12}
    assert path_and_model(world) == (f"{PATHS[MESSAGES]}/count_tokens", OPUS)
    reply = world.client.post("/v1/embeddings", json={"model": "text-old", "input": "a"})
    assert reply.headers["x-tiergate-lab"] == "oak"
    assert path_and_model(world) == ("/oak/embeddings", "text-old")


def test_the_client_gets_the_makers_error_unchanged_if_it_is_not_about_the_model(
    world: World,
) -> None:
    """A request may name other things that do not exist. The gateway asks the maker each time."""
    body = b'{"error": {"message": "no such file", "type": "not_found_error"}, "x": 1.50}'
    world.upstream.on(PATHS[CHAT], failing(404, body))
    for count in (1, 2):
        reply = world.ask(chat(model="gpt-4o-typo"))
        assert (reply.status_code, reply.content) == (404, body)
        assert len(world.upstream.requests) == count
    assert world.gateway.upstream.health.target_breakers == {}


def test_a_refused_name_is_remembered_and_the_nearest_known_one_is_named(world: World) -> None:
    text = "The model `gpt-4o-typo` does not exist"
    body = jsonio.dumps({"error": {"message": text, "code": "model_not_found"}})
    world.upstream.on(PATHS[CHAT], failing(404, body))
    for _ in range(3):
        reply = world.ask(chat(model="gpt-4o-typo"))
        assert reply.status_code == 404
        assert reply.json()["error"] == {
            "message": f"{text} Did you mean 'gpt-4o'?", "code": "model_not_found",
        }  # fmt: skip
        assert reply.headers["x-should-retry"] == "false"
    assert len(world.upstream.requests) == 1
    assert world.gateway.upstream.health.target_breakers == {}
    world.upstream.on(PATHS[CHAT], answer(CHAT))
    assert world.ask(chat(model="gpt-4o")).status_code == 200, "other names are not held back"
    rows = world.entries()
    assert [(row.state, row.problem, row.attempts) for row in rows] == [
        ("failed", "upstream_model", 1),
        ("refused", "upstream_model", 0),
        ("refused", "upstream_model", 0),
        ("settled", None, 1),
    ]


def test_a_translated_call_gets_the_nearest_name_too(world: World) -> None:
    body = b'{"type": "error", "error": {"type": "not_found_error", "message": "model: %s"}}'
    world.upstream.on(PATHS[MESSAGES], failing(404, body % b"claude-haiku-10"))
    reply = world.ask(chat(model="claude-haiku-10"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert "Did you mean 'claude-haiku-9'?" in reply.json()["error"]["message"]


def test_model_lists_and_routes_agree(world: World) -> None:
    """A list holds no pattern; the gateway still finds and routes names that it cannot list."""
    listed = {row["id"] for row in world.client.get("/v1/models").json()["data"]}
    assert {"gpt-9", "old", "clay/fast"} <= listed
    assert not {name for name in listed if "*" in name or name in (OPUS, "gpt-4o")}
    assert world.client.get(f"/v1/models/{OPUS}").json()["owned_by"] == "clay"
    assert world.client.get("/v1/models/gpt-4o").json()["owned_by"] == "oak"
    assert world.client.get("/v1/models/llama-9").status_code == 404
    google = world.client.get("/v1beta/models/gpt-4o")
    assert google.json()["name"] == "models/gpt-4o"
    route = world.client.post("/v1/route", json={"model": OPUS, "messages": TURNS}).json()
    assert (route["lab"], route["tier"], route["model"]) == ("clay", None, OPUS)
    assert [row["target"] for row in route["plan"]] == [f"clay/{OPUS}"]
    assert "no lab lists it; it is a model of clay" in route["trace"][0]["why"]


def test_metrics_have_no_model_name_that_a_client_made_up(world: World) -> None:
    for at in range(3):
        world.ask(chat(model=f"gpt-canary-{at}"))
    text = world.client.get("/metrics").text
    assert "canary" not in text
    assert 'model="other"' in text
    entries: list[FinalRow] = world.entries()
    assert [entry.model for entry in entries] == [f"gpt-canary-{at}" for at in range(3)]


def test_a_model_name_cannot_change_the_providers_path(make: Make) -> None:
    """A name becomes a part of Google's URL, and must not lead out of its place there."""

    def google(value: Config) -> None:
        makers(value)
        value["providers"]["clay"]["dialects"] = {GEMINI: "/clay/v1beta"}

    world = make(google)
    requests: list[Request] = world.upstream.requests
    for name in ("claude-/../../files", "claude-%2e%2e/files", "claude-x?key=1", "claude-x#y"):
        assert world.ask(chat(model=name)).status_code in (400, 404), name
    assert requests == []
    world.upstream.on("/clay/v1beta", answer(GEMINI))
    assert world.ask(chat(model="claude-x:y")).status_code == 200
    assert requests[0].path == "/clay/v1beta/models/claude-x%3Ay:generateContent"
