"""How much a chunk or a whole answer says; see gateway.dialects.content_length."""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import MAX_TOKENS
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes


class _Call(msgspec.Struct, gc=False, rename="camel"):
    name: Json = None
    args: Json = None
    partial_args: Json = None


class _Code(msgspec.Struct, gc=False):
    code: Json = None


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: Json = None
    function_call: _Call | None = None
    executable_code: _Code | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: Json = None
    index: Json = None
    error: Json = None
    grounding_metadata: Json = None


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Json = None
    candidates_token_count: Json = None


class Chunk(msgspec.Struct, gc=False, rename="camel"):
    """What of a chunk may be content, or tells that there is more to know."""

    candidates: list[_Candidate] | None = None
    usage_metadata: _Usage | None = None
    prompt_feedback: Json = None
    error: Json = None


_READ = jsonio.make_reader(Chunk)
_LIST = jsonio.make_reader(list[Chunk])


def read(payload: bytes) -> Chunk:
    """Read one chunk of a stream. Raises JsonError for what is none."""
    chunk: Chunk = _READ(payload)
    return chunk


def tells_more(chunk: Chunk) -> bool:
    """True if a chunk may tell an end, an error, a tool in use, or of a second candidate."""
    if chunk.error or chunk.prompt_feedback:
        return True
    for candidate in chunk.candidates or ():
        if (
            candidate.finish_reason
            or candidate.index
            or candidate.grounding_metadata
            or candidate.error
        ):
            return True
    return False


def has_counts(usage: _Usage) -> bool:
    """True if usage surely counts something: it takes the place of what was told before."""
    count = usage.prompt_token_count or usage.candidates_token_count
    return type(count) is int and 0 < count <= MAX_TOKENS


def whole(body: bytes) -> int:
    """Bytes that a whole answer says, also where it is the chunks of a stream as a list."""
    try:
        return count(_READ(body))
    except jsonio.JsonError:
        pass
    try:
        return sum(map(count, _LIST(body)))
    except jsonio.JsonError:
        return 0


def count(chunk: Chunk) -> int:
    """Bytes that a chunk says."""
    size = 0
    for candidate in chunk.candidates or ():
        content = candidate.content
        if content is not None:
            for part in content.parts or ():
                said = part.text
                if isinstance(said, str) and said.isascii():
                    size += len(said)
                elif said is not None:
                    size += count_text_bytes(said)
                if part.function_call is not None or part.executable_code is not None:
                    size += _more(part)
    return size


def _more(part: _Part) -> int:
    size = 0
    if part.function_call is not None:
        call = part.function_call
        size += (
            count_text_bytes(call.name)
            + count_argument_bytes(call.args)
            + count_argument_bytes(call.partial_args)
        )
    if part.executable_code is not None:
        size += count_text_bytes(part.executable_code.code)
    return size
