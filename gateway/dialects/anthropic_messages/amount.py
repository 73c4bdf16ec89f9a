"""How much an event or a whole message says; see gateway.dialects.content_length."""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes


class _Delta(msgspec.Struct, gc=False):
    text: Json = None
    thinking: Json = None
    partial_json: Json = None
    content: Json = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: Json = None
    thinking: Json = None
    name: Json = None
    input: Json = None
    content: Json = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    error: Json = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] = []


_CONTENT_EVENTS = frozenset(
    {"content_block_start", "content_block_delta", "content_block_stop", "ping"}
)
"""Events that tell content alone. Another may be an error that only its `event:` line names."""
_EVENT, _MESSAGE = jsonio.make_reader(_Event), jsonio.make_reader(_Message)


def event(payload: bytes) -> tuple[int, bool]:
    """Bytes that an event of a stream says; and whether it may tell usage, an end or an error.

    Raises JsonError for what is none.
    """
    value: _Event = _EVENT(payload)
    delta = value.delta
    tells = value.type not in _CONTENT_EVENTS or bool(value.error)
    if delta is not None:
        said = delta.text or delta.thinking or delta.partial_json or delta.content
        return count_text_bytes(said) if said else 0, tells
    return _block(value.content_block) if value.content_block is not None else 0, tells


def whole(body: bytes) -> int:
    """Bytes that a message says."""
    try:
        value: _Message = _MESSAGE(body)
    except jsonio.JsonError:
        return 0
    return sum(map(_block, value.content))


def _block(block: _Block) -> int:
    """Bytes of a block; what a hosted tool has found is not the model's."""
    if block.type.endswith("_result"):
        return 0
    said = block.text or block.thinking or block.content
    return count_text_bytes(said) + count_text_bytes(block.name) + count_argument_bytes(block.input)
