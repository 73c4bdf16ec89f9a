"""Usage: as hosts report it, in five classes that never overlap; as Chat Completions says it.

The provider's `total_tokens` decides. `prompt_tokens` includes cached and written tokens unless the
total shows that it does not. `completion_tokens` includes reasoning unless the total shows that it
does not (xAI, Google's OpenAI endpoint). Vercel is the exception: its total leaves reasoning out.

Where a provider tells no usage, the bytes of content stand in: see gateway.dialects.content_length.
They are read straight into the few members that hold content, or that tell of more to know.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import (
    MODALITIES,
    Usage,
    parse_count,
    parse_service_tier,
    parse_usd,
    split_output,
    sum_media_tokens,
)  # fmt: skip
from gateway.dialects import billing
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes

_LIFETIME = re.compile(r"(?:ephemeral|ttl)_(\w{1,8}?)(?:_input)?_tokens")
"""Members that tell tokens written to the cache by lifetime, in OpenAI's and Anthropic's words."""
_NOTHING: dict[str, Json] = {}
_CACHED_MEMBERS = (
    "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "num_cached_tokens",
)  # fmt: skip
"""Where hosts tell cached tokens that do not tell them in `prompt_tokens_details`."""
_MEDIA_MEMBERS = tuple((f"{modality}_tokens", modality) for modality in MODALITIES)

_SERVICES = frozenset({"flex", "scale", "priority", "fast"})


def find(value: dict[str, Json], word: Json = None) -> Usage | None:
    """Usage of an answer or of one chunk, from the places where hosts put it.

    `word` is what earlier chunks called the service tier; None where nothing is counted here.
    """
    usage = value.get("usage")
    if not isinstance(usage, dict) or not usage:
        usage = _elsewhere(value)
        if not usage:
            return None
    found = read(usage)
    if found is None:
        return None
    served = parse_service_tier(value.get("service_tier") or word, usage.get("service_tier"))
    billed = found.billed
    if billed is None and "cost" in value:  # Venice
        billed = parse_usd(_dict(value["cost"]).get("usd"))
    if served is None and billed is None:
        return found
    return msgspec.structs.replace(found, service=served, billed=billed)


def _elsewhere(value: dict[str, Json]) -> dict[str, Json] | None:
    choices = value.get("choices")
    places = [*choices] if isinstance(choices, list) else []
    places.append(value.get("x_groq"))
    for place in places:
        usage = place.get("usage") if isinstance(place, dict) else None
        if isinstance(usage, dict):
            return usage
    return None


def read(usage: dict[str, Json]) -> Usage | None:
    """Read one usage object; None where it counts nothing."""
    prompt = parse_count(usage.get("prompt_tokens"))
    completion = parse_count(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    inside = _dict(usage.get("prompt_tokens_details"))
    beside = _dict(usage.get("completion_tokens_details"))
    cached = _first_count(inside, "cached_tokens", usage, _CACHED_MEMBERS)
    written = _first_count(inside, "cache_write_tokens", usage, ("cache_creation_input_tokens",))
    reasoning = _first_count(beside, "reasoning_tokens", usage, ("reasoning_tokens",))
    total = parse_count(usage.get("total_tokens"))
    beyond = None  # tokens that the total has more than both sides
    if total is not None and prompt is not None and completion is not None:
        beyond = total - prompt - completion
    fresh = None
    if prompt is not None:
        if beyond and beyond == (cached or 0) + (written or 0) and reasoning != beyond:
            prompt, beyond = prompt + beyond, 0
        # A part is never more than the whole, whatever a host says.
        cached = None if cached is None else min(cached, prompt)
        written = None if written is None else min(written, prompt - (cached or 0))
        fresh = prompt - (cached or 0) - (written or 0)
    shown = completion
    if completion is not None:
        if reasoning is None and beyond is not None and beyond > 0:
            reasoning = beyond  # Google's OpenAI endpoint
        elif "market_cost" not in usage:  # Vercel bills reasoning beside a completion and a total
            shown, reasoning = split_output(completion, reasoning, beyond)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write=_lifetimes(usage, inside, written) if written else {},
        output=shown,
        reasoning=reasoning,
        tools=billing.read_tool_counts(usage),
        media=_sum_media(usage, inside, beside),
        billed=billing.read_billed_usd(usage),
    )


def read_media(usage: Mapping[str, Json]) -> dict[str, int]:
    """Return the tokens that are not text."""
    inside = _dict(usage.get("prompt_tokens_details"))
    return _sum_media(usage, inside, _dict(usage.get("completion_tokens_details")))


def _sum_media(
    usage: Mapping[str, Json], inside: Mapping[str, Json], beside: Mapping[str, Json]
) -> dict[str, int]:
    """Return the tokens that are not text, of the details; Cerebras tells those of images above."""
    given = [(modality, inside[name]) for name, modality in _MEDIA_MEMBERS if inside.get(name)]
    made = [(modality, beside[name]) for name, modality in _MEDIA_MEMBERS if beside.get(name)]
    if "image_tokens" in usage and not inside.get("image_tokens"):
        given.append(("image", usage["image_tokens"]))
    if not given and not made:
        return {}
    return sum_media_tokens("input", given) | sum_media_tokens("output", made)


def _lifetimes(
    usage: Mapping[str, Json], inside: Mapping[str, Json], written: int
) -> dict[str, int]:
    """Written tokens by lifetime; what the total has beyond them is of none."""
    by: dict[str, int] = {}
    places = (inside.get("cache_write_tokens_details"), usage.get("cache_creation"))
    for place in places:
        for name, value in _dict(place).items():
            life, number = _LIFETIME.fullmatch(name), parse_count(value)
            if life is not None and number and not by.get(life[1]):
                by[life[1]] = number
    rest = written - sum(by.values())
    if rest < 0:
        return {"": written}
    return {**by, "": rest} if rest else by


def _first_count(
    details: Mapping[str, Json], detail: str, usage: Mapping[str, Json], names: Iterable[str]
) -> int | None:
    """Return the first count: of the details, or else of the members above them."""
    if (count := parse_count(details.get(detail))) is not None:
        return count
    for name in names:
        if name in usage and (count := parse_count(usage[name])) is not None:
            return count
    return None


def _dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _NOTHING


def find_service_tier(usage: Usage | None) -> str | None:
    """The service tier, where it is one that clients' types have a word for."""
    return usage.service if usage is not None and usage.service in _SERVICES else None


def write_usage(usage: Usage | None) -> dict[str, Json] | None:
    """What `usage.read` turns back into the same usage.

    None where either count is unknown: the SDKs' type has no place for that.
    """
    if usage is None or usage.prompt is None or usage.completion is None:
        return None
    told: dict[str, Json] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }
    inside: dict[str, Json] = {}
    if usage.cache_read is not None:
        inside["cached_tokens"] = usage.cache_read
    if usage.cache_write:
        inside["cache_write_tokens"] = sum(usage.cache_write.values())
    if inside:
        told["prompt_tokens_details"] = inside
    if usage.reasoning is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return told


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
    """Count the bytes that a chunk or a completion says; tell whether it has usage, end or error.

    Raises JsonError for what is neither. Perplexity's have both a delta and a message, which
    repeats all that was said before.
    """
    value: _ChunkContent = _read_content(payload)
    size = 0
    tells = bool(value.usage or value.x_groq or value.error or value.object == "error")
    for choice in value.choices or ():
        said = choice.delta
        if choice.finish_reason or choice.usage or choice.error:
            tells = True
        if said is None or (whole and choice.message is not None):
            said = choice.message
        if said is not None:
            content = said.content
            if isinstance(content, str) and content.isascii():
                size += len(content)
            elif content is not None:  # an object is Cloudflare's JSON mode
                size += (
                    count_argument_bytes(content)
                    if isinstance(content, dict)
                    else count_text_bytes(content)
                )
            if not (
                said.tool_calls is None
                and said.reasoning_content is None
                and said.reasoning is None
                and said.refusal is None
                and said.reasoning_text is None
                and said.reasoning_details is None
                and said.function_call is None
                and said.audio is None
            ):
                size += _count_rest(said)
    return size, tells


def count_answer_content(body: bytes) -> int:
    """Bytes that a completion says."""
    try:
        return count_chunk_content(body, whole=True)[0]
    except jsonio.JsonError:
        return 0


def _count_rest(said: _MessageContent) -> int:
    """Bytes beside the text, of which there are few chunks or all."""
    size = 0
    thought = said.reasoning_content or said.reasoning or said.reasoning_text
    if thought or said.reasoning_details:  # some hosts say it in several places at once
        size += count_text_bytes(thought or said.reasoning_details)
    if said.tool_calls is not None:
        size += sum(_count_call(it.function) + _count_call(it.custom) for it in said.tool_calls)
    return (
        size
        + count_text_bytes(said.refusal)
        + count_text_bytes(said.audio)
        + _count_call(said.function_call)
    )


def _count_call(call: _FunctionContent | None) -> int:
    """Bytes of a call, or of a piece of it."""
    if call is None:
        return 0
    return (
        count_text_bytes(call.name)
        + count_argument_bytes(call.arguments)
        + count_argument_bytes(call.input)
    )
