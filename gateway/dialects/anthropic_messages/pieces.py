"""An event of Messages in pieces; see gateway.dialects.piece."""

from gateway.core.jsonio import Json
from gateway.dialects.piece import HEAD, Object, Piece, Said, bare, group

_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


_BEGIN = {"text": "text", "thinking": "thinking", "tool_use": "name"}
"""Blocks that say no more when they begin than their type and this member."""


def read(event: Object) -> Said:
    """What an event says. A signature, and what is redacted, are compared as they are."""
    kind, at = event.get("type"), event.get("index")
    match kind:
        case "message_start" | "ping":
            return HEAD
        case "content_block_start":
            block = group(event, "content_block")
            return Said((Piece(("start", at, _block(block)), ids=(block.get("id"),)),))
        case "content_block_delta":
            delta = group(event, "delta")
            name = _TEXTS.get(delta.get("type", ""), "")
            if isinstance(delta.get(name), str):
                text = Piece(("text", at, name), delta[name], places=((delta, name),))
                return Said((text,))
            return Said((Piece(("delta", at, delta)),))
        case "content_block_stop":
            return Said((Piece(("stop", at)),))
        case "message_delta":
            delta = group(event, "delta")
            key = ("finish", delta.get("stop_reason"), delta.get("stop_sequence"))
            return Said((Piece(key),), stays=True)
        case _:
            return Said((Piece((kind, event)),))


def _block(block: Object) -> Json:
    kind: Json = block.get("type")
    member = _BEGIN.get(kind) if isinstance(kind, str) else None
    if member is None:
        return bare(block, "id")
    return kind, block.get(member), block.get("input")
