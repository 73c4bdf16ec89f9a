"""Google's Live API: messages of a session that begin, carry and end what is billed.

A session has one turn of the model at a time, which `turnComplete` ends. Counts of `usageMetadata`
within a turn are running totals. A message with usage alone, after the end of a turn, is a turn of
its own, so that no count is lost. Source: the Live API reference, and the types of Google's SDK.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.gemini import usage as gemini_usage
from gateway.dialects.realtime.base import (
    ResponseContent,
    ResponseEnded,
    ResponseStarted,
    SessionEvent,
)

_COUNT_NAMES = {
    "responseTokenCount": "candidatesTokenCount",
    "responseTokensDetails": "candidatesTokensDetails",
}
"""Counts that have another name in a session than in an answer."""
_TURN_ID = ""


class GeminiMessageReader:
    """Reads the messages of one session."""

    def __init__(self) -> None:
        self._is_turn_open = False

    def may_start_response(self, data: bytes) -> bool:  # noqa: ARG002 - one interface
        """See MessageReader: any message after the first may start one."""
        return True

    def read(self, data: bytes) -> list[SessionEvent]:
        """See MessageReader."""
        try:
            message = _as_object(jsonio.loads(data))
        except jsonio.JsonError:
            return []
        content = _as_object(message.get("serverContent"))
        usage = read_usage(message.get("usageMetadata"))
        text_bytes = _count_text(content)
        is_ended = content.get("turnComplete") is True
        begins = "modelTurn" in content or "outputTranscription" in content or "toolCall" in message
        if not (self._is_turn_open or begins or usage is not None):
            return []
        events: list[SessionEvent] = [] if self._is_turn_open else [ResponseStarted(_TURN_ID)]
        is_usage_alone = not self._is_turn_open and not begins
        self._is_turn_open = not is_ended and not is_usage_alone
        if begins or usage is not None:
            events.append(ResponseContent(_TURN_ID, text_bytes, usage))
        if not self._is_turn_open:
            reason = content.get("turnCompleteReason")
            finish = reason if isinstance(reason, str) else "turnComplete" if is_ended else None
            events.append(ResponseEnded(_TURN_ID, finish=finish))
        return events


def read_usage(value: Json) -> Usage | None:
    """Read one usageMetadata of a session; None if it counts nothing."""
    if not isinstance(value, dict):
        return None
    return gemini_usage.read(
        {_COUNT_NAMES.get(name, name): count for name, count in value.items()}, ended=True
    )


def read_setup_model(data: bytes) -> str | None:
    """Return the model in the first message of a client; None if it is no setup with one model.

    A member that stands twice has no meaning: the provider could read another model.
    """
    try:
        members = jsonio.read_members(data)
        setup = bytes(memoryview(members["setup"]))
        setup_members = jsonio.read_members(setup)
        model = jsonio.loads(memoryview(setup_members["model"]))
    except (jsonio.JsonError, KeyError):
        return None
    if jsonio.has_repeated_member(data, members) or jsonio.has_repeated_member(
        setup, setup_members
    ):
        return None
    return model.rpartition("models/")[2] if isinstance(model, str) else None


def replace_setup_model(data: bytes, model: str) -> bytes:
    """Return the first message with another model; all other values stay as they are."""
    members = jsonio.read_members(data)
    setup = jsonio.read_members(bytes(memoryview(members["setup"])))
    setup["model"] = msgspec.Raw(jsonio.dumps(f"models/{model}"))
    members["setup"] = msgspec.Raw(jsonio.join_members(setup))
    return jsonio.join_members(members)


def _count_text(content: dict[str, Json]) -> int:
    parts = _as_object(content.get("modelTurn")).get("parts")
    texts = [
        part.get("text")
        for part in (parts if isinstance(parts, list) else ())
        if type(part) is dict
    ]
    texts.append(_as_object(content.get("outputTranscription")).get("text"))
    return sum(len(text.encode()) for text in texts if isinstance(text, str))


def _as_object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
