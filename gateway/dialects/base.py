"""What every dialect can do: the functions and the stream state that the engine calls."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.core.problem import Problem
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import Usage
from gateway.dialects.body import Body, Glance, Written
from gateway.dialects.speech import Speech

__all__ = ["Body", "Dialect", "Glance", "Watch", "Written"]


class Watch(Protocol):
    """A stream on its way to the client in the same dialect: bytes in, the same bytes out.

    Frames before the first content are held, so that another target can still take over.
    """

    committed: bool
    """Content has been let through: from here on nothing is retried."""
    usage: Usage | None
    served: str | None
    finish: str | None
    problem: Problem | None
    """An error that came in the stream."""

    @property
    def complete(self) -> bool:
        """Whether the answer has ended as its dialect ends one."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take what was read from the provider; return what may go on to the client now."""
        ...

    def end(self) -> bytes:
        """Take the end of the stream; return what was still held and may go on."""
        ...


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One wire format."""

    name: str
    path: str
    """Where clients send it."""
    operation: str = "generate"
    tail: str = ""
    """What an operation adds to a provider's door."""
    queries: frozenset[str] = frozenset()
    """Query strings that go on to a provider."""
    headers: frozenset[bytes]
    """Client headers that mean something to its providers, in lower case; others stay here."""
    defaults: dict[str, str] = {}
    """Headers that a provider wants, where the client sends none of that name."""
    features: frozenset[str]
    """Members that change what the answer is: a target that refuses one is skipped."""
    read: Callable[[bytes], Body]
    """Raises ProblemError where the body is not a request of this dialect."""
    write: Callable[[Body, Target], Written]
    glance: Callable[[bytes], Glance]
    watch: Callable[[Body], Watch]
    asks_usage: Callable[[Body], bool]
    """Whether the client wants usage told in a stream."""
    fold: Callable[[bytes], bytes]
    """A recorded stream as the whole answer that says the same."""
    unfold: Callable[[bytes, bool], bytes]
    """A whole answer as the stream that says the same, with usage or without."""
    problem: Callable[[Problem], bytes]
    """An error body."""
    problem_frame: Callable[[Problem], bytes]
    """An error inside a stream that has begun."""
    status: Callable[[Problem], int]
    """The HTTP status of an error."""
    unfit: Callable[[Prompt, Target], str]
    """Why a model cannot be asked this in this dialect; empty where it can."""
    read_problem: Callable[[int, bytes, float | None], Problem]
    """A provider's error: status, body, seconds of Retry-After."""
    speech: Speech | None = None
    """How it is translated to and from others; None where it is not."""
