"""What pass-through calls use: tokens where an answer reports them, else units."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.core.passthrough import PassThroughEndpoint
from gateway.core.usage import Usage
from gateway.dialects.passthrough_usage import list_unit_bounds, read_usage


def endpoint(unit: str) -> PassThroughEndpoint:
    return PassThroughEndpoint(name="x", method="POST", path="/x", unit=unit)


@pytest.mark.parametrize(
    ("unit", "dialect", "request_body", "answer", "usage"),
    [
        (
            "image", "openai-chat", {}, {"usage": {"input_tokens": 5, "output_tokens": 40}},
            Usage(input=5, output=40),
        ),
        (
            "second", "openai-chat", {},
            {"usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45,
                       "input_token_details": {"text_tokens": 4, "audio_tokens": 10}}},
            Usage(input=14, output=45, media={"input_audio": 10}),
        ),
        (
            "image", "openai-chat", {},
            {"usage": {"input_tokens": 50, "output_tokens": 45,
                       "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                       "output_tokens_details": {"text_tokens": 0, "image_tokens": 45}}},
            Usage(input=50, output=45, media={"input_image": 40, "output_image": 45}),
        ),
        ("", "openai-chat", {}, {"usage": {"prompt_tokens": 5, "completion_tokens": 2}},
         Usage(input=5, output=2)),
        ("", "anthropic-messages", {}, {"usage": {"input_tokens": 5, "output_tokens": 2}},
         Usage(input=5, output=2)),
        ("", "gemini", {}, {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2}},
         Usage(input=5, output=2)),
        (
            "", "gemini", {},
            {"usage": {
                "total_input_tokens": 9, "total_cached_tokens": 4, "total_output_tokens": 3,
                "total_thought_tokens": 2, "total_tokens": 14, "tool_use_tokens_by_modality": 1,
                "input_tokens_by_modality": [{"modality": "audio", "tokens": 5}, "audio"],
            }},
            Usage(input=5, cache_read=4, output=3, reasoning=2, media={"input_audio": 5}),
        ),
        (
            "", "gemini", {},
            {"interaction": {"usage": {"total_input_tokens": 6, "total_output_tokens": 4}}},
            Usage(input=6, output=4),
        ),
        ("image", "openai-chat", {}, {"data": [{}, {}]}, Usage(units={"image": Decimal(2)})),
        ("image", "gemini", {}, {"predictions": [{}, {}]}, Usage(units={"image": Decimal(2)})),
        (
            "second", "gemini", {"parameters": {"durationSeconds": 8, "sampleCount": 2}},
            {"name": "models/veo-2/operations/1"}, Usage(units={"second": Decimal(16)}),
        ),
        (
            "image", "openai-chat", {"size": "1024x1792", "quality": "hd"}, {"data": [{}]},
            Usage(units={"image 1024x1792 hd": Decimal(1)}),
        ),
        ("character", "openai-chat", {"input": "hello"}, {}, Usage(units={"character": Decimal(5)})),
        ("character", "openai-chat", {"input": 5}, {}, None),
        ("request", "openai-chat", {}, {}, Usage(units={"request": Decimal(1)})),
        ("second", "openai-chat", {}, {"usage": {"type": "duration", "seconds": 12}},
         Usage(units={"second": Decimal(12)})),
        ("second", "openai-chat", {}, {"duration": 2.5}, Usage(units={"second": Decimal("2.5")})),
        ("second", "openai-chat", {}, {"seconds": "4"}, Usage(units={"second": Decimal(4)})),
        ("second", "openai-chat", {}, {"seconds": "four"}, None),
        ("second", "openai-chat", {}, {"text": "hi"}, None),
        ("page", "openai-chat", {}, {"usage_info": {"pages_processed": 3}},
         Usage(units={"page": Decimal(3)})),
        ("page", "openai-chat", {"bbox_annotation_format": {"type": "json_schema"}},
         {"usage_info": {"pages_processed": 3}}, Usage(units={"page annotated": Decimal(3)})),
        ("page", "openai-chat", {}, {"usage_info": None}, None),
        ("search", "openai-chat", {}, {"usage": {"total_tokens": 815}}, Usage(input=815, output=0)),
        ("search", "openai-chat", {}, {"usage": {"total_tokens": 815, "cost": 0.002}},
         Usage(input=815, output=0, billed=Decimal("0.002"))),
        ("search", "openai-chat", {}, {"usage": {"total_tokens": 815, "search_units": 1}},
         Usage(units={"search": Decimal(1)})),
        ("search", "openai-chat", {}, {"meta": {"billed_units": {"search_units": 1}}},
         Usage(units={"search": Decimal(1)})),
        (
            "request", "openai-chat", {}, {"usage": {"cost": 0.25}},
            Usage(units={"request": Decimal(1)}, billed=Decimal("0.25")),
        ),
        ("", "openai-chat", {}, {"usage": "none"}, None),
        ("", "openai-chat", {}, {}, None),
    ],
)  # fmt: skip
def test_an_answer_shows_what_was_used(
    unit: str, dialect: str, request_body: Any, answer: Any, usage: Usage | None
) -> None:
    assert read_usage(endpoint(unit), dialect, request_body, answer) == usage


@pytest.mark.parametrize(
    ("unit", "request_body", "bounds"),
    [
        ("", {}, {}),
        ("image", {}, {"image": Decimal(1)}),
        ("image", {"n": 4, "size": "256x256"}, {"image 256x256": Decimal(4)}),
        ("image", {"n": "3"}, {"image": Decimal(3)}),
        ("image", {"n": None}, {"image": Decimal(1)}),
        ("image", {"n": [1, 10]}, {"image": None}),
        ("image", {"n": "ten"}, {"image": None}),
        ("image", {"n": 0}, {"image": None}),
        ("image", {"n": 1.5}, {"image": None}),
        ("character", {"input": "hello"}, {"character": Decimal(5)}),
        ("image", {"parameters": {"sampleCount": 4}}, {"image": Decimal(4)}),
        ("second", {}, {"second": None}),
        ("second", {"seconds": "8"}, {"second": Decimal(8)}),
        ("second", {"seconds": "8", "parameters": {"sampleCount": [2]}}, {"second": None}),
        ("request", {}, {"request": Decimal(1)}),
    ],
)
def test_a_request_bounds_what_it_may_use(unit: str, request_body: Any, bounds: Any) -> None:
    assert list_unit_bounds(endpoint(unit), request_body) == bounds
