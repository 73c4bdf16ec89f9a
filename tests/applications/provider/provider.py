"""Five providers in one server: they answer natively, refuse misdirected requests, and keep a bill."""

import re
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count as numbers
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from tests.applications.provider import embeddings
from tests.applications.provider.faults import Fault, problem, spoil
from tests.applications.provider.hosts import (
    CREDENTIALS,
    HOSTS,
    Endpoint,
    Host,
    Operation,
    misdirected,
)
from tests.applications.provider.prices import PriceList
from tests.applications.provider.prompt_cache import PromptCache, count
from tests.applications.provider.requests import (
    ParsedRequest,
    arguments,
    inputs,
    latest_ref,
    parse,
)
from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES, Tokens, Turn, write_turn
from tests.e2e.upstream import Answer, Request, failing

type Json = Any

_ROUNDS = 2
"""Rounds of tool calls before there is an answer."""
_MODEL_IN_PATH = re.compile(r"/models/([^/:]+)")
_RESULT = re.compile(r"res-\d{5}")
TOKEN = re.compile(r"tok-\d{5}")
"""The part of an answer's text, or of the arguments of its calls, that no other answer has."""


@dataclass(frozen=True)
class Charge:
    """One request that arrived, and its bill."""

    number: int
    at: float
    host: str
    operation: Operation
    dialect: str
    url: str
    model: str
    ref: str
    stream: bool
    request: Request
    status: int = 200
    fault: Fault | None = None
    token: str = ""
    text: str = ""
    """The whole text of the answer."""
    tokens: Tokens | None = None
    """None if nothing is billed."""
    usd: Decimal | None = None
    """None if the cost is unknown, or nothing is billed."""

    @property
    def told(self) -> bool:
        """True if the answer reported its usage and, as far as the provider knows, reached its end."""
        return self.tokens is not None and self.fault in (None, Fault.SLOW)


@dataclass
class _Kept:
    """A conversation that a provider stores: a thread of Anthropic, or responses of OpenAI."""

    body: Json
    items: list[Json]


class Provider:
    """All five providers. Scripts are faults by reference, each used once; other requests succeed."""

    def __init__(self, prices: PriceList, clock: Callable[[], float] = time.time) -> None:
        self.charges: list[Charge] = []
        self.failures: list[str] = []
        """Requests that arrived at a wrong place, or that no real client sends."""
        self.arrived = 0
        """Number of requests, charged or refused."""
        self._prices = prices
        self._clock = clock
        self._cache = PromptCache(clock)
        self._scripts: dict[str, deque[Fault]] = defaultdict(deque)
        self._numbers = numbers(1)
        self._kept: dict[str, _Kept] = {}
        self._states: set[tuple[str, str]] = set()

    def script(self, ref: str, *faults: Fault) -> None:
        """Let the next requests of a turn meet these faults."""
        self._scripts[ref].extend(faults)

    def turn(self, request: ParsedRequest, charge: Charge) -> tuple[Turn, int]:
        """Decide the model's answer and its tokens of reasoning."""
        thought = "It is simple." if request.thinks else ""
        reasoning = 64 if request.thinks else 0
        if request.tools and request.rounds < _ROUNDS:
            chosen = request.tools[:1] if request.rounds == 0 else [request.tools[0], request.tools[-1]]  # fmt: skip
            words = f'ollama none "x" {charge.token} Zürich'
            calls = tuple((name, arguments(schema, f"{words} {at}")) for at, (name, schema) in enumerate(chosen))  # fmt: skip
            return Turn(calls=calls, thought=thought), reasoning
        read = " ".join(token for result in request.results for token in _RESULT.findall(result))
        text = (
            f"{charge.token} answers {charge.ref}: run `ollama pull llama3.1:8b`, then stop. The words none, x, ollama "
            f'and sk-placeholder are no secrets. Grüße, 你好, "quoted", C:\\temp, 1.50 and {{"a": [1]}}. '
        )  # fmt: skip
        text += f"I read {read}. " if read else ""
        return Turn(text=text + "And so on, and on. " * (charge.number % 7), thought=thought), reasoning  # fmt: skip

    def answer(self, request: Request) -> Answer:
        """Answer one request to the server."""
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - a mistake here must not look like a cut connection
            self.failures.append(f"{request.path}: {error!r}: {request.body[:2000]!r}")
            return failing(500, problem(CHAT, 500, "The scripted provider has a bug."))

    def _answer(self, request: Request) -> Answer:
        self.arrived += request.method == "POST"
        path = unquote(urlsplit(request.path).path)
        name, _, rest = path.removeprefix("/").partition("/")
        host = HOSTS.get(name)
        endpoint = host.endpoint(request.method, "/" + rest) if host else None
        body = orjson.loads(request.body) if request.body else {}
        in_path = _MODEL_IN_PATH.search(path)
        model = in_path[1] if in_path else str(body.get("model"))
        wrong = misdirected(host, endpoint, request.header, body, model) if host else "no such host"
        if wrong or host is None or endpoint is None:
            self.failures.append(f"{request.method} {request.path}: {wrong}: {request.body[:500]!r}")  # fmt: skip
            return failing(404, problem(CHAT, 404, "No such thing here."))
        if endpoint.operation == "models":
            return _whole({"object": "list", "data": []})
        number = next(self._numbers)
        charge = Charge(
            number, self._clock(), host.name, endpoint.operation, endpoint.dialect, request.path, model,
            latest_ref(request.body.decode()), bool(body.get("stream")) or ":stream" in path,
            request, token=f"tok-{number:05}",
        )  # fmt: skip
        if endpoint.operation == "count":
            return self._count(charge, body)
        return self._generate(charge, host, endpoint, body)

    def _count(self, charge: Charge, body: Json) -> Answer:
        self.charges.append(replace(charge, usd=Decimal(0)))
        total = count(charge.request.body)
        return _whole({"object": "response.input_tokens", "input_tokens": total, "totalTokens": total})  # fmt: skip

    def _generate(self, charge: Charge, host: Host, endpoint: Endpoint, body: Json) -> Answer:
        script = self._scripts[charge.ref]
        fault = script.popleft() if script else None
        make = self._embed if endpoint.operation == "embed" else self._say
        charge, answer = make(charge, body)
        if fault is not None:
            secret = CREDENTIALS[host.name.removesuffix("-chat")]
            answer = spoil(fault, endpoint.dialect, answer, secret, stream=charge.stream)
            charge = replace(charge, fault=fault, status=answer.status)
            if answer.status != 200:
                charge = replace(charge, tokens=None, usd=Decimal(0))
        self.charges.append(charge)
        return replace(answer, headers=(*answer.headers, *_ids(charge)))

    def _embed(self, charge: Charge, body: Json) -> tuple[Charge, Answer]:
        texts = inputs(charge.dialect, body)
        tokens = Tokens(fresh=embeddings.size(texts), output=0)
        usd = self._prices.usd(charge.host, charge.model, tokens, charge.at)
        made = embeddings.answer(charge.dialect, charge.model, texts, body)
        return replace(charge, tokens=tokens, usd=usd), _whole(made)

    def _say(self, charge: Charge, body: Json) -> tuple[Charge, Answer]:
        body = self._whole_conversation(charge, body)
        request = parse(charge.dialect, body)
        for state in request.states:
            if (charge.host, state) not in self._states:
                self.failures.append(f"{charge.url}: a reasoning state of somebody else: {state}")
        turn, reasoning = self.turn(request, charge)
        text = turn.text + "".join(f"{name}{orjson.dumps(given).decode()}" for name, given in turn.calls)  # fmt: skip
        tokens = self._meter(charge, request, count(text.encode()) + reasoning, reasoning)
        usd = self._prices.usd(charge.host, charge.model, tokens, charge.at)
        charge = replace(charge, tokens=tokens, usd=usd, text=turn.text)
        if charge.dialect == CHAT and charge.host != "deepseek":
            turn = replace(turn, thought="")  # it thinks in secret
        answer = write_turn(charge.dialect, turn, charge.number, stream=charge.stream, model=charge.model, tokens=tokens)  # fmt: skip
        self._keep(charge, body, turn)
        if charge.dialect == CHAT and charge.stream and not (body.get("stream_options") or {}).get("include_usage"):  # fmt: skip
            answer = replace(answer, pieces=tuple(it for it in answer.pieces if b'"choices":[]' not in (it or b"")))  # fmt: skip
        return charge, answer

    def _meter(self, charge: Charge, request: ParsedRequest, output: int, reasoning: int) -> Tokens:
        server = charge.request.header("host")  # each server has a cache of its own
        place = f"{server} {charge.host} {charge.model}"
        if charge.dialect == MESSAGES:
            hit = self._cache.marked(place, request.blocks, request.marks)
        else:
            writes = self._prices.bills_writes(charge.host, charge.model)
            hit = self._cache.automatic(place, request.blocks, bills_writes=writes)
        return Tokens(hit.fresh, output, hit.read, hit.write, reasoning)

    def _whole_conversation(self, charge: Charge, body: Json) -> Json:
        """Put the stored part of the conversation before a request."""
        thread = body.get("thread") or {}
        if charge.dialect == MESSAGES and thread.get("type") == "continue":
            kept = self._kept[thread["previous_message_id"]]
            return {**kept.body, **body, "messages": [*kept.items, *body["messages"]]}
        if charge.dialect == RESPONSES and body.get("previous_response_id"):
            kept = self._kept[body["previous_response_id"]]
            return {**body, "input": [*kept.items, *_items(body["input"])]}
        return body

    def _keep(self, charge: Charge, body: Json, turn: Turn) -> None:
        """Store what a later request may name: the conversation, and reasoning states."""
        whole = write_turn(charge.dialect, turn, charge.number, stream=False)
        answer = orjson.loads(whole.pieces[0] or b"")
        if charge.dialect == MESSAGES and body.get("thread"):
            message = {"role": "assistant", "content": answer["content"]}
            self._kept[answer["id"]] = _Kept(body, [*body["messages"], message])
        if charge.dialect == RESPONSES and body.get("store", True):
            self._kept[answer["id"]] = _Kept(body, [*_items(body["input"]), *answer["output"]])
        for state in _states(charge.dialect, answer):
            self._states.add((charge.host, state))


def _states(dialect: str, answer: Json) -> list[str]:
    """List the reasoning states of an answer."""
    if dialect == MESSAGES:
        return [block["signature"] for block in answer["content"] if block["type"] == "thinking"]
    if dialect == RESPONSES:
        return [item["encrypted_content"] for item in answer["output"] if item["type"] == "reasoning"]  # fmt: skip
    if dialect == GEMINI:
        parts = answer["candidates"][0]["content"]["parts"]
        return [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
    return []


def _items(given: Json) -> list[Json]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


def _ids(charge: Charge) -> tuple[tuple[str, str], ...]:
    """Name the request in a header, as OpenAI and Anthropic do; Google does not."""
    if charge.host.startswith("gemini"):
        return ()
    name = "request-id" if charge.host == "anthropic" else "x-request-id"
    return ((name, f"up-{charge.number}"),)


def _whole(value: Json) -> Answer:
    data = orjson.dumps(value)
    return Answer(pieces=(data,), length=len(data))
