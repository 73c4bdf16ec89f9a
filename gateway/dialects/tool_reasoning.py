"""Reasoning that belongs to calls of tools, for clients that cannot keep it between two requests.

    Ear    listens to an answer          -> Note    what its maker wants back with its calls
    back   a request, and such notes     -> the request with the reasoning where it stood
    bare   a request                     -> the request without any state

Chat Completions has no slot for a maker's state that its clients keep. Models that think between
calls of tools want it back, some refuse the next request without it.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Part, Thought, ToolUse
from gateway.core.errors import Problem
from gateway.core.events import Event, ReasoningDelta, ReasoningEnd, TextDelta, ToolEnd, ToolStart
from gateway.core.usage import Usage
from gateway.dialects.base import (
    UNWRITTEN,
    Decoder,
    Dialect,
    RequestBody,
    ResponseSummary,
    StreamInspector,
    WrittenBody,
)
from gateway.dialects.stream_commit import STOP

_WORDS = ("signature", "thinking", "thought", "encrypted", "reasoning")
"""A provider that refuses a state says one of these."""
GONE = ("previous_response", "previous response", "item with id")
"""One that is named an answer or an item which it does not have says one of these."""


class KeptReasoning(msgspec.Struct, frozen=True):
    """A thought, as its maker wants it back."""

    text: str
    state: str
    redacted: bool = False
    late: bool = False
    """Text of the answer stood before it."""


class ToolCallReasoning(msgspec.Struct, frozen=True):
    """What belongs to one call: the thoughts right before it, and a state that hangs on it."""

    thoughts: tuple[KeptReasoning, ...] = ()
    state: str | None = None


class ReasoningNote(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to the calls of one answer, and who made it."""

    maker: str
    """See dialects.reasoning_state."""
    provider: str
    model: str
    account: str
    calls: dict[str, ToolCallReasoning]
    """By id, in their order."""


class EventListener(Protocol):
    """Whoever is told the events of an answer."""

    def hear(self, event: Event) -> None:
        """Take one event."""
        ...


class ReasoningRecorder:
    """Listens to one answer."""

    __slots__ = ("_calls", "_late", "_open", "_pieces", "_spoke", "_states", "_thoughts", "note")

    def __init__(self, note: ReasoningNote) -> None:
        """`note` says who answers."""
        self.note = note
        self._calls: dict[str, tuple[KeptReasoning, ...]] = {}
        self._open: dict[int, str] = {}
        self._states: dict[str, str] = {}
        self._pieces: list[str] = []
        self._thoughts: list[KeptReasoning] = []
        self._late = self._spoke = False

    def hear(self, event: Event) -> None:
        """Take one event; a client of this kind asks for one answer, others are not noted."""
        kind = type(event)
        if kind is TextDelta:
            self._spoke = True
        elif kind in _HEARD and event.choice == 0:  # type: ignore[union-attr]  # those have it
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case ReasoningDelta():
                self._late = self._spoke if not self._pieces else self._late
                self._pieces.append(event.text)
            case ReasoningEnd():
                late = self._late if self._pieces else self._spoke
                text = "".join(self._pieces)
                self._pieces.clear()
                if event.state is not None:
                    self._thoughts.append(KeptReasoning(text, event.state, event.redacted, late))
            case ToolStart():
                self._open[event.index] = event.id
                self._calls[event.id] = tuple(self._thoughts)
                self._thoughts.clear()
            case ToolEnd() if event.state is not None and event.index in self._open:
                self._states[self._open[event.index]] = event.state
            case _:
                return

    def heard(self) -> ReasoningNote | None:
        """What is to be kept; None where the calls need nothing."""
        if not self._states and not any(self._calls.values()):
            return None
        calls = {
            id: ToolCallReasoning(thoughts, self._states.get(id))
            for id, thoughts in self._calls.items()
        }
        return msgspec.structs.replace(self.note, calls=calls)


_HEARD = frozenset({ReasoningDelta, ReasoningEnd, ToolStart, ToolEnd})


def back(request: CanonicalRequest, notes: Mapping[str, ReasoningNote]) -> CanonicalRequest:
    """A request with what was noted of its calls; `notes` by the id of the first call of a turn.

    A thought without a state gives way to the one that was noted.
    """
    turns = []
    for turn in request.turns:
        first = next((part for part in turn.parts if isinstance(part, ToolUse)), None)
        note = notes.get(first.id) if first is not None else None
        turns.append(turn if note is None else _turn(turn, note))
    return msgspec.structs.replace(request, turns=tuple(turns))


def _turn(turn: CanonicalTurn, note: ReasoningNote) -> CanonicalTurn:
    lead: list[Part] = []
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, Thought) and part.state is None:
            continue
        if isinstance(part, ToolUse) and (called := note.calls.get(part.id)) is not None:
            begun = any(isinstance(it, ToolUse) for it in parts)
            for kept in called.thoughts:
                thought = Thought(
                    text=kept.text, state=kept.state, redacted=kept.redacted, maker=note.maker
                )
                (parts if begun or kept.late else lead).append(thought)
            if called.state is not None:
                part = msgspec.structs.replace(part, state=called.state, maker=note.maker)  # noqa: PLW2901 - the same call
        parts.append(part)
    return msgspec.structs.replace(turn, parts=(*lead, *parts))


def bare(request: CanonicalRequest) -> CanonicalRequest:
    """A request without any maker's state."""
    turns = tuple(
        msgspec.structs.replace(turn, parts=tuple(map(_bare, _spoken(turn))))
        for turn in request.turns
    )
    return msgspec.structs.replace(request, turns=turns)


def _spoken(turn: CanonicalTurn) -> list[Part]:
    return [part for part in turn.parts if not isinstance(part, Thought)]


def _bare(part: Part) -> Part:
    if isinstance(part, ToolUse) and part.state is not None:
        return msgspec.structs.replace(part, state=None, maker=None)
    return part


def holds(request: CanonicalRequest, maker: str) -> bool:
    """Whether a request holds a state of a maker."""
    return any(
        isinstance(part, Thought | ToolUse) and part.state is not None and part.maker == maker
        for turn in request.turns
        for part in turn.parts
    )


def refused(problem: Problem) -> bool:
    """Whether a provider refused a request for the state in it: its 400 speaks of one."""
    rejected = problem.kind == "upstream_rejected" and problem.upstream_status == 400
    return rejected and says(problem, *_WORDS)


def says(problem: Problem, *words: str) -> bool:
    """Whether a provider's error has one of these words, in lower case."""
    said = f"{problem.message} {(problem.body or b'').decode('utf-8', 'replace')}".lower()
    return any(word in said for word in words)


class LenientPassThrough:
    """A client's own dialect, at a provider whose answers may end without a reason why."""

    def __init__(self, dialect: Dialect) -> None:
        self.write = dialect.write
        self.read_problem = dialect.read_problem
        self._dialect = dialect

    def glance(self, data: bytes) -> ResponseSummary:
        """Read a whole answer: without an error it is complete, and a missing reason is `stop`."""
        found = self._dialect.glance(data)
        if found.problem is not None or found.pending:
            return found
        return msgspec.structs.replace(found, complete=True, finish=found.finish or STOP)

    def watch(self, body: RequestBody, written: WrittenBody = UNWRITTEN) -> StreamInspector:
        """Watch the stream of an answer."""
        return self._dialect.watch(body, written, finish_optional=True)


class PassThrough:
    """A client's own dialect, listened to."""

    def __init__(
        self, dialect: Dialect, ear: ReasoningRecorder, *, finish_optional: bool = False
    ) -> None:
        """`finish_optional`: answers of the provider may end without a reason why.

        Raises LookupError for a dialect that is not translated.
        """
        if dialect.speech is None:
            raise LookupError(f"{dialect.name} has no events")
        self.write = dialect.write
        self.read_problem = dialect.read_problem
        self._voice = LenientPassThrough(dialect) if finish_optional else dialect
        self._speech, self._ear = dialect.speech, ear

    def glance(self, data: bytes) -> ResponseSummary:
        """A whole answer."""
        found = self._voice.glance(data)
        for event in self._speech.events(data) if found.problem is None else ():
            self._ear.hear(event)
        return found

    def watch(self, body: RequestBody, written: WrittenBody = UNWRITTEN) -> StreamInspector:
        """Watch the stream of an answer."""
        return _Heard(self._voice.watch(body, written), self._speech.decoder(), self._ear)


class _Heard:
    """A stream that is listened to; see StreamInspector."""

    __slots__ = ("_decoder", "_ear", "_watch")

    def __init__(self, watch: StreamInspector, decoder: Decoder, ear: ReasoningRecorder) -> None:
        self._watch, self._decoder, self._ear = watch, decoder, ear

    @property
    def committed(self) -> bool:
        return self._watch.committed

    @property
    def usage(self) -> Usage | None:
        return self._watch.usage

    @property
    def served(self) -> str | None:
        return self._watch.served

    @property
    def response_id(self) -> str | None:
        return self._watch.response_id

    @property
    def finish(self) -> str | None:
        return self._watch.finish

    @property
    def problem(self) -> Problem | None:
        return self._watch.problem

    @property
    def complete(self) -> bool:
        return self._watch.complete

    @property
    def heard(self) -> int:
        return self._watch.heard

    def feed(self, data: bytes) -> bytes:
        for event in self._decoder.feed(data):
            self._ear.hear(event)
        return self._watch.feed(data)

    def end(self) -> bytes:
        for event in self._decoder.end():
            self._ear.hear(event)
        return self._watch.end()
