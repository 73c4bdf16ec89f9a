"""What an oddity of the wire is: literal bytes of a provider, and what is to be made of them."""

from dataclasses import dataclass

from gateway.core.errors import ProblemKind
from gateway.core.usage import Usage


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream that came with 200."""

    sent: bytes
    """As the provider sends it."""
    held: bytes = b""
    """How it begins: what is held until content comes."""
    shown: bytes | None = None
    """What a client gets that did not ask for usage; None is all of it."""
    asked: bytes | None = None
    """What a client gets that did ask; None is all of it."""
    choices: int = 1
    usage: Usage | None = None
    finish: str | None = "stop"
    served: str | None = "m-1"
    complete: bool = True
    problem: ProblemKind | None = None
    said: object = None
    """The message of the first choice, where it is told whole."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole answer that came with 200."""

    sent: bytes
    usage: Usage | None = None
    finish: str | None = "stop"
    served: str | None = "m-1"
    problem: ProblemKind | None = None
    own: bool = False
    """The problem is told in the provider's words."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer with another status."""

    status: int
    sent: bytes
    problem: ProblemKind
    shown: int
    """The status that the client gets."""
    own: bool = False
    """The client gets the provider's bytes."""


type Oddity = Stream | Whole | Refusal
