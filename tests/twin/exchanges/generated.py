"""Requests of the four dialects from a fixed seed: features, models, headers, names that ship."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from tests.clients.model_turns import GEMINI, MESSAGES, RESPONSES
from tests.twin.configuration import DIALECTS, SHORT
from tests.twin.exchanges.client_requests import ClientRequest, write
from tests.twin.exchanges.exchange import TwinExchange, body_of, http_request
from tests.twin.exchanges.provider_answers import answering, token_count, vectors

_SEED = 20_261_127
_MODELS = (
    "auto", "fast", "smart", "reasoning", "alpha/smart", "beta/fast", "gamma/reasoning", "delta/smart", "every/reasoning",
    "quirky/fast", "alpha", "able-1", "beta/able-1", "deep-1", "every-new-name", "quirky-new", "gpt-4o", "our-writer", "o3",
    "openai/smart", "anthropic/reasoning", "google/fast", "no-such-model", "nolab/smart",
)  # fmt: skip
_PROMPTS = (
    "Hello!", "What is the capital of Italy?", "Prove that the square root of 2 is irrational.", "Translate into French: the cat sleeps.",
    "Draft a short reply to this ticket: my invoice is wrong.", "Review this contract for clauses that a court could void.",
    "Write a Python function that finds a deadlock between threads: `def find(a, b): return a.lock() and b.lock()`. Explain each line and test it.",
    "Eat the forbidden fruit.", "Good night to you and all of yours.", "Please pin me to one model.", "Übersetze: Grüße aus München, 你好, emoji 🙂.",
    "Summarise: " + "the quick brown fox jumps over the lazy dog. " * 60, "a", "Compute the integral of x^2 e^x dx and explain each step with care.",
)  # fmt: skip
_HEADERS: tuple[dict[str, str], ...] = (
    {}, {}, {}, {"x-tiergate-tier": "fast"}, {"x-tiergate-tier": "reasoning"}, {"x-tiergate-lab": "beta"}, {"x-tiergate-lab": "every"},
    {"x-tiergate-tags": "draft, legal"}, {"x-tiergate-tags": "kept"}, {"x-tiergate-cache": "on"}, {"x-tiergate-cache": "off"},
    {"x-tiergate-cache": "refresh"}, {"x-tiergate-cache": "exact"}, {"x-tiergate-on-loss": "refuse"}, {"x-tiergate-complete": "hold"},
    {"cache-control": "no-store"}, {"cache-control": "no-cache"}, {"x-tiergate-conversation": "talk-7"}, {"x-tiergate-tier": "huge"},
    {"x-stainless-retry-count": "1", "x-stainless-timeout": "600"}, {"user-agent": "claude-cli/2.1.0 (external, cli)", "x-claude-code-session-id": "s-1"},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"anthropic-beta": "context-1m-2025-08-07"},
    {"openai-organization": "org-1", "openai-project": "p-1", "idempotency-key": "i-1"}, {"x-title": "Open WebUI", "x-openwebui-chat-id": "c-1"},
)  # fmt: skip
"""Headers by chance: overrides, hints of SDKs, names of conversations."""
_PLAIN = ClientRequest((("user", "What is the weather in Rome?"),))
_FEATURES = {
    "plain": _PLAIN,
    "system": replace(_PLAIN, system="Be terse. Answer in one sentence."),
    "several turns": ClientRequest(
        (
            ("user", "Hi."),
            ("assistant", "Hello, what can I do?"),
            ("user", "Tell me of Rome."),
        )
    ),
    "a tool": replace(_PLAIN, tools=1),
    "three tools": replace(_PLAIN, tools=3, tool_choice="auto"),
    "a forced tool": replace(_PLAIN, tools=2, tool_choice="get_weather"),
    "tools required": replace(_PLAIN, tools=1, tool_choice="required"),
    "tools forbidden": replace(_PLAIN, tools=1, tool_choice="none"),
    "one tool at a time": replace(_PLAIN, tools=2, parallel_tools=False),
    "a tool's result": replace(_PLAIN, tools=1, tool_result=True),
    "an image": replace(_PLAIN, image="data"),
    "an image by URL": replace(_PLAIN, image="url"),
    "a file": replace(_PLAIN, file=True),
    "a schema": replace(_PLAIN, schema=True),
    "low effort": replace(_PLAIN, effort="low", max_tokens=6000),
    "high effort": replace(_PLAIN, effort="high", max_tokens=6000),
    "no effort": replace(_PLAIN, effort="none"),
    "effort and tools": replace(_PLAIN, effort="medium", tools=2, max_tokens=6000),
    "temperature": replace(_PLAIN, temperature=0.7, top_p=0.9),
    "stop": replace(_PLAIN, stop=("END", "STOP")),
    "limit": replace(_PLAIN, max_tokens=77),
    "seed": replace(_PLAIN, seed=7),
    "two choices": replace(_PLAIN, candidates=2),
    "user and metadata": replace(_PLAIN, user="u-1", metadata={"a": "b"}),
    "service tier": replace(_PLAIN, service_tier="flex"),
    "without usage": replace(_PLAIN, stream_usage=False),
    "long": ClientRequest(
        (("user", "Read this. " + "All work and no play makes Jack a dull boy. " * 900),)
    ),
    "unknown members": replace(_PLAIN, extra={"x_unknown": {"a": [1.50, None]}, "thread": None}),
    "no temperature": replace(_PLAIN, temperature=0.0),
    "stored": replace(_PLAIN, extra={"store": True}),
}
"""Requests with one feature each."""


def features() -> Iterator[TwinExchange]:
    """Yield each feature in each dialect, whole and streamed, at three models in turn."""
    models = cycle(_MODELS)
    for feature, request in _FEATURES.items():
        for dialect in DIALECTS:
            for stream in (False, True):
                for _ in range(3):
                    model = next(models)
                    name = f"{SHORT[dialect]}: {feature}{' streamed' * stream} at {model}"
                    variant = replace(request, stream=stream)
                    data = write(dialect, variant, model)
                    yield TwinExchange("features", name, data, (answering(name, variant),))


def mixed(count: int) -> Iterator[TwinExchange]:
    """Yield requests with random features, models, keys and headers."""
    chance = random.Random(_SEED)
    for number in range(count):
        dialect = chance.choice(DIALECTS)
        request = _random(chance)
        headers = chance.choice(_HEADERS)
        key = chance.choice(("main", "main", "batch", "globex", "stay", "cached"))
        name = f"mixed {number:04}"
        data = write(dialect, request, chance.choice(_MODELS), headers, key)
        yield TwinExchange("mixed", name, data, (answering(name, request),))


def _random(chance: random.Random) -> ClientRequest:
    """Make a random request."""

    def maybe[T](value: T, share: float, otherwise: T) -> T:
        return value if chance.random() < share else otherwise

    turns = [("user", chance.choice(_PROMPTS))]
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        turns = [("user", chance.choice(_PROMPTS)), ("assistant", "I see."), *turns]
    tools = chance.choice((0, 0, 0, 1, 3, 12))
    return ClientRequest(
        tuple(turns),
        system=maybe("You are a careful assistant.", 0.4, ""),
        tools=tools,
        tool_choice=maybe("auto", 0.3, "") if tools else "",
        tool_result=bool(tools) and chance.random() < 0.3,
        image=chance.choice(("", "", "", "", "data", "url")),
        file=chance.random() < 0.08,
        schema=not tools and chance.random() < 0.15,
        effort=chance.choice(("", "", "", "none", "low", "high")),
        temperature=chance.choice((None, None, 0.0, 0.5)),
        max_tokens=chance.choice((None, None, 5000, 6000)),
        stop=maybe(("END",), 0.1, ()),
        seed=maybe(11, 0.1, None),
        user=maybe("someone", 0.2, ""),
        service_tier=maybe("flex", 0.05, ""),
        stream=chance.random() < 0.5,
        stream_usage=chance.random() < 0.7,
    )


def repeated() -> Iterator[TwinExchange]:
    """Yield equal calls one after the other, which the response cache answers."""
    for dialect in DIALECTS:
        answer = f"again {SHORT[dialect]}"
        for key in ("main", "cached", "globex"):
            for number, stream in enumerate((False, False, True, True, False)):
                request = replace(_PLAIN, temperature=0.0, stream=stream, stream_usage=number != 3)
                data = write(dialect, request, "every/smart", key=key)
                name = f"{answer} for {key}, {number}"
                yield TwinExchange("repeated", name, data, (answering(answer, request),))


def shipped(models: Sequence[str]) -> Iterator[TwinExchange]:
    """Yield calls of every name that ships, in each dialect, with members that some models refuse."""
    rich = replace(
        _PLAIN, system="Be terse.", tools=2, effort="low", max_tokens=5000, stop=("END",), temperature=0.4, seed=3,
        user="u-1", metadata={"a": "b"},
    )  # fmt: skip
    plain = replace(rich, tools=0)
    requests = cycle(
        (plain, rich, replace(rich, stream=True, effort=""), replace(plain, effort="high", schema=True))
    )  # fmt: skip
    for model in models:
        for dialect in DIALECTS:
            request = next(requests)
            name = f"shipped {model} by {SHORT[dialect]}"
            data = write(dialect, request, model)
            yield TwinExchange("shipped", name, data, (answering(name, request),))
        next(requests)


def embeddings() -> Iterator[TwinExchange]:
    """Yield requests for embeddings, right and wrong ones, of OpenAI's and Google's clients."""
    inputs: list[Any] = ["one text", ["two", "texts"], [[1, 2, 3], [4, 5]], [], "", [1, 2, 3], {"a": 1}]  # fmt: skip
    for model in ("alpha/vectors-1", "vectors-1", "alpha/auto", "auto", "gamma/vectors-1", "able-1", "every-new-vectors", "openai/auto"):  # fmt: skip
        for number, value in enumerate(inputs):
            encoding = {"encoding_format": "base64"} if number % 2 else {}
            body = {"model": model, "input": value, **encoding}
            data = http_request("POST", "/v1/embeddings", body, "main")
            yield TwinExchange("embeddings", f"embeddings {number} of {model}", data, (vectors,))
            if not isinstance(value, str):
                continue
            content = {"content": {"parts": [{"text": value}]}}
            batch = {"requests": [{"model": f"models/{model}", **content}] * 2}
            for method, body in (("embedContent", content), ("batchEmbedContents", batch)):
                data = http_request("POST", f"/v1beta/models/{model}:{method}", body, "main")
                yield TwinExchange("embeddings", f"{method} {number} of {model}", data, (vectors,))


def token_counts() -> Iterator[TwinExchange]:
    """Yield requests that count tokens, in the three dialects that have them."""
    rich = replace(_PLAIN, image="data", system="Be terse.", tools=2)
    paths = {MESSAGES: "/v1/messages/count_tokens", RESPONSES: "/v1/responses/input_tokens", GEMINI: "/v1beta/models/{}:countTokens"}  # fmt: skip
    for model in ("auto", "beta/smart", "gamma/fast", "delta/smart", "alpha/fast", "no-such-model"):
        for title, request in (("plain", _PLAIN), ("rich", rich)):
            for dialect, path in paths.items():
                body = body_of(write(dialect, request, model))
                data = http_request("POST", path.format(model), body, "main")
                name = f"count {title} by {SHORT[dialect]} of {model}"
                yield TwinExchange("counts", name, data, (token_count,))


def routes(count: int = 150) -> Iterator[TwinExchange]:
    """Yield requests for the explanation of a decision."""
    chance = random.Random(_SEED + 1)
    for number in range(count):
        dialect = chance.choice(DIALECTS)
        request = _random(chance)
        model = chance.choice(_MODELS)
        path = f"/v1/route?dialect={dialect}"
        if dialect == GEMINI:
            path += f"&path=models/{model}:generateContent"
        key = chance.choice(("main", "batch", "globex", "admin"))
        body = body_of(write(dialect, request, model))
        data = http_request("POST", path, body, key, chance.choice(_HEADERS))
        yield TwinExchange("routes", f"route {number:03}", data)
