"""Gemini's answers as events, streamed and whole alike: a whole answer is a stream of one chunk.

Why a candidate ended is told when the stream has ended: some streams name a reason in the middle,
and go on. Sources: GenerateContentResponse and FinishReason of Google's API reference.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime

from gateway.core import jsonio, sse
from gateway.core.events import (
    Citation,
    End,
    Event,
    Failed,
    Finish,
    FinishReason,
    LogProbs,
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
from gateway.core.usage import Usage, merge_usage
from gateway.dialects.gemini import cited, usage
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import errors as problems
from gateway.dialects.gemini import response as answer
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.tools import Joiner
from gateway.dialects.stream_commit import MAX_FRAME_BYTES, make_broken_problem

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
_PIECES = "pieces of arguments that do not fit together"
_SIMPLE = frozenset({"text", "thought", "thoughtSignature"})


def events(body: bytes) -> list[Event]:
    """A whole answer. Never raises: what is none is a Failed."""
    chunks, problem = answer.read(body)
    if problem is not None:
        return [Failed(problem)]
    reader = _Reader()
    try:
        said = [event for chunk in chunks for event in reader.take(chunk)]
    except ValueError:
        return [Failed(make_broken_problem(_PIECES))]
    return [*said, *reader.end(whole=True)]


class Decoder:
    """A stream; see speech.Decoder."""

    __slots__ = ("_over", "_reader", "_whole")

    def __init__(self) -> None:
        self._reader = _Reader()
        self._whole = sse.FrameSplitter()
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read. After a Failed nothing more comes."""
        if self._over:
            return []
        data = self._whole.feed(data)
        if self._whole.size > MAX_FRAME_BYTES:
            self._over = True
            return [Failed(make_broken_problem("a frame without an end"))]
        found: list[Event] = []
        for frame in sse.split_data_frames(data):
            found += self._frame(frame)
            if found and type(found[-1]) is Failed:
                self._over = True
                break
        return found

    def end(self) -> list[Event]:
        """Take the end of the stream; the last frame may lack its blank line."""
        rest = self._whole.take_pending()
        if self._over:
            return []
        self._over = True
        whole = _whole(rest)
        if not whole and rest.strip():
            return []  # half a frame is none, and after it there is no end
        found = self._frame(rest) if whole else []
        if not found or type(found[-1]) is not Failed:
            found += self._reader.end(whole=False)
        return found

    def _frame(self, frame: bytes) -> list[Event]:
        payload = sse.read_data(frame)
        if not payload:
            return []
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            chunk = None
        if isinstance(chunk, list) and len(chunk) == 1:
            chunk = chunk[0]
        if not isinstance(chunk, dict):
            return [Failed(make_broken_problem())]
        if error := answer.error(chunk):
            return [Failed(problems.found(error, payload))]
        try:
            return self._reader.take(chunk)
        except ValueError:
            return [Failed(make_broken_problem(_PIECES))]


class _Choice:
    """What one candidate has said so far."""

    __slots__ = ("begun", "calls", "cited", "reason", "said", "thinking", "tools")

    def __init__(self) -> None:
        self.begun = False
        """Anything has come that is content."""
        self.thinking = False
        """A thought is open."""
        self.calls = Joiner()
        self.tools = 0
        self.said: list[str] = []
        self.cited: set[bytes] = set()
        self.reason: str | None = None


class _Reader:
    """Reads one chunk after the other."""

    __slots__ = ("_blocked", "_choices", "_id", "_started", "_tools", "_used")

    def __init__(self) -> None:
        self._started = False
        self._id = ""
        self._blocked: str | None = None
        self._choices: dict[int, _Choice] = {}
        self._tools: set[usage.Used] = set()
        self._used: Usage | None = None

    def take(self, chunk: Object) -> list[Event]:
        """What a chunk says."""
        found: list[Event] = []
        counted = chunk.get("usageMetadata")
        if not self._started:
            self._started = True
            found.append(self._start(chunk))
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                self._candidate(candidate, found)
                if "groundingMetadata" in candidate:
                    self._tools.update(usage.used(candidate))
        self._blocked = answer.blocked(chunk) or self._blocked
        told = usage.read(counted, ended=self._ended(), used=self._tools) if counted else None
        if told is not None:
            self._used = merge_usage(self._used, told)
            found.append(UsageUpdate(self._used))
        return found

    def end(self, *, whole: bool) -> list[Event]:
        """What the end of the answer says: of a stream, nothing where it was cut."""
        found: list[Event] = []
        if not self._choices and self._blocked is not None:
            return [Finish("filter", self._blocked), End()]
        if not whole and not self._ended():
            return []
        for at, choice in self._choices.items():
            if choice.thinking:
                found.append(ReasoningEnd(choice=at))
            word = choice.reason
            reason: FinishReason = "cut"
            if word is not None:
                reason = _REASONS.get(word, "stop" if choice.begun else "error")
            if reason == "error":
                return [*found, Failed(make_broken_problem(f"an answer that failed: {word}"))]
            if choice.calls.open:
                if reason not in ("length", "cut"):
                    return [*found, Failed(make_broken_problem("a call of a tool without its end"))]
                for part in choice.calls.end():
                    self._part(part, choice, at, found)
            if reason == "stop" and choice.tools:
                reason = "tools"
            found.append(Finish(reason, word, choice=at))
        return [*found, End()]

    def _ended(self) -> bool:
        """Whether every candidate has said why it ended, or the prompt was refused."""
        if self._blocked is not None:
            return True
        return bool(self._choices) and all(it.reason is not None for it in self._choices.values())

    def _start(self, chunk: Object) -> Start:
        self._id = wire.text(chunk.get("responseId")) or ""
        first = usage.read(chunk.get("usageMetadata"), ended=False)
        return Start(
            id=self._id or None,
            model=wire.text(chunk.get("modelVersion")) or None,
            created=_epoch(chunk.get("createTime")),
            usage=first,
        )

    def _candidate(self, candidate: Object, found: list[Event]) -> None:
        at = wire.whole(candidate.get("index")) or 0
        choice = self._choices.get(at)
        if choice is None:
            choice = self._choices[at] = _Choice()
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                for whole in choice.calls.take(part):
                    self._part(whole, choice, at, found)
        for name, read in _BESIDE.items():
            value = candidate.get(name)
            if isinstance(value, dict):
                found += read(value, choice, at)
        reason = answer.finish(candidate.get("finishReason"))
        if reason is not None:
            choice.reason = reason

    def _part(self, part: Object, choice: _Choice, at: int, found: list[Event]) -> None:
        text, state = part.get("text"), wire.text(part.get("thoughtSignature")) or None
        if not text and not state and not part.keys() - _SIMPLE:
            return
        choice.reason = None  # it was none, as more has come
        choice.begun = True
        thought = part.get("thought") is True
        if choice.thinking and not thought:
            choice.thinking = False
            found.append(ReasoningEnd(choice=at))
        if isinstance(text, str) and text:
            if thought:
                choice.thinking = True
                found.append(ReasoningDelta(text, choice=at))
            else:
                choice.said.append(text)
                found.append(TextDelta(text, at))
        if part.keys() - _SIMPLE:
            state = self._thing(part, state, choice, at, found)
        if state is not None:
            choice.thinking = False
            found.append(ReasoningEnd(state, choice=at))

    def _thing(
        self, part: Object, state: str | None, choice: _Choice, at: int, found: list[Event]
    ) -> str | None:
        """A part that is more than text; gives the state that it did not take with it."""
        call = part.get("functionCall")
        name = call.get("name") if isinstance(call, dict) else None
        if isinstance(call, dict) and isinstance(name, str) and name:
            index, choice.tools = choice.tools, choice.tools + 1
            args = call.get("args")
            text = jsonio.dumps(args if isinstance(args, dict) else {}).decode()
            id = wire.text(call.get("id")) or self._made(at, index, name, text)
            found += [ToolStart(index, id, name, choice=at), ToolDelta(index, text, at)]
            found.append(ToolEnd(index, state, at))
            return None
        kind = next(iter(part.keys() - _SIMPLE))
        if not (isinstance(part.get("text"), str) and part["text"]):
            found.append(Opaque(kind, part, at))
        return state

    def _made(self, at: int, index: int, name: str, text: str) -> str:
        """An id for a call without one, the same however the answer is read."""
        whole = "\n".join((self._id, str(at), str(index), name, text))
        return "call_" + hashlib.blake2b(whole.encode(), digest_size=12).hexdigest()


def _whole(rest: bytes) -> bool:
    """Whether what stands at the end of a stream is a frame."""
    try:
        return jsonio.loads(sse.read_data(rest)) is not None
    except jsonio.JsonError:
        return False


def _likely(value: Object, _: _Choice, at: int) -> Iterator[Event]:
    chosen, tops = wire.rows(value.get("chosenCandidates")), wire.rows(value.get("topCandidates"))
    tokens: list[Json] = []
    for index, row in enumerate(chosen):
        near = wire.rows(tops[index].get("candidates")) if index < len(tops) else []
        tokens.append({**_token(row), "top_logprobs": [_token(it) for it in near]})
    if tokens:
        yield LogProbs(tokens, at)


def _token(row: Object) -> Object:
    token = wire.text(row.get("token")) or ""
    odds = row.get("logProbability")
    return {"token": token, "logprob": 0.0 if odds is None else odds, "bytes": list(token.encode())}


def _citations(value: Object, choice: _Choice, at: int) -> Iterator[Event]:
    return _new(cited.citations(value, choice.said), choice, at)


def _grounding(value: Object, choice: _Choice, at: int) -> Iterator[Event]:
    return _new(cited.grounding(value, choice.said), choice, at)


def _new(rows: Iterator[cited.Row], choice: _Choice, at: int) -> Iterator[Event]:
    """Sources that were not told before: some chunks repeat all."""
    for url, title, start, end, source in rows:
        key = jsonio.dumps((url, title, start, end))
        if key not in choice.cited:
            choice.cited.add(key)
            yield Citation(url, title, start, end, source, at)


_BESIDE: dict[str, Callable[[Object, _Choice, int], Iterator[Event]]] = {
    "logprobsResult": _likely,
    "citationMetadata": _citations,
    "groundingMetadata": _grounding,
}
"""Members of a candidate beside its content."""


def _epoch(value: Json) -> int | None:
    """Seconds of a time such as 2026-11-24T12:00:00.123456Z."""
    try:
        return int(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) else None
    except ValueError:
        return None
