"""An oddity of the wire: a provider's literal bytes, and what the gateway must make of them."""

from dataclasses import dataclass

from gateway.core.errors import ProblemKind
from gateway.core.usage import Usage


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream that arrived with status 200."""

    sent: bytes
    """The bytes that the provider sends."""
    held: bytes = b""
    """The beginning, which the gateway holds back until content comes."""
    shown: bytes | None = None
    """The bytes for a client that did not ask for usage; None if they are all of `sent`."""
    shown_with_usage: bytes | None = None
    """The bytes for a client that asked for usage; None if they are all of `sent`."""
    choices: int = 1
    usage: Usage | None = None
    finish: str | None = "stop"
    served: str | None = "m-1"
    complete: bool = True
    problem: ProblemKind | None = None
    message: object = None
    """The message of the first choice in the folded answer."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """An unstreamed answer that arrived with status 200."""

    sent: bytes
    usage: Usage | None = None
    finish: str | None = "stop"
    served: str | None = "m-1"
    problem: ProblemKind | None = None
    own: bool = False
    """True if the client gets the problem in the provider's words."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer with a status other than 200."""

    status: int
    sent: bytes
    problem: ProblemKind
    shown: int
    """The status that the client gets."""
    own: bool = False
    """True if the client gets the provider's bytes."""


type Oddity = Stream | Whole | Refusal
