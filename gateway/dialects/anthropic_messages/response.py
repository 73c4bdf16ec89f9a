"""Whole answers: read for accounting, decoded to events, encoded from them, folded and unfolded.

Folding and unfolding work on the wire's own members, so that blocks, deltas and members which this
gateway does not know survive. The input of a tool stays in the model's own bytes. Source: the
streaming events of Anthropic's API reference, put together as its official SDKs do.
"""

from collections.abc import Iterable

import msgspec

from gateway.core import jsonio, sse
from gateway.core.errors import Problem
from gateway.core.events import End, Event, Failed, UsageUpdate
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages import errors, usage
from gateway.dialects.anthropic_messages.stream import (
    CountedBlock,
    count_block_bytes,
    has_content,
    read_stop_reason,
)
from gateway.dialects.anthropic_messages.stream_decoder import Content, make_finish, make_start
from gateway.dialects.anthropic_messages.stream_encoder import Encoder, write_frame
from gateway.dialects.base import ResponseContext, ResponseSummary, parse_response_id
from gateway.dialects.stream_commit import make_broken_problem, make_empty_problem

type Object = dict[str, Json]


class _Message(msgspec.Struct, gc=False):
    content: list[CountedBlock] = []


_MESSAGE = jsonio.make_reader(_Message)
_PIECES = {
    "text": (("text", "text_delta"),),
    "thinking": (("thinking", "thinking_delta"), ("signature", "signature_delta")),
}
"""By type of a block: members that come in deltas, and the type of those."""
_ENDS = ("stop_reason", "stop_sequence", "stop_details", "container")
"""Members of a message that `message_delta` tells, and `message_start` has as null."""
_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_TOTALS = (
    *_INPUTS, "output_tokens", "output_tokens_details", "server_tool_use", "iterations",
)  # fmt: skip
"""Members of usage that `message_delta` tells; `message_start` tells those of the input too."""


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("an answer that is not JSON"))
    problem = _find_problem(value, body)
    if not isinstance(value, dict):
        return ResponseSummary(problem=problem)
    served, finish = value.get("model"), read_stop_reason(value)
    told = usage.read(value.get("usage"))
    return ResponseSummary(
        usage=told,
        content_bytes=0
        if told is not None and told.has_input_and_output
        else _count_content_bytes(body),
        served_model=served if isinstance(served, str) else None,
        response_id=parse_response_id(value.get("id")),
        finish=finish,
        complete=problem is None and finish is not None,
        problem=problem,
    )


def _find_problem(value: Json, data: bytes) -> Problem | None:
    """Tell why a value is no whole answer: an error, or neither content nor a reason for its end.

    None if it is an answer.
    """
    if not isinstance(value, dict):
        return make_broken_problem("an answer that is not a JSON object")
    found, content = _find_error(value, data), value.get("content")
    if found is not None or not isinstance(content, list):
        return found or make_broken_problem("an answer without content")
    return (
        None
        if read_stop_reason(value) is not None or any(map(has_content, content))
        else make_empty_problem()
    )


def _find_error(value: Object, data: bytes) -> Problem | None:
    """Find the error in a whole answer; of a tool of the provider's it is none of the answer's."""
    error = value.get("error")
    if error or value.get("type") == "error":
        return errors.read_error_answer(error, data)
    return None


def _count_content_bytes(body: bytes) -> int:
    """Bytes that a message says."""
    try:
        value: _Message = _MESSAGE(body)
    except jsonio.JsonError:
        return 0
    return sum(map(count_block_bytes, value.content))


def decode_response(body: bytes) -> list[Event]:
    """A whole answer. A 200 with an error, HTML or nothing in it is a Failed."""
    problem = summarize(body).problem
    if problem is not None:
        return [Failed(problem)]
    value = jsonio.loads(body)
    out: list[Event] = [make_start(value)]
    content = Content()
    for at, block in enumerate(value["content"]):
        if isinstance(block, dict):
            content.begin(at, block, out)
            content.stop(at, out)
    told = usage.read(value.get("usage"))
    if told is not None:
        out.append(UsageUpdate(told))
    out += [make_finish(value), End()]
    return out


def encode_response(events: Iterable[Event], telling: ResponseContext) -> bytes:
    """A whole answer: what its stream says."""
    frames = Encoder(telling)
    return fold(b"".join([frames.write(event) for event in events]))


def fold(stream: bytes) -> bytes:
    """The whole message that says what a stream said."""
    whole: Object = {}
    blocks: dict[int, Object] = {}
    inputs: dict[int, str] = {}
    for frame in sse.split_frames(stream):
        payload = sse.read_data(frame)
        if not payload or payload.startswith(b"[DONE]"):
            continue
        event = jsonio.loads(payload)
        kind = event.get("type")
        if kind == "message_start":
            whole = event["message"]
        elif kind == "content_block_start":
            blocks[event["index"]] = event["content_block"]
        elif kind == "content_block_delta":
            at, delta = event["index"], event["delta"]
            if delta.get("type") == "input_json_delta":
                inputs[at] = inputs.get(at, "") + delta["partial_json"]
            else:
                _grow(blocks[at], delta)
        elif kind == "message_delta":
            _end(whole, event)
    for at, text in inputs.items():
        if text:
            blocks[at]["input"] = _input(text)
    whole["content"] = [blocks[at] for at in sorted(blocks)]
    return jsonio.dumps(whole)


def _input(text: str) -> msgspec.Raw | Object:
    """A tool's input as the model wrote it; one that was cut by the cap is no JSON."""
    raw = text.encode()
    try:
        jsonio.loads(raw)
    except jsonio.JsonError:
        return {"_raw": text}
    return msgspec.Raw(raw)


def _grow(block: Object, delta: Object) -> None:
    for name, value in delta.items():
        held = block.get(name)
        if name == "type" or value is None:
            continue
        if name == "citation":
            block["citations"] = [*(block.get("citations") or ()), value]
        elif isinstance(held, str) and isinstance(value, str) and name != "signature":
            block[name] = held + value
        else:
            block[name] = value


def _end(whole: Object, event: Object) -> None:
    """What `message_delta` says: how it ended, and usage as running totals, null for unsaid."""
    whole.update(event["delta"])
    whole["usage"] = usage.merge(whole.get("usage") or {}, event.get("usage") or {})
    more = {k: v for k, v in event.items() if k not in ("type", "delta", "usage")}
    whole.update(more)


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - always told here
    """The stream that says what a whole message said: each block in as few deltas as it needs."""
    value = jsonio.loads(whole)
    content, used = value["content"], value.get("usage")
    end = {name: value[name] for name in _ENDS if name in value}
    head = {**value, "content": [], **dict.fromkeys(end)}
    last: Object = {"type": "message_delta", "delta": end}
    if isinstance(used, dict):
        last["usage"] = {k: v for k, v in used.items() if k in _TOTALS and v is not None}
        head["usage"] = {k: v for k, v in used.items() if k not in last["usage"] or k in _INPUTS}
        if "output_tokens" in last["usage"]:
            head["usage"]["output_tokens"] = 0  # as of a message that has only begun
    frames = [write_frame({"type": "message_start", "message": head})]
    for at, block in enumerate(content):
        begun, deltas = _split(block)
        frames.append(
            write_frame({"type": "content_block_start", "index": at, "content_block": begun})
        )
        frames += [
            write_frame({"type": "content_block_delta", "index": at, "delta": delta})
            for delta in deltas
        ]
        frames.append(write_frame({"type": "content_block_stop", "index": at}))
    return b"".join([*frames, write_frame(last), write_frame({"type": "message_stop"})])


def _split(block: Object) -> tuple[Object, list[Object]]:
    """A block as it begins, and what it grows by; blocks of other types come whole."""
    begun, deltas = dict(block), list[Object]()
    for name, kind in _PIECES.get(block["type"], ()):
        if block.get(name):
            begun[name] = ""
            deltas.append({"type": kind, name: block[name]})
    if block["type"] == "text" and block.get("citations"):
        begun["citations"] = []
        said = [{"type": "citations_delta", "citation": item} for item in block["citations"]]
        deltas = [*said, *deltas]
    if isinstance(block.get("input"), dict):
        begun["input"] = {}
        text = jsonio.dumps(block["input"]).decode() if block["input"] else ""
        deltas.append({"type": "input_json_delta", "partial_json": text})
    return begun, deltas
