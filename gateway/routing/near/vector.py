"""A vector of a text that needs no model: its words and their letters, hashed.

It tells wordings apart, not meanings: "sofa" and "couch" have nothing in common. What says little
weighs little, so that "how do I" and "what is the way to" are near before the same words.
"""

# ruff: noqa: SIM905 -- words, many to a line

import re
from hashlib import blake2b
from math import sqrt

from gateway.routing.near.words import EMPTY, ENGLISH, OWN, SILENT

SIZE = 256
ALIKE = 0.6
"""The cosine from which on two questions of one form are near, where nobody says it."""
_WORD = re.compile(r"\w+")
_LITTLE = ENGLISH | SILENT | EMPTY | OWN | frozenset(
    "do does did way best good steps can could should would you we one make get use be it that "
    "this there some any what's i'd like want need please me tell show mean meaning".split()
)  # fmt: skip
_WEIGHT = 0.15
"""Of a word that says little, against one that says something."""
_LETTERS = 3


def vector(text: str) -> list[float]:
    """A vector of length 1, or of zeros where a text has no word."""
    found = [0.0] * SIZE
    for word in _WORD.findall(text.lower()):
        weight = _WEIGHT if word in _LITTLE else 1.0
        spelt = f"<{word}>"
        pieces = [spelt[at : at + _LETTERS] for at in range(len(spelt) - _LETTERS + 1)]
        share = weight / sqrt(len(pieces) + 1)
        for piece in (spelt, *pieces):
            digest = int.from_bytes(blake2b(piece.encode(), digest_size=4).digest())
            found[digest % SIZE] += share if digest & 0x80000000 else -share
    length = sqrt(sum(one * one for one in found))
    return [one / length for one in found] if length else found
