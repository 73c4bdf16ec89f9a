"""Embeddings in no dialect: the request, and the vectors of an answer.

A request is a CanonicalRequest whose turns are its inputs, one vector each; a vector is an Opaque
event. So calls for embeddings are translated like all others.
"""

import base64
import struct
from collections.abc import Iterable

from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Text
from gateway.core.events import End, Event, Failed, Finish, Opaque, Start, UsageUpdate
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.stream_frames import make_broken_problem

OPERATION = "embeddings"
FINISH_WORD = "stop"
"""The finish of every answer: all of it is there, so that the cache may keep it."""
_VECTOR_KIND = "embedding"


class EmbeddingsRequest(CanonicalRequest, frozen=True, kw_only=True):
    """A request for embeddings."""

    dimensions: int | None = None
    wants_base64: bool = False
    """The client takes vectors as base64 of little-endian float32, not as numbers."""
    wants_single_vector: bool = False
    """The client asked for one vector, not for a list of them."""


def expect_embeddings(request: CanonicalRequest | None) -> EmbeddingsRequest:
    """A request that is known to be for embeddings. Raises TypeError for any other."""
    if not isinstance(request, EmbeddingsRequest):
        raise TypeError("not a request for embeddings")
    return request


def list_inputs(request: CanonicalRequest) -> list[str]:
    """The inputs; the parts of one are its lines."""
    return [_join_text(turn) for turn in request.turns]


def _join_text(turn: CanonicalTurn) -> str:
    return "\n".join(part.text for part in turn.parts if isinstance(part, Text))


def make_events(
    vectors: list[Json], usage: Usage | None, model: str | None, id: str | None = None
) -> list[Event]:
    """The events of a whole answer; what is no list of numbers fails it."""
    if not all(map(_is_vector, vectors)):
        return [Failed(make_broken_problem("vectors that are not lists of numbers"))]
    usage_events: list[Event] = [] if usage is None else [UsageUpdate(usage)]
    vector_events: list[Event] = [Opaque(name=_VECTOR_KIND, source=vector) for vector in vectors]
    return [
        Start(id=id, model=model),
        *vector_events,
        *usage_events,
        Finish(reason="stop", word=FINISH_WORD),
        End(),
    ]


def pack_vector(vector: list[float]) -> str:
    """A vector as OpenAI writes it in base64. Raises struct.error, OverflowError, TypeError."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _is_vector(vector: Json) -> bool:
    try:
        struct.pack(f"<{len(vector)}f", *vector)
    except (struct.error, OverflowError, TypeError):
        return False
    return isinstance(vector, list)


class EmbeddingsResponse:
    """The sum of the events of an answer."""

    __slots__ = ("model", "usage", "vectors")

    def __init__(self, events: Iterable[Event], model: str) -> None:
        """`model` is the one that was called, where the provider names none."""
        self.vectors: list[list[float]] = []
        self.usage: Usage | None = None
        self.model = model
        for event in events:
            match event:
                case Start():
                    self.model = event.model or self.model
                case Opaque():
                    self.vectors.append(event.source)
                case UsageUpdate():
                    self.usage = event.usage
                case _:
                    continue
