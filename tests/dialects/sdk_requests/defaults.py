"""Values that ask for what every target does anyway, each with the reason."""

from collections.abc import Mapping

_UNASKED = "is the default of every dialect"
_MODEL_CHOOSES = "leaves it to the model or the provider"
_ALWAYS_STRICT = "a schema binds every answer at a target without this member"

DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "openai-chat": {
        "logprobs=False": _UNASKED,
        "messages.content.image_url.detail=auto": _MODEL_CHOOSES,
        "modalities=text": _UNASKED,
        "parallel_tool_calls=True": _UNASKED,
        "response_format=text": _UNASKED,
        "response_format.json_schema.strict=False": _ALWAYS_STRICT,
        "response_format.json_schema.strict=True": _ALWAYS_STRICT,
        "service_tier=auto": _MODEL_CHOOSES,
        "tools.custom.format=text": _UNASKED,
        "tools.function.strict=False": _UNASKED,
    },
    "openai-responses": {
        "background=False": _UNASKED,
        "include=reasoning.encrypted_content": "the gateway keeps the state of reasoning unasked",
        "input.content.detail=auto": _MODEL_CHOOSES,
        "input.name=find": "a target without names of results finds the call by its id",
        "input.output.detail=auto": _MODEL_CHOOSES,
        "input.tools.format=text": _UNASKED,
        "input.tools.strict=False": _UNASKED,
        "input.tools.tools.strict=False": _UNASKED,
        "parallel_tool_calls=True": _UNASKED,
        "service_tier=auto": _MODEL_CHOOSES,
        "text.format=text": _UNASKED,
        "text.format.strict=False": _ALWAYS_STRICT,
        "text.format.strict=True": _ALWAYS_STRICT,
        "tools.format=text": _UNASKED,
        "tools.strict=False": _UNASKED,
        "tools.tools.strict=False": _UNASKED,
        "truncation=disabled": _UNASKED,
    },
    "anthropic-messages": {
        "messages.clear_at=never": _UNASKED,
        "messages.content.is_error=False": _UNASKED,
        "messages.content.source.media_type=image/png": "the data say the same",
        "service_tier=auto": _MODEL_CHOOSES,
        "tool_choice.disable_parallel_tool_use=False": _UNASKED,
        "tools.strict=False": _UNASKED,
    },
    "gemini": {
        "contents.parts.thought=False": _UNASKED,
        "generationConfig.responseLogprobs=False": _UNASKED,
        "generationConfig.responseModalities=TEXT": _UNASKED,
        "generationConfig.thinkingConfig.includeThoughts=False": _UNASKED,
    },
}
