"""A provider's answer as events: its stream, whatever was read of it, and its whole answers.

Deltas are told as they come. What a host does not stream is taken from the item that is done, and
what it leaves out there from the terminal event; nothing is told twice.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from gateway.core import jsonio, sse
from gateway.core.events import (
    Citation,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    FinishReason,
    LogProbs,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, parse_service_tier
from gateway.dialects.openai_responses import usage
from gateway.dialects.openai_responses.content import Object, list_objects, read_object
from gateway.dialects.openai_responses.errors import is_complete, read_error, read_finish
from gateway.dialects.openai_responses.stream import COMPLETE_EVENTS, find_event_error
from gateway.dialects.stream_commit import DONE_PAYLOAD, MAX_FRAME_BYTES, make_broken_problem

_CALL_ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that are calls of the client's tools, and the member with what they are called with."""
_EVENTS_WITH_ERRORS = COMPLETE_EVENTS | {"response.output_item.done"}
"""Events that hold something whole, which may have failed."""
_REASONS: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "filter",
    "steered": "pause",
}


class Decoder:
    """The state of one stream; see gateway.dialects.base."""

    __slots__ = ("_hosted", "_ids", "_out", "_over", "_said", "_started", "_tools", "_whole")

    def __init__(self) -> None:
        self._whole = sse.FrameSplitter()
        self._out: list[Event] = []
        self._over = self._started = False
        self._said: dict[int, _ItemState] = {}
        self._ids: dict[str, int] = {}
        self._tools = 0
        self._hosted: set[usage.ToolUseKey] = set()

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read. After a Failed nothing more comes."""
        if self._over:
            return []
        data = self._whole.feed(data)
        if self._whole.size > MAX_FRAME_BYTES:
            return [self._fail("a frame without an end")]
        out: list[Event] = []
        self._out = out
        for frame in sse.split_data_frames(data):
            payload = sse.read_data(frame)
            if payload and not payload.startswith(DONE_PAYLOAD) and not self._payload(payload):
                break
        return out

    def end(self) -> list[Event]:
        """Take the end of the stream: a frame may lack its blank line; half a frame is none."""
        payload, self._out = sse.read_data(self._whole.take_pending()), []
        if self._over or not payload or payload.startswith(DONE_PAYLOAD):
            return []
        try:
            jsonio.loads(payload)
        except jsonio.JsonError:
            return []
        self._payload(payload)
        return self._out

    def whole(self, response: Object) -> list[Event]:
        """Take a whole answer, which no event came before."""
        self._out = []
        self._finish({"response": response})
        return self._out

    def _fail(self, what: str) -> Failed:
        self._over = True
        return Failed(make_broken_problem(what))

    def _payload(self, payload: bytes) -> bool:
        """Read one event; tell whether more may come."""
        try:
            event = jsonio.loads(payload)
        except jsonio.JsonError:
            event = None
        if not isinstance(event, dict):
            self._out.append(self._fail("a broken frame"))
            return False
        kind = event.get("type")
        known = self._KINDS.get(kind) if isinstance(kind, str) else None
        if known is None or kind in _EVENTS_WITH_ERRORS:
            error = find_event_error(event)
            if error is not None:
                self._over = True
                self._out.append(Failed(read_error(error)))
                return False
        if known is not None:
            known(self, event)
        return not self._over

    def _start(self, event: Object) -> None:
        if self._started:
            return
        self._started = True
        response = read_object(event.get("response"))
        id, model, created = (response.get(name) for name in ("id", "model", "created_at"))
        word = parse_service_tier(response.get("service_tier"))
        self._out.append(
            Start(
                id=id if isinstance(id, str) else None,
                model=model if isinstance(model, str) and model else None,
                created=int(created) if isinstance(created, int | float) else None,
                usage=Usage(service=word) if word is not None else None,
            )
        )

    def _at(self, event: Object) -> "_ItemState":
        if not self._started:
            self._start(event)
        at = event.get("output_index")
        at = at if isinstance(at, int) else 0
        item = self._said.get(at)
        if item is None:
            item = self._said[at] = _ItemState()
        return item

    def _placed(self, event: Object, item: Object) -> "_ItemState":
        """An item that is added or done, its place kept under its id."""
        id, at = item.get("id"), event.get("output_index")
        if isinstance(id, str) and isinstance(at, int):
            self._ids[id] = at
        return self._at(event)

    def _text(self, event: Object) -> None:
        item, delta = self._at(event), event.get("delta")
        if isinstance(delta, str) and delta:
            item.told = True
            self._out.append(TextDelta(delta))
        if event.get("logprobs"):
            self._likely(event["logprobs"])

    def _likely(self, tokens: Json) -> None:
        if isinstance(tokens, list) and tokens:
            self._out.append(LogProbs(tokens))

    def _refusal(self, event: Object) -> None:
        item, delta = self._at(event), event.get("delta")
        if isinstance(delta, str) and delta:
            item.told = True
            self._out.append(Declined(delta))

    def _summary(self, event: Object) -> None:
        self._think(event, "summary_index")

    def _reasoning(self, event: Object) -> None:
        self._think(event, "content_index")

    def _think(self, event: Object, index: str) -> None:
        """Of a summary and the reasoning itself, the one that came first is told."""
        item, delta, part = self._at(event), event.get("delta"), event.get(index)
        if isinstance(delta, str) and delta and item.way in ("", index):
            item.way, item.told = index, True
            self._out.append(ReasoningDelta(delta, part=part if isinstance(part, int) else 0))

    def _added(self, event: Object) -> None:
        added = read_object(event.get("item"))
        item = self._placed(event, added)
        if _read_type(added) in _CALL_ARGUMENTS and item.tool is None:
            self._call(item, added)

    def _call(self, item: "_ItemState", call: Object) -> int:
        item.tool = self._tools
        self._tools += 1
        id, name = call.get("call_id") or call.get("id"), call.get("name")
        self._out.append(
            ToolStart(
                index=item.tool,
                id=id if isinstance(id, str) else "",
                name=name if isinstance(name, str) else "",
                custom=call.get("type") == "custom_tool_call",
            )
        )
        return item.tool

    def _piece(self, event: Object) -> None:
        item, delta = self._at(event), event.get("delta")
        if item.tool is not None and isinstance(delta, str) and delta:
            item.told = True
            self._out.append(ToolDelta(item.tool, delta))

    def _cite(self, event: Object) -> None:
        item = self._at(event)
        item.notes += 1
        self._out.append(read_citation(event.get("annotation")))

    def _done(self, event: Object) -> None:
        done = read_object(event.get("item"))
        item = self._placed(event, done)
        if item.done:
            return
        item.done = True
        kind = _read_type(done)
        if kind == "message":
            self._message(item, done)
        elif kind == "reasoning":
            self._thought(item, done)
        elif kind in _CALL_ARGUMENTS:
            index = self._call(item, done) if item.tool is None else item.tool
            text = done.get(_CALL_ARGUMENTS[kind])
            if not item.told and isinstance(text, str) and text:
                self._out.append(ToolDelta(index, text))
            self._out.append(ToolEnd(index))
        else:
            self._hosted.update(usage.list_tool_uses([done], event.get("output_index")))
            self._out.append(Opaque(kind, source=done))

    def _message(self, item: "_ItemState", done: Object) -> None:
        told, notes = item.told, 0
        for part in list_objects(done.get("content")):
            text, refusal = part.get("text"), part.get("refusal")
            if not told and isinstance(text, str) and text:
                self._out.append(TextDelta(text))
                self._likely(part.get("logprobs"))
            if not told and isinstance(refusal, str) and refusal:
                self._out.append(Declined(refusal))
            for note in list_objects(part.get("annotations")):
                notes += 1
                if notes > item.notes:
                    self._out.append(read_citation(note))

    def _thought(self, item: "_ItemState", done: Object) -> None:
        told = item.told
        parts = list_objects(done.get("summary")) or list_objects(done.get("content"))
        for index, part in enumerate(parts if not told else ()):
            text = part.get("text")
            if isinstance(text, str) and text:
                item.told = True
                self._out.append(ReasoningDelta(text, part=index))
        state, id = done.get("encrypted_content"), done.get("id")
        state = state if isinstance(state, str) and state else None
        if item.told or state is not None:
            id = id if isinstance(id, str) else None
            self._out.append(ReasoningEnd(state=state, redacted=not item.told, id=id))

    def _finish(self, event: Object) -> None:
        self._start(event)
        response = read_object(event.get("response"))
        streamed = dict(self._ids)
        for at, item in enumerate(list_objects(response.get("output"))):
            # Its place may be another than while it was streamed, where hosts leave items out.
            id = item.get("id")
            place = streamed.get(id, at) if isinstance(id, str) else at
            self._done({"output_index": place, "item": item})
        told = usage.read_response(response, self._hosted)
        if told is not None:
            self._out.append(UsageUpdate(told))
        word = read_finish(response)
        reason: FinishReason = "tools" if self._tools else "stop"
        if response.get("status") == "incomplete" or event.get("type") == "response.incomplete":
            reason = _REASONS.get(word or "", "length")
        elif not is_complete(response) and event.get("type") not in COMPLETE_EVENTS:
            reason = "cut"
        self._out += [Finish(reason, word=word), End()]
        self._over = True

    _KINDS: ClassVar[Mapping[str, Callable[["Decoder", Object], None]]] = {
        "response.created": _start,
        "response.queued": _start,
        "response.in_progress": _start,
        "response.output_item.added": _added,
        "response.output_text.delta": _text,
        "response.refusal.delta": _refusal,
        "response.reasoning_summary_text.delta": _summary,
        "response.reasoning_text.delta": _reasoning,
        "response.function_call_arguments.delta": _piece,
        "response.custom_tool_call_input.delta": _piece,
        "response.output_text.annotation.added": _cite,
        "response.output_item.done": _done,
        **dict.fromkeys(COMPLETE_EVENTS, _finish),
    }


class _ItemState:
    """What has been told of one item of the output."""

    __slots__ = ("done", "notes", "told", "tool", "way")

    def __init__(self) -> None:
        self.told = self.done = False
        self.notes = 0
        self.tool: int | None = None
        self.way = ""


def read_citation(note: Json) -> Citation:
    """An annotation as an event; those of files have no URL."""
    said = read_object(note)
    url, title = said.get("url"), said.get("title")
    start, end = said.get("start_index"), said.get("end_index")
    return Citation(
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        source=note,
    )


def _read_type(item: Object) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""
