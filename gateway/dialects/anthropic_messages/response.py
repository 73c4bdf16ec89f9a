"""Whole answers: read for accounting, decoded to events, encoded from them, folded and unfolded.

Folding turns a stream into a whole answer, unfolding does the reverse. Both work on the members of
the API, so that unknown blocks, deltas and members survive. The input of a tool keeps the model's
own bytes. Source: the streaming events of Anthropic's API reference, joined as its SDKs join them.
"""

from collections.abc import Iterable

import msgspec

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.events import AnswerMetadata, End, Event, Failed, Start, UsageUpdate
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages import errors, usage
from gateway.dialects.anthropic_messages.schema import ANSWER
from gateway.dialects.anthropic_messages.stream import (
    CountedBlock,
    MessageFacts,
    count_block_bytes,
    has_content,
    read_frame,
    read_stop_reason,
)
from gateway.dialects.anthropic_messages.stream_decoder import BlockDecoder, make_finish, make_start
from gateway.dialects.anthropic_messages.stream_encoder import Encoder, write_event
from gateway.dialects.base import ResponseContext, ResponseSummary
from gateway.dialects.member_list import find_unread_members
from gateway.dialects.stream_frames import iterate_frames, make_broken_problem, make_empty_problem

type Object = dict[str, Json]


class _CountedMessage(msgspec.Struct, gc=False):
    """The part of a whole answer whose bytes count as content."""

    content: list[CountedBlock] = []


_MESSAGE_READER = jsonio.make_reader(_CountedMessage)
_DELTA_MEMBERS = {
    "text": (("text", "text_delta"),),
    "thinking": (("thinking", "thinking_delta"), ("signature", "signature_delta")),
}
"""By block type: the members that come in deltas, and the type of each delta."""
_END_MEMBERS = ("stop_reason", "stop_sequence", "stop_details", "container")
"""Members of a message that `message_delta` sends, and that are null in `message_start`."""
_INPUT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_TOTAL_COUNTS = (
    *_INPUT_COUNTS, "output_tokens", "output_tokens_details", "server_tool_use", "iterations",
)  # fmt: skip
"""Members of usage that `message_delta` sends; `message_start` sends those of the input too."""


def summarize(body: bytes) -> ResponseSummary:
    """Return what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    _, facts, problem = _read_answer(body)
    used = facts.usage
    return ResponseSummary(
        usage=used,
        content_bytes=0 if used is not None and used.has_input_and_output else _count_bytes(body),
        served_model=facts.served_model,
        response_id=facts.response_id,
        finish=facts.finish,
        complete=problem is None and facts.finish is not None,
        problem=problem,
    )


def _read_answer(body: bytes) -> tuple[Object, MessageFacts, Problem | None]:
    """Return a whole answer, its facts, and why it is none; facts may stand beside an error."""
    facts = MessageFacts()
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return {}, facts, make_broken_problem("an answer that is not JSON")
    if not isinstance(value, dict):
        return {}, facts, make_broken_problem("an answer that is not a JSON object")
    facts.read_whole(value)
    return value, facts, _find_problem(value, body)


def _find_problem(value: Object, data: bytes) -> Problem | None:
    """Return why an object is no whole answer; None if it is one.

    It may be an error, or have neither content nor a reason for its end.
    """
    error, content = _find_error(value, data), value.get("content")
    if error is not None or not isinstance(content, list):
        return error or make_broken_problem("an answer without content")
    return (
        None
        if read_stop_reason(value) is not None or any(map(has_content, content))
        else make_empty_problem()
    )


def _find_error(value: Object, data: bytes) -> Problem | None:
    """Return the error of a whole answer; an error of a hosted tool does not count."""
    error = value.get("error")
    if error or value.get("type") == "error":
        return errors.read_error_answer(error, data)
    return None


def _count_bytes(body: bytes) -> int:
    """Return the bytes of content in a whole answer."""
    try:
        value: _CountedMessage = _MESSAGE_READER(body)
    except jsonio.JsonError:
        return 0
    return sum(map(count_block_bytes, value.content))


def decode_response(body: bytes) -> list[Event]:
    """Return a whole answer as events. A 200 with an error, HTML or nothing in it is a Failed."""
    value, facts, problem = _read_answer(body)
    start = make_start(facts)
    if problem is not None:
        return [Failed(problem)] if start == Start() else [start, Failed(problem)]
    out: list[Event] = [start]
    decoder = BlockDecoder()
    for at, block in enumerate(value["content"]):
        if isinstance(block, dict):
            decoder.begin(at, block, out)
            decoder.stop(at, out)
    if facts.usage is not None:
        out.append(UsageUpdate(facts.usage))
    names = dict.fromkeys(find_unread_members(value, ANSWER, "answer", "message."))
    out += [make_finish(value), *map(AnswerMetadata, names), End()]
    return out


def encode_response(events: Iterable[Event], context: ResponseContext) -> bytes:
    """Return events as a whole answer, which holds what their stream would hold."""
    encoder = Encoder(context)
    return fold(b"".join([encoder.write(event) for event in events]))


def fold(stream: bytes) -> bytes:
    """Return a stream as a whole message."""
    whole: Object = {}
    blocks: dict[int, Object] = {}
    inputs: dict[int, str] = {}
    for frame in iterate_frames(stream, read_frame):
        event = frame.value
        if frame.kind == "message_start":
            whole = event["message"]
        elif frame.kind == "content_block_start":
            blocks[event["index"]] = event["content_block"]
        elif frame.kind == "content_block_delta":
            at, delta = event["index"], event["delta"]
            if delta.get("type") == "input_json_delta":
                inputs[at] = inputs.get(at, "") + delta["partial_json"]
            else:
                _grow_block(blocks[at], delta)
        elif frame.kind == "message_delta":
            _apply_end(whole, event)
    for at, text in inputs.items():
        if text:
            blocks[at]["input"] = _read_input(text)
    whole["content"] = [blocks[at] for at in sorted(blocks)]
    return jsonio.dumps(whole)


def _read_input(text: str) -> msgspec.Raw | Object:
    """Return a tool's input as the model wrote it; input that was cut goes into `_raw`."""
    try:
        jsonio.loads_text(text)
    except jsonio.JsonError:
        return {"_raw": text}
    return msgspec.Raw(text.encode())


def _grow_block(block: Object, delta: Object) -> None:
    """Add a delta to its block."""
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


def _apply_end(whole: Object, event: Object) -> None:
    """Apply `message_delta`: why the message ended, and usage as running totals."""
    whole.update(event["delta"])
    whole["usage"] = usage.merge(whole.get("usage") or {}, event.get("usage") or {})
    more = {k: v for k, v in event.items() if k not in ("type", "delta", "usage")}
    whole.update(more)


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - usage is always sent
    """Return a whole message as a stream, each block in as few deltas as it needs."""
    value = jsonio.loads(whole)
    content, used = value["content"], value.get("usage")
    end = {name: value[name] for name in _END_MEMBERS if name in value}
    head = {**value, "content": [], **dict.fromkeys(end)}
    last: Object = {"type": "message_delta", "delta": end}
    if isinstance(used, dict):
        last["usage"] = {k: v for k, v in used.items() if k in _TOTAL_COUNTS and v is not None}
        head["usage"] = {
            k: v for k, v in used.items() if k not in last["usage"] or k in _INPUT_COUNTS
        }
        if "output_tokens" in last["usage"]:
            head["usage"]["output_tokens"] = 0  # the message has only begun
    frames = [write_event({"type": "message_start", "message": head})]
    for at, block in enumerate(content):
        begun, deltas = _split_block(block)
        frames.append(
            write_event({"type": "content_block_start", "index": at, "content_block": begun})
        )
        frames += [
            write_event({"type": "content_block_delta", "index": at, "delta": delta})
            for delta in deltas
        ]
        frames.append(write_event({"type": "content_block_stop", "index": at}))
    return b"".join([*frames, write_event(last), write_event({"type": "message_stop"})])


def _split_block(block: Object) -> tuple[Object, list[Object]]:
    """Return the start of a block and its deltas; blocks of other types come whole."""
    begun = dict(block)
    deltas: list[Object] = []
    for name, kind in _DELTA_MEMBERS.get(block["type"], ()):
        if block.get(name):
            begun[name] = ""
            deltas.append({"type": kind, name: block[name]})
    if block["type"] == "text" and block.get("citations"):
        begun["citations"] = []
        citations = [{"type": "citations_delta", "citation": item} for item in block["citations"]]
        deltas = [*citations, *deltas]
    if isinstance(block.get("input"), dict):
        begun["input"] = {}
        text = jsonio.dumps(block["input"]).decode() if block["input"] else ""
        deltas.append({"type": "input_json_delta", "partial_json": text})
    return begun, deltas
