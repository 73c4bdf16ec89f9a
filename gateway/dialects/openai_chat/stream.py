"""Native streams: the inspector, and the usage chunk of recorded streams, added and removed.

Bytes pass as they came, while the gateway reads usage, errors and the end:

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
from gateway.dialects.openai_chat.content import has_content, list_choices, read_finish_reason
from gateway.dialects.openai_chat.errors import find_problem
from gateway.dialects.openai_chat.usage import write_usage
from gateway.dialects.stream_commit import StreamBuffer
from gateway.dialects.stream_frames import (
    DEFAULT_FINISH,
    DONE_FRAME,
    DONE_PAYLOAD,
    Frame,
    make_broken_frame,
)

type Object = dict[str, Json]

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DONE = b"[DONE]"


def read_frame(_raw: bytes, payload: bytes) -> Frame:
    """Read one frame of a stream of chunks; see FrameReader."""
    if payload.startswith(DONE_PAYLOAD):
        return DONE_FRAME
    try:
        chunk = jsonio.loads(payload)
    except jsonio.JsonError:
        chunk = None
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


class _StreamInspector(StreamBuffer):
    """The facts of one stream so far; see StreamInspector."""

    __slots__ = (
        "_choices",
        "_done",
        "_finish_optional",
        "_finished_choices",
        "_hides_usage",
        "_seen_choices",
        "_tier_word",
    )

    def __init__(self, *, hide_usage: bool, choices: int, finish_optional: bool) -> None:
        super().__init__()
        self._hides_usage = hide_usage
        self._choices = choices
        self._finish_optional = finish_optional
        self._done = False
        self._seen_choices: set[int] = set()
        self._finished_choices: set[int] = set()
        self._tier_word: Json = None
        """The provider's word for the service tier that served."""

    @property
    def complete(self) -> bool:
        """True if each choice has a finish reason; some hosts send no `[DONE]` after it."""
        if self.problem is not None:
            return False
        return self._done or len(self._finished_choices) >= max(
            self._choices, len(self._seen_choices), 1
        )

    def _count(self, payload: bytes) -> bool:
        size, has_marks = usage.count_chunk_content(payload)
        self.content_bytes += size
        return has_marks or self._choices > 1

    def _read_frame(self, raw: bytes, payload: bytes, /) -> Frame:
        return read_frame(raw, payload)

    def _inspect(self, frame: Frame) -> bool:
        """Take the facts of one chunk; True for usage that only the gateway asked for."""
        if frame.is_done:
            self._done = (
                bool(self._finished_choices) and self._finished_choices >= self._seen_choices
            )
            if not self._done and self._finish_optional and self.committed:
                self._done, self.finish = True, self.finish or DEFAULT_FINISH
            return not self._done
        chunk = frame.value
        if self.served_model is None and isinstance(chunk.get("model"), str):
            self.served_model = chunk["model"] or None
        if self.response_id is None:
            self.response_id = parse_response_id(chunk.get("id"))
        has_usage = self._read_usage(chunk)
        if frame.problem is not None:
            return True
        for choice in list_choices(chunk):
            self._read_choice(choice)
        return self._hides_usage and has_usage and not chunk.get("choices")

    def _read_usage(self, chunk: dict[str, Json]) -> bool:
        """Take the usage of a chunk; True if it counts anything."""
        self._tier_word = chunk.get("service_tier") or self._tier_word
        counts = usage.find(chunk, self._tier_word)
        if counts is not None:
            self.usage = msgspec.structs.replace(
                merge_usage(self.usage, counts), service=counts.service
            )
        elif (tier := parse_service_tier(self._tier_word)) is not None:
            self.usage = msgspec.structs.replace(self.usage or Usage(), service=tier)
        return counts is not None

    def _read_choice(self, choice: dict[str, Json]) -> None:
        index = choice.get("index")
        at = index if isinstance(index, int) else 0
        self._seen_choices.add(at)
        finish = read_finish_reason(choice)
        if finish is not None:
            self._finished_choices.add(at)
            self.finish = finish
            self.committed = True
        elif not self.committed:
            self.committed = has_content(choice.get("delta"))


def add_usage(stream: bytes, usage: Usage | None) -> bytes:
    """Return a stream with usage: its own, else one more chunk with `usage` if that is known."""
    value = write_usage(usage)
    frames = sse.split_frames(stream)
    if value is None or any(_find_usage_chunk(frame) for frame in frames):
        return stream
    head = next((chunk for frame in reversed(frames) if (chunk := _read_chunk(frame))), None)
    if head is None:
        return stream
    last = sse.write_frame(jsonio.dumps({**head, "choices": [], "usage": value}))
    ends = [at for at, frame in enumerate(frames) if sse.read_data(frame) == _DONE]
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


def _find_usage_chunk(frame: bytes) -> Object | None:
    """Return the chunk of a frame if it has usage."""
    chunk = _read_chunk(frame) if _USAGE.search(frame) else None
    return chunk if chunk is not None and isinstance(chunk.get("usage"), dict) else None


def _read_chunk(frame: bytes) -> Object | None:
    payload = sse.read_data(frame)
    if payload in (b"", _DONE):
        return None
    chunk = jsonio.loads(payload)
    return chunk if isinstance(chunk, dict) and isinstance(chunk.get("choices"), list) else None
