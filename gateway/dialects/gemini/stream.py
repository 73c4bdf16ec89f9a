"""Gemini streams at home: bytes go on as they came, with a glance at what they say.

    held --first content--> committed --end of the stream after a finishReason--> complete

There is no frame that ends a stream: it is whole when it ends after every candidate has, or after
the prompt was refused. A finishReason that more content follows was none. Usage is cumulative, the
last one stands: every frame tells it, and it is only read where somebody asks.
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
from gateway.dialects.gemini import amount, usage
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import errors as problems
from gateway.dialects.gemini import response as answer
from gateway.dialects.gemini.content import Object
from gateway.dialects.stream_commit import StreamBuffer, make_broken_problem


def watch(
    body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,  # noqa: ARG001 - as in Watches
) -> StreamInspector:
    """Watch one stream that answers `body`; nothing but reasons tells that it is whole."""
    return _Stream(choices=body.prompt.choices)


class _Stream(StreamBuffer):
    """What one stream has said so far; see StreamInspector."""

    __slots__ = ("_blocked", "_choices", "_finished", "_seen", "_told", "_tools", "_unread")

    def __init__(self, *, choices: int) -> None:
        self._unread = b""
        self._told: Usage | None = None
        super().__init__()
        self._choices = choices
        self._blocked = False
        self._tools: set[usage.Used] = set()
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    @property
    def complete(self) -> bool:
        """Whether what has come so far may be all of it, and no error came."""
        if self.problem is not None:
            return False
        return self._blocked or len(self._finished) >= max(self._choices, len(self._seen), 1)

    @property
    def usage(self) -> Usage | None:
        """As StreamInspector has it."""
        if self._unread:
            chunk = jsonio.loads(self._unread)
            told = chunk.get("usageMetadata") if isinstance(chunk, dict) else None
            self.usage = usage.read(told, ended=False)
        return self._told

    @usage.setter
    def usage(self, told: Usage | None) -> None:
        self._unread = b""
        if told is not None:
            self._told = merge_usage(self._told, told)

    def end(self) -> bytes:
        """Take the end of the stream; half a frame shows that it was cut."""
        rest = bool(self._splitter.pending.strip())
        out = super().end()
        if rest and not out:
            self._blocked = False
            self._finished.clear()
        return out

    def _count(self, payload: bytes) -> bool:
        chunk = amount.read(payload)
        self.content_bytes += amount.count(chunk)
        if amount.tells_more(chunk) or self._finished or self._choices > 1:
            return True
        if chunk.usage_metadata is None:
            return False
        if self.served_model is None or 0 not in self._seen or self._blocked:
            return True
        if not amount.has_counts(chunk.usage_metadata):
            return True
        self._unread = payload
        return False

    def _inspect(self, frame: bytes, payload: bytes) -> bool:  # noqa: ARG002 - others look at both
        """Read one chunk; tell whether it stays here: what is none, an error that no SDK sees."""
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            chunk = None
        first = chunk[0] if isinstance(chunk, list) and chunk else chunk
        error = answer.error(first) if isinstance(first, dict) else None
        if error:
            self.problem = problems.found(error, payload)
            return first is not chunk or next(iter(chunk)) != "error"  # how an SDK knows it
        if not isinstance(chunk, dict):
            self.problem = make_broken_problem()
            return True
        if self.served_model is None:
            self.served_model = wire.text(chunk.get("modelVersion")) or None
        if self.response_id is None:
            self.response_id = parse_response_id(chunk.get("responseId"))
        for candidate in wire.rows(chunk.get("candidates")):
            self._candidate(candidate)
            self._tools.update(usage.used(candidate))
        reason = answer.blocked(chunk)
        if reason is not None:
            self._blocked = self.committed = True
            self.finish = reason
        told = usage.read(chunk.get("usageMetadata"), ended=self.complete, used=self._tools)
        if told is not None:
            self.usage = told
        elif self._tools:
            self.usage = Usage(tools=billing.count_tool_uses(self._tools))
        return False

    def _candidate(self, candidate: Object) -> None:
        at = wire.whole(candidate.get("index")) or 0
        self._seen.add(at)
        reason = answer.finish(candidate.get("finishReason"))
        content = answer.speaks(candidate)
        if reason is not None:
            self._finished.add(at)
            self.finish = reason
        elif content:
            self._finished.discard(at)
        self.committed = self.committed or content or reason is not None
