"""Streams: the reader of a frame, its facts, the native inspector, usage in recorded streams.

Bytes pass the inspector as they came, while it reads usage, errors and the end:

    buffered --first content--> committed --a reason for each choice, and [DONE]--> complete

The gateway buffers frames before the first content (role chunk, comments). After that it buffers
only a frame that has not ended. It then inspects a frame only if it has usage, an error or a
finish; of the others it counts the content. A `[DONE]` before any finish reason does not pass: it
would hide that the answer is cut.

A client gets usage in a stream only if it asks for it with stream_options: in one more chunk before
`[DONE]`, with empty `choices` (the chunk object of OpenAI's API reference). Streams of other
objects pass untouched.
"""

import re

import msgspec

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, merge_usage, parse_service_tier
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    RequestBody,
    StreamInspector,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.openai_chat import usage
from gateway.dialects.openai_chat.content import (
    has_content,
    list_choices,
    read_finish_reason,
    read_index,
)
from gateway.dialects.openai_chat.errors import find_problem
from gateway.dialects.openai_chat.usage import write_usage
from gateway.dialects.stream_commit import StreamBuffer
from gateway.dialects.stream_frames import (
    DEFAULT_FINISH,
    DONE_FRAME,
    DONE_PAYLOAD,
    Frame,
    make_broken_frame,
    parse_payload,
)

type Object = dict[str, Json]

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_EMPTY_FRAME = Frame()


def read_frame(_raw: bytes, payload: bytes) -> Frame:
    """Read one frame of a stream of chunks; see FrameReader."""
    if payload.startswith(DONE_PAYLOAD):
        return DONE_FRAME
    chunk = parse_payload(payload)
    if not isinstance(chunk, dict):
        return make_broken_frame()
    problem = find_problem(chunk, list_choices(chunk), payload)
    # Clients know an error by the member `error` alone.
    return Frame(chunk, problem=problem, is_hidden=not chunk.get("error"))


def inspect_stream(
    body: RequestBody, written: WrittenBody = EMPTY_WRITTEN_BODY, *, finish_optional: bool = False
) -> StreamInspector:
    """Return an inspector for one stream that answers `body`, which the provider got as `written`.

    `finish_optional`: the stream may end without a finish reason.
    """
    return _StreamInspector(
        hide_usage=written.asks_usage,
        choices=body.prompt.choices,
        finish_optional=finish_optional,
    )


class ChatStreamFacts(msgspec.Struct, kw_only=True, eq=False):
    """The facts that accounting needs: of a stream so far, or of a whole answer."""

    response_id: str | None = None
    served_model: str | None = None
    created: int | None = None
    usage: Usage | None = None
    finish: str | None = None
    """The reason that came last."""
    finish_words: dict[int, str | None] = {}
    """Why each choice ended, by its index; None as long as it goes on."""
    _tier_word: Json = None
    """The provider's word for the service tier that served."""

    @property
    def has_ended(self) -> bool:
        """True if there is a choice, and each one has ended with a reason."""
        return bool(self.finish_words) and None not in self.finish_words.values()

    @property
    def has_any(self) -> bool:
        """True if the provider has told an id, a model or usage."""
        return bool(self.response_id or self.served_model) or self.usage is not None

    @property
    def tier_usage(self) -> Usage | None:
        """Return usage that has the service tier alone; None if the provider names no known one."""
        tier = parse_service_tier(self._tier_word)
        return None if tier is None else Usage(service=tier)

    def take(self, value: Object) -> bool:
        """Take the names and the usage of a chunk or a whole answer; True if it counts anything."""
        if self.served_model is None:
            model = value.get("model")
            self.served_model = model if model and isinstance(model, str) else None
        if self.response_id is None:
            self.response_id = parse_response_id(value.get("id"))
        if self.created is None:
            created = value.get("created")
            if isinstance(created, int | float) and created > 0:
                self.created = int(created)
        tier_word = value.get("service_tier")
        has_new_tier = bool(tier_word) and tier_word != self._tier_word
        if has_new_tier:
            self._tier_word = tier_word
        counts = usage.find(value, self._tier_word)
        if counts is not None:
            self.usage = (
                counts
                if self.usage is None
                else msgspec.structs.replace(
                    merge_usage(self.usage, counts), service=counts.service
                )
            )
        elif has_new_tier and (tier := self.tier_usage) is not None:
            self.usage = msgspec.structs.replace(self.usage or tier, service=tier.service)
        return counts is not None

    def take_choice(self, choice: Object, index: int) -> bool:
        """Take the end of a choice; return True if it has a reason."""
        word = read_finish_reason(choice)
        if word is not None:
            self.finish = self.finish_words[index] = word
            return True
        self.finish_words.setdefault(index, None)
        return False


class _StreamInspector(StreamBuffer):
    """The state of one stream; see StreamInspector."""

    __slots__ = ("_choices", "_done", "_facts", "_finish_optional", "_hides_usage")

    def __init__(self, *, hide_usage: bool, choices: int, finish_optional: bool) -> None:
        super().__init__(read_frame)
        self._hides_usage = hide_usage
        self._choices = choices
        self._finish_optional = finish_optional
        self._done = False
        self._facts = ChatStreamFacts()

    @property
    def complete(self) -> bool:
        """True if each choice has a finish reason; some hosts send no `[DONE]` after it."""
        if self.problem is not None:
            return False
        facts = self._facts
        return self._done or (facts.has_ended and len(facts.finish_words) >= self._choices)

    def _count(self, payload: bytes) -> bool:
        """Count the content of a frame by the members that hold it.

        Nearly all frames hold content alone. To read only these members takes a third of the time
        of `read_frame` and the facts. A test compares the facts with those of a full read.
        """
        size, has_marks = usage.count_chunk_content(payload)
        self.content_bytes += size
        return has_marks or self._choices > 1

    def _inspect(self, frame: Frame) -> bool:
        """Take the facts of one chunk; True for usage that only the gateway asked for."""
        facts = self._facts
        if frame.is_done:
            self._done = facts.has_ended
            if not self._done and self._finish_optional and self.committed:
                self._done, self.finish = True, self.finish or DEFAULT_FINISH
            return not self._done
        chunk = frame.value
        has_usage = facts.take(chunk)
        self.usage = facts.usage
        self.served_model, self.response_id = facts.served_model, facts.response_id
        if frame.problem is not None:
            return True
        for choice in list_choices(chunk):
            has_ended = facts.take_choice(choice, read_index(choice, 0))
            self.committed = self.committed or has_ended or has_content(choice.get("delta"))
        self.finish = facts.finish
        return self._hides_usage and has_usage and not chunk.get("choices")


def write_chunk(chunk: Object) -> bytes:
    """Write a chunk as a frame."""
    return sse.write_frame(jsonio.dumps(chunk))


def add_usage(stream: bytes, usage: Usage | None) -> bytes:
    """Return a stream with usage: its own, else one more chunk with `usage` if that is known."""
    value = write_usage(usage)
    frames = sse.split_frames(stream)
    if value is None or any(_find_usage_chunk(frame) for frame in frames):
        return stream
    head = next((chunk for frame in reversed(frames) if (chunk := _read_chunk(frame))), None)
    if head is None:
        return stream
    last = write_chunk({**head, "choices": [], "usage": value})
    ends = [at for at, frame in enumerate(frames) if _read_recorded(frame).is_done]
    before = frames[: ends[-1]] if ends else frames  # a comment may follow the end
    if before and not before[-1].endswith((b"\n\n", b"\n\r\n")):
        before[-1] += b"\n\n"  # the last frame of a stream may lack its blank line
    return b"".join([*before, last, *frames[len(before) :]])


def remove_usage(stream: bytes) -> bytes:
    """Return a stream without its usage chunk. Usage beside choices stays: every client gets it."""
    if _USAGE.search(stream) is None:
        return stream
    kept = []
    for frame in sse.split_frames(stream):
        chunk = _find_usage_chunk(frame)
        if chunk is None or chunk.get("choices"):
            kept.append(frame)
    return b"".join(kept)


def _find_usage_chunk(raw: bytes) -> Object | None:
    """Return the chunk of a frame if it has usage."""
    chunk = _read_chunk(raw) if _USAGE.search(raw) else None
    return chunk if chunk is not None and isinstance(chunk.get("usage"), dict) else None


def _read_chunk(raw: bytes) -> Object | None:
    chunk = _read_recorded(raw).value
    return chunk if isinstance(chunk.get("choices"), list) else None


def _read_recorded(raw: bytes) -> Frame:
    """Read a frame of a recorded stream; one without a payload has an empty value."""
    payload = sse.read_data(raw)
    return read_frame(raw, payload) if payload else _EMPTY_FRAME
