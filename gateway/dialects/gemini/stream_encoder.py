"""Events as a Gemini stream for the client."""

from collections.abc import Sequence

from gateway.core import jsonio, sse
from gateway.core.events import (
    AnswerMetadata,
    Citation,
    Declined,
    End,
    Event,
    Finish,
    FinishReason,
    GeneratedMedia,
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
from gateway.core.usage import Usage
from gateway.dialects.base import ResponseContext
from gateway.dialects.gemini import usage
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.reasoning_state import SIGNATURE_MEMBER, encode_state
from gateway.dialects.gemini.tools import parse_arguments

_REASONS: dict[FinishReason, str | None] = {
    "stop": "STOP",
    "tools": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "filter": "SAFETY",
    "cut": None,
    "error": "OTHER",
}

_UNKNOWN_TYPE = "application/octet-stream"


def write_chunk(chunk: Object) -> bytes:
    """Return the frame of a chunk, or of an error."""
    return sse.write_frame(jsonio.dumps(chunk))


class Encoder:
    """Encodes one stream; see base.Encoder.

    The last chunk has the finish reasons and the usage, as Gemini sends them.
    """

    __slots__ = (
        "_context",
        "_finished",
        "_id",
        "_label",
        "_model",
        "_texts",
        "_thinking",
        "_tools",
        "_used",
    )

    def __init__(self, context: ResponseContext) -> None:
        self._id, self._model, self._label = context.id, context.model, context.state_label
        self._context = context
        self._finished: dict[int, FinishReason] = {}
        self._texts: dict[int, list[str]] = {}
        self._thinking: set[int] = set()
        """Choices with an open thought."""
        self._tools: dict[tuple[int, int], tuple[ToolStart, list[str]]] = {}
        self._used: Usage | None = None

    def write(self, event: Event) -> bytes:
        """Encode an event; nothing for one that this dialect does not have."""
        match event:
            case TextDelta() | Declined():
                self._texts.setdefault(event.choice, []).append(event.text)
                return self._write_part({"text": event.text}, event.choice)
            case ReasoningDelta():
                self._thinking.add(event.choice)
                return self._write_part({"text": event.text, "thought": True}, event.choice)
            case ReasoningEnd():
                return self._write_state(event)
            case ToolStart():
                self._tools[event.choice, event.index] = event, []
            case ToolDelta():
                if (call := self._tools.get((event.choice, event.index))) is not None:
                    call[1].append(event.text)
            case ToolEnd():
                return self._write_call(event)
            case GeneratedMedia():
                return self._write_media(event)
            case _:
                return self._write_other(event)
        return b""

    def _write_other(self, event: Event) -> bytes:
        """Encode an event that is no content: keep it for the last chunk, or write a member."""
        match event:
            case Start():
                self._id, self._model = event.id or self._id, event.model or self._model
                self._used = event.usage
            case UsageUpdate():
                self._used = event.usage
            case Finish():
                self._finished[event.choice] = event.reason
            case LogProbs():
                return self._write_chunk(
                    [{"logprobsResult": _encode_log_probs(event), "index": event.choice}]
                )
            case Opaque() | AnswerMetadata():
                return self._context.drop(event)
            case Citation() if event.url is None and event.title is None:
                return self._context.drop(event)
            case Citation():
                row = _encode_citation(event, self._texts.get(event.choice, ()))
                candidate = {"citationMetadata": {"citationSources": [row]}, "index": event.choice}
                return self._write_chunk([candidate])
            case End():
                return self._write_end()
        return b""

    def _write_media(self, event: GeneratedMedia) -> bytes:
        """Write a picture or a piece of speech, and the words of the speech as text."""
        written = b""
        if event.data:
            media_type = event.media_type or _UNKNOWN_TYPE
            blob = {"mimeType": media_type, "data": event.data}
            written = self._write_part({"inlineData": blob}, event.choice)
        elif event.url is not None:
            self._context.drop(event)
        if event.transcript:
            written += self.write(TextDelta(event.transcript, event.choice))
        return written

    def _write_part(self, part: Object, choice: int) -> bytes:
        content = {"parts": [part], "role": "model"}
        return self._write_chunk([{"content": content, "index": choice}])

    def _write_chunk(self, candidates: list[Object], **more: object) -> bytes:
        chunk: Object = {
            "candidates": candidates,
            **more,
            "modelVersion": self._model,
            "responseId": self._id,
        }
        return write_chunk(chunk)

    def _write_state(self, event: ReasoningEnd) -> bytes:
        """Write a thought's state, in a part of its own with an empty text.

        Google's own parts have a text there, and clients refuse a part without (pydantic-ai). A
        thought without a state gets the label alone, to show that another model made it.
        """
        has_thought = event.choice in self._thinking
        self._thinking.discard(event.choice)
        if not self._label or not (has_thought or event.state):
            return b""
        state = encode_state(self._label, event.state or "", redacted=event.redacted)
        return self._write_part(
            {"text": "", "thought": True, SIGNATURE_MEMBER: state}, event.choice
        )

    def _write_call(self, event: ToolEnd) -> bytes:
        call = self._tools.pop((event.choice, event.index), None)
        if call is None:
            return b""
        start, pieces = call
        text = "".join(pieces)
        args = {"input": text} if start.custom else parse_arguments(text)
        part: Object = {"functionCall": {"id": start.id, "name": start.name, "args": args}}
        if self._label:
            part[SIGNATURE_MEMBER] = encode_state(self._label, event.state or "")
        return self._write_part(part, event.choice)

    def _write_end(self) -> bytes:
        """Write the last chunk. Its content is empty, not missing: SDKs take that for no answer."""
        last: list[Object] = [
            {
                "content": {"parts": [{"text": ""}], "role": "model"},
                **({"finishReason": word} if (word := _REASONS[reason]) is not None else {}),
                "index": choice,
            }
            for choice, reason in sorted(self._finished.items())
        ]
        counted = usage.write(self._used or Usage())
        return (
            self._write_chunk(last, usageMetadata=counted) if counted else self._write_chunk(last)
        )


def _encode_log_probs(event: LogProbs) -> Object:
    rows = [row for row in event.tokens if isinstance(row, dict)]
    chosen = [_encode_token(row) for row in rows]
    tops = [{"candidates": list(map(_encode_token, _list_top_tokens(row)))} for row in rows]
    result: Object = {"chosenCandidates": chosen}
    return {**result, "topCandidates": tops} if any(it["candidates"] for it in tops) else result


def _list_top_tokens(row: Object) -> list[Object]:
    tokens = row.get("top_logprobs")
    return (
        [token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else []
    )


def _encode_token(row: Object) -> Object:
    """Encode a token; some hosts leave out its probability."""
    token = {"token": row.get("token"), "logProbability": row.get("logprob")}
    return {name: value for name, value in token.items() if value is not None}


def _encode_citation(event: Citation, texts: Sequence[str]) -> Object:
    """Encode a source as a citation, with its place in bytes."""
    row: Object = {}
    if event.start is not None and event.end is not None:
        text = "".join(texts)
        row["startIndex"] = len(text[: event.start].encode())
        row["endIndex"] = len(text[: event.end].encode())
    if event.url is not None:
        row["uri"] = event.url
    if event.title is not None:
        row["title"] = event.title
    return row
