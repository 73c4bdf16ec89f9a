"""Events as Gemini's answers: chunks for a stream, and the same folded for a whole answer."""

from collections.abc import Iterable

from gateway.core import jsonio, sse
from gateway.core.events import (
    Citation,
    Declined,
    End,
    Event,
    Finish,
    FinishReason,
    LogProbs,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)
from gateway.core.usage import Usage
from gateway.dialects.base import ResponseContext
from gateway.dialects.gemini import cited, fold, usage
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.contents import arguments
from gateway.dialects.gemini.signature import SLOT, wrap

_REASONS: dict[FinishReason, str] = {
    "stop": "STOP",
    "tools": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "filter": "SAFETY",
    "cut": "MAX_TOKENS",
    "error": "OTHER",
}


def tell(events: Iterable[Event], telling: ResponseContext) -> bytes:
    """The whole answer: what the stream of the same events says."""
    encoder = Encoder(telling)
    return fold.fold(b"".join([encoder.write(event) for event in events]))


class Encoder:
    """A stream for a client; see speech.Encoder.

    Why candidates ended and what was used stands in the last chunk, as Gemini has it.
    """

    __slots__ = ("_finished", "_id", "_label", "_model", "_said", "_thinking", "_tools", "_used")

    def __init__(self, telling: ResponseContext) -> None:
        self._id, self._model, self._label = telling.id, telling.model, telling.state_label
        self._finished: dict[int, FinishReason] = {}
        self._said: dict[int, list[str]] = {}
        self._thinking: set[int] = set()
        """Choices with a thought that is not over."""
        self._tools: dict[tuple[int, int], tuple[ToolStart, list[str]]] = {}
        self._used: Usage | None = None

    def write(self, event: Event) -> bytes:
        """What an event becomes; nothing for one that the dialect does not tell."""
        match event:
            case TextDelta() | Declined():
                self._said.setdefault(event.choice, []).append(event.text)
                return self._part({"text": event.text}, event.choice)
            case ReasoningDelta():
                self._thinking.add(event.choice)
                return self._part({"text": event.text, "thought": True}, event.choice)
            case ReasoningEnd():
                return self._state(event)
            case ToolStart():
                self._tools[event.choice, event.index] = event, []
            case ToolDelta():
                if (begun := self._tools.get((event.choice, event.index))) is not None:
                    begun[1].append(event.text)
            case ToolEnd():
                return self._call(event)
            case _:
                return self._beside(event)
        return b""

    def _beside(self, event: Event) -> bytes:
        """What is no content: notes for the last chunk, and members of a candidate."""
        match event:
            case Start():
                self._id, self._model = event.id or self._id, event.model or self._model
                self._used = event.usage
            case UsageUpdate():
                self._used = event.usage
            case Finish():
                self._finished[event.choice] = event.reason
            case LogProbs():
                return self._chunk([{"logprobsResult": _likely(event), "index": event.choice}])
            case Citation():
                row = cited.write(event, self._said.get(event.choice, ()))
                said = {"citationMetadata": {"citations": [row]}, "index": event.choice}
                return self._chunk([said])
            case End():
                return self._end()
        return b""

    def _part(self, part: Object, choice: int) -> bytes:
        content = {"parts": [part], "role": "model"}
        return self._chunk([{"content": content, "index": choice}])

    def _chunk(self, candidates: list[Object], **more: object) -> bytes:
        chunk = {
            "candidates": candidates,
            **more,
            "modelVersion": self._model,
            "responseId": self._id,
        }
        return sse.write_frame(jsonio.dumps(chunk))

    def _state(self, event: ReasoningEnd) -> bytes:
        """Write a thought's state, in a part of its own with an empty text: what was said is said.

        Google's own parts have a text there, and clients refuse a part without (pydantic-ai). A
        thought without a state has the label alone, as one that this model did not have.
        """
        said = event.choice in self._thinking
        self._thinking.discard(event.choice)
        if not self._label or not (said or event.state):
            return b""
        state = wrap(self._label, event.state or "", redacted=event.redacted)
        return self._part({"text": "", "thought": True, SLOT: state}, event.choice)

    def _call(self, event: ToolEnd) -> bytes:
        begun = self._tools.pop((event.choice, event.index), None)
        if begun is None:
            return b""
        start, pieces = begun
        text = "".join(pieces)
        args = {"input": text} if start.custom else arguments(text)
        part: Object = {"functionCall": {"id": start.id, "name": start.name, "args": args}}
        if self._label:
            part[SLOT] = wrap(self._label, event.state or "")
        return self._part(part, event.choice)

    def _end(self) -> bytes:
        """The last chunk. Its content is empty, not missing: SDKs take that for no answer."""
        last: list[Object] = [
            {
                "content": {"parts": [{"text": ""}], "role": "model"},
                "finishReason": _REASONS[reason],
                "index": choice,
            }
            for choice, reason in sorted(self._finished.items())
        ]
        counted = usage.write(self._used or Usage())
        return self._chunk(last, usageMetadata=counted) if counted else self._chunk(last)


def _likely(event: LogProbs) -> Object:
    rows = [row for row in event.tokens if isinstance(row, dict)]
    chosen = [_token(row) for row in rows]
    tops = [{"candidates": list(map(_token, _tops(row)))} for row in rows]
    said: Object = {"chosenCandidates": chosen}
    return {**said, "topCandidates": tops} if any(it["candidates"] for it in tops) else said


def _tops(row: Object) -> list[Object]:
    found = row.get("top_logprobs")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _token(row: Object) -> Object:
    """A token; some hosts leave out how likely it was."""
    said = {"token": row.get("token"), "logProbability": row.get("logprob")}
    return {name: value for name, value in said.items() if value is not None}
