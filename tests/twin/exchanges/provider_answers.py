"""Answers of an honest provider: one turn for each exchange, in the dialect of the requested path."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zlib import crc32

from tests.applications.provider import embeddings
from tests.applications.provider.faults import Fault, problem, spoil
from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES, Tokens, Turn, write_turn
from tests.e2e.upstream import Answer
from tests.twin.exchanges.client_requests import SCHEMA_ANSWER, ClientRequest, tool_names
from tests.twin.exchanges.exchange import ProviderRequest

type Responder = Callable[[ProviderRequest], Answer]

_SENTENCE = 'It is, as far as I know, a plain answer in some words. Grüße, 你好, "quoted", C:\\temp and 1.50. '


def answering(name: str, request: ClientRequest, fault: Fault | None = None) -> Responder:
    """Make the provider of the exchange of a name; a fault spoils its answer.

    Ids and token counts of the answer follow from the name.
    """
    number = crc32(name.encode())
    turn = _turn(number, request)
    tokens = Tokens(
        fresh=50 + number % 900,
        output=90 + number % 300,
        read=number % 3 * 64,
        write=0 if number % 5 else 128,
        reasoning=40 if turn.thought else 0,
    )

    def respond(sent: ProviderRequest) -> Answer:
        dialect, stream = dialect_of(sent), is_stream(sent)
        answer = write_turn(dialect, turn, number, stream=stream, model="served-1", tokens=tokens)
        if fault is not None:
            answer = spoil(fault, dialect, answer, "twin-placeholder", stream=stream)
        return replace(answer, headers=(*answer.headers, ("x-request-id", f"up-{number}")))

    return respond


def _turn(number: int, request: ClientRequest) -> Turn:
    """Decide what the model says: it calls offered tools, and thinks where effort is requested."""
    thought = "First I think about it." if request.effort not in ("", "none") else ""
    if request.tools and not request.tool_result and request.tool_choice != "none":
        names = tool_names(request.tools)[:2]
        calls = tuple((name, {"city": "Rome", "days": day}) for day, name in enumerate(names, 1))
        return Turn(calls=calls, thought=thought, text="Let me see." if number % 2 else "")
    if request.schema:
        return Turn(text=SCHEMA_ANSWER, thought=thought)
    return Turn(text=_SENTENCE * (1 + number % 3), thought=thought)


def dialect_of(sent: ProviderRequest) -> str:
    """Tell the dialect of a request by its path."""
    path = sent.path.partition("?")[0]
    if path.endswith("/messages"):
        return MESSAGES
    if path.endswith("/responses"):
        return RESPONSES
    return GEMINI if ":" in path.rpartition("/")[2] else CHAT


def is_stream(sent: ProviderRequest) -> bool:
    """True if a request asks for a stream."""
    return ":stream" in sent.path or bool(_body(sent).get("stream"))


def error(status: int, message: str = "No.", **headers: str) -> Responder:
    """Answer with an error of the dialect of the request."""
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def respond(sent: ProviderRequest) -> Answer:
        body = problem(dialect_of(sent), status, message)
        kind = ("content-type", "application/json")
        return Answer(pieces=(body,), status=status, headers=(kind, *lines), length=len(body))

    return respond


def vectors(sent: ProviderRequest) -> Answer:
    """Answer a request for embeddings."""
    body = _body(sent)
    dialect = GEMINI if "mbedContent" in sent.path else CHAT
    inputs = body["input"] if dialect == CHAT else body.get("requests", [body])
    texts = [inputs] if isinstance(inputs, str) else [str(text) for text in inputs]
    return _json(embeddings.answer(dialect, "served-1", texts, body))


def token_count(sent: ProviderRequest) -> Answer:
    """Answer a request that counts tokens."""
    total = len(sent.body) // 4
    return _json({"object": "response.input_tokens", "input_tokens": total, "totalTokens": total})


def _json(value: Any) -> Answer:
    data = json.dumps(value).encode()
    return Answer(pieces=(data,), length=len(data))


def _body(sent: ProviderRequest) -> dict[str, Any]:
    try:
        body = json.loads(sent.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
