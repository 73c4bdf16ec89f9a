"""Native Gemini streams: bytes go on as they came, and the inspector reads them.

    held --first content--> committed --end of the stream after a finishReason--> complete

No frame ends a stream: it is complete if it ends after every candidate has, or after Google refused
the prompt. A finishReason that more content follows was none. Usage is cumulative, and every frame
has it: the last one stands, and the inspector reads it only if somebody asks.
"""

from gateway.core import jsonio
from gateway.core.usage import Usage, merge_usage
from gateway.dialects import billing
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    RequestBody,
    StreamInspector,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.gemini import errors, response, usage
from gateway.dialects.gemini.content import (
    Object,
    as_integer,
    find_block_reason,
    find_error,
    has_content,
    list_objects,
    parse_finish,
)
from gateway.dialects.json_values import as_text
from gateway.dialects.stream_commit import StreamBuffer
from gateway.dialects.stream_frames import Frame, make_broken_frame


def read_frame(_raw: bytes, payload: bytes) -> Frame:
    """Read one frame of a stream of chunks; see FrameReader."""
    try:
        chunk = jsonio.loads(payload)
    except jsonio.JsonError:
        chunk = None
    is_list = isinstance(chunk, list) and bool(chunk)
    first = chunk[0] if is_list else chunk
    error = find_error(first) if isinstance(first, dict) else None
    if error:
        problem = errors.read_error_object(error, payload)
        # An SDK knows an error by the first member of the object.
        return Frame(first, problem=problem, is_hidden=is_list or next(iter(first)) != "error")
    return Frame(chunk) if isinstance(chunk, dict) else make_broken_frame()


def inspect(
    body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,  # noqa: ARG001 - as StreamInspectorFactory has it
) -> StreamInspector:
    """Inspect the stream that answers `body`; only finish reasons make it complete."""
    return _StreamInspector(choices=body.prompt.choices)


class _StreamInspector(StreamBuffer):
    """The state of one stream so far; see StreamInspector."""

    __slots__ = (
        "_begun",
        "_blocked",
        "_choices",
        "_finished",
        "_known_usage",
        "_tool_uses",
        "_unread",
    )

    def __init__(self, *, choices: int) -> None:
        self._unread = b""
        self._known_usage: Usage | None = None
        super().__init__()
        self._choices = choices
        self._blocked = False
        self._tool_uses: set[usage.ToolUse] = set()
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    @property
    def complete(self) -> bool:
        """True if the stream may be complete, and no error came."""
        if self.problem is not None:
            return False
        return self._blocked or len(self._finished) >= max(self._choices, len(self._begun), 1)

    @property
    def usage(self) -> Usage | None:
        """Return the usage so far; see StreamInspector."""
        if self._unread:
            chunk = jsonio.loads(self._unread)
            counts = chunk.get("usageMetadata") if isinstance(chunk, dict) else None
            self.usage = usage.read(counts, ended=False)
        return self._known_usage

    @usage.setter
    def usage(self, counted: Usage | None) -> None:
        self._unread = b""
        if counted is not None:
            self._known_usage = merge_usage(self._known_usage, counted)

    def end(self) -> bytes:
        """Take the end of the stream; half a frame shows that it was cut."""
        rest = bool(self._splitter.pending.strip())
        out = super().end()
        if rest and not out:
            self._blocked = False
            self._finished.clear()
        return out

    def _count(self, payload: bytes) -> bool:
        chunk = response.read_content_chunk(payload)
        self.content_bytes += response.count_content_bytes(chunk)
        if response.needs_inspection(chunk) or self._finished or self._choices > 1:
            return True
        if chunk.usage_metadata is None:
            return False
        if self.served_model is None or 0 not in self._begun or self._blocked:
            return True
        if not response.has_counts(chunk.usage_metadata):
            return True
        self._unread = payload
        return False

    def _read_frame(self, raw: bytes, payload: bytes, /) -> Frame:
        return read_frame(raw, payload)

    def _inspect(self, frame: Frame) -> bool:
        """Take the facts of one chunk."""
        if frame.problem is not None:
            return True
        chunk = frame.value
        if self.served_model is None:
            self.served_model = as_text(chunk.get("modelVersion")) or None
        if self.response_id is None:
            self.response_id = parse_response_id(chunk.get("responseId"))
        for candidate in list_objects(chunk.get("candidates")):
            self._read_candidate(candidate)
            self._tool_uses.update(usage.list_tool_uses(candidate))
        reason = find_block_reason(chunk)
        if reason is not None:
            self._blocked = self.committed = True
            self.finish = reason
        counted = usage.read(chunk.get("usageMetadata"), ended=self.complete, used=self._tool_uses)
        if counted is not None:
            self.usage = counted
        elif self._tool_uses:
            self.usage = Usage(tools=billing.count_tool_uses(self._tool_uses))
        return False

    def _read_candidate(self, candidate: Object) -> None:
        at = as_integer(candidate.get("index")) or 0
        self._begun.add(at)
        reason = parse_finish(candidate.get("finishReason"))
        content = has_content(candidate)
        if reason is not None:
            self._finished.add(at)
            self.finish = reason
        elif content:
            self._finished.discard(at)
        self.committed = self.committed or content or reason is not None
