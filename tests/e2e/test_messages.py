"""Anthropic's dialect, native: its unmodified SDK, bytes as they came, errors in its shape."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from gateway.core import jsonio
from tests.e2e.upstream import Answer, Upstream
from tests.e2e.world import Config, Make, World

HELLO: list[Any] = [{"role": "user", "content": "Say hello to me please."}]
USAGE = {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 2}


def claude(value: Config) -> None:
    """Add a lab that speaks Messages to the labs that speak Chat Completions."""
    value["providers"]["claude"] = {
        "base_url": value["providers"]["acme"]["base_url"].replace("acme", "claude"),
        "dialects": {"anthropic-messages": "/v1/messages"},
        "auth": "x-api-key",
        "accounts": {"main": "sk-ant-never-shown"},
    }
    targets = {"fast": "claude-haiku-9", "smart": "claude-sonnet-9", "reasoning": "claude-opus-9"}
    value["labs"]["claude"] = {tier: [{"model": model}] for tier, model in targets.items()}
    price = {"input": 1, "cache_read": 0.1, "output": 4}
    value["models"] |= {model: {"price": price} for model in targets.values()}


def whole() -> Answer:
    body = jsonio.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-served",
            "content": [{"type": "text", "text": "Hello you."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": USAGE,
            "x_unknown": 1.5,
        }
    ).replace(b"1.5", b"1.50")
    return Answer(pieces=(body,), length=len(body))


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + jsonio.dumps({"type": kind, **more}) + b"\n\n"


def frames() -> list[bytes]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-served"}
    started: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": USAGE,
    }
    return [
        event("message_start", message={**message, **started}),
        event("ping"),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello "}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "you."}),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
        event("message_stop"),
    ]


@pytest.fixture
def world(make: Make) -> World:
    return make(claude)


@pytest.fixture
def sdk(world: World) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=world.url, api_key="any", max_retries=0) as client:
        yield client


def test_the_anthropic_sdk_gets_a_whole_answer_and_its_cost(
    world: World, sdk: anthropic.Anthropic, upstream: Upstream
) -> None:
    """The gateway calls the named model, replaces the credential, and accounts for the answer."""
    upstream.on("/claude", whole())
    reply = sdk.messages.with_raw_response.create(
        model="claude-opus-9", max_tokens=50, messages=HELLO
    )
    assert reply.parse().content[0].model_dump(include={"text"}) == {"text": "Hello you."}
    assert reply.headers["x-tiergate-tier"] == "reasoning"
    assert reply.headers["x-tiergate-cost"] == "0.0000192"
    request = upstream.requests[-1]
    assert request.path == "/claude/v1/messages"
    assert (request.header("x-api-key"), request.header("authorization")) == (
        "sk-ant-never-shown",
        None,
    )
    assert request.header("anthropic-version") is not None
    entry = world.entry()
    assert (entry.input, entry.cache_read, entry.output, entry.model, entry.served) == (
        7, 2, 3, "claude-opus-9", "claude-served",
    )  # fmt: skip


@pytest.mark.parametrize("query", ["beta=true&x=1", "key=secret", "beta=false"])
def test_only_the_beta_query_reaches_the_provider(
    world: World, upstream: Upstream, query: str
) -> None:
    upstream.on("/claude", whole())
    body = b'{"model":"claude-haiku-9","max_tokens":9,"messages":[]}'
    assert world.client.post(f"/v1/messages?{query}", content=body).status_code == 200
    assert upstream.requests[-1].path == "/claude/v1/messages"


@pytest.mark.parametrize(
    ("requested_model", "tier"), [("claude-auto", None), ("auto", None), ("fast", "fast")]
)
def test_tier_names_lead_to_a_default_lab_of_another_dialect(
    sdk: anthropic.Anthropic, requested_model: str, tier: str | None
) -> None:
    """The default lab speaks only Chat Completions."""
    reply = sdk.messages.with_raw_response.create(
        model=requested_model, max_tokens=50, messages=HELLO
    )
    assert reply.headers["x-tiergate-lab"] == "acme"
    assert tier in (None, reply.headers["x-tiergate-tier"])
    assert reply.parse().content[0].type == "text"


@pytest.mark.parametrize("has_claude_lab", [True, False])
@pytest.mark.parametrize(
    ("requested_model", "tier"),
    [
        ("claude-haiku-1", "fast"),
        ("claude-sonnet-1", "smart"),
        ("claude-opus-1", "reasoning"),
        ("claude-fable-1", "reasoning"),
    ],
)
def test_a_claude_family_means_a_tier_of_the_claude_lab_or_the_default_lab(
    make: Make, requested_model: str, tier: str, has_claude_lab: bool
) -> None:
    """No other maker's model answers where a lab lists Claude.

    Here no provider owns these names.
    """
    world = make(claude) if has_claude_lab else make()
    world.upstream.on("/claude", whole())
    body = {"model": requested_model, "max_tokens": 50, "messages": HELLO}
    reply = world.client.post("/v1/messages", json=body)
    assert reply.headers["x-tiergate-lab"] == ("claude" if has_claude_lab else "acme")
    assert reply.headers["x-tiergate-tier"] == tier
    assert reply.headers["x-tiergate-family"] == requested_model.removesuffix("-1")
    assert reply.json()["content"][0]["type"] == "text"


def test_the_gateway_estimates_a_count_that_no_target_can_make(
    world: World, upstream: Upstream
) -> None:
    """The gateway marks the count as an estimate, charges nothing, and asks no provider."""
    body = {"model": "acme/smart", "messages": [{"role": "user", "content": "a" * 400}]}
    reply = world.client.post("/v1/messages/count_tokens", json=body)
    assert (reply.status_code, reply.json()) == (200, {"input_tokens": 100})
    assert reply.headers["x-tiergate-estimated"] == "tokens"
    unknown = world.client.post("/v1/messages/count_tokens", json={**body, "model": "none"})
    assert unknown.status_code == 404
    assert not upstream.requests
    first = world.entries()[0]
    assert (first.state, first.status, first.attempts, str(first.cost)) == (
        "estimated",
        200,
        0,
        "0",
    )


def test_a_token_count_costs_nothing(
    world: World, sdk: anthropic.Anthropic, upstream: Upstream
) -> None:
    upstream.on("/claude", Answer(pieces=(b'{"input_tokens": 12}',), length=20))
    counted = sdk.messages.count_tokens(model="claude-haiku-9", messages=HELLO)
    assert counted.input_tokens == 12
    assert upstream.requests[-1].path == "/claude/v1/messages/count_tokens"
    entry = world.entry()
    assert (entry.state, str(entry.cost)) == ("settled", "0")


def test_a_token_count_is_one_number_even_if_the_client_requests_a_stream(
    world: World, upstream: Upstream
) -> None:
    upstream.on("/claude", Answer(pieces=(b'{"input_tokens": 12}',), length=20))
    body = {"model": "claude-haiku-9", "messages": HELLO, "stream": True}
    reply = world.client.post("/v1/messages/count_tokens", json=body)
    assert (reply.status_code, reply.content) == (200, b'{"input_tokens": 12}')


def test_claude_auto_is_listed(world: World) -> None:
    """Claude Code keeps only names that hold "claude"; any lab serves `claude-auto`."""
    listed = world.client.get("/v1/models").json()["data"]
    assert "claude-auto" in [model["id"] for model in listed]
