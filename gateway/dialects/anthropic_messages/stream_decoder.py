"""A provider's stream as events.

Usage in a stream is cumulative: what a later event leaves out stands. Only `message_stop` ends an
answer; what comes after it (hosts send `[DONE]`) is not read.

Blocks that no other dialect has (tools of the provider at work, compactions, fallbacks) are told
whole when they end. So are citations: only then is it known which words they support.
"""

import re

from gateway.core import jsonio, sse
from gateway.core.errors import Problem
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
from gateway.dialects.anthropic_messages import errors, usage
from gateway.dialects.anthropic_messages.stream import read_stop_reason
from gateway.dialects.stream_commit import DONE_PAYLOAD, MAX_FRAME_BYTES, make_broken_problem

type Object = dict[str, Json]
REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "refusal": "filter",
    "pause_turn": "pause",
    "compaction": "pause",
}
"""By the API's own word; the conversation goes on after a pause or a compaction."""
_NAME = re.compile(rb"^event:[ ]?([^\r\n]*)", re.MULTILINE)
_KINDS = frozenset(
    {
        "message_start", "content_block_start", "content_block_stop", "message_delta",
        "message_stop",
    }
)  # fmt: skip
_BEGUN = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
"""Types of deltas that say of what type their block is."""


class Decoder:
    """One stream of events; see Decoder."""

    __slots__ = ("_content", "_finished", "_over", "_told", "_whole")

    def __init__(self) -> None:
        self._whole = sse.FrameSplitter()
        self._over = self._finished = False
        """Over: nothing is read any more, as it has ended or failed."""
        self._told: Object = {}
        self._content = Content()

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read. After a Failed nothing more comes."""
        out: list[Event] = []
        if self._over:
            return out
        data = self._whole.feed(data)
        for frame in sse.split_data_frames(data):
            payload = sse.read_data(frame)
            if payload and self._frame(frame, payload, out):
                return out
        if self._whole.size > MAX_FRAME_BYTES:
            self._fail(make_broken_problem("a frame without an end"), out)
        return out

    def end(self) -> list[Event]:
        """Take the end of the stream: a frame may lack its blank line; half a frame is none."""
        out: list[Event] = []
        rest = self._whole.take_pending()
        payload = sse.read_data(rest)
        if payload and not self._over and _object(payload) is not None:
            self._frame(rest, payload, out)
        self._over = True
        return out

    def _frame(self, frame: bytes, payload: bytes, out: list[Event]) -> bool:
        """Read one frame; tell whether it was the last."""
        event = _object(payload)
        kind = event.get("type") if event is not None else None
        kind = kind if isinstance(kind, str) else None
        if event is not None and kind == "content_block_delta":
            delta = event.get("delta")
            if isinstance(delta, dict):
                self._content.grow(event.get("index"), delta, out)
        elif event is None or kind not in _KINDS or event.get("error"):
            self._odd(frame, payload, event, out)
        else:
            self._event(kind, event, out)
        return self._over

    def _odd(self, frame: bytes, payload: bytes, event: Object | None, out: list[Event]) -> None:
        """What is no event of an answer that goes well: an error, or what is to be left alone."""
        named = _NAME.search(frame)
        name = named.group(1).decode("utf-8", "replace").strip() if named else ""
        error = event.get("error") if event is not None else None
        if name == "error" or error or (event is not None and event.get("type") == "error"):
            self._fail(errors.read_error_answer(error, payload), out)
        elif event is None:
            if not payload.startswith(DONE_PAYLOAD):
                self._fail(make_broken_problem(), out)
        elif event.get("type") is None and name in _KINDS:  # hosts that name it once
            self._event(name, event, out)

    def _event(self, kind: str, event: Object, out: list[Event]) -> None:
        if kind == "content_block_start":
            block = event.get("content_block")
            if isinstance(block, dict):
                self._content.begin(event.get("index"), block, out)
        elif kind == "content_block_stop":
            self._content.stop(event.get("index"), out)
        elif kind == "message_start":
            message = event.get("message")
            if isinstance(message, dict):
                self._begin(message, out)
        elif kind == "message_delta":
            self._delta(event, out)
        else:
            self._content.close(out)
            if not self._finished:
                out.append(Finish("cut"))
            out.append(End())
            self._over = True

    def _begin(self, message: Object, out: list[Event]) -> None:
        told = message.get("usage")
        if isinstance(told, dict):  # what has come out is not told yet
            self._told = {**told, "output_tokens": None}
        out.append(make_start(message, self._told))

    def _delta(self, event: Object, out: list[Event]) -> None:
        self._content.close(out)
        told, delta = event.get("usage"), event.get("delta")
        if isinstance(told, dict):
            self._told = usage.merge(self._told, told)
            read = usage.read(self._told)
            if read is not None:
                out.append(UsageUpdate(read))
        if isinstance(delta, dict) and read_stop_reason(delta) is not None:
            if not self._finished:
                out.append(make_finish(delta))
            self._finished = True

    def _fail(self, problem: Problem, out: list[Event]) -> None:
        out.append(Failed(problem))
        self._over = True


def make_start(message: Object, told: Json = None) -> Start:
    """Return the event that begins an answer, with the usage known so far."""
    id, model = message.get("id"), message.get("model")
    return Start(
        id=id if isinstance(id, str) else None,
        model=(model or None) if isinstance(model, str) else None,
        usage=usage.read(told),
    )


def make_finish(said: Object) -> Finish:
    """Why it ended; a word that is not known ends it as well as any."""
    word, stop = read_stop_reason(said), said.get("stop_sequence")
    if word is None:
        return Finish("cut")
    return Finish(REASONS.get(word, "stop"), word, stop if isinstance(stop, str) else None)


def _object(payload: bytes) -> Object | None:
    try:
        value = jsonio.loads(payload)
    except jsonio.JsonError:
        return None
    return value if isinstance(value, dict) else None


class _Open:
    """A block that has begun."""

    __slots__ = ("at", "block", "cited", "kind", "pieces")

    def __init__(self, kind: str, block: Object, at: int) -> None:
        self.kind, self.block, self.at = kind, block, at
        """`at`: the tool's index of a tool's use, of text the characters said before it."""
        self.cited: list[Object] = []
        self.pieces: list[str] = []
        """Of JSON that no one else is told."""


class Content:
    """What the blocks of one answer have said so far."""

    __slots__ = ("_chars", "_open", "_tools")

    def __init__(self) -> None:
        self._open: dict[int | None, _Open] = {}
        self._chars = self._tools = 0

    def begin(self, index: Json, block: Object, out: list[Event]) -> None:
        """A block begins, with all that it already says; one of that index is over."""
        index = _place(index)
        if index in self._open:
            self.stop(index, out)
        kind = block.get("type")
        kind = kind if isinstance(kind, str) else "unknown"
        now = self._open[index] = _Open(kind, block, self._chars)
        if kind == "text":
            self._say(_text(block.get("text")), out)
            cited = block.get("citations")
            now.cited += (
                [it for it in cited if isinstance(it, dict)] if isinstance(cited, list) else []
            )
        elif kind == "thinking":
            self._think(now, block, out)
        elif kind == "tool_use":
            now.at, self._tools = self._tools, self._tools + 1
            out.append(ToolStart(now.at, _text(block.get("id")), _text(block.get("name"))))

    def grow(self, index: Json, delta: Object, out: list[Event]) -> None:
        """A piece of a block. Text and thinking are understood also where none has begun."""
        index = _place(index)
        now = self._open.get(index)
        if now is None:
            kind = _BEGUN.get(_text(delta.get("type")))
            if kind is None:
                return
            self.begin(index, {"type": kind}, out)
            now = self._open[index]
        if now.kind == "text":
            self._words(now, delta, out)
        elif now.kind == "thinking":
            self._think(now, delta, out)
        elif now.kind == "tool_use":
            self._tool(now, delta, out)
        else:
            _add(now, delta)

    def stop(self, index: Json, out: list[Event]) -> None:
        """A block is over."""
        now = self._open.pop(_place(index), None)
        if now is None:
            return
        if now.kind == "text":
            out += [_cited(it, now.at, self._chars) for it in now.cited]
        elif now.kind == "thinking":
            out.append(ReasoningEnd(state=_text(now.block.get("signature")) or None))
        elif now.kind == "redacted_thinking":
            out.append(ReasoningEnd(state=_text(now.block.get("data")) or None, redacted=True))
        elif now.kind == "tool_use":
            if not now.pieces:
                given = jsonio.dumps(now.block.get("input") or {})
                out.append(ToolDelta(now.at, given.decode()))
            out.append(ToolEnd(now.at))
        else:
            if now.pieces:
                now.block["input"] = _input("".join(now.pieces))
            out.append(Opaque(now.kind, now.block))

    def close(self, out: list[Event]) -> None:
        """All blocks are over, also those whose end was not told."""
        for index in list(self._open):
            self.stop(index, out)

    def _say(self, text: str, out: list[Event]) -> None:
        if text:
            self._chars += len(text)
            out.append(TextDelta(text))

    def _think(self, now: _Open, said: Object, out: list[Event]) -> None:
        text, signature = _text(said.get("thinking")), said.get("signature")
        if text:
            out.append(ReasoningDelta(text))
        if signature:
            now.block["signature"] = signature

    def _words(self, now: _Open, delta: Object, out: list[Event]) -> None:
        citation = delta.get("citation")
        if isinstance(citation, dict):
            now.cited.append(citation)
        self._say(_text(delta.get("text")), out)

    def _tool(self, now: _Open, delta: Object, out: list[Event]) -> None:
        text = _text(delta.get("partial_json"))
        if text:
            if not now.pieces:
                now.pieces.append("")  # told at once, and not kept
            out.append(ToolDelta(now.at, text))


def _add(now: _Open, delta: Object) -> None:
    """A piece of a block that is told when it is whole."""
    for name, value in delta.items():
        held = now.block.get(name)
        if name == "partial_json":
            now.pieces.append(_text(value))
        elif name != "type" and value is not None:
            both = isinstance(held, str) and isinstance(value, str)
            now.block[name] = held + value if both else value


def _cited(source: Object, start: int, end: int) -> Citation:
    """A citation supports the whole of its block."""
    url, title = source.get("url", source.get("source")), source.get("title")
    title = title if title is not None else source.get("document_title")
    return Citation(
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        start=start,
        end=end,
        source=source,
    )


def _input(text: str) -> Json:
    """The input of a provider's own tool; one that was cut is no JSON."""
    try:
        return jsonio.loads(text.encode()) if text else {}
    except jsonio.JsonError:
        return {"_raw": text}


def _place(index: Json) -> int | None:
    """The place of a block; all whose place is no number are one."""
    return index if isinstance(index, int) else None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
