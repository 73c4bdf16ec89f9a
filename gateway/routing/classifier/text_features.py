"""What a learned classifier reads of a text: words as places in a table, and plain numbers.

The numbers are readable signals. The words are hashed, alone and in pairs; what each is worth is
learnt.
"""

from binascii import crc_hqx
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat
from math import log1p
from typing import NamedTuple

from gateway.routing.classifier.text_signals import TextScan, TextSignals

VERSION = 4
"""Of what is read and in which order: an artefact that was trained on another cannot be used."""
PLACES = 1 << 16
"""Places of a table, one for each value of a CRC of 16 bits. Words that share a place count alike;
few that matter do."""
NUMBER_NAMES: tuple[str, ...] = (
    "words", "numbers", "digits", "code", "maths", "proof", "reasoning", "build", "simple", "trace",
    "lookup", "counting", "options", "questions", "lines", "sentences", "sentence length",
    "ends in a question",
)  # fmt: skip
"""What the numbers of a text are, in their order."""
_SENTENCE_ENDS = (". ", ".\n", "? ", "! ")


class TextFeatures(NamedTuple):
    """A text as a learned classifier reads it."""

    places: AbstractSet[int]
    """Of its words, numbers and marks, and of pairs of neighbours."""
    numbers: Sequence[float]
    """One for each of `NUMBER_NAMES`."""


def read_features(scan: TextScan, signals: TextSignals) -> TextFeatures:
    """Return what is read of a text that has been looked at."""
    return TextFeatures(_find_places(scan.tokens), _list_numbers(scan.excerpt, signals))


def _find_places(tokens: Sequence[bytes]) -> set[int]:
    hashes = [*map(crc_hqx, tokens, repeat(0))]
    return {*hashes, *map(crc_hqx, tokens[1:], hashes)}


def _list_numbers(excerpt: str, signals: TextSignals) -> tuple[float, ...]:
    sentences = 1 + sum(map(excerpt.count, _SENTENCE_ENDS))
    return (
        log1p(signals.words),
        log1p(signals.numbers),
        signals.digits,
        signals.code,
        signals.maths,
        min(signals.proof_words, 2),
        min(signals.reasoning_words, 3),
        min(signals.build_words, 2),
        min(signals.simple_words, 2),
        float(signals.trace),
        float(signals.lookup),
        float(signals.counting),
        float(signals.options > 0),
        min(signals.questions, 4),
        log1p(excerpt.count("\n")),
        log1p(sentences),
        log1p(signals.words / sentences),
        float(excerpt.rstrip().endswith("?")),
    )
