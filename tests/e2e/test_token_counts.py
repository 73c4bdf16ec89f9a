"""The provider that would answer counts the tokens, for a client of any dialect."""

from typing import Any

import anthropic
import openai
import pytest
from google import genai

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow
from tests.e2e.four_labs import CHAT, COUNTED, ENDPOINTS, GEMINI, MESSAGES, RESPONSES, four, whole
from tests.e2e.upstream import Answer, Upstream, failing
from tests.e2e.world import Config, Make, World

PATHS = {
    MESSAGES: "/messages/count_tokens",
    GEMINI: f"/gemini/models/m-{GEMINI}:countTokens",
    RESPONSES: "/responses/input_tokens",
}


@pytest.fixture
def world(make: Make) -> World:
    def counts(value: Config) -> None:
        value["providers"][RESPONSES]["counts_tokens"] = True

    return make(four, counts)


def ask(world: World, client: str, lab: str) -> int | None:
    """Count tokens through the official SDK."""
    if client == MESSAGES:
        sdk = anthropic.Anthropic(base_url=world.url, api_key="k", max_retries=0)
        messages: Any = [{"role": "user", "content": "How many?"}]
        return sdk.messages.count_tokens(model=f"{lab}/smart", messages=messages).input_tokens
    if client == RESPONSES:
        with openai.OpenAI(
            base_url=f"{world.url}/v1", api_key="k", max_retries=0
        ) as client_of_openai:
            count = client_of_openai.responses.input_tokens.count
            return count(model=f"{lab}/smart", input="How many?").input_tokens
    google = genai.Client(api_key="k", http_options={"base_url": world.url})
    return google.models.count_tokens(model=f"{lab}/smart", contents="How many?").total_tokens


@pytest.mark.parametrize("lab", PATHS)
@pytest.mark.parametrize("client", [MESSAGES, GEMINI, RESPONSES])
def test_the_provider_that_would_answer_counts_the_tokens(
    world: World, upstream: Upstream, client: str, lab: str
) -> None:
    upstream.on(ENDPOINTS[lab], whole(COUNTED[lab]))
    assert ask(world, client, lab) == 12
    (request,) = upstream.requests
    assert "How many?" in jsonio.dumps(request.json).decode()
    assert request.path == PATHS[lab]
    entry = world.entry()
    assert (entry.state, entry.lab, str(entry.cost), entry.dropped) == ("settled", lab, "0", ())


@pytest.mark.parametrize("lab", [RESPONSES, CHAT])
def test_the_gateway_estimates_where_a_provider_cannot_count(
    make: Make, upstream: Upstream, lab: str
) -> None:
    """No other lab gets the prompt either, just to count it."""
    world = make(four)
    body = {
        "model": "auto" if lab == CHAT else f"{lab}/smart",
        "messages": [{"role": "user", "content": "a" * 40}],
    }
    reply = world.client.post("/v1/messages/count_tokens", json=body)
    assert (reply.json(), reply.headers["x-tiergate-estimated"]) == ({"input_tokens": 10}, "tokens")
    assert not upstream.requests
    assert world.entry().state == "estimated"


@pytest.mark.parametrize("refusal", [failing(404), failing(529), Answer(pieces=(b"{}",), length=2)])
def test_the_gateway_estimates_where_a_translated_count_fails(
    world: World, upstream: Upstream, refusal: Answer
) -> None:
    """A translated count promises nothing; for a native one the provider's error goes on."""
    upstream.on(ENDPOINTS[GEMINI], *[refusal] * 4)
    body = {"model": f"{GEMINI}/smart", "messages": [{"role": "user", "content": "a" * 40}]}
    reply = world.client.post("/v1/messages/count_tokens", json=body)
    assert (reply.json(), reply.headers["x-tiergate-estimated"]) == ({"input_tokens": 10}, "tokens")
    upstream.on(ENDPOINTS[MESSAGES], *[refusal] * 4)
    native = world.client.post(
        "/v1/messages/count_tokens", json={**body, "model": f"{MESSAGES}/smart"}
    )
    assert native.status_code >= 400
    translated_row, native_row = world.entries()
    assert (
        translated_row.state,
        translated_row.status,
        str(translated_row.cost),
        str(translated_row.wasted),
    ) == (
        "estimated",
        200,
        "0",
        "0",
    )
    assert native_row.state == "failed"
    failed = [row for row in world.rows() if isinstance(row, AttemptRow)]
    assert {row.cost for row in failed} == {0}


INPUT = "/v1/responses/input_tokens"


def test_a_native_responses_count_passes_unchanged(world: World, upstream: Upstream) -> None:
    """Natively the client's own members go to the provider, and its answer comes back."""
    upstream.on(ENDPOINTS[RESPONSES], whole(COUNTED[RESPONSES]))
    body = {"model": f"m-{RESPONSES}", "input": "How many?", "truncation": "auto", "novel": [1.5]}
    reply = world.client.post(INPUT, json=body)
    assert (reply.status_code, reply.json()) == (200, COUNTED[RESPONSES])
    assert "x-tiergate-estimated" not in reply.headers
    (request,) = upstream.requests
    assert (request.path, request.json) == (PATHS[RESPONSES], body)


@pytest.mark.parametrize("lab", [RESPONSES, CHAT])
def test_a_responses_count_is_estimated_where_no_provider_counts(
    make: Make, upstream: Upstream, lab: str
) -> None:
    """A Responses provider that is not known to count is not called, native or translated."""
    world = make(four)
    reply = world.client.post(INPUT, json={"model": f"{lab}/smart", "input": "a" * 40})
    assert reply.json() == {"object": "response.input_tokens", "input_tokens": 10}
    assert reply.headers["x-tiergate-estimated"] == "tokens"
    assert not upstream.requests
    assert world.entry().state == "estimated"


def test_a_responses_count_is_never_streamed(world: World, upstream: Upstream) -> None:
    """A count is one number, even if the client sends all the members of its next call."""
    upstream.on(ENDPOINTS[RESPONSES], whole(COUNTED[RESPONSES]))
    body = {"model": f"{RESPONSES}/smart", "input": "How many?", "stream": True}
    assert world.client.post(INPUT, json=body).json() == COUNTED[RESPONSES]
    assert "stream" not in upstream.requests[-1].json


def test_a_responses_count_includes_the_earlier_conversation(
    world: World, upstream: Upstream
) -> None:
    """`previous_response_id` names an answer that the gateway stores: all of it is counted."""
    first = world.client.post(
        "/v1/responses", json={"model": f"{CHAT}/smart", "input": "b" * 4_000}
    ).json()
    body = {"input": "a" * 40, "previous_response_id": first["id"]}
    for lab in PATHS:
        upstream.on(ENDPOINTS[lab], whole(COUNTED[lab]))
        reply = world.client.post(INPUT, json={**body, "model": f"{lab}/smart"})
        assert reply.json() == COUNTED[RESPONSES], lab
        body_at_provider = jsonio.dumps(upstream.requests[-1].json).decode()
        assert "b" * 4_000 in body_at_provider
        assert "previous_response_id" not in body_at_provider
    reply = world.client.post(INPUT, json={**body, "model": f"{CHAT}/smart"})
    assert reply.json()["input_tokens"] > 1_000
    gone = world.client.post(INPUT, json={**body, "previous_response_id": "resp_none"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "previous_response_not_found")


def test_a_native_responses_count_that_fails_returns_the_providers_error(
    world: World, upstream: Upstream
) -> None:
    """Natively the provider's error goes on; a translated count falls back to an estimate."""
    upstream.on(ENDPOINTS[RESPONSES], *[failing(400)] * 4)
    reply = world.client.post(INPUT, json={"model": f"{RESPONSES}/smart", "input": "How?"})
    assert reply.status_code == 400
    upstream.on(ENDPOINTS[GEMINI], *[failing(400)] * 4)
    reply = world.client.post(INPUT, json={"model": f"{GEMINI}/smart", "input": "a" * 40})
    assert (reply.status_code, reply.json()["input_tokens"]) == (200, 10)
    assert reply.headers["x-tiergate-estimated"] == "tokens"
