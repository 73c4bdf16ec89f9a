"""Requests, targets and streams for the tests of this dialect."""

import json
from typing import Any

from gateway.core.target import UNKNOWN_FACTS, ModelFacts, Provider, Target
from gateway.dialects.anthropic_messages import DIALECT
from gateway.dialects.base import RequestBody, WrittenBody

type Object = dict[str, Any]

URLS = {DIALECT.name: "https://here.test/v1/messages"}
HI = [{"role": "user", "content": "hi"}]


def target(model: str = "m", *, refuses: frozenset[str] = frozenset(), facts: ModelFacts = UNKNOWN_FACTS, **more: Any) -> Target:  # fmt: skip
    """Make a target; `refuses` belongs to its provider."""
    provider = Provider(name="here", urls=URLS, refused_members=refuses)
    return Target(provider=provider, model=model, facts=facts, **more)


def raw(**more: Any) -> bytes:
    """Make a request as a client sends it; `...` leaves a member out."""
    value: Object = {"model": "m", "max_tokens": 4096, "messages": HI, **more}
    return json.dumps({k: v for k, v in value.items() if v is not ...}).encode()


def ask(**more: Any) -> RequestBody:
    """Make a request and read it."""
    return DIALECT.read(raw(**more))


def sent(written: WrittenBody) -> Object:
    """Return the body that a target gets."""
    value: Object = json.loads(written.body)
    return value


def event(kind: str, **more: Any) -> bytes:
    """Make one frame."""
    data = json.dumps({"type": kind, **more}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(**usage: Any) -> bytes:
    """Make the first frame of a message."""
    message: Object = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1, **usage},
    }  # fmt: skip
    return event("message_start", message=message)


def begin(index: int = 0, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(kind: str = "text_delta", index: int = 0, **more: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **more})


def done(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def end(reason: str | None = "end_turn", **usage: Any) -> bytes:
    """Make the last frame of a message before message_stop."""
    ended = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=ended, usage={"output_tokens": 9, **usage})


PING = event("ping")
STOP = event("message_stop")
EMPTY = begin(type="text", text="")
HELLO = delta(text="hello")
WHOLE = start() + PING + EMPTY + HELLO + delta(text=" you") + done() + end() + STOP
