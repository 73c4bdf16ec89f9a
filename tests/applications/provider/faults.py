"""Faults of a provider: errors, errors inside a 200, broken JSON, slow first bytes, and cuts."""

from dataclasses import replace
from enum import StrEnum
from typing import Any

import orjson

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES
from tests.e2e.upstream import SSE, Answer, failing

type Json = dict[str, Any]


class Fault(StrEnum):
    """One event in place of an answer, or to an answer."""

    RATE_LIMIT = "429 with retry-after: 1"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"
    QUOTES_THE_KEY = "400 that quotes the credential"
    ERROR_IN_200 = "an error inside a 200"
    BROKEN_JSON = "JSON that ends too early"
    SLOW = "a late first byte"
    CUT = "a connection that closes in the middle"


RETRIED = (Fault.RATE_LIMIT, Fault.SERVER_ERROR, Fault.UNAVAILABLE)
"""Faults that an SDK survives alone, by one retry."""
_STATUSES = {
    Fault.RATE_LIMIT: (429, "Too many requests."), Fault.SERVER_ERROR: (500, "It broke."),
    Fault.UNAVAILABLE: (503, "Try again later."), Fault.QUOTES_THE_KEY: (400, "The key {} may not use this."),
}  # fmt: skip
_SLOW = 0.3
"""Seconds."""


def spoil(fault: Fault, dialect: str, answer: Answer, secret: str, *, stream: bool) -> Answer:
    """Turn an honest answer into one with a fault."""
    if fault in _STATUSES:
        status, message = _STATUSES[fault]
        headers = {"retry_after": "1"} if status == 429 else {}
        return failing(status, problem(dialect, status, message.format(secret)), **headers)
    match fault:
        case Fault.SLOW:
            return replace(answer, delay=_SLOW)
        case Fault.CUT:
            return _cut(answer)
        case Fault.BROKEN_JSON if stream:
            return Answer(pieces=(b'data: {"id": "x", \n\n',), headers=SSE)
        case Fault.BROKEN_JSON:
            body = b"".join(piece or b"" for piece in answer.pieces)[:-20]
            return replace(answer, pieces=(body,), length=len(body))
        case _:
            return _error_in_200(dialect, stream=stream)


def problem(dialect: str, status: int, message: str) -> bytes:
    """Write an error as a dialect's own API writes it."""
    if dialect == MESSAGES:
        kinds = {429: "rate_limit_error", 503: "overloaded_error", 500: "api_error"}  # fmt: skip
        kind = kinds.get(status, "invalid_request_error")
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})
    if dialect == GEMINI:
        words = {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 500: "INTERNAL"}  # fmt: skip
        inner = {"code": status, "message": message, "status": words.get(status, "INVALID_ARGUMENT")}  # fmt: skip
        return orjson.dumps({"error": inner})
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}})


def _cut(answer: Answer) -> Answer:
    """End in the middle: of the frames of a stream, or of the only body."""
    if answer.length is None:
        return replace(answer, pieces=answer.pieces[: max(3, len(answer.pieces) // 2)], end="cut")
    body = b"".join(piece or b"" for piece in answer.pieces)
    return replace(answer, pieces=(body[: len(body) // 2],), end="cut")


def _error_in_200(dialect: str, *, stream: bool) -> Answer:
    """Write an error as aggregators and overloaded providers send it, with status 200."""
    bodies: dict[str, Json] = {
        CHAT: {"id": "gen-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{
            "index": 0, "message": {"role": "assistant", "content": "Half a sen"}, "finish_reason": None,
            "error": {"code": 502, "message": "The host behind us failed."}}]},
        RESPONSES: {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "failed", "output": [],
                    "error": {"code": "server_error", "message": "It broke."}, "usage": None},
        MESSAGES: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        GEMINI: {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}},
    }  # fmt: skip
    body = bodies[dialect]
    if not stream:
        data = orjson.dumps(body)
        return Answer(pieces=(data,), length=len(data))
    events: dict[str, list[tuple[str, Json]]] = {
        CHAT: [("", {"error": {"code": 502, "message": "The host behind us failed."}})],
        RESPONSES: [
            ("response.created", {"type": "response.created", "sequence_number": 0, "response": {**body, "status": "in_progress", "error": None}}),
            ("response.failed", {"type": "response.failed", "sequence_number": 1, "response": body}),
        ],
        MESSAGES: [("error", body)],
        GEMINI: [("", body)],
    }  # fmt: skip
    return Answer(pieces=tuple(_event(kind, value) for kind, value in events[dialect]), headers=SSE)


def _event(kind: str, value: Json) -> bytes:
    head = f"event: {kind}\n".encode() if kind else b""
    return head + b"data: " + orjson.dumps(value) + b"\n\n"
