"""How much an event or a whole response says; see gateway.dialects.content_length."""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.content_length import count_item_bytes, count_text_bytes

DONE = "response.output_item.done"


class Said(msgspec.Struct, gc=False):
    """What of an event of a stream may be content, or tells that there is more to know."""

    type: str = ""
    error: Json = None
    delta: Json = None
    item: Json = None
    output_index: Json = None


_SAID = jsonio.make_reader(Said)


def event(payload: bytes) -> Said:
    """Read one event of a stream. Raises JsonError for what is none."""
    found: Said = _SAID(payload)
    return found


def item(value: Json) -> int:
    """Bytes that one item of the output says."""
    if not isinstance(value, dict):
        return 0
    kind = value.get("type")
    if kind == "message":
        return count_text_bytes(value.get("content"))
    if kind == "reasoning":
        return count_text_bytes(value.get("summary")) or count_text_bytes(value.get("content"))
    return count_item_bytes(value)
