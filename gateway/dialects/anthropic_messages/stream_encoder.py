"""Events as a stream for the client, as the official SDKs put it together.

One block is open at a time, and indexes ascend. While a tool's input is open, all that belongs to
no part of it waits until it ends, in order: dialects that interleave tools are told one after the
other.
"""

from collections.abc import Callable

from gateway.core import jsonio
from gateway.core.events import (
    Citation,
    Declined,
    End,
    Event,
    Finish,
    FinishReason,
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
from gateway.dialects.anthropic_messages import reasoning_state, usage
from gateway.dialects.anthropic_messages.stream_decoder import REASONS
from gateway.dialects.base import ResponseContext

type Object = dict[str, Json]
_WORDS: dict[FinishReason, str | None] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tools": "tool_use",
    "filter": "refusal",
    "pause": "pause_turn",
    "cut": "max_tokens",
    "error": None,
}
"""The API has no word for an answer that broke: it is one that has not ended."""
_REFUSAL = {"type": "refusal", "category": None, "explanation": None}
_CHARS = 4
"""Characters of a token, where the provider told no count and the SDKs' types demand one."""
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_CONTENT = frozenset(
    {TextDelta, Declined, Citation, ReasoningDelta, ReasoningEnd, ToolStart, ToolDelta, ToolEnd}
)


class Encoder:
    """The state of one stream; see Encoder."""

    __slots__ = (
        "_bare", "_begun", "_chars", "_declined", "_finish", "_head", "_index", "_kind", "_part",
        "_tell", "_telling", "_thought", "_tool", "_usage", "_waiting",
    )  # fmt: skip

    def __init__(self, telling: ResponseContext) -> None:
        self._telling = telling
        self._bare = self._begun = self._declined = self._thought = False
        """Bare: the open tool has no input yet. Thought: the open block of thinking has text."""
        self._index = -1
        self._kind = ""
        """The type of the open block, empty where none is."""
        self._head = b""
        """How each delta of the open block begins, up to its text."""
        self._tool: ToolStart | None = None
        """The tool whose input is open."""
        self._waiting: list[Event] = []
        self._part = self._chars = 0
        self._usage: Usage | None = None
        self._finish = Finish("stop")
        self._tell: dict[type[object], Callable[[Json], bytes]] = {
            Start: self._start,
            TextDelta: self._words,
            Declined: self._decline,
            Citation: self._cite,
            ReasoningDelta: self._think,
            ReasoningEnd: self._thought_end,
            ToolStart: self._use,
            ToolDelta: self._piece,
            ToolEnd: self._tool_end,
            UsageUpdate: self._told,
            Finish: self._over,
            End: self._end,
        }

    def write(self, event: Event) -> bytes:
        """What an event becomes; nothing for one that the API does not tell."""
        kind = type(event)
        tell = self._tell.get(kind)
        if tell is None or getattr(event, "choice", None):
            return b""
        if self._tool is not None and kind in _CONTENT:
            index = event.index if isinstance(event, ToolDelta | ToolEnd) else None
            if index != self._tool.index:
                self._waiting.append(event)
                return b""
        if self._begun or kind is Start:
            return tell(event)
        return self._start(Start()) + tell(event)

    def _start(self, event: Start) -> bytes:
        """The head of the message; the estimate of its input is corrected when it ends."""
        if self._begun:
            return b""
        self._begun = True
        told, known = self._telling, usage.write(event.usage)
        known.pop("output_tokens_details", None)  # nothing has come out yet
        id = event.id if event.id and event.id.startswith("msg_") else f"msg_{told.id}"
        message: Object = {
            "id": tool_ids.make_plain_id(id, "msg_"),
            "type": "message",
            "role": "assistant",
            "model": event.model or told.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": told.prompt_tokens, **known, "output_tokens": 0},
        }
        return write_frame({"type": "message_start", "message": message})

    def _open(self, kind: str, block: Object, delta: str, member: str) -> bytes:
        """Begin a block; `delta` is the type of its deltas, `member` what they hold."""
        out = self._close()
        self._index += 1
        self._kind = kind
        head = f'{{"type":"content_block_delta","index":{self._index},"delta":{{"type":"{delta}"'
        self._head = f'event: content_block_delta\ndata: {head},"{member}":'.encode()
        begun = {"type": "content_block_start", "index": self._index, "content_block": block}
        return out + write_frame(begun)

    def _delta(self, text: str) -> bytes:
        self._chars += len(text)
        return self._head + jsonio.dumps(text) + b"}}\n\n"

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        self._kind = ""
        return write_frame({"type": "content_block_stop", "index": self._index})

    def _words(self, event: TextDelta) -> bytes:
        if not event.text:
            return b""
        if self._kind == "text":
            return self._delta(event.text)
        begun = self._open("text", {"type": "text", "text": ""}, "text_delta", "text")
        return begun + self._delta(event.text)

    def _decline(self, event: Declined) -> bytes:
        self._declined = True
        return self._words(TextDelta(event.text))

    def _cite(self, event: Citation) -> bytes:
        """A source in the API's own words; those of others it has no type for."""
        said = event.source
        kind = said.get("type") if isinstance(said, dict) else None
        if self._kind != "text" or not isinstance(kind, str) or not kind.endswith("_location"):
            return b""
        delta = {"type": "citations_delta", "citation": said}
        return write_frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _think(self, event: ReasoningDelta) -> bytes:
        if not event.text:
            return b""
        out, text = b"", event.text
        if self._kind != "thinking":
            out = self._thinking()
        elif event.part != self._part and self._thought:
            text = "\n\n" + text
        self._part, self._thought = event.part, True
        return out + self._delta(text)

    def _thinking(self) -> bytes:
        self._thought = False
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._open("thinking", block, "thinking_delta", "thinking")

    def _thought_end(self, event: ReasoningEnd) -> bytes:
        state = reasoning_state.write_slot(self._telling.state_label, event.state)
        if event.redacted:
            return self._redacted(state if event.state else "")
        said = event.state or self._kind == "thinking"
        return self._signed(state) if said else b""

    def _redacted(self, state: str) -> bytes:
        if not state:
            return self._close()
        block = {"type": "redacted_thinking", "data": state}
        return self._open("redacted_thinking", block, "", "") + self._close()

    def _signed(self, state: str) -> bytes:
        """The end of thinking, with its signature where there is one."""
        out = b""
        if state:
            if self._kind != "thinking":
                out = self._thinking()
            delta = {"type": "signature_delta", "signature": state}
            out += write_frame(
                {"type": "content_block_delta", "index": self._index, "delta": delta}
            )
        return out + self._close() if self._kind == "thinking" else out

    def _use(self, event: ToolStart) -> bytes:
        block = {"type": "tool_use", "id": self._id(event), "name": event.name, "input": {}}
        self._tool, self._bare = event, True
        begun = self._open("tool_use", block, "input_json_delta", "partial_json")
        return begun + self._delta('{"input":"') if event.custom else begun

    def _id(self, tool: ToolStart) -> str:
        """The id that a tool's use has for the client."""
        return tool_ids.make_plain_id(tool.id or f"toolu_{self._telling.id}_{tool.index}", "toolu_")

    def _piece(self, event: ToolDelta) -> bytes:
        """A piece of the input; the text of a custom tool goes into an object."""
        tool, text = self._tool, event.text
        if tool is None or not text:
            return b""
        if tool.custom:
            return self._delta(jsonio.dumps(text).decode()[1:-1])
        bare, self._bare = self._bare, False
        if bare and text == "null":  # some hosts write null where there is no input
            return b""
        return self._delta(text)

    def _tool_end(self, event: ToolEnd) -> bytes:
        """The end of a tool's input; then all that has waited for it."""
        tool = self._tool
        if tool is None:
            return b""
        self._tool = None
        out = [self._delta('"}')] if tool.custom else []
        out.append(self._close())
        if event.state and self._telling.state_label:
            out.append(
                self._signed(
                    reasoning_state.write_slot(
                        self._telling.state_label, event.state, self._id(tool)
                    )
                )
            )
        waiting, self._waiting = self._waiting, []
        out += [self.write(it) for it in waiting]
        return b"".join(out)

    def _told(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _over(self, event: Finish) -> bytes:
        """No more content comes: what was left open is closed, the rest waits for the usage."""
        self._finish = event
        return self._rest()

    def _rest(self) -> bytes:
        out = b""
        while self._tool is not None:
            out += self._tool_end(ToolEnd(self._tool.index))
        return out + self._close()

    def _end(self, _: End) -> bytes:
        finish, used = self._finish, usage.write(self._usage)
        used.setdefault("output_tokens", -(-self._chars // _CHARS))
        word = _WORDS[finish.reason]
        if finish.word is not None and REASONS.get(finish.word) == finish.reason:
            word = finish.word
        elif finish.stop is not None and finish.reason == "stop":
            word = "stop_sequence"
        elif self._declined and finish.reason == "stop":
            word = "refusal"
        delta: Object = {"stop_reason": word, "stop_sequence": finish.stop}
        if word == "refusal":
            delta["stop_details"] = _REFUSAL
        return (
            self._rest()
            + write_frame({"type": "message_delta", "delta": delta, "usage": used})
            + _STOP
        )


def write_frame(event: Object) -> bytes:
    """Return an event as a frame, named by its type."""
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + jsonio.dumps(event) + b"\n\n"
