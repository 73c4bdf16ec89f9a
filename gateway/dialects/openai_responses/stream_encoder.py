"""Encoder of an answer for the client: events become a stream of Responses frames.

    created, in_progress -> items, each added and done -> completed or incomplete

One message or one reasoning item is open at a time. Several tool calls may be open at once, as
`output_index` tells them apart. The terminal event holds the whole answer.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from gateway.core import json_size, jsonio
from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import (
    AnswerMetadata,
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
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.base import ResponseContext
from gateway.dialects.openai_responses import usage
from gateway.dialects.openai_responses.content import Object, read_object
from gateway.dialects.openai_responses.reasoning_state import SlotContent, write_slot
from gateway.dialects.openai_responses.tools import write_tool_name

_INCOMPLETE: Mapping[FinishReason, Json] = {
    "length": {"reason": "max_output_tokens"},
    "filter": {"reason": "content_filter"},
    "cut": None,
}
"""The details of an answer that is not complete."""
_TEXT_MEMBERS = {"output_text": "text", "refusal": "refusal"}
_ANNOTATION_TYPES = frozenset(
    {"url_citation", "file_citation", "container_file_citation", "file_path"}
)
"""Annotations of this dialect; Chat Completions nests the members of the first in an object."""
_IMAGE_CALL = "image_generation_call"
_ID_PREFIX = "resp_"
_DEFAULT_MEMBERS: Object = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Values that the API shows for members left out; the gateway does not know a model's defaults."""
_NUMBER_MEMBER = b',"sequence_number":'
_MAX_REPEATED_LOG_PROBS = json_size.MAX_VALUES // 10
"""Log probabilities that the last events repeat; each has some ten values and names."""


type _DeltaHead = tuple[bytes, bytes]
"""The name of a delta event, and its JSON up to the text."""


def write_event(name: bytes, payload: bytes) -> bytes:
    """Write the frame of one event: its name, and its JSON."""
    return b"event: %b\ndata: %b\n\n" % (name, payload)


class FrameWriter:
    """Writes the frames of one stream, and numbers them."""

    __slots__ = ("_next_number",)

    def __init__(self) -> None:
        self._next_number = 0

    def write_frame(self, event_type: str, **members: Json) -> bytes:
        """Write one event under its name, with the next number."""
        value = {"type": event_type, "sequence_number": self._next_number, **members}
        self._next_number += 1
        return write_event(event_type.encode(), jsonio.dumps(value))

    def write_delta(self, head: _DeltaHead, text: str, tail: bytes) -> bytes:
        """Write one delta event: `head`, then its text, then `tail` and the next number."""
        number = self._next_number
        self._next_number = number + 1
        name, start = head
        return write_event(name, b"%b%b%b%d}" % (start, jsonio.dumps(text), tail, number))


def _make_delta_head(event_type: str, **members: Json) -> _DeltaHead:
    """Make the head of delta events; see FrameWriter.write_delta."""
    event = jsonio.dumps({"type": event_type, **members})
    return event_type.encode(), event[:-1] + b',"delta":'


class MessageWriter:
    """Writes one message; `index` is its place in the output. One part is open at a time."""

    __slots__ = (
        "_annotations",
        "_deltas",
        "_frames",
        "_head",
        "_id",
        "_log_probs",
        "_part_type",
        "_parts",
        "index",
    )

    def __init__(self, frames: FrameWriter, id: str, index: int) -> None:
        self.index = index
        self._id = id
        self._frames = frames
        self._parts: list[Object] = []
        self._part_type = ""
        self._deltas: list[str] = []
        self._annotations: list[Json] = []
        self._log_probs: list[Json] = []
        self._head: _DeltaHead = (b"", b"")

    def start(self) -> bytes:
        """Write that the item is added."""
        return self._frames.write_frame(
            "response.output_item.added",
            output_index=self.index,
            item=self._make_item("in_progress"),
        )

    def add_text(self, text: str) -> bytes:
        """Write a delta of text."""
        started = b"" if self._part_type == "output_text" else self._start_part("output_text")
        self._deltas.append(text)
        return started + self._frames.write_delta(
            self._head, text, b',"logprobs":[]' + _NUMBER_MEMBER
        )

    def add_refusal(self, text: str) -> bytes:
        """Write a delta of text in which the model refuses."""
        started = b"" if self._part_type == "refusal" else self._start_part("refusal")
        self._deltas.append(text)
        return started + self._frames.write_delta(self._head, text, _NUMBER_MEMBER)

    def add_log_probs(self, tokens: list[Json], *, are_repeated: bool) -> bytes:
        """Write the log probabilities of the last text, in a delta without text.

        `are_repeated`: the events at the end have those of the whole part, as the API has them.
        """
        started = b"" if self._part_type == "output_text" else self._start_part("output_text")
        if are_repeated:
            self._log_probs += tokens
        else:
            self._log_probs = []
        return started + self._frames.write_frame(
            "response.output_text.delta", **self._make_place(), delta="", logprobs=tokens
        )

    def add_citation(self, event: Citation) -> bytes:
        """Write a source, which has a URL or is an annotation of this dialect."""
        annotation = event.source
        if not _is_native_annotation(annotation):
            annotation = {
                "type": "url_citation",
                "url": event.url,
                "title": event.title or "",
                "start_index": event.start or 0,
                "end_index": sum(map(len, self._deltas)) if event.end is None else event.end,
            }
        started = b"" if self._part_type == "output_text" else self._start_part("output_text")
        self._annotations.append(annotation)
        return started + self._frames.write_frame(
            "response.output_text.annotation.added",
            **self._make_place(),
            annotation_index=len(self._annotations) - 1,
            annotation=annotation,
        )

    def end(self, status: str) -> tuple[bytes, Object]:
        """Write that the item is done; return the frames and the item."""
        ended = self._end_part()
        item = self._make_item(status)
        done = self._frames.write_frame(
            "response.output_item.done", output_index=self.index, item=item
        )
        return ended + done, item

    def _make_item(self, status: str) -> Object:
        item: Object = {"id": self._id, "type": "message", "status": status}
        return {**item, "role": "assistant", "content": self._parts}

    def _make_place(self) -> Object:
        return {
            "item_id": self._id,
            "output_index": self.index,
            "content_index": len(self._parts),
        }

    def _start_part(self, part_type: str) -> bytes:
        """Start a part, and end the one before it."""
        ended = self._end_part()
        self._part_type = part_type
        self._head = _make_delta_head(f"response.{part_type}.delta", **self._make_place())
        return ended + self._frames.write_frame(
            "response.content_part.added", **self._make_place(), part=self._make_part()
        )

    def _make_part(self) -> Object:
        part: Object = {
            "type": self._part_type,
            _TEXT_MEMBERS[self._part_type]: "".join(self._deltas),
        }
        if self._part_type == "output_text":
            part |= {"annotations": [*self._annotations], "logprobs": [*self._log_probs]}
        return part

    def _end_part(self) -> bytes:
        if not self._part_type:
            return b""
        part, text_member = self._make_part(), _TEXT_MEMBERS[self._part_type]
        place = self._make_place()
        log_probs = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
        written = self._frames.write_frame(
            f"response.{self._part_type}.done",
            **place,
            **{text_member: part[text_member]},
            **log_probs,
        )
        written += self._frames.write_frame("response.content_part.done", **place, part=part)
        self._parts.append(part)
        self._part_type = ""
        self._deltas, self._annotations, self._log_probs = [], [], []
        return written


def _is_native_annotation(annotation: Json) -> bool:
    """True if an annotation is one of this dialect."""
    kind = annotation.get("type") if isinstance(annotation, dict) else None
    return (
        isinstance(kind, str)
        and kind in _ANNOTATION_TYPES
        and (kind != "url_citation" or "url" in annotation)
    )


class ReasoningWriter:
    """Writes one reasoning item; `index` is its place in the output. One part is open at a time."""

    __slots__ = ("_deltas", "_frames", "_head", "_id", "_part_index", "_summary", "index")

    def __init__(self, frames: FrameWriter, id: str, index: int) -> None:
        self.index = index
        self._id = id
        self._frames = frames
        self._summary: list[Object] = []
        self._deltas: list[str] = []
        self._part_index: int | None = None
        self._head: _DeltaHead = (b"", b"")

    def start(self) -> bytes:
        """Write that the item is added."""
        item = {"id": self._id, "type": "reasoning", "summary": []}
        return self._frames.write_frame(
            "response.output_item.added", output_index=self.index, item=item
        )

    def add_text(self, text: str, part: int) -> bytes:
        """Write a delta of one part of the summary."""
        started = b"" if part == self._part_index else self._start_part(part)
        self._deltas.append(text)
        return started + self._frames.write_delta(self._head, text, _NUMBER_MEMBER)

    def end(self, state: str | None) -> tuple[bytes, Object]:
        """Write that the item is done; return the frames and the item."""
        ended = self._end_part()
        item: Object = {"id": self._id, "type": "reasoning", "summary": self._summary}
        if state is not None:
            item["encrypted_content"] = state
        done = self._frames.write_frame(
            "response.output_item.done", output_index=self.index, item=item
        )
        return ended + done, item

    def _make_place(self) -> Object:
        return {
            "item_id": self._id,
            "output_index": self.index,
            "summary_index": len(self._summary),
        }

    def _start_part(self, part: int) -> bytes:
        ended = self._end_part()
        self._part_index = part
        self._head = _make_delta_head("response.reasoning_summary_text.delta", **self._make_place())
        return ended + self._frames.write_frame(
            "response.reasoning_summary_part.added",
            **self._make_place(),
            part={"type": "summary_text", "text": ""},
        )

    def _end_part(self) -> bytes:
        if self._part_index is None:
            return b""
        place, text = self._make_place(), "".join(self._deltas)
        part = {"type": "summary_text", "text": text}
        written = self._frames.write_frame(
            "response.reasoning_summary_text.done", **place, text=text
        )
        written += self._frames.write_frame(
            "response.reasoning_summary_part.done", **place, part=part
        )
        self._summary.append(part)
        self._part_index = None
        self._deltas = []
        return written


class ToolCallWriter:
    """Writes one call of a function or custom tool; `index` is its place, `id` that of the call."""

    __slots__ = (
        "_deltas",
        "_event_prefix",
        "_frames",
        "_head",
        "_holds_text",
        "_item",
        "_text_member",
        "id",
        "index",
    )

    def __init__(
        self,
        frames: FrameWriter,
        id: str,
        index: int,
        event: ToolStart,
        *,
        custom: bool,
        name_members: Object,
    ) -> None:
        """`custom`: the client's tool is a custom tool, even if the provider called a function.

        `name_members` holds the members that name it to the client.
        """
        self.index = index
        self.id = event.id
        self._frames = frames
        self._holds_text = custom and not event.custom
        self._text_member = "input" if custom else "arguments"
        self._event_prefix = "custom_tool_call_input" if custom else "function_call_arguments"
        self._deltas: list[str] = []
        kind = "custom_tool_call" if custom else "function_call"
        self._item: Object = {"id": id, "type": kind, "status": "in_progress"}
        self._item |= {"call_id": event.id, **name_members}
        self._head = _make_delta_head(
            f"response.{self._event_prefix}.delta", item_id=id, output_index=index
        )

    def start(self) -> bytes:
        """Write that the item is added."""
        item = {**self._item, self._text_member: ""}
        return self._frames.write_frame(
            "response.output_item.added", output_index=self.index, item=item
        )

    def add_arguments(self, text: str) -> bytes:
        """Write a delta of arguments; held back if a function stands for a custom tool."""
        self._deltas.append(text)
        return (
            b"" if self._holds_text else self._frames.write_delta(self._head, text, _NUMBER_MEMBER)
        )

    def end(self, status: str) -> tuple[bytes, Object]:
        """Write that the item is done; a function without arguments gets an empty object."""
        text, written = "".join(self._deltas), b""
        if self._holds_text:
            text = _read_single_text(text)
            written = self._frames.write_delta(self._head, text, _NUMBER_MEMBER)
        elif not text and self._text_member == "arguments":
            text = "{}"
            written = self._frames.write_delta(self._head, text, _NUMBER_MEMBER)
        place = {"item_id": self._item["id"], "output_index": self.index}
        written += self._frames.write_frame(
            f"response.{self._event_prefix}.done", **place, **{self._text_member: text}
        )
        item = {**self._item, "status": status, self._text_member: text}
        written += self._frames.write_frame(
            "response.output_item.done", output_index=self.index, item=item
        )
        return written, item


def _read_single_text(arguments: str) -> str:
    """Read the one text argument of a function that stands for a custom tool."""
    try:
        value = jsonio.loads_text(arguments)
    except jsonio.JsonError:
        return arguments
    texts = [*value.values()] if isinstance(value, dict) else []
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else arguments


def _count_log_probs(token: Json) -> int:
    """Return the number of log probabilities of a token: its own, and those of the next best."""
    others = token.get("top_logprobs") if isinstance(token, dict) else None
    return 1 + (len(others) if isinstance(others, list) else 0)


class Encoder:
    """The state of one stream for a client; see gateway.dialects.base."""

    __slots__ = (
        "_calls",
        "_context",
        "_finish",
        "_frames",
        "_log_prob_count",
        "_message",
        "_output",
        "_reasoning",
        "_usage",
        "response",
    )

    def __init__(self, context: ResponseContext) -> None:
        self._context = context
        self._frames = FrameWriter()
        self._output: list[Object] = []
        self._message: MessageWriter | None = None
        self._log_prob_count = 0
        self._reasoning: ReasoningWriter | None = None
        self._calls: dict[int, ToolCallWriter] = {}
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self.response: Object = {}
        """The answer as far as it is known."""

    def write(self, event: Event) -> bytes:
        """Write the frames of an event; this dialect has one choice, so others give no frames."""
        write_event = self._EVENT_WRITERS.get(type(event))
        if write_event is None or getattr(event, "choice", 0) != 0:
            return b""
        if self.response or isinstance(event, Opaque | AnswerMetadata):
            return write_event(self, event)
        started = b"" if isinstance(event, Start) else self._on_start(Start())
        return started + write_event(self, event)

    def _on_start(self, event: Start) -> bytes:
        if self.response:
            return b""
        self._usage = event.usage
        self.response = _begin_response(self._context, event.id, event.model, event.created)
        created = self._frames.write_frame("response.created", response=self.response)
        return created + self._frames.write_frame("response.in_progress", response=self.response)

    def _add_item(self, prefix: str) -> tuple[str, int]:
        """Reserve the next place in the output; return the id and the place of its item."""
        index = len(self._output)
        self._output.append({})
        return _make_item_id(self.response["id"], prefix, index), index

    def _open_message(self) -> tuple[MessageWriter, bytes]:
        """Return the open message, and the frames that open it."""
        if self._message is not None:
            return self._message, b""
        written = self._end_open_item()
        self._message = MessageWriter(self._frames, *self._add_item("msg"))
        return self._message, written + self._message.start()

    def _open_reasoning(self) -> tuple[ReasoningWriter, bytes]:
        """Return the open reasoning item, and the frames that open it."""
        if self._reasoning is not None:
            return self._reasoning, b""
        written = self._end_open_item()
        self._reasoning = ReasoningWriter(self._frames, *self._add_item("rs"))
        return self._reasoning, written + self._reasoning.start()

    def _end_open_item(self, status: str = "completed", state: str | None = None) -> bytes:
        """End the open message or reasoning item."""
        written = b""
        if self._message is not None:
            written, item = self._message.end(status)
            self._output[self._message.index] = item
        if self._reasoning is not None:
            written, item = self._reasoning.end(state)
            self._output[self._reasoning.index] = item
        self._message = self._reasoning = None
        return written

    def _on_text(self, event: TextDelta) -> bytes:
        message, started = self._open_message()
        return started + message.add_text(event.text)

    def _on_log_probs(self, event: LogProbs) -> bytes:
        if event.declined:
            return b""  # a refusal has none here, and clients ask for them by another name
        message, started = self._open_message()
        self._log_prob_count += sum(map(_count_log_probs, event.tokens))
        are_repeated = self._log_prob_count <= _MAX_REPEATED_LOG_PROBS
        return started + message.add_log_probs(event.tokens, are_repeated=are_repeated)

    def _on_refusal(self, event: Declined) -> bytes:
        message, started = self._open_message()
        return started + message.add_refusal(event.text)

    def _on_citation(self, event: Citation) -> bytes:
        if event.url is None and not _is_native_annotation(event.source):
            return self._drop(event)
        message, started = self._open_message()
        return started + message.add_citation(event)

    def _drop(self, event: Citation | GeneratedMedia | Opaque | AnswerMetadata) -> bytes:
        return self._context.drop(event)

    def _on_media(self, event: GeneratedMedia) -> bytes:
        """Write a picture as the item of a hosted tool. Of speech only its words have a place."""
        if event.kind == "image" and event.data:
            return self._write_image(event)
        self._drop(event)
        return self._on_text(TextDelta(event.transcript)) if event.transcript else b""

    def _write_image(self, event: GeneratedMedia) -> bytes:
        written = self._end_open_item()
        id, index = self._add_item("ig")
        item: Object = {"id": id, "type": _IMAGE_CALL, "status": "completed", "result": event.data}
        if event.media_type is not None:
            item["output_format"] = event.media_type.partition("/")[2]
        self._output[index] = item
        started = {**item, "status": "in_progress", "result": None}
        write_frame = self._frames.write_frame
        return b"".join(
            [
                written,
                write_frame("response.output_item.added", output_index=index, item=started),
                write_frame(f"response.{_IMAGE_CALL}.completed", item_id=id, output_index=index),
                write_frame("response.output_item.done", output_index=index, item=item),
            ]
        )

    def _on_reasoning(self, event: ReasoningDelta) -> bytes:
        reasoning, started = self._open_reasoning()
        return started + reasoning.add_text(event.text, event.part)

    def _on_reasoning_end(self, event: ReasoningEnd) -> bytes:
        state = self._label_state(SlotContent(event.state or "", redacted=event.redacted))
        if self._reasoning is None and (state is None or not event.state):
            return b""
        _, started = self._open_reasoning()
        return started + self._end_open_item(state=state)

    def _label_state(self, content: SlotContent) -> str | None:
        """Label a maker's state for the client's slot; None if the gateway does not label.

        Reasoning without a state gets the label alone: a native provider would look for its id.
        """
        label = self._context.state_label
        return reasoning_state.write_label(label, write_slot(content)) if label else None

    def _on_tool_start(self, event: ToolStart) -> bytes:
        written = self._end_open_item()
        is_custom_name = event.name in self._context.custom_tool_names
        custom = event.custom or is_custom_name
        item_place = self._add_item("ctc" if custom else "fc")
        request = self._context.request
        name_members = write_tool_name(event.name, request.tools if request is not None else ())
        call = ToolCallWriter(
            self._frames, *item_place, event, custom=custom, name_members=name_members
        )
        self._calls[event.index] = call
        return written + call.start()

    def _on_tool_delta(self, event: ToolDelta) -> bytes:
        call = self._calls.get(event.index)
        return call.add_arguments(event.text) if call is not None else b""

    def _on_tool_end(self, event: ToolEnd) -> bytes:
        call = self._calls.pop(event.index, None)
        if call is None:
            return b""
        written, self._output[call.index] = call.end("completed")
        state = self._label_state(SlotContent(event.state, call=call.id)) if event.state else None
        if state is None:
            return written
        _, started = self._open_reasoning()
        return written + started + self._end_open_item(state=state)

    def _on_usage(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _on_finish(self, event: Finish) -> bytes:
        self._finish = event
        status = "incomplete" if event.reason in _INCOMPLETE else "completed"
        frames = [self._end_open_item(status)]
        for call in self._calls.values():
            frame, self._output[call.index] = call.end(status)
            frames.append(frame)
        self._calls.clear()
        return b"".join(frames)

    def _on_end(self, event: End) -> bytes:  # noqa: ARG002 - of one form with the others
        """Write the terminal event. A broken answer is failed, whatever content it has."""
        finish = self._finish or Finish("stop")
        written = self._on_finish(finish)
        details: Json = None
        status, error = "completed", None
        if finish.reason == "error":
            status = "failed"
            error = {"code": "server_error", "message": "The model broke off its answer."}
        elif finish.reason in _INCOMPLETE:
            status, details = "incomplete", _INCOMPLETE[finish.reason]
        self.response |= {
            "status": status,
            "completed_at": self._context.created_at if status == "completed" else None,
            "error": error,
            "incomplete_details": details,
            "output": self._output,
            "usage": usage.write(self._usage),
            **usage.write_other_members(self._usage),
        }
        return written + self._frames.write_frame(f"response.{status}", response=self.response)

    _EVENT_WRITERS: ClassVar[Mapping[type, Callable[["Encoder", Json], bytes]]] = {
        Start: _on_start,
        TextDelta: _on_text,
        LogProbs: _on_log_probs,
        Declined: _on_refusal,
        Citation: _on_citation,
        GeneratedMedia: _on_media,
        Opaque: _drop,
        AnswerMetadata: _drop,
        ReasoningDelta: _on_reasoning,
        ReasoningEnd: _on_reasoning_end,
        ToolStart: _on_tool_start,
        ToolDelta: _on_tool_delta,
        ToolEnd: _on_tool_end,
        UsageUpdate: _on_usage,
        Finish: _on_finish,
        End: _on_end,
    }


def _begin_response(
    context: ResponseContext, id: str | None, model: str | None, created: int | None
) -> Object:
    """Return the response object as the answer starts: the client's settings, and no output."""
    source = context.request.source if isinstance(context.request, CanonicalRequest) else None
    value: Object = source if isinstance(source, dict) else {}
    return {
        "id": _make_response_id(id or context.id),
        "object": "response",
        "created_at": context.created_at if created is None else created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model or context.model,
        "output": [],
        "reasoning": {"effort": None, "summary": None, **read_object(value.get("reasoning"))},
        "service_tier": "default",
        "store": False,
        "text": {"format": {"type": "text"}, **read_object(value.get("text"))},
        "usage": None,
        **{
            member: default if value.get(member) is None else value[member]
            for member, default in _DEFAULT_MEMBERS.items()
        },
    }


def _make_response_id(id: str) -> str:
    """Return an id with the prefix of this API, as clients may tell ids apart by it."""
    return id if id.startswith(_ID_PREFIX) else _ID_PREFIX + tool_ids.make_plain_id(id, "")


def _make_item_id(response_id: str, prefix: str, index: int) -> str:
    """Make the id of an item from the id of its response and its place there."""
    return f"{prefix}_{response_id.removeprefix(_ID_PREFIX)}_{index}"


def read_response_id(item_id: str) -> str | None:
    """Return the id of the response that an item is of; None if `_make_item_id` did not make it."""
    suffix, _, index = item_id.partition("_")[2].rpartition("_")
    return _ID_PREFIX + suffix if suffix and index.isdecimal() else None
