"""The native stream inspector: bytes pass unchanged while it reads usage, errors and the end.

    held --first content--> committed --stop_reason, then message_stop--> complete

Frames before the first content (message_start, pings, a block that begins empty) are held; nothing
is held after it but a frame that has not ended. After the commit point a frame is only inspected
where it tells usage, an error or an end: of the rest the content is counted. Only `message_stop`
is an end: SDKs take a stream without it for whole. One that comes before a `stop_reason` stays
here: it would hide that the answer is cut.
"""

import re

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages import errors, usage
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    RequestBody,
    StreamInspector,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes
from gateway.dialects.stream_commit import (
    DEFAULT_FINISH,
    DONE_PAYLOAD,
    StreamBuffer,
    make_broken_problem,
)


class _Delta(msgspec.Struct, gc=False):
    text: Json = None
    thinking: Json = None
    partial_json: Json = None
    content: Json = None


class CountedBlock(msgspec.Struct, gc=False):
    """The members of a content block whose bytes count as content."""

    type: str = ""
    text: Json = None
    thinking: Json = None
    name: Json = None
    input: Json = None
    content: Json = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: _Delta | None = None
    content_block: CountedBlock | None = None
    error: Json = None


_CONTENT_EVENTS = frozenset(
    {"content_block_start", "content_block_delta", "content_block_stop", "ping"}
)
"""Events that tell content alone. Another may be an error that only its `event:` line names."""
_EVENT = jsonio.make_reader(_Event)
_ERROR = re.compile(rb"^event:[ ]?error\r?$", re.MULTILINE)
_TEXTS = {"text": "text", "thinking": "thinking"}
"""Blocks that may be empty, and the member that then holds nothing."""


def inspect_stream(
    _body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,
) -> StreamInspector:
    """Watch one stream. `finish_optional`: it may end without a reason why."""
    return _Stream(finish_optional=finish_optional)


class _Stream(StreamBuffer):
    """What one stream has said so far; see StreamInspector."""

    __slots__ = ("_finish_optional", "_stopped", "_told")

    def __init__(self, *, finish_optional: bool) -> None:
        super().__init__()
        self._finish_optional = finish_optional
        self._told: dict[str, Json] = {}
        self._stopped = False

    @property
    def complete(self) -> bool:
        """True if it ended with a reason and `message_stop`, and no error came."""
        return self._stopped and self.problem is None

    def _count(self, payload: bytes) -> bool:
        size, tells = _count_event_bytes(payload)
        self.content_bytes += size
        return tells

    def _inspect(self, frame: bytes, payload: bytes) -> bool:
        """Read one event; tell whether it stays here: what is none, an error that no SDK sees.

        OpenRouter ends also these streams with `[DONE]`, at which the official SDK raises.
        """
        if payload.startswith(DONE_PAYLOAD):
            return True
        error = _ERROR.search(frame) is not None
        try:
            event = jsonio.loads(payload)
        except jsonio.JsonError:
            event = None
        kind = event.get("type") if isinstance(event, dict) else None
        if error or kind == "error" or (isinstance(event, dict) and event.get("error")):
            said = event.get("error") if isinstance(event, dict) else None
            self.problem = errors.read_error_answer(said, payload)
            return not error or kind != "error"  # an SDK knows it by the name, a reader by the type
        if not isinstance(event, dict):
            self.problem = make_broken_problem()
            return True
        if kind == "message_start":
            self._start(event.get("message"))
        elif kind == "message_delta":
            self._delta(event)
        elif kind == "message_stop":
            if self.finish is None and self._finish_optional and self.committed:
                self.finish = DEFAULT_FINISH
            self._stopped = self.finish is not None
            return not self._stopped
        elif not self.committed:
            self.committed = _content(event)
        return False

    def _start(self, message: Json) -> None:
        if not isinstance(message, dict):
            return
        model, told = message.get("model"), message.get("usage")
        self.served_model = (model or None) if isinstance(model, str) else None
        self.response_id = parse_response_id(message.get("id"))
        if isinstance(told, dict):  # what has come out is not told yet
            self._told = {**told, "output_tokens": None}
            self.usage = usage.read(self._told)

    def _delta(self, event: dict[str, Json]) -> None:
        """The end of a message; its usage has running totals, and what it leaves out stands."""
        told, delta = event.get("usage"), event.get("delta")
        if isinstance(told, dict):
            self._told = usage.merge(self._told, told)
            self.usage = usage.read(self._told)
        finish = read_stop_reason(delta)
        if finish is not None:
            self.finish = finish
            self.committed = True


def _content(event: dict[str, Json]) -> bool:
    """Whether an event before the commit point holds content: from here nothing is retried."""
    if event.get("type") == "content_block_start":
        return has_content(event.get("content_block"))
    if event.get("type") == "content_block_delta":
        delta = event.get("delta")
        return isinstance(delta, dict) and any(v for k, v in delta.items() if k != "type")
    return False


def read_stop_reason(message: Json) -> str | None:
    """Read why a message ended, of it or of its last delta; None if the provider says nothing."""
    word = message.get("stop_reason") if isinstance(message, dict) else None
    return word if isinstance(word, str) and word else None


def has_content(block: Json) -> bool:
    """True if a block holds content; all but text and thinking do once they have begun."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        return False
    return kind not in _TEXTS or bool(block.get(_TEXTS[kind]))


def _count_event_bytes(payload: bytes) -> tuple[int, bool]:
    """Bytes that an event of a stream says; and whether it may tell usage, an end or an error.

    Raises JsonError for what is none.
    """
    value: _Event = _EVENT(payload)
    delta = value.delta
    tells = value.type not in _CONTENT_EVENTS or bool(value.error)
    if delta is not None:
        said = delta.text or delta.thinking or delta.partial_json or delta.content
        return count_text_bytes(said) if said else 0, tells
    return count_block_bytes(value.content_block) if value.content_block is not None else 0, tells


def count_block_bytes(block: CountedBlock) -> int:
    """Bytes of a block; what a hosted tool has found is not the model's."""
    if block.type.endswith("_result"):
        return 0
    said = block.text or block.thinking or block.content
    return count_text_bytes(said) + count_text_bytes(block.name) + count_argument_bytes(block.input)
