"""Events as a stream of Chat Completions chunks for the client.

The state of reasoning goes into `reasoning_details`, the member that OpenRouter's clients send
back. Each state is one block of type reasoning.encrypted. The block has the id of the call that the
state belongs to, or the number of characters of `reasoning_content`.
"""

import base64
import binascii
from collections.abc import Callable, Mapping

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
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects import reasoning_state
from gateway.dialects.base import ResponseContext
from gateway.dialects.openai_chat.reasoning_state import DETAILS
from gateway.dialects.openai_chat.stream import write_chunk
from gateway.dialects.openai_chat.usage import find_service_tier, write_usage
from gateway.dialects.stream_frames import DONE_PAYLOAD

type Object = dict[str, Json]

_SEALED = "reasoning.encrypted"
"""The type of the blocks that hold labelled states."""

_FINISH_WORDS: Mapping[FinishReason, str | None] = {
    "stop": "stop",
    "length": "length",
    "tools": "tool_calls",
    "filter": "content_filter",
    "pause": "stop",
    "cut": None,
    "error": "error",
}
_SPEECH_BLOCK = 6
"""Bytes: whole samples of 16 bits, whose base64 has no padding and so can be joined."""
_DEFAULT_IMAGE_TYPE = "image/png"


class _OpenCall:
    """A tool call that the encoder is writing."""

    __slots__ = ("custom", "empty", "id", "index", "pending")

    def __init__(self, index: int, id: str, *, custom: bool, replaces_custom: bool) -> None:
        self.index = index
        self.id = id
        self.custom = custom
        self.pending: list[str] | None = [] if replaces_custom else None
        """Arguments of a function in place of a custom tool, kept until complete; else None."""
        self.empty = True


class _ChoiceState:
    """The parts of one choice that the encoder has written."""

    __slots__ = (
        "citations",
        "has_speech",
        "head",
        "image_count",
        "part",
        "reasoning_chars",
        "speech_rest",
        "state_count",
        "tools",
    )

    def __init__(self, head: bytes) -> None:
        self.head = head
        """The chunk as far as its delta."""
        self.tools: dict[int, _OpenCall] = {}
        self.citations: list[Object] = []
        self.reasoning_chars = 0
        """The number of characters of reasoning since the last state."""
        self.part = 0
        self.state_count = self.image_count = 0
        self.has_speech = False
        self.speech_rest = b""
        """Bytes of speech that wait for more, so that their base64 needs no padding."""

    def write_delta(self, delta: Json) -> bytes:
        """Write a chunk with this delta."""
        return self.write_piece(jsonio.dumps(delta))

    def write_piece(self, delta: bytes, more: bytes = b',"finish_reason":null') -> bytes:
        """Write a chunk with a delta in JSON, and `more` members of the choice."""
        return sse.write_frame(b"%b%b%b}]}" % (self.head, delta, more))


class StreamEncoder:
    """One stream of chunks; see Encoder in gateway.dialects.base."""

    __slots__ = (
        "_choices",
        "_context",
        "_first_content",
        "_head",
        "_usage",
        "_uses_functions",
        "_writers",
    )

    def __init__(self, context: ResponseContext, first: str | None = "") -> None:
        self._context = context
        self._first_content = first
        """The content of the first delta: empty in a stream, null in a whole answer."""
        self._choices: dict[int, _ChoiceState] = {}
        self._usage: Usage | None = None
        request = context.request
        self._uses_functions = request is not None and request.names.get("tools") == "functions"
        self._head: Object = {}
        self._set_head(Start())
        self._writers: dict[type[object], Callable[[Json], bytes]] = {
            Start: self._write_start,
            TextDelta: self._write_text,
            Declined: lambda event: self._write_delta(event, {"refusal": event.text}),
            ReasoningDelta: self._write_reasoning,
            ReasoningEnd: self._write_reasoning_end,
            ToolStart: self._write_tool_start,
            ToolDelta: self._write_tool_delta,
            ToolEnd: self._write_tool_end,
            LogProbs: self._write_logprobs,
            Citation: self._keep_citation,
            GeneratedMedia: self._write_media,
            Opaque: self._context.drop,
            AnswerMetadata: self._context.drop,
            UsageUpdate: self._keep_usage,
            Finish: self._write_finish,
            End: self._write_end,
        }

    def write(self, event: Event) -> bytes:
        """Write the chunks of an event; empty if the dialect has none for it."""
        kind = type(event)
        if kind is TextDelta:
            return self._write_text(event)  # type: ignore[arg-type]  # its type is checked above
        writer = self._writers.get(kind)
        return writer(event) if writer is not None else b""

    def _set_head(self, start: Start) -> None:
        context = self._context
        self._head = {
            "id": start.id or f"chatcmpl-{context.id}",
            "object": "chat.completion.chunk",
            "created": start.created or context.created_at,
            "model": start.model or context.model,
        }

    def _write_start(self, event: Start) -> bytes:
        self._set_head(event)
        self._usage = event.usage or self._usage
        return self._open_choice(0)[1]

    def _open_choice(self, index: int) -> tuple[_ChoiceState, bytes]:
        """Return a choice, and its first chunk if the encoder has not written it yet."""
        choice = self._choices.get(index)
        if choice is not None:
            return choice, b""
        head = jsonio.dumps(self._head)[:-1]
        head = b'%b,"choices":[{"index":%d,"delta":' % (head, index)
        choice = self._choices[index] = _ChoiceState(head)
        return choice, choice.write_delta({"role": "assistant", "content": self._first_content})

    def _write_delta(self, event: Json, delta: Object) -> bytes:
        choice, first = self._open_choice(event.choice)
        return first + choice.write_delta(delta)

    def _write_text(self, event: TextDelta) -> bytes:
        choice, first = self._open_choice(event.choice)
        return first + choice.write_piece(b'{"content":%b}' % jsonio.dumps(event.text))

    def _write_reasoning(self, event: ReasoningDelta) -> bytes:
        choice, first = self._open_choice(event.choice)
        text = event.text
        if event.part != choice.part:
            choice.part = event.part
            text = f"\n\n{text}" if choice.reasoning_chars else text
        choice.reasoning_chars += len(text)
        return first + choice.write_piece(b'{"reasoning_content":%b}' % jsonio.dumps(text))

    def _write_reasoning_end(self, event: ReasoningEnd) -> bytes:
        choice, first = self._open_choice(event.choice)
        reasoning_chars, choice.reasoning_chars, choice.part = choice.reasoning_chars, 0, 0
        more: Object = {"redacted": True} if event.redacted else {"chars": reasoning_chars}
        return first + self._write_state(choice, event.state, more)

    def _write_state(self, choice: _ChoiceState, state: str | None, more: Object) -> bytes:
        """Write a state for its maker alone, if the client may get any."""
        label = self._context.state_label
        if state is None or not label:
            return b""
        detail = {
            "type": _SEALED,
            "data": reasoning_state.write_label(label, state),
            "index": choice.state_count,
        }
        choice.state_count += 1
        return choice.write_delta({DETAILS: [{**detail, **more}]})

    def _write_tool_start(self, event: ToolStart) -> bytes:
        choice, first = self._open_choice(event.choice)
        custom = event.custom or event.name in self._context.custom_tool_names
        replaces_custom = custom and not event.custom
        tool = _OpenCall(
            len(choice.tools), event.id, custom=custom, replaces_custom=replaces_custom
        )
        choice.tools[event.index] = tool
        return first + self._write_call(choice, tool, event.name, "")

    def _write_call(
        self, choice: _ChoiceState, tool: _OpenCall, name: str | None, text: str
    ) -> bytes:
        """Write one piece of a call; only the first has `name`."""
        function: Object = {"input" if tool.custom else "arguments": text}
        if name is not None:
            function = {"name": name, **function}
        if self._uses_functions:
            if tool.index:
                return b""  # a message can have only one function_call
            return choice.write_delta({"function_call": function})
        kind = "custom" if tool.custom else "function"
        first_members = {"id": tool.id, "type": kind} if name is not None else {}
        call = {"index": tool.index, **first_members, kind: function}
        return choice.write_delta({"tool_calls": [call]})

    def _write_tool_delta(self, event: ToolDelta) -> bytes:
        choice, first = self._open_choice(event.choice)
        tool = choice.tools.get(event.index)
        if tool is None or not event.text:
            return first
        tool.empty = False
        if tool.pending is not None:
            tool.pending.append(event.text)
            return first
        return first + self._write_call(choice, tool, None, event.text)

    def _write_tool_end(self, event: ToolEnd) -> bytes:
        choice, first = self._open_choice(event.choice)
        tool = choice.tools.get(event.index)
        if tool is None:
            return first
        rest = ""
        if tool.pending is not None:
            rest = _read_custom_input("".join(tool.pending))
        elif tool.empty and not tool.custom:
            rest = "{}"
        last_piece = self._write_call(choice, tool, None, rest) if rest else b""
        return first + last_piece + self._write_state(choice, event.state, {"id": tool.id})

    def _write_logprobs(self, event: LogProbs) -> bytes:
        choice, first = self._open_choice(event.choice)
        logprobs: Object = {"content": None, "refusal": None}
        logprobs["refusal" if event.declined else "content"] = event.tokens
        tokens = jsonio.dumps(logprobs)
        return first + choice.write_piece(b"{}", b',"logprobs":%b,"finish_reason":null' % tokens)

    def _keep_citation(self, event: Citation) -> bytes:
        """Keep a citation until the finish: the SDK cannot join two lists of annotations."""
        choice, first = self._open_choice(event.choice)
        if event.url is not None:
            start = event.start or 0  # the SDKs want numbers, also of a source without a place
            citation = {
                "url": event.url,
                "title": event.title or "",
                "start_index": start,
                "end_index": start if event.end is None else event.end,
            }
            choice.citations.append({"type": "url_citation", "url_citation": citation})
        else:
            self._context.drop(event)
        return first

    def _write_media(self, event: GeneratedMedia) -> bytes:
        if event.kind == "audio":
            return self._write_speech(event)
        choice, first = self._open_choice(event.choice)
        media_type = event.media_type or _DEFAULT_IMAGE_TYPE
        url = event.url or f"data:{media_type};base64,{event.data}"
        image: Object = {"type": "image_url", "image_url": {"url": url}}
        if self._first_content is not None:  # SDKs join the lists of a stream by it
            image["index"] = choice.image_count
        choice.image_count += 1
        return first + choice.write_delta({"images": [image]})

    def _write_speech(self, event: GeneratedMedia) -> bytes:
        """Write a piece of speech. What is expired at once cannot be named in a later request."""
        choice, first = self._open_choice(event.choice)
        data = _decode_base64(event.data)
        if data is None:
            self._context.drop(event)
            data = b""
        data = choice.speech_rest + data
        end = len(data) - len(data) % _SPEECH_BLOCK
        choice.speech_rest = data[end:]
        piece: Object = {
            "data": base64.b64encode(data[:end]).decode(),
            "transcript": event.transcript,
        }
        if not choice.has_speech:
            choice.has_speech = True
            id = event.id or f"audio_{self._context.id}"
            piece = {"id": id, "expires_at": self._context.created_at, **piece}
        return first + choice.write_delta({"audio": piece})

    def _keep_usage(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _write_finish(self, event: Finish) -> bytes:
        choice, out = self._open_choice(event.choice)
        if choice.citations:
            out += choice.write_delta({"annotations": choice.citations})
            choice.citations = []
        if choice.speech_rest:
            rest = base64.b64encode(choice.speech_rest).decode()
            choice.speech_rest = b""
            out += choice.write_delta({"audio": {"data": rest}})
        word = _FINISH_WORDS[event.reason]
        if self._uses_functions and event.reason == "tools":
            word = "function_call"
        return out + choice.write_piece(b"{}", b',"finish_reason":%b' % jsonio.dumps(word))

    def _write_end(self, _: End) -> bytes:
        usage = write_usage(self._usage) if self._context.stream_usage else None
        out = b""
        if usage is not None:
            word = find_service_tier(self._usage)
            more = {"service_tier": word} if word is not None else {}
            out = write_chunk({**self._head, **more, "choices": [], "usage": usage})
        return out + sse.write_frame(DONE_PAYLOAD)


def _decode_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _read_custom_input(arguments: str) -> str:
    """Return the text of a custom tool from the arguments of the function in its place."""
    try:
        value = jsonio.loads_text(arguments)
    except jsonio.JsonError:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments
