"""One answer gone on with from another: what is still to be shown, where that begins as it did.

Both are streams of the client's dialect; the other is whole. All that was shown must stand at its
beginning, in the same order and to the letter: text, reasoning and what seals it, calls of tools,
ends. The names alone may differ (of the answer, its items and calls): what follows goes by those
that were shown. Its frames are the other's own bytes but for names and numbers, and but for the one
frame in which what was shown ends.

At last it is tried: what was shown and what is to follow must read as the other answer does.
"""

import itertools
import re
from collections.abc import Iterable

import msgspec

from gateway.core import jsonio, sse
from gateway.core.events import (
    Cited,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    Opaque,
    Thinking,
    ThoughtEnd,
    ToolEnd,
    ToolPiece,
    ToolStart,
    Words,
)
from gateway.core.jsonio import Json
from gateway.dialects.abroad import speech
from gateway.dialects.base import Dialect
from gateway.dialects.held import DONE
from gateway.dialects.piece import Object, Piece, Said, group

_ID = re.compile(rb'("(?:id|item_id|call_id|response_id|responseId)"\s*:\s*)("(?:[^"\\]|\\.)*")')
_MADE = re.compile(rb'("created(?:_at)?"\s*:\s*)\d+')
_NUMBER = re.compile(rb'("sequence_number"\s*:\s*)\d+')


class _Frame:
    """One frame of the other answer, and how much of it was shown."""

    __slots__ = ("cut", "raw", "said", "shown", "value")

    def __init__(self, raw: bytes, value: Object, said: Said) -> None:
        self.raw, self.value, self.said = raw, value, said
        self.shown: list[Piece] = []
        self.cut = False


class _Names:
    """What goes by another name in what was shown, and the number of its last frame."""

    def __init__(self, old: list[_Frame], new: list[_Frame]) -> None:
        self._ids: dict[bytes, bytes] = {}
        (name, self._made), (other, _) = _first(old), _first(new)
        self.same(other, name)
        numbers = [it.value.get("sequence_number") for it in old]
        self._next = max((it + 1 for it in numbers if isinstance(it, int)), default=0)

    def same(self, new: Json, old: Json) -> None:
        """A name of the other answer, and that of the same thing in what was shown."""
        if isinstance(new, str) and isinstance(old, str) and new and old:
            self._ids[jsonio.dumps(new)] = jsonio.dumps(old)

    def put(self, raw: bytes) -> bytes:
        """A frame of the other answer by the names that were shown."""
        raw = _ID.sub(lambda found: found[1] + self._ids.get(found[2], found[2]), raw)
        if isinstance(self._made, int):
            raw = _MADE.sub(lambda found: found[1] + b"%d" % self._made, raw, count=1)
        raw, many = _NUMBER.subn(lambda found: found[1] + b"%d" % self._next, raw, count=1)
        self._next += many
        return raw


def rest(dialect: Dialect, shown: bytes, other: bytes) -> bytes | None:
    """What follows `shown`, so that both say what `other` does; None where it begins otherwise."""
    if not shown:
        return other
    try:
        old, new = _frames(dialect, shown), _frames(dialect, other)
    except jsonio.JsonError:
        return None
    names = _Names(old, new)
    last = _match(_Goal(_joined(old)), new, names)
    if last is None:
        return None
    out = b"".join(_told(frame, at <= last, names) for at, frame in enumerate(new))
    said = _content(dialect, other)
    return out if said is not None and _content(dialect, shown + out) == said else None


def _frames(dialect: Dialect, data: bytes) -> list[_Frame]:
    """Frames with what they say, without comments. Raises JsonError."""
    found = []
    for raw in sse.frames(data):
        payload = sse.data(raw)
        value = jsonio.loads(payload) if payload and not payload.startswith(DONE) else None
        if isinstance(value, dict):
            found.append(_Frame(raw, value, dialect.pieces(value)))
        elif payload:
            found.append(_Frame(raw, {}, Said()))
    return found


def _joined(frames: Iterable[_Frame]) -> list[Piece]:
    """All that was shown, each text as one."""
    found: list[Piece] = []
    every = (it for frame in frames for it in frame.said.pieces if it.text != "")
    for _, same in itertools.groupby(enumerate(every), key=_text):
        first, *more = (piece for _, piece in same)
        if more:
            text = "".join([it.text or "" for it in (first, *more)])
            first = msgspec.structs.replace(first, text=text)
        found.append(first)
    return found


def _text(numbered: tuple[int, Piece]) -> tuple[Json, ...]:
    """The same for stretches of one text, and for nothing else."""
    number, piece = numbered
    return (number,) if piece.text is None else (None, *piece.key)


class _Goal:
    """What was shown, and how much of it the other answer has said."""

    __slots__ = ("_at", "_done", "_pieces")

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self._at = self._done = 0

    def reached(self) -> bool:
        """Whether all of it was said."""
        return self._at == len(self._pieces)

    def take(self, piece: Piece, names: _Names) -> str | None:
        """What a piece says beyond what was shown; None where it says something else."""
        if piece.text == "":
            return ""
        want = self._pieces[self._at]
        if piece.key != want.key:
            return None
        if piece.text is None or want.text is None:
            for new, old in zip(piece.ids, want.ids, strict=True):
                names.same(new, old)
            self._at += 1
            return ""
        if want.text.startswith(piece.text, self._done):
            self._done += len(piece.text)
            if self._done == len(want.text):
                self._at, self._done = self._at + 1, 0
            return ""
        left = want.text[self._done :]
        if self._at + 1 < len(self._pieces) or not piece.text.startswith(left):
            return None
        self._at += 1
        return piece.text[len(left) :]


def _match(goal: _Goal, frames: list[_Frame], names: _Names) -> int | None:
    """Find what was shown at the beginning of frames.

    Gives the last frame that has of it, -1 where nothing was shown, None where it is not there.
    """
    if goal.reached():
        return -1
    for at, frame in enumerate(frames):
        for piece in frame.said.pieces:
            if goal.reached() and piece.text != "":
                break
            left = goal.take(piece, names)
            if left is None:
                return None
            if left:
                box, member = piece.places[0]
                box[member], frame.cut = left, True
            else:
                frame.shown.append(piece)
        if goal.reached():
            return at
    return None


def _told(frame: _Frame, shown: bool, names: _Names) -> bytes:  # noqa: FBT001 - up to which frame
    """What of a frame is still to be shown; `shown`: what was shown ends in it or after it."""
    if frame.said.head:
        return b""
    if not shown:
        return names.put(frame.raw)
    all_of_it = len(frame.shown) == len(frame.said.pieces) and not frame.cut
    if all_of_it and not frame.said.stays:
        return b""
    for box, member in (place for piece in frame.shown for place in piece.places):
        box.pop(member, None)
    for parts in frame.said.parts:  # an SDK takes a content without any for no answer
        parts[:] = [part for part in parts if part] or [{"text": ""}]
    lines = [line for line in frame.raw.split(b"\n") if line.startswith(b"event:")]
    return names.put(b"\n".join([*lines, sse.frame(jsonio.dumps(frame.value))]))


def _first(frames: Iterable[_Frame]) -> tuple[Json, Json]:
    return next((top for it in frames if (top := _top(it.value))[0]), (None, None))


def _top(value: Object) -> tuple[Json, Json]:
    """The name of an answer and when it was made, as its frames tell them."""
    inner = group(value, "response")
    if inner:
        return inner.get("id"), inner.get("created_at")
    return value.get("id") or value.get("responseId"), value.get("created")


_TEXTS = (Words, Declined, Thinking, ToolPiece)


def _content(dialect: Dialect, data: bytes) -> list[tuple[Json, ...]] | None:
    """All that a stream says but names, its texts as one each; None where it is not whole."""
    decoder = speech(dialect).decoder()
    found: list[tuple[Json, ...]] = []
    text: list[str] = []
    events = [*decoder.feed(data), *decoder.end()]
    for event in events:
        if isinstance(event, Failed):
            return None
        if isinstance(event, _TEXTS):
            where = (
                type(event),
                getattr(event, "index", None),
                getattr(event, "part", None),
                event.choice,
            )
            if not found or found[-1][0] != where:
                text = []
                found.append((where, text))
            text.append(event.text)
        elif (said := _said(event)) is not None:
            found.append(said)
    if not events or not isinstance(events[-1], End):
        return None
    return [(it[0], "".join(it[1])) if isinstance(it[1], list) else it for it in found]


def _said(event: Event) -> tuple[Json, ...] | None:
    match event:
        case ToolStart():
            return ToolStart, event.index, event.name, event.custom, event.choice
        case ToolEnd():
            return ToolEnd, event.index, event.state, event.choice
        case ThoughtEnd():
            return ThoughtEnd, event.state, event.redacted, event.choice
        case Cited():
            return Cited, event.url, event.title, event.start, event.end, event.choice
        case Opaque():
            return Opaque, event.kind, event.choice
        case Finish():
            return Finish, event.reason, event.stop, event.choice
        case _:
            return None
