"""Google's Live messages: turns of the model, and their usage."""

import pytest

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.realtime.base import (
    ResponseContent,
    ResponseEnded,
    ResponseStarted,
    SessionEvent,
)
from gateway.dialects.realtime.gemini import (
    GeminiMessageReader,
    read_setup_model,
    read_usage,
    replace_setup_model,
)


def read(*messages: Json) -> list[SessionEvent]:
    reader = GeminiMessageReader()
    return [item for message in messages for item in reader.read(jsonio.dumps(message))]


def content(**members: Json) -> Json:
    return {"serverContent": members}


COUNTS = {"promptTokenCount": 12, "responseTokenCount": 4, "totalTokenCount": 16}
USAGE = Usage(input=12, output=4)


def test_a_turn_begins_with_content_and_ends_with_its_word() -> None:
    parts = [{"text": "hé"}, {"inlineData": {}}, "no part"]
    assert read(
        {"setupComplete": {}},
        content(inputTranscription={"text": "hi"}),
        content(modelTurn={"parts": parts}),
        content(outputTranscription={"text": "abc"}),
        content(generationComplete=True),
        {**content(turnComplete=True, turnCompleteReason="STOP"), "usageMetadata": COUNTS},
        {"goAway": {"timeLeft": "5s"}},
    ) == [
        ResponseStarted(""),
        ResponseContent("", 3, None),
        ResponseContent("", 3, None),
        ResponseContent("", 0, USAGE),
        ResponseEnded("", finish="STOP"),
    ]


def test_a_tool_call_begins_a_turn() -> None:
    assert read({"toolCall": {"functionCalls": []}}, content(turnComplete=True)) == [
        ResponseStarted(""),
        ResponseContent("", 0, None),
        ResponseEnded("", finish="turnComplete"),
    ]


def test_usage_after_a_turn_is_a_turn_of_its_own() -> None:
    """No count is lost, whenever it comes."""
    assert read({"usageMetadata": COUNTS}) == [
        ResponseStarted(""),
        ResponseContent("", 0, USAGE),
        ResponseEnded("", finish=None),
    ]


def test_the_end_of_no_turn_means_nothing() -> None:
    assert read(content(turnComplete=True)) == []


@pytest.mark.parametrize("data", [b"no json", b"[]", b'{"serverContent":7}'])
def test_a_message_that_cannot_be_read_means_nothing(data: bytes) -> None:
    assert GeminiMessageReader().read(data) == []


@pytest.mark.parametrize(
    ("data", "chance"),
    [
        (b'{"realtimeInput":{"audio":{}}}', "possible"),
        (b'{"clientContent":{"turns":[]}}', "certain"),
        (b'{"client_content":{"turns":[],"turn_complete":true}}', "certain"),
        (b'{"clientContent":{"turns":[],"turnComplete":false}}', "possible"),
        (b'{"client_content":{"turns":[],"turn_complete":false}}', "possible"),
        (b'{"toolResponse":{}}', "certain"),
        (b'{"tool_response":{}}', "certain"),
        (b'{"clientContent":7}', "possible"),
        (b"no json", "possible"),
    ],
)
def test_a_finished_turn_of_the_client_begins_one_of_the_model(data: bytes, chance: str) -> None:
    assert GeminiMessageReader().find_start_chance(data) == chance


def test_usage_has_its_media() -> None:
    usage = {
        "promptTokenCount": 120,
        "responseTokenCount": 40,
        "totalTokenCount": 160,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 20},
            {"modality": "AUDIO", "tokenCount": 100},
        ],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
    }
    assert read_usage(usage) == Usage(
        input=120, output=40, media={"input_audio": 100, "output_audio": 40}
    )
    assert read_usage(None) is None


@pytest.mark.parametrize(
    ("data", "model"),
    [
        (b'{"setup":{"model":"models/gemini-live"}}', "gemini-live"),
        (b'{"setup":{"model":"gemini-live"}}', "gemini-live"),
        (b'{"setup":{"model":7}}', None),
        (b'{"setup":7}', None),
        (b'{"setup":{}}', None),
        (b'{"setup":{"model":"dear"},"setup":{"model":"cheap"}}', None),
        (b'{"setup":{"model":"dear","model":"cheap"}}', None),
        (b'{"setup":{"model":"dear","\\u006dodel":"cheap"}}', None),
        (b'{"clientContent":{}}', None),
        (b"[]", None),
        (b"no json", None),
    ],
)
def test_the_first_message_names_the_model(data: bytes, model: str | None) -> None:
    assert read_setup_model(data) == model


def test_another_model_replaces_only_the_name() -> None:
    data = (
        b'{"setup":{"model":"models/voice","generationConfig":{ "temperature": 1.0e0 }},"x":[ 1 ]}'
    )
    assert replace_setup_model(data, "gemini-live") == (
        b'{"setup":{"model":"models/gemini-live","generationConfig":{ "temperature": 1.0e0 }},"x":[ 1 ]}'
    )
