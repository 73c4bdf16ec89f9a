"""Requests, targets, events and streams for the tests of this dialect."""

import json
from typing import Any

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.target import UNKNOWN_FACTS, ModelFacts, Provider, Target
from gateway.dialects import translation
from gateway.dialects.base import RequestBody, ResponseContext, StreamInspector, WrittenBody
from gateway.dialects.openai_responses import DIALECT
from gateway.dialects.openai_responses.stream import ResponsesStreamFacts, read_frame
from gateway.dialects.stream_frames import iterate_frames

type Object = dict[str, Any]

URLS = {DIALECT.name: "https://here.test/v1/responses"}


def target(model: str = "m", *, refuses: frozenset[str] = frozenset(), facts: ModelFacts = UNKNOWN_FACTS, **more: Any) -> Target:  # fmt: skip
    """Make a target; `refuses` belongs to its provider."""
    provider = Provider(name="here", urls=URLS, refused_members=refuses)
    return Target(provider=provider, model=model, facts=facts, **more)


def raw(**more: Any) -> bytes:
    """Make a request as a client sends it; `...` leaves a member out."""
    value: Object = {"model": "m", "input": "hi", **more}
    return json.dumps({k: v for k, v in value.items() if v is not ...}).encode()


def ask(**more: Any) -> RequestBody:
    """Make a request and read it."""
    return DIALECT.read(raw(**more))


def decoded(**more: Any) -> CanonicalRequest:
    """Make a request and decode it."""
    return translation.decode_request(DIALECT, ask(**more))


def sent(written: WrittenBody) -> Object:
    """Return the body that a target gets."""
    value: Object = json.loads(written.body)
    return value


def make_context(request: CanonicalRequest | None = None, **more: Any) -> ResponseContext:
    return ResponseContext(id="call1", created_at=7, model="m", request=request, **more)


def event(kind: str, **more: Any) -> bytes:
    """Make one frame."""
    data = json.dumps({"type": kind, **more}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def read(stream: bytes) -> list[Object]:
    """Return the payloads of frames; assert that each has the name of its type."""
    values = []
    for frame in stream.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == "event: " + value["type"]
        values.append(value)
    return values


USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
    "output_tokens": 10,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 30,
}
TEXT = {"type": "output_text", "text": "hello you", "annotations": []}
MESSAGE = {
    "id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [TEXT],
}  # fmt: skip
CALL = {
    "id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "f",
    "arguments": '{"a":1}',
}  # fmt: skip


def response(*output: Object, **more: Any) -> Object:
    """Make a completed response object."""
    return {
        "id": "resp_1", "object": "response", "created_at": 5, "status": "completed",
        "model": "m-1", "output": [*output], "error": None, "incomplete_details": None,
        "usage": USAGE, **more,
    }  # fmt: skip


def added(item: Object, at: int = 0) -> bytes:
    return event("response.output_item.added", output_index=at, item=item)


def done(item: Object, at: int = 0) -> bytes:
    return event("response.output_item.done", output_index=at, item=item)


def delta(kind: str, text: str, at: int = 0, **more: Any) -> bytes:
    return event(f"response.{kind}.delta", output_index=at, delta=text, **more)


CREATED = event("response.created", response=response(status="in_progress", usage=None))
ADDED = added({**MESSAGE, "status": "in_progress", "content": []})
HELLO = delta("output_text", "hello", item_id="msg_1", content_index=0, logprobs=[])
COMPLETED = event("response.completed", response=response(MESSAGE))
WHOLE = (
    CREATED
    + ADDED
    + HELLO
    + delta("output_text", " you", item_id="msg_1", content_index=0)
    + done(MESSAGE)
    + COMPLETED
)


def list_facts(inspector: StreamInspector) -> list[object]:
    """List what an inspector knows."""
    kind = inspector.problem.kind if inspector.problem is not None else None
    return [inspector.usage, inspector.served_model, inspector.response_id, inspector.finish, kind]


def read_every_frame(stream: bytes) -> list[object]:
    """List what all of every frame tells, up to the first error."""
    facts, kind = ResponsesStreamFacts(), None
    for frame in iterate_frames(stream, read_frame):
        facts.read_event(frame)
        if frame.problem is not None:
            kind = frame.problem.kind
            break
    return [facts.usage, facts.served_model, facts.response_id, facts.finish, kind]
