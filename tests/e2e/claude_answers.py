"""Answers as Claude gives them on the Messages API: blocks of content, streamed or whole."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from tests.e2e.upstream import SSE, Answer, End, Request, Script

type Block = dict[str, Any]

USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 40_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "service_tier": "standard",
    "inference_geo": "global",
}
OUTPUT = {"output_tokens": 90, "output_tokens_details": {"thinking_tokens": 20}}
_PIECE = 7
"""Characters of one delta."""


def text(content: str) -> Block:
    return {"type": "text", "text": content}


def thinking(thought: str, signature: str) -> Block:
    return {"type": "thinking", "thinking": thought, "signature": signature}


def tool(call: str, name: str, **arguments: Any) -> Block:
    return {"type": "tool_use", "id": call, "name": name, "input": arguments}


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **more}) + b"\n\n"


def frames(*blocks: Block) -> tuple[bytes, ...]:
    """Return the frames of a stream with these blocks, cut into pieces."""
    started = {
        **_message(blocks),
        "content": [],
        "stop_reason": None,
        "usage": {**USAGE, "output_tokens": 1},
    }
    out = [event("message_start", message=started), event("ping")]
    for index, block in enumerate(blocks):
        out.append(event("content_block_start", index=index, content_block=_empty(block)))
        out += [event("content_block_delta", index=index, delta=delta) for delta in _deltas(block)]
        out.append(event("content_block_stop", index=index))
    end = {"stop_reason": _stop(blocks), "stop_sequence": None}
    out.append(event("message_delta", delta=end, usage={**USAGE, **OUTPUT}))
    out.append(event("message_stop"))
    return tuple(out)


def stream(*pieces: bytes, end: End = "clean") -> Answer:
    return Answer(pieces=pieces, headers=(*SSE, ("request-id", "req_made_up")), end=end)


def reply(*blocks: Block) -> Script:
    """Answer with these blocks, streamed or whole as the request asks."""

    def script(request: Request) -> Answer:
        if request.json.get("stream"):
            return stream(*frames(*blocks))
        value = {**_message(blocks), "usage": {**USAGE, **OUTPUT}}
        body = orjson.dumps(value)
        return Answer(pieces=(body,), length=len(body))

    return script


def error(kind: str, message: str) -> bytes:
    """Return the body of an error."""
    value = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return orjson.dumps(value)


def _message(blocks: Sequence[Block]) -> dict[str, Any]:
    number = zlib.crc32(orjson.dumps(blocks))  # Claude Code takes answers of one id for one answer
    return {
        "model": "claude-served",
        "id": f"msg_{number:08x}",
        "type": "message",
        "role": "assistant",
        "content": list(blocks),
        "stop_reason": _stop(blocks),
        "stop_sequence": None,
        "stop_details": None,
    }


def _stop(blocks: Iterable[Block]) -> str:
    return "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"


def _empty(block: Block) -> Block:
    """Return a block as it begins."""
    unchanged = ("type", "id", "name")
    return {key: value if key in unchanged else type(value)() for key, value in block.items()}


def _deltas(block: Block) -> list[dict[str, str]]:
    if block["type"] == "tool_use":
        arguments = orjson.dumps(block["input"]).decode()
        return [
            {"type": "input_json_delta", "partial_json": part} for part in ("", *_cut(arguments))
        ]
    kind = block["type"]
    deltas = [{"type": f"{kind}_delta", kind: part} for part in _cut(block[kind])]
    if kind == "thinking":
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    return deltas


def _cut(value: str) -> list[str]:
    return [value[at : at + _PIECE] for at in range(0, len(value), _PIECE)]
