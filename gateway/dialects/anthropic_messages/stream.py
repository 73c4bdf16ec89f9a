"""Streams of the Messages API: the reader of a frame, its facts, and the native stream inspector.

Bytes pass the inspector unchanged; it reads usage, errors and the end.

    held --first content--> committed --stop_reason, then message_stop--> complete

The inspector holds frames before the first content (message_start, pings, a block that begins
empty), and after it only a frame that has not ended. After the commit point it reads a frame that
may have usage, an error or an end, and counts the content of the others. Only `message_stop` ends a
stream: SDKs take a stream without it for whole. The inspector drops a `message_stop` that comes
before a `stop_reason`: it would hide that the answer is cut.
"""

import re

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.anthropic_messages import errors, usage
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    RequestBody,
    StreamInspector,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes
from gateway.dialects.stream_commit import StreamBuffer
from gateway.dialects.stream_frames import (
    DEFAULT_FINISH,
    DONE_FRAME,
    DONE_PAYLOAD,
    Frame,
    make_broken_frame,
    parse_payload,
)


class _CountedDelta(msgspec.Struct, gc=False):
    """The members of a delta whose bytes count as content."""

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


class _CountedEvent(msgspec.Struct, gc=False):
    """The members of an event that hold content, or show what else it may hold."""

    type: str | None = None
    delta: _CountedDelta | None = None
    content_block: CountedBlock | None = None
    error: Json = None


_CONTENT_EVENTS = frozenset(
    {"content_block_start", "content_block_delta", "content_block_stop", "ping"}
)
"""Events that hold content alone. Another may be an error that only its `event:` line names."""
_EVENT_READER = jsonio.make_reader(_CountedEvent)
_EVENT_NAME = re.compile(rb"^event:[ ]?([^\r\n]*)", re.MULTILINE)
_CONTENT_MEMBERS = {"text": "text", "thinking": "thinking"}
"""Types of blocks that may be empty, and the member that holds their content."""


def read_frame(raw: bytes, payload: bytes) -> Frame:
    """Read one frame of a stream of events; see FrameReader.

    OpenRouter ends these streams with `[DONE]` too, at which the official SDK raises.
    """
    if payload.startswith(DONE_PAYLOAD):
        return DONE_FRAME
    event = parse_payload(payload)
    value = event if isinstance(event, dict) else {}
    kind, details = value.get("type"), value.get("error")
    if isinstance(kind, str) and kind in _CONTENT_EVENTS and not details:
        return Frame(value, kind)
    named = _EVENT_NAME.search(raw)
    name = named[1].decode("utf-8", "replace").strip() if named else ""
    if name == "error" or kind == "error" or details:
        problem = errors.read_error_answer(details, payload)
        # SDKs know an error by its name, readers by its type.
        return Frame(value, "error", problem, is_hidden=name != "error" or kind != "error")
    if not isinstance(event, dict):
        return make_broken_frame()
    # Some hosts give the type once only, in the `event:` line.
    return Frame(value, kind if isinstance(kind, str) else name if kind is None else "")


class MessageFacts:
    """The facts of an answer beside its content: of a whole one, or of a stream so far.

    Usage in a stream is cumulative: what a later event leaves out stands.
    """

    __slots__ = ("_merged_usage", "finish", "response_id", "served_model", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.served_model: str | None = None
        self.response_id: str | None = None
        self.finish: str | None = None
        """The last `stop_reason`: SDKs keep the last too."""
        self._merged_usage: dict[str, Json] = {}

    def read_start(self, message: Json) -> None:
        """Read the message in `message_start`."""
        if isinstance(message, dict):
            self._read_names(message)
            used = message.get("usage")
            if isinstance(used, dict):  # the provider has not counted the output yet
                self._merged_usage = {**used, "output_tokens": None}
                self._count_usage()

    def read_end(self, event: dict[str, Json]) -> None:
        """Read `message_delta`."""
        self.read_usage(event)
        self._read_finish(event.get("delta"))

    def read_usage(self, event: dict[str, Json]) -> None:
        """Read the running totals of an event, which may be an error."""
        used = event.get("usage")
        if isinstance(used, dict):
            self._merged_usage = usage.merge(self._merged_usage, used)
            self._count_usage()

    def read_whole(self, message: dict[str, Json]) -> None:
        """Read a whole message."""
        self._read_names(message)
        self._read_finish(message)
        self.usage = usage.read(message.get("usage"))

    def _read_names(self, message: dict[str, Json]) -> None:
        model = message.get("model")
        if isinstance(model, str) and model:
            self.served_model = model
        self.response_id = parse_response_id(message.get("id")) or self.response_id

    def _read_finish(self, holder: Json) -> None:
        self.finish = read_stop_reason(holder) or self.finish

    def _count_usage(self) -> None:
        self.usage = usage.read(self._merged_usage) or self.usage


def inspect_stream(
    _body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,
) -> StreamInspector:
    """Return an inspector of one stream. `finish_optional`: it may end without a reason."""
    return _StreamInspector(finish_optional=finish_optional)


class _StreamInspector(StreamBuffer):
    """The state of one stream; see StreamInspector."""

    __slots__ = ("_facts", "_finish_optional", "_stopped")

    def __init__(self, *, finish_optional: bool) -> None:
        super().__init__(read_frame)
        self._finish_optional = finish_optional
        self._facts = MessageFacts()
        self._stopped = False

    @property
    def complete(self) -> bool:
        """True if the stream ended with a reason and `message_stop`, and no error came."""
        return self._stopped and self.problem is None

    def _count(self, payload: bytes) -> bool:
        """Count the content of a frame by the members that hold it.

        Nearly all frames of a stream hold content alone. A frame that is read in full too costs
        three times the CPU, and tells the same facts.
        """
        size, has_more = _count_event_bytes(payload)
        self.content_bytes += size
        return has_more

    def _inspect(self, frame: Frame) -> bool:
        """Take the facts of one event; True for an end that comes before a reason."""
        if frame.is_done:
            return True
        event, kind = frame.value, frame.kind
        if frame.problem is not None:
            self._facts.read_usage(event)
        elif kind == "message_start":
            self._facts.read_start(event.get("message"))
        elif kind == "message_delta":
            self._facts.read_end(event)
        elif kind == "message_stop":
            if self.finish is None and self._finish_optional and self.committed:
                self._facts.finish = self.finish = DEFAULT_FINISH
            self._stopped = self.finish is not None
            return not self._stopped
        else:
            self.committed = self.committed or _event_has_content(frame)
            return False
        self._take_facts()
        return False

    def _take_facts(self) -> None:
        facts = self._facts
        self.usage, self.finish = facts.usage, facts.finish
        self.served_model, self.response_id = facts.served_model, facts.response_id
        self.committed = self.committed or facts.finish is not None


def _event_has_content(frame: Frame) -> bool:
    """True if an event before the commit point holds content: after it nothing is retried."""
    if frame.kind == "content_block_start":
        return has_content(frame.value.get("content_block"))
    if frame.kind == "content_block_delta":
        delta = frame.value.get("delta")
        return isinstance(delta, dict) and any(v for k, v in delta.items() if k != "type")
    return False


def read_stop_reason(message: Json) -> str | None:
    """Return the `stop_reason` of a message or of its last delta; None if there is none."""
    word = message.get("stop_reason") if isinstance(message, dict) else None
    return word if isinstance(word, str) and word else None


def has_content(block: Json) -> bool:
    """True if a block holds content. All types but text and thinking do from their start."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        return False
    return kind not in _CONTENT_MEMBERS or bool(block.get(_CONTENT_MEMBERS[kind]))


def _count_event_bytes(payload: bytes) -> tuple[int, bool]:
    """Return the bytes of content, and True if the event may hold usage, an end or an error.

    Raises JsonError for what is not JSON.
    """
    value: _CountedEvent = _EVENT_READER(payload)
    delta = value.delta
    has_more = value.type not in _CONTENT_EVENTS or bool(value.error)
    if delta is not None:
        text = delta.text or delta.thinking or delta.partial_json or delta.content
        return count_text_bytes(text) if text else 0, has_more
    return count_block_bytes(
        value.content_block
    ) if value.content_block is not None else 0, has_more


def count_block_bytes(block: CountedBlock) -> int:
    """Return the bytes of content in a block; results of hosted tools do not count."""
    if block.type.endswith("_result"):
        return 0
    text = block.text or block.thinking or block.content
    return count_text_bytes(text) + count_text_bytes(block.name) + count_argument_bytes(block.input)
