"""A recorded stream as a whole message, and a whole message as a stream: the same words either way.

Works on the wire's own members, so that blocks, deltas and members which this gateway does not know
survive. The input of a tool stays in the model's own bytes. Source: the streaming events of
Anthropic's API reference, put together as its official SDKs do.
"""

import msgspec

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages.usage import merged

type Object = dict[str, Json]

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
    whole["usage"] = merged(whole.get("usage") or {}, event.get("usage") or {})
    more = {k: v for k, v in event.items() if k not in ("type", "delta", "usage")}
    whole.update(more)


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - always told here
    """The stream that says what a whole message said: each block in as few deltas as it needs."""
    value = jsonio.loads(whole)
    content, usage = value["content"], value.get("usage")
    end = {name: value[name] for name in _ENDS if name in value}
    head = {**value, "content": [], **dict.fromkeys(end)}
    last: Object = {"type": "message_delta", "delta": end}
    if isinstance(usage, dict):
        last["usage"] = {k: v for k, v in usage.items() if k in _TOTALS and v is not None}
        head["usage"] = {k: v for k, v in usage.items() if k not in last["usage"] or k in _INPUTS}
        if "output_tokens" in last["usage"]:
            head["usage"]["output_tokens"] = 0  # as of a message that has only begun
    frames = [_frame({"type": "message_start", "message": head})]
    for at, block in enumerate(content):
        begun, deltas = _split(block)
        frames.append(_frame({"type": "content_block_start", "index": at, "content_block": begun}))
        frames += [
            _frame({"type": "content_block_delta", "index": at, "delta": delta}) for delta in deltas
        ]
        frames.append(_frame({"type": "content_block_stop", "index": at}))
    return b"".join([*frames, _frame(last), _frame({"type": "message_stop"})])


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


def _frame(event: Object) -> bytes:
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + jsonio.dumps(event) + b"\n\n"
