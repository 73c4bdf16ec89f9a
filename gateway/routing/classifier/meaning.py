"""Exemplars and routes by their meaning: the texts to compare, and the nearest of them.

An embedder makes the vectors, elsewhere. Pure.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from gateway.core.decision_context import MeaningMatch
from gateway.core.target import Tier

type Vector = Sequence[float]

_MAX_WHOLE_CHARS = 400
"""Characters up to which a turn is compared as a whole."""
_PASSAGE_CHARS = 300
"""The most characters of a passage of a longer turn."""
_MIN_LINE_CHARS = 15
"""The characters of a line from which on it can be the request; a greeting is shorter."""
_NEAR_DIGITS = 4


class Reference(NamedTuple):
    """A text that turns are compared with: a wording of an exemplar or of a route."""

    name: str
    tier: Tier
    text: str
    kind: Literal["exemplar", "route"] = "exemplar"


def list_passages(text: str) -> list[str]:
    """Return the passages of a turn that say what it asks for; none if the turn is empty.

    A long turn has its request in the first or the last line, and material between. The vector of
    the whole would be that of the material.
    """
    text = text.strip()
    if not text:
        return []
    if len(text) <= _MAX_WHOLE_CHARS:
        return [text]
    head, tail = text[:_PASSAGE_CHARS], text[-_PASSAGE_CHARS:]
    head_end = head.find("\n", _MIN_LINE_CHARS)
    tail_start = tail.rfind("\n", 0, -_MIN_LINE_CHARS) + 1
    return [head if head_end < 0 else head[:head_end], tail[tail_start:]]


def normalize(vector: Vector) -> tuple[float, ...]:
    """Return a vector of length 1 in the same direction; a vector of zeros stays."""
    length = math.sqrt(math.sumprod(vector, vector))
    return tuple(value / length for value in vector) if length else tuple(vector)


def find_nearest(
    references: Sequence[Reference],
    reference_vectors: Sequence[Vector],
    passage_vectors: Sequence[Vector],
    least: float,
) -> MeaningMatch | None:
    """Return the reference that is nearest to any passage; the first one wins.

    All vectors have length 1. Return None if no vector can be compared with another. `least` is
    the cosine that is near enough.
    """
    best, nearest = -math.inf, None
    for reference, reference_vector in zip(references, reference_vectors, strict=True):
        for vector in passage_vectors:
            if len(vector) != len(reference_vector):
                continue
            cosine = math.sumprod(vector, reference_vector)
            if cosine > best:
                best, nearest = cosine, reference
    if nearest is None:
        return None
    near = round(min(best, 1.0), _NEAR_DIGITS)
    return MeaningMatch(nearest.name, nearest.tier, near, least, nearest.kind)
