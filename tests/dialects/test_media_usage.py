"""Tokens that are not text, in all four dialects: read, written, whole, streamed and translated."""

import json
from typing import Any

import pytest

from gateway.core.usage import Usage, merge_usage
from gateway.dialects import DIALECTS, ResponseContext, Translation
from gateway.dialects.anthropic_messages import usage as messages
from gateway.dialects.gemini import usage as gemini
from gateway.dialects.media_details import add_cached_media
from gateway.dialects.openai_chat import usage as chat
from gateway.dialects.openai_responses import usage as responses
from gateway.dialects.translation import TranslatableRequest
from tests.dialects.cases import ask

CACHED = {"input_audio": 30, "cache_read_audio": 20, "input_image": 15, "cache_read_image": 0}
USED = Usage(input=60, cache_read=40, output=25, reasoning=5, media={**CACHED, "output_audio": 12})
CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 30,
    "total_tokens": 130,
    "prompt_tokens_details": {
        "cached_tokens": 40,
        "audio_tokens": 30,
        "image_tokens": 15,
        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 20, "image_tokens": 0},
    },
    "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 12},
}
RESPONSES_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {
        "cached_tokens": 40,
        "cache_write_tokens": 0,
        "audio_tokens": 30,
        "image_tokens": 15,
        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 20, "image_tokens": 0},
    },
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 12},
    "total_tokens": 130,
}
GEMINI_USAGE = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 40,
    "candidatesTokenCount": 25,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 130,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 55},
        {"modality": "AUDIO", "tokenCount": 30},
        {"modality": "IMAGE", "tokenCount": 15},
    ],
    "cacheTokensDetails": [
        {"modality": "TEXT", "tokenCount": 20},
        {"modality": "AUDIO", "tokenCount": 20},
    ],
    "candidatesTokensDetails": [
        {"modality": "TEXT", "tokenCount": 13},
        {"modality": "AUDIO", "tokenCount": 12},
    ],
}
WRITTEN = {
    "openai-chat": (chat.write_usage, chat.read, CHAT_USAGE),
    "openai-responses": (responses.write, responses.read, RESPONSES_USAGE),
    "gemini": (gemini.write, lambda usage: gemini.read(usage, ended=True), GEMINI_USAGE),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_each_dialect_reads_and_writes_the_same_classes(name: str) -> None:
    write, read, reported = WRITTEN[name]
    assert read(reported) == USED
    assert write(USED) == reported


def test_messages_has_no_word_for_modalities() -> None:
    """Anthropic bills images as text, and counts them so."""
    read = messages.read(messages.write(USED))
    assert read == Usage(input=60, cache_read=40, output=25, reasoning=5)


@pytest.mark.parametrize("name", WRITTEN)
def test_cached_tokens_of_unknown_modality_stay_unknown(name: str) -> None:
    """Without the details of the cache, nothing says which of the cached tokens are audio."""
    write, read, _ = WRITTEN[name]
    used = Usage(input=60, cache_read=40, output=30, media={"input_audio": 30})
    read_back = read(write(used))
    assert read_back is not None
    assert read_back.media == {"input_audio": 30}


@pytest.mark.parametrize(
    ("details", "media"),
    [
        (None, {"input_audio": 7}),
        ({}, {"input_audio": 7}),
        ("x", {"input_audio": 7}),
        # the cached tokens are all of text
        ({"text_tokens": 9}, {"input_audio": 7, "cache_read_audio": 0}),
        # some of the cached tokens are of no told modality
        ({"text_tokens": 8}, {"input_audio": 7}),
        ({"audio_tokens": 3}, {"input_audio": 7, "cache_read_audio": 3}),
        ({"audio_tokens": "3"}, {"input_audio": 7}),
        # a modality that the prompt does not have
        ({"text_tokens": 4, "image_tokens": 5}, {"input_audio": 7, "cache_read_audio": 0}),
    ],
)
def test_details_of_the_cache_count_only_what_they_say(details: Any, media: dict[str, int]) -> None:
    prompt_details = {"cached_tokens_details": details}
    assert add_cached_media({"input_audio": 7}, prompt_details, 9) == media
    assert add_cached_media({"input_audio": 7}, prompt_details, 0) == {"input_audio": 7}
    assert add_cached_media({}, prompt_details, 9) == {}


def test_gemini_tells_the_modality_of_cached_tokens_as_a_number_too() -> None:
    reported = {**GEMINI_USAGE, "cacheTokensDetails": [{"modality": 4, "tokenCount": 40}]}
    read = gemini.read(reported, ended=True)
    assert read is not None
    assert read.media["cache_read_audio"] == 40
    assert read.media["cache_read_image"] == 0


def test_gemini_writes_no_details_of_totals_that_it_does_not_know() -> None:
    written = gemini.write(Usage(input=9, media={"output_audio": 3, "input_other": 2}))
    assert written == {"promptTokenCount": 9}
    written = gemini.write(Usage(input=9, output=3, media={"output_audio": 3}))
    assert written["candidatesTokensDetails"] == [{"modality": "AUDIO", "tokenCount": 3}]


def test_a_later_report_of_one_direction_keeps_the_other() -> None:
    first = Usage(input=9, output=1, media={"input_audio": 7})
    last = Usage(input=9, output=5, media={"output_audio": 4})
    assert merge_usage(first, last).media == {"input_audio": 7, "output_audio": 4}
    more = Usage(input=9, output=5, media={"input_audio": 8, "output_audio": 4})
    assert merge_usage(first, more) == more


CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DELTA = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
ANSWERS: dict[str, tuple[Any, list[Any]]] = {
    "openai-chat": (
        {
            **CHUNK,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hi"},
                    "finish_reason": "stop",
                }
            ],
            "usage": CHAT_USAGE,
        },
        [{**CHUNK, "choices": [DELTA]}, {**CHUNK, "choices": [], "usage": CHAT_USAGE}, "[DONE]"],
    ),
    "gemini": (
        {
            "candidates": [
                {"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}
            ],
            "usageMetadata": GEMINI_USAGE,
        },
        [
            {
                "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}}],
                "usageMetadata": {
                    name: GEMINI_USAGE[name] for name in ("promptTokenCount", "promptTokensDetails")
                },
            },
            {
                "candidates": [{"content": {"role": "model", "parts": []}, "finishReason": "STOP"}],
                "usageMetadata": GEMINI_USAGE,
            },
        ],
    ),
}


def write_stream(values: list[Any]) -> bytes:
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


@pytest.mark.parametrize("name", ANSWERS)
def test_whole_and_streamed_answers_have_the_same_classes(name: str) -> None:
    dialect = DIALECTS[name]
    whole, frames = ANSWERS[name]
    assert dialect.summarize(json.dumps(whole).encode()).usage == USED
    assert dialect.summarize(dialect.fold(write_stream(frames))).usage == USED
    inspector = dialect.inspect_stream(ask(stream=True, usage=True))
    inspector.feed(write_stream(frames))
    inspector.end()
    assert inspector.usage == USED


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("client", DIALECTS)
def test_translated_answers_have_the_same_classes(client: str, name: str) -> None:
    whole, frames = ANSWERS[name]
    request = TranslatableRequest(DIALECTS["openai-chat"], ask(stream=True, usage=True)).request
    context = ResponseContext(id="1", created_at=1, model="m", request=request)
    if client == name:
        return
    translation = Translation(DIALECTS[client], DIALECTS[name], request, context)
    assert translation.summarize(json.dumps(whole).encode()).usage == USED
    inspector = translation.inspect_stream(ask(stream=True, usage=True))
    inspector.feed(write_stream(frames))
    inspector.end()
    assert inspector.usage == USED
