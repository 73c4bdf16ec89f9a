"""Events as a Responses answer: a stream, and whole.

    created, in_progress -> items, each added and done -> completed or incomplete

One message or one thought is open at a time; calls of tools may be open beside one another, as the
dialect tells them apart by `output_index`. A whole answer is what the terminal event holds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from gateway.core import jsonio
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
from gateway.dialects.openai_responses import slot, usage
from gateway.dialects.openai_responses import tools as space
from gateway.dialects.openai_responses.calls import Call
from gateway.dialects.openai_responses.frames import Numbered, Object
from gateway.dialects.openai_responses.message import Message
from gateway.dialects.openai_responses.telling import begin, item_id
from gateway.dialects.openai_responses.thought import Reasoning

_INCOMPLETE: Mapping[FinishReason, str] = {
    "length": "max_output_tokens",
    "filter": "content_filter",
    "cut": "max_output_tokens",
}


class Encoder:
    """The state of one stream for a client; see gateway.dialects.base."""

    __slots__ = (
        "_calls", "_finish", "_message", "_output", "_said", "_telling", "_thought", "_usage",
        "response",
    )  # fmt: skip

    def __init__(self, telling: ResponseContext) -> None:
        self._telling = telling
        self._said = Numbered()
        self._output: list[Object] = []
        self._message: Message | None = None
        self._thought: Reasoning | None = None
        self._calls: dict[int, Call] = {}
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self.response: Object = {}
        """The answer as it is known by now."""

    def write(self, event: Event) -> bytes:
        """What an event becomes; an answer of this dialect is one, so other choices are none."""
        known = self._KINDS.get(type(event))
        if known is None or getattr(event, "choice", 0) != 0:
            return b""
        if self.response:
            return known(self, event)
        begun = b"" if isinstance(event, Start) else self._start(Start())
        return begun + known(self, event)

    def _start(self, event: Start) -> bytes:
        if self.response:
            return b""
        self._usage = event.usage
        self.response = begin(self._telling, event.id, event.model, event.created)
        begun = self._said.frame("response.created", response=self.response)
        return begun + self._said.frame("response.in_progress", response=self.response)

    def _id(self, prefix: str) -> tuple[str, int]:
        """The id and the place of the next item."""
        at = len(self._output)
        self._output.append({})
        return item_id(self.response["id"], prefix, at), at

    def _open(self) -> tuple[Message, bytes]:
        """The message that is open."""
        if self._message is not None:
            return self._message, b""
        ended = self._shut()
        self._message = Message(self._said, *self._id("msg"))
        return self._message, ended + self._message.begin()

    def _think(self) -> tuple[Reasoning, bytes]:
        """The thought that is open."""
        if self._thought is not None:
            return self._thought, b""
        ended = self._shut()
        self._thought = Reasoning(self._said, *self._id("rs"))
        return self._thought, ended + self._thought.begin()

    def _shut(self, status: str = "completed", state: str | None = None) -> bytes:
        """End the message or the thought that is open."""
        out = b""
        if self._message is not None:
            out, item = self._message.end(status)
            self._output[self._message.at] = item
        if self._thought is not None:
            out, item = self._thought.end(state)
            self._output[self._thought.at] = item
        self._message = self._thought = None
        return out

    def _words(self, event: TextDelta) -> bytes:
        message, begun = self._open()
        return begun + message.text(event.text)

    def _likely(self, event: LogProbs) -> bytes:
        if event.declined:
            return b""  # a refusal has none here, and they are asked for by another name
        message, begun = self._open()
        return begun + message.likely(event.tokens)

    def _declined(self, event: Declined) -> bytes:
        message, begun = self._open()
        return begun + message.refusal(event.text)

    def _cited(self, event: Citation) -> bytes:
        message, begun = self._open()
        return begun + message.cite(event)

    def _thinking(self, event: ReasoningDelta) -> bytes:
        thought, begun = self._think()
        return begun + thought.text(event.text, event.part)

    def _thought_end(self, event: ReasoningEnd) -> bytes:
        state = self._label(slot.Kept(event.state or "", redacted=event.redacted))
        if self._thought is None and (state is None or not event.state):
            return b""
        _, begun = self._think()
        return begun + self._shut(state=state)

    def _label(self, kept: slot.Kept) -> str | None:
        """A maker's state as it goes into a client's slot; None where it does not.

        Reasoning without a state has the label alone: a provider at home would look for its id.
        """
        label = self._telling.state_label
        return reasoning_state.write_label(label, slot.write(kept)) if label else None

    def _tool(self, event: ToolStart) -> bytes:
        ended = self._shut()
        known = event.name in self._telling.custom_tool_names
        custom = event.custom or known
        place = self._id("ctc" if custom else "fc")
        asked = self._telling.request
        named = space.own(event.name, asked.tools if asked is not None else ())
        call = Call(self._said, *place, event, custom=custom, named=named)
        self._calls[event.index] = call
        return ended + call.begin()

    def _piece(self, event: ToolDelta) -> bytes:
        call = self._calls.get(event.index)
        return call.piece(event.text) if call is not None else b""

    def _tool_end(self, event: ToolEnd) -> bytes:
        call = self._calls.pop(event.index, None)
        if call is None:
            return b""
        out, self._output[call.at] = call.end("completed")
        state = self._label(slot.Kept(event.state, call=call.id)) if event.state else None
        if state is None:
            return out
        _, begun = self._think()
        return out + begun + self._shut(state=state)

    def _told(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _finished(self, event: Finish) -> bytes:
        self._finish = event
        status = "incomplete" if event.reason in _INCOMPLETE else "completed"
        out = [self._shut(status)]
        for call in self._calls.values():
            said, self._output[call.at] = call.end(status)
            out.append(said)
        self._calls.clear()
        return b"".join(out)

    def _end(self, event: End) -> bytes:  # noqa: ARG002 - of one form with the others
        """The terminal event. An answer that broke is failed, whatever came of it."""
        finish = self._finish or Finish("stop")
        out = self._finished(finish)
        why: Json = None
        name, error = "completed", None
        if finish.reason == "error":
            name = "failed"
            error = {"code": "server_error", "message": "The model broke off its answer."}
        elif finish.reason in _INCOMPLETE:
            name, why = "incomplete", {"reason": _INCOMPLETE[finish.reason]}
        self.response |= {
            "status": name,
            "completed_at": self._telling.created_at if name == "completed" else None,
            "error": error,
            "incomplete_details": why,
            "output": self._output,
            "usage": usage.write(self._usage),
            **usage.beside(self._usage),
        }
        return out + self._said.frame(f"response.{name}", response=self.response)

    _KINDS: ClassVar[Mapping[type, Callable[["Encoder", Json], bytes]]] = {
        Start: _start,
        TextDelta: _words,
        LogProbs: _likely,
        Declined: _declined,
        Citation: _cited,
        ReasoningDelta: _thinking,
        ReasoningEnd: _thought_end,
        ToolStart: _tool,
        ToolDelta: _piece,
        ToolEnd: _tool_end,
        UsageUpdate: _told,
        Finish: _finished,
        End: _end,
    }


def tell(events: Iterable[Event], telling: ResponseContext) -> bytes:
    """Events as a whole answer: what the terminal event of their stream holds."""
    encoder = Encoder(telling)
    for event in events:
        encoder.write(event)
    return jsonio.dumps(encoder.response)
