"""Frames of a provider's stream: what one is, in every dialect, and how a stream is cut into them.

Each dialect has one function that reads a frame (`read_frame` in its `stream.py`). The native
relay, translation and recorded answers take what it returns; nothing else parses a frame.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

import msgspec

from gateway.core import json_size, jsonio, log_probs, loss, sse
from gateway.core.errors import Problem
from gateway.core.events import AnswerMetadata, Event, Failed, LogProbs
from gateway.core.jsonio import Json
from gateway.dialects.member_list import (
    UNKNOWN_OBJECT,
    WHOLE,
    MemberList,
    find_unread_members,
)

DONE_PAYLOAD = b"[DONE]"
"""The end of Chat Completions streams, which some hosts send in other dialects too."""
DEFAULT_FINISH = "stop"
"""The reason for an end without one, at a provider that may leave it out."""
MAX_FRAME_BYTES = 32_000_000
"""Bytes of one frame: images in answers take some millions."""

_MAX_UNREAD_NAMES = 100
"""Names in one stream: a provider may send a member of a new name in each chunk."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame of a stream, read once."""

    value: dict[str, Json] = {}
    """The event or chunk; empty at `[DONE]`, and where the frame has none."""
    kind: str = ""
    """The type of the event, in dialects whose events have one."""
    problem: Problem | None = None
    """The provider's error; also set if the frame is broken."""
    is_done: bool = False
    """True if the frame is `[DONE]`."""
    is_hidden: bool = False
    """True if an official SDK would not see the error, or would fail at the frame."""


DONE_FRAME = Frame(is_done=True)


def make_broken_frame() -> Frame:
    """Return the frame of a payload that the gateway cannot read."""
    return Frame(problem=make_broken_problem(), is_hidden=True)


type FrameReader = Callable[[bytes, bytes], Frame]
"""Reads one frame: its bytes with the blank line, and its payload, which is not empty."""


def parse_payload(payload: bytes) -> Json:
    """Return the JSON value of a payload; None if it is not JSON."""
    try:
        return jsonio.loads_bounded(payload, json_size.MAX_VALUES)
    except jsonio.JsonError:
        return None


def iterate_frames(stream: bytes, read_frame: FrameReader) -> Iterator[Frame]:
    """Yield the frames of a recorded stream that have a payload."""
    for raw in sse.split_frames(stream):
        payload = sse.read_data(raw)
        if payload:
            yield read_frame(raw, payload)


class UnreadNames:
    """The parts of an answer that its decoder has named: each once, and a bounded number."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, name: str) -> bool:
        """Take a name; return True if it is new, and there is room for it."""
        if name in self._names or len(self._names) >= _MAX_UNREAD_NAMES:
            return False
        self._names.add(name)
        return True


class FrameDecoder(ABC):
    """The base of all stream decoders: frames in, events out.

    A dialect turns one frame into events in `_decode`, and adds the last ones in `_close`. Its
    framing (`feed` and `end` of base.Decoder) is another class's: see SseDecoder.
    """

    __slots__ = ("_is_over", "_members", "_unread_names")

    def __init__(self, members: MemberList) -> None:
        """`members`: the member list of the dialect's answers; `event` is a frame."""
        self._members = members
        self._unread_names = UnreadNames()
        self._is_over = False
        """True if the stream has ended or failed: the decoder reads no more of it."""

    @abstractmethod
    def _decode(self, frame: Frame, out: list[Event]) -> None:
        """Add the events of a frame without a problem. Set `_is_over` at the end of the answer."""

    @abstractmethod
    def _decode_error(self, frame: Frame, out: list[Event]) -> None:
        """Add what a frame with an error tells beside it, such as usage."""

    @abstractmethod
    def _close(self, out: list[Event], *, is_cut: bool) -> None:
        """Add the last events, if no frame ended the answer. `is_cut`: half a frame came last."""

    def _take(self, frame: Frame, out: list[Event]) -> bool:
        """Add the events of one frame; return True if it was the last."""
        if frame.problem is not None:
            self._decode_error(frame, out)
            self._fail(frame.problem, out)
        else:
            self._decode(frame, out)
            self._name_unread_members(frame, out)
        return self._is_over

    def _name_unread_members(self, frame: Frame, out: list[Event]) -> None:
        """Name what the client does not get of a frame. An End stays the last event."""
        for name in find_unread_in_frame(frame, self._members):
            if self._unread_names.add(name):
                out.insert(len(out) - self._is_over, AnswerMetadata(name))

    def _fail(self, problem: Problem, out: list[Event]) -> None:
        out.append(Failed(problem))
        self._is_over = True


class SseDecoder(FrameDecoder):
    """The base of the decoders of server-sent events: bytes in, whatever was read of the stream."""

    __slots__ = ("_has_log_probs", "_read_frame", "_splitter")
    log_probs_members: ClassVar[tuple[bytes, ...]] = ()

    def __init__(self, read_frame: FrameReader, members: MemberList) -> None:
        """`members`: the member list of the dialect's answers; `event` is a frame."""
        super().__init__(members)
        self._read_frame = read_frame
        self._splitter = sse.FrameSplitter()
        self._has_log_probs = False
        """True if events have had log probabilities."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events in the next bytes. After a Failed no more events come."""
        out: list[Event] = []
        if self._is_over:
            return out
        data = self._splitter.feed(data)
        readable_data = log_probs.make_readable(data, self.log_probs_members)
        if readable_data is None:
            self._fail(
                make_broken_problem("a frame with too many JSON values, or too much text"), out
            )
            return out
        for raw in sse.split_data_frames(readable_data):
            payload = sse.read_data(raw)
            if payload and self._take(self._read_frame(raw, payload), out):
                break
        if not self._has_log_probs:
            self._has_log_probs = LogProbs in map(type, out)
            if readable_data is not data and not self._has_log_probs:
                # An event that only repeats them at the end would leave out nothing.
                out.insert(len(out) - self._is_over, AnswerMetadata(loss.LOG_PROBS))
        if self._splitter.size > MAX_FRAME_BYTES and not self._is_over:
            self._fail(make_broken_problem("a frame without an end"), out)
        return out

    def end(self) -> list[Event]:
        """Return the last events. The last frame may lack its blank line; half a frame is none."""
        out: list[Event] = []
        rest = self._splitter.take_pending()
        if self._is_over:
            return out
        is_whole = is_complete_frame(rest)
        payload = sse.read_data(rest)
        if not (is_whole and payload and self._take(self._read_frame(rest, payload), out)):
            self._close(out, is_cut=not is_whole)
        self._is_over = True
        return out


def find_unread_in_frame(frame: Frame, members: MemberList) -> list[str]:
    """Find what a client does not get of a frame; see find_unread_members.

    The type of an event begins the paths of its members. Of an unknown type it is the name.
    """
    kind = frame.kind
    if not kind:
        return find_unread_members(frame.value, members, "event")
    name = f"event:{kind}"
    frame_members = members.get(name, UNKNOWN_OBJECT)
    if WHOLE in frame_members:
        return [kind] if frame_members[WHOLE].decision == "named" else []
    return find_unread_members(frame.value, members, name, f"{kind}.")


def name_unread_members(answer: Json, members: MemberList) -> list[Event]:
    """Name what a client does not get of a whole answer, each name once."""
    names = dict.fromkeys(find_unread_members(answer, members, "answer"))
    return [AnswerMetadata(name) for name in names]


def make_empty_problem() -> Problem:
    """Describe an answer that has no content, and no reason why it ended."""
    message = "The provider sent no content, and did not end its answer."
    return Problem(kind="upstream_truncated", message=message, spent="maybe")


def make_broken_problem(subject: str = "a broken frame") -> Problem:
    """Return the problem of an answer or a frame that the gateway cannot read."""
    return Problem(kind="upstream_error", message=f"The provider sent {subject}.", spent="maybe")


def is_complete_frame(remainder: bytes) -> bool:
    """Return True if the rest of a stream is a whole frame, or blank lines."""
    payload = sse.read_data(remainder)
    if not payload:
        return not remainder.strip(b"\r\n")
    return payload.startswith(DONE_PAYLOAD) or isinstance(parse_payload(payload), dict)
