"""Conversations of several turns. A later turn is made from earlier answers of the same gateway."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES
from tests.twin.configuration import DIALECTS, SHORT
from tests.twin.exchanges.client_requests import ClientRequest, write
from tests.twin.exchanges.exchange import History, Json, TwinExchange, body_of, http_request
from tests.twin.exchanges.provider_answers import answering

_TURNS = (
    "Hi there.", "Tell me of the weather in Rome.", "Prove that 2 is prime, and explain each step of the proof.",
    "Thanks, that is all.", "Write a function that sorts a list in place.",
)  # fmt: skip
_MODELS = ("auto", "beta/auto", "gamma/smart", "delta/smart", "every/auto", "quirky/smart")
_INPUT = {CHAT: "messages", MESSAGES: "messages", RESPONSES: "input", GEMINI: "contents"}
"""The member that holds the turns of a request."""


def talks() -> Iterator[TwinExchange]:
    """Yield conversations that leave the choice of the model to the gateway, which keeps a target."""
    for dialect in DIALECTS:
        for model in _MODELS:
            for key in ("main", "stay"):
                turns: list[tuple[str, str]] = [("user", f"This is the talk at {model}.")]
                for number, text in enumerate(_TURNS):
                    name = f"talk {SHORT[dialect]} at {model} for {key}, turn {number}"
                    request = ClientRequest(tuple(turns), system="Be kind.", stream=number % 2 == 1)
                    data = write(dialect, request, model, key=key)
                    yield TwinExchange("talks", name, data, (answering(name, request),))
                    turns.append(("assistant", f"Answer {number}, as the client kept it."))
                    turns.append(("user", text))


def tool_loops() -> Iterator[TwinExchange]:
    """Yield loops in which the client sends tool calls back with the ids that it received."""
    for dialect in DIALECTS:
        for model in _MODELS:
            name = f"loop {SHORT[dialect]} at {model}"
            question = f"What is the weather in Rome, by {model}?"
            request = ClientRequest((("user", question),), tools=2, effort="low", max_tokens=6000)
            answers = (answering(name, request),)
            data = write(dialect, request, model)
            yield TwinExchange("tool loops", name, data, answers, keeps_body=True)
            for number, stream in enumerate((False, True)):
                following = replace(request, tool_result=stream, stream=stream)
                source = _with_results(dialect, replace(request, stream=stream), model, name)
                title = f"{name}, result {number}"
                yield TwinExchange("tool loops", title, source, (answering(title, following),))


def _with_results(
    dialect: str, request: ClientRequest, model: str, first: str
) -> Callable[[History], bytes]:
    """Make the request that answers the tool calls in the answer of the exchange `first`."""

    def source(history: History) -> bytes:
        try:
            items = _RESULTS[dialect](history[first].json or {})
        except (KeyError, IndexError, TypeError):
            items = []  # the answer has no tool calls
        data = write(dialect, request, model)
        body = json.loads(body_of(data))
        turns = body[_INPUT[dialect]]
        if isinstance(turns, str):
            turns = [{"role": "user", "content": turns}]
        body[_INPUT[dialect]] = turns + items
        method, path, _ = data.split(b"\r\n")[0].decode().split(" ")
        version = {"anthropic-version": "2023-06-01"} if dialect == MESSAGES else {}
        return http_request(method, path, body, "main", version)

    return source


def _chat_results(answer: Json) -> list[Json]:
    message = answer["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "12.50"}
        for call in message["tool_calls"]
    ]
    return [message, *results]


def _responses_results(answer: Json) -> list[Json]:
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "12.50"}
        for item in answer["output"]
        if item["type"] == "function_call"
    ]
    return [*answer["output"], *results]


def _messages_results(answer: Json) -> list[Json]:
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "12.50"}
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    turn = {"role": "assistant", "content": answer["content"]}
    return [turn, {"role": "user", "content": results}]


def _gemini_results(answer: Json) -> list[Json]:
    content = answer["candidates"][0]["content"]
    results = [
        {"functionResponse": {"name": part["functionCall"]["name"], "response": {"degrees": 12.5}}}
        for part in content["parts"]
        if "functionCall" in part
    ]
    return [content, {"role": "user", "parts": results}]


_RESULTS: dict[str, Callable[[Json], list[Any]]] = {
    CHAT: _chat_results, RESPONSES: _responses_results, MESSAGES: _messages_results, GEMINI: _gemini_results,
}  # fmt: skip


def stored_answers() -> Iterator[TwinExchange]:
    """Yield answers of the Responses API that a client continues, references, reads and deletes."""
    following = ClientRequest((("user", "Which number was it?"),))
    for model in ("alpha/smart", "beta/smart", "delta/smart", "every/smart"):
        for stream in (False, True):
            first = f"stored{' streamed' * stream} at {model}"
            request = ClientRequest((("user", f"Remember the number 7, {model}."),), stream=stream)
            data = write(RESPONSES, request, model)
            yield _stored(first, data, request)
            second, third = f"{first}, continued", f"{first}, continued twice"
            yield _stored(second, _continuing(first, following, model), following)
            streamed = replace(following, stream=True)
            yield _stored(third, _continuing(second, streamed, model), streamed)
            yield _stored(f"{first}, referenced", _referencing(first, model), following)
            for method, title in (("GET", "read"), ("DELETE", "deleted"), ("GET", "read again"), ("DELETE", "deleted again")):  # fmt: skip
                source = _reading(method, first)
                yield TwinExchange("stored answers, read", f"{first}, {title}", source)
            source = _continuing(first, following, model)
            yield _stored(f"{first}, continued after it is deleted", source, following)
    for key in ("batch", "main"):
        body = {"model": "auto", "input": "Hi", "previous_response_id": "resp_nobody_has_this"}
        data = http_request("POST", "/v1/responses", body, key)
        yield TwinExchange("stored answers", f"an unknown answer, for {key}", data)


def _stored(
    name: str, source: bytes | Callable[[History], bytes], request: ClientRequest
) -> TwinExchange:
    return TwinExchange(
        "stored answers", name, source, (answering(name, request),), keeps_body=True
    )


def _id(history: History, name: str) -> str:
    """Return the id of an answer, whole or streamed."""
    observation = history[name]
    body = observation.json
    if isinstance(body, dict):
        return str(body.get("id", "resp_none"))
    _, _, after = observation.body.partition(b'"response":{"id":"')
    return after.partition(b'"')[0].decode() or "resp_none"


def _continuing(first: str, request: ClientRequest, model: str) -> Callable[[History], bytes]:
    def source(history: History) -> bytes:
        extra = {"previous_response_id": _id(history, first)}
        return write(RESPONSES, replace(request, extra=extra), model)

    return source


def _referencing(first: str, model: str) -> Callable[[History], bytes]:
    def source(history: History) -> bytes:
        output = (history[first].json or {}).get("output", [])
        items = [{"type": "item_reference", "id": item["id"]} for item in output if "id" in item]
        body = {"model": model, "input": [*items, {"role": "user", "content": "And?"}]}
        return http_request("POST", "/v1/responses", body, "main")

    return source


def _reading(method: str, first: str) -> Callable[[History], bytes]:
    return lambda history: http_request(method, f"/v1/responses/{_id(history, first)}", key="main")
