"""Seeded calls of all dialects to all models, through a gateway in a process of its own."""

import hashlib
import http.client
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import orjson

from tests.applications.modalities.answers import make_answered, write_members, write_usage
from tests.applications.modalities.models import MODELS, Answered, PricedModel, bill
from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES, Turn, write_turn
from tests.e2e.child import GatewayChild
from tests.e2e.upstream import PATIENCE, Answer, Request, Upstream
from tests.e2e.world import Loop

type Json = Any

DIALECTS = (CHAT, RESPONSES, MESSAGES, GEMINI)
KEYS = {"north": "acme", "south": "acme", "west": "globex"}
"""The tenant of each key. The secret of a key is its name."""
KEY_OF_UNKNOWN = "west"
"""The key of all calls without a cost: the other ones' budgets count exactly what was billed."""
ADMIN = "admin-of-the-bill"
_PATHS = {CHAT: "/chat/completions", RESPONSES: "/responses", MESSAGES: "/messages", GEMINI: "/models"}  # fmt: skip
_CALL = re.compile(rb"This is call (\d+)\.")
_CLIENTS = 4
_DISCOUNT = Fraction(9, 10)
"""What the broker's stated bill is of its list price."""


@dataclass(frozen=True)
class BilledCall:
    """One call, with all that its answer will have: the seed and its number decide both."""

    number: int
    dialect: str
    model: PricedModel
    key: str
    stream: bool
    answered: Answered

    @cached_property
    def usd(self) -> Fraction | None:
        """What the provider bills."""
        usd = bill(self.model, self.answered)
        if not self.model.states_bill or usd is None:
            return usd
        return Fraction(round(usd * _DISCOUNT * 1_000_000), 1_000_000)


def make_call(seed: int, number: int) -> BilledCall:
    random = Random(f"{seed} {number}")
    model = random.choice(MODELS)
    dialect = random.choice((model.dialect, *DIALECTS))
    key, stream = random.choice(list(KEYS)), random.random() < 0.5
    call = BilledCall(number, dialect, model, key, stream, make_answered(model, random))
    return call if call.usd is not None else replace(call, key=KEY_OF_UNKNOWN)


@dataclass(frozen=True)
class ProviderReply:
    """What the client of a call got."""

    call: BilledCall
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class ModalityBench:
    """The gateway, its provider, and all calls so far."""

    child: GatewayChild
    provider: "ModalityProvider"
    folder: Path
    redis_url: str
    replies: list[ProviderReply] = field(default_factory=list)

    def run(self, number: int) -> None:
        """Make so many more calls."""
        first = len(self.replies)
        with ThreadPoolExecutor(_CLIENTS) as clients:
            made = clients.map(
                self._run_share, [range(first + at, first + number, _CLIENTS) for at in range(_CLIENTS)]
            )  # fmt: skip
            self.replies += [reply for replies in made for reply in replies]

    def _run_share(self, numbers: range) -> list[ProviderReply]:
        connection = http.client.HTTPConnection("127.0.0.1", self.child.port, PATIENCE)
        replies = []
        for number in numbers:
            call = make_call(self.provider.seed, number)
            path, body = _write_request(call)
            headers = {"content-type": "application/json", "x-tiergate-stream-cost": "on", "authorization": f"Bearer {call.key}"}  # fmt: skip
            connection.request("POST", path, orjson.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
            named = {name.lower(): value for name, value in answer.getheaders()}
            replies.append(ProviderReply(call, answer.status, named, data))
        connection.close()
        return replies


class ModalityProvider:
    """All providers in one: each answers as the number of the call says, and counts what it served."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.served: Counter[int] = Counter()
        """Number of requests, by number of the call."""

    def answer(self, request: Request) -> Answer:
        match = _CALL.search(request.body)
        assert match is not None
        call = make_call(self.seed, int(match[1]))
        model, dialect = call.model, call.model.dialect
        assert request.path.startswith(f"/{model.name}/")
        self.served[call.number] += 1
        usage = write_usage(dialect, call.answered)
        if model.states_bill and call.usd is not None:
            usage["cost"] = float(call.usd)
        return write_turn(
            dialect, Turn(text=f"Answer {call.number}."), call.number, model=model.name,
            stream=":stream" in request.path or bool(request.json.get("stream")),
            usage=usage, members=write_members(dialect, call.answered),
        )  # fmt: skip


def _write_request(call: BilledCall) -> tuple[str, Json]:
    """Return the path and the body of a call in the client's dialect."""
    text, name = f"This is call {call.number}.", call.model.name
    messages = [{"role": "user", "content": text}]
    stream = {"stream": True} if call.stream else {}
    match call.dialect:
        case "openai-chat":
            more = {"stream_options": {"include_usage": True}} if call.stream else {}
            return "/v1/chat/completions", {"model": name, "messages": messages, **stream, **more}
        case "openai-responses":
            return "/v1/responses", {"model": name, "input": text, **stream}
        case "anthropic-messages":
            return "/v1/messages", {"model": name, "messages": messages, "max_tokens": 9_000, **stream}  # fmt: skip
        case _:
            method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
            contents = [{"role": "user", "parts": [{"text": text}]}]
            return f"/v1beta/models/{quote(name)}:{method}", {"contents": contents}


@contextmanager
def running(loop: Loop, folder: Path, redis_url: str, seed: int) -> Iterator[ModalityBench]:
    """Run a gateway before a provider until the block ends."""
    upstream, provider = Upstream(), ModalityProvider(seed)
    upstream.on("/", provider.answer)
    loop.run(upstream.start())
    file = folder / "gateway.yaml"
    file.write_bytes(orjson.dumps(_write_config(upstream.url)))
    keys = {
        name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": tenant}
        for name, tenant in KEYS.items()
    }
    (folder / "keys.yaml").write_bytes(orjson.dumps(keys))
    child = GatewayChild(file, REDIS_URL=redis_url, TIERGATE_ADMIN_KEY=ADMIN)
    try:
        yield ModalityBench(child, provider, folder, redis_url)
    finally:
        child.stop()
        loop.run(upstream.stop())


def _write_config(url: str) -> Json:
    providers = {
        model.name: {
            "base_url": f"{url}/{model.name}", "auth": "none", "dialects": {model.dialect: _PATHS[model.dialect]},
            **({"prices": model.seller} if model.seller else {}),
        }
        for model in MODELS
    }  # fmt: skip
    targets = [{"provider": model.name, "model": model.name} for model in MODELS]
    models = {
        model.name: {
            "context": 2_000_000, "max_output": 10_000, "sampling": "never",
            **({"price": model.price | {"as_of": "2026-11-30"}} if model.price else {}),
        }
        for model in MODELS
    }  # fmt: skip
    budgets = [
        {"name": "all", "usd": 1_000_000, "every": "total"},
        {"name": "own", "usd": 1_000_000, "every": "total", "per": "key", "hard": False},
    ]  # fmt: skip
    return {
        "version": 1, "default": {"lab": "house", "tier": "fast"}, "routing": {"classifier": "prior"},
        "cache": {"ttl": "0s"}, "keys": "keys.yaml", "budgets": budgets, "providers": providers,
        "labs": {"house": {"fast": targets}}, "models": models,
    }  # fmt: skip
