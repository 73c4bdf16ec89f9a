"""Usage: read as hosts report it, written as Chat Completions has it; and bytes of content.

Usage has five classes that never overlap. The provider's `total_tokens` decides. `prompt_tokens`
includes cached and written tokens unless the total shows that it does not. `completion_tokens`
includes reasoning unless the total shows that it does not (xAI, Google's OpenAI endpoint). Vercel
and Perplexity's research are the exceptions: their totals leave reasoning out. `prompt_tokens` of
Mistral leave out those of audio, which it bills by the second.

If a provider reports no usage, the gateway counts the bytes of content: see
gateway.dialects.content_length. It decodes only members with content, usage, an end or an error.
"""

import re
from collections.abc import Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import (
    Usage,
    parse_count,
    parse_service_tier,
    parse_usd,
    read_counts,
    split_output,
    sum_media_tokens,
)  # fmt: skip
from gateway.dialects import billing
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes
from gateway.dialects.media_details import (
    MEDIA_MEMBERS,
    add_cached_media,
    write_media_details,
)

_LIFETIME = re.compile(r"(?:ephemeral|ttl)_(\w{1,8}?)(?:_input)?_tokens")
"""Members for tokens written to the cache, by lifetime, as OpenAI and Anthropic name them."""
_EMPTY: dict[str, Json] = {}
_CACHED_MEMBERS = (
    "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "num_cached_tokens",
)  # fmt: skip
"""Members for cached tokens of hosts that leave them out of `prompt_tokens_details`."""

_SERVICES = frozenset({"flex", "scale", "priority", "fast"})


def find(value: dict[str, Json], tier_word: Json = None) -> Usage | None:
    """Return the usage of an answer or of one chunk, None if it has none.

    Hosts put it in several places. `tier_word` is the service tier that earlier chunks named.
    """
    usage = value.get("usage")
    if not isinstance(usage, dict) or not usage:
        usage = _find_elsewhere(value)
        if not usage:
            return None
    counts = read(usage)
    if counts is None:
        return None
    service_tier = parse_service_tier(
        value.get("service_tier") or tier_word, usage.get("service_tier")
    )
    billed = counts.billed
    if billed is None and "cost" in value:  # Venice
        billed = parse_usd(_as_dict(value["cost"]).get("usd"))
    if service_tier is None and billed is None:
        return counts
    return msgspec.structs.replace(counts, service=service_tier, billed=billed)


def _find_elsewhere(value: dict[str, Json]) -> dict[str, Json] | None:
    choices = value.get("choices")
    places = [*choices] if isinstance(choices, list) else []
    places.append(value.get("x_groq"))
    for place in places:
        usage = place.get("usage") if isinstance(place, dict) else None
        if isinstance(usage, dict):
            return usage
    return None


def read(usage: dict[str, Json]) -> Usage | None:
    """Read one usage object; None if it counts nothing."""
    prompt = parse_count(usage.get("prompt_tokens"))
    completion = parse_count(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    prompt_details = _as_dict(usage.get("prompt_tokens_details"))
    completion_details = _as_dict(usage.get("completion_tokens_details"))
    cache_read = _find_cached(usage, prompt_details)
    cache_written = _read_count(
        prompt_details, "cache_write_tokens", usage, "cache_creation_input_tokens"
    )
    reasoning = _read_count(completion_details, "reasoning_tokens", usage, "reasoning_tokens")
    total = parse_count(usage.get("total_tokens"))
    surplus = None  # tokens of the total beyond both sides
    if total is not None and prompt is not None and completion is not None:
        surplus = total - prompt - completion
    fresh, audio = None, 0
    if prompt is not None:
        if surplus and surplus > 0:
            if usage.get("prompt_audio_seconds"):
                audio = surplus
            if audio or (
                surplus == (cache_read or 0) + (cache_written or 0) and reasoning != surplus
            ):
                prompt, surplus = prompt + surplus, 0
        # A part is never more than the whole, whatever a host says.
        cache_read = None if cache_read is None else min(cache_read, prompt)
        cache_written = (
            None if cache_written is None else min(cache_written, prompt - (cache_read or 0))
        )
        fresh = prompt - (cache_read or 0) - (cache_written or 0)
    output = completion
    if completion is not None:
        if reasoning is None and surplus is not None and surplus > 0:
            reasoning = surplus  # Google's OpenAI endpoint
        elif reasoning is not None and not (
            "market_cost" in usage or usage.get("citation_tokens")  # Vercel, Perplexity
        ):
            output, reasoning = split_output(completion, reasoning, surplus)
    tools, billed = billing.read_billing(usage)
    media = _sum_media(usage, prompt_details, completion_details)
    if audio:
        media = {"input_audio": audio} | media
    return Usage(
        input=fresh,
        cache_read=cache_read,
        cache_write=_read_lifetimes(usage, cache_written) if cache_written else {},
        output=output,
        reasoning=reasoning,
        tools=tools,
        media=add_cached_media(media, prompt_details, cache_read),
        billed=billed,
    )


def read_media(usage: Mapping[str, Json]) -> dict[str, int]:
    """Return the tokens that are not text."""
    return _sum_media(
        usage,
        _as_dict(usage.get("prompt_tokens_details")),
        _as_dict(usage.get("completion_tokens_details")),
    )


def _sum_media(
    usage: Mapping[str, Json],
    prompt_details: Mapping[str, Json],
    completion_details: Mapping[str, Json],
) -> dict[str, int]:
    """Sum the tokens that are not text. Cerebras counts those of images outside the details."""
    input_counts = [
        (modality, prompt_details[name])
        for name, modality in MEDIA_MEMBERS
        if prompt_details.get(name)
    ]
    output_counts = [
        (modality, completion_details[name])
        for name, modality in MEDIA_MEMBERS
        if completion_details.get(name)
    ]
    if "image_tokens" in usage and not parse_count(prompt_details.get("image_tokens")):
        input_counts.append(("image", usage["image_tokens"]))
    if not input_counts and not output_counts:
        return {}
    return sum_media_tokens("input", input_counts) | sum_media_tokens("output", output_counts)


def _read_lifetimes(usage: Mapping[str, Json], written: int) -> dict[str, int]:
    """Return written tokens by lifetime; the rest of the total has no lifetime."""
    by_lifetime: dict[str, int] = {}
    prompt_details = _as_dict(usage.get("prompt_tokens_details"))
    places = (prompt_details.get("cache_write_tokens_details"), usage.get("cache_creation"))
    for place in places:
        for name, number in read_counts(place).items():
            lifetime = _LIFETIME.fullmatch(name)
            if lifetime is not None and number and not by_lifetime.get(lifetime[1]):
                by_lifetime[lifetime[1]] = number
    rest = written - sum(by_lifetime.values())
    if rest < 0:
        return {"": written}
    return {**by_lifetime, "": rest} if rest else by_lifetime


def _find_cached(usage: Mapping[str, Json], prompt_details: Mapping[str, Json]) -> int | None:
    """Return the cached tokens; some hosts count them beside the prompt's details."""
    cached = parse_count(prompt_details.get("cached_tokens"))
    if cached is not None:
        return cached
    counts = [parse_count(usage[name]) for name in _CACHED_MEMBERS if name in usage]
    return next((count for count in counts if count is not None), None)


def _read_count(
    details: Mapping[str, Json], name: str, usage: Mapping[str, Json], usage_name: str
) -> int | None:
    """Return a count of the details; of the usage itself if the details have none."""
    count = parse_count(details.get(name))
    return parse_count(usage.get(usage_name)) if count is None else count


def _as_dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _EMPTY


def find_service_tier(usage: Usage | None) -> str | None:
    """Return the service tier if the clients' types have a word for it."""
    return usage.service if usage is not None and usage.service in _SERVICES else None


def write_usage(usage: Usage | None) -> dict[str, Json] | None:
    """Write usage so that `read` returns the same usage.

    Return None if either count is unknown: the SDKs' type has no place for that.
    """
    if usage is None or usage.prompt is None or usage.completion is None:
        return None
    value: dict[str, Json] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }
    prompt_details: dict[str, Json] = {}
    if usage.cache_read is not None:
        prompt_details["cached_tokens"] = usage.cache_read
    if usage.cache_write:
        prompt_details["cache_write_tokens"] = sum(usage.cache_write.values())
    completion_details: dict[str, Json] = {}
    if usage.reasoning is not None:
        completion_details["reasoning_tokens"] = usage.reasoning
    if usage.media:
        prompt_details |= write_media_details("input", usage)
        completion_details |= write_media_details("output", usage)
    if prompt_details:
        value["prompt_tokens_details"] = prompt_details
    if completion_details:
        value["completion_tokens_details"] = completion_details
    return value


class _FunctionContent(msgspec.Struct, gc=False):
    name: Json = None
    arguments: Json = None
    input: Json = None


class _CallContent(msgspec.Struct, gc=False):
    function: _FunctionContent | None = None
    custom: _FunctionContent | None = None


class _MessageContent(msgspec.Struct, gc=False):
    content: Json = None
    reasoning_content: Json = None
    reasoning: Json = None
    reasoning_text: Json = None
    reasoning_details: Json = None
    refusal: Json = None
    audio: Json = None
    tool_calls: list[_CallContent] | None = None
    function_call: _FunctionContent | None = None


class _ChoiceContent(msgspec.Struct, gc=False):
    delta: _MessageContent | None = None
    message: _MessageContent | None = None
    finish_reason: Json = None
    usage: Json = None
    error: Json = None


class _ChunkContent(msgspec.Struct, gc=False):
    choices: list[_ChoiceContent] | None = None
    usage: Json = None
    x_groq: Json = None
    error: Json = None
    object: Json = None


_read_content = jsonio.make_reader(_ChunkContent)


def count_chunk_content(payload: bytes, *, whole: bool = False) -> tuple[int, bool]:
    """Return the bytes of content of a chunk, and True if it has usage, an end or an error.

    `whole`: it is a completion. Raises JsonError if it is malformed. Perplexity's chunks have a
    delta and a message; the message repeats all content before it.
    """
    value: _ChunkContent = _read_content(payload)
    size = 0
    has_marks = bool(value.usage or value.x_groq or value.error or value.object == "error")
    for choice in value.choices or ():
        message = choice.delta
        if choice.finish_reason or choice.usage or choice.error:
            has_marks = True
        if message is None or (whole and choice.message is not None):
            message = choice.message
        if message is not None:
            content = message.content
            if isinstance(content, str) and content.isascii():
                size += len(content)
            elif content is not None:  # an object is Cloudflare's JSON mode
                size += (
                    count_argument_bytes(content)
                    if isinstance(content, dict)
                    else count_text_bytes(content)
                )
            if not (
                message.tool_calls is None
                and message.reasoning_content is None
                and message.reasoning is None
                and message.refusal is None
                and message.reasoning_text is None
                and message.reasoning_details is None
                and message.function_call is None
                and message.audio is None
            ):
                size += _count_rest(message)
    return size, has_marks


def count_answer_content(body: bytes) -> int:
    """Count the bytes of content of a completion."""
    try:
        return count_chunk_content(body, whole=True)[0]
    except jsonio.JsonError:
        return 0


def _count_rest(message: _MessageContent) -> int:
    """Count the bytes of content beside the text."""
    size = 0
    reasoning = message.reasoning_content or message.reasoning or message.reasoning_text
    if reasoning or message.reasoning_details:  # some hosts repeat it in several members
        size += count_text_bytes(reasoning or message.reasoning_details)
    if message.tool_calls is not None:
        size += sum(
            _count_call(call.function) + _count_call(call.custom) for call in message.tool_calls
        )
    return (
        size
        + count_text_bytes(message.refusal)
        + count_text_bytes(message.audio)
        + _count_call(message.function_call)
    )


def _count_call(call: _FunctionContent | None) -> int:
    """Count the bytes of a call, or of a piece of it."""
    if call is None:
        return 0
    return (
        count_text_bytes(call.name)
        + count_argument_bytes(call.arguments)
        + count_argument_bytes(call.input)
    )
