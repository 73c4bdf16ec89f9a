"""What a dialect reads and writes: requests and whole answers as values."""

import msgspec

from gateway.core.jsonio import Json, Members
from gateway.core.loss import Loss
from gateway.core.problem import Problem
from gateway.core.prompt import Prompt
from gateway.core.usage import Usage


class Body(msgspec.Struct, frozen=True):
    """A request body, read once."""

    raw: bytes
    """As the client sent it: the truth."""
    members: Members
    value: dict[str, Json]
    prompt: Prompt


class Written(msgspec.Struct, frozen=True):
    """A body for one target, and what it could not say."""

    body: bytes
    losses: tuple[Loss, ...] = ()
    tail: str | None = None
    """What is added to the provider's door, where that depends on the request."""


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What accounting needs of a whole answer."""

    usage: Usage | None = None
    served: str | None = None
    """The model that the provider says answered."""
    finish: str | None = None
    """The provider's own word for why it stopped."""
    heard: int = 0
    """UTF-8 bytes of text, reasoning, and names and arguments of tools; 0 too where the provider
    has counted, and nobody needs them."""
    problem: Problem | None = None
    """Set where a 200 carries an error, or no answer at all."""
    body: bytes | None = None
    """What the client gets, where that is not what the provider sent."""
