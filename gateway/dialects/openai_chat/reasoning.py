"""The members in which Chat Completions hosts carry reasoning: `reasoning_details`, thinking parts.

Source: OpenRouter's API reference, whose blocks are reasoning.text, .summary and .encrypted; their
pieces have the same type and index. Mistral's reference for content parts of type "thinking".
"""

from collections.abc import Iterable

from gateway.core.jsonio import Json

type Object = dict[str, Json]

_JOINED = frozenset({"text", "summary", "data"})


def shown(details: Iterable[Json]) -> str:
    """The readable text of blocks."""
    found = []
    for detail in details:
        if isinstance(detail, dict):
            text = detail.get("text") or detail.get("summary")
            if isinstance(text, str):
                found.append(text)
    return "".join(found)


def sealed(details: Iterable[Object]) -> bool:
    """Whether blocks hold a state for their maker alone."""
    return any(detail.get("data") or detail.get("signature") for detail in details)


def joined(held: list[Object], pieces: Iterable[Json]) -> list[Object]:
    """Blocks, and more pieces of them."""
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        last = held[-1] if held else {}
        index = piece.get("index")
        if isinstance(index, int) and index == last.get("index") and _kind(piece) == _kind(last):
            for name, value in piece.items():
                if name in _JOINED and isinstance(value, str):
                    last[name] = (last.get(name) or "") + value
                elif value is not None:
                    last[name] = value
        else:
            held.append(dict(piece))
    return held


def _kind(detail: Object) -> Json:
    return detail.get("type")


def inner(thinking: Json) -> str:
    """The text of a thinking part: a string, or a list of text parts."""
    if isinstance(thinking, str):
        return thinking
    if not isinstance(thinking, list):
        return ""
    texts = [part.get("text") for part in thinking if isinstance(part, dict)]
    return "".join([text for text in texts if isinstance(text, str)])
