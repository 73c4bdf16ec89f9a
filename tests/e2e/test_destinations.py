"""Each request arrives at its own URL, with its own model and key, in any order of requests."""

import random
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, answer
from tests.e2e.test_embeddings import gemini_answer, openai_answer
from tests.e2e.upstream import Answer, Request, Script
from tests.e2e.world import Config, Make, World

PROVIDERS = ("one", "two")
TEXT = "How are you?"
TURNS = [{"role": "user", "content": TEXT}]
CONTENTS = [{"role": "user", "parts": [{"text": TEXT}]}]


@dataclass(frozen=True)
class Operation:
    """A client's request, the path where it must arrive, and the provider's answer there.

    `{}` in a path stands for the model's name; without it, the body names the model.
    """

    path: str
    body: dict[str, Any]
    arrives: str
    answer: Script
    model: str = "m"
    """The beginning of the model's name."""


def number(member: str) -> Answer:
    body = jsonio.dumps({member: 12})
    return Answer(pieces=(body,), length=len(body))


CHATS = {"messages": TURNS, "max_tokens": 9}
INPUT = {"input": TEXT, "store": False}
GOOGLE = "/v1beta/models/{}"
OPERATIONS = {
    "chat": Operation("/v1/chat/completions", CHATS, "/chat/completions", answer(CHAT)),
    "stream": Operation(
        "/v1/chat/completions",
        {**CHATS, "stream": True},
        "/chat/completions",
        answer(CHAT, stream=True),
    ),
    "responses": Operation("/v1/responses", INPUT, "/responses", answer(RESPONSES)),
    "messages": Operation("/v1/messages", CHATS, "/messages", answer(MESSAGES)),
    "messages beta": Operation(
        "/v1/messages?beta=true", CHATS, "/messages?beta=true", answer(MESSAGES)
    ),
    "messages count": Operation(
        "/v1/messages/count_tokens",
        {"messages": TURNS},
        "/messages/count_tokens",
        number("input_tokens"),
    ),
    "gemini": Operation(
        f"{GOOGLE}:generateContent",
        {"contents": CONTENTS},
        f"{GOOGLE}:generateContent",
        answer(GEMINI),
    ),
    "gemini stream": Operation(
        f"{GOOGLE}:streamGenerateContent?alt=sse",
        {"contents": CONTENTS},
        f"{GOOGLE}:streamGenerateContent?alt=sse",
        answer(GEMINI, stream=True),
    ),
    "gemini count": Operation(
        f"{GOOGLE}:countTokens",
        {"contents": CONTENTS},
        f"{GOOGLE}:countTokens",
        number("totalTokens"),
    ),
    "embeddings": Operation("/v1/embeddings", {"input": TEXT}, "/embeddings", openai_answer, "v"),
    "gemini embeddings": Operation(
        f"{GOOGLE}:embedContent",
        {"content": CONTENTS[0]},
        f"{GOOGLE}:embedContent",
        gemini_answer,
        "v",
    ),
}


def both(value: Config) -> None:
    """Configure two providers that speak every dialect, count tokens and make vectors."""
    base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
    endpoints = {CHAT: "/chat/completions", RESPONSES: "/responses", MESSAGES: "/messages"}
    value["aliases"] = {}
    value["providers"] = {
        name: {
            "base_url": f"{base}/{name}",
            "dialects": {**endpoints, GEMINI: "/v1beta"},
            "accounts": {"main": f"secret-of-{name}"},
        }
        for name in PROVIDERS
    }
    value["labs"] = {
        name: {"smart": [{"model": f"m-{name}"}], "embeddings": [{"model": f"v-{name}"}]}
        for name in PROVIDERS
    }
    value["models"] = {}
    value["default"] = {"lab": "one", "tier": "smart"}


def place(provider: str, operation: Operation) -> str:
    """Return the path where a request must arrive."""
    return f"/{provider}{operation.arrives.format(f'{operation.model}-{provider}')}"


def script(request: Request) -> Answer:
    """Answer as the provider with this very path does, and no other."""
    answers = {
        (place(name, operation), operation.body.get("stream")): operation.answer
        for name in PROVIDERS
        for operation in OPERATIONS.values()
    }
    script_for_path = answers[request.path, request.json.get("stream")]
    return script_for_path if isinstance(script_for_path, Answer) else script_for_path(request)


@pytest.fixture
def world(make: Make) -> World:
    world = make(both)
    world.upstream.on("/", script)
    return world


@pytest.mark.parametrize("seed", range(3))
def test_requests_in_any_order_arrive_at_their_own_urls(world: World, seed: int) -> None:
    """All operations of two providers, each of them several times, in a random order."""
    orders = [(provider, name) for provider in PROVIDERS for name in OPERATIONS] * 4
    random.Random(seed).shuffle(orders)
    for provider, name in orders:
        operation = OPERATIONS[name]
        model = f"{operation.model}-{provider}"
        named = {} if "{}" in operation.path else {"model": model}
        reply = world.client.post(operation.path.format(model), json={**operation.body, **named})
        assert reply.status_code == 200, (provider, name, reply.text)
        request = world.upstream.arrived()
        assert request.path == place(provider, operation), name
        assert request.header("authorization") == f"Bearer secret-of-{provider}", name
        assert named.items() <= request.json.items(), name
    assert len(world.upstream.requests) == len(orders)
