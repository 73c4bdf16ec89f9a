"""A provider that answers the probes of `doctor --live` in each dialect, honestly or with a fault.

Nothing here imports the gateway.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from tests.clients.model_turns import (
    CHAT,
    CONVERSE,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Tokens,
    Turn,
    write_turn,
)
from tests.e2e.upstream import Answer, Request

SECRETS = {
    "key": "sk-live-4f9a1c7e52b84d0396af",
    "organisation": "org-9Zx81PlantedOrg",
    "cookie": "__cf_bm=PlantedCookie77",
    "account": "acct-PlantedAccount42",
    "project": "projects/481516234299",
    "address": "203.0.113.77",
}
"""What no recording may have, by what it is."""
_PATHS = {
    "/chat/completions": CHAT, "/embeddings": CHAT, "/responses": RESPONSES, "/messages": MESSAGES,
    "/v1beta/models/": GEMINI, "/converse": CONVERSE,
}  # fmt: skip
_LENGTH_WORDS = {
    CHAT: (b'"finish_reason":"stop"', b'"finish_reason":"length"'),
    MESSAGES: (b'"stop_reason":"end_turn"', b'"stop_reason":"max_tokens"'),
    RESPONSES: (
        b'"status":"completed"',
        b'"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}',
    ),
    GEMINI: (b'"finishReason":"STOP"', b'"finishReason":"MAX_TOKENS"'),
}

type Change = Callable[["Asked", Answer], Answer]


@dataclass(frozen=True)
class Asked:
    """One probe, as the provider sees it."""

    dialect: str
    name: str
    stream: bool
    body: Any


@dataclass
class LiveProvider:
    """The provider. `changes` make its answers dishonest."""

    changes: list[Change] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        """Answer a request."""
        asked = _read(request)
        self.asked.append(asked)
        answer = _answer(asked, len(self.asked))
        for change in self.changes:
            answer = change(asked, answer)
        more = (
            ("set-cookie", SECRETS["cookie"]), ("openai-organization", SECRETS["organisation"]),
            ("x-account", SECRETS["account"]), ("x-ratelimit-remaining-tokens", "123454321"),
        )  # fmt: skip
        return replace(answer, headers=(*answer.headers, *more))


def _read(request: Request) -> Asked:
    dialect = next(name for part, name in _PATHS.items() if part in request.path)
    body = request.json
    stream = bool(body.get("stream")) or "stream" in request.path
    text = request.body
    if "/embeddings" in request.path or ":embedContent" in request.path:
        name = "embed"
    elif b"sunny" in text.lower():
        name = "result"
    elif b"get_weather" in text:
        name = "tools"
    elif b"Count" in text:
        name = "leave" if stream else "cut"
    else:
        name = "stream" if stream else "whole"
    return Asked(dialect, name, stream, body)


def _answer(asked: Asked, number: int) -> Answer:
    turns = {
        "tools": Turn(calls=(("get_weather", {"city": "Paris"}),)),
        "result": Turn(text="It is sunny."),
        "cut": Turn(text="1 2 3"),
        "leave": Turn(text=" ".join(map(str, range(30)))),
    }
    if asked.name == "embed":
        return _embed(asked)
    turn = turns.get(asked.name, Turn(text="OK."))
    tokens = Tokens(fresh=11, output=5)
    is_cut = asked.dialect == CONVERSE and asked.name == "cut"
    members = {"stopReason": "max_tokens"} if is_cut else None
    answer = write_turn(asked.dialect, turn, number, stream=asked.stream, model=f"m-{asked.dialect}", tokens=tokens, members=members)  # fmt: skip
    if asked.name == "cut" and not is_cut:
        before, after = _LENGTH_WORDS[asked.dialect]
        answer = edit(answer, lambda body: body.replace(b'"incomplete_details":null,', b"").replace(before, after, 1))  # fmt: skip
    if asked.name == "leave":  # it goes on until the client has left
        answer = replace(answer, pieces=answer.pieces[:-3], end="stall")
    return answer


def _embed(asked: Asked) -> Answer:
    vector = [0.5, -0.25, 0.125]
    value: Any = {"embedding": {"values": vector}, "usageMetadata": {"promptTokenCount": 3}}
    if asked.dialect == CHAT:
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        value = {"object": "list", "data": data, "model": asked.body["model"], "usage": usage}
    body = orjson.dumps(value)
    return Answer(pieces=(body,), length=len(body))


def edit(answer: Answer, change: Callable[[bytes], bytes]) -> Answer:
    """Change each piece of an answer."""
    pieces = tuple(change(piece or b"") for piece in answer.pieces)
    length = None if answer.length is None else sum(map(len, pieces))
    return replace(answer, pieces=pieces, length=length)


def refuse(status: int, message: str, /, **headers: str) -> Change:
    """Refuse every probe."""
    body = orjson.dumps({"error": {"message": message, "type": "refused", "code": None}})
    more = tuple((name.replace("_", "-"), value) for name, value in headers.items())

    def change(_: Asked, __: Answer) -> Answer:
        kind = (("content-type", "application/json"), *more)
        return Answer(pieces=(body,), status=status, headers=kind, length=len(body))

    return change
