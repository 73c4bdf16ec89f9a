"""A provider's Gemini stream as events; a whole answer is a stream of one chunk.

The events have the reason why a candidate ended only after the end of the stream: some streams name
a reason in the middle, and go on. Sources are citationMetadata and groundingMetadata; both count
places in the text in bytes. Sources: GenerateContentResponse, FinishReason, Citation,
GroundingSupport and Segment of Google's API reference.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from gateway.core import jsonio, log_probs
from gateway.core.events import (
    Citation,
    End,
    Event,
    Failed,
    Finish,
    FinishReason,
    GeneratedMedia,
    LogProbs,
    MediaKind,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.gemini.content import (
    Object,
    as_integer,
    get_object,
    list_objects,
)
from gateway.dialects.gemini.schema import ANSWER
from gateway.dialects.gemini.stream import GeminiStreamFacts, read_frame
from gateway.dialects.gemini.tools import CallJoiner
from gateway.dialects.json_values import as_text
from gateway.dialects.stream_frames import Frame, SseDecoder, make_broken_problem

_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION",
            "MODEL_ARMOR",
        ),
        "filter",
    ),
    **dict.fromkeys(
        (
            "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE",
            "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "OTHER", "LANGUAGE",
        ),
        "error",
    ),
}  # fmt: skip
BROKEN_PIECES = "pieces of arguments that do not fit together"
_BESIDE_CONTENT = frozenset(
    {"text", "thought", "thoughtSignature"}
    | {name for name, member in ANSWER["part"].items() if member.decision == "named"}
)
"""Members of a part that are text, or stand beside content."""
_PART_PREFIX, _CANDIDATE_PREFIX = "candidates.content", "candidates"
_GROUNDING, _MEDIA = "groundingMetadata", "inlineData"
CITATION_LISTS = ("citations", "citationSources")
"""Lists of citationMetadata: the first is Vertex AI's, the second the Gemini API's."""
_MEDIA_KINDS: tuple[MediaKind, ...] = ("image", "audio")


type _Source = tuple[str | None, str | None, int | None, int | None, Json]
"""Address, title, start and end of the text that it supports, and the wire's own object."""

_SOURCE_KINDS = ("web", "retrievedContext", "maps", "image")


class Decoder(SseDecoder):
    """Decodes one stream; see base.Decoder."""

    __slots__ = ("_reader",)
    log_probs_members = log_probs.MEMBERS["gemini"]

    def __init__(self) -> None:
        super().__init__(read_frame, ANSWER)
        self._reader = ChunkReader()

    def _decode(self, frame: Frame, out: list[Event]) -> None:
        try:
            self._reader.take(frame.value, out)
        except ValueError:
            self._fail(make_broken_problem(BROKEN_PIECES), out)

    def _decode_error(self, frame: Frame, out: list[Event]) -> None:
        self._reader.take_facts(frame.value, out)

    def _close(self, out: list[Event], *, is_cut: bool) -> None:
        if not is_cut and self._reader.facts.has_ended:
            self._reader.end(out)


class _Choice:
    """The state of one candidate so far."""

    __slots__ = ("calls", "cited", "has_begun", "is_thinking", "texts", "tools")

    def __init__(self) -> None:
        self.has_begun = False
        """True if any content has come."""
        self.is_thinking = False
        """True while a thought is open."""
        self.calls = CallJoiner()
        self.tools = 0
        self.texts: list[str] = []
        self.cited: set[bytes] = set()


class ChunkReader:
    """Reads chunks, one after the other, as events."""

    __slots__ = ("_choices", "_is_started", "facts")

    def __init__(self) -> None:
        self.facts = GeminiStreamFacts()
        self._is_started = False
        """True if the reader has made the Start event."""
        self._choices: dict[int, _Choice] = {}

    def take(self, chunk: Object, out: list[Event]) -> None:
        """Add the events of the next chunk. Raises ValueError for pieces that do not fit."""
        earlier_usage = self.facts.usage
        self.facts.take(chunk)
        self._start(chunk, out)
        try:
            for candidate in list_objects(chunk.get("candidates")):
                self._read_candidate(candidate, out)
        finally:
            self._tell_usage(earlier_usage, out)

    def take_facts(self, chunk: Object, out: list[Event]) -> None:
        """Add the events of all that a chunk tells beside an error."""
        facts, earlier_usage = self.facts, self.facts.usage
        facts.take(chunk)
        if facts.usage is not None or facts.served_model is not None or facts.response_id:
            self._start(chunk, out)
        self._tell_usage(earlier_usage, out)

    def end(self, out: list[Event]) -> None:
        """Add the events of the end of the answer."""
        facts = self.facts
        if facts.block_reason is not None and not self._choices:
            self._choices[0] = _Choice()
        for at, choice in self._choices.items():
            if choice.is_thinking:
                out.append(ReasoningEnd(choice=at))
            word = facts.finish_words.get(at, facts.block_reason)
            reason: FinishReason = "cut"
            if at in facts.finish_words:
                reason = _REASONS.get(word or "", "length" if choice.has_begun else "error")
            elif word is not None:
                reason = "filter"
            if reason == "error":
                out.append(Failed(make_broken_problem(f"an answer that failed: {word}")))
                return
            if choice.calls.open:
                if reason not in ("length", "cut"):
                    out.append(Failed(make_broken_problem("a tool call without its end")))
                    return
                for part in choice.calls.end():
                    self._read_part(part, choice, at, out)
            if reason == "stop" and choice.tools:
                reason = "tools"
            out.append(Finish(reason, word, choice=at))
        out.append(End())

    def _start(self, chunk: Object, out: list[Event]) -> None:
        if not self._is_started:
            self._is_started = True
            facts, created = self.facts, _parse_epoch(chunk.get("createTime"))
            out.append(Start(facts.response_id, facts.served_model, created, facts.usage))

    def _tell_usage(self, earlier: Usage | None, out: list[Event]) -> None:
        """Add the usage if a chunk has changed it."""
        usage = self.facts.usage
        if usage is not None and usage is not earlier:
            out.append(UsageUpdate(usage))

    def _read_candidate(self, candidate: Object, events: list[Event]) -> None:
        at = as_integer(candidate.get("index")) or 0
        choice = self._choices.get(at)
        if choice is None:
            choice = self._choices[at] = _Choice()
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in list_objects(parts):
            for whole in choice.calls.take(part):
                self._read_part(whole, choice, at, events)
        for name, decode in _MEMBER_DECODERS.items():
            value = candidate.get(name)
            if isinstance(value, dict):
                events += decode(value, choice, at)

    def _read_part(self, part: Object, choice: _Choice, at: int, events: list[Event]) -> None:
        text, state = part.get("text"), as_text(part.get("thoughtSignature")) or None
        has_others = not part.keys() <= _BESIDE_CONTENT
        if not text and not state and not has_others:
            return
        choice.has_begun = True
        thought = part.get("thought") is True
        if choice.is_thinking and not thought:
            choice.is_thinking = False
            events.append(ReasoningEnd(choice=at))
        if isinstance(text, str) and text:
            if thought:
                choice.is_thinking = True
                events.append(ReasoningDelta(text, choice=at))
            else:
                choice.texts.append(text)
                events.append(TextDelta(text, at))
        if has_others:
            for name in part:
                if name not in _BESIDE_CONTENT:
                    state = self._read_other_member(part, name, state, choice, at, events)
        if state is not None:
            choice.is_thinking = False
            events.append(ReasoningEnd(state, choice=at))

    def _read_other_member(
        self,
        part: Object,
        name: str,
        state: str | None,
        choice: _Choice,
        at: int,
        events: list[Event],
    ) -> str | None:
        """Read content of a part that is not text; return the state unless a call took it."""
        value = part[name]
        function = value.get("name") if name == "functionCall" and isinstance(value, dict) else None
        if isinstance(function, str) and function:
            index, choice.tools = choice.tools, choice.tools + 1
            args = value.get("args")
            text = jsonio.dumps(args if isinstance(args, dict) else {}).decode()
            id = as_text(value.get("id")) or self._make_id(at, index, function, text)
            events += [ToolStart(index, id, function, choice=at), ToolDelta(index, text, at)]
            events.append(ToolEnd(index, state, at))
            return None
        is_draft = name != _MEDIA or part.get("thought") is True
        media = None if is_draft else _read_media(part, at)
        if media is not None:
            events.append(media)
        elif value is not None:
            events.append(Opaque(f"{_PART_PREFIX}.{name}", {name: value}, at))
        return state

    def _make_id(self, at: int, index: int, name: str, text: str) -> str:
        """Make an id for a call without one: the same for a stream and a whole answer."""
        whole = "\n".join((self.facts.response_id or "", str(at), str(index), name, text))
        return "call_" + hashlib.blake2b(whole.encode(), digest_size=12).hexdigest()


def _read_media(part: Object, at: int) -> GeneratedMedia | None:
    """Return the picture or the speech of a part; None if the part has neither."""
    blob = get_object(part, _MEDIA)
    data, media_type = as_text(blob.get("data")), as_text(blob.get("mimeType"))
    if not data or not media_type:
        return None
    for kind in _MEDIA_KINDS:
        if media_type.startswith(f"{kind}/"):
            name = f"{_PART_PREFIX}.{_MEDIA}"
            return GeneratedMedia(kind, data, name, media_type=media_type, choice=at)
    return None


def _decode_log_probs(value: Object, _: _Choice, at: int) -> Iterator[Event]:
    chosen, tops = (
        list_objects(value.get("chosenCandidates")),
        list_objects(value.get("topCandidates")),
    )
    tokens: list[Json] = []
    for index, row in enumerate(chosen):
        others = list_objects(tops[index].get("candidates")) if index < len(tops) else []
        tokens.append({**_decode_token(row), "top_logprobs": [_decode_token(it) for it in others]})
    if tokens:
        yield LogProbs(tokens, at)


def _decode_token(row: Object) -> Object:
    token = as_text(row.get("token")) or ""
    odds = row.get("logProbability")
    return {"token": token, "logprob": 0.0 if odds is None else odds, "bytes": list(token.encode())}


def _decode_citations(value: Object, choice: _Choice, at: int) -> Iterator[Event]:
    return _make_citations("citationMetadata", _list_citations(value, choice.texts), choice, at)


def _decode_grounding(value: Object, choice: _Choice, at: int) -> Iterator[Event]:
    return _make_citations(_GROUNDING, _list_grounding(value, choice.texts), choice, at)


def _make_citations(
    member: str, rows: Iterator[_Source], choice: _Choice, at: int
) -> Iterator[Event]:
    """Make events of sources that are new: some chunks repeat all."""
    for url, title, start, end, source in rows:
        key = jsonio.dumps((url, title, start, end))
        if key not in choice.cited:
            choice.cited.add(key)
            name = f"{_CANDIDATE_PREFIX}.{member}"
            yield Citation(url, title, start, end, source, at, name)


_MEMBER_DECODERS: dict[str, Callable[[Object, _Choice, int], Iterator[Event]]] = {
    "logprobsResult": _decode_log_probs,
    "citationMetadata": _decode_citations,
    _GROUNDING: _decode_grounding,
}
"""Decoders of the members beside the content of a candidate."""


def _parse_epoch(value: Json) -> int | None:
    """Return the seconds of a time such as 2026-11-24T12:00:00.123456Z."""
    try:
        return int(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) else None
    except ValueError:
        return None


def _list_citations(value: Object, texts: Sequence[str]) -> Iterator[_Source]:
    """List the sources that the model recited from."""
    for name in CITATION_LISTS:
        for row in list_objects(value.get(name)):
            start, end = _read_span(row, texts)
            yield as_text(row.get("uri")), as_text(row.get("title")), start, end, row


def _list_grounding(value: Object, texts: Sequence[str]) -> Iterator[_Source]:
    """List the sources of a search, each with the text that it supports, if any."""
    chunks = value.get("groundingChunks")
    chunks = chunks if isinstance(chunks, list) else []
    used: set[int] = set()
    for support in list_objects(value.get("groundingSupports")):
        start, end = _read_span(get_object(support, "segment"), texts)
        indexes = support.get("groundingChunkIndices")
        for index in indexes if isinstance(indexes, list) else ():
            if isinstance(index, int) and 0 <= index < len(chunks):
                used.add(index)
                yield (*_read_source(chunks[index]), start, end, chunks[index])
    for index, chunk in enumerate(chunks):
        if index not in used:
            yield (*_read_source(chunk), None, None, chunk)


def _read_source(chunk: Json) -> tuple[str | None, str | None]:
    for kind in _SOURCE_KINDS:
        source = get_object(chunk, kind)
        if source:
            address = source.get("sourceUri" if kind == "image" else "uri")
            return as_text(address), as_text(source.get("title"))
    return None, None


def _read_span(row: Object, texts: Sequence[str]) -> tuple[int | None, int | None]:
    """Return start and end in characters; protos leave out a start of zero."""
    end = as_integer(row.get("endIndex"))
    if end is None:
        return None, None
    raw = "".join(texts).encode()
    return _count_chars(raw, as_integer(row.get("startIndex")) or 0), _count_chars(raw, end)


def _count_chars(raw: bytes, at: int) -> int:
    return len(raw[:at].decode("utf-8", "ignore"))
