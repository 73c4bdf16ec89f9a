"""Events as a stream of Chat Completions chunks.

A maker's state goes into `reasoning_details`, the member that OpenRouter's clients send back: one
block of type reasoning.encrypted a state, with the number of characters of `reasoning_content` that
it belongs to, or with the id of the call that it hangs on.
"""

from collections.abc import Callable, Mapping

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
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects import reasoning_state
from gateway.dialects.base import ResponseContext
from gateway.dialects.openai_chat.usage import find_service_tier, write_usage

type Object = dict[str, Json]

DETAILS, SEALED = "reasoning_details", "reasoning.encrypted"
"""Where labelled states stand, and the type of their blocks."""

_WORDS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tools": "tool_calls",
    "filter": "content_filter",
    "pause": "stop",
    "cut": "length",
    "error": "error",
}
_TAIL = b',"finish_reason":null}]}\n\n'


class _Tool:
    """One call on its way out."""

    __slots__ = ("custom", "empty", "id", "index", "wait")

    def __init__(self, index: int, id: str, *, custom: bool, turned: bool) -> None:
        self.index = index
        self.id = id
        self.custom = custom
        self.wait: list[str] | None = [] if turned else None
        """Arguments of a function that took a custom tool's place: its text is within them."""
        self.empty = True


class _Choice:
    """What has been told of one choice."""

    __slots__ = ("chars", "cited", "head", "part", "states", "tools")

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.tools: dict[int, _Tool] = {}
        self.cited: list[Object] = []
        self.chars = 0
        """Of reasoning, since the last state."""
        self.part = 0
        self.states = 0


class StreamEncoder:
    """One stream of chunks; see Encoder."""

    __slots__ = ("_choices", "_first", "_head", "_legacy", "_telling", "_usage", "_write")

    def __init__(self, telling: ResponseContext, first: str | None = "") -> None:
        self._telling = telling
        self._first = first
        """The content of the first delta: empty, in a whole answer null."""
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        asked = telling.request
        self._legacy = asked is not None and asked.names.get("tools") == "functions"
        self._head: Object = {}
        self._begin(Start())
        self._write: dict[type[object], Callable[[Json], bytes]] = {
            Start: self._start,
            TextDelta: self._words,
            Declined: lambda event: self._delta(event, {"refusal": event.text}),
            ReasoningDelta: self._thinking,
            ReasoningEnd: self._thought,
            ToolStart: self._tool,
            ToolDelta: self._piece,
            ToolEnd: self._tool_end,
            LogProbs: self._likely,
            Citation: self._cite,
            UsageUpdate: self._told,
            Finish: self._finish,
            End: self._end,
        }

    def write(self, event: Event) -> bytes:
        """What an event becomes; nothing for one that the dialect does not tell."""
        kind = type(event)
        if kind is TextDelta:
            return self._words(event)  # type: ignore[arg-type]  # just asked
        known = self._write.get(kind)
        return known(event) if known is not None else b""

    def _begin(self, start: Start) -> None:
        telling = self._telling
        self._head = {
            "id": start.id or f"chatcmpl-{telling.id}",
            "object": "chat.completion.chunk",
            "created": start.created or telling.created_at,
            "model": start.model or telling.model,
        }

    def _start(self, event: Start) -> bytes:
        self._begin(event)
        self._usage = event.usage or self._usage
        return self._open(0)[1]

    def _open(self, index: int) -> tuple[_Choice, bytes]:
        """A choice, and its first chunk where nothing has been told of it."""
        choice = self._choices.get(index)
        if choice is not None:
            return choice, b""
        head = jsonio.dumps(self._head)[:-1]
        head = b'data: %b,"choices":[{"index":%d,"delta":' % (head, index)
        choice = self._choices[index] = _Choice(head)
        first = jsonio.dumps({"role": "assistant", "content": self._first})
        return choice, head + first + _TAIL

    def _delta(self, event: Json, delta: Object) -> bytes:
        choice, first = self._open(event.choice)
        return first + choice.head + jsonio.dumps(delta) + _TAIL

    def _words(self, event: TextDelta) -> bytes:
        choice, first = self._open(event.choice)
        return first + choice.head + b'{"content":' + jsonio.dumps(event.text) + b"}" + _TAIL

    def _thinking(self, event: ReasoningDelta) -> bytes:
        choice, first = self._open(event.choice)
        text = event.text
        if event.part != choice.part:
            choice.part = event.part
            text = f"\n\n{text}" if choice.chars else text
        choice.chars += len(text)
        delta = b'{"reasoning_content":' + jsonio.dumps(text) + b"}"
        return first + choice.head + delta + _TAIL

    def _thought(self, event: ReasoningEnd) -> bytes:
        choice, first = self._open(event.choice)
        chars, choice.chars, choice.part = choice.chars, 0, 0
        more: Object = {"redacted": True} if event.redacted else {"chars": chars}
        return first + self._state(choice, event.state, more)

    def _state(self, choice: _Choice, state: str | None, more: Object) -> bytes:
        """A state for its maker alone, where the client may be given any."""
        label = self._telling.state_label
        if state is None or not label:
            return b""
        detail = {
            "type": SEALED,
            "data": reasoning_state.write_label(label, state),
            "index": choice.states,
        }
        choice.states += 1
        return choice.head + jsonio.dumps({DETAILS: [{**detail, **more}]}) + _TAIL

    def _tool(self, event: ToolStart) -> bytes:
        choice, first = self._open(event.choice)
        custom = event.custom or event.name in self._telling.custom_tool_names
        turned = custom and not event.custom
        tool = _Tool(len(choice.tools), event.id, custom=custom, turned=turned)
        choice.tools[event.index] = tool
        return first + self._call(choice, tool, event.name, "")

    def _call(self, choice: _Choice, tool: _Tool, name: str | None, text: str) -> bytes:
        """One piece of a call; `name` in its first."""
        inside: Object = {"input" if tool.custom else "arguments": text}
        if name is not None:
            inside = {"name": name, **inside}
        if self._legacy:
            if tool.index:
                return b""  # a message has one function_call
            return choice.head + jsonio.dumps({"function_call": inside}) + _TAIL
        kind = "custom" if tool.custom else "function"
        begun = {"id": tool.id, "type": kind} if name is not None else {}
        call = {"index": tool.index, **begun, kind: inside}
        return choice.head + jsonio.dumps({"tool_calls": [call]}) + _TAIL

    def _piece(self, event: ToolDelta) -> bytes:
        choice, first = self._open(event.choice)
        tool = choice.tools.get(event.index)
        if tool is None or not event.text:
            return first
        tool.empty = False
        if tool.wait is not None:
            tool.wait.append(event.text)
            return first
        return first + self._call(choice, tool, None, event.text)

    def _tool_end(self, event: ToolEnd) -> bytes:
        choice, first = self._open(event.choice)
        tool = choice.tools.get(event.index)
        if tool is None:
            return first
        rest = ""
        if tool.wait is not None:
            rest = _input("".join(tool.wait))
        elif tool.empty and not tool.custom:
            rest = "{}"
        said = self._call(choice, tool, None, rest) if rest else b""
        return first + said + self._state(choice, event.state, {"id": tool.id})

    def _likely(self, event: LogProbs) -> bytes:
        choice, first = self._open(event.choice)
        said: Object = {"content": None, "refusal": None}
        said["refusal" if event.declined else "content"] = event.tokens
        tokens = jsonio.dumps(said)
        return first + choice.head + b'{},"logprobs":' + tokens + _TAIL

    def _cite(self, event: Citation) -> bytes:
        """Kept until the finish: the SDK cannot add a list of annotations to another."""
        choice, first = self._open(event.choice)
        if event.url is not None:
            cited = {
                "url": event.url,
                "title": event.title,
                "start_index": event.start,
                "end_index": event.end,
            }
            choice.cited.append({"type": "url_citation", "url_citation": cited})
        return first

    def _told(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _finish(self, event: Finish) -> bytes:
        choice, out = self._open(event.choice)
        if choice.cited:
            out += choice.head + jsonio.dumps({"annotations": choice.cited}) + _TAIL
            choice.cited = []
        word = _WORDS[event.reason]
        if self._legacy and event.reason == "tools":
            word = "function_call"
        return out + choice.head + b'{},"finish_reason":"' + word.encode() + b'"}]}\n\n'

    def _end(self, _: End) -> bytes:
        usage = write_usage(self._usage) if self._telling.stream_usage else None
        out = b""
        if usage is not None:
            word = find_service_tier(self._usage)
            more = {"service_tier": word} if word is not None else {}
            out = sse.write_frame(
                jsonio.dumps({**self._head, **more, "choices": [], "usage": usage})
            )
        return out + sse.write_frame(b"[DONE]")


def _input(arguments: str) -> str:
    """The text of a custom tool, from the arguments of the function that stood for it."""
    try:
        value = jsonio.loads(arguments.encode())
    except jsonio.JsonError:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments
