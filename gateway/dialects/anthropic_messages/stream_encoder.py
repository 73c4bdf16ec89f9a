"""Events as a stream for the client, as the official SDKs put it together.

One block is open at a time, and indexes ascend. While the input of a tool call is open, all other
content waits until it ends. So tool calls that another dialect interleaves follow one another.
"""

from collections import deque
from collections.abc import Callable

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.events import (
    AnswerMetadata,
    Citation,
    Declined,
    End,
    Event,
    Finish,
    FinishReason,
    GeneratedMedia,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects import tool_ids
from gateway.dialects.anthropic_messages import errors, reasoning_state, usage
from gateway.dialects.anthropic_messages.stream_decoder import FINISH_REASONS
from gateway.dialects.base import ResponseContext

type Object = dict[str, Json]

_STOP_REASONS: dict[FinishReason, str | None] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tools": "tool_use",
    "filter": "refusal",
    "pause": "pause_turn",
    "cut": None,
    "error": None,
}
"""The API has no word for an answer that broke or has no reason: it counts as not ended."""
_REFUSAL_DETAILS = {"type": "refusal", "category": None, "explanation": None}
_CHARS_PER_TOKEN = 4
"""Estimates output tokens if the provider sent no count: the types of the SDKs require one."""
_STARTLESS_EVENTS = frozenset({Start, Opaque, AnswerMetadata})
"""Events that need no start of the message before them."""
_CONTENT_EVENTS = frozenset(
    {
        TextDelta, Declined, Citation, GeneratedMedia, ReasoningDelta, ReasoningEnd, ToolStart,
        ToolDelta, ToolEnd,
    }
)  # fmt: skip


class Encoder:
    """The state of one stream; see gateway.dialects.base.Encoder."""

    __slots__ = (
        "_char_count",
        "_context",
        "_declined",
        "_delta_prefix",
        "_finish",
        "_has_thinking_text",
        "_index",
        "_input_is_empty",
        "_open_tool",
        "_open_type",
        "_reasoning_part",
        "_started",
        "_usage",
        "_waiting",
        "_waiting_input",
        "_writers",
    )

    def __init__(self, context: ResponseContext) -> None:
        self._context = context
        self._input_is_empty = self._started = self._declined = self._has_thinking_text = False
        """`_input_is_empty`: of the open tool. `_has_thinking_text`: of the open thinking."""
        self._index = -1
        self._open_type = ""
        """The type of the open block; empty if none is open."""
        self._delta_prefix = b""
        """The start of each delta of the open block, up to its text."""
        self._open_tool: ToolStart | None = None
        """The tool call whose input is open."""
        self._waiting: deque[Event] = deque()
        """Events that wait until this input ends, since the API has one open block at a time."""
        self._waiting_input: dict[int, list[ToolDelta | ToolEnd]] = {}
        """The inputs of tool calls whose start waits, by their index."""
        self._reasoning_part = self._char_count = 0
        self._usage: Usage | None = None
        self._finish = Finish("stop")
        self._writers: dict[type[object], Callable[[Json], bytes]] = {
            Start: self._write_start,
            TextDelta: self._write_text,
            Declined: self._write_declined,
            Citation: self._write_citation,
            GeneratedMedia: self._write_media,
            Opaque: self._context.drop,
            AnswerMetadata: self._context.drop,
            ReasoningDelta: self._write_reasoning,
            ReasoningEnd: self._end_reasoning,
            ToolStart: self._start_tool,
            ToolDelta: self._write_tool_input,
            ToolEnd: self._end_tool,
            UsageUpdate: self._keep_usage,
            Finish: self._finish_content,
            End: self._write_end,
        }

    def write(self, event: Event) -> bytes:
        """Return the frames of an event; empty for one that the API does not have."""
        kind = type(event)
        write_event = self._writers.get(kind)
        if write_event is None or getattr(event, "choice", None):
            return b""
        if self._open_tool is not None and kind in _CONTENT_EVENTS:
            if not isinstance(event, ToolDelta | ToolEnd):
                self._waiting.append(event)
                return b""
            if event.index != self._open_tool.index:
                self._waiting_input.setdefault(event.index, []).append(event)
                return b""
        if self._started or kind in _STARTLESS_EVENTS:
            return write_event(event)
        return self._write_start(Start()) + write_event(event)

    def _write_start(self, event: Start) -> bytes:
        """Return the message start, with an estimate of the input that the end corrects."""
        if self._started:
            return b""
        self._started = True
        context, counts = self._context, usage.write(event.usage)
        counts.pop("output_tokens_details", None)  # there is no output yet
        id = event.id if event.id and event.id.startswith("msg_") else f"msg_{context.id}"
        message: Object = {
            "id": tool_ids.make_plain_id(id, "msg_"),
            "type": "message",
            "role": "assistant",
            "model": event.model or context.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": context.prompt_tokens, **counts, "output_tokens": 0},
        }
        return write_event({"type": "message_start", "message": message})

    def _open_block(self, kind: str, block: Object, delta: str, member: str) -> bytes:
        """Begin a block. `delta` is the type of its deltas, `member` is where they hold text."""
        out = self._close_block()
        self._index += 1
        self._open_type = kind
        head = f'{{"type":"content_block_delta","index":{self._index},"delta":{{"type":"{delta}"'
        self._delta_prefix = f'{head},"{member}":'.encode()
        begun = {"type": "content_block_start", "index": self._index, "content_block": block}
        return out + write_event(begun)

    def _write_delta(self, text: str) -> bytes:
        self._char_count += len(text)
        return write_frame(b"content_block_delta", self._delta_prefix + jsonio.dumps(text) + b"}}")

    def _close_block(self) -> bytes:
        if not self._open_type:
            return b""
        self._open_type = ""
        return write_event({"type": "content_block_stop", "index": self._index})

    def _write_text(self, event: TextDelta) -> bytes:
        if not event.text:
            return b""
        if self._open_type == "text":
            return self._write_delta(event.text)
        begun = self._open_block("text", {"type": "text", "text": ""}, "text_delta", "text")
        return begun + self._write_delta(event.text)

    def _write_declined(self, event: Declined) -> bytes:
        self._declined = True
        return self._write_text(TextDelta(event.text))

    def _write_citation(self, event: Citation) -> bytes:
        """Return a citation of this API; it has no type for those of other dialects."""
        citation = event.source
        kind = citation.get("type") if isinstance(citation, dict) else None
        if self._open_type != "text" or not isinstance(kind, str) or not kind.endswith("_location"):
            return self._context.drop(event)
        delta = {"type": "citations_delta", "citation": citation}
        return write_event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _write_media(self, event: GeneratedMedia) -> bytes:
        """Drop a picture or a piece of speech. The words of the speech become text."""
        return self._context.drop(event) + self._write_text(TextDelta(event.transcript))

    def _write_reasoning(self, event: ReasoningDelta) -> bytes:
        if not event.text:
            return b""
        out, text = b"", event.text
        if self._open_type != "thinking":
            out = self._open_thinking()
        elif event.part != self._reasoning_part and self._has_thinking_text:
            text = "\n\n" + text
        self._reasoning_part, self._has_thinking_text = event.part, True
        return out + self._write_delta(text)

    def _open_thinking(self) -> bytes:
        self._has_thinking_text = False
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._open_block("thinking", block, "thinking_delta", "thinking")

    def _end_reasoning(self, event: ReasoningEnd) -> bytes:
        state = reasoning_state.write_slot(self._context.state_label, event.state)
        if event.redacted:
            return self._write_redacted(state if event.state else "")
        has_thinking = event.state or self._open_type == "thinking"
        return self._end_thinking(state) if has_thinking else b""

    def _write_redacted(self, state: str) -> bytes:
        if not state:
            return self._close_block()
        block = {"type": "redacted_thinking", "data": state}
        return self._open_block("redacted_thinking", block, "", "") + self._close_block()

    def _end_thinking(self, state: str) -> bytes:
        """End a thinking block, with its signature if there is one."""
        out = b""
        if state:
            if self._open_type != "thinking":
                out = self._open_thinking()
            delta = {"type": "signature_delta", "signature": state}
            out += write_event(
                {"type": "content_block_delta", "index": self._index, "delta": delta}
            )
        return out + self._close_block() if self._open_type == "thinking" else out

    def _start_tool(self, event: ToolStart) -> bytes:
        block = {
            "type": "tool_use",
            "id": self._make_tool_id(event),
            "name": event.name,
            "input": {},
        }
        self._open_tool, self._input_is_empty = event, True
        begun = self._open_block("tool_use", block, "input_json_delta", "partial_json")
        return begun + self._write_delta('{"input":"') if event.custom else begun

    def _make_tool_id(self, tool: ToolStart) -> str:
        """Return the id of a tool call for the client."""
        return tool_ids.make_plain_id(tool.id or f"toolu_{self._context.id}_{tool.index}", "toolu_")

    def _write_tool_input(self, event: ToolDelta) -> bytes:
        """Write a piece of the input; the text of a custom tool goes into an object."""
        tool, text = self._open_tool, event.text
        if tool is None or not text:
            return b""
        if tool.custom:
            return self._write_delta(jsonio.dumps(text).decode()[1:-1])
        is_first, self._input_is_empty = self._input_is_empty, False
        if is_first and text == "null":  # some hosts write null where there is no input
            return b""
        return self._write_delta(text)

    def _end_tool(self, event: ToolEnd) -> bytes:
        """End the input of a tool call, then write the events that waited for it."""
        out = [self._close_tool(event)]
        while self._waiting and self._open_tool is None:
            waiting = self._waiting.popleft()
            out.append(self.write(waiting))
            if isinstance(waiting, ToolStart):
                out += [
                    self._close_tool(own)
                    if isinstance(own, ToolEnd)
                    else self._write_tool_input(own)
                    for own in self._waiting_input.pop(waiting.index, ())
                ]
        return b"".join(out)

    def _close_tool(self, event: ToolEnd) -> bytes:
        tool = self._open_tool
        if tool is None:
            return b""
        self._open_tool = None
        out = [self._write_delta('"}')] if tool.custom else []
        out.append(self._close_block())
        if event.state and self._context.state_label:
            out.append(
                self._end_thinking(
                    reasoning_state.write_slot(
                        self._context.state_label, event.state, self._make_tool_id(tool)
                    )
                )
            )
        return b"".join(out)

    def _keep_usage(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _finish_content(self, event: Finish) -> bytes:
        """Close what is open, as no more content comes. The message end waits for the usage."""
        self._finish = event
        return self._close_all()

    def _close_all(self) -> bytes:
        out = b""
        while self._open_tool is not None:
            out += self._end_tool(ToolEnd(self._open_tool.index))
        return out + self._close_block()

    def _write_end(self, _: End) -> bytes:
        finish, used = self._finish, usage.write(self._usage)
        used.setdefault("output_tokens", -(-self._char_count // _CHARS_PER_TOKEN))
        word = _STOP_REASONS[finish.reason]
        if finish.word is not None and FINISH_REASONS.get(finish.word) == finish.reason:
            word = finish.word
        elif finish.stop is not None and finish.reason == "stop":
            word = "stop_sequence"
        elif self._declined and finish.reason == "stop":
            word = "refusal"
        delta: Object = {"stop_reason": word, "stop_sequence": finish.stop}
        if word == "refusal":
            delta["stop_details"] = _REFUSAL_DETAILS
        return (
            self._close_all()
            + write_event({"type": "message_delta", "delta": delta, "usage": used})
            + write_event({"type": "message_stop"})
        )


def write_problem_frame(problem: Problem) -> bytes:
    """Return the error as the last frame of a stream; no `message_stop` follows it."""
    return write_frame(b"error", errors.write_problem(problem).translate(None, b"\r\n"))


def write_event(event: Object) -> bytes:
    """Return an event as a frame, named by its type."""
    name: str = event["type"]
    return write_frame(name.encode(), jsonio.dumps(event))


def write_frame(name: bytes, payload: bytes) -> bytes:
    """Return a payload as a frame: all frames that the gateway itself writes."""
    return b"event: " + name + b"\ndata: " + payload + b"\n\n"
