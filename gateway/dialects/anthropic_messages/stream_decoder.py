"""A provider's stream as events.

Only `message_stop` ends an answer. The decoder does not read what comes after it (hosts send
`[DONE]`). The reason for the end waits for it: as with SDKs, the last reason counts.

Some blocks exist in no other dialect: hosted tools, compactions, fallbacks. The decoder gives each
as one event when it ends. Citations too wait for the end of their block, and cover all its text.
"""

from gateway.core import jsonio
from gateway.core.events import (
    AnswerMetadata,
    Citation,
    End,
    Event,
    Finish,
    FinishReason,
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
from gateway.dialects.anthropic_messages.schema import ANSWER
from gateway.dialects.anthropic_messages.stream import MessageFacts, read_frame, read_stop_reason
from gateway.dialects.json_values import read_text
from gateway.dialects.stream_frames import Frame, SseDecoder, UnreadNames

type Object = dict[str, Json]

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "refusal": "filter",
    "pause_turn": "pause",
    "compaction": "pause",
}
"""By `stop_reason`. A conversation continues after a pause or a compaction."""
_PREFIX = "content"
"""Starts the name of a block that no other dialect has."""
_BLOCK_TYPES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
"""Types of deltas that show the type of their block."""
_DELTA_TYPES = {
    "text": frozenset({"", "text_delta", "citations_delta"}),
    "thinking": frozenset({"", "thinking_delta", "signature_delta"}),
    "tool_use": frozenset({"", "input_json_delta"}),
}
"""By block type: the types of its deltas. Some hosts leave the type out."""


class Decoder(SseDecoder):
    """The state of one stream; see gateway.dialects.base.Decoder."""

    __slots__ = ("_blocks", "_facts", "_last_delta")

    def __init__(self) -> None:
        super().__init__(read_frame, ANSWER)
        self._facts = MessageFacts()
        self._blocks = BlockDecoder()
        self._last_delta: Object = {}
        """The delta with the last reason why the message ended."""

    def _decode(self, frame: Frame, out: list[Event]) -> None:
        event, kind = frame.value, frame.kind
        if kind == "content_block_delta":
            delta = event.get("delta")
            if isinstance(delta, dict):
                self._blocks.grow(event.get("index"), delta, out)
        elif kind == "content_block_start":
            block = event.get("content_block")
            if isinstance(block, dict):
                self._blocks.begin(event.get("index"), block, out)
        elif kind == "content_block_stop":
            self._blocks.stop(event.get("index"), out)
        elif kind == "message_start":
            message = event.get("message")
            if isinstance(message, dict):
                self._facts.read_start(message)
                out.append(make_start(self._facts))
        elif kind == "message_delta":
            self._decode_message_delta(event, out)
        elif kind == "message_stop":
            self._blocks.close(out)
            out += [make_finish(self._last_delta), End()]
            self._is_over = True

    def _decode_message_delta(self, event: Object, out: list[Event]) -> None:
        self._blocks.close(out)
        self._facts.read_end(event)
        self._add_usage(event, out)
        delta = event.get("delta")
        if isinstance(delta, dict) and read_stop_reason(delta) is not None:
            self._last_delta = delta

    def _decode_error(self, frame: Frame, out: list[Event]) -> None:
        self._facts.read_usage(frame.value)
        self._add_usage(frame.value, out)
        self._close(out, is_cut=True)

    def _add_usage(self, event: Object, out: list[Event]) -> None:
        if isinstance(event.get("usage"), dict) and self._facts.usage is not None:
            out.append(UsageUpdate(self._facts.usage))

    def _close(self, out: list[Event], *, is_cut: bool) -> None:  # noqa: ARG002 - half a frame is none
        """Tell the reason of a message that lacks its end."""
        if self._last_delta:
            out.append(make_finish(self._last_delta))


def make_start(facts: MessageFacts) -> Start:
    """Return the event that begins an answer, with the facts known so far."""
    return Start(id=facts.response_id, model=facts.served_model, usage=facts.usage)


def make_finish(source: Object) -> Finish:
    """Return why an answer ended. After an unknown word it may lack its end."""
    word, stop = read_stop_reason(source), source.get("stop_sequence")
    if word is None:
        return Finish("cut")
    return Finish(FINISH_REASONS.get(word, "length"), word, stop if isinstance(stop, str) else None)


class _OpenBlock:
    """A block that has begun and not ended."""

    __slots__ = ("block", "citations", "json_pieces", "kind", "offset")

    def __init__(self, kind: str, block: Object, offset: int) -> None:
        self.kind, self.block, self.offset = kind, block, offset
        """`offset`: for a tool call its index, for text the characters before it."""
        self.citations: list[Object] = []
        self.json_pieces: list[str] = []
        """The input of a hosted tool, as far as it came."""


class BlockDecoder:
    """Turns the content blocks of one answer into events, whether they come whole or in deltas."""

    __slots__ = ("_char_count", "_named_deltas", "_open_blocks", "_tool_count")

    def __init__(self) -> None:
        self._open_blocks: dict[int | None, _OpenBlock] = {}
        self._named_deltas = UnreadNames()
        self._char_count = self._tool_count = 0

    def begin(self, index: Json, block: Object, out: list[Event]) -> None:
        """Begin a block with the content that it already has; end an open one of that index."""
        index = _read_index(index)
        if index in self._open_blocks:
            self.stop(index, out)
        kind = block.get("type")
        kind = kind if isinstance(kind, str) else "unknown"
        current = self._open_blocks[index] = _OpenBlock(kind, block, self._char_count)
        if kind == "text":
            self._add_text(read_text(block.get("text")), out)
            citations = block.get("citations")
            current.citations += (
                [it for it in citations if isinstance(it, dict)]
                if isinstance(citations, list)
                else []
            )
        elif kind == "thinking":
            self._add_thinking(current, block, out)
        elif kind == "tool_use":
            current.offset, self._tool_count = self._tool_count, self._tool_count + 1
            out.append(
                ToolStart(current.offset, read_text(block.get("id")), read_text(block.get("name")))
            )

    def grow(self, index: Json, delta: Object, out: list[Event]) -> None:
        """Add a delta to its block. Text and thinking may come without a block start."""
        index, kind = _read_index(index), read_text(delta.get("type"))
        current = self._open_blocks.get(index)
        if current is None:
            block_type = _BLOCK_TYPES.get(kind)
            if block_type is None:
                self._name_delta(kind, out)
                return
            self.begin(index, {"type": block_type}, out)
            current = self._open_blocks[index]
        delta_type = _DELTA_TYPES.get(current.kind)
        if delta_type is None:
            _grow_block(current, delta)
            return
        if kind not in delta_type:
            self._name_delta(f"{current.kind}.{kind}", out)
        if current.kind == "text":
            self._add_text_delta(current, delta, out)
        elif current.kind == "thinking":
            self._add_thinking(current, delta, out)
        else:
            self._add_tool_delta(current, delta, out)

    def _name_delta(self, kind: str, out: list[Event]) -> None:
        """Name a delta that does not fit its block, once."""
        if self._named_deltas.add(kind):
            out.append(AnswerMetadata(f"{_PREFIX}.{kind}"))

    def stop(self, index: Json, out: list[Event]) -> None:
        """End a block."""
        current = self._open_blocks.pop(_read_index(index), None)
        if current is None:
            return
        if current.kind == "text":
            out += [
                _make_citation(it, current.offset, self._char_count) for it in current.citations
            ]
        elif current.kind == "thinking":
            out.append(ReasoningEnd(state=read_text(current.block.get("signature")) or None))
        elif current.kind == "redacted_thinking":
            out.append(
                ReasoningEnd(state=read_text(current.block.get("data")) or None, redacted=True)
            )
        elif current.kind == "tool_use":
            if not current.json_pieces:
                arguments = jsonio.dumps(current.block.get("input") or {})
                out.append(ToolDelta(current.offset, arguments.decode()))
            out.append(ToolEnd(current.offset))
        else:
            if current.json_pieces:
                current.block["input"] = _read_input("".join(current.json_pieces))
            out.append(Opaque(f"{_PREFIX}.{current.kind}", current.block))

    def close(self, out: list[Event]) -> None:
        """End all open blocks."""
        for index in list(self._open_blocks):
            self.stop(index, out)

    def _add_text(self, text: str, out: list[Event]) -> None:
        if text:
            self._char_count += len(text)
            out.append(TextDelta(text))

    def _add_thinking(self, current: _OpenBlock, source: Object, out: list[Event]) -> None:
        text, signature = read_text(source.get("thinking")), source.get("signature")
        if text:
            out.append(ReasoningDelta(text))
        if signature:
            current.block["signature"] = signature

    def _add_text_delta(self, current: _OpenBlock, delta: Object, out: list[Event]) -> None:
        citation = delta.get("citation")
        if isinstance(citation, dict):
            current.citations.append(citation)
        self._add_text(read_text(delta.get("text")), out)

    def _add_tool_delta(self, current: _OpenBlock, delta: Object, out: list[Event]) -> None:
        text = read_text(delta.get("partial_json"))
        if text:
            if not current.json_pieces:
                current.json_pieces.append("")  # marks that deltas came; their text is not kept
            out.append(ToolDelta(current.offset, text))


def _grow_block(current: _OpenBlock, delta: Object) -> None:
    """Add a delta to a block that becomes one event when it ends."""
    for name, value in delta.items():
        held = current.block.get(name)
        if name == "partial_json":
            current.json_pieces.append(read_text(value))
        elif name != "type" and value is not None:
            both = isinstance(held, str) and isinstance(value, str)
            current.block[name] = held + value if both else value


def _make_citation(source: Object, start: int, end: int) -> Citation:
    """Return a citation that covers the whole text of its block."""
    url, title = source.get("url", source.get("source")), source.get("title")
    title = title if title is not None else source.get("document_title")
    return Citation(
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        start=start,
        end=end,
        source=source,
        name=f"{_PREFIX}.citations",
    )


def _read_input(text: str) -> Json:
    """Return the input of a hosted tool; input that was cut is not JSON and goes into `_raw`."""
    try:
        return jsonio.loads_text(text) if text else {}
    except jsonio.JsonError:
        return {"_raw": text}


def _read_index(index: Json) -> int | None:
    """Return the index of a block; None for every index that is not a number."""
    return index if isinstance(index, int) else None
