"""How much a chunk or a whole answer says; see gateway.dialects.content_length."""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
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


class _Candidate(msgspec.Struct, gc=False):
    content: _Content | None = None


class _Chunk(msgspec.Struct, gc=False):
    candidates: list[_Candidate] | None = None


_READ = jsonio.make_reader(_Chunk)
_LIST = jsonio.make_reader(list[_Chunk])


def chunk(payload: bytes) -> int:
    """Bytes that a chunk says. Raises JsonError for what is none."""
    return _chunk(_READ(payload))


def whole(body: bytes) -> int:
    """Bytes that a whole answer says, also where it is the chunks of a stream as a list."""
    try:
        return _chunk(_READ(body))
    except jsonio.JsonError:
        pass
    try:
        return sum(map(_chunk, _LIST(body)))
    except jsonio.JsonError:
        return 0


def _chunk(value: _Chunk) -> int:
    size = 0
    for candidate in value.candidates or ():
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
