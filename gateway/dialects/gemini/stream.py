"""Native Gemini streams: bytes go on as they came, and the inspector reads them.

    held --first content--> committed --end of the stream after a finishReason--> complete

No frame ends a stream: it is complete if it ends after every candidate has, or after Google refused
the prompt. A finishReason that more content follows was none. Usage is cumulative, and every frame
has it: the last one stands, and the inspector reads it only if somebody asks.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import MAX_TOKENS, Usage, merge_usage
from gateway.dialects import billing
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    RequestBody,
    StreamInspector,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes
from gateway.dialects.gemini import errors, usage
from gateway.dialects.gemini.content import (
    Object,
    as_integer,
    find_block_reason,
    find_error,
    has_content,
    has_content_or_end,
    list_objects,
    parse_finish,
)
from gateway.dialects.json_values import as_text
from gateway.dialects.stream_commit import StreamBuffer
from gateway.dialects.stream_frames import Frame, make_broken_frame, parse_payload


class _Call(msgspec.Struct, gc=False, rename="camel"):
    name: Json = None
    args: Json = None
    partial_args: Json = None


class _Code(msgspec.Struct, gc=False):
    code: Json = None


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: Json = None
    function_call: _Call | None = None
    executable_code: _Code | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: Json = None
    index: Json = None
    error: Json = None
    grounding_metadata: Json = None


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Json = None
    candidates_token_count: Json = None


class _ContentChunk(msgspec.Struct, gc=False, rename="camel"):
    """Members of a chunk that may be content, or that make a full read necessary."""

    candidates: list[_Candidate] | None = None
    usage_metadata: _Usage | None = None
    prompt_feedback: Json = None
    error: Json = None


_READ_CHUNK = jsonio.make_reader(_ContentChunk)
_READ_CHUNKS = jsonio.make_reader(list[_ContentChunk])


def read_frame(_raw: bytes, payload: bytes) -> Frame:
    """Read one frame of a stream of chunks; see FrameReader."""
    chunk = parse_payload(payload)
    is_list = isinstance(chunk, list) and bool(chunk)
    first = chunk[0] if is_list else chunk
    error = find_error(first) if isinstance(first, dict) else None
    if error:
        problem = errors.read_error_object(error, payload)
        # An SDK knows an error by the first member of the object.
        return Frame(first, problem=problem, is_hidden=is_list or next(iter(first)) != "error")
    return Frame(chunk) if isinstance(chunk, dict) else make_broken_frame()


class GeminiStreamFacts:
    """The facts of an answer that accounting needs, read chunk by chunk; a whole answer is one."""

    __slots__ = (
        "_tool_uses",
        "begun",
        "block_reason",
        "choices",
        "finish_words",
        "response_id",
        "served_model",
        "usage",
    )

    def __init__(self, choices: int = 1) -> None:
        self.choices = choices
        """The number of candidates that the client asks for."""
        self._tool_uses: set[usage.ToolUse] = set()
        self.begun: set[int] = set()
        """The candidates so far, by index."""
        self.finish_words: dict[int, str] = {}
        """Why candidates ended, by index. Content that follows takes the reason back."""
        self.block_reason: str | None = None
        """Why Google refused the prompt; None if it did not."""
        self.response_id: str | None = None
        self.served_model: str | None = None
        self.usage: Usage | None = None

    @property
    def has_ended(self) -> bool:
        """True if each candidate has a reason why it ended, or Google refused the prompt."""
        if self.block_reason is not None or not self.finish_words:
            return self.block_reason is not None
        return len(self.finish_words) >= max(self.choices, len(self.begun))

    @property
    def finish(self) -> str | None:
        """Return why the candidate that ended last did, or why Google refused the prompt."""
        return self.block_reason or next(reversed(self.finish_words.values()), None)

    def take(self, chunk: Object) -> None:
        """Take the facts of the next chunk."""
        if self.served_model is None:
            self.served_model = as_text(chunk.get("modelVersion")) or None
        if self.response_id is None:
            self.response_id = parse_response_id(chunk.get("responseId"))
        tool_count = len(self._tool_uses)
        for candidate in list_objects(chunk.get("candidates")):
            self._take_candidate(candidate)
        reason = find_block_reason(chunk) if "promptFeedback" in chunk else None
        if reason is not None:
            self.block_reason = reason
        if not self.take_usage(chunk) and len(self._tool_uses) > tool_count:
            tools = billing.count_tool_uses(self._tool_uses)
            self.usage = merge_usage(self.usage, Usage(tools=tools))

    def take_usage(self, chunk: Object) -> bool:
        """Take the usage of a chunk; return True if it counts anything."""
        metadata = chunk.get("usageMetadata")
        counts = usage.read(metadata, ended=self.has_ended, used=self._tool_uses)
        if counts is not None:
            self.usage = merge_usage(self.usage, counts)
        return counts is not None

    def _take_candidate(self, candidate: Object) -> None:
        at = as_integer(candidate.get("index")) or 0
        self.begun.add(at)
        if "groundingMetadata" in candidate:
            self._tool_uses.update(usage.list_tool_uses(candidate))
        word = parse_finish(candidate.get("finishReason"))
        if word is not None:
            self.finish_words[at] = word
        elif at in self.finish_words and has_content(candidate):
            del self.finish_words[at]


def inspect_stream(
    body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,  # noqa: ARG001 - as StreamInspectorFactory has it
) -> StreamInspector:
    """Return an inspector of the stream that answers `body`. Only finish reasons complete it."""
    return _StreamInspector(choices=body.prompt.choices)


class _StreamInspector(StreamBuffer):
    """The state of one stream so far; see StreamInspector.

    The quick look (`_count`) reads a chunk into a typed struct, which has no more than the members
    that it needs. That takes a third of the time of a full read, and most chunks need no more:
    their usage stays unread until somebody asks. A test compares it with a full read of all chunks.
    """

    __slots__ = ("_can_defer", "_defers_output", "_facts", "_inspects_all", "_is_cut", "_unread")

    def __init__(self, *, choices: int) -> None:
        self._facts = GeminiStreamFacts(choices)
        self._unread = b""
        """The last chunk whose usage is not read yet."""
        super().__init__(read_frame)
        self._inspects_all = choices > 1
        """True if any chunk may begin or end a candidate, or follow the end of the answer."""
        self._can_defer = False
        """True if a chunk with usage and content has no facts beside its usage."""
        self._defers_output = False
        """True if usage that is not read yet counts the output."""
        self._is_cut = False

    @property
    def complete(self) -> bool:
        """True if the stream may be complete, and no error came."""
        return self.problem is None and not self._is_cut and self._facts.has_ended

    @property
    def usage(self) -> Usage | None:
        """Return the usage so far; see StreamInspector."""
        self._read_deferred_usage()
        return self._facts.usage

    @usage.setter
    def usage(self, _: Usage | None) -> None:
        """Do nothing: the base sets None at the start."""

    def end(self) -> bytes:
        """Take the end of the stream; half a frame shows that it was cut."""
        rest = bool(self._splitter.pending.strip())
        out = super().end()
        self._is_cut = rest and not out
        return out

    def _count(self, payload: bytes) -> bool:
        chunk: _ContentChunk = _READ_CHUNK(payload)
        self.content_bytes += _count_content_bytes(chunk)
        if _needs_inspection(chunk) or self._inspects_all:
            return True
        used = chunk.usage_metadata
        if used is None:
            return False
        # Counts are running totals. The last usage replaces the unread one, unless it tells less.
        prompt, output = used.prompt_token_count, used.candidates_token_count
        if not self._can_defer or type(prompt) is not int or not 0 < prompt <= MAX_TOKENS:
            return True
        if type(output) is int and 0 < output <= MAX_TOKENS:
            self._defers_output = True
        elif self._defers_output:
            return True
        self._unread = payload
        return False

    def _inspect(self, frame: Frame) -> bool:
        """Take the facts of one chunk, also of one with an error: its usage counts."""
        self._read_deferred_usage()
        facts = self._facts
        facts.take(frame.value)
        if not self.committed and frame.problem is None:
            self.committed = has_content_or_end(frame.value)
        self.finish = facts.finish
        self.response_id, self.served_model = facts.response_id, facts.served_model
        self._inspects_all = facts.choices > 1 or facts.has_ended or bool(facts.finish_words)
        self._can_defer = (
            facts.served_model is not None and 0 in facts.begun and facts.block_reason is None
        )
        return False

    def _read_deferred_usage(self) -> None:
        payload, self._unread, self._defers_output = self._unread, b"", False
        if payload:
            self._facts.take_usage(read_frame(b"", payload).value)


def _needs_inspection(chunk: _ContentChunk) -> bool:
    """True if a chunk may have an end, an error, a use of a tool, or a second candidate."""
    if chunk.error or chunk.prompt_feedback:
        return True
    for candidate in chunk.candidates or ():
        if (
            candidate.finish_reason
            or candidate.index
            or candidate.grounding_metadata
            or candidate.error
        ):
            return True
    return False


def _count_content_bytes(chunk: _ContentChunk) -> int:
    """Count the bytes of content in a chunk."""
    size = 0
    for candidate in chunk.candidates or ():
        content = candidate.content
        if content is not None:
            for part in content.parts or ():
                text = part.text
                if isinstance(text, str) and text.isascii():
                    size += len(text)
                elif text is not None:
                    size += count_text_bytes(text)
                if part.function_call is not None or part.executable_code is not None:
                    size += _count_call_bytes(part)
    return size


def _count_call_bytes(part: _Part) -> int:
    size = 0
    if part.function_call is not None:
        call = part.function_call
        size += (
            count_text_bytes(call.name)
            + count_argument_bytes(call.args)
            + count_argument_bytes(call.partial_args)
        )
    if part.executable_code is not None:
        size += count_text_bytes(part.executable_code.code)
    return size


def count_body_content_bytes(body: bytes) -> int:
    """Count the bytes of content in a whole answer, also in a list of chunks."""
    try:
        return _count_content_bytes(_READ_CHUNK(body))
    except jsonio.JsonError:
        pass
    try:
        return sum(map(_count_content_bytes, _READ_CHUNKS(body)))
    except jsonio.JsonError:
        return 0
