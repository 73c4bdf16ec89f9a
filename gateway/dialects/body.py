"""What a dialect reads and writes: requests and whole answers as values."""

import msgspec

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.jsonio import Json, Members
from gateway.core.loss import Loss
from gateway.core.prompt import Prompt
from gateway.core.usage import Usage


class LazyObject:
    """An object of which the large members that are known are read when they are asked for."""

    __slots__ = ("_raw", "_value", "said")

    def __init__(self, raw: bytes, said: dict[str, Json]) -> None:
        """`raw` is JSON, for its parts were read; `said` has an outline of what is large."""
        self._raw = raw
        self._value: dict[str, Json] | None = None
        self.said = said

    @property
    def value(self) -> dict[str, Json]:
        """All of it."""
        if self._value is None:
            self._value = jsonio.loads(self._raw)
        return self._value


class RequestBody(msgspec.Struct, frozen=True):
    """A request body, read once."""

    raw: bytes
    """As the client sent it: the truth."""
    members: Members
    given: dict[str, Json] | LazyObject
    prompt: Prompt

    @property
    def value(self) -> dict[str, Json]:
        """What it says."""
        given = self.given
        return given.value if isinstance(given, LazyObject) else given

    @property
    def said(self) -> dict[str, Json]:
        """The same, but for the inner parts of tools: enough for who looks at all the rest."""
        given = self.given
        return given.said if isinstance(given, LazyObject) else given

    def without(self, name: str) -> "RequestBody":
        """The same body, but for a member."""
        members = {one: part for one, part in self.members.items() if one != name}
        raw = jsonio.join(members)
        said = {one: value for one, value in self.said.items() if one != name}
        given = LazyObject(raw, said) if isinstance(self.given, LazyObject) else said
        return RequestBody(raw, members, given, self.prompt)


class WrittenBody(msgspec.Struct, frozen=True):
    """A body for one target, and what it could not say."""

    body: bytes
    losses: tuple[Loss, ...] = ()
    tail: str | None = None
    """What is added to the provider's door, where that depends on the request."""
    asks_usage: bool = False
    """True if the gateway asks for usage in a stream whose client does not."""


UNWRITTEN = WrittenBody(b"")
"""A body that asks for nothing beside what its client does."""


def response_id(value: Json) -> str | None:
    """Return the id of an answer; None where a provider gives none, an empty one or no text."""
    return value if isinstance(value, str) and value else None


class ResponseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What accounting needs of a whole answer."""

    usage: Usage | None = None
    served: str | None = None
    """The model that the provider says answered."""
    response_id: str | None = None
    """The id that the provider has given its answer."""
    finish: str | None = None
    """The provider's own word for why it stopped."""
    heard: int = 0
    """UTF-8 bytes of text, reasoning, and names and arguments of tools; 0 too where the provider
    has counted, and nobody needs them."""
    complete: bool = False
    """True if the answer ended as its provider said: it gives a reason, and no error."""
    pending: bool = False
    """True if the provider still works on the answer, in the background."""
    problem: Problem | None = None
    """Set where a 200 carries an error, or no answer at all."""
    body: bytes | None = None
    """What the client gets, where that is not what the provider sent."""
