"""Inspector of native Responses streams: bytes pass unchanged, and it reads usage, errors, the end.

    held --first content--> committed --response.completed or .incomplete--> complete

The inspector holds frames before the first content: response.created, items and parts that begin
empty. After the commit point it holds only a frame that has not ended. From there it counts the
content of frames, and inspects only errors and ends. Only a terminal event is an end: OpenRouter's
`[DONE]` after it means nothing.
"""

from collections.abc import Iterable

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, merge_usage, parse_service_tier
from gateway.dialects import billing
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    RequestBody,
    StreamInspector,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.content_length import count_text_bytes
from gateway.dialects.openai_responses import usage
from gateway.dialects.openai_responses.content import count_content_bytes
from gateway.dialects.openai_responses.errors import (
    find_error,
    find_item_error,
    read_error,
    read_finish,
)
from gateway.dialects.stream_commit import StreamBuffer
from gateway.dialects.stream_frames import DONE_FRAME, DONE_PAYLOAD, Frame, make_broken_frame

COMPLETE_EVENTS = frozenset({"response.completed", "response.incomplete"})

_ENDING_EVENTS = COMPLETE_EVENTS | {"response.failed", "error"}
_LIFECYCLE_EVENTS = frozenset(
    {
        "response.created", "response.queued", "response.in_progress",
        "response.content_part.added", "response.reasoning_part.added",
        "response.reasoning_summary_part.added",
    }
)  # fmt: skip
_EMPTY_ITEMS = ("message", "reasoning")
"""Items without content when they are added; an item of a tool has a name by then."""
_ITEM_DONE = "response.output_item.done"


class _EventOutline(msgspec.Struct, gc=False):
    """The members of a stream event that hold content, or tell that it needs inspection."""

    type: str = ""
    error: Json = None
    delta: Json = None
    item: Json = None
    output_index: Json = None


_parse_outline = jsonio.make_reader(_EventOutline)


def read_frame(_raw: bytes, payload: bytes) -> Frame:
    """Read one frame of a stream of events; see FrameReader."""
    if payload.startswith(DONE_PAYLOAD):
        return DONE_FRAME
    try:
        event = jsonio.loads(payload)
    except jsonio.JsonError:
        event = None
    if not isinstance(event, dict):
        return make_broken_frame()
    kind = event.get("type")
    kind = kind if isinstance(kind, str) else ""
    error = find_event_error(event)
    if error is None:
        return Frame(event, kind)
    # SDKs know an error by the member `error`, or by the type of the event.
    hidden = not event.get("error") and kind != "response.failed"
    return Frame(event, kind, read_error(error), is_hidden=hidden)


def inspect_stream(
    _body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,  # noqa: ARG001 - as in StreamInspectorFactory
) -> StreamInspector:
    """Watch one stream; its terminal event always tells why it ended."""
    return _StreamInspector()


class _StreamInspector(StreamBuffer):
    """The state of one native stream; see StreamInspector."""

    __slots__ = ("_delta_bytes", "_ended", "_item_bytes", "_tool_uses")

    def __init__(self) -> None:
        super().__init__()
        self._ended = False
        self._delta_bytes = self._item_bytes = 0
        """Bytes in deltas, and in finished items: the same content if a host sends both."""
        self._tool_uses: set[usage.ToolUseKey] = set()

    @property
    def complete(self) -> bool:
        """True if the stream ended with a terminal event, and no error came."""
        return self._ended and self.problem is None

    def _count(self, payload: bytes) -> bool:
        outline = _read_outline(payload)
        says_more = bool(outline.error) or outline.type in _ENDING_EVENTS
        if outline.item is not None:
            if outline.type == _ITEM_DONE:
                self._item_bytes += count_content_bytes(outline.item)
                self._add_tool_uses(usage.list_tool_uses([outline.item], outline.output_index))
                says_more = says_more or find_item_error(outline.item) is not None
        elif outline.delta is not None:
            self._delta_bytes += count_text_bytes(outline.delta)
        else:
            return says_more
        self.content_bytes = max(self._delta_bytes, self._item_bytes)
        return says_more

    def _add_tool_uses(self, tool_uses: Iterable[usage.ToolUseKey]) -> None:
        """Add tool uses of an item, as the final usage may never come."""
        before = len(self._tool_uses)
        self._tool_uses.update(tool_uses)
        if len(self._tool_uses) > before:
            tool_usage = Usage(tools=billing.count_tool_uses(self._tool_uses))
            self.usage = merge_usage(self.usage, tool_usage)

    def _read_frame(self, raw: bytes, payload: bytes, /) -> Frame:
        return read_frame(raw, payload)

    def _inspect(self, frame: Frame) -> bool:
        """Take the facts of one event."""
        response = frame.value.get("response")
        if isinstance(response, dict):
            self._read_response(response)
        if frame.problem is not None:
            return True
        if frame.kind in COMPLETE_EVENTS:
            self._ended = self.committed = True
            self.finish = read_finish(response) if isinstance(response, dict) else None
        elif not self.committed:
            self.committed = _has_content(frame)
        return False

    def _read_response(self, response: dict[str, Json]) -> None:
        model = response.get("model")
        self.served_model = model if isinstance(model, str) and model else self.served_model
        self.response_id = self.response_id or parse_response_id(response.get("id"))
        final_usage = usage.read_response(response, self._tool_uses)
        service = parse_service_tier(response.get("service_tier"))
        if final_usage is not None:
            merged = merge_usage(self.usage, final_usage)
            self.usage = msgspec.structs.replace(merged, service=service, tools=final_usage.tools)
        elif service is not None:
            self.usage = msgspec.structs.replace(self.usage or Usage(), service=service)
        output = response.get("output")
        if isinstance(output, list) and output:
            self.content_bytes = max(self.content_bytes, sum(map(count_content_bytes, output)))


def find_event_error(event: dict[str, Json]) -> Json:
    """Find the error in an event; None if it has none."""
    kind, error = event.get("type"), event.get("error")
    if kind == "response.failed":
        response = event.get("response")
        return (response.get("error") if isinstance(response, dict) else None) or {}
    if kind == "error":
        return error or {name: event[name] for name in ("code", "message") if name in event}
    if kind == "response.output_item.done":
        return find_item_error(event.get("item"))
    if isinstance(kind, str) and kind in COMPLETE_EVENTS:
        return find_error(event.get("response"))
    return error if error and not isinstance(kind, str) else None


def _has_content(frame: Frame) -> bool:
    """True if an event before the commit point holds content: then nothing is retried."""
    event, kind = frame.value, frame.kind
    if not kind.startswith("response."):
        return False
    if kind == "response.output_item.added":
        item = event.get("item")
        return isinstance(item, dict) and item.get("type") not in _EMPTY_ITEMS
    if kind.endswith(".delta"):
        return bool(event.get("delta"))
    return kind not in _LIFECYCLE_EVENTS


def _read_outline(payload: bytes) -> _EventOutline:
    """Read one event of a stream. Raises JsonError if the payload is not one."""
    outline: _EventOutline = _parse_outline(payload)
    return outline
