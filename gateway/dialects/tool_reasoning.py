"""Reasoning that belongs to tool calls, for clients that cannot keep it between two requests.

    ReasoningRecorder   an answer            -> a ReasoningNote: the state that its model needs back
    restore_reasoning   a request and notes  -> the request with the reasoning in its place
    remove_reasoning    a request            -> the request without any state

Chat Completions has no member for the state of a model's reasoning, so its clients lose it. Models
that think between tool calls need it back. Some refuse the next request without it.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Part, Thought, ToolUse
from gateway.core.errors import Problem
from gateway.core.events import Event, ReasoningDelta, ReasoningEnd, TextDelta, ToolEnd, ToolStart
from gateway.core.usage import Usage
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    Decoder,
    Dialect,
    RequestBody,
    ResponseSummary,
    StreamInspector,
    WrittenBody,
)
from gateway.dialects.stream_frames import DEFAULT_FINISH

_STATE_ERROR_WORDS = ("signature", "thinking", "thought", "encrypted", "reasoning")
"""Words of a provider that refuses a state."""
_GONE_RESPONSE_WORDS = ("previous_response", "previous response", "item with id")
"""Words of a provider that does not have the answer or the item that a request names."""


class KeptReasoning(msgspec.Struct, frozen=True):
    """A thought, as its maker wants it back."""

    text: str
    state: str
    redacted: bool = False
    late: bool = False
    """Text of the answer stood before it."""


class ToolCallReasoning(msgspec.Struct, frozen=True):
    """The reasoning of one tool call: the thoughts right before it, and the maker's state on it."""

    thoughts: tuple[KeptReasoning, ...] = ()
    state: str | None = None


class ReasoningNote(msgspec.Struct, frozen=True, kw_only=True):
    """The reasoning of the tool calls of one answer, and its maker."""

    maker: str
    """See dialects.reasoning_state."""
    provider: str
    model: str
    account: str
    calls: dict[str, ToolCallReasoning]
    """By id, in their order."""


class EventListener(Protocol):
    """A listener to the events of an answer."""

    def on_event(self, event: Event) -> None:
        """Take one event."""
        ...


class ReasoningRecorder:
    """Listens to one answer."""

    __slots__ = (
        "_follows_text",
        "_has_text",
        "_open_calls",
        "_states_by_call",
        "_text_deltas",
        "_thoughts",
        "_thoughts_by_call",
        "note",
    )

    def __init__(self, note: ReasoningNote) -> None:
        """`note` says who answers."""
        self.note = note
        self._thoughts_by_call: dict[str, tuple[KeptReasoning, ...]] = {}
        self._open_calls: dict[int, str] = {}
        self._states_by_call: dict[str, str] = {}
        self._text_deltas: list[str] = []
        self._thoughts: list[KeptReasoning] = []
        self._follows_text = self._has_text = False

    def on_event(self, event: Event) -> None:
        """Take one event; a client of this kind asks for one answer, others are not noted."""
        event_type = type(event)
        if event_type is TextDelta:
            self._has_text = True
        elif event_type in _RECORDED_EVENT_TYPES and event.choice == 0:  # type: ignore[union-attr]  # those have it
            self._record(event)

    def _record(self, event: Event) -> None:
        match event:
            case ReasoningDelta():
                self._follows_text = self._has_text if not self._text_deltas else self._follows_text
                self._text_deltas.append(event.text)
            case ReasoningEnd():
                follows_text = self._follows_text if self._text_deltas else self._has_text
                text = "".join(self._text_deltas)
                self._text_deltas.clear()
                if event.state is not None:
                    self._thoughts.append(
                        KeptReasoning(text, event.state, event.redacted, follows_text)
                    )
            case ToolStart():
                self._open_calls[event.index] = event.id
                self._thoughts_by_call[event.id] = tuple(self._thoughts)
                self._thoughts.clear()
            case ToolEnd() if event.state is not None and event.index in self._open_calls:
                self._states_by_call[self._open_calls[event.index]] = event.state
            case _:
                return

    def build_note(self) -> ReasoningNote | None:
        """The note to keep; None where the calls need none."""
        if not self._states_by_call and not any(self._thoughts_by_call.values()):
            return None
        calls = {
            id: ToolCallReasoning(thoughts, self._states_by_call.get(id))
            for id, thoughts in self._thoughts_by_call.items()
        }
        return msgspec.structs.replace(self.note, calls=calls)


_RECORDED_EVENT_TYPES = frozenset({ReasoningDelta, ReasoningEnd, ToolStart, ToolEnd})


def restore_reasoning(
    request: CanonicalRequest, notes: Mapping[str, ReasoningNote]
) -> CanonicalRequest:
    """A request with what was noted of its calls; `notes` by the id of the first call of a turn.

    A thought without a state gives way to the one that was noted.
    """
    turns = []
    for turn in request.turns:
        first_call = next((part for part in turn.parts if isinstance(part, ToolUse)), None)
        note = notes.get(first_call.id) if first_call is not None else None
        turns.append(turn if note is None else _restore_turn(turn, note))
    return msgspec.structs.replace(request, turns=tuple(turns))


def _restore_turn(turn: CanonicalTurn, note: ReasoningNote) -> CanonicalTurn:
    leading_thoughts: list[Part] = []
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, Thought) and part.state is None:
            continue
        if isinstance(part, ToolUse) and (call_reasoning := note.calls.get(part.id)) is not None:
            has_begun_calls = any(isinstance(earlier_part, ToolUse) for earlier_part in parts)
            for kept_thought in call_reasoning.thoughts:
                thought = Thought(
                    text=kept_thought.text,
                    state=kept_thought.state,
                    redacted=kept_thought.redacted,
                    maker=note.maker,
                )
                (parts if has_begun_calls or kept_thought.late else leading_thoughts).append(
                    thought
                )
            if call_reasoning.state is not None:
                part = msgspec.structs.replace(part, state=call_reasoning.state, maker=note.maker)  # noqa: PLW2901 - the same call
        parts.append(part)
    return msgspec.structs.replace(turn, parts=(*leading_thoughts, *parts))


def remove_reasoning(request: CanonicalRequest) -> CanonicalRequest:
    """A request without any maker's state."""
    turns = tuple(
        msgspec.structs.replace(turn, parts=tuple(map(_remove_state, _list_other_parts(turn))))
        for turn in request.turns
    )
    return msgspec.structs.replace(request, turns=turns)


def _list_other_parts(turn: CanonicalTurn) -> list[Part]:
    return [part for part in turn.parts if not isinstance(part, Thought)]


def _remove_state(part: Part) -> Part:
    if isinstance(part, ToolUse) and part.state is not None:
        return msgspec.structs.replace(part, state=None, maker=None)
    return part


def holds_state_of(request: CanonicalRequest, maker: str) -> bool:
    """Return True if a request holds a maker's state."""
    return any(
        isinstance(part, Thought | ToolUse) and part.state is not None and part.maker == maker
        for turn in request.turns
        for part in turn.parts
    )


def is_state_refused(problem: Problem) -> bool:
    """Return True if a provider refused a request for the state in it: its 400 says so."""
    is_rejected = problem.kind == "upstream_rejected" and problem.upstream_status == 400
    return is_rejected and _contains_words(problem, *_STATE_ERROR_WORDS)


def is_response_missing(problem: Problem) -> bool:
    """True if a provider does not have the earlier answer, or the item, that a request names."""
    return _contains_words(problem, *_GONE_RESPONSE_WORDS)


def _contains_words(problem: Problem, *words: str) -> bool:
    """Return True if a provider's error has one of these words, in lower case."""
    text = f"{problem.message} {(problem.body or b'').decode('utf-8', 'replace')}".lower()
    return any(word in text for word in words)


class LenientPassThrough:
    """A client's own dialect, at a provider whose answers may end without a reason why."""

    def __init__(self, dialect: Dialect) -> None:
        self.write = dialect.write
        self.read_problem = dialect.read_problem
        self._dialect = dialect

    def summarize(self, data: bytes) -> ResponseSummary:
        """Read a whole answer: without an error it is complete, and a missing reason is `stop`."""
        summary = self._dialect.summarize(data)
        if summary.problem is not None or summary.is_pending:
            return summary
        return msgspec.structs.replace(
            summary, complete=True, finish=summary.finish or DEFAULT_FINISH
        )

    def inspect_stream(
        self, body: RequestBody, written_body: WrittenBody = EMPTY_WRITTEN_BODY
    ) -> StreamInspector:
        """Watch the stream of an answer."""
        return self._dialect.inspect_stream(body, written_body, finish_optional=True)


class PassThrough:
    """A client's own dialect, listened to."""

    def __init__(
        self, dialect: Dialect, recorder: ReasoningRecorder, *, finish_optional: bool = False
    ) -> None:
        """`finish_optional`: answers of the provider may end without a reason why.

        Raises LookupError for a dialect that is not translated.
        """
        if dialect.translation is None:
            raise LookupError(f"{dialect.name} has no events")
        self.write = dialect.write
        self.read_problem = dialect.read_problem
        self._adapter = LenientPassThrough(dialect) if finish_optional else dialect
        self._translation, self._recorder = dialect.translation, recorder

    def summarize(self, data: bytes) -> ResponseSummary:
        """A whole answer."""
        summary = self._adapter.summarize(data)
        for event in self._translation.decode_response(data) if summary.problem is None else ():
            self._recorder.on_event(event)
        return summary

    def inspect_stream(
        self, body: RequestBody, written_body: WrittenBody = EMPTY_WRITTEN_BODY
    ) -> StreamInspector:
        """Watch the stream of an answer."""
        return _RecordedStream(
            self._adapter.inspect_stream(body, written_body),
            self._translation.make_decoder(),
            self._recorder,
        )


class _RecordedStream:
    """A stream that is listened to; see StreamInspector."""

    __slots__ = ("_decoder", "_inspector", "_recorder")

    def __init__(
        self, inspector: StreamInspector, decoder: Decoder, recorder: ReasoningRecorder
    ) -> None:
        self._inspector, self._decoder, self._recorder = inspector, decoder, recorder

    @property
    def committed(self) -> bool:
        return self._inspector.committed

    @property
    def usage(self) -> Usage | None:
        return self._inspector.usage

    @property
    def served_model(self) -> str | None:
        return self._inspector.served_model

    @property
    def response_id(self) -> str | None:
        return self._inspector.response_id

    @property
    def finish(self) -> str | None:
        return self._inspector.finish

    @property
    def problem(self) -> Problem | None:
        return self._inspector.problem

    @property
    def complete(self) -> bool:
        return self._inspector.complete

    @property
    def content_bytes(self) -> int:
        return self._inspector.content_bytes

    def feed(self, data: bytes) -> bytes:
        for event in self._decoder.feed(data):
            self._recorder.on_event(event)
        return self._inspector.feed(data)

    def end(self) -> bytes:
        for event in self._decoder.end():
            self._recorder.on_event(event)
        return self._inspector.end()
