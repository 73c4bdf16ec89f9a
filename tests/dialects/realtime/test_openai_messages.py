"""OpenAI's Realtime events: what begins, carries and ends a response, and its usage."""

from decimal import Decimal

import pytest

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.realtime.base import (
    ResponseContent,
    ResponseEnded,
    ResponseStarted,
    SessionEvent,
    TranscriptionEnded,
)
from gateway.dialects.realtime.openai import OpenAIMessageReader, read_usage


def read(*events: Json) -> list[SessionEvent]:
    reader = OpenAIMessageReader()
    return [item for event in events for item in reader.read(jsonio.dumps(event))]


@pytest.mark.parametrize(
    ("data", "chance"),
    [
        (b'{"type":"response.create"}', "certain"),
        (b'{"type":"input_audio_buffer.append","audio":"AAAA"}', "possible"),
        (b'{"type":"session.update","session":{}}', "none"),
        (b'{"type":"conversation.item.create"}', "none"),
        (b'{"type":"something.new"}', "possible"),
        (b'{"type":7}', "possible"),
        (b"{}", "possible"),
        (b"[]", "possible"),
        (b"no json", "possible"),
        (b'{"type":"session.update"', "possible"),
    ],
)
def test_unknown_messages_may_start_a_response(data: bytes, chance: str) -> None:
    """Only a message that is known to start none needs no reservation."""
    assert OpenAIMessageReader().find_start_chance(data) == chance


def test_a_response_begins_has_content_and_ends() -> None:
    usage = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}
    assert read(
        {"type": "session.created", "session": {}},
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_text.delta", "response_id": "resp_1", "delta": "hé"},
        {"type": "response.output_audio.delta", "response_id": "resp_1", "delta": "AAAA"},
        {"type": "response.output_text.delta", "response_id": "resp_1"},
        {"type": "rate_limits.updated"},
        {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": usage}},
    ) == [
        ResponseStarted("resp_1"),
        ResponseContent("resp_1", 3),
        ResponseContent("resp_1", 0),
        ResponseContent("resp_1", 0),
        ResponseEnded("resp_1", Usage(input=10, output=4), "completed"),
    ]  # fmt: skip


def test_the_reason_of_a_cancelled_response_is_its_finish() -> None:
    response = {"id": "r", "status": "cancelled", "status_details": {"reason": "turn_detected"}}
    assert read({"type": "response.done", "response": response}) == [
        ResponseEnded("r", None, "turn_detected")
    ]


def test_a_response_without_anything_still_ends() -> None:
    assert read({"type": "response.done"}) == [ResponseEnded("", None, None)]


@pytest.mark.parametrize(
    ("session", "model"),
    [
        ({"audio": {"input": {"transcription": {"model": "whisper-1"}}}}, "whisper-1"),
        ({"input_audio_transcription": {"model": "gpt-4o-transcribe"}}, "gpt-4o-transcribe"),
        ({"audio": {"input": None}}, ""),
    ],
)
def test_a_transcription_has_the_model_of_the_session(session: Json, model: str) -> None:
    kind = "conversation.item.input_audio_transcription.completed"
    usage = {"type": "tokens", "input_tokens": 9, "output_tokens": 2}
    assert read({"type": "session.updated", "session": session}, {"type": kind, "usage": usage}) == [
        TranscriptionEnded(model, Usage(input=9, output=2))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "usage"), [(3.5, Usage(units={"second": Decimal("3.5")})), ("3", None)]
)
def test_a_transcription_may_be_billed_by_the_second(seconds: Json, usage: Usage | None) -> None:
    kind = "conversation.item.input_audio_transcription.completed"
    assert read({"type": kind, "usage": {"type": "duration", "seconds": seconds}}) == [
        TranscriptionEnded("", usage)
    ]


def test_an_event_that_cannot_be_read_means_nothing() -> None:
    """The members can be cut apart, but the strict reader refuses a number that overflows."""
    data = b'{"type":"response.created","response":{"id":"r","x":1e999}}'
    assert OpenAIMessageReader().read(data) == []


def test_usage_has_its_media_and_what_was_cached_of_them() -> None:
    usage = {
        "input_tokens": 250,
        "output_tokens": 80,
        "input_token_details": {
            "text_tokens": 40,
            "audio_tokens": 200,
            "image_tokens": 10,
            "cached_tokens": 100,
            "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 80, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 20, "audio_tokens": 60},
    }
    assert read_usage(usage) == Usage(
        input=150,
        cache_read=100,
        output=80,
        media={
            "input_audio": 200, "input_image": 10, "cache_read_audio": 80, "cache_read_image": 0,
            "output_audio": 60,
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        (None, None),
        ({}, None),
        ({"output_tokens": 3}, Usage(output=3)),
        ({"input_tokens": 5, "input_token_details": {"cached_tokens": 9}}, Usage(input=0, cache_read=5)),
        (
            {"input_tokens": 5, "input_token_details": {"audio_tokens": 5}},
            Usage(input=5, media={"input_audio": 5}),
        ),
    ],
)  # fmt: skip
def test_usage_that_lacks_parts(value: Json, usage: Usage | None) -> None:
    assert read_usage(value) == usage
