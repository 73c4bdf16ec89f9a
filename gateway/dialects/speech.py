"""What a dialect must be able to do so that others can be translated to and from it.

    decode    a client's body -> a canonical request    encode   that -> a body for a target
    events    a whole answer -> events                  tell     events -> a whole answer
    decoder   a stream -> events                        encoder  events -> a stream

A target abroad is asked what `encode` gives, as if a client of its own dialect had asked it: the
dialect's `write` then fits it to the model as it fits every request.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import Event
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects.body import RequestBody


class EncodedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request in another dialect than it came in."""

    value: dict[str, Json]
    """The body, as a client of that dialect would send it; `model` is set by its `write`."""
    names: Mapping[str, str] = {}
    """By member that was written (dots within members): the client's own name of what it says."""
    losses: tuple[Loss, ...] = ()
    """What this body could not say beyond the rules of dialects.compatibility."""


class ResponseContext(msgspec.Struct, frozen=True, kw_only=True):
    """What telling an answer depends on beside its events."""

    id: str
    """The call's own id: what ids of the answer are made of where the provider gave none."""
    created: int
    """Seconds since the epoch."""
    model: str
    """The model that was called; what the provider says answers goes before it."""
    stream_usage: bool = True
    """Whether the client asked for usage in its stream."""
    prompt_tokens: int = 0
    """An estimate, for dialects that tell input before the provider has."""
    custom: frozenset[str] = frozenset()
    """Names of the request's custom tools."""
    label: str = ""
    """Put before a maker's state, so that it is known again when it comes back."""
    asked: CanonicalRequest | None = None
    """What the client asked, for dialects whose answers repeat it."""


class Decoder(Protocol):
    """A provider's stream: bytes in, whatever was read of it; events out."""

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read. After a Failed nothing more comes."""
        ...

    def end(self) -> list[Event]:
        """Take the end of the stream; the last frame may lack its blank line."""
        ...


class Encoder(Protocol):
    """A stream for a client: events in, whole frames out."""

    def write(self, event: Event) -> bytes:
        """What an event becomes; nothing for one that the dialect does not tell.

        Failed becomes nothing: the dialect's `problem_frame` tells it.
        """
        ...


class TranslationFunctions(msgspec.Struct, frozen=True, kw_only=True):
    """The six functions of one dialect."""

    decode: Callable[[RequestBody], CanonicalRequest]
    """Raises ProblemError, invalid_request with the field, for what is no request at all."""
    encode: Callable[[CanonicalRequest, Target], EncodedRequest]
    events: Callable[[bytes], list[Event]]
    """Never raises: what is no answer is a Failed."""
    tell: Callable[[Iterable[Event], ResponseContext], bytes]
    decoder: Callable[[], Decoder]
    encoder: Callable[[ResponseContext], Encoder]
