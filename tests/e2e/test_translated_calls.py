"""Any client, any lab: every pair of dialects over real sockets, through the official SDKs."""

import hashlib
from typing import Any

import anthropic
import openai
import pytest
from google.genai import errors as google

from gateway.core import jsonio
from tests.e2e.four_labs import (
    ARGUMENTS,
    ASKS,
    CHAT,
    COUNTS,
    DIALECTS,
    ENDPOINTS,
    GEMINI,
    MESSAGES,
    QUESTION,
    RESPONSES,
    SYSTEM,
    TEXT,
    ParsedAnswer,
    answer,
    canonical,
    four,
)  # fmt: skip
from tests.e2e.upstream import Answer, Upstream, failing
from tests.e2e.world import Config, Make, World

PAIRS = [(client, lab) for client in DIALECTS for lab in DIALECTS]
ERRORS = (openai.APIError, anthropic.APIError, google.APIError)


@pytest.fixture
def world(make: Make) -> World:
    return make(four)


def named(pair: tuple[str, str]) -> str:
    return " at ".join(pair)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@pytest.mark.parametrize(("client", "lab"), PAIRS, ids=[named(pair) for pair in PAIRS])
def test_every_dialect_of_client_is_served_by_every_dialect_of_lab(
    world: World, upstream: Upstream, client: str, lab: str, tools: bool, stream: bool
) -> None:
    """The text, tool call, finish and usage are the same for every pair of dialects."""
    upstream.on(ENDPOINTS[lab], answer(lab, tools=tools, stream=stream))
    parsed = ASKS[client](world, f"{lab}/smart", tools, stream)
    expected = (
        ParsedAnswer(calls=(("weather", canonical(ARGUMENTS)),), finish="tools", counts=COUNTS)
        if tools
        else ParsedAnswer(text=TEXT, counts=COUNTS)
    )
    assert parsed == expected
    (request,) = upstream.requests
    assert request.path.startswith(ENDPOINTS[lab])
    body_at_provider = jsonio.dumps(request.json).decode()
    assert QUESTION in body_at_provider
    assert SYSTEM in body_at_provider
    assert ('"weather"' in body_at_provider) == tools
    secrets = [value for _, value in request.headers if b"secret-of-" in value]
    assert len(secrets) == 1
    assert secrets[0].endswith(f"secret-of-{lab}".encode())
    entry = world.entry()
    assert (entry.state, entry.lab, entry.model, entry.dialect) == ("settled", lab, f"m-{lab}", client)  # fmt: skip
    assert (entry.input, entry.output) == COUNTS
    assert str(entry.cost) == "0.000019"


@pytest.mark.parametrize(("client", "lab"), PAIRS, ids=[named(pair) for pair in PAIRS])
def test_an_sdk_raises_when_a_translated_stream_is_cut(
    world: World, upstream: Upstream, client: str, lab: str
) -> None:
    """Law 10: the unmodified SDK raises. (Some chat hosts omit [DONE]: a finish is an end.)"""
    upstream.on(ENDPOINTS[lab], answer(lab, stream=True, cut=3 if lab == CHAT else 1))
    with pytest.raises(ERRORS):
        ASKS[client](world, f"{lab}/smart", False, True)
    assert world.entry().state == "aborted"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "lab"), PAIRS, ids=[named(pair) for pair in PAIRS])
def test_an_error_of_a_provider_has_the_shape_of_the_clients_dialect(
    world: World, upstream: Upstream, client: str, lab: str, stream: bool
) -> None:
    """An error carries the provider's words."""
    shape = {
        MESSAGES: {"type": "error", "error": {"type": "invalid_request_error", "message": "No cats."}},
        GEMINI: {"error": {"code": 400, "message": "No cats.", "status": "INVALID_ARGUMENT"}},
    }.get(lab, {"error": {"message": "No cats.", "type": "invalid_request_error", "code": None}})  # fmt: skip
    upstream.on(ENDPOINTS[lab], failing(400, jsonio.dumps(shape)))
    with pytest.raises(ERRORS, match="No cats"):
        ASKS[client](world, f"{lab}/smart", False, stream)
    entry = world.entry()
    assert (entry.state, entry.status, entry.problem) == ("failed", 400, "upstream_rejected")


@pytest.mark.parametrize("client", DIALECTS)
def test_the_gateway_names_each_loss_of_a_translated_request(
    world: World, upstream: Upstream, client: str
) -> None:
    """The header, the ledger and the route endpoint name each loss in the client's own words."""
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        CHAT: ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi."}], "seed": 7}),
        RESPONSES: ("/v1/responses", {"input": "Hi.", "truncation": "auto"}),
        MESSAGES: ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}], "top_k": 5}),
        GEMINI: ("/v1beta/models/{}:generateContent", {"contents": [{"parts": [{"text": "Hi."}]}], "generationConfig": {"topK": 5}}),
    }  # fmt: skip
    lost = {
        CHAT: "seed",
        RESPONSES: "truncation",
        MESSAGES: "top_k",
        GEMINI: "generationConfig.topK",
    }
    lab = {CHAT: MESSAGES, RESPONSES: MESSAGES, MESSAGES: CHAT, GEMINI: CHAT}[client]
    path, body = bodies[client]
    model = f"{lab}/smart"
    request_body = {**body} if client == GEMINI else {"model": model, **body}
    upstream.on(ENDPOINTS[lab], answer(lab))
    path = path.format(model)
    reply = world.client.post(path, json=request_body)
    assert reply.status_code == 200
    assert reply.headers["x-tiergate-dropped"] == lost[client]
    query = {"dialect": client, "path": path.removeprefix("/v1beta/")}
    planned = world.client.post("/v1/route", json=request_body, params=query).json()["plan"]
    assert [loss["field"] for loss in planned[0]["losses"]] == [lost[client]]
    assert planned[0]["dialect"] == lab
    refused = world.client.post(path, json=request_body, headers={"x-tiergate-on-loss": "refuse"})
    assert refused.status_code == 400
    assert lost[client] in refused.text
    assert [entry.dropped for entry in world.entries()] == [(lost[client],), ()]


@pytest.mark.parametrize(
    ("client", "lab", "header", "lost"),
    [
        (MESSAGES, CHAT, ("anthropic-beta", "dev-full-thinking-2025-05-14"), True),
        (MESSAGES, CHAT, ("anthropic-beta", "claude-code-20250219"), False),
        (RESPONSES, CHAT, ("openai-beta", "tomorrow=v1"), True),
        (CHAT, RESPONSES, ("openai-beta", "tomorrow=v1"), True),
    ],
)
def test_a_beta_header_goes_only_to_providers_of_the_clients_dialect(
    world: World, upstream: Upstream, client: str, lab: str, header: tuple[str, str], lost: bool
) -> None:
    name, word = header
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        CHAT: ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi."}]}),
        RESPONSES: ("/v1/responses", {"input": "Hi."}),
        MESSAGES: (
            "/v1/messages",
            {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]},
        ),
    }
    path, body = bodies[client]
    for provider in (lab, client):
        upstream.on(ENDPOINTS[provider], answer(provider))
        request_body = {"model": f"{provider}/smart", **body}
        reply = world.client.post(path, json=request_body, headers={name: word})
        dropped = name if lost and provider == lab else None
        assert (reply.status_code, reply.headers.get("x-tiergate-dropped")) == (200, dropped)
        query = {"dialect": client, "path": path}
        planned = world.client.post(
            "/v1/route", json=request_body, params=query, headers={name: word}
        )
        losses = planned.json()["plan"][0]["losses"]
        assert [loss["field"] for loss in losses] == ([] if dropped is None else [dropped])
    assert [request.header(name) for request in upstream.requests] == [None, word]


def test_the_gateway_refuses_a_request_that_it_cannot_translate(
    world: World, upstream: Upstream
) -> None:
    """No feature is dropped silently: the client learns which one, and no provider is called."""
    body = {
        "model": f"{MESSAGES}/smart", "messages": [{"role": "user", "content": "Hi."}],
        "logprobs": True,
    }  # fmt: skip
    reply = world.client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert "logprobs" in reply.json()["error"]["message"]
    assert not upstream.requests


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_the_prompt_asks_for_json_where_a_provider_has_no_json_mode(
    world: World, upstream: Upstream, client: str
) -> None:
    """Anthropic gets it as words, a named loss; instructor, LangChain and the AI SDK ask for it."""
    turns = [{"role": "user", "content": "A city, as JSON."}]
    parts = [{"role": "user", "parts": [{"text": "A city, as JSON."}]}]
    path, body, field = {
        CHAT: ("/v1/chat/completions", {"messages": turns, "response_format": {"type": "json_object"}}, "response_format"),
        RESPONSES: ("/v1/responses", {"input": turns, "text": {"format": {"type": "json_object"}}}, "text.format"),
        GEMINI: (
            f"/v1beta/models/{MESSAGES}/smart:generateContent",
            {"contents": parts, "generationConfig": {"responseMimeType": "application/json"}},
            "generationConfig.responseMimeType",
        ),
    }[client]  # fmt: skip
    request_body = body if client == GEMINI else {**body, "model": f"{MESSAGES}/smart"}
    upstream.on(ENDPOINTS[MESSAGES], answer(MESSAGES))
    reply = world.client.post(path, json=request_body)
    assert (reply.status_code, reply.headers["x-tiergate-dropped"]) == (200, field)
    body_at_provider = upstream.requests[0].json
    assert "output_config" not in body_at_provider
    assert "one JSON object" in body_at_provider["system"][-1]["text"]
    strict = world.client.post(path, json=request_body, headers={"x-tiergate-on-loss": "refuse"})
    assert strict.status_code == 400
    assert field in strict.text
    assert [row.state for row in world.entries()] == ["settled", "refused"]


@pytest.mark.parametrize("lab", [CHAT, MESSAGES])
def test_anthropics_tool_runner_is_served_where_no_provider_keeps_threads(
    make: Make, upstream: Upstream, lab: str
) -> None:
    """The client begins a thread, gets "not found", and sends the whole conversation again."""

    def strange(value: Config) -> None:
        four(value)
        value["providers"][MESSAGES]["refuses"] = ["thread"]

    world = make(strange)
    upstream.on(ENDPOINTS[lab], answer(lab))
    body = {"model": f"{lab}/smart", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}  # fmt: skip
    begun = world.client.post("/v1/messages?beta=true", json={**body, "thread": {"type": "create"}})  # fmt: skip
    assert begun.status_code == 200
    assert begun.headers["x-tiergate-dropped"] == "thread"
    assert "thread" not in upstream.requests[0].json
    thread = {"type": "continue", "previous_message_id": begun.json()["id"]}
    reply = world.client.post("/v1/messages?beta=true", json={**body, "thread": thread})
    error = reply.json()["error"]
    assert (reply.status_code, error["type"]) == (404, "not_found_error")
    assert error["details"] == {"error_code": "thread_not_found"}
    assert "Send the whole conversation" in error["message"]
    assert len(upstream.requests) == 1
    refused = {**body, "thread": {"type": "create"}}
    strict = world.client.post("/v1/messages", json=refused, headers={"x-tiergate-on-loss": "refuse"})  # fmt: skip
    assert strict.status_code == 400
    assert [row.state for row in world.entries()] == ["settled", "refused", "refused"]


def test_a_thread_continues_where_its_provider_keeps_threads(
    world: World, upstream: Upstream
) -> None:
    """The thread passes byte for byte.

    Its error goes to the client: no other target is called, and no circuit breaker opens.
    """
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    body = {"model": f"{MESSAGES}/smart", "max_tokens": 9, "messages": [], "thread": thread}
    details = {"error_code": "thread_not_found"}
    gone = {"type": "error", "error": {"type": "not_found_error", "message": "m", "details": details}}  # fmt: skip
    refusal = failing(404, jsonio.dumps(gone))
    upstream.on(ENDPOINTS[MESSAGES], answer(MESSAGES), answer(MESSAGES), refusal)
    begun = {**body, "thread": {"type": "create"}}
    assert world.client.post("/v1/messages", json=begun).status_code == 200
    assert world.client.post("/v1/messages", json=body).status_code == 200
    assert upstream.requests[1].json["thread"] == thread
    for _ in range(4):
        reply = world.client.post("/v1/messages", json=body)
        assert (reply.status_code, reply.json()) == (404, gone)
    assert world.gateway.engine._upstream.health.all_closed
    assert len(upstream.requests) == 6


@pytest.mark.parametrize("client", DIALECTS)
def test_the_sdk_raises_when_a_translated_200_holds_no_answer(
    world: World, upstream: Upstream, client: str
) -> None:
    """HTML, an empty body and an error in a 200 are errors, whole and streamed."""
    lab = MESSAGES if client == CHAT else CHAT
    html = Answer(pieces=(b"<html>maintenance</html>",), headers=(("content-type", "text/html"),))
    for script in (html, Answer(pieces=(b"",), length=0), failing(200)):
        for stream in (False, True):
            upstream.on(ENDPOINTS[lab], script)
            with pytest.raises(ERRORS):
                ASKS[client](world, f"{lab}/smart", False, stream)


def test_the_gateway_refuses_a_websocket_at_once(world: World) -> None:
    """Codex then goes on over HTTP without a pause."""
    headers = {
        "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    reply = world.client.get("/v1/responses", headers=headers)
    assert (reply.status_code, reply.headers["allow"]) == (426, "POST")
    assert "send a POST" in reply.json()["error"]["message"]


def test_only_gemini_endpoints_accept_a_client_key_in_the_url(
    make: Make, upstream: Upstream
) -> None:
    key = hashlib.sha256(b"s1").hexdigest()
    world = make(four, TIERGATE_KEYS=f"one={key}")
    upstream.on(ENDPOINTS[GEMINI], answer(GEMINI))
    body = {"contents": [{"parts": [{"text": "Hi."}]}]}
    path = f"/v1beta/models/{GEMINI}/smart:generateContent"
    assert world.client.post(path, json=body).status_code == 401
    assert world.client.post(f"{path}?key=s1", json=body).status_code == 200
    chat = {"model": "auto", "messages": []}
    assert world.client.post("/v1/chat/completions?key=s1", json=chat).status_code == 401
    listed = world.client.post(path.replace(":gen", ":streamGen"), json=body, params={"key": "s1"})
    assert (listed.status_code, listed.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "alt=sse" in listed.json()["error"]["message"]
