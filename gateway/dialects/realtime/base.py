"""Events of a session's responses, in no provider's form, and the readers that find them."""

from typing import Literal, Protocol

import msgspec

from gateway.core.usage import Usage

type SessionForm = Literal["openai", "gemini"]
"""The form of a session's messages: OpenAI's Realtime API, or Google's Live API."""


type StartChance = Literal["none", "possible", "certain"]
"""The chance that a client's message makes the provider begin something that it bills."""


class ResponseStarted(msgspec.Struct, frozen=True):
    """The provider begins a response."""

    id: str
    """The response's id; empty in a form that has one response at a time."""


class ResponseContent(msgspec.Struct, frozen=True):
    """The provider sends a part of a response, or its usage so far."""

    id: str
    text_bytes: int = 0
    """UTF-8 bytes of text."""
    usage: Usage | None = None


class ResponseEnded(msgspec.Struct, frozen=True):
    """The provider has ended a response."""

    id: str
    usage: Usage | None = None
    finish: str | None = None
    """The provider's own word for why it ended."""


class TranscriptionEnded(msgspec.Struct, frozen=True):
    """The provider has transcribed what the user said, with a model of its own price."""

    model: str
    """The transcribing model; empty if the session does not tell it."""
    usage: Usage | None = None


type SessionEvent = ResponseStarted | ResponseContent | ResponseEnded | TranscriptionEnded


class MessageReader(Protocol):
    """Reads the messages of one session; it remembers what later ones depend on."""

    def find_start_chance(self, data: bytes) -> StartChance:
        """Return the chance that a client's message begins a response."""
        ...

    def read(self, data: bytes) -> list[SessionEvent]:
        """Read a provider's message. One that cannot be read means nothing."""
        ...
