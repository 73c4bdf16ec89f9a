"""The events of an answer of Converse, streamed or whole, as events in no dialect.

    messageStart, then for each block (contentBlockStart), contentBlockDelta..., contentBlockStop,
    then messageStop and metadata

A block of text begins with its first delta. The answer ends once both messageStop and metadata have
come: one without the other was cut. Citations wait for the end of their block, and cover all its
text. Sources: ConverseStreamOutput of AWS's API reference, and recorded streams.
"""

from gateway.core import jsonio
from gateway.core.events import (
    Citation,
    End,
    Event,
    Failed,
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
from gateway.dialects.bedrock_converse import usage
from gateway.dialects.bedrock_converse.schema import ANSWER, CONTENT
from gateway.dialects.json_values import as_text, read_text
from gateway.dialects.stream_frames import make_broken_problem, name_unread_members

type Object = dict[str, Json]

_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "guardrail_intervened": "filter",
    "content_filtered": "filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
"""By `stopReason`."""
_TOOL_USE, _REASONING, _TEXT, _CITATION = "toolUse", "reasoningContent", "text", "citation"
_OPAQUE_DELTAS = ("toolResult", "image")
"""Deltas of blocks that become one Opaque event, at their start or at their first delta."""
_SERVER_TOOL = "server_tool_use"
"""The type of a call that the provider runs itself."""


class _OpenBlock:
    """A block that has begun and not ended."""

    __slots__ = ("citations", "has_input", "kind", "offset", "signature", "source")

    def __init__(self, kind: str, offset: int, source: Json = None) -> None:
        self.kind, self.offset, self.source = kind, offset, source
        """`offset`: for a tool call its index, for text the characters before it."""
        self.citations: list[Object] = []
        self.signature = ""
        self.has_input = False
        """True if a piece of the input of a tool call has come."""


class AnswerDecoder:
    """Turns the events of a stream, or a whole answer, into events in no dialect."""

    __slots__ = (
        "_blocks", "_char_count", "_has_totals", "_stop_reason", "_tool_count", "has_begun",
        "has_ended",
    )  # fmt: skip

    def __init__(self) -> None:
        self._blocks: dict[int, _OpenBlock] = {}
        self._char_count = self._tool_count = 0
        self._has_totals = False
        self._stop_reason: str | None = None
        self.has_begun = self.has_ended = False

    def take_event(self, kind: str, event: Object, out: list[Event]) -> None:
        """Add the events of one event of a stream."""
        self._begin(out)
        index = event.get("contentBlockIndex")
        index = index if isinstance(index, int) else 0
        match kind:
            case "contentBlockDelta":
                self._grow(index, _get_object(event, "delta"), out)
            case "contentBlockStart":
                self._start(index, _get_object(event, "start"), out)
            case "contentBlockStop":
                self._stop(index, out)
            case "messageStop":
                for open_index in list(self._blocks):
                    self._stop(open_index, out)
                self._stop_reason = read_text(event.get("stopReason"))
                self._end(out)
            case "metadata":
                self._take_totals(event, out)
                self._end(out)
            case _:
                return

    def take_whole(self, answer: Object, content: list[Json], out: list[Event]) -> None:
        """Add the events of a whole answer, by way of the deltas that would stream its blocks."""
        self._begin(out)
        for index, block in enumerate(content):
            start, deltas = _split_block(block if isinstance(block, dict) else {})
            if start:
                self._start(index, start, out)
            for delta in deltas:
                self._grow(index, delta, out)
            self._stop(index, out)
        self._take_totals(answer, out)
        self._stop_reason = read_text(answer.get("stopReason"))
        out += name_unread_members(answer, ANSWER)
        self._end(out)

    def _begin(self, out: list[Event]) -> None:
        if not self.has_begun:
            self.has_begun = True
            out.append(Start())

    def _take_totals(self, event: Object, out: list[Event]) -> None:
        self._has_totals = True
        totals = usage.read(event)
        if totals is not None:
            out.append(UsageUpdate(totals))

    def _end(self, out: list[Event]) -> None:
        """End the answer, once all of its end has come."""
        if self._stop_reason is None or not self._has_totals:
            return
        self.has_ended = True
        word = self._stop_reason
        reason = _FINISH_REASONS.get(word, "length")
        if reason == "error":
            out.append(Failed(make_broken_problem(f"an answer that failed: {word}")))
            return
        out += [Finish(reason if word else "cut", word or None), End()]

    def _start(self, index: int, start: Object, out: list[Event]) -> None:
        """Begin a block; those of text and reasoning begin with their first delta."""
        self._stop(index, out)
        call = start.get(_TOOL_USE)
        if isinstance(call, dict) and call.get("type") != _SERVER_TOOL:
            self._blocks[index] = _OpenBlock(_TOOL_USE, self._tool_count)
            name, id = read_text(call.get("name")), read_text(call.get("toolUseId"))
            out.append(ToolStart(self._tool_count, id, name))
            self._tool_count += 1
            return
        for kind, source in start.items():
            name = _SERVER_TOOL if kind == _TOOL_USE else kind
            self._blocks[index] = _OpenBlock(name, 0, source)

    def _grow(self, index: int, delta: Object, out: list[Event]) -> None:
        """Add a delta to its block; a delta of another kind begins a block."""
        call, thought, citation = delta.get(_TOOL_USE), delta.get(_REASONING), delta.get(_CITATION)
        block = self._blocks.get(index)
        if block is not None and block.kind not in (_TEXT, _REASONING):
            text = read_text(call.get("input")) if isinstance(call, dict) else ""
            if text and block.kind == _TOOL_USE:
                block.has_input = True
                out.append(ToolDelta(block.offset, text))
            return
        opaque = next((kind for kind in _OPAQUE_DELTAS if kind in delta), None)
        if opaque is not None:
            self._start(index, {opaque: delta[opaque]}, out)
            return
        kind = _REASONING if isinstance(thought, dict) else _TEXT
        if block is None or block.kind != kind:
            self._stop(index, out)
            block = self._blocks[index] = _OpenBlock(kind, self._char_count)
        text = read_text(delta.get(_TEXT))
        if isinstance(thought, dict):
            _grow_thought(block, thought, out)
        elif text:
            self._char_count += len(text)
            out.append(TextDelta(text))
        elif isinstance(citation, dict):
            block.citations.append(citation)

    def _stop(self, index: int, out: list[Event]) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        match block.kind:
            case "text":
                out += [
                    _make_citation(it, block.offset, self._char_count) for it in block.citations
                ]
            case "reasoningContent":
                is_redacted = block.source is not None
                state = as_text(block.source) if is_redacted else block.signature
                out.append(ReasoningEnd(state or None, redacted=is_redacted))
            case "toolUse":
                if not block.has_input:
                    out.append(ToolDelta(block.offset, "{}"))
                out.append(ToolEnd(block.offset))
            case kind:
                out.append(Opaque(f"{CONTENT}.{kind}", block.source))


def _grow_thought(block: _OpenBlock, thought: Object, out: list[Event]) -> None:
    """Add a delta to a block of reasoning."""
    text = read_text(thought.get(_TEXT))
    if text:
        out.append(ReasoningDelta(text))
    block.signature += read_text(thought.get("signature"))
    if thought.get("redactedContent") is not None:
        block.source = thought["redactedContent"]


def _split_block(block: Object) -> tuple[Object, list[Object]]:
    """Return the start of a whole block, and its deltas, as a stream has them."""
    call, reasoning, cited = (
        block.get(_TOOL_USE), block.get(_REASONING), block.get("citationsContent"),
    )  # fmt: skip
    if _TEXT in block:
        return {}, [{_TEXT: block[_TEXT]}]
    if isinstance(call, dict):
        arguments = jsonio.dumps(call.get("input") or {}).decode()
        return {_TOOL_USE: call}, [{_TOOL_USE: {"input": arguments}}]
    if isinstance(reasoning, dict):
        thought = reasoning.get("reasoningText")
        return {}, [{_REASONING: thought if isinstance(thought, dict) else reasoning}]
    if isinstance(cited, dict):
        return {}, [
            *({_TEXT: it.get(_TEXT)} for it in _list_objects(cited.get("content"))),
            *({_CITATION: it} for it in _list_objects(cited.get("citations"))),
        ]
    return block, []


def _make_citation(source: Object, start: int, end: int) -> Citation:
    """Return a citation that covers the whole text of its block."""
    web = _get_object(_get_object(source, "location"), "web")
    return Citation(
        url=as_text(web.get("url", source.get("source"))),
        title=as_text(source.get("title")),
        start=start,
        end=end,
        source=source,
        name=f"{CONTENT}.citations",
    )


def _get_object(value: Object, name: str) -> Object:
    member = value.get(name)
    return member if isinstance(member, dict) else {}


def _list_objects(value: Json) -> list[Object]:
    return [it for it in value if isinstance(it, dict)] if isinstance(value, list) else []
