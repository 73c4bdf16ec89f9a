"""Requests, targets, answers and streams for the tests of this dialect."""

import json
from typing import Any

from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Text
from gateway.core.events import Event
from gateway.core.target import UNKNOWN_FACTS, ModelFacts, Provider, Target
from gateway.dialects.base import EncodedRequest, RequestBody, ResponseContext, WrittenBody
from gateway.dialects.gemini import DIALECT, TRANSLATION

type Object = dict[str, Any]

GENERATE, STREAM = "models/m:generateContent", "models/m:streamGenerateContent"
HI: list[Object] = [{"role": "user", "parts": [{"text": "hi"}]}]
CONTEXT = ResponseContext(id="call-1", created_at=1, model="m-1", state_label="ab12")

LEVEL = ModelFacts(effort_style="gemini-level", efforts=("low", "medium", "high"))
BUDGET = ModelFacts(effort_style="gemini-budget", efforts=("none", "low", "medium", "high"))
EITHER = ModelFacts(effort_style="gemini-level+budget", efforts=("minimal", "low", "high"))


def target(model: str = "m", *, refuses: frozenset[str] = frozenset(), facts: ModelFacts = UNKNOWN_FACTS, **more: Any) -> Target:  # fmt: skip
    """Make a target; `refuses` belongs to its provider."""
    provider = Provider(
        name="here", urls={"gemini": "https://here.test/v1beta"}, refused_members=refuses
    )
    return Target(provider=provider, model=model, facts=facts, **more)


def raw(**more: Any) -> bytes:
    """Make a request as a client sends it."""
    return json.dumps({"contents": HI, **more}).encode()


def ask(path: str = GENERATE, /, **more: Any) -> RequestBody:
    """Make a request and read it."""
    return DIALECT.read(raw(**more)) if not path else read(raw(**more), path)


def read(body: bytes, path: str) -> RequestBody:
    """Read a body with the variable part of its path."""
    reading: Any = DIALECT.read
    request: RequestBody = reading(body, path)
    return request


def config(**members: Any) -> RequestBody:
    """Make a request with a generationConfig."""
    return ask(generationConfig=members)


def sent(written: WrittenBody) -> Object:
    """Return the body that a target gets."""
    value: Object = json.loads(written.body)
    return value


def decoded(**more: Any) -> CanonicalRequest:
    """Decode a request."""
    return TRANSLATION.decode_request(ask(**more))


def user(text: str = "hi") -> CanonicalTurn:
    return CanonicalTurn(role="user", parts=(Text(text=text),))


def encoded(*turns: CanonicalTurn, to: Target | None = None, **more: Any) -> EncodedRequest:
    """Encode a request of turns in this dialect."""
    return TRANSLATION.encode_request(
        CanonicalRequest(turns=turns or (user(),), **more), to or target(facts=LEVEL)
    )


def candidate(*parts: Object, finish: Any = None, index: int | None = 0, **more: Any) -> Object:
    """Make one candidate of an answer."""
    value: Object = {**more}
    if parts:
        value["content"] = {"parts": list(parts), "role": "model"}
    if finish is not None:
        value["finishReason"] = finish
    return value if index is None else {**value, "index": index}


def text(words: str, **more: Any) -> Object:
    return {"text": words, **more}


def chunk(*candidates: Object, **more: Any) -> Object:
    """Make one chunk, or a whole answer."""
    return {"candidates": list(candidates), "modelVersion": "m-1", "responseId": "r1", **more}


def frame(value: Any, end: str = "\r\n\r\n") -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}{end}".encode()


def stream(*chunks: Object) -> bytes:
    return b"".join(map(frame, chunks))


def whole(*chunks: Object) -> bytes:
    """Make one answer, or a list of several chunks."""
    return json.dumps(chunks[0] if len(chunks) == 1 else chunks).encode()


def decode_stream(data: bytes) -> list[Event]:
    """Decode a stream into events."""
    decoder = TRANSLATION.make_decoder()
    return [*decoder.feed(data), *decoder.end()]


USED = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
HELLO = chunk(candidate(text("hel")), usageMetadata={"promptTokenCount": 5, "totalTokenCount": 5})
LAST = chunk(candidate(text("lo"), finish="STOP"), usageMetadata=USED)
WHOLE = stream(HELLO, LAST)
