"""How much an answer says, in UTF-8 bytes: what an estimate of its tokens rests on.

Counted is what a model has written: text, readable reasoning, names and arguments of tools; neither
sealed reasoning nor what tools brought.
"""

from gateway.core import jsonio
from gateway.core.events import (
    Declined,
    Event,
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    ToolStart,
)
from gateway.core.jsonio import Json

_WRITTEN, _GIVEN = ("name", "code", "transcript"), ("arguments", "input", "operation")
_TEXTS = ("text", "thinking", "summary", "content", "refusal", "transcript")


def text(value: Json) -> int:
    """Bytes of text, and of the texts of content parts."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        return sum(map(text, value))
    if isinstance(value, dict):
        return sum(text(value[name]) for name in _TEXTS if name in value)
    return 0


def arguments(value: Json) -> int:
    """Bytes of what a tool is called with: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return text(value)
    return len(jsonio.dumps(value)) if value else 0


def thing(value: Json) -> int:
    """Bytes of what is neither text nor a call of the client's tools: a hosted tool at work."""
    if not isinstance(value, dict):
        return 0
    if value.get("type") == "compaction":
        return text(value.get("content"))
    written = sum(text(value.get(name)) for name in _WRITTEN)
    action, code = value.get("action"), value.get("executableCode")
    if isinstance(action, dict):  # a search also lists what it found
        action = {name: item for name, item in action.items() if name != "sources"}
    if isinstance(code, dict):
        written += text(code.get("code"))
    return written + arguments(action) + sum(arguments(value.get(name)) for name in _GIVEN)


def event(said: Event) -> int:
    """Bytes that an event says."""
    if isinstance(said, TextDelta | ToolDelta | ReasoningDelta | Declined):
        return text(said.text)
    if isinstance(said, ToolStart):
        return text(said.name)
    return thing(said.source) if isinstance(said, Opaque) else 0
