"""Tokens are counted by the provider that would answer, whatever its client speaks."""

from typing import Any

import anthropic
import pytest
from google import genai

from gateway.core import jsonio
from gateway.core.entry import Attempt
from tests.e2e.abroad import CHAT, DOORS, GEMINI, MESSAGES, RESPONSES, four
from tests.e2e.upstream import Answer, Upstream, failing
from tests.e2e.world import Config, Make, World

PATHS = {
    MESSAGES: "/messages/count_tokens",
    GEMINI: f"/gemini/models/m-{GEMINI}:countTokens",
    RESPONSES: "/responses/input_tokens",
}
TOLD = {
    MESSAGES: {"input_tokens": 12},
    GEMINI: {"totalTokens": 12},
    RESPONSES: {"object": "response.input_tokens", "input_tokens": 12},
}


@pytest.fixture
def world(make: Make) -> World:
    def counts(value: Config) -> None:
        value["providers"][RESPONSES]["counts_tokens"] = True

    return make(four, counts)


def ask(world: World, client: str, lab: str) -> int | None:
    """A count by the official SDK."""
    if client == MESSAGES:
        sdk = anthropic.Anthropic(base_url=world.url, api_key="k", max_retries=0)
        said: Any = [{"role": "user", "content": "How many?"}]
        return sdk.messages.count_tokens(model=f"{lab}/smart", messages=said).input_tokens
    google = genai.Client(api_key="k", http_options={"base_url": world.url})
    return google.models.count_tokens(model=f"{lab}/smart", contents="How many?").total_tokens


def answer(lab: str) -> Answer:
    body = jsonio.dumps(TOLD[lab])
    return Answer(pieces=(body,), length=len(body))


@pytest.mark.parametrize("lab", PATHS)
@pytest.mark.parametrize("client", [MESSAGES, GEMINI])
def test_the_provider_counts(world: World, upstream: Upstream, client: str, lab: str) -> None:
    upstream.on(DOORS[lab], answer(lab))
    assert ask(world, client, lab) == 12
    (request,) = upstream.requests
    assert "How many?" in jsonio.dumps(request.json).decode()
    assert request.path == PATHS[lab]
    entry = world.entry()
    assert (entry.state, entry.lab, str(entry.cost), entry.dropped) == ("settled", lab, "0", ())


@pytest.mark.parametrize("lab", [RESPONSES, CHAT])
def test_a_provider_that_is_not_known_to_count_is_not_asked(
    make: Make, upstream: Upstream, lab: str
) -> None:
    """Nor is another lab, which would be told a prompt for nothing but its length."""
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
def test_where_a_counter_abroad_fails_an_estimate_is_told(
    world: World, upstream: Upstream, refusal: Answer
) -> None:
    """It is a count that nobody promised there; at home the provider's error goes on."""
    upstream.on(DOORS[GEMINI], *[refusal] * 4)
    body = {"model": f"{GEMINI}/smart", "messages": [{"role": "user", "content": "a" * 40}]}
    reply = world.client.post("/v1/messages/count_tokens", json=body)
    assert (reply.json(), reply.headers["x-tiergate-estimated"]) == ({"input_tokens": 10}, "tokens")
    upstream.on(DOORS[MESSAGES], *[refusal] * 4)
    home = world.client.post(
        "/v1/messages/count_tokens", json={**body, "model": f"{MESSAGES}/smart"}
    )
    assert home.status_code >= 400
    abroad, at_home = world.entries()
    assert (abroad.state, abroad.status, str(abroad.cost), str(abroad.wasted)) == (
        "estimated",
        200,
        "0",
        "0",
    )
    assert at_home.state == "failed"
    failed = [row for row in world.rows() if isinstance(row, Attempt)]
    assert {row.cost for row in failed} == {0}
