"""Decoder of a provider's answer: a stream or a whole answer becomes events.

The decoder emits deltas as they come. What a host does not stream, it takes from the finished item,
or from the terminal event. It emits nothing twice.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from gateway.core import log_probs
from gateway.core.events import (
    Citation,
    Declined,
    End,
    Event,
    Finish,
    FinishReason,
    GeneratedMedia,
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
from gateway.core.usage import Usage
from gateway.dialects.openai_responses.content import Object, list_objects, read_object
from gateway.dialects.openai_responses.errors import is_complete, read_finish
from gateway.dialects.openai_responses.schema import ANSWER
from gateway.dialects.openai_responses.stream import (
    COMPLETE_EVENTS,
    ResponsesStreamFacts,
    read_frame,
)
from gateway.dialects.stream_frames import Frame, SseDecoder, name_unread_members

_CALL_ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that call the client's tools, and the member with their arguments."""
_PREFIX = "output"
"""Starts the name of an item that no other dialect has."""
_IMAGE_CALL = "image_generation_call"
_TEXT_PARTS = frozenset({"output_text", "text", "refusal"})
_REASONS: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "filter",
    "steered": "pause",
}


class Decoder(SseDecoder):
    """The state of one stream; see gateway.dialects.base."""

    __slots__ = (
        "_emitted_usage",
        "_events",
        "_facts",
        "_index_by_id",
        "_items",
        "_started",
        "_tool_count",
    )
    log_probs_members = log_probs.MEMBERS["openai-responses"]

    def __init__(self) -> None:
        super().__init__(read_frame, ANSWER)
        self._events: list[Event] = []
        """The events of the frames that are read now."""
        self._started = False
        self._items: dict[int, _ItemState] = {}
        self._index_by_id: dict[str, int] = {}
        self._tool_count = 0
        self._facts = ResponsesStreamFacts()
        self._emitted_usage: Usage | None = None

    def read_whole(self, response: Object) -> list[Event]:
        """Return the events of a whole answer."""
        self._events = []
        self._on_finish({"response": response})
        end = self._events.pop()
        return [*self._events, *name_unread_members(response, ANSWER), end]

    def _decode(self, frame: Frame, out: list[Event]) -> None:
        self._events = out
        read_event = self._EVENT_READERS.get(frame.kind)
        if read_event is not None:
            read_event(self, frame.value)

    def _decode_error(self, frame: Frame, out: list[Event]) -> None:
        """Add the usage of a failed answer, which the provider bills."""
        self._events = out
        self._facts.read_event(frame)
        self._emit_usage()

    def _close(self, out: list[Event], *, is_cut: bool) -> None:
        """Add nothing: only a terminal event is an end."""

    def _emit_usage(self) -> None:
        """Emit the usage so far, if it is new."""
        if self._facts.usage is not None and self._facts.usage != self._emitted_usage:
            self._emitted_usage = self._facts.usage
            self._events.append(UsageUpdate(self._facts.usage))

    def _on_start(self, event: Object) -> None:
        response = read_object(event.get("response"))
        self._facts.read_response(response, is_end=False)
        self._start(response)

    def _start(self, response: Object) -> None:
        """Emit the start; later only usage that is new."""
        if self._started:
            self._emit_usage()
            return
        self._started = True
        facts, created = self._facts, response.get("created_at")
        self._emitted_usage = facts.usage
        self._events.append(
            Start(
                id=facts.response_id,
                model=facts.served_model,
                created=int(created) if isinstance(created, int | float) else None,
                usage=facts.usage,
            )
        )

    def _find_item(self, event: Object) -> "_ItemState":
        if not self._started:
            self._start({})
        index = event.get("output_index")
        index = index if isinstance(index, int) else 0
        item = self._items.get(index)
        if item is None:
            item = self._items[index] = _ItemState()
        return item

    def _find_placed_item(self, event: Object, item: Object) -> "_ItemState":
        """Return the state of an item that is added or done, and keep its place under its id."""
        id, index = item.get("id"), event.get("output_index")
        if isinstance(id, str) and isinstance(index, int):
            self._index_by_id[id] = index
        return self._find_item(event)

    def _on_text(self, event: Object) -> None:
        item, delta = self._find_item(event), event.get("delta")
        if isinstance(delta, str) and delta:
            item.has_content = True
            self._events.append(TextDelta(delta))
        if event.get("logprobs"):
            self._add_log_probs(event["logprobs"])

    def _add_log_probs(self, tokens: Json) -> None:
        if isinstance(tokens, list) and tokens:
            self._events.append(LogProbs(tokens))

    def _on_refusal(self, event: Object) -> None:
        item, delta = self._find_item(event), event.get("delta")
        if isinstance(delta, str) and delta:
            item.has_content = True
            self._events.append(Declined(delta))

    def _on_summary(self, event: Object) -> None:
        self._add_reasoning(event, "summary_index")

    def _on_reasoning(self, event: Object) -> None:
        self._add_reasoning(event, "content_index")

    def _add_reasoning(self, event: Object, index_member: str) -> None:
        """Emit reasoning; of a summary and the reasoning itself, only the one that came first."""
        item, delta, part = self._find_item(event), event.get("delta"), event.get(index_member)
        if isinstance(delta, str) and delta and item.reasoning_member in ("", index_member):
            item.reasoning_member, item.has_content = index_member, True
            self._events.append(ReasoningDelta(delta, part=part if isinstance(part, int) else 0))

    def _on_item_added(self, event: Object) -> None:
        added = read_object(event.get("item"))
        item = self._find_placed_item(event, added)
        if _read_type(added) in _CALL_ARGUMENTS and item.tool_index is None:
            self._start_call(item, added)

    def _start_call(self, item: "_ItemState", call: Object) -> int:
        item.tool_index = self._tool_count
        self._tool_count += 1
        call_id, name = call.get("call_id") or call.get("id"), call.get("name")
        self._events.append(
            ToolStart(
                index=item.tool_index,
                id=call_id if isinstance(call_id, str) else "",
                name=name if isinstance(name, str) else "",
                custom=call.get("type") == "custom_tool_call",
            )
        )
        return item.tool_index

    def _on_arguments(self, event: Object) -> None:
        item, delta = self._find_item(event), event.get("delta")
        if item.tool_index is not None and isinstance(delta, str) and delta:
            item.has_content = True
            self._events.append(ToolDelta(item.tool_index, delta))

    def _on_citation(self, event: Object) -> None:
        item = self._find_item(event)
        item.citation_count += 1
        self._events.append(read_citation(event.get("annotation")))

    def _on_item_done(self, event: Object) -> None:
        done = read_object(event.get("item"))
        self._facts.add_item(done, event.get("output_index"))
        self._end_item(self._find_placed_item(event, done), done)
        self._emit_usage()

    def _end_item(self, item: "_ItemState", done: Object) -> None:
        """Emit what the stream has not told of an item that is done."""
        if item.is_done:
            return
        item.is_done = True
        kind = _read_type(done)
        if kind == "message":
            self._end_message(item, done)
        elif kind == "reasoning":
            self._end_reasoning(item, done)
        elif kind in _CALL_ARGUMENTS:
            index = self._start_call(item, done) if item.tool_index is None else item.tool_index
            text = done.get(_CALL_ARGUMENTS[kind])
            if not item.has_content and isinstance(text, str) and text:
                self._events.append(ToolDelta(index, text))
            self._events.append(ToolEnd(index))
        else:
            self._events.append(
                _read_image(done) or Opaque(f"{_PREFIX}.{kind or 'unknown'}", source=done)
            )

    def _end_message(self, item: "_ItemState", done: Object) -> None:
        has_content, citation_count = item.has_content, 0
        for part in list_objects(done.get("content")):
            kind, text, refusal = _read_type(part), part.get("text"), part.get("refusal")
            if kind and kind not in _TEXT_PARTS:
                self._events.append(Opaque(f"{_PREFIX}.message.{kind}"))
            if not has_content and isinstance(text, str) and text:
                self._events.append(TextDelta(text))
                self._add_log_probs(part.get("logprobs"))
            if not has_content and isinstance(refusal, str) and refusal:
                self._events.append(Declined(refusal))
            for annotation in list_objects(part.get("annotations")):
                citation_count += 1
                if citation_count > item.citation_count:
                    self._events.append(read_citation(annotation))

    def _end_reasoning(self, item: "_ItemState", done: Object) -> None:
        has_content = item.has_content
        parts = list_objects(done.get("summary")) or list_objects(done.get("content"))
        for index, part in enumerate(parts if not has_content else ()):
            text = part.get("text")
            if isinstance(text, str) and text:
                item.has_content = True
                self._events.append(ReasoningDelta(text, part=index))
        state, id = done.get("encrypted_content"), done.get("id")
        state = state if isinstance(state, str) and state else None
        if item.has_content or state is not None:
            id = id if isinstance(id, str) else None
            self._events.append(ReasoningEnd(state=state, redacted=not item.has_content, id=id))

    def _on_finish(self, event: Object) -> None:
        response = read_object(event.get("response"))
        self._facts.read_head(response)
        self._start(response)
        index_by_id = dict(self._index_by_id)
        for index, item in enumerate(list_objects(response.get("output"))):
            # Its place may be another than while it was streamed, where hosts leave items out.
            id = item.get("id")
            streamed_index = index_by_id.get(id, index) if isinstance(id, str) else index
            place: Object = {"output_index": streamed_index}
            self._end_item(self._find_placed_item(place, item), item)
        self._facts.read_usage(response)
        self._emit_usage()
        finish_word = read_finish(response)
        reason: FinishReason = "tools" if self._tool_count else "stop"
        if response.get("status") == "incomplete" or event.get("type") == "response.incomplete":
            reason = _REASONS.get(finish_word or "", "length")
        elif not is_complete(response) and event.get("type") not in COMPLETE_EVENTS:
            reason = "cut"
        self._events += [Finish(reason, word=finish_word), End()]
        self._is_over = True

    _EVENT_READERS: ClassVar[Mapping[str, Callable[["Decoder", Object], None]]] = {
        "response.created": _on_start,
        "response.queued": _on_start,
        "response.in_progress": _on_start,
        "response.output_item.added": _on_item_added,
        "response.output_text.delta": _on_text,
        "response.refusal.delta": _on_refusal,
        "response.reasoning_summary_text.delta": _on_summary,
        "response.reasoning_text.delta": _on_reasoning,
        "response.function_call_arguments.delta": _on_arguments,
        "response.custom_tool_call_input.delta": _on_arguments,
        "response.output_text.annotation.added": _on_citation,
        "response.output_item.done": _on_item_done,
        **dict.fromkeys(COMPLETE_EVENTS, _on_finish),
    }


class _ItemState:
    """The state of one output item: what the decoder has emitted of it."""

    __slots__ = ("citation_count", "has_content", "is_done", "reasoning_member", "tool_index")

    def __init__(self) -> None:
        self.has_content = self.is_done = False
        self.citation_count = 0
        self.tool_index: int | None = None
        self.reasoning_member = ""


def read_citation(annotation: Json) -> Citation:
    """Read an annotation as an event; annotations of files have no URL."""
    members = read_object(annotation)
    url, title = members.get("url"), members.get("title")
    start, end = members.get("start_index"), members.get("end_index")
    return Citation(
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        source=annotation,
        name=f"{_PREFIX}.message.annotations",
    )


def _read_image(item: Object) -> GeneratedMedia | None:
    """Read an item as the picture that the model made; None if it has none."""
    data, form = item.get("result"), item.get("output_format")
    if item.get("type") != _IMAGE_CALL or not isinstance(data, str) or not data:
        return None
    media_type = f"image/{form}" if isinstance(form, str) and form else None
    return GeneratedMedia("image", data, f"{_PREFIX}.{_IMAGE_CALL}", media_type=media_type)


def _read_type(item: Object) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""
