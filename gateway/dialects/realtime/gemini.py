"""Google's Live API: messages of a session that begin, carry and end what is billed.

A session has one turn of the model at a time, which `turnComplete` ends. Counts of `usageMetadata`
within a turn are running totals. A message with usage alone, after the end of a turn, is a turn of
its own, so that no count is lost. Source: the Live API reference, and the types of Google's SDK.
"""

import msgspec

from gateway.core import json_size, jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.gemini import usage as gemini_usage
from gateway.dialects.realtime.base import (
    ResponseContent,
    ResponseEnded,
    ResponseStarted,
    SessionEvent,
    StartChance,
)

_COUNT_NAMES = {
    "responseTokenCount": "candidatesTokenCount",
    "responseTokensDetails": "candidatesTokensDetails",
}
"""Counts that have another name in a session than in an answer."""
_TURN_ID = ""
_NO_MEMBER = msgspec.Raw()


class _ClientContent(msgspec.Struct):
    """One `clientContent` of a client; both spellings of a name count."""

    is_turn_complete: bool = msgspec.field(default=True, name="turnComplete")
    is_complete: bool = msgspec.field(default=True, name="turn_complete")


class _ClientMessage(msgspec.Struct):
    """The members of a client's message that end its turn. Others are skipped."""

    client_content: _ClientContent | None = msgspec.field(default=None, name="clientContent")
    other_client_content: _ClientContent | None = msgspec.field(default=None, name="client_content")
    tool_response: msgspec.Raw = msgspec.field(default=_NO_MEMBER, name="toolResponse")
    other_tool_response: msgspec.Raw = msgspec.field(default=_NO_MEMBER, name="tool_response")


_read_client_message = jsonio.make_reader(_ClientMessage)


class GeminiMessageReader:
    """Reads the messages of one session."""

    def __init__(self) -> None:
        self._is_turn_open = False

    def find_start_chance(self, data: bytes) -> StartChance:
        """See MessageReader: any message may begin a turn; a finished turn of the client does."""
        try:
            message: _ClientMessage = _read_client_message(data)
        except jsonio.JsonError:
            return "possible"
        contents = message.client_content, message.other_client_content
        is_finished = any(
            content is not None and content.is_complete and content.is_turn_complete
            for content in contents
        )
        has_result = len(message.tool_response) + len(message.other_tool_response) > 0
        return "certain" if is_finished or has_result else "possible"

    def read(self, data: bytes) -> list[SessionEvent]:
        """See MessageReader."""
        try:
            message = _as_object(jsonio.loads_bounded(data, json_size.MAX_PART_VALUES))
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
