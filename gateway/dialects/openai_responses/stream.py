"""Responses streams at home: bytes go on as they came, with a glance at what they say.

    held --first content--> committed --response.completed or .incomplete--> complete

Frames before the first content (response.created, items and parts that begin empty) are held;
nothing is held after it but a frame that has not ended. After the commit point a frame is only
inspected where it tells an error or an end: of the rest the content is counted. Only a terminal
event is an end: OpenRouter's `[DONE]` after it says nothing.
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
from gateway.dialects.stream_commit import DONE_PAYLOAD, StreamBuffer, make_broken_problem

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
"""Items that say nothing when they are added: a tool that is called has its name by then."""
_ITEM_DONE = "response.output_item.done"


class _EventOutline(msgspec.Struct, gc=False):
    """What of an event of a stream may be content, or tells that there is more to know."""

    type: str = ""
    error: Json = None
    delta: Json = None
    item: Json = None
    output_index: Json = None


_parse_outline = jsonio.make_reader(_EventOutline)


def inspect_stream(
    _body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,  # noqa: ARG001 - as in Watches
) -> StreamInspector:
    """Watch one stream; its terminal event is a reason in any case."""
    return _ResponsesInspector()


class _ResponsesInspector(StreamBuffer):
    """What one stream has said so far; see StreamInspector."""

    __slots__ = ("_deltas", "_ended", "_items", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._ended = False
        self._deltas = self._items = 0
        """Bytes said in deltas, and in items that are done: the same, where a host sends both."""
        self._tools: set[usage.ToolUseKey] = set()

    @property
    def complete(self) -> bool:
        """Whether it ended with a terminal event, and no error came."""
        return self._ended and self.problem is None

    def _count(self, payload: bytes) -> bool:
        said = _read_outline(payload)
        tells = bool(said.error) or said.type in _ENDING_EVENTS
        if said.item is not None:
            if said.type == _ITEM_DONE:
                self._items += count_content_bytes(said.item)
                self._use(usage.list_tool_uses([said.item], said.output_index))
                tells = tells or find_item_error(said.item) is not None
        elif said.delta is not None:
            self._deltas += count_text_bytes(said.delta)
        else:
            return tells
        self.content_bytes = max(self._deltas, self._items)
        return tells

    def _use(self, tools: Iterable[usage.ToolUseKey]) -> None:
        """Take tools that an item shows in use, also where the account of all never comes."""
        before = len(self._tools)
        self._tools.update(tools)
        if len(self._tools) > before:
            used = Usage(tools=billing.count_tool_uses(self._tools))
            self.usage = merge_usage(self.usage, used)

    def _inspect(self, frame: bytes, payload: bytes) -> bool:  # noqa: ARG002 - others look at both
        """Read one event; tell whether it stays here: what is none, an error that no SDK raises."""
        if payload.startswith(DONE_PAYLOAD):
            return False
        try:
            event = jsonio.loads(payload)
        except jsonio.JsonError:
            event = None
        if not isinstance(event, dict):
            self.problem = make_broken_problem()
            return True
        kind = event.get("type")
        response = event.get("response")
        if isinstance(response, dict):
            self._take(response)
        error = find_event_error(event)
        if error is not None:
            self.problem = read_error(error)
            return not event.get("error") and kind != "response.failed"
        if isinstance(kind, str) and kind in COMPLETE_EVENTS:
            self._ended = self.committed = True
            self.finish = read_finish(response) if isinstance(response, dict) else None
        elif not self.committed:
            self.committed = _has_content(event)
        return False

    def _take(self, response: dict[str, Json]) -> None:
        model = response.get("model")
        self.served_model = model if isinstance(model, str) and model else self.served_model
        self.response_id = self.response_id or parse_response_id(response.get("id"))
        told = usage.read_response(response, self._tools)
        word = parse_service_tier(response.get("service_tier"))
        if told is not None:
            last = merge_usage(self.usage, told)
            self.usage = msgspec.structs.replace(last, service=word, tools=told.tools)
        elif word is not None:
            self.usage = msgspec.structs.replace(self.usage or Usage(), service=word)
        output = response.get("output")
        if isinstance(output, list) and output:
            self.content_bytes = max(self.content_bytes, sum(map(count_content_bytes, output)))


def find_event_error(event: dict[str, Json]) -> Json:
    """The error that an event tells; None for one that tells none."""
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


def _has_content(event: dict[str, Json]) -> bool:
    """Whether an event before the commit point holds content: from here nothing is retried."""
    kind = event.get("type")
    if not isinstance(kind, str) or not kind.startswith("response."):
        return False
    if kind == "response.output_item.added":
        item = event.get("item")
        return isinstance(item, dict) and item.get("type") not in _EMPTY_ITEMS
    if kind.endswith(".delta"):
        return bool(event.get("delta"))
    return kind not in _LIFECYCLE_EVENTS


def _read_outline(payload: bytes) -> _EventOutline:
    """Read one event of a stream. Raises JsonError for what is none."""
    found: _EventOutline = _parse_outline(payload)
    return found
