"""OpenAI's Realtime API: events of a session that begin, carry and end what is billed.

`response.done` has the usage of a response, also of one that was cancelled. The usage of a
transcription stands in an event of its own, and its model has a price of its own. Source: the
Realtime reference, and the types of OpenAI's SDK.
"""

import msgspec

from gateway.core import json_size, jsonio
from gateway.core.jsonio import Json
from gateway.core.units import parse_quantity
from gateway.core.usage import Usage, count_cached_media, parse_count, sum_media_tokens
from gateway.dialects.json_values import read_text
from gateway.dialects.realtime.base import (
    ResponseContent,
    ResponseEnded,
    ResponseStarted,
    SessionEvent,
    StartChance,
    TranscriptionEnded,
)

_UNBILLED_TYPES = frozenset(
    {
        "session.update", "transcription_session.update", "input_audio_buffer.clear",
        "output_audio_buffer.clear", "conversation.item.create", "conversation.item.delete",
        "conversation.item.retrieve", "conversation.item.truncate", "response.cancel",
    }
)  # fmt: skip
"""Events of clients after which the provider begins no response and no transcription."""
_SESSION_TYPES = frozenset(
    {
        "session.created", "session.updated",
        "transcription_session.created", "transcription_session.updated",
    }
)  # fmt: skip
_TEXT_DELTA_TYPES = frozenset(
    {
        "response.output_text.delta", "response.text.delta",
        "response.output_audio_transcript.delta", "response.audio_transcript.delta",
        "response.function_call_arguments.delta",
    }
)  # fmt: skip
_AUDIO_DELTA_TYPES = frozenset({"response.output_audio.delta", "response.audio.delta"})
_TRANSCRIPTION_TYPE = "conversation.item.input_audio_transcription.completed"
_READ_TYPES = _SESSION_TYPES | _TEXT_DELTA_TYPES | _AUDIO_DELTA_TYPES | {
    "response.created", "response.done", _TRANSCRIPTION_TYPE,
}  # fmt: skip


class _TypedEvent(msgspec.Struct):
    """The type of an event. Other members are skipped: they may be many, and large."""

    type: str = ""


_read_event = jsonio.make_reader(_TypedEvent)


class OpenAIMessageReader:
    """Reads the events of one session."""

    def __init__(self) -> None:
        self._transcribing_model = ""

    def find_start_chance(self, data: bytes) -> StartChance:
        """See MessageReader; events that are not known may begin one."""
        kind = _read_type(data)
        if kind == "response.create":
            return "certain"
        return "none" if kind in _UNBILLED_TYPES else "possible"

    def read(self, data: bytes) -> list[SessionEvent]:
        """See MessageReader."""
        kind = _read_type(data)
        if kind not in _READ_TYPES:
            return []
        try:
            event = _as_object(jsonio.loads_bounded(data, json_size.MAX_PART_VALUES))
        except jsonio.JsonError:
            return []
        if kind in _SESSION_TYPES:
            self._transcribing_model = _find_transcribing_model(_as_object(event.get("session")))
            return []
        if kind == _TRANSCRIPTION_TYPE:
            return [TranscriptionEnded(self._transcribing_model, read_usage(event.get("usage")))]
        if kind in _TEXT_DELTA_TYPES or kind in _AUDIO_DELTA_TYPES:
            delta = event.get("delta") if kind in _TEXT_DELTA_TYPES else ""
            size = len(delta.encode()) if isinstance(delta, str) else 0
            return [ResponseContent(read_text(event.get("response_id")), size)]
        response = _as_object(event.get("response"))
        id = read_text(response.get("id"))
        if kind == "response.created":
            return [ResponseStarted(id)]
        details = _as_object(response.get("status_details"))
        finish = read_text(details.get("reason")) or read_text(response.get("status"))
        return [ResponseEnded(id, read_usage(response.get("usage")), finish or None)]


def read_usage(value: Json) -> Usage | None:
    """Read the usage of a response or a transcription; None if it counts nothing.

    Some models that transcribe are billed by the second.
    """
    usage = _as_object(value)
    if usage.get("type") == "duration":
        seconds = parse_quantity(usage.get("seconds"))
        return None if seconds is None else Usage(units={"second": seconds})
    prompt = parse_count(usage.get("input_tokens"))
    output = parse_count(usage.get("output_tokens"))
    if prompt is None and output is None:
        return None
    input_details = _as_object(usage.get("input_token_details"))
    output_details = _as_object(usage.get("output_token_details"))
    cached = parse_count(input_details.get("cached_tokens"))
    if prompt is not None and cached is not None:
        cached = min(cached, prompt)  # a part is never more than the whole
    media = sum_media_tokens("input", _list_media(input_details))
    if media and cached:
        cached_details = _as_object(input_details.get("cached_tokens_details"))
        counts = [("text", cached_details.get("text_tokens")), *_list_media(cached_details)]
        media |= count_cached_media(media, counts, cached)
    media |= sum_media_tokens("output", _list_media(output_details))
    return Usage(
        input=None if prompt is None else prompt - (cached or 0),
        cache_read=cached,
        output=output,
        media=media,
    )


def _list_media(details: dict[str, Json]) -> list[tuple[str, Json]]:
    return [(name, details.get(f"{name}_tokens")) for name in ("audio", "image")]


def _find_transcribing_model(session: dict[str, Json]) -> str:
    audio_input = _as_object(_as_object(session.get("audio")).get("input"))
    for settings in (audio_input.get("transcription"), session.get("input_audio_transcription")):
        if model := read_text(_as_object(settings).get("model")):
            return model
    return ""


def _read_type(data: bytes) -> str:
    """Return the type of an event; empty if it has none, or is no object."""
    try:
        event: _TypedEvent = _read_event(data)
    except jsonio.JsonError:
        return ""
    return event.type


def _as_object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
