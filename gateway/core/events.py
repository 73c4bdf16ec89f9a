"""The events of an answer, in no dialect, for streams and whole answers alike.

A whole answer gives the same events at once. The order is Start, then content, then UsageUpdate and
Finish in any order, then End if the dialect's own end came. The pieces of a tool come after its
ToolStart and before its ToolEnd; two tools may be interleaved, as in Chat Completions. `choice`
numbers the answers to one request. It is 0 unless the client asks for several.
"""

from typing import Literal

import msgspec

from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.core.usage import Usage

type FinishReason = Literal["stop", "length", "tools", "filter", "pause", "cut", "error"]
"""The reason why an answer ended.

`stop`: it is done. `length`: a limit cut it. `tools`: the client must run tools. `filter`: the
provider withholds it. `pause`: the client may resume it. `cut`: the provider gives no reason.
`error`: it broke.
"""


class Start(msgspec.Struct, frozen=True, gc=False):
    """The answer begins."""

    id: str | None = None
    model: str | None = None
    """The model that answers, by the provider's word."""
    created: int | None = None
    """The time of creation, in seconds since the epoch."""
    usage: Usage | None = None
    """The usage that the provider reports at the start, mostly of the input."""


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """Text of the answer."""

    text: str
    choice: int = 0


class LogProbs(msgspec.Struct, frozen=True):
    """Log probabilities of the text just sent, in the form of Chat Completions' `content` list."""

    tokens: list[Json]
    choice: int = 0
    declined: bool = False
    """True if they belong to text in which the model declines."""


class Declined(msgspec.Struct, frozen=True, gc=False):
    """Text in which the model declines, if the dialect keeps that apart."""

    text: str
    choice: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """Readable reasoning, or a summary of it. `part` numbers the parts of a summary."""

    text: str
    part: int = 0
    choice: int = 0


class ReasoningEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a block of reasoning; only its maker can read `state`."""

    state: str | None = None
    redacted: bool = False
    """True if the block has no readable text, and the state stands for all of it."""
    id: str | None = None
    choice: int = 0


class ToolStart(msgspec.Struct, frozen=True, gc=False):
    """The start of a tool call. `index` numbers the tool calls of a choice from 0."""

    index: int
    id: str
    name: str
    custom: bool = False
    choice: int = 0


class ToolDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a tool's arguments: JSON text, or free text for a custom tool."""

    index: int
    text: str
    choice: int = 0


class ToolEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a tool's arguments; `state` is as in `canonical_request.ToolUse`."""

    index: int
    state: str | None = None
    choice: int = 0


class Citation(msgspec.Struct, frozen=True):
    """A source of the answer's text."""

    url: str | None = None
    title: str | None = None
    start: int | None = None
    """The start of the text that it supports, in characters; `end` is where that text ends."""
    end: int | None = None
    source: Json = None
    choice: int = 0
    name: str = ""
    """The provider's name of the member that holds it, to name it to clients that cannot get it."""


type MediaKind = Literal["image", "audio"]


class GeneratedMedia(msgspec.Struct, frozen=True):
    """An image that the model made, or a piece of its speech."""

    kind: MediaKind
    data: str
    """The data in base64; each piece of speech is encoded by itself."""
    name: str
    """The provider's name of the member that holds it, to name it to clients that cannot get it."""
    media_type: str | None = None
    """The type, such as "image/png"; None if the provider does not say."""
    url: str | None = None
    """The address of an image that comes without data."""
    transcript: str = ""
    """The words of this piece of speech, as far as the provider gives them."""
    id: str | None = None
    """The provider's id of the speech."""
    choice: int = 0


class Opaque(msgspec.Struct, frozen=True):
    """Content that no other dialect has, such as the work of a hosted tool."""

    name: str
    """The provider's name for it, as in "output.web_search_call"."""
    source: Json = None
    choice: int = 0


class AnswerMetadata(msgspec.Struct, frozen=True):
    """A member beside an answer's content that no other dialect has."""

    name: str
    """The provider's name for it, as in "candidates.urlContextMetadata"."""


class UsageUpdate(msgspec.Struct, frozen=True):
    """The usage as known now. It replaces all earlier usage."""

    usage: Usage


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The end of a choice, with the reason."""

    reason: FinishReason
    word: str | None = None
    """The provider's own word for the reason."""
    stop: str | None = None
    """The stop sequence that ended the choice."""
    choice: int = 0


class Failed(msgspec.Struct, frozen=True):
    """An error in place of the rest of the answer."""

    problem: Problem


class End(msgspec.Struct, frozen=True, gc=False):
    """The provider ended the stream as its dialect demands."""


type Event = (
    Start | TextDelta | LogProbs | Declined | ReasoningDelta | ReasoningEnd
    | ToolStart | ToolDelta | ToolEnd
    | Citation | GeneratedMedia | Opaque | AnswerMetadata | UsageUpdate | Finish | Failed | End
)  # fmt: skip

COMMIT_EVENT_TYPES = (
    TextDelta, Declined, ReasoningDelta, ReasoningEnd, ToolStart, GeneratedMedia, Opaque, Finish
)  # fmt: skip
"""Events after which the gateway tries no other target: the commit point."""
