"""The content blocks of an answer as events, whether they come whole or in deltas.

Blocks that no other dialect has (tools of the provider at work, compactions, fallbacks) are told
whole when they end. So are citations: only then is it known which words they support.
"""

from gateway.core import jsonio
from gateway.core.events import (
    Citation,
    Event,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
)  # fmt: skip
from gateway.core.jsonio import Json

type Object = dict[str, Json]


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


_BEGUN = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
"""Types of deltas that say of what type their block is."""


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
