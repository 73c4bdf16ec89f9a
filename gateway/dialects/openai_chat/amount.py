"""How much a chunk or a whole completion says; see gateway.dialects.content_length.

Read straight into the few members that hold content, or that tell that there is more to know.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes


class _Inside(msgspec.Struct, gc=False):
    name: Json = None
    arguments: Json = None
    input: Json = None


class _Call(msgspec.Struct, gc=False):
    function: _Inside | None = None
    custom: _Inside | None = None


class _Said(msgspec.Struct, gc=False):
    content: Json = None
    reasoning_content: Json = None
    reasoning: Json = None
    reasoning_text: Json = None
    reasoning_details: Json = None
    refusal: Json = None
    audio: Json = None
    tool_calls: list[_Call] | None = None
    function_call: _Inside | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: Json = None
    usage: Json = None
    error: Json = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Json = None
    x_groq: Json = None
    error: Json = None
    object: Json = None


_READ = jsonio.make_reader(_Chunk)


def chunk(payload: bytes, *, whole: bool = False) -> tuple[int, bool]:
    """Count the bytes that a chunk or a completion says; tell whether it has usage, end or error.

    Raises JsonError for what is neither. Perplexity's have both a delta and a message, which
    repeats all that was said before.
    """
    value: _Chunk = _READ(payload)
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
                size += _more(said)
    return size, tells


def whole(body: bytes) -> int:
    """Bytes that a completion says."""
    try:
        return chunk(body, whole=True)[0]
    except jsonio.JsonError:
        return 0


def _more(said: _Said) -> int:
    """Bytes beside the text, of which there are few chunks or all."""
    size = 0
    thought = said.reasoning_content or said.reasoning or said.reasoning_text
    if thought or said.reasoning_details:  # some hosts say it in several places at once
        size += count_text_bytes(thought or said.reasoning_details)
    if said.tool_calls is not None:
        size += sum(_inside(it.function) + _inside(it.custom) for it in said.tool_calls)
    return (
        size
        + count_text_bytes(said.refusal)
        + count_text_bytes(said.audio)
        + _inside(said.function_call)
    )


def _inside(call: _Inside | None) -> int:
    """Bytes of a call, or of a piece of it."""
    if call is None:
        return 0
    return (
        count_text_bytes(call.name)
        + count_argument_bytes(call.arguments)
        + count_argument_bytes(call.input)
    )
