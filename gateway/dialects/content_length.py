"""The length of an answer in UTF-8 bytes, from which the gateway estimates its tokens.

Counted is what a model has written: text, readable reasoning, names and arguments of tools; neither
sealed reasoning nor what tools brought.
"""

from gateway.core import jsonio
from gateway.core.events import (
    Declined,
    Event,
    GeneratedMedia,
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    ToolStart,
)
from gateway.core.jsonio import Json

_TEXT_NAMES, _ARGUMENT_NAMES = ("name", "code", "transcript"), ("arguments", "input", "operation")
_CONTENT_NAMES = ("text", "thinking", "summary", "content", "refusal", "transcript")


def count_text_bytes(value: Json) -> int:
    """Bytes of text, and of the texts of content parts."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        return sum(map(count_text_bytes, value))
    if isinstance(value, dict):
        return sum(count_text_bytes(value[name]) for name in _CONTENT_NAMES if name in value)
    return 0


def count_argument_bytes(value: Json) -> int:
    """Count the bytes of a tool call's arguments: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return count_text_bytes(value)
    return len(jsonio.dumps(value)) if value else 0


def count_item_bytes(value: Json) -> int:
    """Count the bytes of other content, such as a hosted tool at work."""
    if not isinstance(value, dict):
        return 0
    if value.get("type") == "compaction":
        return count_text_bytes(value.get("content"))
    text_bytes = sum(count_text_bytes(value.get(name)) for name in _TEXT_NAMES)
    action, code = value.get("action"), value.get("executableCode")
    if isinstance(action, dict):  # a search also lists what it found
        action = {name: item for name, item in action.items() if name != "sources"}
    if isinstance(code, dict):
        text_bytes += count_text_bytes(code.get("code"))
    return (
        text_bytes
        + count_argument_bytes(action)
        + sum(count_argument_bytes(value.get(name)) for name in _ARGUMENT_NAMES)
    )


def count_event_bytes(event: Event) -> int:
    """Bytes that an event says."""
    if isinstance(event, TextDelta | ToolDelta | ReasoningDelta | Declined):
        return count_text_bytes(event.text)
    if isinstance(event, ToolStart):
        return count_text_bytes(event.name)
    if isinstance(event, GeneratedMedia):
        return count_text_bytes(event.transcript)
    return count_item_bytes(event.source) if isinstance(event, Opaque) else 0
