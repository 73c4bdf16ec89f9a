"""What an answer says, in no dialect: one event after another, streamed and whole alike.

A whole answer is the same events, told at once. Order: Start, then content, each tool's pieces
after its ToolStart and before its ToolEnd (two tools may be interleaved, as Chat Completions
allows), then UsageUpdate and Finish in any order, then End where the dialect's own end has been
seen. `choice` counts the answers to one request; it is 0 but for clients that asked for several.
"""

from typing import Literal

import msgspec

from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.core.usage import Usage

type FinishReason = Literal["stop", "length", "tools", "filter", "pause", "cut", "error"]
"""Why an answer ended: done, cut at a limit, tools to be used, withheld, to be resumed, cut (the
provider gives no reason), broken."""


class Start(msgspec.Struct, frozen=True, gc=False):
    """The answer begins."""

    id: str | None = None
    model: str | None = None
    """The model that the provider says answers."""
    created: int | None = None
    """Seconds since the epoch."""
    usage: Usage | None = None
    """What is known of the input at once."""


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """Text of the answer."""

    text: str
    choice: int = 0


class LogProbs(msgspec.Struct, frozen=True):
    """Log probabilities of the words just told, as Chat Completions writes its `content` list."""

    tokens: list[Json]
    choice: int = 0
    declined: bool = False
    """They are of words in which the model declined."""


class Declined(msgspec.Struct, frozen=True, gc=False):
    """Text in which the model declines, where a dialect keeps that apart."""

    text: str
    choice: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """Readable reasoning, or a summary of it. `part` counts the parts of a summary."""

    text: str
    part: int = 0
    choice: int = 0


class ReasoningEnd(msgspec.Struct, frozen=True, gc=False):
    """A block of reasoning is over; `state` is for its maker alone."""

    state: str | None = None
    redacted: bool = False
    """There was no readable text, and the state stands for all of it."""
    id: str | None = None
    choice: int = 0


class ToolStart(msgspec.Struct, frozen=True, gc=False):
    """A tool is to be used. `index` counts the tools of a choice from 0."""

    index: int
    id: str
    name: str
    custom: bool = False
    choice: int = 0


class ToolDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a tool's arguments: JSON text, of a custom tool free text."""

    index: int
    text: str
    choice: int = 0


class ToolEnd(msgspec.Struct, frozen=True, gc=False):
    """A tool's arguments are complete; `state` as in core.canonical_request.ToolUse."""

    index: int
    state: str | None = None
    choice: int = 0


class Citation(msgspec.Struct, frozen=True):
    """A source of what was said."""

    url: str | None = None
    title: str | None = None
    start: int | None = None
    """Where in the text the words stand that it supports: characters."""
    end: int | None = None
    source: Json = None
    choice: int = 0
    name: str = ""
    """The provider's name of the member that holds it, for clients that cannot be told it."""


type MediaKind = Literal["image", "audio"]


class GeneratedMedia(msgspec.Struct, frozen=True):
    """A picture that the model made, or a piece of its speech."""

    kind: MediaKind
    data: str
    """In base64; each piece of speech is base64 of its own."""
    name: str
    """The provider's name of the member that holds it, for clients that cannot be told it."""
    media_type: str | None = None
    """The type, such as "image/png"; None if the provider does not say."""
    url: str | None = None
    """The address of a picture without data."""
    transcript: str = ""
    """The words of this piece of speech, as far as the provider tells them."""
    id: str | None = None
    """The provider's id of the speech."""
    choice: int = 0


class Opaque(msgspec.Struct, frozen=True):
    """Content that no other dialect has, as a hosted tool at work."""

    name: str
    """The provider's name of it, as in "output.web_search_call"."""
    source: Json = None
    choice: int = 0


class AnswerMetadata(msgspec.Struct, frozen=True):
    """A member beside the content of an answer that no other dialect has."""

    name: str
    """The provider's name of it, as in "candidates.urlContextMetadata"."""


class UsageUpdate(msgspec.Struct, frozen=True):
    """Usage as known now: it takes the place of what was told before."""

    usage: Usage


class Finish(msgspec.Struct, frozen=True, gc=False):
    """Why a choice ended."""

    reason: FinishReason
    word: str | None = None
    """The provider's own word."""
    stop: str | None = None
    """The stop sequence that ended it."""
    choice: int = 0


class Failed(msgspec.Struct, frozen=True):
    """An error in place of the rest."""

    problem: Problem


class End(msgspec.Struct, frozen=True, gc=False):
    """The provider ended the stream as its dialect ends one."""


type Event = (
    Start | TextDelta | LogProbs | Declined | ReasoningDelta | ReasoningEnd
    | ToolStart | ToolDelta | ToolEnd
    | Citation | GeneratedMedia | Opaque | AnswerMetadata | UsageUpdate | Finish | Failed | End
)  # fmt: skip

COMMIT_EVENT_TYPES = (
    TextDelta, Declined, ReasoningDelta, ReasoningEnd, ToolStart, GeneratedMedia, Opaque, Finish
)  # fmt: skip
"""Events past which nothing is tried again: the commit point."""
