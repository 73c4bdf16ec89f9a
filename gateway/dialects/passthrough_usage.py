"""The usage of pass-through calls: tokens where an answer reports them, else units.

Sources: the types of openai-python (`ImagesResponse.usage`, `Transcription.usage`,
`TranscriptionVerbose.duration`), Cohere's `meta.billed_units`, Mistral's `usage_info` of OCR,
Google's `usageMetadata`, the `Usage` of its Interactions, the parameters of Imagen and Veo.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from gateway.core.jsonio import Json
from gateway.core.passthrough import PassThroughEndpoint
from gateway.core.units import UnitBounds, format_unit, parse_quantity
from gateway.core.usage import Usage, parse_count, parse_usd
from gateway.dialects.anthropic_messages import usage as anthropic_usage
from gateway.dialects.gemini import usage as gemini_usage
from gateway.dialects.openai_chat import usage as chat_usage
from gateway.dialects.openai_responses import usage as responses_usage

type Object = Mapping[str, Json]

_ONE = Decimal(1)
_SEARCH = "search"
_ANNOTATION_MEMBERS = ("bbox_annotation_format", "document_annotation_format")
_INTERACTION_COUNTS = {
    "total_input_tokens": "promptTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_tokens": "totalTokenCount",
}
"""Counts of an interaction, and their names in `usageMetadata`."""
_INTERACTION_DETAILS = {
    "input_tokens_by_modality": "promptTokensDetails",
    "cached_tokens_by_modality": "cacheTokensDetails",
    "output_tokens_by_modality": "candidatesTokensDetails",
    "tool_use_tokens_by_modality": "toolUsePromptTokensDetails",
}
"""Names of Interactions and of `usageMetadata` for lists of counts by modality."""


def read_usage(
    endpoint: PassThroughEndpoint, dialect: str, request: Object, answer: Object
) -> Usage | None:
    """Return the usage of an answer, or of an event of a stream; None if neither shows any.

    `request` is empty where the body is no JSON object.
    """
    usage = _read_tokens(dialect, answer)
    if usage is not None and usage.has_input_and_output:
        return usage
    quantity = _read_quantity(endpoint.unit, request, answer)
    if quantity is None:
        return _read_search_tokens(answer) if endpoint.unit == _SEARCH else usage
    units = {_name_unit(endpoint.unit, request, answer): quantity}
    return Usage(units=units, billed=_read_bill(answer))


def list_unit_bounds(endpoint: PassThroughEndpoint, request: Object) -> UnitBounds:
    """Return the most that a call may use of the unit of its endpoint; none without a unit."""
    if not endpoint.unit:
        return {}
    quantity = _read_quantity(endpoint.unit, request, {})
    if endpoint.unit == "image":
        count = request.get("n", _as_object(request.get("parameters")).get("sampleCount"))
        quantity = _ONE if count is None else _read_count(count)
    return {_name_unit(endpoint.unit, request, {}): quantity}


def _read_count(value: Json) -> Decimal | None:
    """Return a number of images or films; None if a provider might read another one."""
    count = parse_quantity(_to_number(value))
    is_whole = count is not None and count >= 1 and count == count.to_integral_value()
    return count if is_whole else None


def _read_tokens(dialect: str, answer: Object) -> Usage | None:
    metadata = answer.get("usageMetadata")
    if isinstance(metadata, dict):
        return gemini_usage.read(metadata, ended=True)
    usage = answer.get("usage", _as_object(answer.get("interaction")).get("usage"))
    if not isinstance(usage, dict):
        return None
    if dialect == "gemini":
        return gemini_usage.read(_rename_counts(usage), ended=True)
    if dialect == "anthropic-messages":
        return anthropic_usage.read(usage)
    if "input_tokens" in usage:
        details = usage.get("input_token_details")  # transcriptions write it without an s
        return responses_usage.read({"input_tokens_details": details, **usage})
    return chat_usage.find({"usage": usage})


def _read_search_tokens(answer: Object) -> Usage | None:
    """Return the tokens of a search among documents (Jina, Voyage): all are input."""
    tokens = parse_count(_as_object(answer.get("usage")).get("total_tokens"))
    return None if tokens is None else Usage(input=tokens, output=0, billed=_read_bill(answer))


def _read_quantity(unit: str, request: Object, answer: Object) -> Decimal | None:
    """Return the quantity of a unit, as far as an answer or its request shows it."""
    match unit:
        case "character":
            text = request.get("input")
            return Decimal(len(text)) if isinstance(text, str) else None
        case "request":
            return _ONE
        case "image":
            images = answer.get("data", answer.get("predictions"))
            return Decimal(len(images)) if isinstance(images, list) else None
        case "second":
            usage = _as_object(answer.get("usage"))
            seconds = usage.get("seconds", answer.get("duration", answer.get("seconds")))
            return parse_quantity(_to_number(seconds)) or _read_film_length(request)
        case "page":
            return parse_quantity(_as_object(answer.get("usage_info")).get("pages_processed"))
        case "search":
            billed_units = _as_object(_as_object(answer.get("meta")).get("billed_units"))
            usage = _as_object(answer.get("usage"))  # OpenRouter has them there
            return parse_quantity(billed_units.get("search_units", usage.get("search_units")))
        case _:
            return None


def _read_film_length(request: Object) -> Decimal | None:
    """Return the seconds of all films that a request asks for; None if it does not say."""
    parameters = _as_object(request.get("parameters"))
    seconds = request.get("seconds", parameters.get("durationSeconds"))
    length = parse_quantity(_to_number(seconds))
    count = parameters.get("sampleCount")
    films = _ONE if count is None else _read_count(count)
    return None if length is None or films is None else length * films


def _rename_counts(usage: Object) -> dict[str, Json]:
    """Return the usage of an interaction with the names of `usageMetadata`."""
    counts = {name: usage.get(own_name) for own_name, name in _INTERACTION_COUNTS.items()}
    for own_name, name in _INTERACTION_DETAILS.items():
        rows = usage.get(own_name)
        counts[name] = [
            {"modality": row.get("modality"), "tokenCount": row.get("tokens")}
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
        ]
    return counts


def _name_unit(unit: str, request: Object, answer: Object) -> str:
    if unit == "image":
        variants = (answer.get(name, request.get(name)) for name in ("size", "quality"))
        return format_unit(unit, *variants)
    # Mistral bills a page that a model also describes at another price.
    if unit == "page" and any(request.get(name) for name in _ANNOTATION_MEMBERS):
        return format_unit(unit, "annotated")
    return unit


def _read_bill(answer: Object) -> Decimal | None:
    return parse_usd(_as_object(answer.get("usage")).get("cost"))


def _as_object(value: Json) -> Object:
    return value if isinstance(value, dict) else {}


def _to_number(value: Json) -> Json:
    """Return a number that a provider writes as text (OpenAI's videos) as a number."""
    if isinstance(value, str):
        try:
            return msgspec.convert(value, Decimal)
        except msgspec.ValidationError:
            return None
    return value
