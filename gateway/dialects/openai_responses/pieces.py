"""An event of Responses in pieces; see gateway.dialects.piece."""

from gateway.core.jsonio import Json
from gateway.dialects.openai_responses.stream import ENDS
from gateway.dialects.piece import HEAD, Object, Piece, Said, bare, group, rows

_BEGINS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ITEMS = frozenset({"response.output_item.added", "response.output_item.done"})
_PLACE = ("output_index", "content_index", "summary_index", "annotation_index")
_SAID = ("text", "refusal", "arguments", "input", "annotation")
_OWN = ("id", "item_id", "call_id", "sequence_number", "obfuscation", "status")


def read(event: Object) -> Said:
    """What an event says. An item of reasoning is its maker's: it is compared with its id."""
    kind = event.get("type")
    kind = kind if isinstance(kind, str) else ""
    if kind in _BEGINS:
        return HEAD
    place = (kind, *(event.get(name) for name in _PLACE))
    if kind in ENDS:
        return Said((Piece(("end", kind)),))
    if isinstance(delta := event.get("delta"), str):
        text = Piece(place, delta, places=((event, "delta"),))
        odds = event.get("logprobs")
        return Said(
            (text, Piece((*place, odds), places=((event, "logprobs"),))) if odds else (text,)
        )
    if kind in _ITEMS:
        item = group(event, "item")
        ids = (item.get("id"), item.get("call_id"))
        return Said((Piece((*place, _item(item, whole=kind.endswith("done"))), ids=ids),))
    if isinstance(part := event.get("part"), dict):
        return Said((Piece((*place, _part(part))),))
    if any(name in event for name in _SAID):
        return Said((Piece((*place, *(event.get(name) for name in _SAID))),))
    return Said((Piece((*place, bare(event, *_OWN))),))


def _item(item: Object, *, whole: bool) -> Json:
    """What an item is, and all it says where it is whole."""
    kind = item.get("type")
    if kind == "reasoning":
        return bare(item, "status")
    if kind == "message":
        return kind, [_part(part) for part in rows(item.get("content"))] if whole else []
    if kind in ("function_call", "custom_tool_call"):
        said = [item.get(name) for name in _SAID] if whole else []
        return kind, item.get("name"), item.get("namespace"), said
    return bare(item, *_OWN)


def _part(part: Object) -> Json:
    return part.get("type"), part.get("text"), part.get("refusal")
