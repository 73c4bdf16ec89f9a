"""Events as a Responses answer: a stream, and whole.

    created, in_progress -> items, each added and done -> completed or incomplete

One message or one thought is open at a time; calls of tools may be open beside one another, as the
dialect tells them apart by `output_index`. A whole answer is what the terminal event holds.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import (
    Citation,
    Declined,
    End,
    Event,
    Finish,
    FinishReason,
    LogProbs,
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

_INCOMPLETE: Mapping[FinishReason, str] = {
    "length": "max_output_tokens",
    "filter": "content_filter",
    "cut": "max_output_tokens",
}
_TEXT_MEMBERS = {"output_text": "text", "refusal": "refusal"}
_ANNOTATION_TYPES = frozenset(
    {"url_citation", "file_citation", "container_file_citation", "file_path"}
)
"""Annotations of this dialect; Chat Completions has the first with its members in an object."""
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
"""What the API says of members that were left out; what depends on the model is unknown here."""
_NUMBER = b',"sequence_number":'


class FrameWriter:
    """Writes one stream's frames."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def frame(self, kind: str, **members: Json) -> bytes:
        """One event under its name, with the next number."""
        value = {"type": kind, "sequence_number": self._next, **members}
        self._next += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), jsonio.dumps(value))

    def piece(self, head: bytes, text: str, rest: bytes) -> bytes:
        """One event of the many: what stands before its text, its text, what stands after it."""
        number = self._next
        self._next = number + 1
        return b"%b%b%b%d}\n\n" % (head, jsonio.dumps(text), rest, number)


def _write_head(kind: str, **members: Json) -> bytes:
    """What stands before the text of events of a kind; see FrameWriter.piece."""
    said = jsonio.dumps({"type": kind, **members})
    return b"event: %b\ndata: %b" % (kind.encode(), said[:-1]) + b',"delta":'


class MessageWriter:
    """One item of the output; `at` is its place."""

    __slots__ = ("_heads", "_id", "_kind", "_notes", "_parts", "_pieces", "_said", "_tokens", "at")

    def __init__(self, said: FrameWriter, id: str, at: int) -> None:
        self.at = at
        self._id = id
        self._said = said
        self._parts: list[Object] = []
        self._kind = ""
        self._pieces: list[str] = []
        self._notes: list[Json] = []
        self._tokens: list[Json] = []
        self._heads = b""

    def begin(self) -> bytes:
        """The item is added."""
        return self._said.frame(
            "response.output_item.added", output_index=self.at, item=self._item("in_progress")
        )

    def text(self, text: str) -> bytes:
        """A piece of text."""
        begun = b"" if self._kind == "output_text" else self._part("output_text")
        self._pieces.append(text)
        return begun + self._said.piece(self._heads, text, b',"logprobs":[]' + _NUMBER)

    def refusal(self, text: str) -> bytes:
        """A piece of words in which the model declines."""
        begun = b"" if self._kind == "refusal" else self._part("refusal")
        self._pieces.append(text)
        return begun + self._said.piece(self._heads, text, _NUMBER)

    def likely(self, tokens: list[Json]) -> bytes:
        """Log probabilities of the text just written: the next delta, whose text is empty."""
        begun = b"" if self._kind == "output_text" else self._part("output_text")
        self._tokens += tokens
        return begun + self._said.frame(
            "response.output_text.delta", **self._where(), delta="", logprobs=tokens
        )

    def cite(self, event: Citation) -> bytes:
        """A source; one without an address cannot be said but as this dialect's own."""
        note = event.source
        if not _is_native_annotation(note):
            if event.url is None:
                return b""
            note = {
                "type": "url_citation",
                "url": event.url,
                "title": event.title or "",
                "start_index": event.start or 0,
                "end_index": sum(map(len, self._pieces)) if event.end is None else event.end,
            }
        begun = b"" if self._kind == "output_text" else self._part("output_text")
        self._notes.append(note)
        return begun + self._said.frame(
            "response.output_text.annotation.added",
            **self._where(),
            annotation_index=len(self._notes) - 1,
            annotation=note,
        )

    def end(self, status: str) -> tuple[bytes, Object]:
        """The item is done, and what it is."""
        out = self._close()
        item = self._item(status)
        done = self._said.frame("response.output_item.done", output_index=self.at, item=item)
        return out + done, item

    def _item(self, status: str) -> Object:
        said: Object = {"id": self._id, "type": "message", "status": status}
        return {**said, "role": "assistant", "content": self._parts}

    def _where(self) -> Object:
        return {
            "item_id": self._id,
            "output_index": self.at,
            "content_index": len(self._parts),
        }

    def _part(self, kind: str) -> bytes:
        """Begin a part, and end the one before it."""
        ended = self._close()
        self._kind = kind
        self._heads = _write_head(f"response.{kind}.delta", **self._where())
        return ended + self._said.frame(
            "response.content_part.added", **self._where(), part=self._value()
        )

    def _value(self) -> Object:
        said: Object = {"type": self._kind, _TEXT_MEMBERS[self._kind]: "".join(self._pieces)}
        if self._kind == "output_text":
            said |= {"annotations": [*self._notes], "logprobs": [*self._tokens]}
        return said

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        part, name = self._value(), _TEXT_MEMBERS[self._kind]
        where = self._where()
        more = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
        out = self._said.frame(f"response.{self._kind}.done", **where, **{name: part[name]}, **more)
        out += self._said.frame("response.content_part.done", **where, part=part)
        self._parts.append(part)
        self._kind = ""
        self._pieces, self._notes, self._tokens = [], [], []
        return out


def _is_native_annotation(note: Json) -> bool:
    """Whether an annotation is one of this dialect."""
    kind = note.get("type") if isinstance(note, dict) else None
    return (
        isinstance(kind, str)
        and kind in _ANNOTATION_TYPES
        and (kind != "url_citation" or "url" in note)
    )


class ReasoningWriter:
    """One item of the output; `at` is its place."""

    __slots__ = ("_head", "_id", "_part", "_pieces", "_said", "_summary", "at")

    def __init__(self, said: FrameWriter, id: str, at: int) -> None:
        self.at = at
        self._id = id
        self._said = said
        self._summary: list[Object] = []
        self._pieces: list[str] = []
        self._part: int | None = None
        self._head = b""

    def begin(self) -> bytes:
        """The item is added."""
        item = {"id": self._id, "type": "reasoning", "summary": []}
        return self._said.frame("response.output_item.added", output_index=self.at, item=item)

    def text(self, text: str, part: int) -> bytes:
        """A piece of a part."""
        begun = b"" if part == self._part else self._begin(part)
        self._pieces.append(text)
        return begun + self._said.piece(self._head, text, _NUMBER)

    def end(self, state: str | None) -> tuple[bytes, Object]:
        """The item is done, and what it is."""
        out = self._close()
        item: Object = {"id": self._id, "type": "reasoning", "summary": self._summary}
        if state is not None:
            item["encrypted_content"] = state
        done = self._said.frame("response.output_item.done", output_index=self.at, item=item)
        return out + done, item

    def _where(self) -> Object:
        return {
            "item_id": self._id,
            "output_index": self.at,
            "summary_index": len(self._summary),
        }

    def _begin(self, part: int) -> bytes:
        ended = self._close()
        self._part = part
        self._head = _write_head("response.reasoning_summary_text.delta", **self._where())
        return ended + self._said.frame(
            "response.reasoning_summary_part.added",
            **self._where(),
            part={"type": "summary_text", "text": ""},
        )

    def _close(self) -> bytes:
        if self._part is None:
            return b""
        where, text = self._where(), "".join(self._pieces)
        part = {"type": "summary_text", "text": text}
        out = self._said.frame("response.reasoning_summary_text.done", **where, text=text)
        out += self._said.frame("response.reasoning_summary_part.done", **where, part=part)
        self._summary.append(part)
        self._part = None
        self._pieces = []
        return out


class ToolCallWriter:
    """One item of the output; `at` is its place, `id` that of the call."""

    __slots__ = ("_event", "_head", "_held", "_item", "_name", "_pieces", "_said", "at", "id")

    def __init__(
        self, said: FrameWriter, id: str, at: int, start: ToolStart, *, custom: bool, named: Object
    ) -> None:
        """`custom`: the client's tool is one, whatever the provider took it for.

        `named` holds the members that name it to the client.
        """
        self.at = at
        self.id = start.id
        self._said = said
        self._held = custom and not start.custom
        self._name = "input" if custom else "arguments"
        self._event = "custom_tool_call_input" if custom else "function_call_arguments"
        self._pieces: list[str] = []
        kind = "custom_tool_call" if custom else "function_call"
        self._item: Object = {"id": id, "type": kind, "status": "in_progress"}
        self._item |= {"call_id": start.id, **named}
        self._head = _write_head(f"response.{self._event}.delta", item_id=id, output_index=at)

    def begin(self) -> bytes:
        """The item is added."""
        item = {**self._item, self._name: ""}
        return self._said.frame("response.output_item.added", output_index=self.at, item=item)

    def piece(self, text: str) -> bytes:
        """A piece of what it is called with; of a function that stands for a custom tool, held."""
        self._pieces.append(text)
        return b"" if self._held else self._said.piece(self._head, text, _NUMBER)

    def end(self, status: str) -> tuple[bytes, Object]:
        """The item is done, and what it is. A function called with nothing has an empty object."""
        text, out = "".join(self._pieces), b""
        if self._held:
            text = _read_single_text(text)
            out = self._said.piece(self._head, text, _NUMBER)
        elif not text and self._name == "arguments":
            text = "{}"
            out = self._said.piece(self._head, text, _NUMBER)
        where = {"item_id": self._item["id"], "output_index": self.at}
        out += self._said.frame(f"response.{self._event}.done", **where, **{self._name: text})
        item = {**self._item, "status": status, self._name: text}
        out += self._said.frame("response.output_item.done", output_index=self.at, item=item)
        return out, item


def _read_single_text(arguments: str) -> str:
    """The one text that a function is called with which stands for a custom tool."""
    try:
        value = jsonio.loads(arguments.encode())
    except jsonio.JsonError:
        return arguments
    texts = [*value.values()] if isinstance(value, dict) else []
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else arguments


class Encoder:
    """The state of one stream for a client; see gateway.dialects.base."""

    __slots__ = (
        "_calls", "_finish", "_message", "_output", "_said", "_telling", "_thought", "_usage",
        "response",
    )  # fmt: skip

    def __init__(self, telling: ResponseContext) -> None:
        self._telling = telling
        self._said = FrameWriter()
        self._output: list[Object] = []
        self._message: MessageWriter | None = None
        self._thought: ReasoningWriter | None = None
        self._calls: dict[int, ToolCallWriter] = {}
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self.response: Object = {}
        """The answer as it is known by now."""

    def write(self, event: Event) -> bytes:
        """What an event becomes; an answer of this dialect is one, so other choices are none."""
        known = self._KINDS.get(type(event))
        if known is None or getattr(event, "choice", 0) != 0:
            return b""
        if self.response:
            return known(self, event)
        begun = b"" if isinstance(event, Start) else self._start(Start())
        return begun + known(self, event)

    def _start(self, event: Start) -> bytes:
        if self.response:
            return b""
        self._usage = event.usage
        self.response = _begin_response(self._telling, event.id, event.model, event.created)
        begun = self._said.frame("response.created", response=self.response)
        return begun + self._said.frame("response.in_progress", response=self.response)

    def _id(self, prefix: str) -> tuple[str, int]:
        """The id and the place of the next item."""
        at = len(self._output)
        self._output.append({})
        return _make_item_id(self.response["id"], prefix, at), at

    def _open(self) -> tuple[MessageWriter, bytes]:
        """The message that is open."""
        if self._message is not None:
            return self._message, b""
        ended = self._shut()
        self._message = MessageWriter(self._said, *self._id("msg"))
        return self._message, ended + self._message.begin()

    def _think(self) -> tuple[ReasoningWriter, bytes]:
        """The thought that is open."""
        if self._thought is not None:
            return self._thought, b""
        ended = self._shut()
        self._thought = ReasoningWriter(self._said, *self._id("rs"))
        return self._thought, ended + self._thought.begin()

    def _shut(self, status: str = "completed", state: str | None = None) -> bytes:
        """End the message or the thought that is open."""
        out = b""
        if self._message is not None:
            out, item = self._message.end(status)
            self._output[self._message.at] = item
        if self._thought is not None:
            out, item = self._thought.end(state)
            self._output[self._thought.at] = item
        self._message = self._thought = None
        return out

    def _words(self, event: TextDelta) -> bytes:
        message, begun = self._open()
        return begun + message.text(event.text)

    def _likely(self, event: LogProbs) -> bytes:
        if event.declined:
            return b""  # a refusal has none here, and they are asked for by another name
        message, begun = self._open()
        return begun + message.likely(event.tokens)

    def _declined(self, event: Declined) -> bytes:
        message, begun = self._open()
        return begun + message.refusal(event.text)

    def _cited(self, event: Citation) -> bytes:
        message, begun = self._open()
        return begun + message.cite(event)

    def _thinking(self, event: ReasoningDelta) -> bytes:
        thought, begun = self._think()
        return begun + thought.text(event.text, event.part)

    def _thought_end(self, event: ReasoningEnd) -> bytes:
        state = self._label(SlotContent(event.state or "", redacted=event.redacted))
        if self._thought is None and (state is None or not event.state):
            return b""
        _, begun = self._think()
        return begun + self._shut(state=state)

    def _label(self, kept: SlotContent) -> str | None:
        """A maker's state as it goes into a client's slot; None where it does not.

        Reasoning without a state has the label alone: a provider at home would look for its id.
        """
        label = self._telling.state_label
        return reasoning_state.write_label(label, write_slot(kept)) if label else None

    def _tool(self, event: ToolStart) -> bytes:
        ended = self._shut()
        known = event.name in self._telling.custom_tool_names
        custom = event.custom or known
        place = self._id("ctc" if custom else "fc")
        asked = self._telling.request
        named = write_tool_name(event.name, asked.tools if asked is not None else ())
        call = ToolCallWriter(self._said, *place, event, custom=custom, named=named)
        self._calls[event.index] = call
        return ended + call.begin()

    def _piece(self, event: ToolDelta) -> bytes:
        call = self._calls.get(event.index)
        return call.piece(event.text) if call is not None else b""

    def _tool_end(self, event: ToolEnd) -> bytes:
        call = self._calls.pop(event.index, None)
        if call is None:
            return b""
        out, self._output[call.at] = call.end("completed")
        state = self._label(SlotContent(event.state, call=call.id)) if event.state else None
        if state is None:
            return out
        _, begun = self._think()
        return out + begun + self._shut(state=state)

    def _told(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _finished(self, event: Finish) -> bytes:
        self._finish = event
        status = "incomplete" if event.reason in _INCOMPLETE else "completed"
        out = [self._shut(status)]
        for call in self._calls.values():
            said, self._output[call.at] = call.end(status)
            out.append(said)
        self._calls.clear()
        return b"".join(out)

    def _end(self, event: End) -> bytes:  # noqa: ARG002 - of one form with the others
        """The terminal event. An answer that broke is failed, whatever came of it."""
        finish = self._finish or Finish("stop")
        out = self._finished(finish)
        why: Json = None
        name, error = "completed", None
        if finish.reason == "error":
            name = "failed"
            error = {"code": "server_error", "message": "The model broke off its answer."}
        elif finish.reason in _INCOMPLETE:
            name, why = "incomplete", {"reason": _INCOMPLETE[finish.reason]}
        self.response |= {
            "status": name,
            "completed_at": self._telling.created_at if name == "completed" else None,
            "error": error,
            "incomplete_details": why,
            "output": self._output,
            "usage": usage.write(self._usage),
            **usage.write_other_members(self._usage),
        }
        return out + self._said.frame(f"response.{name}", response=self.response)

    _KINDS: ClassVar[Mapping[type, Callable[["Encoder", Json], bytes]]] = {
        Start: _start,
        TextDelta: _words,
        LogProbs: _likely,
        Declined: _declined,
        Citation: _cited,
        ReasoningDelta: _thinking,
        ReasoningEnd: _thought_end,
        ToolStart: _tool,
        ToolDelta: _piece,
        ToolEnd: _tool_end,
        UsageUpdate: _told,
        Finish: _finished,
        End: _end,
    }


def _begin_response(
    telling: ResponseContext, id: str | None, model: str | None, created: int | None
) -> Object:
    """The response as it begins."""
    asked = telling.request.source if isinstance(telling.request, CanonicalRequest) else None
    value: Object = asked if isinstance(asked, dict) else {}
    return {
        "id": _make_response_id(id or telling.id),
        "object": "response",
        "created_at": telling.created_at if created is None else created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model or telling.model,
        "output": [],
        "reasoning": {"effort": None, "summary": None, **read_object(value.get("reasoning"))},
        "service_tier": "default",
        "store": False,
        "text": {"format": {"type": "text"}, **read_object(value.get("text"))},
        "usage": None,
        **{
            name: default if value.get(name) is None else value[name]
            for name, default in _DEFAULT_MEMBERS.items()
        },
    }


def _make_response_id(id: str) -> str:
    """An id as those of this API are: clients may tell by it what it is of."""
    return id if id.startswith(_ID_PREFIX) else _ID_PREFIX + tool_ids.make_plain_id(id, "")


def _make_item_id(answer: str, prefix: str, at: int) -> str:
    """The id of an item of an answer: it tells whose it is, and its place there."""
    return f"{prefix}_{answer.removeprefix(_ID_PREFIX)}_{at}"


def read_response_id(item: str) -> str | None:
    """The id of the answer that an item is of; None where it was not made by `_make_item_id`."""
    answer, _, at = item.partition("_")[2].rpartition("_")
    return _ID_PREFIX + answer if answer and at.isdecimal() else None
