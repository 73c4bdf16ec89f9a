"""The content of a probe's answer, as the gateway's decoder of its dialect reads it."""

from collections.abc import Iterable

import msgspec

from gateway.core.events import (
    End,
    Event,
    Failed,
    Finish,
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    ToolStart,
)
from gateway.dialects import TargetDialect
from gateway.dialects.translation import get_target_translation


class ToolCall(msgspec.Struct):
    """A call of a tool in an answer."""

    name: str
    arguments: str = ""


class DecodedAnswer(msgspec.Struct):
    """The content of an answer, as the gateway decodes it."""

    text: str = ""
    reasoning_chars: int = 0
    tool_calls: list[ToolCall] = []
    vector_size: int = 0
    """Numbers in the vector of an embedding."""
    finish: str | None = None
    """The reason for its end, in no dialect; None if it has none."""
    word: str | None = None
    """The provider's own word for that."""
    has_end: bool = False
    """True if the answer ends as its dialect demands."""
    error: str | None = None
    """The error in place of the rest."""


def decode_answer(dialect: TargetDialect, body: bytes, *, is_stream: bool) -> DecodedAnswer:
    """Decode an answer, whole or streamed."""
    functions = get_target_translation(dialect)
    if not is_stream:
        return _collect(functions.decode_response(body))
    decoder = functions.make_decoder()
    return _collect([*decoder.feed(body), *decoder.end()])


def _collect(events: Iterable[Event]) -> DecodedAnswer:
    answer = DecodedAnswer()
    calls: dict[int, ToolCall] = {}
    for event in events:
        match event:
            case TextDelta():
                answer.text += event.text
            case ReasoningDelta():
                answer.reasoning_chars += len(event.text)
            case ToolStart():
                calls[event.index] = ToolCall(event.name)
            case ToolDelta():
                calls[event.index].arguments += event.text
            case Opaque(source=list() as vector):
                answer.vector_size = len(vector)
            case Finish():
                answer.finish, answer.word = event.reason, event.word
            case Failed():
                answer.error = event.problem.message
            case End():
                answer.has_end = True
            case _:
                pass
    answer.tool_calls = [*calls.values()]
    return answer
