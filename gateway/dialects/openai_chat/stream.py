"""Native streams: bytes go on as they came, while the gateway reads usage, errors and the end.

    held --first content--> committed --a reason for each choice, and [DONE]--> complete

Frames before the first content (role chunk, comments) are held; nothing is held after it but a
frame that has not ended. After the commit point a frame is only inspected where it tells usage, an
error or a finish: of the rest the content is counted.
A `[DONE]` that comes before a reason why the answer ended stays here: it would hide that it is cut.

A stream tells usage only to a client that asks with stream_options: in one more chunk before
`[DONE]`, with empty `choices` (the chunk object of OpenAI's API reference). A recorded stream gets
that chunk, or loses it, for the next client. Streams of other objects pass untouched.
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
from gateway.dialects.stream_commit import (
    DEFAULT_FINISH,
    DONE_PAYLOAD,
    StreamBuffer,
    make_broken_problem,
)

type Object = dict[str, Json]

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DONE = b"[DONE]"


def inspect_stream(
    body: RequestBody, written: WrittenBody = EMPTY_WRITTEN_BODY, *, finish_optional: bool = False
) -> StreamInspector:
    """Watch one stream that answers `body`, which the provider got as `written`.

    `finish_optional`: it may end without a reason why.
    """
    return _StreamInspector(
        hide_usage=written.asks_usage,
        choices=body.prompt.choices,
        finish_optional=finish_optional,
    )


class _StreamInspector(StreamBuffer):
    """What one stream has said so far; see StreamInspector."""

    __slots__ = ("_choices", "_done", "_finish_optional", "_finished", "_hide", "_seen", "_word")

    def __init__(self, *, hide_usage: bool, choices: int, finish_optional: bool) -> None:
        super().__init__()
        self._hide = hide_usage
        self._choices = choices
        self._finish_optional = finish_optional
        self._done = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._word: Json = None
        """What the provider calls the service tier that served."""

    @property
    def complete(self) -> bool:
        """True if each choice has a reason why it ended; some hosts send no `[DONE]` after it."""
        if self.problem is not None:
            return False
        return self._done or len(self._finished) >= max(self._choices, len(self._seen), 1)

    def _count(self, payload: bytes) -> bool:
        size, tells = usage.count_chunk_content(payload)
        self.content_bytes += size
        return tells or self._choices > 1

    def _inspect(self, frame: bytes, payload: bytes) -> bool:  # noqa: ARG002 - others look at both
        """Read one chunk; True if it stays here: usage for the gateway alone, or no chunk."""
        if payload.startswith(DONE_PAYLOAD):
            self._done = bool(self._finished) and self._finished >= self._seen
            if not self._done and self._finish_optional and self.committed:
                self._done, self.finish = True, self.finish or DEFAULT_FINISH
            return not self._done
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            chunk = None
        if not isinstance(chunk, dict):
            self.problem = make_broken_problem()
            return True
        if self.served_model is None and isinstance(chunk.get("model"), str):
            self.served_model = chunk["model"] or None
        if self.response_id is None:
            self.response_id = parse_response_id(chunk.get("id"))
        told = self._account(chunk)
        choices = list_choices(chunk)
        self.problem = find_problem(chunk, choices, payload)
        if self.problem is not None:
            return not chunk.get("error")  # clients know an error by that member alone
        for choice in choices:
            self._choice(choice)
        return self._hide and told and not chunk.get("choices")

    def _account(self, chunk: dict[str, Json]) -> bool:
        """Take what a chunk says of usage; tell whether it counts anything."""
        self._word = chunk.get("service_tier") or self._word
        told = usage.find(chunk, self._word)
        if told is not None:
            self.usage = msgspec.structs.replace(
                merge_usage(self.usage, told), service=told.service
            )
        elif (word := parse_service_tier(self._word)) is not None:
            self.usage = msgspec.structs.replace(self.usage or Usage(), service=word)
        return told is not None

    def _choice(self, choice: dict[str, Json]) -> None:
        index = choice.get("index")
        at = index if isinstance(index, int) else 0
        self._seen.add(at)
        finish = read_finish_reason(choice)
        if finish is not None:
            self._finished.add(at)
            self.finish = finish
            self.committed = True
        elif not self.committed:
            self.committed = has_content(choice.get("delta"))


def add_usage(stream: bytes, usage: Usage | None) -> bytes:
    """A stream with usage: its own, else one more chunk that says `usage`, where that is known."""
    told = write_usage(usage)
    frames = sse.split_frames(stream)
    if told is None or any(_find_usage_chunk(frame) for frame in frames):
        return stream
    head = next((chunk for frame in reversed(frames) if (chunk := _read_chunk(frame))), None)
    if head is None:
        return stream
    last = sse.write_frame(jsonio.dumps({**head, "choices": [], "usage": told}))
    done = sse.read_data(frames[-1]) == _DONE
    before = frames[:-1] if done else frames
    if before and not before[-1].endswith((b"\n\n", b"\n\r\n")):
        before[-1] += b"\n\n"  # the last of a stream may have lacked the end of its frame
    return b"".join([*before, last, *frames[len(before) :]])


def remove_usage(stream: bytes) -> bytes:
    """A stream without its usage chunk; usage beside choices stays, its client saw it too."""
    if _USAGE.search(stream) is None:
        return stream
    kept = []
    for frame in sse.split_frames(stream):
        chunk = _find_usage_chunk(frame)
        if chunk is None or chunk.get("choices"):
            kept.append(frame)
    return b"".join(kept)


def _find_usage_chunk(frame: bytes) -> Object | None:
    """The chunk of a frame that tells usage."""
    chunk = _read_chunk(frame) if _USAGE.search(frame) else None
    return chunk if chunk is not None and isinstance(chunk.get("usage"), dict) else None


def _read_chunk(frame: bytes) -> Object | None:
    payload = sse.read_data(frame)
    if payload in (b"", _DONE):
        return None
    chunk = jsonio.loads(payload)
    return chunk if isinstance(chunk, dict) and isinstance(chunk.get("choices"), list) else None
